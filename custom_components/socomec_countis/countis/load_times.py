"""The times of a load curve in UTC.

Socomec's Modbus table (see registers.py) leaves open whether the date of a record is
the beginning or the end of its period, and whether the date is local time or UTC. This
module finds the meanings for which the newest complete record agrees with the clock of
the meter: the period of this record has ended, and the next period has not ended. For
some integration periods and time zones, several meanings are possible. Then the caller
calculates the energy of a gap with each meaning, and compares it with the counter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from .load_curve import LoadCurve

# In s; a meter may store a record up to this long after the end of its period. The
# calculated end of the period may also be up to this long in the future. Our choice.
NEWEST_RECORD_TOLERANCE = 60
HOUR = 3600  # s
# In all present time zones, the local time changes only at multiples of 15 min in UTC.
CHANGE_STEP = timedelta(minutes=15)


@dataclass(frozen=True)
class LoadTimes:
    """One meaning of the dates of a load curve."""

    date_is_end: bool
    """Whether the date of a record is the end of its period."""
    is_utc: bool
    """Whether the dates are in UTC. If not, they are times that the meter displayed."""
    follows_zone: bool
    """Whether the dates show that the meter's clock followed a change of local time."""
    starts: Sequence[float]
    """The beginning of the period of each record, in s since 1970."""


def possible_times(
    curve: LoadCurve, displayed: datetime, now: float, zone: tzinfo
) -> Iterator[LoadTimes]:
    """Yield each meaning of the dates that agrees with the clock of the meter.

    `now` is in s since 1970. `displayed` is the time, without a time zone, that the
    meter displays at `now`. `zone` is the time zone of the user.

    A meaning agrees if the period of the newest complete record has ended, but the next
    period has not ended. The tolerance of both times is `NEWEST_RECORD_TOLERANCE`.
    """
    complete = [index for index, each in enumerate(curve.records) if each.is_complete]
    period = curve.period.total_seconds()
    if not complete or period <= 0:
        return
    dates = [record.time for record in curve.records]
    changes = _zone_changes(zone, dates[0] - timedelta(days=1), now)
    # The dates at which the periods begin, by `date_is_end`.
    possible_start_dates = {True: [date - curve.period for date in dates], False: dates}
    followed = {
        date_is_end: [
            change
            for change in changes
            if _is_followed(change, start_dates, curve.period)
        ]
        for date_is_end, start_dates in possible_start_dates.items()
    }
    display_ahead = _timestamp_as_utc(displayed) - now
    for is_utc, offset in _offsets(display_ahead, _zone_offset(zone, now)):
        if is_utc and any(followed.values()):
            continue  # because dates in UTC neither leave out nor repeat an hour
        for date_is_end, start_dates in possible_start_dates.items():
            starts = [_timestamp_as_utc(each) - offset for each in start_dates]
            starts = _corrected_starts(starts, start_dates, followed[date_is_end])
            age = now - (starts[complete[-1]] + period)
            if -NEWEST_RECORD_TOLERANCE <= age < period + NEWEST_RECORD_TOLERANCE:
                follows_zone = bool(followed[date_is_end])
                yield LoadTimes(date_is_end, is_utc, follows_zone, starts)


def _offsets(display_ahead: float, zone_ahead: float) -> Iterator[tuple[bool, float]]:
    """Yield pairs: `is_utc`, and how many s the dates may be ahead of true UTC.

    `display_ahead` is how many s the displayed time is ahead of true UTC. `zone_ahead`
    is how many s the local time of the user is ahead. `display_ahead - zone_ahead` is
    the error of the displayed time. Dates in UTC may have the same error, or this error
    minus the nearest whole number of hours. For example, if the clock stays at standard
    time in summer, the displayed time is an hour behind, but dates in UTC may be right.
    """
    yield False, display_ahead
    error = display_ahead - zone_ahead
    for offset in dict.fromkeys((error, error - round(error / HOUR) * HOUR)):
        if offset != display_ahead:  # an equal offset was yielded above with `False`
            yield True, offset


@dataclass(frozen=True)
class _ZoneChange:
    """A change of the local time, such as the beginning of daylight saving."""

    before: datetime
    """The local time just before the change, without a time zone."""
    ahead: timedelta
    """By how much the local time was put forward, negative if put back."""

    @property
    def earliest(self) -> datetime:
        """Return the earlier of the local times before and after the change."""
        return self.before + min(self.ahead, timedelta())


def _zone_changes(zone: tzinfo, since: datetime, now: float) -> list[_ZoneChange]:
    """Return the changes of a time zone from `since` until `now`, in their order."""
    changes: list[_ZoneChange] = []
    step = CHANGE_STEP.total_seconds()
    moment = datetime.fromtimestamp(_timestamp_as_utc(since) // step * step, UTC)
    before = moment.astimezone(zone)
    while (moment := moment + CHANGE_STEP).timestamp() <= now:
        after = moment.astimezone(zone)
        offset = before.utcoffset() or timedelta()
        if ahead := (after.utcoffset() or timedelta()) - offset:
            changes.append(_ZoneChange((moment + offset).replace(tzinfo=None), ahead))
        before = after
    return changes


def _is_followed(
    change: _ZoneChange, start_dates: Sequence[datetime], period: timedelta
) -> bool:
    """Return whether the clock of the meter followed a change of the local time.

    `start_dates` contains the dates at which the periods begin, sorted. If the clock
    was put back, each date in the repeated hour occurs twice. Because of the sorting,
    the two equal dates are next to each other. If the clock was put forward, the dates
    leave out an hour. If the change was in the middle of a period, the time left out
    differs from an hour by less than a period.
    """
    for earlier, later in pairwise(start_dates):
        if change.ahead < timedelta():
            if earlier == later and change.earliest <= later < change.before:
                return True
        elif earlier < change.before <= later:
            # A start date that was calculated from an end date may be up to one period
            # before the end of the left-out hour.
            skips_hour = later >= change.before + change.ahead - period
            left_out = later - earlier - period
            return skips_hour and abs(left_out - change.ahead) < period
    return False


def _corrected_starts(
    starts: Sequence[float],
    start_dates: Sequence[datetime],
    changes: Sequence[_ZoneChange],
) -> list[float]:
    """Return the beginnings of the periods, corrected for changes of the time zone.

    The clock of the meter followed the `changes`. `starts` are in s since 1970, and
    assume the present offset from UTC at all times. `start_dates` contains the same
    beginnings as dates, without a time zone.
    """
    corrected: list[float] = []
    for begin, date, following in zip(
        starts, start_dates, [*start_dates[1:], None], strict=True
    ):
        correction = 0.0
        for change in changes:
            # In a repeated hour, the first of two equal dates is before the change.
            is_first = date == following and date < change.before
            if date < change.earliest or is_first:
                correction += change.ahead.total_seconds()
        corrected.append(begin + correction)
    return corrected


def _zone_offset(zone: tzinfo, at: float) -> float:
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
    return offset.total_seconds()


def _timestamp_as_utc(displayed: datetime) -> float:
    """Return a time without a time zone as s since 1970, as if it were UTC."""
    return displayed.replace(tzinfo=UTC).timestamp()
