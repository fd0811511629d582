"""The registers of the measured values.

Blocks 50512 (32 bits), 51280 (16 bits) and 40576 (currents).
"""

from functools import lru_cache
import math

from .load import Phases
from .phasors import currents, voltages
from .table import (
    CURRENTS,
    METROLOGY,
    METROLOGY_16_BIT,
    signed,
    signed_16,
    unsigned,
    unsigned_16,
)

type Powers = tuple[float, float, float, float]
"""P, Q and S in steps of 10 W, 10 var and 10 VA, power factor PF in steps of 0.001."""


@lru_cache
def measurements(phases: Phases, hertz: float) -> dict[int, int]:
    """Return the registers of block 50512.

    Do not change the returned dictionary, because it is cached.
    """
    registers = {
        **unsigned(METROLOGY + 14, hertz * 100),  # in steps of 0.01 Hz
        # The neutral current in mA.
        **unsigned(METROLOGY + 22, abs(sum(currents(phases))) * 1000),
        **_current_registers(METROLOGY + 16, phases),
    }
    for index, volts in enumerate(_measured_voltages(phases)):
        registers |= unsigned(METROLOGY + 2 + 2 * index, volts * 100)  # in 0.01 V
    for address, power in _powers_by_address(METROLOGY + 24, 2, phases).items():
        registers |= signed(address, power)
    return registers


def measurements_16_bit(phases: Phases) -> dict[int, int]:
    """Return the registers of the measured values in block 51280."""
    registers: dict[int, int] = {}
    for index, volts in enumerate(_measured_voltages(phases)):
        registers |= unsigned_16(METROLOGY_16_BIT + 1 + index, volts * 100)  # in 0.01 V
    for address, power in _powers_by_address(METROLOGY_16_BIT + 12, 1, phases).items():
        registers |= signed_16(address, power)
    return registers


def measured_currents(phases: Phases) -> dict[int, int]:
    """Return the registers of block 40576."""
    return _current_registers(CURRENTS, phases)


def _current_registers(start: int, phases: Phases) -> dict[int, int]:
    """Return the registers of I1, I2 and I3 in mA. At 0 V, the current is 0."""
    registers: dict[int, int] = {}
    for index, phase in enumerate(phases):
        amperes = math.hypot(phase.watts, phase.reactive) / (phase.volts or math.inf)
        registers |= unsigned(start + 2 * index, amperes * 1000)
    return registers


def _measured_voltages(phases: Phases) -> list[float]:
    """Return U12, U23, U31 (between phases) and V1, V2, V3 (to the neutral) in V."""
    terminals = voltages(phases)
    following = [*terminals[1:], terminals[0]]
    return [
        abs(one - other) for one, other in zip(terminals, following, strict=True)
    ] + [phase.volts for phase in phases]


def _powers_by_address(start: int, words: int, phases: Phases) -> dict[int, float]:
    """Return the powers by register address, with `words` registers for each value.

    The order is P, Q, S and PF of the three phases together, then P of each phase, Q of
    each phase, S of each phase, PF of each phase.
    """
    total = _powers(
        sum(phase.watts for phase in phases), sum(phase.reactive for phase in phases)
    )
    each = [_powers(phase.watts, phase.reactive) for phase in phases]
    by_quantity = [power for quantity in zip(*each, strict=True) for power in quantity]
    return {
        start + words * index: power
        for index, power in enumerate([*total, *by_quantity])
    }


def _powers(watts: float, reactive: float) -> Powers:
    """Return P, Q, S and PF. As in the table, a leading (capacitive) PF is negative."""
    apparent = math.hypot(watts, reactive)
    # `or 0.0` removes the sign of -0.0. Otherwise, phases with 0.0 and -0.0 var would
    # be equal, but have different registers.
    factor = math.copysign(abs(watts) / apparent, reactive or 0.0) if apparent else 1
    return watts / 10, reactive / 10, apparent / 10, factor * 1000
