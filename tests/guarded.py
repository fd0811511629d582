"""A guard of counters, and what the tests of it tell it."""

from custom_components.socomec_countis.countis.guard import Correction, CounterGuard
from custom_components.socomec_countis.countis.limits import Limits

from .common import Clock

TOTAL = "energy_consumed"
OTHER = "energy_produced"
PARTIAL = "partial_energy_consumed"
FINE = 0.01
COARSE = 1.0

KILOWATTS = 79.5  # 3 phases, 265 V, 100 A
DISPLAYS = (1_000_000, 9_999_999.99, 10_000_000)


class Watch:
    """A guard, and a clock that only goes when it is told to."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Start with a guard that believes nothing yet."""
        self.clock = Clock()
        self.guard = CounterGuard(limits or Limits())

    def sees(
        self, after: float = 0, step: float = FINE, **readings: float | None
    ) -> set[str]:
        """Return which counters are doubted in a reading after so many seconds."""
        self.clock.seconds += after
        return set(
            self.guard.doubts(
                "block", readings, step, self.clock(), resettable={PARTIAL}
            )
        )

    def suspects(
        self, after: float = 0, step: float = FINE, **readings: float | None
    ) -> tuple[Correction, ...]:
        """Return what a doubted reading corrects, as a poll would ask."""
        assert self.sees(after, step, **readings)
        return self.guard.accept_lasting("block", readings, step, self.clock())

    def value(self, counter: str = TOTAL) -> float:
        """Return the counter as it is believed."""
        return self.guard.values[counter]


def believing() -> Watch:
    """Return a guard that has believed a total and a partial counter."""
    watch = Watch()
    assert not watch.sees(energy_consumed=500.0, partial_energy_consumed=50.0)
    return watch
