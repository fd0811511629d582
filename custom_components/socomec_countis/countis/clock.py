"""The clock of a meter (registers 57600 to 57605), in local time without a time zone.

The argument `values` of a function contains the values of the block `registers.Clock`,
by field name.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

FIELDS = ("year", "month", "day", "hour", "minute", "second")

# The Modbus table leaves open whether the year (57602) has two or four digits.
CENTURY = 2000  # added to a year of two digits
SHORT_YEAR_BELOW = 100  # a year below this number has two digits

# In s; the clock shows whole seconds, so its exact time is half a second later on
# average.
MEAN_FRACTION = 0.5


def has_short_year(values: Mapping[str, float | None]) -> bool:
    """Return whether the year of the clock has two digits."""
    year = values["year"]
    return year is not None and year < SHORT_YEAR_BELOW


def displayed_time(values: Mapping[str, float | None]) -> datetime | None:
    """Return the date and time of the clock, None if they are invalid."""
    parts = [int(part) for name in FIELDS if (part := values[name]) is not None]
    if len(parts) < len(FIELDS):
        return None
    year, month, day, hour, minute, second = parts
    if has_short_year(values):
        year += CENTURY
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
    except ValueError:
        return None


def clock_offset(
    values: Mapping[str, float | None], local_time: datetime
) -> int | None:
    """Return how many s the clock is ahead of `local_time`.

    Returns None if the date or the time of the clock is invalid.
    """
    time = displayed_time(values)
    if time is None:
        return None
    ahead = time + timedelta(seconds=MEAN_FRACTION) - local_time
    return round(ahead.total_seconds())


def clock_words(time: datetime, *, short_year: bool) -> list[int]:
    """Return the words to write to the registers 57600 to 57605 for a time.

    If `short_year` is True, the year has two digits.
    """
    year = time.year - CENTURY if short_year else time.year
    return [time.day, time.month, year, time.hour, time.minute, time.second]
