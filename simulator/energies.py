"""The registers of the counters.

In kWh and in steps of 10 Wh: blocks 50768 and 50944 (energies), 50848 and 51200
(tariffs), 36896 and 36928 (periods). Block 36864 contains the overflows.
"""

from .counters import OVERFLOW_WH, TARIFF_COUNT, Counters
from .table import METROLOGY_16_BIT, NOT_AVAILABLE, OVERFLOW, unsigned, unsigned_16

MEGA = 1_000_000
PERIOD_WORDS = 8  # registers of one day, week or month


def energies(start: int, step: int, counters: Counters) -> dict[int, int]:
    """Return the registers of block 50768 or 50944. `step` is in Wh."""
    return {
        **unsigned(start + 2, _steps(counters.consumed, step)),
        **unsigned(start + 4, _steps(counters.reactive, step)),
        **unsigned(start + 8, _steps(counters.produced, step)),
        **unsigned(start + 12, _steps(counters.partial_consumed, step)),
        **unsigned(start + 14, _steps(counters.partial_reactive, step)),
        **unsigned(start + 18, _steps(counters.partial_produced, step)),
    }


def energies_16_bit(counters: Counters) -> dict[int, int]:
    """Return the registers of the counters in block 51280, in MWh and Mvarh."""
    totals = (counters.consumed, counters.reactive, counters.produced)
    registers: dict[int, int] = {}
    for index, total in enumerate(totals):
        registers |= unsigned_16(METROLOGY_16_BIT + 31 + index, _steps(total, MEGA))
    return registers


def tariffs(start: int, step: int, counters: Counters, count: int) -> dict[int, int]:
    """Return the registers of block 50848 or 51200. `step` is in Wh.

    The block has room for at least four tariffs. Those above `count` read "not
    available".
    """
    registers = {start: count, start + 1: counters.tariff}
    for index in range(max(count, TARIFF_COUNT)):
        value = NOT_AVAILABLE
        if index < count:
            value = _steps(counters.in_tariff(index + 1), step)
        registers |= unsigned(start + 2 + 2 * index, value)
    return registers


def periods(start: int, step: int, counters: Counters) -> dict[int, int]:
    """Return the registers of block 36896 or 36928. `step` is in Wh."""
    registers: dict[int, int] = {}
    for index, period in enumerate(counters.periods):
        values = (
            period.consumed_before,
            period.produced_before,
            counters.consumed - period.consumed_at_start,
            counters.produced - period.produced_at_start,
        )
        for position, energy in enumerate(values):
            address = start + PERIOD_WORDS * index + 2 * position
            registers |= unsigned(address, _steps(energy, step))
    return registers


def overflows(counters: Counters, tariff_count: int) -> dict[int, int]:
    """Return the registers of block 36864.

    The block has room for four tariffs. Those above `tariff_count` read "not
    available".
    """
    totals = (counters.consumed, counters.reactive, counters.produced)
    registers = {
        **unsigned(OVERFLOW, OVERFLOW_WH // 10),
        **{
            OVERFLOW + 2 + index: int(total // OVERFLOW_WH)
            for index, total in enumerate(totals)
        },
    }
    for index in range(TARIFF_COUNT):
        times = NOT_AVAILABLE
        if index < tariff_count:
            times = int(counters.in_tariff(index + 1) // OVERFLOW_WH)
        registers |= unsigned_16(OVERFLOW + 7 + index, times)
    return registers


def _steps(energy: float, step: int) -> int:
    """Return an energy in Wh as a number of steps, after its rollovers."""
    # 1e-6 Wh corrects the rounding error of many additions.
    return int((energy + 1e-6) % OVERFLOW_WH // step)
