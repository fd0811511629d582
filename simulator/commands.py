"""The commands that change a meter's counters.

A client sends a command by writing a value to a command register. If the docstring of
a function names a register, the function executes a write to this register. It returns
False if the meter refuses the written value.
"""

from .counters import Counters

# Bits of register 57890, each with the counter that it sets to 0. The register's other
# bits reset counters that the simulator does not have, or clear averages, events,
# curves and alarms. The simulated meter refuses these other bits, because no client of
# this project may write them.
PARTIAL_BITS = {
    0x0001: "partial_consumed",
    0x0002: "partial_reactive",
    0x0008: "partial_produced",
}
PARTIAL_ENERGIES = 0x20  # the only value that register 40512 accepts
ALL_TARIFFS = 0xFFFF  # in register 57892, this value selects all tariffs


def reset_partial_counters(counters: Counters, bits: int) -> bool:
    """Set to 0 the partial counters that `bits` selects (register 57890)."""
    if not bits or bits & ~sum(PARTIAL_BITS):
        return False
    for bit, name in PARTIAL_BITS.items():
        if bits & bit:
            setattr(counters, name, 0.0)
            # The partial counters by tariff are parts of the partial consumed energy.
            if name == "partial_consumed":
                counters.partial_tariffs = [0.0] * len(counters.partial_tariffs)
    return True


def press_reset(counters: Counters) -> None:
    """Set all partial counters to 0, as the reset button of the meter does."""
    reset_partial_counters(counters, sum(PARTIAL_BITS))


def reset_partial_energies(counters: Counters, value: int) -> bool:
    """Set all partial counters to 0 (register 40512 of the E1x and E2x)."""
    return value == PARTIAL_ENERGIES and reset_partial_counters(
        counters, sum(PARTIAL_BITS)
    )


def reset_tariffs(counters: Counters, tariff_count: int, bits: int) -> bool:
    """Set to 0 the tariff counters that `bits` selects (register 57892).

    Bit 0 selects tariff 1. The meter refuses 0. It also refuses the bits of tariffs
    that it does not have, unless `bits` is ALL_TARIFFS.
    """
    if bits != ALL_TARIFFS and (not bits or bits >> tariff_count):
        return False
    for index in range(len(counters.tariffs)):
        if bits >> index & 1:
            counters.tariffs[index] = 0.0
    return True


def set_tariff(counters: Counters, tariff_count: int, tariff: int) -> bool:
    """Select the tariff in which the meter counts (register 40481)."""
    if not 1 <= tariff <= tariff_count:
        return False
    counters.tariff = tariff
    return True
