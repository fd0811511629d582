"""Days that differ."""

from datetime import UTC, datetime, timedelta

import pytest

from simulator import House, Inverter
from simulator.days import Moment, tariff, weather

DAY = 86_400
FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON = int(FRIDAY.timestamp())


@pytest.mark.parametrize("zone", [-9, -5, 0, 1, 5.5, 11])
def test_days_of_the_week_are_those_of_the_clock_on_the_wall(zone: float) -> None:
    noon = NOON - int(zone * 3600)
    for hours in range(24 * 7):
        wall = FRIDAY + timedelta(hours=hours)
        moment = Moment.of(noon + hours * 3600, noon)
        assert moment.hour == wall.hour
        assert moment.weekend == (wall.weekday() >= 5)


def test_a_moment_is_the_same_from_another_day() -> None:
    assert Moment.of(NOON + 3600, NOON) == Moment.of(NOON + 3600, NOON + 3 * DAY)


def test_no_two_days_have_the_same_weather() -> None:
    days = [weather(1, Moment.of(NOON + day * DAY, NOON)) for day in range(14)]
    assert len(set(days)) == 14
    assert all(0.3 <= sunny <= 1 for sunny in days)


def test_the_night_has_a_tariff_of_its_own() -> None:
    by_hour = [tariff(Moment.of(NOON + hour * 3600, NOON)) for hour in range(24)]
    assert by_hour == [1] * 10 + [2] * 8 + [1] * 6


def test_an_inverter_makes_what_the_house_behind_it_gets_less_of() -> None:
    with_roof = House(1, solar_peak=6000, noon=NOON, lifelike=True)
    without = House(1, noon=NOON, lifelike=True)
    inverter = Inverter(1, noon=NOON, lifelike=True)
    for second in range(NOON, NOON + DAY // 6, 600):
        grid, house, roof = (
            sum(phase.watts for phase in load.phases(second))
            for load in (with_roof, without, inverter)
        )
        assert grid == pytest.approx(house + roof, abs=10)
