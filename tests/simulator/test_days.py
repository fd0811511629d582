"""Days with weather, weekends and tariffs."""

from datetime import UTC, datetime, timedelta

import pytest

from simulator import House, Inverter
from simulator.days import Moment, tariff, weather

DAY = 86_400  # s
FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOON = int(FRIDAY.timestamp())


@pytest.mark.parametrize("zone", [-9, -5, 0, 1, 5.5, 11])
def test_moment_has_local_hour_and_weekday(zone: float) -> None:
    noon = NOON - int(zone * 3600)  # 12:00 in the time zone UTC + `zone` hours
    for hours in range(24 * 7):
        local = FRIDAY + timedelta(hours=hours)
        moment = Moment.of(noon + hours * 3600, noon)
        assert moment.hour == local.hour
        assert moment.weekend == (local.weekday() >= 5)


def test_moment_is_the_same_with_noon_of_another_day() -> None:
    assert Moment.of(NOON + 3600, NOON) == Moment.of(NOON + 3600, NOON + 3 * DAY)


def test_weather_differs_from_day_to_day() -> None:
    # The part of the sunshine that reaches the ground: 0.3 on the darkest day.
    parts = [weather(1, Moment.of(NOON + day * DAY, NOON)) for day in range(14)]
    assert len(set(parts)) == 14
    assert all(0.3 <= part <= 1 for part in parts)


def test_tariff_2_applies_at_night() -> None:
    by_hour = [tariff(Moment.of(NOON + hour * 3600, NOON)) for hour in range(24)]
    # From noon to 22:00, from 22:00 to 06:00, and from 06:00 to noon.
    assert by_hour == [1] * 10 + [2] * 8 + [1] * 6


def test_solar_roof_of_a_house_has_the_power_of_an_inverter() -> None:
    with_roof = House(1, solar_peak=6000, noon=NOON, lifelike=True)
    without_roof = House(1, noon=NOON, lifelike=True)
    inverter = Inverter(1, noon=NOON, lifelike=True)
    for second in range(NOON, NOON + DAY // 6, 600):  # 4 hours, every 10 minutes
        grid, house, roof = (
            sum(phase.watts for phase in load.phases(second))
            for load in (with_roof, without_roof, inverter)
        )
        # In W. The inverter produces, so `roof` is negative. The noise of the inverter
        # is up to 3 W on each phase.
        assert grid == pytest.approx(house + roof, abs=10)
