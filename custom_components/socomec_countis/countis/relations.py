"""Relations between registers that hold the same energy or power twice.

Where a meter satisfies a relation when its profile is taken, a reading that breaks it
is read again.
"""

from collections.abc import Collection
import math

from .block import Counters, Values
from .plausibility import CounterValue, Limits, Moment
from .registers import PHASES, TARIFF_COUNTERS

POWER = "power"
"""The total power is the sum of the phases."""
TARIFFS = "tariffs"
"""Ea+ is the sum of the tariff counters."""

# W; each of four powers is rounded or truncated to 10 W.
POWER_TOLERANCE = 30
# Steps; each of five counters is rounded or truncated to a step, while they count.
TARIFF_TOLERANCE = 5
# kWh; the same counter in both resolutions differs by less than this, whether the
# meter rounds or truncates, and while it counts on between the two reads.
SAME_COUNTER_KWH = 1.1

# Readings in a row after which a relation is not expected any more. Our choice: five
# polls, less than the 10 s for which the last measured values are shown.
LASTING_CONTRADICTIONS = 10

OVERFLOW_OF = {
    "energy_consumed": "overflows_consumed",
    "energy_reactive": "overflows_reactive",
    "energy_produced": "overflows_produced",
} | {
    counter: f"overflows_tariff_{tariff}"
    for tariff, counter in enumerate(TARIFF_COUNTERS, start=1)
}


class Relations:
    """The relations that the readings of one meter have to satisfy."""

    def __init__(self, names: Collection[str]) -> None:
        """Expect the relations that the profile of the meter names."""
        self._names = set(names)
        self._contradictions = 0
        self._tariffs_broken = False
        self.has_changed = False
        """Whether the power has not been the sum of its phases for many readings."""

    def broken_power(self, values: Values) -> str | None:
        """Return why measurements contradict each other, or None."""
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
        """Return whether tariff counters do not add up to Ea+ in kWh.

        If two readings in a row do not, a tariff counter was reset: from then on, the
        relation is not expected any more.
        """
        if TARIFFS not in self._names or total is None:
            return False
        was_broken = self._tariffs_broken
        self._tariffs_broken = not tariffs_agree(readings, total, at, limits)
        if was_broken and self._tariffs_broken:
            self._names.discard(TARIFFS)
            return False
        return self._tariffs_broken


def relations_of(
    values: Values, step: float, previous: Collection[str]
) -> frozenset[str]:
    """Return the relations that a meter satisfies, from all its values.

    A relation between zeros proves nothing. So without a load, that of the power is
    expected if it was in the profile before. `step` is the resolution of the counters
    in kWh.
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
    if total is None or any(each is None for each in phases):
        return True
    return abs(total - sum(filter(None, phases))) <= POWER_TOLERANCE


def highest_power(values: Values) -> float:
    """Return the power in W, var or VA above which no counter of the meter rises.

    It is infinite if it is not available.
    """
    if values.get("power") is None:
        return math.inf
    powers = [abs(values.get(f"power_{phase}") or 0) for phase in PHASES]
    totals = [
        abs(values.get(each) or 0)
        for each in ("power", "reactive_power", "apparent_power")
    ]
    return max(sum(powers), *totals)


def tariffs_agree(
    readings: Values, total: CounterValue, at: Moment, limits: Limits
) -> bool:
    """Return whether the tariff counters, read at a moment, add up to Ea+ in kWh."""
    rise = limits.kilowatts * abs(total.at.seconds_until(at)) / 3600
    difference = sum(filter(None, readings.values())) - total.value
    tolerance = TARIFF_TOLERANCE * total.step
    return -tolerance <= difference <= rise + tolerance


def same_counters(one: Counters, other: Counters) -> bool:
    """Return whether two resolutions show the same counters, as far as available."""
    found = other.counters
    return all(
        value is None
        or (at := found[name]) is None
        or abs(value - at) <= SAME_COUNTER_KWH
        for name, value in one.counters.items()
    )


def overflow_counts(values: Values) -> Values:
    """Return the number of rollovers of each counter, from block 36864."""
    return {counter: values.get(name) for counter, name in OVERFLOW_OF.items()}
