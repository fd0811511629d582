"""Voltages and currents as phasors: complex numbers, as large as effective values.

A load's voltages are a third of a turn apart, the second behind the first, unless
its phases are turned.
"""

import cmath
import math

from .load import Phase, Phases

THIRD = 2 * math.pi / 3
DIGITS = 6


def voltages(phases: Phases) -> list[complex]:
    """Return the voltages of the three terminals, from the neutral."""
    return [
        cmath.rect(phase.volts, math.radians(phase.turned) - index * THIRD)
        for index, phase in enumerate(phases)
    ]


def currents(phases: Phases) -> list[complex]:
    """Return the currents in the three conductors."""
    return [
        (complex(phase.watts, phase.reactive) / volts).conjugate() if volts else 0j
        for phase, volts in zip(phases, voltages(phases), strict=True)
    ]


def between(voltages: list[complex], currents: list[complex]) -> Phases:
    """Return the phases that have these voltages and currents."""
    l1, l2, l3 = (
        _phase(index, volts, amperes)
        for index, (volts, amperes) in enumerate(zip(voltages, currents, strict=True))
    )
    return l1, l2, l3


def _phase(index: int, volts: complex, amperes: complex) -> Phase:
    power = volts * amperes.conjugate()
    turned = math.degrees(cmath.phase(volts * cmath.rect(1, index * THIRD)))
    # What began as a whole number ends as one.
    exact = (power.real, power.imag, abs(volts), turned)
    return Phase(*(round(number, DIGITS) for number in exact))
