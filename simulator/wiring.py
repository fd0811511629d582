"""Wiring errors: loads as an incorrectly connected meter measures them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from .load import Load, Phases
from .phasors import currents, phases_of, voltages

PHASES = (1, 2, 3)


@dataclass(frozen=True)
class ReversedCurrent:
    """The current of one phase flows through the meter in the wrong direction."""

    load: Load
    phase: int
    """Number of the phase at the terminals of the meter: 1 to 3."""

    def phases(self, second: int) -> Phases:
        """Return the three phases as the meter measures them."""
        return _reversed(self.load.phases(second), self.phase - 1)


@dataclass(frozen=True)
class SwappedNeutral:
    """The voltage terminals of one phase and of the neutral are swapped.

    The meter then measures all voltages against this phase. At the terminal of this
    phase, the meter measures the voltage of the neutral. At the other two terminals,
    the meter measures phase-to-phase voltages.
    """

    load: Load
    phase: int
    """Number of the phase at the terminals of the meter: 1 to 3."""

    def phases(self, second: int) -> Phases:
        """Return the three phases as the meter measures them."""
        return _swapped(self.load.phases(second), self.phase - 1)


# Cached, because a meter calculates its energy for each second, but most loads have the
# same power for several seconds.
@lru_cache
def _reversed(phases: Phases, index: int) -> Phases:
    amperes = currents(phases)
    amperes[index] = -amperes[index]
    return phases_of(voltages(phases), amperes)


@lru_cache
def _swapped(phases: Phases, index: int) -> Phases:
    terminals = voltages(phases)
    # The neutral terminal is at the voltage of the phase. The terminal of the phase is
    # at the voltage of the neutral: 0 V.
    neutral, terminals[index] = terminals[index], 0j
    return phases_of([volts - neutral for volts in terminals], currents(phases))


WIRING_ERRORS: dict[str, Callable[[Load], Load]] = {
    f"{name}-l{phase}": partial(error, phase=phase)
    for name, error in (("reversed", ReversedCurrent), ("swapped", SwappedNeutral))
    for phase in PHASES
}
"""Wiring errors by their name on the command line, such as `reversed-l1`."""


def with_wiring_errors(load: Load, names: Sequence[str]) -> Load:
    """Return the load that a meter with these wiring errors measures."""
    for name in names:
        load = WIRING_ERRORS[name](load)
    return load
