"""When each block of a meter is read, on a line that many meters share.

Power is read in every poll. For the other blocks a meter saves up its share of
the line, as far as power leaves something of it, and reads the one that is
longest overdue as soon as the savings suffice. A block that reaches its age
limit is read in any case, so that nothing starves.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
import math

POWER = "power"
PERIOD = 1.0  # from one poll to the next, in seconds

# How old a block may become on a line that is full, in seconds.
AGE_LIMITS = {"energies": 14, "measurements": 60, "tariffs": 60}

# What is left free: for other devices, repetitions and what cannot be foreseen.
USED_OF_LINE = 0.95


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
    ) -> list[str]:
        """Return the blocks to read now, of those that are wanted.

        `share` is the part of each second of the line that is this meter's,
        `costs` what each block takes of it. All measurements hold power as well,
        so either is read, never both.
        """
        extra = {name: cost for name, cost in costs.items() if name in wanted}
        power = extra.pop(POWER, 0.0)
        if "measurements" in extra:
            extra["measurements"] = max(extra["measurements"] - power, 0.0)
        since = PERIOD if self._polled_at is None else now - self._polled_at
        self._polled_at = now
        everything = sum(extra.values())
        if power + everything <= USED_OF_LINE * share * PERIOD:
            self.savings = everything
        # A line that is late gives nothing away, or it would be later still.
        income = max(USED_OF_LINE * share * min(since, PERIOD) - power, 0.0)
        # No more than it takes to read all, or a quiet line would pay for a rush.
        self.savings = min(self.savings + income, everything)

        ages = {name: now - self._read_at.get(name, -math.inf) for name in extra}
        # By the next poll it would be too late for these.
        pressing = {name for name in extra if ages[name] + since > AGE_LIMITS[name]}
        blocks: list[str] = []
        for name in sorted(
            extra, key=lambda name: (name in pressing, ages[name] / AGE_LIMITS[name])
        )[::-1]:
            if name not in pressing and extra[name] > self.savings:
                break
            self.savings = max(self.savings - extra[name], 0.0)
            first = name not in self._read_at
            self._read_at[name] = now - first * self.phase * AGE_LIMITS[name]
            blocks.append(name)
        if POWER in wanted and "measurements" not in blocks:
            blocks.append(POWER)
        # Power is what the next one in line waits for.
        return sorted(blocks, key=lambda name: name not in {POWER, "measurements"})
