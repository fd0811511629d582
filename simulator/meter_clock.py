"""The meter's clock, as its table shows and takes it: block 57600."""

from collections.abc import Sequence
from datetime import UTC, datetime

from .table import CLOCK

CENTURY = 2000
YEARS_OF_A_CENTURY = range(100)


def shown(time: datetime, *, short_year: bool) -> dict[int, int]:
    """Return the registers that show a time."""
    year = time.year % 100 if short_year else time.year
    parts = (time.day, time.month, year, time.hour, time.minute, time.second)
    return {CLOCK + index: part for index, part in enumerate(parts)}


def understood(values: Sequence[int], *, short_year: bool) -> datetime | None:
    """Return the time that the registers show; None for one that the meter refuses."""
    try:
        day, month, year, hour, minute, second = values
        year += CENTURY if short_year else 0
        if year - CENTURY not in YEARS_OF_A_CENTURY:
            return None
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
