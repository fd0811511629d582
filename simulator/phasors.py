"""Voltages and currents as phasors: complex numbers with RMS magnitudes.

If each `Phase.shift` is 0, L2 is 120 degrees behind L1, and L3 behind L2.
"""

import cmath
import math

from .load import Phase, Phases

THIRD_OF_CIRCLE = 2 * math.pi / 3  # rad
DECIMALS = 6  # of a result; rounded, because complex arithmetic is not exact


def voltages(phases: Phases) -> list[complex]:
    """Return the voltages from the neutral to the three terminals in V."""
    return [
        cmath.rect(phase.volts, math.radians(phase.shift) - index * THIRD_OF_CIRCLE)
        for index, phase in enumerate(phases)
    ]


def currents(phases: Phases) -> list[complex]:
    """Return the currents in the three conductors in A."""
    return [
        (complex(phase.watts, phase.reactive) / volts).conjugate() if volts else 0j
        for phase, volts in zip(phases, voltages(phases), strict=True)
    ]


def phases_of(voltages: list[complex], currents: list[complex]) -> Phases:
    """Return the phases with these voltages in V and currents in A."""
    l1, l2, l3 = (
        _phase(index, volts, amperes)
        for index, (volts, amperes) in enumerate(zip(voltages, currents, strict=True))
    )
    return l1, l2, l3


def _phase(index: int, volts: complex, amperes: complex) -> Phase:
    power = volts * amperes.conjugate()
    shift = math.degrees(cmath.phase(volts * cmath.rect(1, index * THIRD_OF_CIRCLE)))
    values = (power.real, power.imag, abs(volts), shift)
    return Phase(*(round(value, DECIMALS) for value in values))
