"""Plays the meter of a user from its diagnostics.

What was measured stays as it was; what was counted goes on from there. Whatever
else a simulated meter would show otherwise is shown as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
import time

from .counters import OVERFLOW_WH, TARIFF_COUNT, Counters
from .diagnostics import Diagnostics
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
    PERIODS,
    PERIODS_UNIT_100,
    RESERVED,
    TARIFFS,
    TARIFFS_UNIT_100,
    Kind,
    TableBlock,
)

# The blocks of a variant by its name; of two, the one in whole kWh is the second.
BLOCKS_OF = {
    "identity": (IDENTIFICATION,),
    "measurements": (METROLOGY,),
    "energies": (ENERGIES_UNIT_100, ENERGIES),
    "tariffs": (TARIFFS_UNIT_100, TARIFFS),
    "periods": (PERIODS_UNIT_100, PERIODS),
    "overflows": (OVERFLOW,),
    "transformer": (NETWORK,),
    "clock": (CLOCK,),
}
STEPS_WH = (10, 1000)

# Where each counter stands in its block, and in block 36864 how often it began anew.
PARTIAL_PLACES = {
    "partial_consumed": 12,
    "partial_reactive": 14,
    "partial_produced": 18,
}
TOTAL_PLACES = {"consumed": (2, 2), "reactive": (4, 3), "produced": (8, 4)}
TARIFF_PLACE, TARIFF_OVERFLOW_PLACE = 2, 7
PERIOD_WORDS = 8
MOST_TARIFFS = 8

# Where voltage, active and reactive power of the first phase stand.
VOLTS, WATTS, REACTIVE = METROLOGY + 8, METROLOGY + 32, METROLOGY + 38
FIRST_LONG_YEAR = 100


def played(diagnostics: Diagnostics, clock: Callable[[], float] = time.time) -> Meter:
    """Return the meter that the diagnostics are of, as it goes on from there."""
    return _Player(diagnostics).meter(clock)


@dataclass(frozen=True)
class _Player:
    file: Diagnostics

    def meter(self, clock: Callable[[], float]) -> Meter:
        now = clock()
        year = self.file.word(CLOCK + 2)
        meter = Meter(
            address=self.file.address,
            clock=lambda: now,
            load=self._load(),
            counters=self._counters(),
            refuses=self._refused(),
            refuses_reserved=self.file.is_split,
            tariff_count=self._tariff_count(),
            clock_has_short_year=year is not None and year < FIRST_LONG_YEAR,
        )
        for address in NETWORK_SETTINGS:
            if address in self.file.registers:
                meter.settings[address] = self.file.registers[address]
        clock_block = range(CLOCK, CLOCK + 6)
        runs = meter.set_clock(
            [self.file.registers.get(address, RESERVED) for address in clock_block]
        )
        self._set_periods(meter)
        for block in BLOCKS:
            if block.kind is Kind.COMMANDS or (runs and block.start == CLOCK):
                continue
            meter.override |= self._unlike(meter, block)
        meter.clock = clock
        return meter

    def _unlike(self, meter: Meter, block: TableBlock) -> dict[int, int]:
        """Return what a block showed that the simulated meter does not."""
        shown = {} if block.start == METROLOGY else meter.registers(block)
        return {
            address: word
            for address in range(block.start, block.start + block.words)
            if (word := self.file.registers.get(address)) is not None
            and word != shown.get(address)
        }

    def _refused(self) -> set[int]:
        """Return the starts of the blocks that the meter does not serve."""
        refused: set[int] = set()
        for name, starts in BLOCKS_OF.items():
            if not self.file.is_served(name):
                refused.update(starts)
            elif self.file.is_in_kwh(name):
                refused.add(starts[0])
        return refused

    def _load(self) -> Constant:
        l1, l2, l3 = (
            Phase(
                watts=(self.file.signed(WATTS + 2 * index) or 0) * 10,
                reactive=(self.file.signed(REACTIVE + 2 * index) or 0) * 10,
                volts=(self.file.unsigned(VOLTS + 2 * index) or 0) / 100,
            )
            for index in range(3)
        )
        return Constant(l1, l2, l3)

    def _counters(self) -> Counters:
        counters = Counters(
            tariffs=[
                self._total(
                    "tariffs", TARIFF_PLACE + 2 * index, TARIFF_OVERFLOW_PLACE + index
                )
                for index in range(TARIFF_COUNT)
            ]
        )
        for name, (place, overflow_place) in TOTAL_PLACES.items():
            setattr(counters, name, self._total("energies", place, overflow_place))
        for name, place in PARTIAL_PLACES.items():
            setattr(counters, name, self._energy("energies", place))
        counters.tariff = self._tariff_word(1, self._tariff_count(), counters.tariff)
        return counters

    def _tariff_count(self) -> int:
        return self._tariff_word(0, MOST_TARIFFS, TARIFF_COUNT)

    def _tariff_word(self, place: int, greatest: int, usual: int) -> int:
        """Return a register of the tariffs, or what is usual if it makes no sense."""
        for start in BLOCKS_OF["tariffs"]:
            word = self.file.word(start + place)
            if word is not None and 1 <= word <= greatest:
                return word
        return usual

    def _set_periods(self, meter: Meter) -> None:
        """Have the running day, week and month begin where they did."""
        if not self.file.is_served("periods"):
            return
        counters = meter.count()
        for index, period in enumerate(counters.periods):
            consumed_before, produced_before, consumed, produced = (
                self._energy("periods", PERIOD_WORDS * index + 2 * place)
                for place in range(4)
            )
            period.consumed_before = consumed_before
            period.produced_before = produced_before
            period.consumed_at_start = counters.consumed - consumed
            period.produced_at_start = counters.produced - produced

    def _total(self, name: str, place: int, overflow_place: int) -> float:
        """Return a counter in Wh with what it lost when it began anew."""
        times = self.file.word(OVERFLOW + overflow_place) or 0
        return self._energy(name, place) + times * OVERFLOW_WH

    def _energy(self, name: str, place: int) -> float:
        """Return a counter in Wh, from the finer block where there is one."""
        for start, step in zip(BLOCKS_OF[name], STEPS_WH, strict=True):
            if (steps := self.file.unsigned(start + place)) is not None:
                return float(steps * step)
        return 0.0
