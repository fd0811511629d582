"""Simulates the meter of a user from its diagnostics file.

The load is constant, with the powers in the file. The counters and the clock continue
from their values in the file. All other registers in the file keep their values.
"""

from collections.abc import Callable
from dataclasses import dataclass
import time

from .counters import COUNTER_RANGE_WH, TABLE_TARIFF_COUNT, Counters
from .diagnostics import Diagnostics
from .energies import REGISTERS_PER_PERIOD
from .load import Constant, Phase
from .meter import Meter
from .table import (
    BLOCKS,
    CLOCK,
    ENERGIES,
    ENERGIES_UNIT_100,
    IDENTIFICATION,
    METROLOGY,
    NETWORK,
    NETWORK_SETTINGS,
    OVERFLOW,
    PARTIAL_TARIFFS,
    PERIODS,
    PERIODS_UNIT_100,
    RESERVED,
    TARIFFS,
    TARIFFS_UNIT_100,
    Access,
    TableBlock,
)

# The first register address of each block, by the name of the block in the file. If a
# name has two addresses, the block at the first address has steps of 10 Wh (UNIT_100:
# 1/100 kWh), and the block at the second has steps of 1 kWh.
BLOCK_STARTS = {
    "identity": (IDENTIFICATION,),
    "measurements": (METROLOGY,),
    "energies": (ENERGIES_UNIT_100, ENERGIES),
    "tariffs": (TARIFFS_UNIT_100, TARIFFS),
    "partial_tariffs": (PARTIAL_TARIFFS,),
    "periods": (PERIODS_UNIT_100, PERIODS),
    "overflows": (OVERFLOW,),
    "transformer": (NETWORK,),
    "clock": (CLOCK,),
}
STEPS_WH = (10, 1000)  # of the first and the second address in BLOCK_STARTS

# The position of each counter in its block. Position 0 is the first register.
PARTIAL_POSITIONS = {
    "partial_consumed": 12,
    "partial_reactive": 14,
    "partial_produced": 18,
}
# For each total: its position in the energy block, and the position of its number of
# rollovers in the block OVERFLOW.
TOTAL_POSITIONS = {"consumed": (2, 2), "reactive": (4, 3), "produced": (8, 4)}
TARIFF_POSITION, TARIFF_OVERFLOW_POSITION = 2, 7  # of tariff 1; the others follow
HIGHEST_TARIFF_COUNT = 8  # the highest value of register 51200 in the table

# The address of the value of L1. The values of L2 and L3 follow. Each value has two
# registers.
VOLTS_ADDRESS = METROLOGY + 8
WATTS_ADDRESS = METROLOGY + 32
REACTIVE_ADDRESS = METROLOGY + 38
SHORT_YEAR_LIMIT = 100  # a lower value of the year register is a year of two digits


def meter_from_diagnostics(
    diagnostics: Diagnostics, true_time: Callable[[], float] = time.time
) -> Meter:
    """Return a simulated meter that continues from the diagnostics.

    `true_time` returns seconds since 1970.
    """
    return _MeterBuilder(diagnostics).meter(true_time)


@dataclass(frozen=True)
class _MeterBuilder:
    """A builder of the simulated meter of a diagnostics file."""

    file: Diagnostics

    def meter(self, true_time: Callable[[], float]) -> Meter:
        # Until the meter has the values of the file, its time stands still, so that it
        # counts no energy.
        now = true_time()
        year = self.file.word(CLOCK + 2)
        is_e1x_or_e2x = self.file.supports("partial_tariffs")
        meter = Meter(
            unit_id=self.file.unit_id,
            true_time=lambda: now,
            load=self._load(),
            counters=self._counters(),
            refused_blocks=self._refused_blocks(),
            refuses_reserved=self.file.refuses_reserved,
            has_partial_tariffs=is_e1x_or_e2x,
            has_partial_energies_reset=is_e1x_or_e2x,
            tariff_count=self._tariff_count(),
            clock_has_short_year=year is not None and year < SHORT_YEAR_LIMIT,
        )
        for address in NETWORK_SETTINGS:
            if address in self.file.registers:
                meter.settings[address] = self.file.registers[address]
        clock_block = range(CLOCK, CLOCK + 6)
        clock_is_set = meter.set_clock(
            [self.file.registers.get(address, RESERVED) for address in clock_block]
        )
        self._set_periods(meter)
        for block in BLOCKS:
            # Command registers cannot be read. If the clock was set, an override of its
            # registers would stop the clock.
            if block.access is Access.WRITE or (clock_is_set and block.start == CLOCK):
                continue
            meter.override |= self._differences(meter, block)
        meter.true_time = true_time
        return meter

    def _differences(self, meter: Meter, block: TableBlock) -> dict[int, int]:
        """Return the registers of a block that differ between file and simulated meter.

        The returned values are those of the file. For the measurements, return all
        registers that the file contains, even if they are equal now: the simulated
        frequency changes, so without an override it would later differ from the file.
        """
        simulated = {} if block.start == METROLOGY else meter.registers(block)
        return {
            address: word
            for address in range(block.start, block.start + block.words)
            if (word := self.file.registers.get(address)) is not None
            and word != simulated.get(address)
        }

    def _refused_blocks(self) -> set[int]:
        """Return the first register addresses of the blocks that the meter lacks.

        If a block in the file has steps of 1 kWh, the meter lacks the same block with
        steps of 10 Wh.
        """
        refused: set[int] = set()
        for name, starts in BLOCK_STARTS.items():
            if not self.file.supports(name):
                refused.update(starts)
            elif self.file.is_in_kwh(name):
                refused.add(starts[0])
        return refused

    def _load(self) -> Constant:
        # The registers have steps of 10 W, 10 var and 0.01 V.
        l1, l2, l3 = (
            Phase(
                watts=(self.file.signed(WATTS_ADDRESS + 2 * index) or 0) * 10,
                reactive=(self.file.signed(REACTIVE_ADDRESS + 2 * index) or 0) * 10,
                volts=(self.file.unsigned(VOLTS_ADDRESS + 2 * index) or 0) / 100,
            )
            for index in range(3)
        )
        return Constant(l1, l2, l3)

    def _counters(self) -> Counters:
        counters = Counters(
            tariffs=[
                self._counter(
                    "tariffs",
                    TARIFF_POSITION + 2 * index,
                    TARIFF_OVERFLOW_POSITION + index,
                )
                for index in range(TABLE_TARIFF_COUNT)
            ]
        )
        for name, (position, overflow_position) in TOTAL_POSITIONS.items():
            setattr(
                counters, name, self._counter("energies", position, overflow_position)
            )
        for name, position in PARTIAL_POSITIONS.items():
            setattr(counters, name, self._energy("energies", position))
        for index in range(TABLE_TARIFF_COUNT):
            # Two registers with the complete kWh, then one with the rest in 0.1 Wh.
            address = PARTIAL_TARIFFS + 3 * index
            counters.partial_tariffs[index] = (
                1000 * (self.file.unsigned(address) or 0)
                + (self.file.word(address + 2) or 0) / 10
            )
        counters.tariff = self._tariff_word(
            position=1, greatest=self._tariff_count(), default=counters.tariff
        )
        return counters

    def _tariff_count(self) -> int:
        return self._tariff_word(
            position=0, greatest=HIGHEST_TARIFF_COUNT, default=TABLE_TARIFF_COUNT
        )

    def _tariff_word(self, position: int, greatest: int, default: int) -> int:
        """Return a register of the tariff block.

        Position 0 contains the number of tariffs, position 1 the current tariff. If the
        file contains no value from 1 to `greatest`, return the default.
        """
        for start in BLOCK_STARTS["tariffs"]:
            word = self.file.word(start + position)
            if word is not None and 1 <= word <= greatest:
                return word
        return default

    def _set_periods(self, meter: Meter) -> None:
        """Set the energies of the current and the previous day, week and month."""
        if not self.file.supports("periods"):
            return
        counters = meter.count()
        for index, period in enumerate(counters.periods):
            previous_consumed, previous_produced, current_consumed, current_produced = (
                self._energy("periods", REGISTERS_PER_PERIOD * index + 2 * position)
                for position in range(4)
            )
            period.consumed_before = previous_consumed
            period.produced_before = previous_produced
            period.consumed_at_start = counters.consumed - current_consumed
            period.produced_at_start = counters.produced - current_produced

    def _counter(self, name: str, position: int, overflow_position: int) -> float:
        """Return a total or tariff counter in Wh or varh, including its rollovers."""
        rollovers = self.file.word(OVERFLOW + overflow_position) or 0
        return self._energy(name, position) + rollovers * COUNTER_RANGE_WH

    def _energy(self, name: str, position: int) -> float:
        """Return the energy at `position` in the block `name`, in Wh or varh.

        If the file has both resolutions, use the higher one. If the file has no value,
        return 0.
        """
        for start, step in zip(BLOCK_STARTS[name], STEPS_WH, strict=True):
            if (steps := self.file.unsigned(start + position)) is not None:
                return float(steps * step)
        return 0.0
