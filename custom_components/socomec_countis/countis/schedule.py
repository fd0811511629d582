"""When each block of a meter is read, on a line that many meters share.

Where a second has room for everything of all meters, everything is read in every
poll. Where it has not, power is, and a meter saves up what power leaves of its
share of the line for the block that is longest overdue. That one has to wait
while the line is late, but not beyond its age limit, so that nothing starves.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
import math

POWER = "power"
MEASUREMENTS = "measurements"
PERIOD = 1.0  # from one poll to the next, in seconds

# How old a block may become on a line that is full: so many seconds, or so many
# polls of power where they take longer.
AGE_LIMITS = {"energies": (16, 5), MEASUREMENTS: (90, 30), "tariffs": (90, 30)}

# What is left free: for other devices, repetitions and what cannot be foreseen.
USED_OF_LINE = 0.95


@dataclass(frozen=True)
class Due:
    """A block to read in this poll."""

    block: str
    can_wait: bool = False
    """Left for a later poll when the line is late."""


@dataclass
class Schedule:
    """What of one meter is read when. All times in seconds."""

    phase: float = 0
    """0 to 1, another one for each meter: or all would reach their limits at once."""
    savings: float = 0
    _polled_at: float | None = None
    _read_at: dict[str, float] = field(default_factory=dict)

    def due(
        self,
        now: float,
        share: float,
        costs: Mapping[str, float],
        wanted: Collection[str],
    ) -> list[Due]:
        """Return the blocks to read now, of those that are wanted.

        `share` is the part of each second of the line that is this meter's,
        `costs` what each block takes of it. Power is always wanted; all
        measurements hold it as well, so that they can take its place.
        """
        since = PERIOD if self._polled_at is None else now - self._polled_at
        self._polled_at = now
        budget = USED_OF_LINE * share * PERIOD
        blocks = [name for name in costs if name in wanted and name != POWER]
        first = MEASUREMENTS if MEASUREMENTS in blocks else POWER
        rest = [name for name in blocks if name != first]
        if costs[first] + sum(costs[name] for name in rest) <= budget:
            return [Due(name) for name in (first, *rest)]

        # Beyond the next block, savings would only pay for a rush.
        dearest = max((costs[name] for name in blocks), default=0.0)
        income = max(budget - costs[POWER], 0.0)
        self.savings = min(self.savings + income, dearest)
        overdue = {
            name: (now + since - self._read_at.get(name, -math.inf))
            / _age_limit(name, since)
            for name in blocks
        }
        # By the next poll it would be too late for these.
        pressing = [name for name in blocks if overdue[name] > 1]
        first = MEASUREMENTS if MEASUREMENTS in pressing else POWER
        dues = [Due(first), *(Due(name) for name in pressing if name != first)]
        waiting = set(blocks) - set(pressing)
        if waiting:
            longest = max(waiting, key=overdue.__getitem__)
            if costs[longest] <= self.savings:
                dues.append(Due(longest, can_wait=True))
        return dues

    def done(self, block: str, now: float, cost: float) -> None:
        """Note that a block was read, or tried to be."""
        if block == POWER:
            return
        self.savings = max(self.savings - cost, 0.0)
        first = block not in self._read_at
        self._read_at[block] = now - first * self.phase * _age_limit(block, PERIOD)


def _age_limit(block: str, since: float) -> float:
    seconds, polls = AGE_LIMITS[block]
    return max(seconds, polls * since)
