"""Relations between the registers of one meter, such as a total and its parts.

If a meter satisfies a relation when its profile is taken, each reading has to satisfy
the relation. A block whose reading contradicts a relation is read again.
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
"""The consumed energy (Ea+) is the sum of the tariff counters."""

# In W; the total and three phases are each rounded or truncated to 10 W
POWER_TOLERANCE = 30
# steps; the total and four tariff counters are each rounded or truncated to a step
TARIFF_TOLERANCE = 5
# In kWh; a low-resolution counter is rounded or truncated to 1 kWh. In addition, the
# counter may rise by up to 0.1 kWh between the reads of both resolutions.
SAME_COUNTER_TOLERANCE = 1.1

# After this number of consecutive contradictions, `POWER` is not checked any more. Our
# choice: after 10 s of rejected readings, the integration would remove the measured
# values. If the power is polled each second, ten readings take less than 10 s, because
# the first poll reads the power twice.
LASTING_CONTRADICTIONS = 10


class Relations:
    """The relations that the readings of one meter have to satisfy."""

    def __init__(self, names: Collection[str]) -> None:
        """Initialize with the names of the relations that the profile contains."""
        self._names = set(names)
        self._contradictions = 0
        self._tariffs_contradicted = False
        self.contradicts_profile = False
        """Whether `LASTING_CONTRADICTIONS` readings in a row contradicted `POWER`."""

    def power_contradiction(self, values: Values) -> str | None:
        """Return why the powers in W contradict each other, or None."""
        if POWER not in self._names:
            return None
        if power_sums_up(values):
            self._contradictions = 0
            return None
        self._contradictions += 1
        if self._contradictions >= LASTING_CONTRADICTIONS:
            self._names.discard(POWER)
            self.contradicts_profile = True
        return "the power is not the sum of its phases"

    def tariffs_contradict_total(
        self, readings: Values, total: CounterValue | None, at: Moment, limits: Limits
    ) -> bool:
        """Return whether the tariff counters in kWh contradict the `total` (Ea+).

        `readings` are tariff counters read at `at`. `total` is the last accepted value,
        which may be older. After two consecutive contradictions, a tariff counter was
        probably reset. So the relation is not checked any more.
        """
        if TARIFFS not in self._names or total is None:
            return False
        rise = limits.kilowatts * abs(total.at.seconds_until(at)) / 3600
        difference = sum(filter(None, readings.values())) - total.value
        tolerance = TARIFF_TOLERANCE * total.step
        contradicted = not -tolerance <= difference <= rise + tolerance
        if contradicted and self._tariffs_contradicted:
            self._names.discard(TARIFFS)
            return False
        self._tariffs_contradicted = contradicted
        return contradicted


def relations_of(
    values: Values, step: float, previous: Collection[str]
) -> frozenset[str]:
    """Return the relations that the values of all blocks of a meter satisfy.

    `step` is the resolution of the counters in kWh. `previous` are the relations of an
    older profile. If the power is 0 or not available, the values do not show whether
    the meter satisfies `POWER`. Then the older profile decides.
    """
    relations = set()
    has_load = bool(values.get("power"))
    if (has_load and power_sums_up(values)) or (not has_load and POWER in previous):
        relations.add(POWER)
    total = values.get("energy_consumed")
    tariffs = sum(values.get(name) or 0 for name in TARIFF_COUNTERS)
    if total and abs(tariffs - total) <= TARIFF_TOLERANCE * step:
        relations.add(TARIFFS)
    return frozenset(relations)


def power_sums_up(values: Values) -> bool:
    """Return whether the power in W is the sum of its phases.

    Returns True if one of the powers is not available.
    """
    phases = [values.get(f"power_{phase}") for phase in PHASES]
    total = values.get("power")
    if total is None or None in phases:
        return True
    return abs(total - sum(filter(None, phases))) <= POWER_TOLERANCE


def highest_power(values: Values) -> float:
    """Return the highest power in W, var or VA at which a counter may rise now.

    This is the highest of the total powers, or the sum of the absolute powers of the
    phases if the sum is higher. Returns infinity if the active power is not available.
    """
    if values.get("power") is None:
        return math.inf
    phases = sum(abs(values.get(f"power_{phase}") or 0) for phase in PHASES)
    totals = ("power", "reactive_power", "apparent_power")
    return max(phases, *(abs(values.get(name) or 0) for name in totals))


def same_counters(one: CounterBlock, other: CounterBlock) -> bool:
    """Return whether two resolutions of a block contain the same counter values.

    A counter that is not available in one of the resolutions is not compared.
    """
    for name, value in one.counters.items():
        other_value = other.counters[name]
        if value is None or other_value is None:
            continue
        if abs(value - other_value) > SAME_COUNTER_TOLERANCE:
            return False
    return True
