"""A counter check with a system clock that stands still, for the tests of it."""

from custom_components.socomec_countis.countis.plausibility import (
    Correction,
    CounterCheck,
    Limits,
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
        self.counters = CounterCheck(limits or Limits())

    def rejected(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> set[str]:
        """Return the counters that are rejected in a reading after so many s."""
        self.clock.seconds += after
        return set(
            self.counters.check(
                "block", readings, step, self.clock(), resettable={PARTIAL}
            )
        )

    def correct(
        self, after: float = 0, step: float = HIGH_RESOLUTION, **readings: float | None
    ) -> tuple[Correction, ...]:
        """Return what a rejected reading after so many s corrects, as in a poll."""
        assert self.rejected(after, step, **readings)
        return self.counters.accept_lasting("block", readings, step, self.clock())

    def value(self, counter: str = TOTAL) -> float:
        """Return the last accepted value of a counter in kWh."""
        return self.counters.values[counter]


def accepted_watch() -> Watch:
    """Return a watch with an accepted total of 500 kWh and partial of 50 kWh."""
    watch = Watch()
    assert not watch.rejected(energy_consumed=500.0, partial_energy_consumed=50.0)
    return watch
