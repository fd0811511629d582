"""The registers of a meter's clock: block 57600."""

from collections.abc import Sequence
from datetime import UTC, datetime

from .table import CLOCK

CENTURY = 2000
# The simulated meter accepts the years 2000 to 2099. This limit is our choice, because
# the table gives none.
YEARS_OF_CENTURY = range(100)


def clock_registers(time: datetime, *, short_year: bool) -> dict[int, int]:
    """Return the registers of a time: day, month, year, hour, minute, second.

    With `short_year`, the year has two digits.
    """
    year = time.year % 100 if short_year else time.year
    parts = (time.day, time.month, year, time.hour, time.minute, time.second)
    return {CLOCK + index: part for index, part in enumerate(parts)}


def clock_time(values: Sequence[int], *, short_year: bool) -> datetime | None:
    """Return the time in the six registers, or None if the meter refuses the values.

    The meter's clock has no time zone. The result has UTC as its time zone, but only
    because calculations need one.
    """
    try:
        day, month, year, hour, minute, second = values
        year += CENTURY if short_year else 0
        if year - CENTURY not in YEARS_OF_CENTURY:
            return None
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
