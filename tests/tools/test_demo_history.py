"""The statistics of the two weeks before the start of the demo."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any

import pytest

from simulator import Counters, Meter
from simulator.site import load_at
from tests.common import Clock
from tools.demo.history import (
    COUNTERS,
    DAYS,
    HOURS,
    Past,
    async_problems,
    counted_energy,
    sampled,
)

from .conftest import NOON, NOW, OUTAGE, Client

HOUR_SECONDS = 3600
STATE = 12_345.67  # kWh; the present state of a counter
type Rows = list[dict[str, Any]]


def hour_of(row: dict[str, Any]) -> int:
    """Return the hour of a row in UTC, 0 to 23. At hour 12, the sun is highest."""
    return datetime.fromisoformat(row["start"]).hour


def energies(rows: Rows) -> list[float]:
    """Return the energy of each hour in kWh, without the first hour."""
    return [after["sum"] - before["sum"] for before, after in pairwise(rows)]


@pytest.mark.parametrize("key", COUNTERS)
def test_each_hour_continues_the_hour_before(house: Past, key: str) -> None:
    rows = house.counted(key, STATE, NOW)
    starts = [datetime.fromisoformat(row["start"]) for row in rows]
    assert len(rows) == HOURS == DAYS * 24
    assert {after - before for before, after in pairwise(starts)} == {
        timedelta(hours=1)
    }
    for before, after in pairwise(rows):
        rise = after["state"] - before["state"]
        assert after["sum"] - before["sum"] == pytest.approx(rise, abs=1e-6)
        assert rise >= 0
    # The first sum in kWh contains only the energy of the first hour.
    assert 0 <= rows[0]["sum"] < 5
    assert starts[-1] == datetime(2026, 11, 20, 15, tzinfo=UTC)


def test_last_row_has_the_counter_value_at_the_end_of_its_hour(
    house: Past,
) -> None:
    clock = Clock(NOW - NOW % HOUR_SECONDS)
    meter = Meter(load=house.load, true_time=clock, counters=Counters(consumed=5e6))
    at_end_of_hour = meter.count().consumed / 1000
    clock.seconds = NOW
    state = meter.count().consumed / 1000
    # The difference in kWh is larger than the tolerance below. So the test would fail
    # if the row had the present value.
    assert state > at_end_of_hour + 0.1
    rows = house.counted("energy_consumed", state, NOW)
    # The statistics have a sample for each minute, and the meter counts each second,
    # so the results may differ by 0.05 kWh.
    assert rows[-1]["state"] == pytest.approx(at_end_of_hour, rel=0, abs=0.05)


def test_roof_produces_only_by_day(roof: Past) -> None:
    rows = roof.counted("energy_produced", STATE, NOW)
    by_hour = dict.fromkeys(range(24), 0.0)  # kWh in the two weeks
    for row, energy in zip(rows[1:], energies(rows), strict=True):
        by_hour[hour_of(row)] += energy
    dark = [hour for hour, energy in by_hour.items() if energy < 1e-6]
    assert dark == [*range(6), *range(18, 24)]
    assert by_hour[11] + by_hour[12] > 2 * (by_hour[7] + by_hour[16])
    measured = roof.measured("power_produced")
    assert max(row["max"] for row in measured) > 3000  # W, half of the roof's peak
    assert min(row["min"] for row in measured) == 0


def test_house_consumes_more_at_a_weekend() -> None:
    # The third meter is that of a house without a solar roof.
    load = load_at([1, 2, 3], 2, NOON, lifelike=True)
    by_weekend: dict[bool, list[float]] = {True: [], False: []}
    for days in range(DAYS):
        noon = NOON - days * 24 * HOUR_SECONDS
        samples = sampled(load, NOON, noon - 3 * HOUR_SECONDS, noon + 4 * HOUR_SECONDS)
        energy = counted_energy(samples, COUNTERS["energy_consumed"])
        weekday = datetime.fromtimestamp(noon, UTC).weekday()
        by_weekend[weekday >= 5].append(energy)
    assert fmean(by_weekend[True]) > 1.2 * fmean(by_weekend[False])


def test_tariffs_add_up_to_the_consumed_energy(house: Past) -> None:
    total, day, night = (
        house.counted(key, STATE, NOW)
        for key in ("energy_consumed", "tariff_1_energy", "tariff_2_energy")
    )
    for total_row, day_row, night_row in zip(total, day, night, strict=True):
        tariff_sum = day_row["sum"] + night_row["sum"]
        assert total_row["sum"] == pytest.approx(tariff_sum, abs=0.03)
    # The night tariff applies from 22:00 to 06:00.
    for row, energy in zip(night[1:], energies(night), strict=True):
        assert (energy > 0.01) == (hour_of(row) < 6 or hour_of(row) >= 22)


def test_mean_power_matches_its_extremes_and_the_energy(house: Past) -> None:
    rows = house.measured("power")
    net = [
        consumed - produced
        for consumed, produced in zip(
            energies(house.counted("energy_consumed", STATE, NOW)),
            energies(house.counted("energy_produced", STATE, NOW)),
            strict=True,
        )
    ]
    for row, energy in zip(rows[1:], net, strict=True):
        assert row["min"] <= row["mean"] <= row["max"]
        # In an hour, a mean power of 1 kW is an energy of 1 kWh. The energy is
        # calculated from four sums that are rounded to 0.01 kWh.
        assert row["mean"] / 1000 == pytest.approx(energy, abs=0.025)


def by_start(rows: Rows) -> dict[int, dict[str, Any]]:
    """Return the rows by their start in s since 1970."""
    return {int(datetime.fromisoformat(row["start"]).timestamp()): row for row in rows}


# In s since 1970: the starts of the hours in which the outage begins and ends.
BEGIN_HOUR, END_HOUR = (
    time // HOUR_SECONDS * HOUR_SECONDS for time in (OUTAGE.start, OUTAGE.stop)
)
# The starts of the hours in which the meter is never read.
UNREAD_HOURS = range(BEGIN_HOUR + HOUR_SECONDS, END_HOUR, HOUR_SECONDS)


@pytest.mark.parametrize("key", COUNTERS)
def test_hour_in_which_an_outage_ends_contains_the_energy_of_the_outage(
    house: Past, house_with_outage: Past, key: str
) -> None:
    rows = by_start(house_with_outage.counted(key, STATE, NOW))
    rows_without_outage = by_start(house.counted(key, STATE, NOW))
    assert len(UNREAD_HOURS) == 6  # 02:00 to 08:00 UTC
    assert rows_without_outage.keys() - rows.keys() == set(UNREAD_HOURS)
    begin = rows.pop(BEGIN_HOUR)
    # All other rows are the same as without the outage. So the sum of the first row
    # after the gap contains the energy of the whole outage.
    assert rows.items() <= rows_without_outage.items()
    until_begin = house.energy(key, BEGIN_HOUR, OUTAGE.start)
    before = rows_without_outage[BEGIN_HOUR - HOUR_SECONDS]
    for value in ("state", "sum"):
        assert begin[value] == pytest.approx(before[value] + until_begin, abs=0.02)


def test_power_has_no_samples_of_an_outage(
    house: Past, house_with_outage: Past
) -> None:
    rows = by_start(house_with_outage.measured("power"))
    rows_without_outage = by_start(house.measured("power"))
    assert rows_without_outage.keys() - rows.keys() == set(UNREAD_HOURS)
    for start, read_seconds in (
        (BEGIN_HOUR, range(BEGIN_HOUR, OUTAGE.start)),
        (END_HOUR, range(OUTAGE.stop, END_HOUR + HOUR_SECONDS)),
    ):
        consumed, produced = (
            house.energy(key, read_seconds.start, read_seconds.stop)
            for key in ("energy_consumed", "energy_produced")
        )
        hours = len(read_seconds) / HOUR_SECONDS
        mean = (consumed - produced) / hours * 1000
        assert rows.pop(start)["mean"] == pytest.approx(mean, abs=0.1)
    assert rows.items() <= rows_without_outage.items()


class ClientWithRows(Client):
    """A client of a Home Assistant whose counters all have the same statistics."""

    def __init__(self, rows: Rows) -> None:
        """Use these rows as the statistics of each counter."""
        self.rows = rows

    async def command(self, **message: Any) -> Any:
        """Return the rows for each statistic ID of the message."""
        return dict.fromkeys(message["statistic_ids"], self.rows)


def hours(count: int = HOURS) -> Rows:
    """Return valid rows of `count` hours, with 1 kWh in each hour.

    `start` and `end` are numbers of hours, not times.
    """
    return [
        {"start": hour, "end": hour + 1, "change": 1.0, "state": 100.0 + hour}
        for hour in range(count)
    ]


def with_a_gap(rows: Rows) -> Rows:
    """Return the rows without hour 7."""
    return [row for row in rows if row["start"] != 7]


async def test_statistics_must_have_exactly_the_gap_of_the_outage() -> None:
    # `async_problems` expects the times in ms since 1970. There is one hour more than
    # the check requires. So with a second gap, the statistics are still long enough.
    rows = [
        row | {"start": row["start"] * 3_600_000, "end": row["end"] * 3_600_000}
        for row in hours(HOURS + 1)
    ]
    # All of the hours 7 and 8 are in this outage.
    outage = range(7 * HOUR_SECONDS - 1200, 9 * HOUR_SECONDS + 1200)
    state = rows[-1]["state"]

    async def problems(rows: Rows) -> list[str]:
        return await async_problems(ClientWithRows(rows), "sensor.x", state, outage)

    assert await problems(rows[:7] + rows[9:]) == []
    assert len(await problems(rows)) == 1  # without a gap
    assert len(await problems(rows[:8] + rows[10:])) == 1  # another gap
    assert len(await problems(rows[:7] + rows[9:20] + rows[21:])) == 1  # a second gap


def with_a_jump(rows: Rows) -> Rows:
    """Return the rows with 12 345 kWh in the last hour."""
    return [*rows[:-1], rows[-1] | {"change": 12_345.0}]


def with_a_fall(rows: Rows) -> Rows:
    """Return the rows with a negative energy in the first hour."""
    return [rows[0] | {"change": -464.0}, *rows[1:]]


async def test_state_that_does_not_follow_the_statistics_is_reported() -> None:
    last = hours()[-1]["state"]
    assert await async_problems(ClientWithRows(hours()), "sensor.x", last + 1) == []
    assert await async_problems(ClientWithRows(hours()), "sensor.x", last - 1) != []
    # The state is 500 kWh above that of the last row. The limit is `MOST_KWH`.
    assert await async_problems(ClientWithRows(hours()), "sensor.x", last + 500) != []


@pytest.mark.parametrize("damage", [with_a_gap, with_a_jump, with_a_fall])
async def test_gap_jump_and_fall_are_reported(
    damage: Callable[[Rows], Rows],
) -> None:
    # There is one hour more than the check requires. So without hour 7, the statistics
    # are still long enough.
    rows = damage(hours(HOURS + 1))
    state = rows[-1]["state"]
    assert len(await async_problems(ClientWithRows(rows), "sensor.x", state)) == 1


async def test_statistics_of_less_than_two_weeks_are_reported() -> None:
    rows = hours(HOURS - 1)
    assert await async_problems(ClientWithRows(rows), "sensor.x", rows[-1]["state"])
