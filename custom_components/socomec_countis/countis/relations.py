"""Relations between registers that hold the same energy or power twice.

If a meter satisfies a relation when its profile is taken, a reading that contradicts
the relation is read again.
"""

from collections.abc import Collection
import math

from .block import CounterBlock, Values
from .limits import Limits
from .plausibility import CounterValue, Moment
from .registers import PHASES, TARIFF_COUNTERS

POWER = "power"
"""The total power is the sum of the phases."""
TARIFFS = "tariffs"
"""Ea+ is the sum of the tariff counters."""

POWER_TOLERANCE = 30  # W; each of four powers is rounded or truncated to 10 W
TARIFF_TOLERANCE = 5  # steps; each of five counters is rounded or truncated to a step
# kWh; a low-resolution counter is rounded or truncated to 1 kWh. It may rise by less
# than 0.1 kWh until the high-resolution counter is read.
SAME_COUNTER_KWH = 1.1

# Consecutive readings after which a relation is not expected any more. Our choice: five
# polls of two readings, which is less than the 10 s for which values remain shown.
LASTING_CONTRADICTIONS = 10


class Relations:
    """The relations that the readings of one meter have to satisfy."""

    def __init__(self, names: Collection[str]) -> None:
        """Expect the relations that the profile of the meter names."""
        self._names = set(names)
        self._contradictions = 0
        self._tariffs_broken = False
        self.has_changed = False
        """Whether the power was not the sum of its phases for many readings."""

    def broken_power(self, values: Values) -> str | None:
        """Return why the powers in W contradict each other, or None."""
        if POWER not in self._names:
            return None
        if power_sums_up(values):
            self._contradictions = 0
            return None
        self._contradictions += 1
        if self._contradictions >= LASTING_CONTRADICTIONS:
            self._names.discard(POWER)
            self.has_changed = True
        return "the power is not the sum of its phases"

    def broken_tariffs(
        self, readings: Values, total: CounterValue | None, at: Moment, limits: Limits
    ) -> bool:
        """Return whether the tariff counters in kWh contradict the `total` (Ea+).

        After two consecutive contradictions, a tariff counter was reset. From then on,
        the relation is not expected any more.
        """
        if TARIFFS not in self._names or total is None:
            return False
        rise = limits.kilowatts * abs(total.at.seconds_until(at)) / 3600
        difference = sum(filter(None, readings.values())) - total.value
        tolerance = TARIFF_TOLERANCE * total.step
        is_broken = not -tolerance <= difference <= rise + tolerance
        if is_broken and self._tariffs_broken:
            self._names.discard(TARIFFS)
            return False
        self._tariffs_broken = is_broken
        return is_broken


def relations_of(
    values: Values, step: float, previous: Collection[str]
) -> frozenset[str]:
    """Return the relations that all values of a meter satisfy.

    Values of 0 prove no relation. So without a load, the relation of the power is
    expected if the `previous` profile contains it. `step` is the resolution of the
    counters in kWh.
    """
    relations = set()
    if power_sums_up(values) if values.get("power") else POWER in previous:
        relations.add(POWER)
    total = values.get("energy_consumed")
    tariffs = sum(values.get(name) or 0 for name in TARIFF_COUNTERS)
    if total and abs(tariffs - total) <= TARIFF_TOLERANCE * step:
        relations.add(TARIFFS)
    return frozenset(relations)


def power_sums_up(values: Values) -> bool:
    """Return whether the power in W is the sum of the phases, as far as available."""
    phases = [values.get(f"power_{phase}") for phase in PHASES]
    total = values.get("power")
    if total is None or None in phases:
        return True
    return abs(total - sum(filter(None, phases))) <= POWER_TOLERANCE


def highest_power(values: Values) -> float:
    """Return the power in W, var or VA above which no counter of the meter rises.

    The power is infinite if it is not available.
    """
    if values.get("power") is None:
        return math.inf
    phases = sum(abs(values.get(f"power_{phase}") or 0) for phase in PHASES)
    totals = ("power", "reactive_power", "apparent_power")
    return max(phases, *(abs(values.get(name) or 0) for name in totals))


def same_counters(one: CounterBlock, other: CounterBlock) -> bool:
    """Return whether both resolutions agree, as far as they are available."""
    for name, value in one.counters.items():
        same = other.counters[name]
        if value is None or same is None:
            continue
        if abs(value - same) > SAME_COUNTER_KWH:
            return False
    return True
