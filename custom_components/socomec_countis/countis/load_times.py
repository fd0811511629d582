"""The times of a load curve in UTC.

The table leaves open whether the date of a record is the begin or the end of its
period, and whether it is local time or UTC. The newest complete record shows which: its
period has ended, and the next one has not. For some periods and time zones, two answers
are possible. The caller then compares the energy of each with the counters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from .load_curve import LoadCurve

# s; a meter may store a record some time after its period. Our choice.
NEWEST_TOLERANCE = 60
HOUR = 3600  # s
# All time zones change at a multiple of 15 min in UTC.
CHANGE_STEP = timedelta(minutes=15)


@dataclass(frozen=True)
class LoadTimes:
    """One meaning of the dates of a load curve."""

    date_is_end: bool
    """Whether the date of a record is the end of its period."""
    is_utc: bool
    """Whether the dates are in UTC, instead of the time that the meter displays."""
    follows_zone: bool
    """Whether the meter changed its clock with the time zone, and the dates show it."""
    begins: Sequence[float]
    """The begin of the period of each record, in s since 1970."""


def possible_times(
    curve: LoadCurve, displayed: datetime, now: float, zone: tzinfo
) -> Iterator[LoadTimes]:
    """Yield each meaning of the dates that agrees with the clock of the meter.

    `displayed` is the time that the meter displays (without a time zone) at `now`, in s
    since 1970. `zone` is the time zone of the user. Yields nothing if the meter has not
    completed a record in the last integration period.
    """
    complete = [index for index, each in enumerate(curve.records) if each.is_complete]
    period = curve.period.total_seconds()
    if not complete or period <= 0:
        return
    dates = [record.time for record in curve.records]
    changes = _zone_changes(zone, dates[0] - timedelta(days=1), now)
    shown = {True: [date - curve.period for date in dates], False: dates}
    followed = {
        date_is_end: [
            change for change in changes if _is_followed(change, times, curve.period)
        ]
        for date_is_end, times in shown.items()
    }
    for is_utc, offset in _offsets(_seconds(displayed) - now, _zone_offset(zone, now)):
        if is_utc and any(followed.values()):
            continue  # UTC neither leaves out an hour nor repeats it
        for date_is_end, times in shown.items():
            begins = [_seconds(each) - offset for each in times]
            begins = _corrected_begins(begins, times, followed[date_is_end])
            age = now - (begins[complete[-1]] + period)
            if -NEWEST_TOLERANCE <= age < period + NEWEST_TOLERANCE:
                follows_zone = bool(followed[date_is_end])
                yield LoadTimes(date_is_end, is_utc, follows_zone, begins)


def _offsets(display: float, zone: float) -> Iterator[tuple[bool, float]]:
    """Yield each possible `is_utc`, with the s that the dates are ahead of true UTC.

    `display` is the number of s that the displayed time is ahead of true UTC. `zone` is
    the same number for the local time of the user. If the clock of the meter is wrong,
    its dates in UTC may be wrong by the same time. If the clock does not follow the
    time zone, the displayed time is wrong by an hour, but the dates in UTC are right.
    So the other possible error is the same time without its full hours.
    """
    yield False, display
    error = display - zone
    for offset in dict.fromkeys((error, error - round(error / HOUR) * HOUR)):
        if offset != display:
            yield True, offset


@dataclass(frozen=True)
class _ZoneChange:
    """A change of the local time, such as the begin of daylight saving."""

    shown: datetime
    """The local time before the change, without a time zone."""
    ahead: timedelta
    """By how much the local time was put forward, negative if it was put back."""

    @property
    def earliest(self) -> datetime:
        """Return the earlier one of the local times before and after the change."""
        return self.shown + min(self.ahead, timedelta())


def _zone_changes(zone: tzinfo, since: datetime, now: float) -> list[_ZoneChange]:
    """Return the changes of a time zone until `now`, in their order."""
    changes: list[_ZoneChange] = []
    step = CHANGE_STEP.total_seconds()
    begin = datetime.fromtimestamp(_seconds(since) // step * step, UTC)
    before = begin.astimezone(zone)
    while (begin := begin + CHANGE_STEP).timestamp() <= now:
        after = begin.astimezone(zone)
        offset = before.utcoffset() or timedelta()
        if ahead := (after.utcoffset() or timedelta()) - offset:
            changes.append(_ZoneChange((begin + offset).replace(tzinfo=None), ahead))
        before = after
    return changes


def _is_followed(
    change: _ZoneChange, shown: Sequence[datetime], period: timedelta
) -> bool:
    """Return whether the clock of the meter was changed with the time zone.

    `shown` are the displayed begins of the periods. If the clock is put forward, they
    leave out an hour. If it is put back, they repeat an hour. If the
    clock is put forward within a period, the time that they leave out differs from the
    change by less than a period.
    """
    for earlier, later in pairwise(shown):
        if change.ahead < timedelta():
            if earlier == later and change.earliest <= later < change.shown:
                return True
        elif earlier < change.shown <= later:
            is_skipped = later >= change.shown + change.ahead - period
            left_out = later - earlier - period
            return is_skipped and abs(left_out - change.ahead) < period
    return False


def _corrected_begins(
    begins: Sequence[float], shown: Sequence[datetime], changes: Sequence[_ZoneChange]
) -> list[float]:
    """Return the begins of the periods, corrected for changes of the time zone.

    The clock of the meter followed the `changes`. `begins` assume the present offset
    from UTC at all times. `shown` are the same begins as the meter displayed them.
    """
    moved: list[float] = []
    for begin, date, following in zip(begins, shown, [*shown[1:], None], strict=True):
        offset = 0.0
        for change in changes:
            # In a repeated hour, the first of two equal times is before the change.
            is_first = date == following and date < change.shown
            if date < change.earliest or is_first:
                offset += change.ahead.total_seconds()
        moved.append(begin + offset)
    return moved


def _zone_offset(zone: tzinfo, at: float) -> float:
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
    return offset.total_seconds()


def _seconds(displayed: datetime) -> float:
    """Return a time without a time zone as s since 1970, as if it were UTC."""
    return displayed.replace(tzinfo=UTC).timestamp()
