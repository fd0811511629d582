"""Commissioning: tariff counters, clock, records, phases and wiring of a meter."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import mock_restore_cache

from custom_components.socomec_countis import coordinator as coordinator_module
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import Reading
from custom_components.socomec_countis.runtime import CountisConfigEntry
from custom_components.socomec_countis.wiring_sensor import ATTRIBUTES
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.components.persistent_notification import (
    _async_get_or_create_notifications,
)
from homeassistant.const import (
    ATTR_ENTITY_ID,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant, State
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from simulator import Constant, Line, Meter, Phase, table

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    Clock,
    add_only,
    coordinator_of,
    entity_id,
    reads,
    registers_of,
    shown_states,
    state,
    stopped_clock,
    until,
    until_polled,
    until_read,
    writes_on,
)
from .test_button import press

FULL_LOAD = Phase(5000, 500)  # W, var
# Requests that read registers: the register address and the number of registers.
ENERGIES = (50946, 18)
CLOCK = (57600, 6)
WHOLE_MEASUREMENTS = (50514, 54)  # all quantities of the block


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities, and those that tests use or expect to be missing."""
    add_only(
        monkeypatch,
        "clock_offset",
        "set_clock",
        "reset_tariff_counters",
        "tariff_2_energy",
        "energy_consumed_today",
        "energy_consumed_yesterday",
        "energy_produced_this_month",
        "overflows_consumed",
        "ct_ratio",
        "phase_l2_present",
        "wiring",
        "check_wiring",
    )


async def enable(hass: HomeAssistant, entry: CountisConfigEntry, *keys: str) -> None:
    """Enable entities that are disabled by default, and reload the bus."""
    registry = er.async_get(hass)
    for key in keys:
        registered = registry.async_get(entity_id(hass, key))
        assert registered is not None
        assert registered.disabled_by is er.RegistryEntryDisabler.INTEGRATION, key
        registry.async_update_entity(registered.entity_id, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)


async def until_energies_read(line: Line, count: int) -> None:
    """Wait until the energies of the meter at unit ID 1 are read `count` more times."""

    def read_count() -> int:
        return reads(line.requests).count(ENERGIES)

    before = read_count()
    await until(lambda: read_count() - before >= count)


# -- tariff counters ---------------------------------------------------------------


async def test_reset_of_the_tariff_counters_resets_no_other_counter(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await enable(hass, entry, "reset_tariff_counters")
    assert state(hass, "tariff_2_energy") == "234.56"
    await press(hass, "reset_tariff_counters")
    assert state(hass, "tariff_1_energy") == "0"
    assert state(hass, "tariff_2_energy") == "0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert meter.writes == [(57892, [0x000F])]  # one bit for each of four tariffs


async def test_only_tariff_counters_that_the_meter_has_are_reset(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    # The tariff counters 3 and 4 are not available, in either resolution.
    meter.override = dict.fromkeys((*range(51206, 51210), *range(50854, 50858)), 0xFFFF)
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await enable(hass, entry, "reset_tariff_counters")
    await press(hass, "reset_tariff_counters")
    assert meter.writes == [(57892, [0x0003])]  # the bits of tariffs 1 and 2


async def test_failed_reset_of_the_tariff_counters_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await enable(hass, entry, "reset_tariff_counters")
    meter.ignored_writes = {57892}  # the reset of the tariff counters
    with pytest.raises(HomeAssistantError, match="tariff counters to zero"):
        await press(hass, "reset_tariff_counters")
    meter.refused_writes = {57892}
    with pytest.raises(HomeAssistantError, match="tariff counters to zero"):
        await press(hass, "reset_tariff_counters")
    assert state(hass, "tariff_1_energy") == "1000.0"


# -- clock -------------------------------------------------------------------------


@pytest.fixture
async def berlin(hass: HomeAssistant) -> None:
    """Set a time zone with daylight saving time."""
    await hass.config.async_set_time_zone("Europe/Berlin")


def show_time(meter: Meter, *parts: int) -> None:
    """Let the clock of a meter show this day, month, year, hour, minute and second."""
    meter.override = dict(enumerate(parts, CLOCK[0]))


async def test_clock_is_set_to_the_local_time_in_one_write(
    hass: HomeAssistant,
    fast_polling: None,
    berlin: None,
    entry: CountisConfigEntry,
    meter: Meter,
    line: Line,
) -> None:
    await enable(hass, entry, "set_clock", "clock_offset")
    # In s; the simulated clock is months behind the local time, and does not advance.
    assert float(state(hass, "clock_offset")) < -1000
    await press(hass, "set_clock")
    assert abs(float(state(hass, "clock_offset"))) <= 2
    await until_energies_read(line, 3)
    # The offset from before the command is not shown again.
    assert float(state(hass, "clock_offset")) > -1000
    ((register, values),) = meter.writes
    assert register == 57600
    day, month, year, hour, minute, second = values
    # In Berlin, the local time is one or two hours ahead of UTC.
    shown = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
    offset = shown.replace(tzinfo=UTC) - dt_util.utcnow()
    assert timedelta(minutes=59) < offset < timedelta(hours=2, minutes=1)


async def test_clock_that_follows_daylight_saving_has_the_offset_0(
    hass: HomeAssistant,
    berlin: None,
    entry: CountisConfigEntry,
    meter: Meter,
    subtests: pytest.Subtests,
) -> None:
    await enable(hass, entry, "clock_offset")
    for utc, shown in (
        # Around the change to daylight saving time, and around the change back.
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), (29, 3, 2026, 1, 30, 0)),
        (datetime(2026, 3, 29, 1, 30, tzinfo=UTC), (29, 3, 2026, 3, 30, 0)),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), (25, 10, 2026, 2, 30, 0)),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), (25, 10, 2026, 2, 30, 0)),
        (datetime(2026, 10, 25, 2, 30, tzinfo=UTC), (25, 10, 2026, 3, 30, 0)),
    ):
        # The clock shows whole seconds, so its exact time is 0.5 s later on average.
        with (
            subtests.test(utc=str(utc)),
            stopped_clock(utc + timedelta(seconds=0.5)),
        ):
            show_time(meter, *shown)
            await hass.config_entries.async_reload(entry.entry_id)
            await until_read(hass, entry)
            assert state(hass, "clock_offset") == "0"


async def test_offset_of_a_clock_with_a_year_of_two_digits_is_shown(
    hass: HomeAssistant, berlin: None, entry: CountisConfigEntry, meter: Meter
) -> None:
    show_time(meter, 23, 11, 26, 13, 0, 7)
    # In Berlin, it is half a second after 13:00.
    with stopped_clock(datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC)):
        await enable(hass, entry, "clock_offset")
        assert state(hass, "clock_offset") == "7"


async def test_offset_of_an_invalid_clock_is_unknown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    subtests: pytest.Subtests,
) -> None:
    await enable(hass, entry, "clock_offset")
    # In s; the simulated clock is valid, but months behind the local time.
    assert float(state(hass, "clock_offset")) < -1000
    # The second date is the 31st of February.
    for shown in ((0, 0, 0, 0, 0, 0), (31, 2, 2026, 1, 1, 1)):
        with subtests.test(shown=shown):
            show_time(meter, *shown)
            await hass.config_entries.async_reload(entry.entry_id)
            await until_read(hass, entry)
            assert state(hass, "clock_offset") == STATE_UNKNOWN


async def test_clock_that_cannot_be_set_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await enable(hass, entry, "set_clock")
    meter.ignored_writes = {57600}  # the clock
    with pytest.raises(HomeAssistantError, match="clock of COUNTIS E33 #1"):
        await press(hass, "set_clock")
    meter.refused_writes = {57600}
    with pytest.raises(HomeAssistantError, match="clock of COUNTIS E33 #1"):
        await press(hass, "set_clock")


async def test_setting_the_clock_holds_the_bus_until_the_read_back(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
) -> None:
    # If the command released the bus lock after the write, the poller could read the
    # second meter before the read-back.
    await add_meter(unit_id=2)
    await enable(hass, entry, "set_clock")
    line.requests.clear()
    await press(hass, "set_clock")
    (write_index,) = (i for i, frame in enumerate(line.requests) if frame[1] == 16)
    identity, _, read_back = line.requests[write_index - 1 : write_index + 2]
    assert reads([identity, read_back]) == [(50006, 5), CLOCK]


async def test_older_reading_does_not_replace_a_newer_reading(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    await enable(hass, entry, "clock_offset")
    coordinator = coordinator_of(entry)
    now = hass.loop.time()
    coordinator.on_reading(Reading("clock", {"clock_offset": 1.0}, now))
    coordinator.on_reading(Reading("clock", {"clock_offset": -99.0}, now - 0.1))
    assert state(hass, "clock_offset") == "1.0"


async def test_clock_of_another_meter_is_neither_shown_nor_set(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, line: Line
) -> None:
    await enable(hass, entry, "set_clock", "clock_offset")
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    shown = state(hass, "clock_offset")
    meter.serial = (0x2025, 0x0001, 7)
    show_time(meter, 1, 1, 1, 1, 1, 1)
    meter.offline = False
    line.requests.clear()
    with pytest.raises(HomeAssistantError, match="2025000100007"):
        await press(hass, "set_clock")
    assert state(hass, "clock_offset") == shown
    assert writes_on(line) == []


async def test_entities_of_blocks_that_are_not_supported_do_not_exist(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    meter: Meter,
    add_meter: AddMeter,
) -> None:
    meter.refused_blocks = {
        table.CLOCK,
        table.OVERFLOW,
        table.PERIODS,
        table.PERIODS_UNIT_100,
    }
    await add_meter()
    ids = {each.unique_id for each in entity_registry.entities.values()}
    for key in ("set_clock", "clock_offset", "overflows_consumed"):
        assert f"{SERIAL}_{key}" not in ids
    assert f"{SERIAL}_energy_consumed_today" not in ids


async def test_clock_is_read_rarely_and_only_if_its_entity_is_enabled(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.requests.clear()
    await until_energies_read(line, 3)
    assert CLOCK not in reads(line.requests)
    await enable(hass, entry, "clock_offset")
    await until_energies_read(line, 5)
    assert reads(line.requests).count(CLOCK) == 1


# -- records of the meter ----------------------------------------------------------


async def test_energies_of_days_and_months_are_read_from_the_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    await enable(
        hass,
        entry,
        "energy_consumed_today",
        "energy_consumed_yesterday",
        "energy_produced_this_month",
    )
    assert state(hass, "energy_consumed_today") == "0"
    clock.seconds += 3600
    # In kWh, after an hour at 2 kW and 1 kW.
    await until(lambda: state(hass, "energy_consumed_today") == "3.0")
    assert state(hass, "energy_consumed_yesterday") == "0"
    assert state(hass, "energy_produced_this_month") == "0"
    found = hass.states.get(entity_id(hass, "energy_consumed_today"))
    assert found is not None
    # No state class, because statistics would repeat those of the total counter.
    assert "state_class" not in found.attributes


async def test_energy_of_a_day_in_low_resolution_is_in_whole_kwh(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter, clock: Clock
) -> None:
    meter.refused_blocks = {table.PERIODS_UNIT_100}
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    profile = coordinator_of(entry).meter.profile
    assert profile.blocks["periods"] == "PeriodsInKwh"
    meter.load = Constant(Phase(2500), Phase(1000), Phase(0))
    clock.seconds += 3600
    await enable(hass, entry, "energy_consumed_today")
    assert state(hass, "energy_consumed_today") == "3"  # truncated from 3.5 kWh


async def test_overflows_are_read_from_the_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = {36866: 2}  # the overflows of the consumed energy
    await enable(hass, entry, "overflows_consumed")
    assert state(hass, "overflows_consumed") == "2"


async def test_meter_with_current_transformers_shows_their_ratio(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.model = "Countis E44"
    meter.settings |= {57345: 5, 57346: 250}  # A; secondary, primary
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await enable(hass, entry, "ct_ratio")
    assert state(hass, "ct_ratio") == "50.0"


async def test_meter_without_current_transformers_shows_no_ratio(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
) -> None:
    ids = {each.unique_id for each in entity_registry.entities.values()}
    assert f"{SERIAL}_ct_ratio" not in ids


# -- phases ------------------------------------------------------------------------


async def test_phase_is_present_above_150_v_until_the_voltage_falls_to_145_v(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    seen = []
    for volts in (230, 149, 146, 144, 149, 151):
        meter.load = Constant(Phase(100, 0, 230), Phase(100, 0, volts), Phase(100))
        await until_polled(entry)
        seen.append(state(hass, "phase_l2_present"))
    assert seen == [STATE_ON] * 3 + [STATE_OFF] * 2 + [STATE_ON]
    assert state(hass, "phase_l1_present") == STATE_ON


async def test_phase_of_an_offline_meter_is_unavailable(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, short_pauses: None
) -> None:
    meter.offline = True
    await until(lambda: state(hass, "phase_l1_present") == STATE_UNAVAILABLE)
    meter.offline = False
    await until(lambda: state(hass, "phase_l1_present") == STATE_ON)


# -- wiring ------------------------------------------------------------------------


async def check_wiring(hass: HomeAssistant) -> dict[str, Any]:
    """Check the wiring of the meter at unit ID 1, and return its result."""
    response = await hass.services.async_call(
        DOMAIN,
        "check_wiring",
        {ATTR_ENTITY_ID: entity_id(hass, "power")},
        blocking=True,
        return_response=True,
    )
    assert response is not None
    meters: Any = response["meters"]
    (found,) = meters
    result: dict[str, Any] = found
    return result


def wiring_attributes(hass: HomeAssistant) -> dict[str, Any]:
    """Return the attributes that the sensor of the wiring has after a check."""
    shown = hass.states.get(entity_id(hass, "wiring"))
    assert shown is not None
    return {key: shown.attributes[key] for key in ATTRIBUTES}


async def test_correct_wiring_has_no_error(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.load = Constant(FULL_LOAD, FULL_LOAD, FULL_LOAD)
    found = await check_wiring(hass)
    assert found["meter"] == "COUNTIS E33 #1"
    assert found["codes"] == [0]
    assert found["unmet_conditions"] == []
    assert found["values"]["power_l1"] == 5000
    assert "solar inverters and batteries are off" in found["note"]


async def test_reversed_current_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.load = Constant(FULL_LOAD, Phase(-5000, -500), FULL_LOAD)
    found = await check_wiring(hass)
    assert found["codes"] == [2]
    (text,) = found["findings"]
    assert text.startswith("Err 2: the current of phase L2 is reversed.")


async def test_unmet_conditions_are_shown_with_the_measured_values(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    found = await check_wiring(hass)
    assert found["codes"] == []
    texts = [unmet["text"] for unmet in found["unmet_conditions"]]
    # The default load is 1000, 500 and -200 W, at 230 V. Each current is rounded down
    # to 1 mA.
    assert any(
        "L3: the current is 0.869 A; at least 1 A is needed" in text for text in texts
    )
    assert any("add up to 7.389 A" in text for text in texts)


async def test_button_replaces_the_notification_of_the_previous_check(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await press(hass, "check_wiring")
    (unmet,) = _async_get_or_create_notifications(hass).values()
    assert unmet["title"] == "Wiring of COUNTIS E33 #1"
    assert "these conditions are not met" in unmet["message"]
    meter.load = Constant(FULL_LOAD, FULL_LOAD, Phase(-5000))
    await press(hass, "check_wiring")
    (found,) = _async_get_or_create_notifications(hass).values()
    assert "Err 3" in found["message"]
    assert "| W | 5000 | 5000 | -5000 |" in found["message"]


async def test_high_power_is_shown_without_an_exponent(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, line: Line
) -> None:
    meter.load = Constant(Phase(123_450), Phase(12_340), FULL_LOAD)
    await press(hass, "check_wiring")
    (high,) = _async_get_or_create_notifications(hass).values()
    assert "| W | 123450 | 12340 | 5000 |" in high["message"]
    watts = iter([20_000, 20_000, -20_000, 20_000, 20_000])  # L2 in each reading

    def set_load(request: bytes) -> None:
        if reads([request]) == [WHOLE_MEASUREMENTS]:
            meter.load = Constant(FULL_LOAD, Phase(next(watts)), FULL_LOAD)

    line.on_request = set_load
    await press(hass, "check_wiring")
    (unsteady,) = _async_get_or_create_notifications(hass).values()
    assert "12000 W" in unsteady["message"]
    assert "e+" not in unsteady["message"]


async def test_wiring_is_unknown_before_the_first_check(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    assert state(hass, "wiring") == STATE_UNKNOWN


async def test_sensor_shows_that_a_check_runs_and_then_its_result(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    shown = shown_states(hass, "wiring")
    check = hass.async_create_task(press(hass, "check_wiring"))
    await until(lambda: shown)
    (notification,) = _async_get_or_create_notifications(hass).values()
    assert "read for about 4 seconds" in notification["message"]
    await check
    assert shown == ["checking", "inconclusive"]
    attributes = wiring_attributes(hass)
    assert attributes["codes"] == attributes["findings"] == []
    assert any("add up to 7.389 A" in text for text in attributes["unmet_conditions"])
    assert dt_util.parse_datetime(attributes["checked_at"])
    meter.load = Constant(FULL_LOAD, FULL_LOAD, FULL_LOAD)
    await check_wiring(hass)
    meter.load = Constant(FULL_LOAD, FULL_LOAD, Phase(-5000))
    await check_wiring(hass)
    assert shown[2:] == ["checking", "correct", "checking", "faulty"]
    assert wiring_attributes(hass)["codes"] == [3]


async def test_second_check_of_a_meter_waits_for_the_first(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    shown = shown_states(hass, "wiring")
    first = hass.async_create_task(check_wiring(hass))
    await asyncio.sleep(2)
    second = hass.async_create_task(press(hass, "check_wiring"))
    await first
    await asyncio.sleep(1)
    assert not second.done()
    assert state(hass, "wiring") == "checking"
    await second
    assert shown == ["checking", "inconclusive"] * 2


async def test_failed_check_keeps_the_result_of_the_previous_check(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, line: Line
) -> None:
    meter.load = Constant(FULL_LOAD, FULL_LOAD, FULL_LOAD)
    await press(hass, "check_wiring")
    before = wiring_attributes(hass)
    line.cut = True
    with pytest.raises(HomeAssistantError, match="No meter responds"):
        await press(hass, "check_wiring")
    assert (state(hass, "wiring"), wiring_attributes(hass)) == ("correct", before)
    assert not _async_get_or_create_notifications(hass)


async def test_result_of_a_check_is_kept_after_a_reload_and_while_offline(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.load = Constant(FULL_LOAD, FULL_LOAD, FULL_LOAD)
    await check_wiring(hass)
    before = wiring_attributes(hass)
    await hass.config_entries.async_reload(entry.entry_id)
    assert (state(hass, "wiring"), wiring_attributes(hass)) == ("correct", before)
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert state(hass, "wiring") == "correct"


async def test_result_is_kept_if_a_reload_interrupts_the_next_check(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.load = Constant(FULL_LOAD, FULL_LOAD, Phase(-5000))
    await check_wiring(hass)
    before = wiring_attributes(hass)
    check = hass.async_create_task(check_wiring(hass))
    await until(lambda: state(hass, "wiring") == "checking")
    await hass.config_entries.async_reload(entry.entry_id)
    assert (state(hass, "wiring"), wiring_attributes(hass)) == ("faulty", before)
    with pytest.raises(HomeAssistantError, match="cannot be opened"):
        await check


async def test_first_check_that_a_restart_interrupted_has_no_result(
    hass: HomeAssistant, add_meter: AddMeter, entity_registry: er.EntityRegistry
) -> None:
    sensor = "sensor.countis_e33_1_wiring"
    mock_restore_cache(hass, [State(sensor, "checking")])
    await add_meter()
    assert entity_id(hass, "wiring") == sensor
    assert state(hass, "wiring") == STATE_UNKNOWN


async def test_action_checks_the_wiring_of_several_meters(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter
) -> None:
    await add_meter(unit_id=2)
    response = await hass.services.async_call(
        DOMAIN,
        "check_wiring",
        {
            ATTR_ENTITY_ID: [
                entity_id(hass, "power"),
                entity_id(hass, "power", SECOND_SERIAL),
            ]
        },
        blocking=True,
        return_response=True,
    )
    assert response is not None
    meters: Any = response["meters"]
    assert [each["meter"] for each in meters] == ["COUNTIS E33 #1", "COUNTIS E33 #2"]


async def test_voltage_that_is_not_available_is_shown_as_a_dash(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = registers_of("voltage_l2", table.NOT_AVAILABLE)
    await press(hass, "check_wiring")
    (shown,) = _async_get_or_create_notifications(hass).values()
    assert "L2: the voltage is -; more than 150 V is needed." in shown["message"]
    assert "| V | 230 | - | 230 |" in shown["message"]


async def test_wiring_check_without_a_response_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.cut = True
    with pytest.raises(HomeAssistantError, match="No meter responds"):
        await check_wiring(hass)


async def test_wiring_check_without_mains_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = registers_of("frequency", 0)
    with pytest.raises(HomeAssistantError, match="no mains frequency"):
        await check_wiring(hass)


async def test_wiring_check_during_a_reload_fails_and_closes_the_port(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The check has no pauses between its readings, so the reload comes during one of
    # its requests.
    monkeypatch.setattr(coordinator_module, "WIRING_SECONDS", 0)
    monkeypatch.setattr(coordinator_module, "WIRING_READINGS", 1000)
    line.requests.clear()
    check = hass.async_create_task(check_wiring(hass))
    await until(lambda: WHOLE_MEASUREMENTS in reads(line.requests))
    await hass.config_entries.async_reload(entry.entry_id)
    with pytest.raises(HomeAssistantError, match="cannot be opened"):
        await check
    await until_read(hass, entry)
    await hass.config_entries.async_unload(entry.entry_id)
    assert async_get_connection_info(hass) == []
