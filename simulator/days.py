"""How one day differs from another: the weather, and the people in a house.

Like the loads, always the same for the same second and seed.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
MINUTE_SECONDS = 60
SATURDAY = 5

# From this hour on, this much of what people at home could switch on is on.
WEEKDAY = ((0, 0.0), (6, 0.9), (8, 0.15), (12, 0.3), (13, 0.15), (17, 1.0), (22, 0.2))
WEEKEND = ((0, 0.1), (1, 0.0), (8, 0.7), (11, 1.0), (14, 0.6), (18, 0.9), (23, 0.3))
LIGHTS_WATTS = 240

# From this hour on, a heat pump runs for so many of 15 minutes.
HEATING = ((0, 3), (5, 9), (9, 6), (16, 8), (22, 3))

# Between these hours, energy is counted in tariff 1; by night in tariff 2.
DAY_TARIFF = (6, 22)

# What clouds leave of a day's sunshine, at least.
DARKEST = 0.3


@dataclass(frozen=True)
class Moment:
    """A second by the sun: at noon it is 12 o'clock."""

    day: int
    """Days since 1970."""
    hour: float

    @classmethod
    def of(cls, second: int, noon: int) -> Moment:
        """Return the moment, where the sun stands highest in the second `noon`."""
        seconds = second - noon + DAY_SECONDS // 2
        # The day of the week is that of the clock which is nearest to the sun.
        today = round((noon - DAY_SECONDS / 2) / DAY_SECONDS)
        day, rest = divmod(seconds, DAY_SECONDS)
        return cls(today + day, rest / HOUR_SECONDS)

    @property
    def weekend(self) -> bool:
        """Whether it is Saturday or Sunday; 1970 began on a Thursday."""
        return (self.day + 3) % 7 >= SATURDAY

    def of_table(self, table: tuple[tuple[int, float], ...]) -> float:
        """Return the last value of a table whose hour has come."""
        return [value for hour, value in table if hour <= self.hour][-1]


@lru_cache(maxsize=64)
def _chance(seed: int, what: int, number: int) -> float:
    return Random((seed * 131 + what) * 1_000_003 + number).random()


def weather(seed: int, moment: Moment) -> float:
    """Return what the clouds of this day leave of its sunshine."""
    return DARKEST + (1 - DARKEST) * _chance(seed, 0, moment.day)


def appliances(seed: int, minute: int, moment: Moment) -> tuple[float, float, float]:
    """Return the power of what runs on each phase; `minute` counts on for ever."""
    at_home = moment.of_table(WEEKEND if moment.weekend else WEEKDAY)
    # What runs does so to its end: its turn is drawn once.
    boils = _chance(seed, 1, minute // 20) < at_home
    cooks = _chance(seed, 2, minute // 45) < at_home * 0.7
    return (
        180 + at_home * LIGHTS_WATTS + (90 if minute % 30 < 12 else 0),
        120 + (2000 if boils and minute % 20 < 3 else 0),
        90 + (1600 if cooks and minute % 45 < 20 else 0),
    )


def heat_pump(minute: int, moment: Moment) -> float:
    """Return the power of the heat pump on each phase."""
    return 800 if minute % 15 < moment.of_table(HEATING) else 20


def tariff(moment: Moment) -> int:
    """Return the tariff that a utility would have switched to."""
    return 1 if DAY_TARIFF[0] <= moment.hour < DAY_TARIFF[1] else 2
