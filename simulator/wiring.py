"""Meters that are wired wrong, as loads: what such a meter takes for the truth.

Numbers of phases are those on the terminals: 1 to 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from .load import Load, Phases
from .phasors import between, currents, voltages

PHASES = (1, 2, 3)


@dataclass(frozen=True)
class ReversedCurrent:
    """The conductor of a phase goes through the meter the wrong way."""

    load: Load
    phase: int

    def phases(self, second: int) -> Phases:
        """Return the three phases as the meter sees them."""
        return _reversed(self.load.phases(second), self.phase - 1)


@dataclass(frozen=True)
class SwappedNeutral:
    """The voltage terminals of a phase and the neutral have changed places.

    The meter then measures all voltages from that phase: its own is the neutral's,
    and the other two are those from phase to phase.
    """

    load: Load
    phase: int

    def phases(self, second: int) -> Phases:
        """Return the three phases as the meter sees them."""
        return _swapped(self.load.phases(second), self.phase - 1)


# Most loads stay the same for some seconds, and a meter counts each of them.


@lru_cache
def _reversed(phases: Phases, index: int) -> Phases:
    flowing = currents(phases)
    flowing[index] = -flowing[index]
    return between(voltages(phases), flowing)


@lru_cache
def _swapped(phases: Phases, index: int) -> Phases:
    terminals = voltages(phases)
    neutral, terminals[index] = terminals[index], 0j
    return between([volts - neutral for volts in terminals], currents(phases))


MISTAKES: dict[str, Callable[[Load], Load]] = {
    f"{name}-l{phase}": partial(kind, phase=phase)
    for name, kind in (("reversed", ReversedCurrent), ("swapped", SwappedNeutral))
    for phase in PHASES
}
"""By the name that the command line has for them."""


def miswired(load: Load, mistakes: Sequence[str]) -> Load:
    """Return a load as a meter with these mistakes sees it."""
    for mistake in mistakes:
        load = MISTAKES[mistake](load)
    return load
