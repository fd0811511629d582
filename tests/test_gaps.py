"""Gaps in the statistics: found, proposed, filled and restored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import dataclasses
from datetime import UTC, datetime
import os
import re
import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from custom_components.socomec_countis import gap_texts, gaps
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import COUNTER_BLOCKS, poller
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.energy.data import async_get_manager
from homeassistant.components.recorder.statistics import async_change_statistics_unit
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from simulator import Constant, House, Meter, Phase
from simulator.table import TARIFFS, TARIFFS_UNIT_100

from .common import coordinator_of, entity_id, until
from .outage import HOUR, Hours, OutageTest, energies

# 14:30 in Paris, so that the load curve begins with a complete record. The fixture
# `outage` lets time pass until 14:50.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.starts_at(datetime(2026, 6, 15, 12, 30, tzinfo=UTC).timestamp()),
]
# For a test with a midnight: 22:30 in Paris. With the fixture `outage`, the outage of
# the test begins at 22:50.
starts_before_midnight = pytest.mark.starts_at(
    datetime(2026, 6, 15, 20, 30, tzinfo=UTC).timestamp()
)

PARIS = "Europe/Paris"
PARTIAL = "partial_energy_consumed"
TOTALS = ("energy_consumed", "energy_produced")
# The kind of each outage, and its minimum duration in hours.
OUTAGES = [("Home Assistant", 1), ("meter", 5), ("Home Assistant", 30)]
# With the environment variable GAP_SEEDS=20, the test that uses `SEEDS` runs with 20
# simulated houses, and also with an outage of three days.
SEEDS = range(int(os.environ.get("GAP_SEEDS", "1")))
if len(SEEDS) > 1:
    OUTAGES.append(("meter", 72))


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


@pytest.fixture
def enable_statistics() -> bool:
    """Compile the statistics every five minutes."""
    return True


@pytest.fixture
def persistent_database() -> bool:
    """Store the database in a file.

    A database in memory could not be read while the recorder has states to commit.
    """
    return True


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Record only energies, to save time.

    The recorder commits the states with the next statistics. If it committed each
    state, the tests would take 15 % more time.
    """
    return {"commit_interval": 86_400, "include": {"entity_globs": ["sensor.*energy*"]}}


@pytest.fixture
def clock() -> Callable[[], float]:
    """Return the clock of the meter, which runs in virtual time."""
    return lambda: time.time()  # noqa: PLW0108 (virtual time replaces the function)


@pytest.fixture(autouse=True)
async def _time_zone(hass: HomeAssistant) -> None:
    await hass.config.async_set_time_zone(PARIS)


def set_clock(meter: Meter, zone: str = PARIS) -> None:
    """Set the clock of a meter to the local time of a time zone."""
    now = datetime.fromtimestamp(time.time(), ZoneInfo(zone))
    meter.set_clock([now.day, now.month, now.year, now.hour, now.minute, now.second])


@pytest.fixture
def has_tariffs() -> bool:
    """Return whether the meter has tariffs.

    Without them, only one block of counters is polled, and virtual hours pass quickly.
    """
    return False


@pytest.fixture
def meter(meter: Meter, *, has_tariffs: bool) -> Meter:
    """Return the meter of tests/conftest.py, by default without tariffs.

    The load is a house with a solar roof. The clock shows the local time in Paris.
    """
    if not has_tariffs:
        meter.refused_blocks = {TARIFFS, TARIFFS_UNIT_100}
    meter.load = House(slot_seconds=60, solar_peak=6000)
    set_clock(meter)
    return meter


@pytest.fixture
def poll_seconds() -> int:
    """Return the seconds between two polls of the counters.

    With few polls, virtual hours pass quickly.
    """
    return 60


@pytest.fixture(autouse=True)
def _slow_polling(monkeypatch: pytest.MonkeyPatch, poll_seconds: int) -> None:
    """Poll the counters every `poll_seconds`, and all other blocks once an hour."""
    for name in poller.INTERVALS:
        seconds = poll_seconds if name in COUNTER_BLOCKS else HOUR
        monkeypatch.setitem(poller.INTERVALS, name, poller.Interval(seconds, seconds))


@pytest.fixture
def first_energies(meter: Meter) -> tuple[float, float]:
    """Return the counters in kWh before Home Assistant reads them."""
    return energies(meter)


@pytest.fixture
async def outage(
    hass: HomeAssistant,
    meter: Meter,
    first_energies: tuple[float, float],
    entry: CountisConfigEntry,
) -> AsyncIterator[OutageTest]:
    """Return an `OutageTest` 20 minutes after the test begins."""
    assert await async_setup_component(hass, "repairs", {})
    first_hour = time.time() // HOUR * HOUR
    outage = OutageTest(hass, entry, meter, {first_hour: first_energies})
    with outage.compiling_few_statistics():
        async with outage.recording_counters():
            await outage.run_until(50)
            await outage.import_earlier_rows()
            yield outage


def assert_unchanged_total(before: Hours, after: Hours) -> None:
    """Assert that the energy was only moved to other hours."""
    assert sum(after.values()) == pytest.approx(sum(before.values()), abs=0.01)
    assert min(after.values()) > -1e-6  # kWh; allows for rounding errors


def assert_close(filled: Hours, truth: Hours) -> None:
    """Assert that each hour is within 10 % or two counter steps (0.02 kWh) of truth."""
    assert filled.keys() >= truth.keys()
    for hour, energy in truth.items():
        assert filled[hour] == pytest.approx(energy, rel=0.1, abs=0.021), hour


# This test polls more often than the others, because the row of an hour ends with the
# last poll in this hour. With fewer polls, the load curve may differ by more than 5 %
# from the counters, and is then not used.
@pytest.mark.parametrize("poll_seconds", [15])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "hours"), OUTAGES)
async def test_filled_gap_has_the_energy_of_each_hour(
    outage: OutageTest, kind: str, hours: int, seed: int
) -> None:
    outage.meter.load = House(seed=seed, slot_seconds=60, solar_peak=6000)
    async with outage.outage(kind):
        await outage.run_until(20, hours)
    await outage.until_proposed()
    before = {key: await outage.hours(key) for key in TOTALS}
    result = await outage.choose("fill")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert outage.issues == []
    for key in TOTALS:
        assert_unchanged_total(before[key], await outage.hours(key))
    assert_close(await outage.hours(), outage.metered_energy())


async def fill_and_check_energy(outage: OutageTest) -> None:
    """Fill the only gap when it is proposed, and assert the energy of each hour."""
    await outage.until_proposed()
    before = await outage.hours()
    await outage.choose("fill")
    filled = await outage.hours()
    assert_unchanged_total(before, filled)
    assert_close(filled, outage.metered_energy())


async def cause_gap(
    outage: OutageTest, kind: str = "Home Assistant", hours: int = 1
) -> None:
    """Run an outage of more than `hours` hours, until its gap is proposed or filled."""
    async with outage.outage(kind):
        await outage.run_until(20, hours)
    await outage.until_proposed()


@starts_before_midnight
async def test_produced_energy_is_split_at_midnight(outage: OutageTest) -> None:
    async with outage.outage("Home Assistant"):
        # 1 kW until midnight, then 3 kW
        for kilowatts, minute in ((1, 0), (3, 20)):
            outage.meter.count()
            outage.meter.load = Constant(Phase(-1000 * kilowatts), Phase(0), Phase(0))
            await outage.run_until(minute, hours=1)
    await outage.until_proposed()
    await outage.choose("fill")
    filled = await outage.hours("energy_produced")
    truth = outage.metered_energy(produced=True)
    midnight = datetime(2026, 6, 16, tzinfo=ZoneInfo(PARIS)).timestamp()
    first_day = {hour for hour in truth if hour < midnight}
    assert sum(filled[hour] for hour in first_day) == pytest.approx(
        sum(truth[hour] for hour in first_day),
        abs=0.1,  # kWh; the states of the counters are up to two minutes old
    )


async def test_meter_without_a_load_curve_gets_an_even_distribution(
    outage: OutageTest,
) -> None:
    outage.meter.load_curve = None
    await cause_gap(outage, hours=3)
    before = await outage.hours()
    await outage.choose("fill")
    filled = await outage.hours()
    assert_unchanged_total(before, filled)
    begin, *inner, _ = sorted(outage.metered_energy())
    even = [filled[hour] for hour in inner]
    assert even == pytest.approx([even[0]] * len(inner), abs=0.001)
    # The first hour has 10 min of the gap, and also the energy before the gap.
    assert filled[begin] > even[0] / 6


# The outage begins 20 minutes after these times. In its fourth hour, the clocks in
# Paris change. If `clock_follows` is True, the test sets the clock of the meter to the
# new local time at this change.
SPRING = datetime(2026, 3, 28, 21, 30, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)


@pytest.mark.parametrize("clock_follows", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(when, marks=pytest.mark.starts_at(when.timestamp()), id=name)
        for when, name in ((SPRING, "spring"), (AUTUMN, "autumn"))
    ],
)
async def test_gap_across_a_change_of_daylight_saving_is_filled(
    outage: OutageTest, change: datetime, *, clock_follows: bool
) -> None:
    async with outage.outage("Home Assistant"):
        await outage.run_until(0, hours=3)
        if clock_follows:
            set_clock(outage.meter)
        await outage.run_until(20, hours=4)
    await fill_and_check_energy(outage)
    findings = coordinator_of(outage.entry).meter_gaps.load_curve_findings
    assert findings is not None
    assert findings["follows_zone"] is clock_follows


async def test_partial_counter_is_filled_only_after_its_reset_within_a_gap(
    outage: OutageTest,
) -> None:
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=2)
        outage.meter.count().partial_consumed = 0
        await outage.run_until(20, hours=2)
    await outage.until_proposed()
    key = "partial_energy_consumed"
    before = await outage.hours(key)
    await outage.choose("fill")
    filled = await outage.hours(key)
    assert_unchanged_total(before, filled)
    truth = outage.metered_energy()
    hours = sorted(truth)
    assert_close(await outage.hours(), truth)
    # The reset is at 17:20, in the fourth hour. The counter has lost the energy that it
    # counted in the gap before its reset.
    assert [filled[hour] for hour in hours[1:3]] == [0, 0]
    assert 0 < filled[hours[3]] < truth[hours[3]]
    assert_close(filled, {hour: truth[hour] for hour in hours[4:]})


async def test_two_outages_less_than_an_hour_apart_are_one_gap(
    outage: OutageTest,
) -> None:
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=2)
    async with outage.outage("meter"):
        await outage.run_until(10, hours=2)
    await fill_and_check_energy(outage)


async def test_two_outages_with_one_reading_between_them_are_one_gap(
    outage: OutageTest,
) -> None:
    coordinator = coordinator_of(outage.entry)
    async with outage.outage("meter"):
        await outage.run_until(20, hours=1)
        outage.meter.offline = False
        await until(lambda: coordinator.online)
        await asyncio.sleep(30)  # one reading of the counters
        outage.meter.offline = True
        await outage.run_until(20, hours=2)
    await fill_and_check_energy(outage)


async def test_gap_ends_in_the_hour_in_which_a_rise_is_confirmed(
    outage: OutageTest,
) -> None:
    coordinator = coordinator_of(outage.entry)
    async with outage.outage("meter"):
        await outage.run_until(57, hours=2)
        outage.meter.offline = False
        await until(lambda: coordinator.online)
        await asyncio.sleep(30)  # one reading of the counters, at 16:58
        outage.meter.offline = True
        await outage.run_until(5)
    await fill_and_check_energy(outage)


async def test_gap_is_found_if_the_system_clock_is_set_back_before_its_end(
    outage: OutageTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = coordinator_of(outage.entry)
    now = coordinator.meter.now
    async with outage.outage("meter"):
        await outage.run_until(20, hours=2)
        outage.meter.offline = False
        await until(lambda: coordinator.online)
        await asyncio.sleep(30)  # one reading of the counters, at 17:20
        monkeypatch.setattr(
            coordinator.meter,
            "now",
            lambda: dataclasses.replace(now(), wall=now().wall - 4 * HOUR),
        )
    (gap,) = coordinator.meter_gaps.gaps
    assert gap.end_hour == time.time() // HOUR * HOUR


async def test_counter_that_jumps_at_the_end_of_a_gap_is_not_filled(
    outage: OutageTest,
) -> None:
    async with outage.outage("meter"):
        await outage.run_until(5, hours=1)
        outage.meter.count().consumed += 5_000_000  # Wh
    await outage.until_proposed()
    before = await outage.hours()
    assert max(before.values()) > 5000  # kWh; the jump was accepted
    await outage.choose("fill")
    # If the counter were filled, the jump would be distributed to all hours of the gap.
    assert await outage.hours() == before


async def test_counter_that_jumps_after_two_joined_outages_is_not_filled(
    outage: OutageTest,
) -> None:
    coordinator = coordinator_of(outage.entry)
    async with outage.outage("meter"):
        await outage.run_until(20, hours=1)
        outage.meter.offline = False
        await until(lambda: coordinator.online)
        await asyncio.sleep(30)  # one reading of the counters
        outage.meter.offline = True
        await outage.run_until(20, hours=2)
        outage.meter.count().consumed += 5_000_000  # Wh
    await outage.until_proposed()
    before = await outage.hours()
    assert max(before.values()) > 5000  # kWh; the jump was accepted
    await outage.choose("fill")
    assert await outage.hours() == before


# This test polls more often, so that each jump is accepted in the five minutes after
# its outage.
@pytest.mark.parametrize("poll_seconds", [30])
async def test_counter_that_jumps_at_the_end_of_a_merged_gap_is_not_filled(
    outage: OutageTest,
) -> None:
    counters = {"consumed": "energy_consumed", "partial_consumed": PARTIAL}
    for counter in counters:
        async with outage.outage("meter"):
            # The second outage ends at 20:17. At 20:21, the integration tries again to
            # propose the first gap. Before that, the second gap is found and merged.
            await outage.run_until(17, hours=2)
            counted = outage.meter.count()
            setattr(counted, counter, getattr(counted, counter) + 5_000_000)  # Wh
        await outage.run_until(40)  # until the second reading after the jump
    await outage.until_proposed()
    before = [await outage.hours(key) for key in counters.values()]
    # Both jumps were accepted.
    assert [max(hours.values()) > 5000 for hours in before] == [True, True]  # kWh
    await outage.choose("fill")
    assert [await outage.hours(key) for key in counters.values()] == before


@pytest.mark.parametrize("has_tariffs", [True])
@pytest.mark.parametrize(
    ("counter", "jumped_key", "other_key", "jumps_before_outage"),
    [
        ("consumed", "energy_consumed", "partial_energy_consumed", True),
        ("partial_consumed", "partial_energy_consumed", "energy_consumed", False),
    ],
)
async def test_counter_that_jumps_in_the_first_or_last_hour_is_not_filled(
    outage: OutageTest,
    counter: str,
    jumped_key: str,
    other_key: str,
    *,
    jumps_before_outage: bool,
) -> None:
    def jump() -> None:
        counted = outage.meter.count()
        setattr(counted, counter, getattr(counted, counter) + 5_000_000)  # Wh

    outage.meter.load = Constant()  # 1.3 kW
    await outage.run_until(5)
    if jumps_before_outage:
        jump()
    await outage.run_until(40)  # until a jump before the outage is accepted
    async with outage.outage("meter"):
        await outage.run_until(10, hours=2)
    if not jumps_before_outage:
        jump()
    await outage.until_proposed()
    before = await outage.hours(jumped_key)
    assert max(before.values()) > 5000  # kWh; the jump was accepted
    await outage.choose("fill")
    assert await outage.hours(jumped_key) == before
    for key in (other_key, "tariff_1_energy"):
        filled = await outage.hours(key)
        # The statistics are up to two minutes old.
        assert list(filled.values())[-4:] == pytest.approx([1.3] * 4, abs=0.1), key


async def test_gap_with_only_jumped_counters_is_discarded(outage: OutageTest) -> None:
    outage.meter.load = Constant()  # produces no energy
    await outage.run_until(55)
    async with outage.outage("meter"):
        await outage.run_until(20, hours=2)
        counted = outage.meter.count()
        for name in ("consumed", "reactive", "partial_consumed", "partial_reactive"):
            setattr(counted, name, getattr(counted, name) + 5_000_000)  # Wh
        counted.tariffs[0] += 5_000_000  # Wh
    await outage.run_until(50)
    (gap,) = coordinator_of(outage.entry).meter_gaps.gaps
    assert gap.readings == {}
    await outage.until_proposed()
    assert coordinator_of(outage.entry).meter_gaps.gaps == []
    assert outage.issues == []


async def test_second_gap_is_filled_after_the_first_one(outage: OutageTest) -> None:
    for kind in ("meter", "Home Assistant"):
        await cause_gap(outage, kind, hours=2)
        before = await outage.hours()
        await outage.choose("fill")
        assert_unchanged_total(before, await outage.hours())
    assert_close(await outage.hours(), outage.metered_energy())


async def test_option_fill_gaps_fills_without_an_issue(outage: OutageTest) -> None:
    outage.hass.config_entries.async_update_entry(
        outage.entry, options={"publish_every_reading": False, "fill_gaps": True}
    )
    await cause_gap(outage)
    assert outage.issues == []
    assert_close(await outage.hours(), outage.metered_energy())


async def test_gap_that_the_user_leaves_stays_as_it_is(outage: OutageTest) -> None:
    await cause_gap(outage)
    before = await outage.hours()
    result = await outage.choose("leave")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert outage.issues == []
    assert await outage.hours() == before
    await outage.hass.config_entries.async_reload(outage.entry.entry_id)
    assert outage.issues == []


async def test_outage_without_a_full_hour_is_no_gap(outage: OutageTest) -> None:
    async with outage.outage("meter"):
        await outage.run_until(55)  # from 14:50 to 14:55
    await outage.until_proposed()
    assert coordinator_of(outage.entry).meter_gaps.gaps == []


async def test_gap_survives_a_restart_before_and_after_its_proposal(
    outage: OutageTest,
) -> None:
    async with outage.outage("meter"):
        await outage.run_until(20, hours=1)
    reload = outage.hass.config_entries.async_reload
    await reload(outage.entry.entry_id)
    await outage.until_proposed()
    assert len(outage.issues) == 1
    await reload(outage.entry.entry_id)
    await outage.choose("fill")
    assert_close(await outage.hours(), outage.metered_energy())


async def test_gap_is_proposed_when_the_meter_is_online_again(
    outage: OutageTest,
) -> None:
    async with outage.outage("meter"):
        await outage.run_until(20, hours=1)
    async with outage.outage("meter"):
        await outage.run_until(8)
        # At 17:08, the row of the end hour (16:00) is compiled, but the meter is
        # offline again.
        assert outage.issues == []
    await outage.run_until(20)
    await outage.hass.async_block_till_done()
    assert len(outage.issues) == 1


async def test_gap_of_disabled_counters_is_discarded(
    outage: OutageTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "DISCARDED_AFTER", HOUR)
    entities = er.async_get(outage.hass)
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=1)
    for entity in list(entities.entities.values()):
        if "energy" in entity.entity_id:
            entities.async_update_entity(
                entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    await outage.run_until(30, hours=2)
    assert coordinator_of(outage.entry).meter_gaps.gaps == []


async def test_gap_with_only_a_reset_counter_is_discarded(outage: OutageTest) -> None:
    entities = er.async_get(outage.hass)
    for entity in list(entities.entities.values()):
        if "energy" in entity.entity_id and "partial" not in entity.entity_id:
            entities.async_update_entity(
                entity.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    outage.meter.load = Constant()  # consumes power at all times
    await outage.run_until(55)
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=1)
        outage.meter.count().partial_consumed = 0
    await outage.until_proposed()
    assert coordinator_of(outage.entry).meter_gaps.gaps == []
    assert outage.issues == []


def adjust_sums(outage: OutageTest, hour: float) -> None:
    """Add 100 kWh to the sums of the consumed energy from an hour on, as a user can.

    `hour` is the start of the hour in s since 1970.
    """
    get_instance(outage.hass).async_adjust_statistics(
        entity_id(outage.hass, "energy_consumed"),
        dt_util.utc_from_timestamp(hour),
        100,
        "kWh",
    )


async def test_sums_that_the_user_adjusted_are_not_changed(outage: OutageTest) -> None:
    await cause_gap(outage, hours=2)
    adjust_sums(outage, sorted(outage.metered_energy())[1])  # from 15:00 on
    before = await outage.hours()
    result = await outage.open_fix()
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "unexpected_sums"
    assert await outage.hours() == before


async def test_option_fill_gaps_creates_an_issue_if_sums_were_adjusted(
    outage: OutageTest, caplog: pytest.LogCaptureFixture
) -> None:
    outage.hass.config_entries.async_update_entry(
        outage.entry, options={"publish_every_reading": False, "fill_gaps": True}
    )
    begin_hour = time.time() // HOUR * HOUR
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=1)
        adjust_sums(outage, begin_hour)
    await outage.until_proposed()
    assert len(outage.issues) == 1
    assert "is not filled" in caplog.text


async def test_statistics_in_another_unit_are_filled(outage: OutageTest) -> None:
    await cause_gap(outage)
    await async_change_statistics_unit(
        outage.hass,
        entity_id(outage.hass, "energy_consumed"),
        new_unit_of_measurement="MWh",
        old_unit_of_measurement="kWh",
    )
    before = await outage.hours()
    await outage.choose("fill")
    assert_unchanged_total(before, await outage.hours())
    assert_close(await outage.hours(), outage.metered_energy())


async def test_dialog_ends_if_its_gap_was_filled_meanwhile(outage: OutageTest) -> None:
    await cause_gap(outage)
    menu = await outage.open_fix()
    await outage.choose("fill")
    result = await outage.fix_flows.async_configure(
        menu["flow_id"], {"next_step_id": "fill"}
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "no_gap"


async def test_sums_adjusted_while_the_dialog_is_open_are_not_changed(
    outage: OutageTest,
) -> None:
    await cause_gap(outage)
    menu = await outage.open_fix()
    adjust_sums(outage, sorted(outage.metered_energy())[1])  # from 15:00 on
    before = await outage.hours()
    result = await outage.fix_flows.async_configure(
        menu["flow_id"], {"next_step_id": "fill"}
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "unexpected_sums"
    assert await outage.hours() == before


async def test_statistics_deleted_while_the_dialog_is_open_are_not_filled(
    outage: OutageTest,
) -> None:
    await cause_gap(outage)
    menu = await outage.open_fix()
    sensors = outage.hass.states.async_entity_ids("sensor")
    get_instance(outage.hass).async_clear_statistics(sensors)
    assert await outage.hours() == {}
    result = await outage.fix_flows.async_configure(
        menu["flow_id"], {"next_step_id": "fill"}
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "nothing_to_fill"


async def test_counter_without_statistics_before_the_gap_is_not_filled(
    outage: OutageTest,
) -> None:
    async with outage.outage("Home Assistant"):
        await outage.run_until(20, hours=1)
        deleted = entity_id(outage.hass, "energy_consumed")
        get_instance(outage.hass).async_clear_statistics([deleted])
    await outage.until_proposed()
    before = await outage.hours()
    await outage.choose("fill")
    assert await outage.hours() == before
    assert_close(await outage.hours("partial_energy_consumed"), outage.metered_energy())


async def test_deleted_statistics_are_not_restored(outage: OutageTest) -> None:
    begin = time.time()
    await cause_gap(outage)
    await outage.choose("fill")
    deleted = entity_id(outage.hass, "energy_produced")
    get_instance(outage.hass).async_clear_statistics([deleted])
    await outage.hours()  # waits until the recorder has deleted the statistics
    await fill_gap(outage, begin, begin + HOUR, restore=True)
    assert coordinator_of(outage.entry).meter_gaps.gaps == []
    assert await outage.changes(deleted) == {}


async def test_dialog_ends_if_all_counter_entities_are_removed(
    outage: OutageTest,
) -> None:
    await cause_gap(outage)
    entities = er.async_get(outage.hass)
    for key in coordinator_of(outage.entry).meter.counter_check.values:
        entities.async_remove(entity_id(outage.hass, key))
    result = await outage.open_fix()
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "nothing_to_fill"


async def test_dialog_shows_the_energy_of_each_hour_before_and_after(
    outage: OutageTest,
) -> None:
    await cause_gap(outage)
    menu = await outage.open_fix()
    shown = menu["description_placeholders"]
    assert shown is not None
    assert shown["begin"] == "2026-06-15 14:49"  # the last reading before 14:50
    assert shown["end"] == "2026-06-15 16:21"  # the second reading after 16:20
    assert "by the load curve of the meter" in shown["counters"]
    lines = shown["hours"].splitlines()
    assert lines[0] == "|  | Energy consumed (kWh) | Energy produced (kWh) |"
    assert [line[2:18] for line in lines[2:]] == [
        f"2026-06-15 {hour}:00" for hour in (14, 15, 16)
    ]


async def test_dialog_shows_energies_with_the_decimal_mark_of_the_language(
    outage: OutageTest,
) -> None:
    outage.hass.config.language = "de"
    await cause_gap(outage)
    shown = (await outage.open_fix())["description_placeholders"]
    assert shown is not None
    assert re.search(r": \d+,\d\d kWh, ", shown["counters"])
    assert re.search(r"\| \d+,\d\d → \d+,\d\d \|", shown["hours"])


@starts_before_midnight
async def test_table_of_a_long_gap_has_a_row_for_each_day(
    outage: OutageTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_texts, "MAX_HOURLY_ROWS", 3)
    await cause_gap(outage, hours=3)
    shown = (await outage.open_fix())["description_placeholders"]
    assert shown is not None
    assert [line[2:12] for line in shown["hours"].splitlines()[2:]] == [
        f"2026-06-{day}" for day in (15, 16)
    ]


# -- costs -----------------------------------------------------------------------


async def test_costs_move_with_the_energy(outage: OutageTest) -> None:
    manager = await async_get_manager(outage.hass)
    source = {
        "type": "grid",
        "stat_energy_from": entity_id(outage.hass, "energy_consumed"),
        "stat_cost": None,
        "entity_energy_price": None,
        "number_energy_price": 0.3,
        "cost_adjustment_day": 0,
    }
    await manager.async_update({"energy_sources": [source]})  # type: ignore[typeddict-item]
    assert await async_setup_component(outage.hass, "energy", {})
    # Cross a full hour, so that the costs have a row before the gap.
    await outage.run_until(5)
    await outage.run_until(50)
    await cause_gap(outage)
    await outage.choose("fill")
    energy = await outage.hours()
    costs = await outage.changes(f"{source['stat_energy_from']}_cost")
    # In the first hour, the costs begin only at 14:50.
    for hour in sorted(costs)[1:]:
        assert costs[hour] == pytest.approx(0.3 * energy[hour], abs=0.01)


# -- action ----------------------------------------------------------------------


def fill_gap(
    outage: OutageTest, begin: float, end: float, **data: object
) -> Awaitable[Any]:
    """Call the action `fill_gap` with a begin and an end in s since 1970."""
    return outage.hass.services.async_call(
        DOMAIN,
        "fill_gap",
        {
            "entity_id": entity_id(outage.hass, "power"),
            "start": dt_util.utc_from_timestamp(begin).isoformat(),
            "end": dt_util.utc_from_timestamp(end).isoformat(),
            **data,
        },
        blocking=True,
        return_response=True,
    )


async def test_action_fills_a_past_gap_and_restores_it(outage: OutageTest) -> None:
    begin = time.time()
    await cause_gap(outage, hours=2)
    await outage.choose("leave")
    await outage.run_until(50)
    before = await outage.hours()
    end = begin + 2.5 * HOUR  # from 14:50 to 17:20
    response = await fill_gap(outage, begin, end)
    filled = await outage.hours()
    assert_unchanged_total(before, filled)
    assert_close(filled, outage.metered_energy())
    (shown,) = response["meters"]
    counter = shown["counters"][entity_id(outage.hass, "energy_consumed")]
    assert counter["source"] == "load_curve"
    assert [hour["after"] for hour in counter["hours"]] == pytest.approx(
        [filled[hour] for hour in sorted(outage.metered_energy())[:4]], abs=0.001
    )
    # If the gap is filled again, the result is the same.
    await fill_gap(outage, begin, end)
    assert await outage.hours() == pytest.approx(filled, abs=0.001)
    response = await fill_gap(outage, begin, end, restore=True)
    (shown,) = response["meters"]
    assert [each["start"] for each in shown["restored"]] == [
        dt_util.utc_from_timestamp(begin).isoformat()
    ]
    restored = await outage.hours()
    # Hours without a row in `before` now have a restored row without energy.
    assert {hour: energy for hour, energy in restored.items() if energy} == {
        hour: pytest.approx(energy) for hour, energy in before.items() if energy
    }
    with pytest.raises(HomeAssistantError) as error:
        await fill_gap(outage, begin, end, restore=True)
    assert error.value.translation_key == "nothing_to_restore"


async def test_action_fills_part_of_a_filled_gap_like_part_of_an_unfilled_gap(
    outage: OutageTest,
) -> None:
    begin = time.time()
    end = begin + 2.5 * HOUR
    await cause_gap(outage, hours=2)
    key = entity_id(outage.hass, "energy_consumed")
    first = await fill_gap(outage, begin + HOUR, end)
    part_filled = await outage.hours()
    await fill_gap(outage, begin, end)
    assert await outage.hours() != part_filled
    second = await fill_gap(outage, begin + HOUR, end)
    assert await outage.hours() == pytest.approx(part_filled, abs=0.001)
    first_energy, second_energy = (
        each["meters"][0]["counters"][key]["energy"] for each in (first, second)
    )
    assert first_energy == second_energy


async def test_failed_action_does_not_restore_the_filled_gap(
    outage: OutageTest,
) -> None:
    begin = time.time()
    await cause_gap(outage, hours=2)
    await outage.choose("fill")
    filled = await outage.hours()
    with pytest.raises(HomeAssistantError) as error:
        await fill_gap(outage, begin, time.time())  # the end hour is not over
    assert error.value.translation_key == "no_full_hour"
    assert await outage.hours() == filled
    adjust_sums(outage, sorted(outage.metered_energy())[1])  # the gap's second hour
    adjusted = await outage.hours()
    with pytest.raises(HomeAssistantError) as error:
        await fill_gap(outage, begin, begin + 2.5 * HOUR)
    assert error.value.translation_key == "unexpected_sums"
    assert await outage.hours() == adjusted
    assert len(coordinator_of(outage.entry).meter_gaps.gaps) == 1


@pytest.mark.parametrize(("hours_later", "issue_count"), [(0, 0), (1, 1)])
async def test_action_deletes_the_issue_of_a_gap_only_if_it_fills_all_hours(
    outage: OutageTest, hours_later: int, issue_count: int
) -> None:
    begin = time.time()
    await cause_gap(outage, hours=2)
    await fill_gap(outage, begin + hours_later * HOUR, begin + 2.5 * HOUR)
    assert len(outage.issues) == issue_count


# The action fills a gap from 15:50 to 18:00, the end of the hour that contains 17:20.
# Then the test fills the proposed gap, from 14:50 to 17:20. `start` and `end` limit the
# time to restore, in hours after 14:50. The time from 2.7 to 2.9 h is after the
# proposed gap. But the proposed gap is restored as well, because its filling has
# overwritten rows of the gap of the action.
@pytest.mark.parametrize(("start", "end"), [(0, 2.5), (2.7, 2.9)])
async def test_overlapping_gaps_are_restored_in_the_reverse_order_of_filling(
    outage: OutageTest, start: float, end: float
) -> None:
    begin = time.time()
    await cause_gap(outage, hours=2)
    before = await outage.hours()
    await fill_gap(outage, begin + HOUR, begin + 2.5 * HOUR)
    # The proposed gap is older than the gap of the action, but is filled later.
    await outage.choose("fill")
    assert await outage.hours() != before
    await fill_gap(outage, begin + start * HOUR, begin + end * HOUR, restore=True)
    restored = await outage.hours()
    assert {hour: energy for hour, energy in restored.items() if energy} == {
        hour: pytest.approx(energy) for hour, energy in before.items() if energy
    }


async def test_action_refuses_a_time_without_a_full_hour(outage: OutageTest) -> None:
    now = time.time()
    # The end hour of the first period is not over. The second period is within one
    # hour.
    for begin, end in ((now - 7200, now), (now - 7000, now - 6900)):
        with pytest.raises(HomeAssistantError) as error:
            await fill_gap(outage, begin, end)
        assert error.value.translation_key == "no_full_hour"


async def test_action_refuses_a_time_without_statistics(outage: OutageTest) -> None:
    now = time.time()
    with pytest.raises(HomeAssistantError) as error:
        await fill_gap(outage, now - 80 * HOUR, now - 70 * HOUR)
    assert error.value.translation_key == "nothing_to_fill"


async def test_overwritten_rows_of_an_old_gap_are_deleted(
    outage: OutageTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "KEPT_SECONDS", HOUR)
    begin = time.time()
    for _ in range(2):
        await cause_gap(outage, hours=2)
        await outage.choose("fill")
    # More than an hour after the first gap was filled, only the second gap is kept.
    (kept,) = coordinator_of(outage.entry).meter_gaps.gaps
    assert kept.begin > begin + HOUR


async def test_load_curve_is_read_by_one_action_at_a_time(outage: OutageTest) -> None:
    begin = time.time()
    await cause_gap(outage, hours=6)
    await outage.choose("leave")
    await outage.run_until(50)
    responses = await asyncio.gather(
        fill_gap(outage, begin, begin + 6.5 * HOUR),
        fill_gap(outage, begin, begin + 6.5 * HOUR),
    )
    for response in responses:
        (shown,) = response["meters"]
        counter = shown["counters"][entity_id(outage.hass, "energy_consumed")]
        assert counter["source"] == "load_curve"
    assert_close(await outage.hours(), outage.metered_energy())
