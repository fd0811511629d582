"""How days differ: the weather, and the people in a house.

All values are the same for the same second and seed.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
MINUTE_SECONDS = 60
SATURDAY = 5

type DayTable = tuple[tuple[int, float], ...]
"""Pairs of an hour and the value that applies from this hour on."""

# The part of the lights and appliances of a house that is in use: 0 to 1.
WEEKDAY: DayTable = (
    *((0, 0.0), (6, 0.9), (8, 0.15), (12, 0.3)),
    *((13, 0.15), (17, 1.0), (22, 0.2)),
)
WEEKEND: DayTable = (
    *((0, 0.1), (1, 0.0), (8, 0.7), (11, 1.0)),
    *((14, 0.6), (18, 0.9), (23, 0.3)),
)
LIGHTS_WATTS = 240

# Minutes in each 15 minutes in which the heat pump runs.
HEATING: DayTable = ((0, 3), (5, 9), (9, 6), (16, 8), (22, 3))

# Tariff 1 applies from the first hour to the second, tariff 2 in the night.
DAY_TARIFF = (6, 22)

# The part of the sunshine that remains on the darkest day.
DARKEST = 0.3


@dataclass(frozen=True)
class Moment:
    """A moment in solar time: hour 12 is noon."""

    day: int
    """Days since 1970-01-01."""
    hour: float

    @classmethod
    def of(cls, second: int, noon: int) -> Moment:
        """Return the moment of a second.

        Both are in seconds since 1970. `noon` is a second with the sun at its highest,
        on any day. The clock of the site is the one of which noon is nearest to it.
        """
        seconds = second - noon + DAY_SECONDS // 2
        # The date of `noon` by the clock of the site.
        today = round((noon - DAY_SECONDS / 2) / DAY_SECONDS)
        day, rest = divmod(seconds, DAY_SECONDS)
        return cls(today + day, rest / HOUR_SECONDS)

    @property
    def weekend(self) -> bool:
        """Whether the day is a Saturday or Sunday. 1970-01-01 was a Thursday."""
        return (self.day + 3) % 7 >= SATURDAY

    def of_table(self, table: DayTable) -> float:
        """Return the value of a table at this hour."""
        return [value for hour, value in table if hour <= self.hour][-1]


@lru_cache(maxsize=64)
def _chance(seed: int, what: int, number: int) -> float:
    """Return a random number from 0 to 1, the same for the same arguments."""
    return Random((seed * 131 + what) * 1_000_003 + number).random()


def weather(seed: int, moment: Moment) -> float:
    """Return the part of the sunshine that the clouds of this day let through."""
    return DARKEST + (1 - DARKEST) * _chance(seed, 0, moment.day)


def appliances(seed: int, minute: int, moment: Moment) -> tuple[float, float, float]:
    """Return the power of the appliances on each phase in W.

    `minute` is in minutes since 1970.
    """
    in_use = moment.of_table(WEEKEND if moment.weekend else WEEKDAY)
    # One chance for each run of an appliance, because a run does not stop early.
    boils = _chance(seed, 1, minute // 20) < in_use
    cooks = _chance(seed, 2, minute // 45) < in_use * 0.7
    return (
        180 + in_use * LIGHTS_WATTS + (90 if minute % 30 < 12 else 0),
        120 + (2000 if boils and minute % 20 < 3 else 0),
        90 + (1600 if cooks and minute % 45 < 20 else 0),
    )


def heat_pump(minute: int, moment: Moment) -> float:
    """Return the power of the heat pump on each phase in W."""
    return 800 if minute % 15 < moment.of_table(HEATING) else 20


def tariff(moment: Moment) -> int:
    """Return the tariff of a utility with a day and a night tariff: 1 or 2."""
    return 1 if DAY_TARIFF[0] <= moment.hour < DAY_TARIFF[1] else 2
