"""Deadbands: changes that are published at once, and changes that are delayed."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from custom_components.socomec_countis import deadband_sensor, sensor
from custom_components.socomec_countis.countis import Profile
from custom_components.socomec_countis.countis.registers import Measurements
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.sensor import SensorStateClass
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from simulator import Constant, House, Meter, Phase
from simulator.metrology import measurements

from .common import Clock, coordinator_of, shown_states, state, until_polled

HOUR_SECONDS = 3600
MEASUREMENT_DESCRIPTIONS = tuple(
    description
    for description in sensor.SENSORS
    if description.entity_registry_enabled_default
    and description.state_class is SensorStateClass.MEASUREMENT
)

pytestmark = pytest.mark.usefixtures("fast_polling")


async def poll(entry: CountisConfigEntry, meter: Meter, **phase: float) -> None:
    """Set the load of phase L1, and wait until its values are polled.

    The defaults of `phase` are 1000 W and 230 V.
    """
    l1 = replace(Phase(1000), **phase)
    meter.load = Constant(l1, Phase(500), Phase(-200))
    await until_polled(entry)


async def test_power_that_changes_by_the_deadband_is_published(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    # The deadband is 20 W.
    await poll(entry, meter, watts=1010)
    assert state(hass, "power_l1") == "1000"
    await poll(entry, meter, watts=1020)
    assert state(hass, "power_l1") == "1020"
    await poll(entry, meter, watts=1010)
    assert state(hass, "power_l1") == "1020"


@pytest.mark.parametrize(
    ("key", "before", "after", "shown"),
    [
        # As floats, the first three differences are slightly below the deadband.
        ("current_l1", 4.36, 4.46, "4.46"),
        ("frequency", 49.99, 50.04, "50.04"),
        ("power_factor_l1", 0.93, 0.95, "0.95"),
        ("voltage_l1", 231.3, 232.3, "232.3"),
        # This difference is below the deadband of 0.05 Hz.
        ("frequency", 50.01, 50.05, "50.01"),
    ],
)
async def test_deadband_is_the_smallest_change_that_is_published_at_once(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    key: str,
    before: float,
    after: float,
    shown: str,
) -> None:
    (description,) = (each for each in sensor.SENSORS if each.key == key)
    coordinator = coordinator_of(entry)
    coordinator.data[key] = before
    entity = sensor.CountisSensor(coordinator, description)
    coordinator.data[key] = after
    entity.update_state()
    assert str(entity.native_value) == shown


async def test_drift_above_the_deadband_is_published(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    # The deadband is 1 V.
    shown = []
    for volts in (230.4, 230.8, 231.2, 231.6):
        await poll(entry, meter, volts=volts)
        shown.append(state(hass, "voltage_l1"))
    assert shown == ["230.0", "230.0", "231.2", "231.2"]


async def test_change_within_the_deadband_is_published_after_a_delay(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadband_sensor, "DEADBAND_SECONDS", 5)  # not 30 s
    await poll(entry, meter, watts=1100)
    await poll(entry, meter, watts=1110)
    assert state(hass, "power_l1") == "1100"
    await asyncio.sleep(5)
    assert state(hass, "power_l1") == "1110"


async def test_each_change_of_a_counter_is_published(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    states = shown_states(hass, "energy_consumed")
    for _ in range(4):
        # At 1 kW, a counter rises by 10 Wh in 36 s.
        meter.load = Constant(Phase(1000), Phase(0), Phase(0))
        clock.seconds += 18
        await until_polled(entry)
    assert states == ["1234.57", "1234.58"]


async def test_option_publishes_every_reading_without_a_reload(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    runtime = entry.runtime_data
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert form["type"] is FlowResultType.FORM
    await hass.config_entries.options.async_configure(
        form["flow_id"], {"publish_every_reading": True}
    )
    await hass.async_block_till_done()
    assert entry.runtime_data is runtime
    await poll(entry, meter, watts=1010)
    assert state(hass, "power_l1") == "1010"
    await poll(entry, meter, volts=230.1)
    assert state(hass, "voltage_l1") == "230.1"


def test_deadband_is_at_most_one_percent_of_a_typical_value() -> None:
    # Values at 230 V and 10 A, which is a tenth of the highest current.
    typical = {"V": 230.0, "A": 10.0, "W": 2300.0, "var": 2300.0, "VA": 2300.0}
    for description in sensor.SENSORS:
        unit = str(description.native_unit_of_measurement)
        if unit in typical:
            assert description.deadband <= 0.01 * typical[unit], description.key


class PublishedStates:
    """The sensors of `MEASUREMENT_DESCRIPTIONS`, and the states that they publish."""

    def __init__(self, *, publish_every_reading: bool) -> None:
        """Initialize the sensors' coordinator without a reading."""
        self.second = 0
        self.coordinator: Any = SimpleNamespace(
            data={},
            last_update_success=True,
            hass=SimpleNamespace(loop=SimpleNamespace(time=lambda: self.second)),
            config_entry=SimpleNamespace(
                options={"publish_every_reading": publish_every_reading},
                runtime_data=SimpleNamespace(device_id=""),
            ),
            subentry=SimpleNamespace(data={"serial_number": "1"}, title=""),
            meter=SimpleNamespace(profile=Profile()),
        )
        self.sensors: list[sensor.CountisSensor] = []
        self.state_count = 0
        self.joules = 0.0
        """The energy of the published powers."""

    def update(self, second: int, values: dict[str, float | None]) -> None:
        """Update the sensors with the values that are read at a time of `second` s.

        Add the number of changed states to `state_count`, and the energy of the
        published power to `joules`.
        """
        self.second = second
        self.coordinator.data = values
        # A new sensor takes its first state from `data`, so `data` must have values.
        if not self.sensors:
            self.sensors = [
                sensor.CountisSensor(self.coordinator, description)
                for description in MEASUREMENT_DESCRIPTIONS
            ]
        self.state_count += sum(each.update_state() for each in self.sensors)
        (power,) = (
            each for each in self.sensors if each.entity_description.key == "power"
        )
        assert power.native_value is not None
        self.joules += float(power.native_value)  # type: ignore[arg-type]


def test_deadbands_reduce_the_published_states_to_a_tenth() -> None:
    with_deadbands = PublishedStates(publish_every_reading=False)
    every_reading = PublishedStates(publish_every_reading=True)
    measured_joules = 0.0
    house = House(seed=7, solar_peak=6000, slot_seconds=1)
    # Three hours around noon, with one reading each second.
    for second in range(11 * HOUR_SECONDS, 14 * HOUR_SECONDS):
        phases = house.phases(second)
        measured_joules += sum(phase.watts for phase in phases)
        words = measurements(phases, 50 + second % 3 / 100)
        values = {}
        for description in MEASUREMENT_DESCRIPTIONS:
            field = Measurements.declared_fields[description.key]
            registers = [words[field.address], words[field.address + 1]]
            values[description.key] = field.decode(registers, None)
        for published in (with_deadbands, every_reading):
            published.update(second, values)
    assert with_deadbands.state_count < every_reading.state_count / 10
    assert with_deadbands.joules == pytest.approx(measured_joules, rel=0.005)
    # The relative tolerance above needs an energy that is not near 0.
    assert abs(measured_joules) > 1e6
