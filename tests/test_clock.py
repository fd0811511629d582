"""The time that the clock of a meter shows, and its offset from the local time."""

from datetime import datetime

import pytest

from custom_components.socomec_countis.countis.clock import (
    clock_offset,
    clock_words,
    displayed_time,
    has_short_year,
)

LOCAL_TIME = datetime(2026, 3, 5, 12, 0, 30)  # noqa: DTZ001
NAMES = ("day", "month", "year", "hour", "minute", "second")

type Words = tuple[float | None, ...]
"""The values of registers 57600 to 57605."""


def block(*words: float | None) -> dict[str, float | None]:
    """Return the values of a clock block by field."""
    return dict(zip(NAMES, words, strict=True))


@pytest.mark.parametrize("year", [26, 2026])
def test_year_of_two_or_four_digits_is_decoded(year: int) -> None:
    assert displayed_time(block(5, 3, year, 12, 0, 30)) == LOCAL_TIME


@pytest.mark.parametrize(("year", "is_short"), [(0, True), (99, True), (100, False)])
def test_year_below_100_is_short(year: int, is_short: bool) -> None:  # noqa: FBT001
    assert has_short_year(block(1, 1, year, 0, 0, 0)) is is_short


@pytest.mark.parametrize(
    "words",
    [
        (0, 0, 0, 0, 0, 0),
        (30, 2, 2026, 12, 0, 0),
        (5, 13, 26, 12, 0, 0),
        (5, 3, 26, 24, 0, 0),
        (5, 3, 10_000, 12, 0, 0),
        (5, 3, None, 12, 0, 30),
        (None,) * 6,
    ],
)
def test_invalid_clock_has_neither_time_nor_offset(words: Words) -> None:
    assert displayed_time(block(*words)) is None
    assert clock_offset(block(*words), LOCAL_TIME) is None


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # The clock shows whole seconds. If it shows 30 s, it is at 30.5 s on average.
        (LOCAL_TIME, 0),
        (LOCAL_TIME.replace(microsecond=990_000), 0),
        (LOCAL_TIME.replace(second=29, microsecond=400_000), 1),
        (LOCAL_TIME.replace(second=31, microsecond=100_000), -1),
        (LOCAL_TIME.replace(hour=11), 3600),
        (LOCAL_TIME.replace(year=2027), -365 * 86_400),
    ],
)
def test_offset_is_positive_if_the_clock_is_ahead_of_the_local_time(
    now: datetime, expected: int
) -> None:
    assert clock_offset(block(5, 3, 26, 12, 0, 30), now) == expected


@pytest.mark.parametrize(("short_year", "year"), [(True, 26), (False, 2026)])
def test_clock_words_are_decoded_to_the_same_time(short_year: bool, year: int) -> None:  # noqa: FBT001
    words = clock_words(LOCAL_TIME, short_year=short_year)
    assert words == [5, 3, year, 12, 0, 30]
    assert displayed_time(block(*words)) == LOCAL_TIME
    assert has_short_year(block(*words)) is short_year
