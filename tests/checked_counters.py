"""A `CounterCheck` with a clock that only a test advances."""

import json

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import (
    Correction,
    CounterCheck,
    CounterReading,
    Moment,
)

from .common import Clock

TOTAL = "energy_consumed"
PRODUCED = "energy_produced"
PARTIAL = "partial_energy_consumed"
HIGH_RESOLUTION = 0.01  # kWh
LOW_RESOLUTION = 1.0  # kWh

HIGHEST_KILOWATTS = 79.5  # of the default limits: 3 phases, 265 V, 100 A
# kWh at which a register may roll over: after the six digits of the display, at
# 999 999 999 steps of 10 Wh, or one step later.
ROLLOVERS = (1_000_000, 9_999_999.99, 10_000_000)


class CheckedCounters:
    """The counters of a meter with their check, and a clock that a test advances."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Start without accepted counters."""
        self.clock = Clock()
        self.wall_offset = 0.0  # s by which the system clock was changed
        self.check = CounterCheck(limits or Limits())

    def read(self, step: float = HIGH_RESOLUTION, **readings: float | None) -> set[str]:
        """Check one reading in kWh, and return the rejected counters.

        If only held counters (see `CounterCheck.extend_level`) are rejected, returns an
        empty set.
        """
        if self.check.check(self.reading(step, **readings)):
            return set()
        return set(self.check.rejected["block"])

    def reading(
        self, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> CounterReading:
        """Return a reading in kWh with a resolution of `step` kWh.

        Only the partial counter can be reset.
        """
        return CounterReading("block", readings, step, self.now(), {PARTIAL})

    def rejected(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> set[str]:
        """After `after` s, check a reading twice. Return the rejected counters.

        The second reading decides, because a single reading is not confirmed.
        """
        self.clock.seconds += after
        self.read(step, **readings)
        return self.read(step, **readings)

    def corrections(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> tuple[Correction, ...]:
        """After `after` s, check a reading twice. Return the corrections.

        A rejected level that has lasted long enough is accepted, as in a poll.
        """
        check = self.check
        if not self.rejected(after, step, **readings):
            # No test calls this method with a fully accepted reading. So the empty set
            # means that only held counters (`CounterCheck.extend_level`) are rejected.
            assert check.rejected["block"]
            return ()
        if check.extend_level(self.reading(step, **readings)):
            return check.accept_level("block")
        return ()

    def now(self) -> Moment:
        """Return the present time of the system clock and of the monotonic clock."""
        return Moment(self.clock.seconds + self.wall_offset, self.clock.seconds)

    def restart(self, *, off: float = 0) -> None:
        """Restart after `off` s: restore the saved counters into a new check."""
        saved = json.loads(json.dumps(self.check.as_dict()))
        self.check = CounterCheck(self.check.limits).restore(saved)
        self.clock.seconds += off

    def value(self, counter: str = TOTAL) -> float:
        """Return the last accepted value of a counter in kWh."""
        return self.check.values[counter]


def accepted_counters() -> CheckedCounters:
    """Return counters with the accepted values 500 kWh (total) and 50 kWh (partial)."""
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, partial_energy_consumed=50.0)
    return counters
