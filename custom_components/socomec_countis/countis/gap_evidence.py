"""The evidence of a meter about a gap.

A gap is a time in which the counters of the meter were not read. An energy curve is the
distribution of energy over a gap. The best source of an energy curve is the load curve
of the meter. The second-best source is the energies of days and weeks. A source is used
only if it agrees with the counters. If neither source is used, the energy is
distributed evenly between the known readings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from operator import itemgetter
from typing import Any

from modbus_connection import ModbusError

from .block import Values
from .commands import Publish
from .energy_curve import EnergyCurve, Source
from .errors import CountisError
from .load_curve import LoadCurve, async_read_load_curve
from .load_times import LoadTimes, possible_times
from .meter import Meter
from .registers import TARIFF_COUNTERS

# Fraction of the energy of a gap by which the load curve may differ from the counters.
# Our choice: if a short gap has a missing or shifted record, the difference is larger,
# so the load curve is not used.
LOAD_CURVE_TOLERANCE = 0.05
# Steps by which a difference of two readings may be wrong, because each of the readings
# is rounded to a step.
STEPS_OF_TOLERANCE = 2

# The part of the load curve that is used begins this long before a gap. The records
# before the gap help to show whether the clock of the meter followed a change of local
# time. Our choice.
BEFORE_GAP = timedelta(days=2)

DAY = timedelta(days=1)
WEEK = timedelta(days=7)

CONSUMED = "energy_consumed"

type Point = tuple[float, float]
"""A time in s since 1970, and an energy in kWh or kvarh."""


def total_of(counter: str) -> str:
    """Return the total counter whose energy includes that of `counter`."""
    total = counter.removeprefix("partial_")
    return CONSUMED if total in TARIFF_COUNTERS else total


@dataclass(frozen=True)
class CounterGap:
    """The values of a counter around a gap.

    `begin` and `end` are full hours such as 13:00, because in most load curves, no
    integration period extends across a full hour.
    """

    begin: float
    """A full hour before the gap, in s since 1970."""
    end: float
    """A full hour after the gap, in s since 1970."""
    before: float
    """The value of the counter at `begin`, in kWh or kvarh."""
    after: float
    """The value of the counter at `end`, in kWh or kvarh."""
    step: float
    """The resolution of the counter, in kWh or kvarh."""
    readings: Sequence[Point] = ()
    """The readings before and after the gap, if they are known.

    If two outages were merged into one gap, the readings between them are included.
    """

    @property
    def energy(self) -> float:
        """Return the energy from `begin` to `end`, in kWh or kvarh."""
        return self.after - self.before

    @property
    def tolerance(self) -> float:
        """Return the largest error of a difference of two readings, in kWh or kvarh."""
        return STEPS_OF_TOLERANCE * self.step


@dataclass(frozen=True)
class LoadCurveMatch:
    """The energy of a gap according to the load curve and to the counter.

    `times` is one possible meaning of the load curve's dates: a date may be the
    beginning or the end of a period, in local time or UTC.
    """

    times: LoadTimes
    energy: float
    """The energy consumed in the gap according to the load curve, in kWh."""
    counted: float
    """The energy consumed in the gap according to the counter, in kWh."""


@dataclass(frozen=True)
class Evidence:
    """The values that a meter reported after a gap."""

    at: float
    """When the clock of the meter was read, in s since 1970."""
    displayed: datetime
    """The time that the meter displayed at `at`, without a time zone."""
    load_curve: LoadCurve | None
    """None if the meter has no load curve, or if no load curve was read."""
    periods: Values
    """The energies of days and weeks in kWh, empty if they could not be read."""
    counters: Mapping[str, float]
    """The last accepted values, read just after `at` if possible, in kWh or kvarh."""

    def curve(self, counter: str, gap: CounterGap, zone: tzinfo) -> EnergyCurve:
        """Return the best energy curve of a gap.

        `counter` is a total counter, which must have risen in the gap. `zone` is the
        time zone of the user.
        """
        if counter == CONSUMED and (match := self.best_match(gap, zone)):
            tolerance = max(LOAD_CURVE_TOLERANCE * gap.energy, gap.tolerance)
            if match.energy > 0 and abs(match.energy - match.counted) <= tolerance:
                points = self._load_points(gap, match.times)
                return EnergyCurve.of_energies(Source.LOAD_CURVE, points)
        readings = _with_ends(_agreeing_points(gap.readings, gap), gap)
        midnights = sorted(self._midnights(counter, gap.tolerance))
        # The time of a midnight depends on the clock of the meter, which may be wrong.
        # So each midnight has to agree with the readings before and after it.
        agreeing_midnights = [
            midnight
            for (begin, before), (end, after) in pairwise(readings)
            for midnight in _agreeing_points(
                midnights,
                replace(gap, begin=begin, end=end, before=before, after=after),
            )
        ]
        source = Source.PERIODS if agreeing_midnights else Source.EVEN
        points = sorted([*readings, *agreeing_midnights])
        return EnergyCurve.of_energies(source, points)

    def best_match(self, gap: CounterGap, zone: tzinfo) -> LoadCurveMatch | None:
        """Return the match whose energy is closest to that of the counter.

        Each possible meaning of the load curve's dates (`LoadTimes`) gives one match.
        `gap` is the gap of the counter `CONSUMED`. Returns None without a load curve,
        or if no meaning of the dates agrees with the clock of the meter.
        """
        if self.load_curve is None:
            return None
        curve = replace(
            self.load_curve,
            records=[
                record
                for record in self.load_curve.records
                if record.time >= self._displayed_at(gap.begin) - BEFORE_GAP
            ],
        )
        matches = [
            LoadCurveMatch(times, self._load_points(gap, times)[-1][1], gap.energy)
            for times in possible_times(curve, self.displayed, self.at, zone)
        ]
        return min(
            matches, key=lambda match: abs(match.energy - match.counted), default=None
        )

    def findings(self, gap: CounterGap, zone: tzinfo) -> dict[str, Any] | None:
        """Return facts about the load curve, for diagnostics.

        The Modbus table leaves some of these facts open, such as the meaning of the
        dates. `gap` is the gap of the counter `CONSUMED`. Returns None without a load
        curve.
        """
        if (curve := self.load_curve) is None:
            return None
        match = self.best_match(gap, zone)
        return {
            "records": len(curve.records),
            "first": curve.records[0].time.isoformat() if curve.records else None,
            "last": curve.records[-1].time.isoformat() if curve.records else None,
            "displayed": self.displayed.isoformat(),
            "period_seconds": curve.period.total_seconds(),
            "header_period": curve.header_period,
            "is_newest_first": curve.is_newest_first,
            "date_is_end": match and match.times.date_is_end,
            "is_utc": match and match.times.is_utc,
            "follows_zone": match and match.times.follows_zone,
            "energy": match and round(match.energy, 3),
            "counted": match and round(match.counted, 3),
        }

    def _load_points(
        self, gap: CounterGap, times: LoadTimes
    ) -> list[tuple[float, float]]:
        """Return points of the consumed energy in kWh since the beginning of a gap."""
        assert self.load_curve is not None  # noqa: S101
        seconds = self.load_curve.period.total_seconds()
        energy = 0.0
        points = [(gap.begin, energy)]
        # `best_match` leaves out the oldest records. So `times.starts` only has entries
        # for the newest records.
        records = self.load_curve.records[-len(times.starts) :]
        periods = zip(times.starts, records, strict=True)
        for period_begin, record in sorted(periods, key=itemgetter(0)):
            begin = max(period_begin, points[-1][0])
            end = min(period_begin + seconds, gap.end)
            if begin < end:
                points.append((begin, energy))
                energy += (record.watts or 0) * (end - begin) / 3_600_000  # J per kWh
                points.append((end, energy))
        return [*points, (gap.end, energy)]

    def _midnights(self, counter: str, tolerance: float) -> Iterator[Point]:
        """Yield midnights of the meter's clock, each with the value of a counter.

        The values are calculated from the present value of the counter, and from the
        energies of the days and weeks. The Modbus table leaves open on which day a week
        begins. The assumption is Monday. If the energies of the days contradict this
        assumption, the weeks are not used.
        """

        def energy(period: str) -> float | None:
            return self.periods.get(f"{counter}_{period}")

        value = self.counters.get(counter)
        today, yesterday = energy("today"), energy("yesterday")
        if value is None or today is None or yesterday is None:
            return
        day = self.displayed.replace(hour=0, minute=0, second=0, microsecond=0)
        yield self._timestamp_of(day), value - today
        yield self._timestamp_of(day - DAY), value - today - yesterday
        week, last_week = energy("this_week"), energy("last_week")
        monday = day - day.weekday() * DAY
        counted_since = [(day, today), (day - DAY, today + yesterday)]
        if week is None or last_week is None:
            return
        # If the week of the meter begins on Monday, `week` is at least the energy
        # counted since any midnight of this week, and equal to the energy counted since
        # Monday 0:00.
        begins_on_monday = all(
            week >= counted - tolerance
            and (monday < midnight or week <= counted + tolerance)
            for midnight, counted in counted_since
            if monday <= midnight
        )
        if begins_on_monday:
            yield self._timestamp_of(monday), value - week
            yield self._timestamp_of(monday - WEEK), value - week - last_week

    def _displayed_at(self, time: float) -> datetime:
        """Return the time that the meter displayed at `time`.

        `time` is in s since 1970. The assumption is that the clock of the meter was not
        set since `time`.
        """
        return self.displayed - timedelta(seconds=self.at - time)

    def _timestamp_of(self, displayed: datetime) -> float:
        """Return the time in s since 1970 at which the meter displayed a time."""
        return self.at - (self.displayed - displayed).total_seconds()


def _agreeing_points(points: Iterable[Point], gap: CounterGap) -> list[Point]:
    """Return the points within a gap that agree with the counter of the gap.

    `points` are sorted by time. The limits of a value are the value of the previous
    returned point (`gap.before` for the first point) and `gap.after`. If a value is
    outside the limits by at most `gap.tolerance`, the nearer limit replaces the value.
    If the value is further outside, the point is left out.
    """
    time, value = gap.begin, gap.before
    agreeing: list[Point] = []
    for new_time, new_value in points:
        corrected = min(max(new_value, value), gap.after)
        agrees = abs(new_value - corrected) <= gap.tolerance
        if time < new_time < gap.end and agrees:
            time, value = new_time, corrected
            agreeing.append((time, value))
    return agreeing


def _with_ends(points: Iterable[Point], gap: CounterGap) -> list[Point]:
    """Return the points, with the beginning and the end of the gap added."""
    return [(gap.begin, gap.before), *points, (gap.end, gap.after)]


async def async_read_evidence(
    meter: Meter,
    since: float,
    publish: Publish = lambda _: None,
    *,
    with_load_curve: bool = True,
) -> Evidence:
    """Read the evidence of a meter about a gap that began at `since`, in s since 1970.

    `publish` is called with each accepted reading. If the clock cannot be read,
    `Evidence.displayed` is `Meter.local_time()`. If the counters cannot be read,
    `Evidence.counters` has their last accepted values. Other data that cannot be read
    is left out. To read the load curve, the client writes only the register that
    selects a page (61440).
    """
    async with meter.bus.hold():
        clock = await _async_values(meter, "clock", publish)
        at = meter.now().wall
        displayed = meter.local_time() + timedelta(
            seconds=clock.get("clock_offset") or 0
        )
        periods = await _async_values(meter, "periods", publish)
        for _ in range(2):  # the second reading confirms the first one
            await _async_values(meter, "energies", publish)
        counters = meter.counter_check.values
    load_curve = None
    # Only meters with the block "periods" have a load curve (E3x and E4x).
    if with_load_curve and meter.block("periods"):
        begin = displayed - timedelta(seconds=at - since) - BEFORE_GAP
        try:
            load_curve = await async_read_load_curve(meter, since=begin)
        except CountisError, ModbusError:
            load_curve = None
    return Evidence(at, displayed, load_curve, periods, counters)


async def _async_values(meter: Meter, block: str, publish: Publish) -> Values:
    """Return the values of a block, empty if the block cannot be read."""
    if meter.block(block) is None:
        return {}
    try:
        reading = await meter.async_read(block)
    except CountisError, ModbusError:
        return {}
    publish(reading)
    return reading.values
