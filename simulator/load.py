"""What flows through a meter: loads as functions of time.

A load tells its power for each second since 1970, always the same for the same
second and seed, so that a meter counts the same whenever it is read.
"""

from dataclasses import dataclass
from functools import lru_cache
import math
from random import Random
from typing import Protocol

from .days import Moment, appliances, heat_pump, weather

type Phases = tuple[Phase, Phase, Phase]

SLOT_SECONDS = 5  # the time for which a power stays the same
DAY_SECONDS = 86_400
MINUTE_SECONDS = 60


@dataclass(frozen=True)
class Phase:
    """One phase in one second."""

    watts: float = 0
    """Active power: consumed is positive, produced negative."""

    reactive: float = 0
    """Reactive power in var: inductive is positive."""

    volts: float = 230

    turned: float = 0
    """How far the voltage is ahead of its usual place, a third of a turn behind
    the phase before, in degrees."""


class Load(Protocol):
    """Anything that a meter can be put in front of."""

    def phases(self, second: int) -> Phases:
        """Return the three phases in this second."""


@dataclass(frozen=True)
class Constant:
    """The same for ever."""

    l1: Phase = Phase(1000)
    l2: Phase = Phase(500)
    l3: Phase = Phase(-200)

    def phases(self, second: int) -> Phases:
        """Return the three phases."""
        return self.l1, self.l2, self.l3


def _daylight(second: int, noon: int) -> float:
    """How much of its peak a solar roof makes without clouds, 0 to 1."""
    return max(0.0, math.cos((second - noon) / DAY_SECONDS * 2 * math.pi))


@lru_cache(maxsize=4096)
def _sunshine(seed: int, minute: int) -> float:
    """How much of that the clouds let through."""
    return Random(seed * 7919 + minute // 3).uniform(0.25, 1.0)


def _noise(seed: int, slot: int) -> Random:
    return Random(seed * 1_000_003 + slot)


@lru_cache(maxsize=4096)
def _knot(seed: int, what: int, minute: int) -> float:
    return Random((seed * 31 + what) * 1_000_003 + minute).uniform(-1, 1)


def _drift(seed: int, what: int, second: int) -> float:
    """Return a number from -1 to 1 that changes slowly, as a grid's voltage does."""
    minute, seconds = divmod(second, MINUTE_SECONDS)
    before, after = _knot(seed, what, minute), _knot(seed, what, minute + 1)
    return before + (after - before) * seconds / MINUTE_SECONDS


def _phase(watts: float, power_factor: float, volts: float) -> Phase:
    reactive = abs(watts) * math.tan(math.acos(power_factor))
    return Phase(watts, reactive, volts)


@dataclass(frozen=True)
class House:
    """A house that consumes and, with solar, sometimes produces."""

    seed: int = 1
    solar_peak: float = 0
    """Peak power of the roof in W; 0 for a house without one."""
    noon: int = DAY_SECONDS // 2
    """A second in which the sun stands highest."""
    slot_seconds: int = SLOT_SECONDS
    """The time for which a power stays the same."""
    lifelike: bool = False
    """Has weather, nights and weekends; every hour is like another one if not."""

    def phases(self, second: int) -> Phases:
        """Return the three phases in this second."""
        return _in_house(self, second // self.slot_seconds)


@lru_cache
def _in_house(house: House, slot: int) -> Phases:
    second = slot * house.slot_seconds
    noise = _noise(house.seed, slot)
    minute = second // MINUTE_SECONDS + house.seed
    roof = house.solar_peak * _daylight(second, house.noon)
    roof *= _sunshine(house.seed, second // MINUTE_SECONDS) / 3
    fridge = 90 if minute % 30 < 12 else 0
    kettle = 2000 if minute % 20 < 3 else 0
    oven = 1600 if minute % 45 < 20 else 0
    heating: float = 800 if minute % 15 < 8 else 20
    running: tuple[float, float, float] = (180 + fridge, 120 + kettle, 90 + oven)
    if house.lifelike:
        moment = Moment.of(second, house.noon)
        roof *= weather(house.seed, moment)
        running = appliances(house.seed, minute, moment)
        heating = heat_pump(minute, moment)
    l1, l2, l3 = (
        _phase(
            watts
            + heating
            + 15 * _drift(house.seed, index, second)
            + noise.uniform(-3, 3)
            - roof,
            0.96,
            230 + 2 * _drift(house.seed, index + 3, second) + noise.uniform(-0.2, 0.2),
        )
        for index, watts in enumerate(running)
    )
    return l1, l2, l3


@dataclass(frozen=True)
class Inverter:
    """A solar inverter: produces by day and draws a little by night."""

    seed: int = 1
    peak: float = 6000
    """Peak power in W."""
    noon: int = DAY_SECONDS // 2
    """A second in which the sun stands highest."""
    lifelike: bool = False
    """Has weather; every day is like another one if not."""

    def phases(self, second: int) -> Phases:
        """Return the three phases in this second."""
        return _at_inverter(self, second // SLOT_SECONDS)


@lru_cache
def _at_inverter(inverter: Inverter, slot: int) -> Phases:
    second = slot * SLOT_SECONDS
    noise = _noise(inverter.seed + 500, slot)
    roof = inverter.peak * _daylight(second, inverter.noon)
    roof *= _sunshine(inverter.seed, second // MINUTE_SECONDS)
    if inverter.lifelike:
        roof *= weather(inverter.seed, Moment.of(second, inverter.noon))
    watts = -roof / 3 if roof else 4.0
    l1, l2, l3 = (
        _phase(watts + noise.uniform(-3, 3), 0.99, 230 + noise.uniform(-1.5, 1.5))
        for _ in range(3)
    )
    return l1, l2, l3
