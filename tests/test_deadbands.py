"""Deadbands: readings that are published at once, and readings that are delayed."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from modbus_connection import ModbusUnit
import pytest

from custom_components.socomec_countis import sensor
from custom_components.socomec_countis.countis import Profile
from custom_components.socomec_countis.countis.registers import Measurements
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.sensor import SensorStateClass
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from simulator import Constant, House, Meter, Phase
from simulator.metrology import measurements

from .common import Clock, coordinator_of, entity_id, state, until_polled

pytestmark = pytest.mark.usefixtures("quick")


async def poll(entry: CountisConfigEntry, meter: Meter, **phase: float) -> None:
    """Wait for a poll while the meter measures these values on L1."""
    l1 = replace(Phase(1000), **phase)
    meter.load = Constant(l1, Phase(500), Phase(-200))
    await until_polled(entry)


async def test_change_of_power_is_published_from_the_deadband_on(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await poll(entry, meter, watts=1010)
    assert state(hass, "power_l1") == "1000"
    await poll(entry, meter, watts=1020)
    assert state(hass, "power_l1") == "1020"
    await poll(entry, meter, watts=1010)
    assert state(hass, "power_l1") == "1020"


@pytest.mark.parametrize(
    ("key", "before", "after", "shown"),
    [
        # As floats, the first three differences are just below the deadband.
        ("current_l1", 4.36, 4.46, "4.46"),
        ("frequency", 49.99, 50.04, "50.04"),
        ("power_factor_l1", 0.93, 0.95, "0.95"),
        ("voltage_l1", 231.3, 232.3, "232.3"),
        ("frequency", 50.01, 50.05, "50.01"),
    ],
)
async def test_change_by_exactly_the_deadband_is_published_at_once(
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
    found = sensor.CountisSensor(coordinator, description)
    coordinator.data[key] = after
    found.update_value()
    assert str(found.native_value) == shown


async def test_drift_is_published_when_it_exceeds_the_deadband(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
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
    monkeypatch.setattr(sensor, "PUBLISHED_FOR_SECONDS", 0)
    await poll(entry, meter, watts=1100)
    await poll(entry, meter, watts=1110)
    assert state(hass, "power_l1") == "1110"


async def test_each_change_of_a_counter_is_published(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    changes: list[str] = []

    def count(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == entity_id(hass, "energy_consumed"):
            new = event.data["new_state"]
            assert new is not None
            changes.append(new.state)

    hass.bus.async_listen(EVENT_STATE_CHANGED, count)
    for _ in range(4):
        # At 1 kW, a counter rises by 10 Wh in 36 s.
        meter.load = Constant(Phase(1000), Phase(0), Phase(0))
        clock.seconds += 18
        await until_polled(entry)
    # The listener is not a callback, so a call may not have ended yet.
    await hass.async_block_till_done()
    assert changes == ["1234.57", "1234.58"]


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


async def test_deadband_is_at_most_one_percent_of_a_typical_value(
    hass: HomeAssistant,
) -> None:
    # At 230 V and 10 A, a tenth of the highest current.
    typical = {"V": 230.0, "A": 10.0, "W": 2300.0, "var": 2300.0, "VA": 2300.0}
    for description in sensor.SENSORS:
        unit = str(description.native_unit_of_measurement)
        if unit in typical:
            assert description.deadband <= 0.01 * typical[unit], description.key


HOUR_SECONDS = 3600
MEASURED = tuple(
    description
    for description in sensor.SENSORS
    if description.entity_registry_enabled_default
    and description.state_class is SensorStateClass.MEASUREMENT
)


class Noon:
    """The default sensors of measured values, with a reading each second."""

    def __init__(self, *, publish_every_reading: bool) -> None:
        """Publish the readings of three hours around noon."""
        self.second = 0
        coordinator: Any = SimpleNamespace(
            data={},
            last_update_success=True,
            hass=SimpleNamespace(loop=SimpleNamespace(time=lambda: self.second)),
            config_entry=SimpleNamespace(
                options={"publish_every_reading": publish_every_reading}
            ),
            subentry=SimpleNamespace(data={"serial_number": "1"}, title=""),
            meter=SimpleNamespace(profile=Profile()),
        )
        self.rows = 0
        self.joules = 0.0
        self.counted = 0.0
        block = Measurements(cast("ModbusUnit", None))
        house = House(seed=7, solar_peak=6000, slot_seconds=1)
        sensors: list[sensor.CountisSensor] = []
        for self.second in range(11 * HOUR_SECONDS, 14 * HOUR_SECONDS):
            phases = house.phases(self.second)
            words = measurements(phases, 50 + self.second % 3 / 100)
            for description in MEASURED:
                field = block.declared_fields[description.key]
                coordinator.data[description.key] = field.decode(
                    [words[field.address], words[field.address + 1]], None
                )
            if not sensors:
                sensors = [
                    sensor.CountisSensor(coordinator, description)
                    for description in MEASURED
                ]
            self.rows += sum(each.update_value() for each in sensors)
            (power,) = (
                each for each in sensors if each.entity_description.key == "power"
            )
            assert power.native_value is not None
            self.joules += float(power.native_value)  # type: ignore[arg-type]
            self.counted += sum(phase.watts for phase in phases)


def test_deadbands_reduce_the_rows_to_less_than_a_tenth() -> None:
    sparse = Noon(publish_every_reading=False)
    every = Noon(publish_every_reading=True)
    assert sparse.rows < every.rows / 10
    # The published powers add up to the energy that the meter counted.
    assert sparse.joules == pytest.approx(sparse.counted, rel=0.005)
    assert abs(sparse.counted) > 1e6
