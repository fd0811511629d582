"""Differences between days: the weather, and the power of appliances in a house.

All functions return the same value for the same arguments.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
MINUTE_SECONDS = 60
SATURDAY = 5  # days after Monday

type DayTable = tuple[tuple[int, float], ...]
"""Pairs of an hour and a value.

Each value applies from its hour to the hour of the next pair, the last one to midnight.
"""

# The values for the house and the weather are our choice, not measurements.

# The activity of the household, from 0 to 1. `appliances` uses it as the part of the
# lights that is on, and for the probabilities that kettle and oven run.
ACTIVITY_ON_WEEKDAY: DayTable = (
    (0, 0.0),
    (6, 0.9),
    (8, 0.15),
    (12, 0.3),
    (13, 0.15),
    (17, 1.0),
    (22, 0.2),
)
ACTIVITY_AT_WEEKEND: DayTable = (
    (0, 0.1),
    (1, 0.0),
    (8, 0.7),
    (11, 1.0),
    (14, 0.6),
    (18, 0.9),
    (23, 0.3),
)
LIGHTS_WATTS = 240  # W if all lights are on

# In every 15 minutes, the heat pump runs for this number of minutes.
HEATING_MINUTES: DayTable = ((0, 3), (5, 9), (9, 6), (16, 8), (22, 3))

# Tariff 1 applies from 06:00 to 22:00, tariff 2 at night.
DAY_TARIFF_HOURS = (6, 22)

# The part of the sunshine that reaches the ground on the darkest day, from 0 to 1.
DARKEST_DAY_SUNSHINE = 0.3


@dataclass(frozen=True)
class Moment:
    """A date and an hour in the solar time of a site. The sun is highest at hour 12."""

    day: int
    """Days since 1970-01-01."""
    hour: float

    @classmethod
    def of(cls, second: int, noon: int) -> Moment:
        """Return the moment at `second`, in s since 1970.

        `noon` is the solar noon of any day, in s since 1970. The date of this day is
        the UTC date whose 12:00 is nearest to `noon`.
        """
        date_of_noon = round((noon - DAY_SECONDS / 2) / DAY_SECONDS)
        since_midnight = second - noon + DAY_SECONDS // 2
        days, rest = divmod(since_midnight, DAY_SECONDS)
        return cls(date_of_noon + days, rest / HOUR_SECONDS)

    @property
    def weekend(self) -> bool:
        """Whether the day is a Saturday or Sunday. 1970-01-01 was a Thursday."""
        return (self.day + 3) % 7 >= SATURDAY

    def value_in(self, table: DayTable) -> float:
        """Return the value of a table at this hour."""
        return [value for hour, value in table if hour <= self.hour][-1]


@lru_cache(maxsize=64)
def _random(seed: int, series: int, index: int) -> float:
    """Return a random number from 0 to 1, the same for the same arguments.

    Each purpose of random numbers has its own `series`.
    """
    # With these factors, different arguments rarely give the same seed. The factors
    # are our choice.
    return Random((seed * 131 + series) * 1_000_003 + index).random()


def weather(seed: int, moment: Moment) -> float:
    """Return the part of the sunshine that reaches the ground.

    The result is from DARKEST_DAY_SUNSHINE to 1.
    """
    part = _random(seed, 0, moment.day)
    return DARKEST_DAY_SUNSHINE + (1 - DARKEST_DAY_SUNSHINE) * part


def appliances(seed: int, minute: int, moment: Moment) -> tuple[float, float, float]:
    """Return the power of the appliances on each phase in W.

    `minute` is the number of minutes since any fixed time. The choice of this time only
    affects when the appliances run.
    """
    activity = moment.value_in(
        ACTIVITY_AT_WEEKEND if moment.weekend else ACTIVITY_ON_WEEKDAY
    )
    # The kettle may run once in 20 minutes, the oven once in 45 minutes. For each of
    # these intervals, one random number determines whether the appliance runs. The
    # probability is `activity` for the kettle, and 0.7 of `activity` for the oven.
    kettle_runs = _random(seed, 1, minute // 20) < activity
    oven_runs = _random(seed, 2, minute // 45) < activity * 0.7
    # Power in W. In addition to the lights and these appliances, the house always
    # consumes 180 W on L1, 120 W on L2 and 90 W on L3.
    fridge = 90 if minute % 30 < 12 else 0
    kettle = 2000 if kettle_runs and minute % 20 < 3 else 0
    oven = 1600 if oven_runs and minute % 45 < 20 else 0
    return 180 + activity * LIGHTS_WATTS + fridge, 120 + kettle, 90 + oven


def heat_pump(minute: int, moment: Moment) -> float:
    """Return the power of the heat pump on each phase in W.

    `minute` is the number of minutes since any fixed time. The choice of this time only
    affects when the heat pump runs.
    """
    return 800 if minute % 15 < moment.value_in(HEATING_MINUTES) else 20


def tariff(moment: Moment) -> int:
    """Return the tariff of a utility with a day and a night tariff: 1 or 2."""
    first, end = DAY_TARIFF_HOURS
    return 1 if first <= moment.hour < end else 2
