"""What a meter's counters can be told: each command is false for a value it refuses."""

from .counters import Counters

PARTIAL_BITS = {
    0x0001: "partial_consumed",
    0x0002: "partial_reactive",
    0x0008: "partial_produced",
}
PARTIAL_ENERGIES = 0x20
ALL_TARIFFS = 0xFFFF


def reset_partial_counters(counters: Counters, bits: int) -> bool:
    """Reset what is asked for; bits of other things are a mistake here."""
    if not bits or bits & ~sum(PARTIAL_BITS):
        return False
    for bit, name in PARTIAL_BITS.items():
        if bits & bit:
            setattr(counters, name, 0.0)
    return True


def reset_partial_energies(counters: Counters, value: int) -> bool:
    """Reset them all, as an E1x or E2x is told to."""
    return value == PARTIAL_ENERGIES and reset_partial_counters(
        counters, sum(PARTIAL_BITS)
    )


def reset_tariffs(counters: Counters, tariff_count: int, bits: int) -> bool:
    """Reset the tariffs that are asked for."""
    if bits != ALL_TARIFFS and (not bits or bits >> tariff_count):
        return False
    for index in range(len(counters.tariffs)):
        if bits >> index & 1:
            counters.tariffs[index] = 0.0
    return True


def set_tariff(counters: Counters, tariff_count: int, tariff: int) -> bool:
    """Count in this tariff from now on."""
    if not 1 <= tariff <= tariff_count:
        return False
    counters.tariff = tariff
    return True
