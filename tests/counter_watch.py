"""A counter check with a manual clock, for the tests of `CounterCheck`."""

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
OTHER = "energy_produced"
PARTIAL = "partial_energy_consumed"
HIGH_RESOLUTION = 0.01  # kWh
LOW_RESOLUTION = 1.0  # kWh

KILOWATTS = 79.5  # the highest power: 3 phases, 265 V, 100 A
ROLLOVERS = (1_000_000, 9_999_999.99, 10_000_000)  # kWh


class Watch:
    """A counter check and its clock, which only a test advances."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Start without accepted counters."""
        self.clock = Clock()
        self.wall_offset = 0.0
        self.counters = CounterCheck(limits or Limits())

    def read(self, step: float = HIGH_RESOLUTION, **readings: float | None) -> set[str]:
        """Check one reading in kWh, and return the counters that are rejected."""
        if self.counters.check(self.reading(step, **readings)):
            return set()
        return set(self.counters.rejected["block"])

    def reading(
        self, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> CounterReading:
        """Return a reading in kWh. Only the partial counter can be reset."""
        return CounterReading("block", readings, step, self.now(), {PARTIAL})

    def rejected(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> set[str]:
        """Check a reading twice after `after` s, and return the rejected counters.

        The second reading decides, because a single reading is not confirmed.
        """
        self.clock.seconds += after
        self.read(step, **readings)
        return self.read(step, **readings)

    def correct(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> tuple[Correction, ...]:
        """Check a reading after `after` s as a poll does, and return the corrections.

        If the rejected level has lasted long enough, it is accepted.
        """
        check = self.counters
        if not self.rejected(after, step, **readings):
            assert check.rejected["block"]
            return ()
        if check.extend_level(self.reading(step, **readings)):
            return check.accept_level("block")
        return ()

    def now(self) -> Moment:
        """Return the present time of the system clock and of the monotonic clock."""
        return Moment(self.clock.seconds + self.wall_offset, self.clock.seconds)

    def restart(self, *, off: float = 0) -> None:
        """Restore the saved counters into a new check, `off` s later."""
        saved = json.loads(json.dumps(self.counters.as_dict()))
        self.counters = CounterCheck(self.counters.limits).restore(saved)
        self.clock.seconds += off

    def value(self, counter: str = TOTAL) -> float:
        """Return the last accepted value of a counter in kWh."""
        return self.counters.values[counter]


def accepted_watch() -> Watch:
    """Return a watch that has accepted 500 kWh (total) and 50 kWh (partial counter)."""
    watch = Watch()
    assert not watch.rejected(energy_consumed=500.0, partial_energy_consumed=50.0)
    return watch
