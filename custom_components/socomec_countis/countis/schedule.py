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
# rounds of all meters where they take longer.
AGE_LIMITS = {"energies": (16, 5), MEASUREMENTS: (120, 40), "tariffs": (120, 40)}

# What changes so seldom that it is read only so often, in seconds, one in a poll.
INTERVALS = {"periods": 60, "clock": 3600, "overflows": 3600, "transformer": 3600}

# A block that was read just before its turn need not be read again, and one that
# missed its turn does not wait for the next.
FRESH = 0.4
TOO_LATE = 1.5
FIRST_AGE = 0.45
ROUNDING = 1e-6

# What power takes of a line that has no room for more.
POWER_OF_FULL_LINE = 0.75

# What is left free: for other devices, repetitions and what cannot be foreseen.
USED_OF_LINE = 0.95


@dataclass
class Schedule:
    """What of one meter is read when. All times in seconds."""

    phase: float = 0
    """0 to 1, another one for each meter: which of the polls are its turn."""
    savings: float = 0
    _polled_at: float | None = None
    _read_at: dict[str, float] = field(default_factory=dict)
    _limits: dict[str, float] = field(default_factory=dict)

    def due(
        self,
        now: float,
        share: float,
        costs: Mapping[str, float],
        wanted: Collection[str],
        *,
        line_round: int,
        time_left: float,
    ) -> list[str]:
        """Return the blocks to read now, of those that are wanted.

        `share` is the part of each second of the line that is this meter's,
        `costs` what each block takes of it, `line_round` how often all meters of
        the line had a poll, `time_left` what is left until the next one is due.
        Power is always wanted; all measurements hold it as well, so that they take
        its place.
        """
        regular = {name: cost for name, cost in costs.items() if name not in INTERVALS}
        due = self._regular(
            now, share, regular, wanted, line_round=line_round, time_left=time_left
        )
        time_left -= sum(costs[name] for name in due)
        return due + self._occasional(now, costs, wanted, time_left)

    def _occasional(
        self,
        now: float,
        costs: Mapping[str, float],
        wanted: Collection[str],
        time_left: float,
    ) -> list[str]:
        """Return the one that is longest overdue, if there is time for it."""
        overdue = {
            name: (now - self._read_at.get(name, -math.inf)) / INTERVALS[name]
            for name in INTERVALS.keys() & costs.keys() & set(wanted)
        }
        if not overdue:
            return []
        name = max(overdue, key=overdue.__getitem__)
        in_time = costs[name] <= time_left
        return [name] if overdue[name] >= (1 if in_time else TOO_LATE) else []

    def _regular(
        self,
        now: float,
        share: float,
        costs: Mapping[str, float],
        wanted: Collection[str],
        *,
        line_round: int,
        time_left: float,
    ) -> list[str]:
        """Return what is due of the blocks that change all the time."""
        since = PERIOD if self._polled_at is None else now - self._polled_at
        self._polled_at = now
        budget = USED_OF_LINE * share * PERIOD
        blocks = [name for name in costs if name in wanted and name != POWER]
        first = MEASUREMENTS if MEASUREMENTS in blocks else POWER
        rest = [name for name in blocks if name != first]
        if costs[first] + sum(costs[name] for name in rest) <= budget:
            return [first, *rest]

        # Beyond the next block, savings would only pay for a rush.
        dearest = max((costs[name] for name in blocks), default=0.0)
        income = max(budget - costs[POWER], 0.0)
        self.savings = min(self.savings + income, dearest)
        # What a round of all meters takes when the others' share is used as well.
        round_seconds = max(costs[POWER] / share / POWER_OF_FULL_LINE, PERIOD)
        overdue: dict[str, float] = {}
        pressing: list[str] = []
        for name in blocks:
            seconds, rounds = AGE_LIMITS[name]
            limit = self._limits[name] = max(seconds, rounds * round_seconds)
            overdue[name] = (now + since - self._read_at.get(name, -math.inf)) / limit
            # Each meter has its own among the rounds that go into the limit, so
            # that not all of them read the same block in the same round.
            turns = int(limit / round_seconds + ROUNDING)
            its_turn = (line_round + int(self.phase * turns)) % turns == 0
            if overdue[name] > TOO_LATE or (its_turn and overdue[name] > FRESH):
                pressing.append(name)
        waiting = [name for name in blocks if name not in pressing]
        if waiting:
            longest = max(waiting, key=overdue.__getitem__)
            # A line that is late would be later still.
            in_time = costs[POWER] + costs[longest] <= time_left
            if in_time and costs[longest] <= self.savings:
                pressing.append(longest)
        first = MEASUREMENTS if MEASUREMENTS in pressing else POWER
        return [first, *(name for name in pressing if name != first)]

    def done(self, block: str, now: float, cost: float) -> None:
        """Note that a block was read, or tried to be."""
        if block == POWER:
            return
        if block in INTERVALS:
            self._read_at[block] = now
            return
        self.savings = max(self.savings - cost, 0.0)
        # The first time counts as a while ago: or all meters would wait, and then
        # be in step, instead of each having its turn.
        first = block not in self._read_at
        self._read_at[block] = now - first * FIRST_AGE * self._limits.get(block, 0.0)

    def read_again(self, block: str) -> None:
        """Note that a block could not be read, and is due again soon."""
        if block in INTERVALS:
            self._read_at[block] += min(INTERVALS.values()) - INTERVALS[block]
        else:
            self._read_at.pop(block, None)
