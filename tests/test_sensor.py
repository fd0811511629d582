"""The states of the sensors of a meter."""

import logging

import pytest

from custom_components.socomec_countis.runtime import CountisConfigEntry
from custom_components.socomec_countis.sensor import SENSORS
from homeassistant.components.sensor import ATTR_STATE_CLASS
from homeassistant.const import (
    ATTR_DEVICE_CLASS,
    ATTR_UNIT_OF_MEASUREMENT,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import Constant, Line, Meter, Phase

from .common import (
    SERIAL,
    AddMeter,
    Clock,
    entity_id,
    reads,
    state,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("fast_polling")


async def enable(hass: HomeAssistant, entry: CountisConfigEntry, *keys: str) -> None:
    """Enable entities of the meter at unit ID 1, and wait until they are read."""
    registry = er.async_get(hass)
    for key in keys:
        registry.async_update_entity(entity_id(hass, key), disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)


async def test_each_sensor_shows_the_value_of_the_meter(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    sensors = [each.key for each in SENSORS if each.key != "ct_ratio"]
    await enable(hass, entry, *sensors)

    # 1000 W on L1, 500 W on L2, -200 W on L3, each at 230 V.
    shown = {key: state(hass, key) for key in sensors}
    # The simulated clock has a fixed date, so its offset depends on today's date.
    assert float(shown.pop("clock_offset")) < 0
    assert shown == {
        **dict.fromkeys(
            (
                f"energy_{what}_{when}_{period}"
                for what in ("consumed", "produced")
                for when in ("this", "last")
                for period in ("week", "month")
            ),
            "0",
        ),
        "energy_consumed_today": "0",
        "energy_consumed_yesterday": "0",
        "energy_produced_today": "0",
        "energy_produced_yesterday": "0",
        "overflows_consumed": "0",
        "overflows_reactive": "0",
        "overflows_produced": "0",
        "overflows_tariff_1": "0",
        "overflows_tariff_2": "0",
        "overflows_tariff_3": "0",
        "overflows_tariff_4": "0",
        "energy_consumed": "1234.56",
        "energy_produced": "7.89",
        "energy_reactive": "300.01",
        "partial_energy_consumed": "45.67",
        "partial_energy_produced": "0.89",
        "partial_energy_reactive": "1.23",
        "tariff_1_energy": "1000.0",
        "tariff_2_energy": "234.56",
        "tariff_3_energy": "0",
        "tariff_4_energy": "0",
        "power": "1300",
        "power_l1": "1000",
        "power_l2": "500",
        "power_l3": "-200",
        "reactive_power": "0",
        "reactive_power_l1": "0",
        "reactive_power_l2": "0",
        "reactive_power_l3": "0",
        "apparent_power": "1300",
        "apparent_power_l1": "1000",
        "apparent_power_l2": "500",
        "apparent_power_l3": "200",
        "power_factor": "1.0",
        "power_factor_l1": "1.0",
        "power_factor_l2": "1.0",
        "power_factor_l3": "1.0",
        "voltage_l1": "230.0",
        "voltage_l2": "230.0",
        "voltage_l3": "230.0",
        "voltage_l1_l2": "398.4",
        "voltage_l2_l3": "398.4",
        "voltage_l3_l1": "398.4",
        "current_l1": "4.35",
        "current_l2": "2.17",
        "current_l3": "0.87",
        "current_neutral": "4.54",
        "frequency": "50.01",
    }


@pytest.mark.parametrize(
    ("key", "device_class", "unit", "state_class"),
    [
        ("energy_consumed", "energy", "kWh", "total_increasing"),
        ("partial_energy_produced", "energy", "kWh", "total_increasing"),
        ("tariff_2_energy", "energy", "kWh", "total_increasing"),
        ("power", "power", "W", "measurement"),
        ("power_factor", "power_factor", None, "measurement"),
        ("voltage_l3", "voltage", "V", "measurement"),
        ("current_l2", "current", "A", "measurement"),
        ("frequency", "frequency", "Hz", "measurement"),
    ],
)
async def test_sensor_has_the_classes_and_the_unit_of_its_quantity(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    key: str,
    device_class: str,
    unit: str | None,
    state_class: str,
) -> None:
    shown = hass.states.get(entity_id(hass, key))
    assert shown is not None
    assert shown.attributes[ATTR_DEVICE_CLASS] == device_class
    assert shown.attributes.get(ATTR_UNIT_OF_MEASUREMENT) == unit
    assert shown.attributes[ATTR_STATE_CLASS] == state_class


async def test_details_and_unused_tariffs_are_disabled_by_default(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
) -> None:
    enabled = {
        entity.unique_id.removeprefix(f"{SERIAL}_")
        for entity in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
        if entity.disabled_by is None
    }
    assert enabled == {
        "energy_consumed",
        "energy_produced",
        "partial_energy_consumed",
        "partial_energy_produced",
        "tariff_1_energy",
        "tariff_2_energy",
        "power",
        "power_l1",
        "power_l2",
        "power_l3",
        "power_factor",
        "voltage_l1",
        "voltage_l2",
        "voltage_l3",
        "current_l1",
        "current_l2",
        "current_l3",
        "frequency",
        "reset_partial_counters",
        "check_wiring",
        "tariff",
        "phase_l1_present",
        "phase_l2_present",
        "phase_l3_present",
    }


async def test_device_describes_the_meter(
    hass: HomeAssistant, device_registry: dr.DeviceRegistry, entry: CountisConfigEntry
) -> None:
    (device,) = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert (device.manufacturer, device.model, device.name) == (
        "Socomec",
        "COUNTIS E33",
        "COUNTIS E33 #1",
    )
    assert (device.serial_number, device.sw_version) == (SERIAL, "1.02")
    assert entity_id(hass, "power") == "sensor.countis_e33_1_power"


async def test_state_follows_the_meter_at_each_poll(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    clock.seconds += 3600
    meter.load = Constant(Phase(-50, -30), Phase(-50), Phase(-50))
    await until_polled(entry)
    assert state(hass, "power") == "-150"
    assert state(hass, "power_l1") in ("-50", "-40")
    # The new load also applies to the past hour: 1 h at -150 W.
    assert state(hass, "energy_produced") == "8.04"
    assert state(hass, "energy_consumed") == "1234.56"


async def test_small_leading_power_factor_is_not_a_negative_zero(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.load = Constant(Phase(1, -1000), Phase(0), Phase(0))
    await until_polled(entry)
    assert state(hass, "power_factor") == "0"


async def blocks_read(entry: CountisConfigEntry, line: Line) -> set[tuple[int, int]]:
    """Return the register address and the length of each read of the next polls."""
    await until_polled(entry)
    line.requests.clear()
    await until(lambda: len(line.requests) > 8)
    return set(reads(line.requests))


async def test_poll_reads_each_block_in_one_request(
    entry: CountisConfigEntry, line: Line
) -> None:
    assert await blocks_read(entry, line) == {(50520, 30), (50946, 18), (51200, 10)}


@pytest.mark.parametrize("quantity", ["voltage_l1_l2", "power_factor_l3"])
async def test_enabled_detail_extends_the_read_of_the_measurements(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    quantity: str,
) -> None:
    await enable(hass, entry, quantity)
    before = state(hass, quantity)
    assert before != STATE_UNAVAILABLE
    assert await blocks_read(entry, line) == {(50514, 54), (50946, 18), (51200, 10)}
    meter.load = Constant(Phase(100, 100, 200), Phase(0), Phase(100, 100, 200))
    await until_polled(entry)
    assert state(hass, quantity) != before


async def test_unreadable_block_makes_only_its_own_quantities_unavailable(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "custom_components.socomec_countis")
    meter.blank_blocks = {50512}
    for _ in range(2):
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
    meter.override = {50522: 0xFFFF, 50523: 0xFFFF, 50546: 0x7FFF, 50547: 0xFFFF}
    await add_meter()
    assert hass.states.get("sensor.countis_e33_1_voltage_l1")
    assert not hass.states.get("sensor.countis_e33_1_voltage_l2")
    assert not hass.states.get("sensor.countis_e33_1_power_l2")


async def test_quantity_that_is_not_available_later_is_unknown(
    hass: HomeAssistant, meter: Meter, entry: CountisConfigEntry
) -> None:
    meter.override = {50522: 0xFFFF, 50523: 0xFFFF}
    await until_polled(entry)
    assert state(hass, "voltage_l2") == STATE_UNKNOWN
    assert state(hass, "voltage_l1") == "230.0"


async def test_meter_without_tariff_counters_gets_no_entity_for_them(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.refused_blocks = {51200, 50848}
    await add_meter()
    assert hass.states.get("sensor.countis_e33_1_energy_consumed")
    assert not hass.states.get("sensor.countis_e33_1_tariff_1_energy")
