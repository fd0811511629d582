"""The entities of the demand: their states over hours, restarts and a month change."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis.poller import MEASUREMENTS
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from simulator import LOST, Fault, Line, Meter, table

from .common import (
    SERIAL,
    AddMeter,
    add_only,
    coordinator_of,
    entity_id,
    reads,
    registers_of,
    state,
    subentry_of,
    until_read,
)
from .demand_hours import (
    ENERGIES,
    SENSORS,
    START,
    RunningClock,
    poll_mainly,
    running_clock,
    set_load,
    sleep_until,
    watts,
)
from .test_sensor import enable

# In s; the time between two reads of the counters. A longer time makes the tests
# faster, but a demand needs two readings that are at most 30 s apart.
COUNTER_SECONDS = 15


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities and those of the demand."""
    add_only(monkeypatch, *SENSORS, "demand_period")


@pytest.fixture(autouse=True)
def _slow_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll the counters of the demand, and hardly any other block."""
    poll_mainly(monkeypatch, ENERGIES, seconds=COUNTER_SECONDS)


@pytest.fixture
def start() -> datetime:
    """Return the time of Home Assistant at the start of the test."""
    return START


@pytest.fixture
async def clock(start: datetime) -> AsyncGenerator[RunningClock]:
    """Let the clocks of Home Assistant and of the meter begin at `start`."""
    with running_clock(start) as clock:
        yield clock


@pytest.fixture
async def low_resolution_entry(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    meter: Meter,
    add_meter: AddMeter,
    clock: RunningClock,
    monkeypatch: pytest.MonkeyPatch,
) -> CountisConfigEntry:
    """Return the entry of a bus whose meter has totals only in low resolution.

    The load of the meter is 3000 W. The time is 12:05.
    """
    poll_mainly(monkeypatch, MEASUREMENTS)
    meter.refused_blocks = {table.ENERGIES_UNIT_100}
    set_load(meter, 3000)
    await add_meter()
    entry: CountisConfigEntry
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await enable(hass, entry, *SENSORS)
    await sleep_until(hass, clock, "12:05:00")
    return entry


@pytest.fixture
async def demand_entry(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: CountisConfigEntry,
    meter: Meter,
) -> CountisConfigEntry:
    """Return the entry of a bus, with the entities of the demand enabled.

    The load of the meter is 3000 W.
    """
    set_load(meter, 3000)
    await enable(hass, entry, *SENSORS, "demand_period")
    return entry


async def test_demand_follows_the_periods_of_the_clock(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Read the counters often, so that the last reading has almost the present energy.
    poll_mainly(monkeypatch, ENERGIES, seconds=5)
    await sleep_until(hass, clock, "11:59:30")
    assert [state(hass, key) for key in SENSORS] == [STATE_UNKNOWN] * 4
    await sleep_until(hass, clock, "12:05:00")
    # 3000 W in 5 of 15 min
    assert watts(hass, "demand") == pytest.approx(1000, abs=50)
    assert watts(hass, "demand_forecast") == pytest.approx(3000, abs=100)
    forecast = hass.states.get(entity_id(hass, "demand_forecast"))
    assert forecast is not None
    assert forecast.attributes["period_begin"] == START.replace(hour=12, minute=0)
    assert forecast.attributes["period_end"] == START.replace(hour=12, minute=15)
    set_load(meter, 9000)
    await sleep_until(hass, clock, "12:10:00")
    # 3000 W and 9000 W, each in 5 of 15 min. The forecast adds 5 min of 9000 W.
    assert watts(hass, "demand") == pytest.approx(4000, abs=80)
    assert watts(hass, "demand_forecast") == pytest.approx(7000, abs=150)
    await sleep_until(hass, clock, "12:15:12")
    # 9000 W in about 10 s of 15 min
    assert watts(hass, "demand") == pytest.approx(100, abs=100)
    assert watts(hass, "demand_forecast") == pytest.approx(9000, abs=200)
    assert watts(hass, "peak_demand_this_month") == pytest.approx(7000, abs=40)
    set_load(meter, 1000)
    await sleep_until(hass, clock, "12:30:10")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(7000, abs=40)
    peak = hass.states.get(entity_id(hass, "peak_demand_this_month"))
    assert peak is not None
    assert peak.attributes["period_begin"] == START.replace(hour=12, minute=0)
    assert peak.attributes["period_end"] == START.replace(hour=12, minute=15)
    assert state(hass, "peak_demand_last_month") == STATE_UNKNOWN


async def test_period_is_updated_although_the_demand_stays_the_same(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
) -> None:
    set_load(meter, 0)
    for begin in ("12:00", "12:15", "12:30"):
        await sleep_until(hass, clock, f"{begin}:30")
        for key in ("demand", "demand_forecast"):
            shown = hass.states.get(entity_id(hass, key))
            assert shown is not None
            assert shown.state == "0"
            assert f"{shown.attributes['period_begin']:%H:%M}" == begin


@pytest.mark.parametrize("start", [START.replace(month=6, day=30, hour=23, minute=28)])
async def test_highest_demand_moves_to_last_month_at_midnight(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
    line: Line,
) -> None:
    await sleep_until(hass, clock, "23:59:50")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)
    # The meter is offline at midnight.
    line.default_fault = lambda: LOST
    await asyncio.sleep(2 * COUNTER_SECONDS)
    await hass.async_block_till_done()
    assert state(hass, "demand") == STATE_UNAVAILABLE
    assert state(hass, "peak_demand_this_month") == STATE_UNKNOWN
    assert watts(hass, "peak_demand_last_month") == pytest.approx(3000, abs=40)
    line.default_fault = Fault
    set_load(meter, 1000)
    await sleep_until(hass, clock, "00:31:00")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(1000, abs=40)
    assert watts(hass, "peak_demand_last_month") == pytest.approx(3000, abs=40)


async def restart(hass: HomeAssistant, entry: CountisConfigEntry, pause: float) -> None:
    """Unload the bus, and set it up again after `pause`, in s."""
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(pause)
    await hass.config_entries.async_setup(entry.entry_id)
    await until_read(hass, entry)


async def test_restart_within_a_period_does_not_interrupt_the_period(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
) -> None:
    await sleep_until(hass, clock, "12:05:00")
    set_load(meter, 6000)
    await restart(hass, demand_entry, 120)
    assert state(hass, "demand_forecast") == STATE_UNKNOWN
    set_load(meter, 3000)
    await sleep_until(hass, clock, "12:08:30")
    # 3000 W in 6.5 of 15 min, and 6000 W in 2 min
    assert watts(hass, "demand") == pytest.approx(2100, abs=100)
    await sleep_until(hass, clock, "12:15:20")
    # 3000 W in 13 of 15 min, and 6000 W in 2 min
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3400, abs=100)


async def test_energy_of_a_long_pause_is_in_no_peak(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
) -> None:
    await sleep_until(hass, clock, "12:15:20")
    set_load(meter, 9000)
    await restart(hass, demand_entry, 3600)
    set_load(meter, 1000)
    await asyncio.sleep(60)
    assert state(hass, "demand") == STATE_UNKNOWN
    await sleep_until(hass, clock, "13:45:20")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)


async def test_period_without_readings_at_its_end_is_no_peak(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    line: Line,
) -> None:
    await sleep_until(hass, clock, "12:14:30")
    line.default_fault = lambda: LOST
    await asyncio.sleep(90)
    await hass.async_block_till_done()
    assert state(hass, "demand") == STATE_UNAVAILABLE
    assert state(hass, "demand_forecast") == STATE_UNAVAILABLE
    line.default_fault = Fault
    await sleep_until(hass, clock, "12:20:00")
    assert state(hass, "demand") == STATE_UNKNOWN
    await sleep_until(hass, clock, "12:30:20")
    # The counter at 12:15 is unknown, so neither period around 12:15 has a demand.
    assert state(hass, "peak_demand_this_month") == STATE_UNKNOWN
    await sleep_until(hass, clock, "12:45:20")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)


async def test_period_in_which_the_counter_jumped_is_no_peak(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
) -> None:
    await sleep_until(hass, clock, "12:05:00")
    meter.counters.consumed += 500_000  # Wh
    await sleep_until(hass, clock, "12:15:20")
    # The accepted counter was 1234 kWh, and rose by 500 kWh.
    assert float(state(hass, "energy_consumed")) > 1700
    assert state(hass, "peak_demand_this_month") == STATE_UNKNOWN
    await sleep_until(hass, clock, "12:30:20")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)


async def select_period(hass: HomeAssistant, minutes: int) -> None:
    """Select the length of the periods."""
    await hass.services.async_call(
        "select",
        "select_option",
        {"entity_id": entity_id(hass, "demand_period"), "option": str(minutes)},
        blocking=True,
    )


async def test_selected_period_applies_at_once_and_after_a_restart(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
) -> None:
    period = hass.states.get(entity_id(hass, "demand_period"))
    assert period is not None
    assert period.state == "15"
    assert period.attributes["options"] == ["5", "10", "15", "30", "60"]
    await sleep_until(hass, clock, "12:16:00")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)
    await select_period(hass, 5)
    assert state(hass, "demand_period") == "5"
    assert state(hass, "demand") == STATE_UNKNOWN
    assert state(hass, "peak_demand_this_month") == STATE_UNKNOWN
    await restart(hass, demand_entry, 1)
    assert state(hass, "demand_period") == "5"
    await sleep_until(hass, clock, "12:25:20")
    peak = hass.states.get(entity_id(hass, "peak_demand_this_month"))
    assert peak is not None
    assert float(peak.state) == pytest.approx(3000, abs=120)
    assert peak.attributes["period_begin"] == START.replace(hour=12, minute=20)
    await select_period(hass, 15)
    # The highest demand of the periods of 15 min was kept.
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=40)


async def test_period_can_be_selected_while_the_meter_is_offline(
    hass: HomeAssistant, demand_entry: CountisConfigEntry, line: Line
) -> None:
    line.default_fault = lambda: LOST
    await asyncio.sleep(60)
    assert not coordinator_of(demand_entry).online
    # The counters stay available while the meter is offline.
    assert state(hass, "energy_consumed") != STATE_UNAVAILABLE
    await select_period(hass, 30)
    assert state(hass, "demand_period") == "30"


async def test_demand_reads_the_counter_without_other_entities(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    entity_registry: er.EntityRegistry,
    line: Line,
) -> None:
    kept = {f"{SERIAL}_{key}" for key in SENSORS}
    for each in er.async_entries_for_config_entry(
        entity_registry, demand_entry.entry_id
    ):
        if each.unique_id not in kept:
            entity_registry.async_update_entity(
                each.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    # Wait until Home Assistant has removed the disabled entities.
    await asyncio.sleep(60)
    line.requests.clear()
    await asyncio.sleep(12 * COUNTER_SECONDS)
    counter_reads = [read for read in reads(line.requests) if read == (50946, 18)]
    assert len(counter_reads) in (12, 13)
    assert len(line.requests) == len(counter_reads)


async def test_demand_is_disabled_by_default_and_not_stored(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: CountisConfigEntry,
    entity_registry: er.EntityRegistry,
) -> None:
    for key in (*SENSORS, "demand_period"):
        registered = entity_registry.async_get(entity_id(hass, key))
        assert registered is not None
        assert registered.disabled_by is er.RegistryEntryDisabler.INTEGRATION
    await asyncio.sleep(1000)  # s; a demand would be stored every 300 s
    await hass.config_entries.async_unload(entry.entry_id)
    assert not [key for key in hass_storage if key.endswith(".demand")]


async def test_demand_is_not_calculated_after_its_sensors_are_disabled(
    hass: HomeAssistant,
    demand_entry: CountisConfigEntry,
    entity_registry: er.EntityRegistry,
    clock: RunningClock,
) -> None:
    for key in SENSORS:
        entity_registry.async_update_entity(
            entity_id(hass, key), disabled_by=er.RegistryEntryDisabler.USER
        )
    await hass.async_block_till_done()
    await sleep_until(hass, clock, "12:16:00")
    demand = coordinator_of(demand_entry).meter_demand.demand
    assert demand.highest(clock()) is None


async def test_power_is_integrated_without_high_resolution_counters(
    hass: HomeAssistant,
    low_resolution_entry: CountisConfigEntry,
    meter: Meter,
    clock: RunningClock,
    line: Line,
) -> None:
    assert watts(hass, "demand") == pytest.approx(1000, abs=40)
    assert watts(hass, "demand_forecast") == pytest.approx(3000, abs=40)
    set_load(meter, -3000)
    await sleep_until(hass, clock, "12:10:00")
    set_load(meter, 1000)
    await sleep_until(hass, clock, "12:15:20")
    # 3000 W and 1000 W, each in 5 of 15 min. The produced power counts as 0.
    expected = pytest.approx((3000 + 1000) / 3, abs=40)
    assert watts(hass, "peak_demand_this_month") == expected
    # The energy of a pause of 30 s is not known, so the period is no peak.
    set_load(meter, 18_000)
    line.default_fault = lambda: LOST
    await asyncio.sleep(30)
    line.default_fault = Fault
    await asyncio.sleep(60)
    await hass.async_block_till_done()
    assert state(hass, "demand") == STATE_UNKNOWN
    await restart(hass, low_resolution_entry, 1)
    set_load(meter, 500)
    await sleep_until(hass, clock, "12:45:20")
    assert watts(hass, "peak_demand_this_month") == expected


async def test_period_in_which_the_resolution_changes_is_no_peak(
    hass: HomeAssistant,
    low_resolution_entry: CountisConfigEntry,
    meter: Meter,
    clock: RunningClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = low_resolution_entry
    assert watts(hass, "demand") == pytest.approx(1000, abs=40)
    subentry = subentry_of(entry)
    # After the restart, the demand uses the counters in steps of 10 Wh.
    poll_mainly(monkeypatch, ENERGIES, seconds=COUNTER_SECONDS)
    meter.refused_blocks = set()
    profile = {**subentry.data["profile"]}
    profile["blocks"] = {**profile["blocks"], "energies": "Energies"}
    hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "profile": profile}
    )
    await restart(hass, entry, 1)
    await asyncio.sleep(60)
    assert state(hass, "demand") == STATE_UNKNOWN
    await sleep_until(hass, clock, "12:30:20")
    assert watts(hass, "peak_demand_this_month") == pytest.approx(3000, abs=60)


async def test_demand_is_unknown_while_the_counter_is_not_available(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    meter: Meter,
) -> None:
    await hass.config_entries.async_unload(demand_entry.entry_id)
    # Without the stored counters, there is no accepted counter.
    del hass_storage[f"{DOMAIN}.{subentry_of(demand_entry).subentry_id}"]
    meter.override = registers_of("energy_consumed", table.NOT_AVAILABLE)
    await hass.config_entries.async_setup(demand_entry.entry_id)
    await sleep_until(hass, clock, "12:16:00")
    assert state(hass, "power") == "3000"
    assert state(hass, "demand") == STATE_UNKNOWN


async def test_power_that_is_not_available_is_not_integrated(
    hass: HomeAssistant, low_resolution_entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = registers_of("power", table.SIGNED_NOT_AVAILABLE)
    await asyncio.sleep(60)
    assert state(hass, "power") == STATE_UNKNOWN
    assert state(hass, "demand") == STATE_UNKNOWN


def stored_key(entry: CountisConfigEntry) -> str:
    """Return the key of the stored demand of the meter."""
    return f"{DOMAIN}.{subentry_of(entry).subentry_id}.demand"


async def test_beginning_of_a_period_is_stored_at_once(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
) -> None:
    await sleep_until(hass, clock, "12:00:20")
    stored = hass_storage[stored_key(demand_entry)]["data"]
    assert stored["serial_number"] == SERIAL
    begin = START.replace(hour=12, minute=0).timestamp()
    assert stored["demand"]["period"]["begin"] == begin


async def test_stored_demand_that_is_invalid_or_of_another_meter_is_not_used(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await sleep_until(hass, clock, "12:16:00")
    await hass.config_entries.async_unload(demand_entry.entry_id)
    valid = hass_storage[stored_key(demand_entry)]["data"]
    without_serial_number = {**valid}
    del without_serial_number["serial_number"]
    invalid = "stored demand is invalid and not used"
    for stored, peak, warning in (
        (valid, "3000.0", None),
        ({**valid, "serial_number": "another"}, STATE_UNKNOWN, None),
        ({**valid, "demand": {"minutes": 7}}, STATE_UNKNOWN, invalid),
        ({**valid, "demand": None}, STATE_UNKNOWN, invalid),
        (without_serial_number, STATE_UNKNOWN, "the stored demand is not used"),
    ):
        caplog.clear()
        hass_storage[stored_key(demand_entry)]["data"] = stored
        await hass.config_entries.async_setup(demand_entry.entry_id)
        await until_read(hass, demand_entry)
        assert demand_entry.state is ConfigEntryState.LOADED, stored
        assert state(hass, "peak_demand_this_month") == peak, stored
        assert ("stored demand is" in caplog.text) == (warning is not None), stored
        assert (warning or "") in caplog.text, stored
        await hass.config_entries.async_unload(demand_entry.entry_id)


@pytest.mark.parametrize("removed", ["bus", "meter"])
async def test_stored_demand_is_deleted_with_the_meter(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    demand_entry: CountisConfigEntry,
    clock: RunningClock,
    removed: str,
) -> None:
    await sleep_until(hass, clock, "12:00:20")
    key = stored_key(demand_entry)
    assert key in hass_storage
    if removed == "bus":
        await hass.config_entries.async_remove(demand_entry.entry_id)
    else:
        subentry = subentry_of(demand_entry)
        hass.config_entries.async_remove_subentry(demand_entry, subentry.subentry_id)
    await hass.async_block_till_done()
    assert key not in hass_storage
