"""Loads: the power through a meter as a function of time.

The power of a load is the same for the same second and seed. So the counters of a meter
at a given time do not depend on how often they were read before.
"""

from dataclasses import dataclass
from functools import lru_cache
import math
from random import Random
from typing import Protocol

from .days import (
    DAY_SECONDS,
    MINUTE_SECONDS,
    Moment,
    appliances,
    heat_pump,
    weather,
)

type Phases = tuple[Phase, Phase, Phase]

# In s; length of a slot. The power is constant in a slot, because its calculation is
# slow.
SLOT_SECONDS = 5


@dataclass(frozen=True)
class Phase:
    """Power and voltage of one phase."""

    watts: float = 0
    """Active power. Positive if consumed, negative if produced."""
    reactive: float = 0
    """Reactive power in var. Positive if inductive."""
    volts: float = 230
    shift: float = 0
    """Degrees by which the voltage leads its usual angle.

    L1 usually has an angle of 0, and L2 and L3 are each 120 degrees behind the previous
    phase.
    """


class Load(Protocol):
    """The power through one meter."""

    def phases(self, second: int) -> Phases:
        """Return the three phases at `second`, in s since 1970."""


@dataclass(frozen=True)
class Constant:
    """A load that does not change."""

    l1: Phase = Phase(1000)
    l2: Phase = Phase(500)
    l3: Phase = Phase(-200)

    def phases(self, second: int) -> Phases:
        """Return the three phases, which are the same in each second."""
        return self.l1, self.l2, self.l3


@dataclass(frozen=True)
class House:
    """A house. If it has a solar roof, it sometimes produces more than it consumes."""

    seed: int = 1
    solar_peak: float = 0
    """Peak power of the solar roof in W, or 0 without a roof."""
    noon: int = DAY_SECONDS // 2
    """The solar noon of any day, in s since 1970."""
    slot_seconds: int = SLOT_SECONDS
    """Seconds for which the power is constant."""
    lifelike: bool = False
    """Whether consumption depends on hour and weekday, and solar power on weather.

    If not, the consumption is similar at all hours, and all days are equally sunny.
    """

    def phases(self, second: int) -> Phases:
        """Return the three phases at `second`, in s since 1970."""
        return _house_phases(self, second // self.slot_seconds)


@dataclass(frozen=True)
class Inverter:
    """A solar inverter that produces by day and consumes about 12 W by night."""

    seed: int = 1
    peak: float = 6000
    """Peak power in W."""
    noon: int = DAY_SECONDS // 2
    """The solar noon of any day, in s since 1970."""
    lifelike: bool = False
    """Whether the power depends on the weather. If not, all days are equally sunny."""

    def phases(self, second: int) -> Phases:
        """Return the three phases at `second`, in s since 1970."""
        return _inverter_phases(self, second // SLOT_SECONDS)


@lru_cache
def _house_phases(house: House, slot: int) -> Phases:
    second = slot * house.slot_seconds
    noise = _noise(house.seed, slot)
    # Add the seed, so that the appliances of two houses run at different times.
    minute = second // MINUTE_SECONDS + house.seed
    solar_watts = house.solar_peak * _daylight(second, house.noon)
    solar_watts *= _clouds(house.seed, second // MINUTE_SECONDS) / 3  # W on each phase
    # In W; our choice. For example, the fridge runs in the first 12 of every 30
    # minutes. In addition, 180, 120 and 90 W are always consumed on L1, L2 and L3.
    fridge = 90 if minute % 30 < 12 else 0
    kettle = 2000 if minute % 20 < 3 else 0
    oven = 1600 if minute % 45 < 20 else 0
    heating: float = 800 if minute % 15 < 8 else 20
    appliance_watts: tuple[float, float, float] = (
        180 + fridge,
        120 + kettle,
        90 + oven,
    )
    if house.lifelike:
        moment = Moment.of(second, house.noon)
        solar_watts *= weather(house.seed, moment)
        appliance_watts = appliances(house.seed, minute, moment)
        heating = heat_pump(minute, moment)
    # `_drift` changes the power of L1 to L3 by up to 15 W (series 0 to 2), and their
    # voltages by up to 2 V (series 3 to 5).
    l1, l2, l3 = (
        _phase(
            watts
            + heating
            + 15 * _drift(house.seed, index, second)
            + noise.uniform(-3, 3)
            - solar_watts,
            0.96,  # power factor
            230 + 2 * _drift(house.seed, index + 3, second) + noise.uniform(-0.2, 0.2),
        )
        for index, watts in enumerate(appliance_watts)
    )
    return l1, l2, l3


@lru_cache
def _inverter_phases(inverter: Inverter, slot: int) -> Phases:
    second = slot * SLOT_SECONDS
    # A house and its inverter have the same seed. Add 500 (our choice), so that their
    # noise differs.
    noise = _noise(inverter.seed + 500, slot)
    solar_watts = inverter.peak * _daylight(second, inverter.noon)
    solar_watts *= _clouds(inverter.seed, second // MINUTE_SECONDS)
    if inverter.lifelike:
        solar_watts *= weather(inverter.seed, Moment.of(second, inverter.noon))
    watts = -solar_watts / 3 if solar_watts else 4.0  # W on each phase
    l1, l2, l3 = (
        _phase(watts + noise.uniform(-3, 3), 0.99, 230 + noise.uniform(-1.5, 1.5))
        for _ in range(3)
    )
    return l1, l2, l3


def _phase(watts: float, power_factor: float, volts: float) -> Phase:
    reactive = abs(watts) * math.tan(math.acos(power_factor))
    return Phase(watts, reactive, volts)


def _daylight(second: int, noon: int) -> float:
    """Return the part of the peak power that a clear sky allows: 0 to 1."""
    return max(0.0, math.cos((second - noon) / DAY_SECONDS * 2 * math.pi))


@lru_cache(maxsize=4096)
def _clouds(seed: int, minute: int) -> float:
    """Return the part of the sunshine that passing clouds let through: 0.25 to 1.

    This part changes every 3 minutes.
    """
    # The factor makes the clouds of two seeds differ. Its value is our choice.
    return Random(seed * 7919 + minute // 3).uniform(0.25, 1.0)


def _noise(seed: int, slot: int) -> Random:
    """Return a random number generator for one slot of a load."""
    # The factor makes the noise of two seeds differ. Its value is our choice.
    return Random(seed * 1_000_003 + slot)


def _drift(seed: int, series: int, second: int) -> float:
    """Return a number from -1 to 1 that changes slowly, as a mains voltage does.

    In each minute, the number changes evenly from one random number to the next.
    Each purpose of these numbers has its own `series`.
    """
    minute, seconds = divmod(second, MINUTE_SECONDS)
    before, after = (
        _drift_at(seed, series, minute),
        _drift_at(seed, series, minute + 1),
    )
    return before + (after - before) * seconds / MINUTE_SECONDS


@lru_cache(maxsize=4096)
def _drift_at(seed: int, series: int, minute: int) -> float:
    return Random((seed * 31 + series) * 1_000_003 + minute).uniform(-1, 1)
