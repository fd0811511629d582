"""A counter check with a system clock that stands still, for the tests of it."""

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

KILOWATTS = 79.5  # 3 phases, 265 V, 100 A
ROLLOVERS = (1_000_000, 9_999_999.99, 10_000_000)  # kWh


class Watch:
    """A counter check, and a clock that only proceeds when a test says so."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Start without accepted counters."""
        self.clock = Clock()
        self.wall_offset = 0.0
        self.counters = CounterCheck(limits or Limits())

    def read(self, step: float = HIGH_RESOLUTION, **readings: float | None) -> set[str]:
        """Return the counters that are rejected in one reading."""
        if self.counters.check(self.reading(step, **readings)):
            return set()
        return set(self.counters.rejected["block"])

    def reading(
        self, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> CounterReading:
        """Return a reading whose partial counter can be reset."""
        return CounterReading("block", readings, step, self.now(), {PARTIAL})

    def rejected(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> set[str]:
        """Return the counters that are rejected in two readings after so many s."""
        self.clock.seconds += after
        self.read(step, **readings)
        return self.read(step, **readings)

    def correct(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> tuple[Correction, ...]:
        """Return what a rejected reading after so many s corrects, as in a poll."""
        check = self.counters
        if not self.rejected(after, step, **readings):
            assert check.rejected["block"]  # the others are accepted
            return ()
        if check.lasts(self.reading(step, **readings)):
            return check.accept_level("block")
        return ()

    def now(self) -> Moment:
        """Return the moment of a reading."""
        return Moment(self.clock.seconds + self.wall_offset, self.clock.seconds)

    def restart(self, *, off: float = 0) -> None:
        """Continue with what was saved, after so many s by the system clock."""
        saved = json.loads(json.dumps(self.counters.as_dict()))
        self.counters = CounterCheck(self.counters.limits).restore(saved)
        self.clock.seconds += off

    def value(self, counter: str = TOTAL) -> float:
        """Return the last accepted value of a counter in kWh."""
        return self.counters.values[counter]


def accepted_watch() -> Watch:
    """Return a watch with an accepted total of 500 kWh and partial of 50 kWh."""
    watch = Watch()
    assert not watch.rejected(energy_consumed=500.0, partial_energy_consumed=50.0)
    return watch
