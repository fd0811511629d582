"""The states of the sensors of a meter."""

import logging

import pytest

from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.const import (
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from simulator import Constant, Line, Meter, Phase, table

from .common import (
    AddMeter,
    Clock,
    entity_id,
    reads,
    registers_of,
    state,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("fast_polling")

# The register address and the number of registers of each read.
MEASUREMENTS, WHOLE_MEASUREMENTS = (50520, 30), (50514, 54)
ENERGIES, TARIFFS = (50946, 18), (51200, 10)


async def enable(hass: HomeAssistant, entry: CountisConfigEntry, *keys: str) -> None:
    """Enable entities of the meter at unit ID 1, and wait until they are read."""
    registry = er.async_get(hass)
    for key in keys:
        registry.async_update_entity(entity_id(hass, key), disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)


async def test_state_follows_the_meter_at_each_poll(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    clock.seconds += 3600
    meter.load = Constant(Phase(-50, -30), Phase(-50), Phase(-50))
    await until_polled(entry)
    assert state(hass, "power") == "-150"
    assert state(hass, "power_l1") == "-50"
    # The meter also counts the past hour with the new load: 7.89 kWh + 1 h * 150 W.
    assert state(hass, "energy_produced") == "8.04"
    assert state(hass, "energy_consumed") == "1234.56"


async def test_consumed_power_and_produced_power_are_never_negative(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await enable(hass, entry, "power_consumed", "power_produced")
    shown = []
    for watts in (-2000, 0, 500):
        meter.load = Constant(Phase(watts), Phase(0), Phase(0))
        await until_polled(entry)
        shown.append((state(hass, "power_consumed"), state(hass, "power_produced")))
    assert shown == [("0", "2000"), ("0", "0"), ("500", "0")]


async def test_meter_that_mainly_produces_shows_the_power_of_each_direction(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    # If a meter has produced more energy than it has consumed, the sensors of consumed
    # power and produced power are enabled by default.
    meter.counters.consumed, meter.counters.produced = 40_000, 7_000_000  # Wh
    meter.load = Constant(Phase(-1500), Phase(0), Phase(0))
    await add_meter()
    assert state(hass, "power") == "-1500"
    assert state(hass, "power_produced") == "1500"
    assert state(hass, "power_consumed") == "0"


async def test_small_leading_power_factor_is_not_a_negative_zero(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    # 1 W and -1000 var: the power factor is -0.001, which is rounded to 0.
    meter.load = Constant(Phase(1, -1000), Phase(0), Phase(0))
    await until_polled(entry)
    assert state(hass, "power_factor") == "0"


async def next_reads(entry: CountisConfigEntry, line: Line) -> set[tuple[int, int]]:
    """Return the register address and number of registers of the next reads."""
    await until_polled(entry)
    line.requests.clear()
    # In 9 requests, each polled block is read at least once.
    await until(lambda: len(line.requests) > 8)
    return set(reads(line.requests))


async def test_poll_reads_each_block_in_one_request(
    entry: CountisConfigEntry, line: Line
) -> None:
    assert await next_reads(entry, line) == {MEASUREMENTS, ENERGIES, TARIFFS}


@pytest.mark.parametrize("quantity", ["voltage_l1_l2", "power_factor_l3"])
async def test_quantity_outside_the_main_measurements_extends_their_read(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    quantity: str,
) -> None:
    await enable(hass, entry, quantity)
    before = state(hass, quantity)
    assert before != STATE_UNAVAILABLE
    assert await next_reads(entry, line) == {WHOLE_MEASUREMENTS, ENERGIES, TARIFFS}
    # The arguments of `Phase` are in W, var and V.
    meter.load = Constant(Phase(100, 100, 200), Phase(0), Phase(100, 100, 200))
    await until_polled(entry)
    assert state(hass, quantity) != before


async def test_block_without_values_makes_only_its_quantities_unavailable(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "custom_components.socomec_countis")
    meter.blank_blocks = {table.METROLOGY}
    for _ in range(2):  # only the first failure is logged
        await until_polled(entry)
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "voltage_l1") == STATE_UNAVAILABLE
    assert state(hass, "phase_l1_present") == STATE_UNAVAILABLE
    assert state(hass, "energy_consumed") == "1234.56"
    assert caplog.text.count("COUNTIS E33 #1: the measurements cannot be read") == 1
    meter.blank_blocks = set()
    await until_polled(entry)
    assert state(hass, "power") == "1300"
    assert state(hass, "phase_l1_present") == "on"
    assert caplog.text.count("the measurements can be read again") == 1


async def test_phase_is_absent_below_145_volts_and_present_above_150(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    shown = []
    for volts in (151, 146, 144, 149, 151):
        meter.load = Constant(Phase(100), Phase(volts=volts), Phase(100))
        await until_polled(entry)
        shown.append(state(hass, "phase_l2_present"))
    assert shown == ["on", "on", "off", "off", "on"]
    assert state(hass, "phase_l1_present") == "on"


async def test_quantity_that_is_missing_in_the_profile_gets_no_entity(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.override = registers_of("voltage_l2", table.NOT_AVAILABLE)
    meter.override |= registers_of("power_l2", table.SIGNED_NOT_AVAILABLE)
    await add_meter()
    assert hass.states.get("sensor.countis_e33_1_voltage_l1")
    assert not hass.states.get("sensor.countis_e33_1_voltage_l2")
    assert not hass.states.get("sensor.countis_e33_1_power_l2")


async def test_quantity_that_becomes_not_available_is_unknown(
    hass: HomeAssistant, meter: Meter, entry: CountisConfigEntry
) -> None:
    meter.override = registers_of("voltage_l2", table.NOT_AVAILABLE)
    await until_polled(entry)
    assert state(hass, "voltage_l2") == STATE_UNKNOWN
    assert state(hass, "voltage_l1") == "230.0"


async def test_meter_without_tariff_counters_gets_no_tariff_entities(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.refused_blocks = {table.TARIFFS_UNIT_100, table.TARIFFS}
    await add_meter()
    assert hass.states.get("sensor.countis_e33_1_energy_consumed")
    assert not hass.states.get("sensor.countis_e33_1_tariff_1_energy")
