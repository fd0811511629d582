"""The times of a load curve: begin or end, local time or UTC, daylight saving."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import product
import time
from typing import Literal
from zoneinfo import ZoneInfo

import pytest

from custom_components.socomec_countis.countis.load_curve import LoadCurve, LoadRecord
from custom_components.socomec_countis.countis.load_times import (
    LoadTimes,
    possible_times,
)
from simulator import LoadCurve as SimulatedLoadCurve

from .recorded_load import HOUR, STEP_SECONDS, RecordedLoad

PARIS = ZoneInfo("Europe/Paris")
KOLKATA = ZoneInfo("Asia/Kolkata")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
ADELAIDE = ZoneInfo("Australia/Adelaide")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
UTC = ZoneInfo("UTC")
PERIODS = (300, 600, 900, 1800, 3600)  # s
QUARTER = timedelta(minutes=15)
HALF_HOUR = timedelta(minutes=30)
NOON = datetime(2026, 1, 14, 12)  # noqa: DTZ001 (the display of the meter)


def timestamp(local: str, zone: tzinfo, fold: int = 0) -> int:
    """Return the s since 1970 at a local time, which is given in ISO format."""
    return round(at(datetime.fromisoformat(local), zone, fold))


def meanings(load: RecordedLoad, curve: LoadCurve) -> list[LoadTimes]:
    """Return the possible meanings of the dates of a curve that is read now."""
    return list(possible_times(curve, load.displayed, load.now, load.zone))


def true_meaning(load: RecordedLoad, found: list[LoadTimes]) -> LoadTimes:
    """Return the meaning of the dates that the simulated meter uses."""
    (true,) = (
        each
        for each in found
        if (each.date_is_end, each.is_utc) == (load.date_is_end, load.is_utc)
    )
    return true


def true_starts(load: RecordedLoad, curve: LoadCurve) -> list[float]:
    """Return the true starts of the periods, which follow from the recorded power."""
    return [load.steps.begin(each, load.period) for each in curve.records]


def assert_certain(load: RecordedLoad, curve: LoadCurve) -> LoadTimes:
    """Assert that all possible meanings have the true starts.

    Returns the true meaning.
    """
    found = meanings(load, curve)
    for each in found:
        assert each.starts == true_starts(load, curve)
    return true_meaning(load, found)


def curve_of(
    dates: Iterable[datetime], period: timedelta = HALF_HOUR, incomplete: int = 0
) -> LoadCurve:
    """Return a load curve whose last `incomplete` records are incomplete."""
    ordered = sorted(dates)
    count = len(ordered) - incomplete
    records = [
        LoadRecord(date, 1000, index < count) for index, date in enumerate(ordered)
    ]
    return LoadCurve(period, records, 0, is_newest_first=False)


def at(displayed: datetime, zone: tzinfo = UTC, fold: int = 0) -> float:
    """Return when a correct clock displays a date and time, in s since 1970."""
    return displayed.replace(tzinfo=zone, fold=fold).timestamp()


# -- one time zone offset ----------------------------------------------------

ZONES = (PARIS, UTC, LOS_ANGELES, KOLKATA)


@pytest.mark.parametrize("period", PERIODS)
async def test_curve_read_in_the_middle_of_a_period_has_the_true_starts(
    subtests: pytest.Subtests, period: int
) -> None:
    for zone, day in product(ZONES, ("2026-01-14T06:00", "2026-07-14T06:00")):
        with subtests.test(zone=str(zone), day=day):
            load = RecordedLoad(timestamp(day, zone), zone, period)
            load.run(4 * HOUR + period / 2)
            async for curve in load.read_each():
                assert len(curve.records) == 4 * HOUR / period
                assert not assert_certain(load, curve).follows_zone


@pytest.mark.parametrize("period", PERIODS)
async def test_meanings_near_the_end_of_a_period_include_the_true_starts(
    subtests: pytest.Subtests, period: int
) -> None:
    for zone in ZONES:
        load = RecordedLoad(timestamp("2026-01-14T06:00", zone), zone, period)
        for after in (-59, -1, 1, 59):  # s after the end of a period
            with subtests.test(zone=str(zone), after=after):
                load.run(load.start + 4 * HOUR + after - load.now)
                async for curve in load.read_each():
                    true = true_meaning(load, meanings(load, curve))
                    assert true.starts == true_starts(load, curve)


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
@pytest.mark.parametrize("unit", ["s", "min"])
async def test_record_order_and_unit_of_the_period_do_not_change_the_starts(
    order: Literal["oldest first", "newest first"], unit: Literal["s", "min"]
) -> None:
    load = RecordedLoad(
        timestamp("2026-01-14T06:00", PARIS),
        PARIS,
        600,
        load_curve=SimulatedLoadCurve(order=order, period_unit=unit),
    )
    load.run(9 * HOUR + 300)
    async for curve in load.read_each():
        assert len(curve.records) == 54  # 9 h of periods of 10 min
        assert_certain(load, curve)


@pytest.mark.parametrize("error", [-400, 70, 400])  # s
async def test_curve_of_a_wrong_clock_has_the_true_starts(error: int) -> None:
    """Dates in UTC have the same error as the clock.

    For a date in UTC, the simulated meter subtracts an offset from the time of its
    clock. The offset is the difference between this clock and UTC, rounded to 15 min.
    The rounding removes the error from the offset, but not from the date.
    """
    # The wrong clock displays 06:00 at the start.
    start = timestamp("2026-01-14T06:00", PARIS) - error
    load = RecordedLoad(start, PARIS, 1800, error)
    load.run(4 * HOUR + 900)
    async for curve in load.read_each():
        assert len(meanings(load, curve)) == 1
        assert_certain(load, curve)


@pytest.mark.parametrize("zone", [PARIS, LOS_ANGELES, UTC], ids=str)
@pytest.mark.parametrize("error", [-HOUR, HOUR])
async def test_curve_of_a_clock_wrong_by_an_hour_has_the_true_starts(
    error: int, zone: tzinfo
) -> None:
    """Dates in UTC are right, although the clock is wrong.

    For a date in UTC, the simulated meter subtracts an offset from the time of its
    clock. The offset is the difference between this clock and UTC, rounded to 15 min.
    It contains the error of an hour, so the subtraction removes this error.
    """
    load = RecordedLoad(timestamp("2026-07-14T06:00", zone), zone, 900, error)
    load.run(4 * HOUR + 450)
    async for curve in load.read_each():
        assert len(meanings(load, curve)) == 1
        assert_certain(load, curve)


def test_utc_may_be_wrong_by_the_same_hours_as_the_display() -> None:
    """At 13:15 in Paris, the meter displays 15:15. Its UTC is also 2 h ahead."""
    now = at(NOON + QUARTER)
    dates = [NOON + timedelta(hours=2) - index * HALF_HOUR for index in range(9)]
    displayed = NOON + QUARTER + timedelta(hours=3)
    (found,) = possible_times(curve_of(dates), displayed, now, PARIS)
    # The newest period ended at 12:00 UTC, and has the date 14:00.
    assert (found.date_is_end, found.is_utc) == (True, True)
    assert found.starts[-1] == at(NOON - HALF_HOUR)


# -- daylight saving ---------------------------------------------------------

# Each change to or from daylight saving time: the time zone, the local time after the
# change, and the fold of this time.
CHANGES: tuple[tuple[tzinfo, str, int], ...] = (
    (PARIS, "2026-03-29T03:00", 0),
    (PARIS, "2026-10-25T02:00", 1),
    (LOS_ANGELES, "2026-03-08T03:00", 0),
    (LOS_ANGELES, "2026-11-01T01:00", 1),
    (ADELAIDE, "2026-10-04T03:00", 0),
    (ADELAIDE, "2026-04-05T02:00", 1),
)


def load_across_change(
    zone: tzinfo, change: int, period: int, *, clock_follows: bool
) -> RecordedLoad:
    """Return a load from 3 h before a change until 3 h and half a period after it.

    If `clock_follows`, the clock of the meter is set at the change.
    """
    load = RecordedLoad(change - 3 * HOUR, zone, period)
    load.run(3 * HOUR)
    if clock_follows:
        load.set_clock()
    load.run(3 * HOUR + period / 2)
    return load


@pytest.mark.parametrize("period", PERIODS)
async def test_curve_across_a_change_of_the_zone_has_the_true_starts(
    subtests: pytest.Subtests, period: int
) -> None:
    for (zone, local, fold), clock_follows in product(CHANGES, (True, False)):
        with subtests.test(zone=str(zone), local=local, clock_follows=clock_follows):
            change = timestamp(local, zone, fold)
            load = load_across_change(zone, change, period, clock_follows=clock_follows)
            # With one of the periods, test the other order of the records.
            load.load_curve.order = "newest first" if period == 600 else "oldest first"
            async for curve in load.read_each():
                assert len(curve.records) == 6 * HOUR / period
                true = assert_certain(load, curve)
                assert true.follows_zone is (clock_follows and not load.is_utc)


async def test_curve_with_two_power_cuts_has_the_true_starts() -> None:
    load = RecordedLoad(timestamp("2026-10-25T00:00", PARIS), PARIS, 900)
    load.run(2 * HOUR)
    load.run_without_power(HOUR / 2)
    load.run(HOUR / 2)
    load.set_clock()  # at the change of the zone
    load.run(HOUR)
    load.run_without_power(HOUR)
    load.run(HOUR + 450)
    async for curve in load.read_each():
        assert len(curve.records) == 4 * 4 + 2  # 4½ h of periods with power
        assert_certain(load, curve)


async def test_change_is_followed_if_the_period_does_not_divide_an_hour() -> None:
    """An hour is 7.5 periods of 480 s.

    Such a period is no multiple of `STEP_SECONDS`, so the power of a record shows only
    roughly when the period begins.
    """
    change = timestamp("2026-03-29T03:00", PARIS)
    load = load_across_change(PARIS, change, 480, clock_follows=True)
    curve = await load.read()
    (found,) = meanings(load, curve)
    assert found.follows_zone
    for begin, record in zip(found.starts, curve.records, strict=True):
        if record.is_complete:
            assert abs(begin - load.steps.begin(record, 480)) < STEP_SECONDS


# -- given dates, without a simulated meter ----------------------------------


def possible_date_is_end(curve: LoadCurve, displayed: datetime) -> list[bool]:
    """Return for each possible meaning whether the dates are ends of periods.

    The time zone of the user is UTC.
    """
    found = possible_times(curve, displayed, at(displayed), UTC)
    return [each.date_is_end for each in found]


# The newest record has the date 12:00, and a period of 30 min. If the date is the end
# of the period, the curve must be read from 12:00 to 12:30. If the date is the start,
# the curve must be read from 12:30 to 13:00. The tolerance is a minute.
@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("11:58:59", []),
        ("11:59:00", [True]),
        ("12:28:59", [True]),
        ("12:29:00", [True, False]),
        ("12:30:59", [True, False]),
        ("12:31:00", [False]),
        ("13:00:59", [False]),
        ("13:01:00", []),
    ],
)
def test_newest_record_is_at_most_a_minute_early_or_late(
    shown: str, expected: list[bool]
) -> None:
    curve = curve_of([NOON - HALF_HOUR, NOON])
    displayed = datetime.fromisoformat(f"2026-01-14T{shown}")
    assert possible_date_is_end(curve, displayed) == expected


@pytest.mark.parametrize("days", [-1, 1])
def test_newest_record_of_another_day_has_no_meaning(days: int) -> None:
    curve = curve_of([NOON - HALF_HOUR, NOON])
    for minute in range(60):
        displayed = NOON + timedelta(days=days, minutes=minute)
        assert possible_date_is_end(curve, displayed) == []


def test_incomplete_record_does_not_affect_the_meaning() -> None:
    curve = curve_of([NOON - HALF_HOUR, NOON, NOON + 9 * HALF_HOUR], incomplete=1)
    displayed = NOON + QUARTER
    (found,) = possible_times(curve, displayed, at(displayed), UTC)
    assert found.starts == [at(each.time - HALF_HOUR) for each in curve.records]


@pytest.mark.parametrize(
    "curve",
    [
        curve_of([]),
        curve_of([NOON - HALF_HOUR, NOON], incomplete=2),
        curve_of([NOON], timedelta()),
    ],
    ids=["empty", "incomplete", "without period"],
)
def test_curve_without_complete_record_or_period_has_no_meaning(
    curve: LoadCurve,
) -> None:
    assert possible_date_is_end(curve, NOON) == []


def test_curve_with_a_period_of_one_second_has_both_meanings() -> None:
    second = timedelta(seconds=1)
    # Both possible ends of the period are within the tolerance of a minute.
    assert possible_date_is_end(curve_of([NOON], second), NOON) == [True, False]


def local_dates(times: Iterable[float], zone: tzinfo) -> list[datetime]:
    """Return the date and time that a local clock displays at each of `times`."""
    return [datetime.fromtimestamp(each, zone).replace(tzinfo=None) for each in times]


def quarters(begin: float, count: int) -> list[float]:
    """Return the starts of `count` quarter-hours, the first at `begin`."""
    return [begin + index * 900 for index in range(count)]


def local_meaning(starts: Sequence[float], zone: tzinfo) -> LoadTimes:
    """Return the only meaning of records whose dates are `starts` in local time.

    The records are read in the middle of the period after the last record.
    """
    curve = curve_of(local_dates(starts, zone), QUARTER)
    now = max(starts) + 1.5 * 900
    (displayed,) = local_dates([now], zone)
    (found,) = possible_times(curve, displayed, now, zone)
    return found


def by_date(starts: Iterable[float], zone: tzinfo) -> list[float]:
    """Return `starts` in the order of the dates that a local clock displays."""
    return sorted(starts, key=lambda begin: local_dates([begin], zone))


def test_two_changes_that_the_dates_show_are_followed() -> None:
    spring, autumn = at(datetime(2026, 3, 29, 1)), at(datetime(2026, 10, 25, 1))  # noqa: DTZ001
    starts = quarters(spring - 3 * HOUR, 24) + quarters(autumn - 3 * HOUR, 24)
    found = local_meaning(starts, PARIS)
    assert found.starts == by_date(starts, PARIS)
    assert found.follows_zone


@pytest.mark.parametrize("change", ["2026-10-03T15:30", "2026-04-04T15:00"])  # UTC
def test_change_by_half_an_hour_is_followed(change: str) -> None:
    starts = quarters(at(datetime.fromisoformat(change)) - 3 * HOUR, 30)
    found = local_meaning(starts, LORD_HOWE)
    assert found.starts == by_date(starts, LORD_HOWE)
    assert found.follows_zone


@pytest.mark.parametrize("change", ["2026-03-29T01:00", "2026-10-25T01:00"])  # UTC
def test_future_change_is_not_followed(change: str) -> None:
    # The last period ends 15 min before the change.
    starts = quarters(at(datetime.fromisoformat(change)) - 9 * HOUR - 900, 36)
    found = local_meaning(starts, PARIS)
    assert found.starts == starts
    assert not found.follows_zone


@pytest.mark.parametrize("machine", ["Asia/Tokyo", "Europe/Paris"])
def test_time_zone_of_the_machine_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    starts = quarters(at(datetime(2026, 3, 29, 1)) - 3 * HOUR, 24)  # noqa: DTZ001
    monkeypatch.setenv("TZ", machine)
    time.tzset()
    try:
        found = local_meaning(starts, PARIS)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.starts == starts


def test_repeated_hour_with_missing_records_is_recognised() -> None:
    """The dates 02:00 and 02:30 are not repeated.

    The reason may be that two records with the same date and power are read as one.
    """
    change = at(datetime(2026, 10, 25, 1))  # noqa: DTZ001
    starts = quarters(change - 3 * HOUR, 24)
    starts.remove(change - HOUR)  # 02:00 before the change
    starts.remove(change - HOUR + 1800)  # 02:30 before the change
    found = local_meaning(starts, PARIS)
    assert found.starts == by_date(starts, PARIS)


@pytest.mark.parametrize("missing", [range(11, 13), range(8, 12), range(12, 18)])
def test_missing_records_are_not_taken_for_a_change(missing: range) -> None:
    """The clock does not follow the change, which is after the 12th quarter-hour."""
    change = at(datetime(2026, 3, 29, 1))  # noqa: DTZ001
    starts = quarters(change - 3 * HOUR, 24)
    dates = [
        datetime.fromtimestamp(begin + HOUR, UTC).replace(tzinfo=None)  # winter time
        for index, begin in enumerate(starts)
        if index not in missing
    ]
    # 1350 s after the last date is the middle of the next period.
    displayed = dates[-1] + timedelta(seconds=1350)
    found = possible_times(
        curve_of(dates, QUARTER), displayed, starts[-1] + 1350, PARIS
    )
    assert [each.follows_zone for each in found] == [False]


@pytest.mark.parametrize(
    ("repeated", "is_followed"),
    [("01:45", False), ("02:00", True), ("02:45", True), ("03:00", False)],
)
def test_repeated_record_within_the_repeated_hour_shows_the_change(
    repeated: str,
    is_followed: bool,  # noqa: FBT001
) -> None:
    dates = [datetime(2026, 10, 25) + index * QUARTER for index in range(24)]  # noqa: DTZ001
    dates.append(datetime.fromisoformat(f"2026-10-25T{repeated}"))
    # The period after the last record is from 06:00 to 06:15.
    displayed = datetime(2026, 10, 25, 6, 7)  # noqa: DTZ001
    found = possible_times(
        curve_of(dates, QUARTER), displayed, at(displayed, PARIS), PARIS
    )
    assert [each.follows_zone for each in found] == [is_followed]


@pytest.mark.parametrize("minutes", [15, 60])
def test_period_that_ends_at_the_change_has_the_changed_date(minutes: int) -> None:
    """The date of a period that ends at the change is 03:00, not 02:00."""
    period = timedelta(minutes=minutes)
    step = period.total_seconds()
    ends = [at(datetime(2026, 3, 29, 1)) + index * step for index in range(-6, 6)]  # noqa: DTZ001
    now = ends[-1] + step / 2
    curve = curve_of(local_dates(ends, PARIS), period)
    (found,) = possible_times(curve, local_dates([now], PARIS)[0], now, PARIS)
    assert found.starts == [end - step for end in ends]
    assert (found.date_is_end, found.follows_zone) == (True, True)


def test_curve_that_begins_with_a_change_does_not_show_the_change() -> None:
    """The clock does not follow the change. The record of 03:00 is missing."""
    hours = (2, 4, 5)
    dates = [datetime(2026, 3, 29, hour) for hour in hours]  # noqa: DTZ001
    displayed = datetime(2026, 3, 29, 6, 30)  # noqa: DTZ001
    curve = curve_of(dates, timedelta(hours=1))
    now = at(displayed) - HOUR  # the meter displays winter time (UTC+1)
    (found,) = possible_times(curve, displayed, now, PARIS)
    assert found.starts == [at(date) - HOUR for date in dates]
    assert not found.follows_zone


def test_repeated_record_after_the_repeated_hour_is_after_the_change() -> None:
    change = at(datetime(2026, 10, 25, 1))  # noqa: DTZ001
    # Both records of `change + HOUR` have the date 03:00.
    starts = [*quarters(change - 3 * HOUR, 24), change + HOUR]
    found = local_meaning(starts, PARIS)
    assert found.starts == by_date(starts, PARIS)
