"""The demand of a meter: the mean consumed power of a period, such as a quarter-hour.

Some tariffs charge for the highest demand of a month. The demand is calculated from the
accepted values of the counter of consumed energy, so the demand agrees with this
counter. The value of the counter at the beginning of a period is interpolated between
the last reading before the beginning and the first reading after it. If these readings
are too far apart, or the system clock was set between them, the energy and the demand
of the period are unknown.

A counter in steps of 1 kWh is too coarse for a quarter-hour. For a meter with such a
counter, the integral of the measured power replaces the counter.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
import logging
import math
from typing import Any, Self

from .plausibility import Moment

_LOGGER = logging.getLogger(__name__)

# In min; each of these lengths divides an hour, so a period begins at each full hour.
PERIODS = (5, 10, 15, 30, 60)
USUAL_PERIOD = 15  # min; most tariffs for power use the quarter-hour

JOULES_PER_KWH = 3_600_000

# In s; the longest pause between the readings before and after the beginning of a
# period. Our choice: on a bus with 64 meters at 38400 baud, counters are up to 26 s
# old. If the load changes once within a pause of 30 s, the error of the interpolation
# is at most the change of the load in W times 7.5 s, a quarter of the pause.
LONGEST_COUNTER_PAUSE = 30

# In s; the system clock and the event loop's clock both measure the time between two
# readings. If the results differ by more than this, the system clock was set. Our
# choice: 0.2 % of a quarter-hour.
CLOCK_TOLERANCE = 2

# In s; the forecast uses the mean power over this time. Our choice: with a shorter
# time, each short load would change the forecast. With a longer time, the forecast
# would react late to a new load.
RECENT_SECONDS = 60

# In s; after a longer pause between two readings of the power, the energy of the pause
# is unknown. Our choice: the power sensor also keeps its last value for 10 s if the
# power cannot be read. If the load changes once in the pause, the error of the energy
# is at most the change of the load in W times 5 s, half of the pause.
LONGEST_INTEGRATED_PAUSE = 10


@dataclass(frozen=True)
class Peak:
    """The highest demand of a month."""

    minutes: int
    """The length of the period."""
    begin: float
    """The beginning of the period, in s since 1970."""
    watts: float


@dataclass(frozen=True)
class _Reading:
    """A reading of the counter of consumed energy."""

    at: Moment
    kilowatt_hours: float

    def power_until(self, later: _Reading) -> float:
        """Return the mean power from this reading to a later one, in W."""
        seconds = self.at.seconds_until(later.at)
        return (later.kilowatt_hours - self.kilowatt_hours) * JOULES_PER_KWH / seconds


@dataclass(frozen=True)
class _Period:
    """The running period."""

    begin: float
    """In s since 1970."""
    kilowatt_hours: float | None
    """The counter at the beginning of the period, None if unknown."""


class Demand:
    """The demand of the running period, the forecast of it, and the highest demands."""

    def __init__(self, to_local: Callable[[float], datetime]) -> None:
        """Initialize the demand without a reading.

        `to_local` converts s since 1970 to the local time, with its time zone.
        """
        self._to_local = to_local
        self._minutes = USUAL_PERIOD
        self._last: _Reading | None = None
        self._period: _Period | None = None
        self._first: _Reading | None = None
        """The first reading since the last interruption.

        A call of `interrupt` or a pause above `LONGEST_COUNTER_PAUSE` is an
        interruption.
        """
        self._rises: list[_Reading] = []
        """Readings at which the counter had risen since the previous reading.

        The list contains those of the last `RECENT_SECONDS`, and at least the last two.
        """
        self._peaks: list[Peak] = []
        """At most one for each combination of a month and a length of the periods."""

    # -- readings ------------------------------------------------------------

    def add(self, at: Moment, kilowatt_hours: float) -> bool:
        """Add an accepted reading of the counter. Return whether a period began.

        The result is also True if the running period was unknown before this reading. A
        reading that is not later than the last reading is ignored.
        """
        new = _Reading(at, kilowatt_hours)
        if self._last is not None:
            if at.monotonic <= self._last.at.monotonic:
                return False
            if _clock_was_set(self._last.at, at) or (
                kilowatt_hours < self._last.kilowatt_hours
            ):
                self.interrupt()
        self._note_rise(new)
        begin = self._begin_of(at.wall)
        is_begin = self._period is None or begin != self._period.begin
        if is_begin:
            self._begin_period(_Period(begin, self._counter_at(begin, new)))
        self._last = new
        return is_begin

    def interrupt(self) -> None:
        """Forget the running period.

        If the accepted value of the counter was corrected, call this before `add`,
        because the energy of the running period is not known any more.
        """
        self._last = self._period = None

    def _note_rise(self, new: _Reading) -> None:
        """Update `_first` and `_rises` with a new reading, and remove old rises."""
        last, rises = self._last, self._rises
        if (
            last is None
            or self._first is None
            or last.at.seconds_until(new.at) > LONGEST_COUNTER_PAUSE
        ):
            self._first = new
            rises.clear()
        elif new.kilowatt_hours > last.kilowatt_hours:
            rises.append(new)
        # The last two rises are kept, because the counter rises rarely at a small load.
        while rises[2:] and rises[0].at.seconds_until(new.at) > RECENT_SECONDS:
            del rises[0]

    def _begin_of(self, at: float) -> float:
        """Return the beginning of the period at the time `at`, both in s since 1970."""
        offset = self._to_local(at).utcoffset()
        assert offset is not None  # noqa: S101
        ahead, seconds = offset.total_seconds(), 60 * self._minutes
        return (at + ahead) // seconds * seconds - ahead

    def _counter_at(self, begin: float, new: _Reading) -> float | None:
        """Return the counter in kWh at the beginning of a period, None if unknown."""
        last = self._last
        if last is None or begin < last.at.wall:
            return None
        pause = new.at.wall - last.at.wall
        if pause > LONGEST_COUNTER_PAUSE:
            return None
        rise = new.kilowatt_hours - last.kilowatt_hours
        return last.kilowatt_hours + rise * (begin - last.at.wall) / pause

    def _begin_period(self, new: _Period) -> None:
        """Begin a period, and note the demand of the previous one if it is known."""
        previous, self._period = self._period, new
        if (
            previous is not None
            and previous.kilowatt_hours is not None
            and new.kilowatt_hours is not None
            and new.begin == previous.begin + 60 * self._minutes
        ):
            watts = self._mean_watts(new.kilowatt_hours - previous.kilowatt_hours)
            self._note_peak(Peak(self._minutes, previous.begin, watts))

    def _note_peak(self, new: Peak) -> None:
        """Note a demand if it is the highest of its month.

        Keep the demands of that month and of the month before. Remove all others.
        """
        month = self._month(new.begin)
        highest = self._highest(month)
        self._peaks = [
            each
            for each in self._peaks
            if each is not highest and month - 1 <= self._month(each.begin) <= month
        ]
        self._peaks.append(highest if highest and highest.watts >= new.watts else new)

    # -- results -------------------------------------------------------------

    @property
    def minutes(self) -> int:
        """Return the length of the periods in min, one of `PERIODS`.

        If the length is changed, the highest demands of the previous length remain
        stored. `highest` returns these demands when that length is set again.
        """
        return self._minutes

    @minutes.setter
    def minutes(self, minutes: int) -> None:
        if minutes != self._minutes:
            self._minutes, self._period = minutes, None

    @property
    def begin(self) -> float | None:
        """Return when the running period began, in s since 1970; None if unknown."""
        return None if self._period is None else self._period.begin

    def watts(self, at: float) -> float | None:
        """Return the energy so far in the running period, divided by its length, in W.

        The length is that of the whole period. So the result rises from 0 to the demand
        of the period. Returns None if the energy is unknown, or if the last reading was
        more than `LONGEST_COUNTER_PAUSE` before `at`. `at` is in s since 1970.
        """
        last, period = self._last, self._period
        if (
            last is None
            or period is None
            or period.kilowatt_hours is None
            or at - last.at.wall > LONGEST_COUNTER_PAUSE
        ):
            return None
        return self._mean_watts(last.kilowatt_hours - period.kilowatt_hours)

    def forecast(self, at: float) -> float | None:
        """Return the demand in W that the running period will have.

        The assumption is that the power stays at its recent mean. Returns None if
        `watts` returns None, or if the power is not known yet.
        """
        last, period = self._last, self._period
        watts, power = self.watts(at), self._recent_power()
        if last is None or period is None or watts is None or power is None:
            return None
        passed = (last.at.wall - period.begin) / (60 * self._minutes)
        return watts + power * (1 - passed)

    def highest(self, at: float, *, months_ago: int = 0) -> Peak | None:
        """Return the highest demand of a month, None if no demand is known.

        The month is `months_ago` months before the month that contains `at`. `at` is in
        s since 1970. A period belongs to the month in which the period begins.
        """
        return self._highest(self._month(at) - months_ago)

    def _highest(self, month: int) -> Peak | None:
        for peak in self._peaks:
            if (self._month(peak.begin), peak.minutes) == (month, self._minutes):
                return peak
        return None

    def _month(self, at: float) -> int:
        """Return the month of a time as a number that rises by 1 each month."""
        local = self._to_local(at)
        return 12 * local.year + local.month

    def _mean_watts(self, kilowatt_hours: float) -> float:
        """Return the mean power in W if this energy is consumed in a whole period."""
        return kilowatt_hours * 60_000 / self._minutes  # 1 kWh in 1 min is 60 000 W

    def _recent_power(self) -> float | None:
        """Return the recent mean power in W, None if unknown.

        With two or more `_rises`, the power is the mean from the first to the last of
        them. If the last rise was long ago, the power has fallen since then, so a lower
        power is returned. With fewer `_rises`, the power is the mean since `_first`,
        which has to be at least `RECENT_SECONDS` ago.
        """
        first, last, rises = self._first, self._last, self._rises
        if first is None or last is None:
            return None
        if rises[1:]:
            # At each rise, the counter has just reached a new step. So the mean power
            # between two rises has almost no rounding error. The last rise was at least
            # one step. Since then, the meter has counted less than one step. So the
            # mean power since then is less than `rise` divided by `seconds`.
            power = rises[0].power_until(rises[-1])
            seconds = rises[-1].at.seconds_until(last.at)
            rise = rises[-1].kilowatt_hours - rises[-2].kilowatt_hours
            return min(power, rise * JOULES_PER_KWH / seconds) if seconds else power
        if first.at.seconds_until(last.at) < RECENT_SECONDS:
            return None
        return first.power_until(last)

    # -- storage -------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return the state of the demand as JSON content for `restore`."""
        last = self._last
        return {
            "minutes": self._minutes,
            "last": last and [last.at.wall, last.kilowatt_hours],
            "period": self._period and asdict(self._period),
            "peaks": [asdict(peak) for peak in self._peaks],
        }

    def restore(self, stored: Mapping[str, Any]) -> Self:
        """Continue with the content that `as_dict` returned.

        If the content has another shape, a warning is logged and nothing is restored.
        """
        try:
            # `index` raises ValueError for a length that is not in `PERIODS`.
            minutes = PERIODS[PERIODS.index(stored["minutes"])]
            last, period = stored["last"], stored["period"]
            if last is not None:
                last = _Reading(Moment(float(last[0])), float(last[1]))
            if period is not None:
                counter = period["kilowatt_hours"]
                period = _Period(
                    begin=float(period["begin"]),
                    kilowatt_hours=None if counter is None else float(counter),
                )
            peaks = [
                Peak(
                    minutes=int(each["minutes"]),
                    begin=float(each["begin"]),
                    watts=float(each["watts"]),
                )
                for each in stored["peaks"]
            ]
        except (LookupError, TypeError, ValueError) as err:
            _LOGGER.warning("The stored demand is invalid and not used: %r", err)
        else:
            self._minutes, self._last = minutes, last
            self._period, self._peaks = period, peaks
        return self


class PowerIntegral:
    """The consumed energy of a meter, as the integral of its measured power."""

    def __init__(self) -> None:
        """Initialize the integral without a reading."""
        self.kilowatt_hours = 0.0
        """The energy since the first reading, without the energy of long pauses."""
        self._at = -math.inf
        self._watts = 0.0

    def add(self, at: float, watts: float) -> bool:
        """Add a reading of the power in W. `at` is in s of the event loop's clock.

        Returns False for the first reading, and after a pause that is longer than
        `LONGEST_INTEGRATED_PAUSE`, because the energy before this reading is unknown.
        Produced power is negative, and counts as 0.
        """
        pause = at - self._at
        watts = max(watts, 0)
        mean = (self._watts + watts) / 2
        self._at, self._watts = at, watts
        if pause > LONGEST_INTEGRATED_PAUSE:
            return False
        self.kilowatt_hours += mean * pause / JOULES_PER_KWH
        return True


def _clock_was_set(before: Moment, after: Moment) -> bool:
    """Return whether the system clock was set between two readings."""
    passed = after.wall - before.wall
    return abs(passed - before.seconds_until(after)) > CLOCK_TOLERANCE
