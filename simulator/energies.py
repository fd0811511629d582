"""The registers of the counters.

| Counters | Steps of 1 kWh | Steps of 10 Wh |
|---|---|---|
| totals and partial counters | block 50768 | block 50944 |
| tariff counters | block 50848 | block 51200 |
| energies of days, weeks and months | block 36896 | block 36928 |

Block 51280 contains the totals in MWh and Mvarh. Block 36864 contains the number of
rollovers of each total and tariff counter. Block 32768 contains a partial counter for
each tariff: the complete kWh, and the rest in steps of 0.1 Wh.
"""

from .counters import COUNTER_RANGE_WH, TABLE_TARIFF_COUNT, Counters
from .table import (
    METROLOGY_16_BIT,
    NOT_AVAILABLE,
    OVERFLOW,
    PARTIAL_TARIFFS,
    unsigned,
    unsigned_16,
)

MWH = 1_000_000  # Wh
# Wh; exceeds the rounding error of 10 000 additions to a counter below 1 MWh.
ROUNDING_MARGIN = 1e-6
REGISTERS_PER_PERIOD = 8  # number of registers of one day, week or month


def energies(start: int, step: int, counters: Counters) -> dict[int, int]:
    """Return the registers of block 50768 or 50944. `step` is in Wh or varh."""
    return {
        **unsigned(start + 2, _steps(counters.consumed, step)),
        **unsigned(start + 4, _steps(counters.reactive, step)),
        **unsigned(start + 8, _steps(counters.produced, step)),
        **unsigned(start + 12, _steps(counters.partial_consumed, step)),
        **unsigned(start + 14, _steps(counters.partial_reactive, step)),
        **unsigned(start + 18, _steps(counters.partial_produced, step)),
    }


def energies_16_bit(counters: Counters) -> dict[int, int]:
    """Return the registers of the totals in block 51280, in MWh and Mvarh."""
    totals = (counters.consumed, counters.reactive, counters.produced)
    registers: dict[int, int] = {}
    for index, total in enumerate(totals):
        registers |= unsigned_16(METROLOGY_16_BIT + 31 + index, _steps(total, MWH))
    return registers


def tariffs(start: int, step: int, counters: Counters, count: int) -> dict[int, int]:
    """Return the registers of block 50848 or 51200. `step` is in Wh.

    `count` is the number of tariffs of the meter. If the meter has fewer than four, the
    registers of the missing tariffs read "not available".
    """
    registers = {start: count, start + 1: counters.tariff}
    for index in range(max(count, TABLE_TARIFF_COUNT)):
        value = NOT_AVAILABLE
        if index < count:
            value = _steps(counters.in_tariff(index + 1), step)
        registers |= unsigned(start + 2 + 2 * index, value)
    return registers


def partial_tariffs(counters: Counters, count: int) -> dict[int, int]:
    """Return the registers of block 32768 for `count` tariffs."""
    registers: dict[int, int] = {}
    for index in range(count):
        energy = counters.in_partial_tariff(index + 1)
        address = PARTIAL_TARIFFS + 3 * index
        residual = (energy + ROUNDING_MARGIN) % 1000 * 10  # in steps of 0.1 Wh
        registers |= unsigned(address, _steps(energy, 1000))
        registers |= unsigned_16(address + 2, residual)
    return registers


def periods(start: int, step: int, counters: Counters) -> dict[int, int]:
    """Return the registers of block 36896 or 36928. `step` is in Wh.

    For the day, the week and the month, the block has four energies each: consumed and
    produced energy of the previous period, then of the current period.
    """
    registers: dict[int, int] = {}
    for index, period in enumerate(counters.periods):
        values = (
            period.consumed_before,
            period.produced_before,
            counters.consumed - period.consumed_at_start,
            counters.produced - period.produced_at_start,
        )
        for position, energy in enumerate(values):
            address = start + REGISTERS_PER_PERIOD * index + 2 * position
            registers |= unsigned(address, _steps(energy, step))
    return registers


def overflows(counters: Counters, tariff_count: int) -> dict[int, int]:
    """Return the registers of block 36864.

    The first two contain the range of a counter in steps of 10 Wh. The others contain
    numbers of rollovers: of each total, then of four tariffs. If the meter has fewer
    than four, the registers of the missing tariffs read "not available".
    """
    totals = (counters.consumed, counters.reactive, counters.produced)
    registers = {
        **unsigned(OVERFLOW, COUNTER_RANGE_WH // 10),
        **{
            OVERFLOW + 2 + index: int(total // COUNTER_RANGE_WH)
            for index, total in enumerate(totals)
        },
    }
    for index in range(TABLE_TARIFF_COUNT):
        rollovers = NOT_AVAILABLE
        if index < tariff_count:
            rollovers = int(counters.in_tariff(index + 1) // COUNTER_RANGE_WH)
        registers |= unsigned_16(OVERFLOW + 7 + index, rollovers)
    return registers


def _steps(energy: float, step: int) -> int:
    """Return an energy in Wh or varh as a number of complete steps.

    `step` is in the unit of the energy. The energy rolls over to 0 at COUNTER_RANGE_WH.
    """
    # Without ROUNDING_MARGIN, a sum that is slightly too small would lose a whole step.
    return int((energy + ROUNDING_MARGIN) % COUNTER_RANGE_WH // step)
