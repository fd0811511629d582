"""The evidence of a meter about a gap, and the energy curve that follows from it."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from custom_components.socomec_countis.countis.energy_curve import EnergyCurve, Source
from custom_components.socomec_countis.countis.gap_evidence import (
    CONSUMED,
    CounterGap,
    Evidence,
    async_read_evidence,
    total_of,
)
from custom_components.socomec_countis.countis.load_curve import LoadCurve, LoadRecord
from custom_components.socomec_countis.countis.meter import Meter
from simulator import LoadCurve as SimulatedLoadCurve

from .memory_bus import MemoryBus, async_meter
from .recorded_load import HOUR, RecordedLoad

PARIS = ZoneInfo("Europe/Paris")
KOLKATA = ZoneInfo("Asia/Kolkata")
LOS_ANGELES = ZoneInfo("America/Los_Angeles")
UTC_ZONE = ZoneInfo("UTC")

CLOCK, PERIODS, PERIODS_IN_KWH, LOAD_CURVE = 57600, 36928, 36896, 61456  # addresses

QUARTER = timedelta(minutes=15)
DAY = 86_400  # s


def utc(text: str) -> float:
    """Return a time of January 2026 in s since 1970, from its day, hour and minute."""
    return datetime.fromisoformat(f"2026-01-{text}+00:00").timestamp()


def midnight(number: int) -> float:
    """Return the beginning of a day of January 2026 in s since 1970; 12 is a Monday."""
    return utc(f"{number:02}T00:00")


@pytest.mark.parametrize(
    ("counter", "total"),
    [
        ("energy_consumed", "energy_consumed"),
        ("energy_produced", "energy_produced"),
        ("tariff_1_energy", "energy_consumed"),
        ("tariff_4_energy", "energy_consumed"),
        ("partial_energy_consumed", "energy_consumed"),
        ("partial_energy_reactive", "energy_reactive"),
    ],
)
def test_total_of_a_counter_includes_its_energy(counter: str, total: str) -> None:
    assert total_of(counter) == total


# -- the recorded load curve -------------------------------------------------


def exact_gap(load: RecordedLoad, begin: float, end: float) -> CounterGap:
    """Return a gap with the exact energy that the load consumes in it.

    `begin` and `end` are in hours after the start of the load.
    """
    times = load.start + begin * HOUR, load.start + end * HOUR
    return CounterGap(*times, 0, load.steps.energy(*times), 0.01)


def evidence_of(load: RecordedLoad, curve: LoadCurve) -> Evidence:
    """Return the evidence of a meter that reports only a load curve."""
    return Evidence(load.now, load.displayed, curve, {}, {})


@pytest.mark.parametrize("period", [300, 600, 900, 1800, 3600])
async def test_counter_selects_the_meaning_of_the_dates_in_the_load_curve(
    subtests: pytest.Subtests, period: int
) -> None:
    """The load curve is read less than a minute before or after the end of a period.

    At these times, the clock of the meter agrees with several meanings of the dates.
    Only the counter shows which of these meanings is true.
    """
    for zone in (PARIS, UTC_ZONE, LOS_ANGELES, KOLKATA):
        start = datetime(2026, 1, 14, 6, tzinfo=zone)
        load = RecordedLoad(round(start.timestamp()), zone, period)
        gap = exact_gap(load, 1, 3)
        middle = load.start + 2 * HOUR
        part = load.steps.energy(gap.begin, middle) / gap.energy
        for seconds_after in (-59, -1, 1, 59):
            with subtests.test(zone=str(zone), seconds_after=seconds_after):
                load.run(load.start + 4 * HOUR + seconds_after - load.now)
                async for curve in load.read_each():
                    evidence = evidence_of(load, curve)
                    match = evidence.best_match(gap, zone)
                    assert match is not None
                    starts = [load.steps.begin(each, period) for each in curve.records]
                    assert match.times.starts == starts
                    assert match.energy == pytest.approx(match.counted)
                    energy_curve = evidence.curve(CONSUMED, gap, zone)
                    assert energy_curve.source is Source.LOAD_CURVE
                    assert energy_curve.fraction(middle) == pytest.approx(part)


@pytest.mark.parametrize("clock_follows", [True, False])
@pytest.mark.parametrize("change", ["2026-03-29T01:00", "2026-10-25T01:00"])
async def test_gap_over_a_daylight_saving_change_has_the_energy_of_each_hour(
    change: str,
    clock_follows: bool,  # noqa: FBT001
) -> None:
    at = datetime.fromisoformat(f"{change}+00:00").timestamp()
    load = RecordedLoad(round(at) - 6 * HOUR, PARIS, 1800)
    load.run(6 * HOUR)
    if clock_follows:
        load.set_clock()
    load.run(6 * HOUR + 900)
    gap = exact_gap(load, 1, 11)
    async for curve in load.read_each():
        energy_curve = evidence_of(load, curve).curve(CONSUMED, gap, PARIS)
        assert energy_curve.source is Source.LOAD_CURVE
        for hour in range(1, 12):
            end = load.start + hour * HOUR
            part = load.steps.energy(gap.begin, end) / gap.energy
            assert energy_curve.fraction(end) == pytest.approx(part)


async def test_time_without_power_has_no_energy() -> None:
    load = RecordedLoad(round(utc("14T06:00")), UTC_ZONE, 900)
    load.run(2 * HOUR)
    load.run_without_power(HOUR)
    load.run(2 * HOUR + 450)
    begin, end = load.start + HOUR, load.start + 4 * HOUR
    # `consumed` also has the energy outside the gap: less than the tolerance of 2 kWh.
    gap = CounterGap(begin, end, 0, load.consumed, 1)
    async for curve in load.read_each():
        energy_curve = evidence_of(load, curve).curve(CONSUMED, gap, UTC_ZONE)
        at_cut, at_restoration = (
            energy_curve.fraction(begin + hours * HOUR) for hours in (1, 2)
        )
        assert 0 < at_cut == at_restoration < 1


# -- single records ----------------------------------------------------------

AT = utc("14T12:05")  # the time of the evidence
# The counter rises from 100 to 102 kWh, in steps of 0.01 kWh.
GAP = CounterGap(utc("14T09:00"), utc("14T11:00"), 100, 102, 0.01)


def curve_of(
    powers: Sequence[float | None],
    *,
    end: str = "14T12:00",
    repeated: float | None = None,
) -> LoadCurve:
    """Return a load curve with the power in W of each quarter-hour until `end`.

    `repeated` is the power in W of one more record, with the time of the last record.
    """
    last = datetime.fromtimestamp(utc(end), UTC).replace(tzinfo=None)
    times = [last - index * QUARTER for index in reversed(range(len(powers)))]
    records = [
        LoadRecord(time, watts, is_complete=True)
        for time, watts in zip(times, powers, strict=True)
    ]
    if repeated is not None:
        records.append(LoadRecord(last, repeated, is_complete=True))
    return LoadCurve(QUARTER, records, 900, is_newest_first=False)


def displayed(at: float) -> datetime:
    """Return what a clock in UTC displays at a time in s since 1970."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def evidence_in_utc(
    curve: LoadCurve | None = None,
    periods: Mapping[str, float | None] | None = None,
    counters: Mapping[str, float] | None = None,
    at: float = AT,
) -> Evidence:
    """Return the evidence of a meter whose clock shows UTC."""
    return Evidence(at, displayed(at), curve, dict(periods or {}), counters or {})


def source(curve: LoadCurve, after: float, step: float, key: str = CONSUMED) -> Source:
    """Return the source of the energy curve for a gap of two hours.

    In the gap, the counter `key` rises from 0 to `after`, in steps of `step` (all kWh).
    """
    gap = CounterGap(GAP.begin, GAP.end, 0, after, step)
    return evidence_in_utc(curve).curve(key, gap, UTC_ZONE).source


@pytest.mark.parametrize(
    ("counted", "step", "is_used"),
    [
        (2, 0.01, True),
        (2.105, 0.01, True),  # tolerance: 5 % of the counted energy
        (2.106, 0.01, False),
        (1.905, 0.01, True),
        (1.904, 0.01, False),
        (4, 1, True),  # tolerance: two steps
        (4.001, 1, False),
        (0.5, 0.75, True),  # tolerance: two steps
        (0.499, 0.75, False),
    ],
)
def test_load_curve_is_used_only_if_the_counter_agrees(
    counted: float,
    step: float,
    is_used: bool,  # noqa: FBT001
) -> None:
    # By the load curve, 2 kWh are consumed in the gap.
    found = source(curve_of([1000] * 20), counted, step)
    assert found is (Source.LOAD_CURVE if is_used else Source.EVEN)


def test_load_curve_without_energy_is_not_used() -> None:
    assert source(curve_of([0] * 20), 0.01, 0.01) is Source.EVEN


def test_load_curve_with_little_energy_is_used() -> None:
    # 2 Wh by the load curve, and 10 Wh by the counter. The tolerance is 20 Wh.
    assert source(curve_of([1] * 20), 0.01, 0.01) is Source.LOAD_CURVE


def test_load_curve_is_not_used_for_produced_energy() -> None:
    assert source(curve_of([1000] * 20), 2, 0.01, "energy_produced") is Source.EVEN


def test_load_curve_that_has_ended_is_not_used() -> None:
    # At 12:05, the newest record of a running load curve would be that of 12:00.
    curve = curve_of([1000] * 20, end="14T11:00")
    assert evidence_in_utc(curve).best_match(GAP, UTC_ZONE) is None
    assert source(curve, 2, 0.01) is Source.EVEN


def test_only_records_within_the_gap_have_energy_in_the_curve() -> None:
    """The records until 09:00 and after 11:00 are not within the gap."""
    powers = [5000.0] * 8 + [1000, None, 3000, 0, 400, 400, 400, 2800] + [9000.0] * 4
    match = evidence_in_utc(curve_of(powers)).best_match(GAP, UTC_ZONE)
    assert match is not None
    assert match.energy == pytest.approx(2)
    assert match.counted == 2
    curve = evidence_in_utc(curve_of(powers)).curve(CONSUMED, GAP, UTC_ZONE)
    times = [GAP.begin + minutes * 60 for minutes in (0, 15, 30, 45, 60, 105, 120)]
    assert [curve.fraction(time) for time in times] == pytest.approx(
        [0, 0.125, 0.125, 0.5, 0.5, 0.65, 1]
    )


def test_record_across_the_border_of_a_gap_counts_in_part() -> None:
    gap = CounterGap(GAP.begin + 300, GAP.end - 600, 0, 1.75, 0.01)
    powers = [0.0] * 8 + [1200] + [0] * 6 + [600] + [0] * 4
    match = evidence_in_utc(curve_of(powers)).best_match(gap, UTC_ZONE)
    assert match is not None
    # 10 min at 1200 W, and 5 min at 600 W. This is the energy of the records, not the
    # 1.75 kWh of the counter.
    assert match.energy == pytest.approx(0.2 + 0.05)


def test_second_record_of_the_same_time_has_no_energy() -> None:
    gap = CounterGap(GAP.begin, utc("14T12:00"), 0, 3, 0.01)
    curve = curve_of([1000] * 20, repeated=60_000)
    match = evidence_in_utc(curve).best_match(gap, UTC_ZONE)
    assert match is not None
    assert match.energy == pytest.approx(3)


def test_records_of_the_two_days_before_the_gap_are_also_used() -> None:
    curve = curve_of([1000] * 400)
    match = evidence_in_utc(curve).best_match(GAP, UTC_ZONE)
    assert match is not None
    # The time of a record is the end of its quarter-hour.
    first = GAP.begin - 2 * DAY - QUARTER.total_seconds()
    assert match.times.starts[0] == first
    assert match.energy == pytest.approx(2)


def test_records_before_the_gap_are_selected_despite_a_wrong_clock() -> None:
    # The clock and the records are 30 min ahead.
    curve = curve_of([1000] * 400, end="14T12:30")
    shown = displayed(AT + 1800)
    match = Evidence(AT, shown, curve, {}, {}).best_match(GAP, UTC_ZONE)
    assert match is not None
    assert match.times.starts[0] == GAP.begin - 2 * DAY - QUARTER.total_seconds()


def test_meter_without_a_load_curve_has_neither_match_nor_findings() -> None:
    assert evidence_in_utc().best_match(GAP, UTC_ZONE) is None
    assert evidence_in_utc().findings(GAP, UTC_ZONE) is None


@pytest.mark.parametrize(
    ("zone", "hours", "shown"),  # `hours` by which the clock is ahead of UTC
    [(PARIS, 1, "13:05"), (KOLKATA, 5.5, "17:35")],
)
def test_findings_contain_facts_that_the_modbus_table_leaves_open(
    zone: tzinfo, hours: float, shown: str
) -> None:
    gap = CounterGap(GAP.begin, GAP.end, 100, 102.0042, 0.01)
    clock = displayed(AT + hours * HOUR)
    evidence = Evidence(AT, clock, curve_of([1001.7] * 20), {}, {})
    assert evidence.findings(gap, zone) == {
        "records": 20,
        "first": "2026-01-14T07:15:00",
        "last": "2026-01-14T12:00:00",
        "displayed": f"2026-01-14T{shown}:00",
        "period_seconds": 900,
        "header_period": 900,
        "is_newest_first": False,
        "date_is_end": True,
        "is_utc": True,
        "follows_zone": False,
        "energy": 2.003,
        "counted": 2.004,
    }


@pytest.mark.parametrize("records", [0, 1])
def test_findings_without_a_match_contain_no_meaning_of_the_dates(records: int) -> None:
    curve = curve_of([1000] * records, end="10T12:00")
    found = evidence_in_utc(curve).findings(GAP, UTC_ZONE)
    assert found is not None
    shown = "2026-01-10T12:00:00" if records else None
    assert (found["first"], found["last"]) == (shown, shown)
    for key in ("date_is_end", "is_utc", "follows_zone", "energy", "counted"):
        assert found[key] is None


# -- the energies of days and weeks ------------------------------------------

WEDNESDAY = utc("14T10:30") + 20.5
# In kWh. If the counter has 100 kWh now, it had 97 kWh at the last midnight (14th), 89
# on the 13th, 82 on Monday (12th), and 32 on the Monday before (5th).
ENERGIES: dict[str, float | None] = {
    "today": 3,
    "yesterday": 8,
    "this_week": 18,
    "last_week": 50,
}
STEP = 0.25  # kWh; two steps are 0.5 kWh, which has no rounding error


def points_of(
    gap: CounterGap,
    at: float = WEDNESDAY,
    value: float = 100,
    counter: str = CONSUMED,
    shift: float = 0,
    changes: dict[str, float | None] | None = None,
) -> tuple[Source, list[tuple[float, float]]]:
    """Return the source and the points of the energy curve that follows from ENERGIES.

    `value` is the value of the counter at `at`, in kWh. The clock of the meter is
    `shift` s ahead of UTC. `changes` replace values of ENERGIES.
    """
    periods = {
        f"{counter}_{name}": energy
        for name, energy in (ENERGIES | (changes or {})).items()
    }
    evidence = Evidence(at, displayed(at + shift), None, periods, {counter: value})
    return source_and_points(evidence.curve(counter, gap, UTC_ZONE), gap)


def source_and_points(
    curve: EnergyCurve, gap: CounterGap
) -> tuple[Source, list[tuple[float, float]]]:
    """Return the source of a curve, and its points in kWh between the ends of a gap."""
    assert (curve.times[0], curve.times[-1]) == (gap.begin, gap.end)
    assert (curve.fractions[0], curve.fractions[-1]) == (0, 1)
    values = [round(gap.before + part * gap.energy, 6) for part in curve.fractions]
    return curve.source, list(zip(curve.times, values, strict=True))[1:-1]


@pytest.mark.parametrize("counter", [CONSUMED, "energy_produced"])
def test_periods_split_a_gap_at_each_known_midnight(counter: str) -> None:
    gap = CounterGap(utc("02T12:00"), utc("14T10:00"), 20, 99.5, STEP)
    assert points_of(gap, counter=counter) == (
        Source.PERIODS,
        [(midnight(5), 32), (midnight(12), 82), (midnight(13), 89), (midnight(14), 97)],
    )


def test_midnight_follows_the_clock_of_the_meter() -> None:
    gap = CounterGap(utc("13T12:00"), utc("14T10:00"), 93, 99.5, STEP)
    assert points_of(gap, shift=HOUR)[1] == [(midnight(14) - HOUR, 97)]


@pytest.mark.parametrize("seconds", [0, 1])
def test_midnight_splits_a_gap_only_if_it_is_within_the_gap(seconds: int) -> None:
    """The midnights are the borders of the gap, or are 1 s inside its borders."""
    gap = CounterGap(midnight(13) - seconds, midnight(14) + seconds, 89, 97, STEP)
    expected = [(midnight(13), 89), (midnight(14), 97)] if seconds else []
    assert points_of(gap)[1] == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # 89 is corrected by two steps
        (89.5, 99.5, [(midnight(13), 89.5), (midnight(14), 97)]),
        (89.51, 99.5, [(midnight(14), 97)]),
        # 97 is corrected by two steps
        (87, 96.5, [(midnight(13), 89), (midnight(14), 96.5)]),
        (87, 96.49, [(midnight(13), 89)]),
    ],
)
def test_midnight_that_contradicts_the_counter_is_corrected_or_dropped(
    before: float, after: float, expected: list[tuple[float, float]]
) -> None:
    gap = CounterGap(utc("12T18:00"), utc("14T10:00"), before, after, STEP)
    assert points_of(gap) == (Source.PERIODS, expected)


@pytest.mark.parametrize(
    ("yesterday", "expected"),
    [
        (-0.5, [(midnight(13), 97.5), (midnight(14), 97.5)]),
        (-0.51, [(midnight(13), 97.51)]),
    ],
)
def test_midnight_below_the_previous_one_by_two_steps_is_corrected(
    yesterday: float, expected: list[tuple[float, float]]
) -> None:
    # By the energies of the days, the counter had 97 kWh when the 14th began, and more
    # when the 13th began.
    gap = CounterGap(utc("12T18:00"), utc("14T10:00"), 87, 99.5, STEP)
    assert points_of(gap, changes={"yesterday": yesterday})[1] == expected


def test_energy_is_even_if_no_midnight_is_within_the_gap() -> None:
    gap = CounterGap(utc("14T02:00"), utc("14T10:00"), 97, 99.5, STEP)
    assert points_of(gap) == (Source.EVEN, [])


@pytest.mark.parametrize("missing", ["today", "yesterday"])
def test_energy_is_even_if_the_energy_of_a_day_is_unknown(missing: str) -> None:
    gap = CounterGap(utc("02T12:00"), utc("14T10:00"), 20, 99.5, STEP)
    assert points_of(gap, changes={missing: None}) == (Source.EVEN, [])


@pytest.mark.parametrize("missing", ["this_week", "last_week"])
def test_gap_is_split_by_the_days_if_a_week_is_unknown(missing: str) -> None:
    gap = CounterGap(utc("02T12:00"), utc("14T10:00"), 20, 99.5, STEP)
    found = points_of(gap, changes={missing: None})
    assert found == (Source.PERIODS, [(midnight(13), 89), (midnight(14), 97)])


def test_energy_is_even_if_the_counter_was_not_read() -> None:
    periods = {f"{CONSUMED}_{name}": energy for name, energy in ENERGIES.items()}
    gap = CounterGap(utc("02T12:00"), utc("14T10:00"), 20, 99.5, STEP)
    evidence = evidence_in_utc(
        periods=periods, counters={"energy_produced": 100}, at=WEDNESDAY
    )
    assert evidence.curve(CONSUMED, gap, UTC_ZONE).source is Source.EVEN


@pytest.mark.parametrize(
    ("date", "week", "begins_on_monday"),
    [
        (12, 3, True),  # a Monday, whose week has the 3 kWh of today
        (12, 3.5, True),
        (12, 3.51, False),
        (12, 2.5, True),
        (12, 2.49, False),
        (13, 11, True),  # a Tuesday: 3 kWh of today and 8 kWh of yesterday
        (13, 11.5, True),
        (13, 11.51, False),
        (13, 10.5, True),
        (13, 10.49, False),
        (14, 40, True),  # a Wednesday, whose week contains a third day
        (14, 10.5, True),
        (14, 10.49, False),
        (18, 40, True),  # a Sunday
        (18, 3, False),
    ],
)
def test_week_that_contradicts_the_days_does_not_begin_on_monday(
    date: int,
    week: float,
    begins_on_monday: bool,  # noqa: FBT001
) -> None:
    """If the weeks are used, the curve has a point at the beginning of last week.

    The tolerance is two steps, which are 0.5 kWh.
    """
    at = midnight(date) + 10 * HOUR
    gap = CounterGap(utc("02T12:00"), at, 20, 99.5, STEP)
    changes: dict[str, float | None] = {"this_week": week, "last_week": 70 - week}
    found = points_of(gap, at, changes=changes)
    assert found[0] is Source.PERIODS
    # This week and last week together have 70 of the 100 kWh.
    assert ((midnight(5), 30) in found[1]) is begins_on_monday


def test_week_from_sunday_that_contradicts_the_counter_is_dropped() -> None:
    """The 23 kWh of this week include 5 kWh of Sunday.

    If the week began on Monday, the counter would have 77 kWh when Monday began. But at
    18:00 on Sunday, the counter already has 81 kWh.
    """
    gap = CounterGap(utc("11T18:00"), utc("14T10:00"), 81, 99.5, STEP)
    found = points_of(gap, changes={"this_week": 23})[1]
    assert found == [(midnight(13), 89), (midnight(14), 97)]


# -- the readings around a gap -----------------------------------------------


def test_readings_are_points_of_an_even_distribution() -> None:
    readings = [(utc("14T09:20"), 100.5), (utc("14T10:40"), 101.5)]
    gap = CounterGap(GAP.begin, GAP.end, 100, 102, 0.01, readings)
    found = source_and_points(evidence_in_utc().curve(CONSUMED, gap, UTC_ZONE), gap)
    assert found == (Source.EVEN, readings)


def test_readings_outside_the_gap_are_ignored() -> None:
    readings = [(GAP.begin, 100.5), (GAP.end, 101.5), (GAP.end + 60, 101.5)]
    gap = CounterGap(GAP.begin, GAP.end, 100, 102, 0.01, readings)
    found = source_and_points(evidence_in_utc().curve(CONSUMED, gap, UTC_ZONE), gap)
    assert found == (Source.EVEN, [])


def test_readings_and_midnights_are_in_the_order_of_time() -> None:
    readings = [(utc("12T18:20"), 87.5), (utc("14T09:40"), 99)]
    gap = CounterGap(utc("12T18:00"), utc("14T10:00"), 87, 99.5, STEP, readings)
    assert points_of(gap) == (
        Source.PERIODS,
        [readings[0], (midnight(13), 89), (midnight(14), 97), readings[1]],
    )


@pytest.mark.parametrize(
    "reading",
    [
        (utc("13T23:00"), 97.75),  # more than two steps above the 97 kWh of midnight
        (utc("14T01:00"), 96.25),  # more than two steps below
    ],
)
def test_midnight_that_contradicts_a_reading_is_dropped(
    reading: tuple[float, float],
) -> None:
    gap = CounterGap(utc("13T12:00"), utc("14T10:00"), 93, 99.5, STEP, [reading])
    assert points_of(gap) == (Source.EVEN, [reading])


# -- read from the meter -----------------------------------------------------


@pytest.fixture(scope="session")
def recorded_load() -> RecordedLoad:
    """Return a load with 72 hourly records, the newest first.

    The clock of the meter shows UTC-1.
    """
    load = RecordedLoad(
        round(utc("11T06:00")),
        UTC_ZONE,
        3600,
        -HOUR,
        SimulatedLoadCurve(order="newest first"),
    )
    load.run(72 * HOUR + 600)
    return load


@pytest.fixture
def load(recorded_load: RecordedLoad) -> RecordedLoad:
    """Return a copy of `recorded_load` for one test.

    A copy is faster than a new `RecordedLoad`: to record three days takes 0.2 s.
    """
    return deepcopy(recorded_load)


async def polled_meter(memory_bus: MemoryBus) -> Meter:
    """Return the meter of the library after its counters are read."""
    meter = await async_meter(memory_bus)
    await meter.async_read("energies")
    memory_bus.requests.clear()
    return meter


async def test_evidence_contains_all_reports_of_the_meter(load: RecordedLoad) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    found = await async_read_evidence(meter, load.now - 100 * HOUR)
    assert found.at == load.now
    assert abs(found.displayed - load.displayed) < timedelta(seconds=1)
    assert found.load_curve is not None
    assert len(found.load_curve.records) == 72
    # At 01:00 UTC, it is midnight by the clock of the meter.
    today = load.steps.energy(midnight(14) + HOUR, load.now)
    assert found.periods["energy_consumed_today"] == pytest.approx(today, abs=0.02)
    assert found.counters[CONSUMED] == pytest.approx(load.consumed, abs=0.01)


async def test_evidence_after_a_restart_contains_the_present_counters(
    load: RecordedLoad,
) -> None:
    memory_bus = MemoryBus({1: load.meter})
    meter_before_restart = await polled_meter(memory_bus)
    load.run(HOUR)
    accepted = meter_before_restart.counter_check.as_dict()
    meter = await async_meter(memory_bus, accepted=accepted)
    published: list[str] = []
    found = await async_read_evidence(
        meter, load.now - HOUR, lambda reading: published.append(reading.block)
    )
    assert found.counters[CONSUMED] == pytest.approx(load.consumed, abs=0.01)
    # The second reading of the energies confirms the first one.
    assert published == ["clock", "periods", "energies", "energies"]


@pytest.mark.parametrize(("hours", "records"), [(9, 58), (10.5, 72)])
async def test_records_of_the_two_days_before_the_gap_are_also_read(
    load: RecordedLoad, hours: float, records: int
) -> None:
    """A page has 29 hourly records, and the newest page is read first.

    Two pages go back 57 h. They are enough for a gap that began 9 h ago, because the
    records of 9 h + 48 h are needed. If the gap began earlier, a third page is read.
    """
    meter = await polled_meter(MemoryBus({1: load.meter}))
    found = await async_read_evidence(meter, load.now - hours * HOUR)
    assert found.load_curve is not None
    assert len(found.load_curve.records) == records


@pytest.mark.parametrize("is_in_profile", [True, False])
async def test_clock_that_cannot_be_read_is_assumed_to_be_right(
    load: RecordedLoad,
    is_in_profile: bool,  # noqa: FBT001
) -> None:
    memory_bus = MemoryBus({1: load.meter})
    if not is_in_profile:
        load.meter.refused_blocks.add(CLOCK)
    meter = await polled_meter(memory_bus)
    load.meter.refused_blocks.add(CLOCK)
    found = await async_read_evidence(meter, load.now - HOUR)
    assert found.displayed == displayed(load.now)
    assert found.load_curve is not None


async def test_invalid_clock_is_assumed_to_be_right(load: RecordedLoad) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    load.meter.override |= dict.fromkeys(range(CLOCK, CLOCK + 6), 0)
    found = await async_read_evidence(meter, load.now - HOUR)
    assert found.displayed == displayed(load.now)


async def test_periods_that_cannot_be_read_are_left_out(load: RecordedLoad) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    load.meter.refused_blocks |= {PERIODS, PERIODS_IN_KWH}
    found = await async_read_evidence(meter, load.now - HOUR)
    assert found.periods == {}
    assert found.load_curve is not None


async def test_load_curve_that_is_not_needed_is_not_read(load: RecordedLoad) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    since = load.now - HOUR
    found = await async_read_evidence(meter, since, with_load_curve=False)
    assert found.load_curve is None
    assert load.meter.writes == []


async def test_load_curve_that_the_meter_refuses_is_left_out(
    load: RecordedLoad,
) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    load.meter.refused_blocks.add(LOAD_CURVE)
    found = await async_read_evidence(meter, load.now - HOUR)
    assert found.load_curve is None
    assert found.periods


async def test_offline_meter_has_only_its_last_counters(load: RecordedLoad) -> None:
    meter = await polled_meter(MemoryBus({1: load.meter}))
    load.meter.offline = True
    found = await async_read_evidence(meter, load.now - HOUR)
    counters = {CONSUMED: pytest.approx(load.consumed, abs=0.01)}
    assert found.counters.items() >= counters.items()
    assert (found.displayed, found.load_curve) == (displayed(load.now), None)
    assert found.periods == {}


async def test_read_pointer_of_a_meter_without_periods_is_not_written(
    load: RecordedLoad,
) -> None:
    """A meter without the periods, such as an E1x or E2x, has no load curve."""
    memory_bus = MemoryBus({1: load.meter})
    load.meter.refused_blocks |= {PERIODS, PERIODS_IN_KWH}
    meter = await polled_meter(memory_bus)
    found = await async_read_evidence(meter, load.now - HOUR)
    assert found.load_curve is None
    assert memory_bus.writes == []
