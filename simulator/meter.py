"""A simulated COUNTIS: counts what flows through it and serves its table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
import time
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

from .commands import (
    reset_partial_counters,
    reset_partial_energies,
    reset_tariffs,
    set_tariff,
)
from .counters import TARIFF_COUNT, Counters
from .energies import energies, energies_in_16_bits, overflows, periods, tariffs
from .identity import communication_board, identification
from .load import Constant, Load, Phases
from .meter_clock import shown, understood
from .metrology import measured, measured_currents, measured_in_16_bits
from .table import (
    ACTION,
    BLOCKS,
    CLOCK,
    COM_BOARD_PRODUCT,
    COMMUNICATION_BOARD,
    CURRENTS,
    ENERGIES,
    ENERGIES_UNIT_100,
    IDENTIFICATION,
    METROLOGY,
    METROLOGY_16_BIT,
    MID_STATUS,
    NETWORK,
    NETWORK_SETTINGS,
    OVERFLOW,
    PARTIAL_ENERGIES_RESET,
    PERIODS,
    PERIODS_UNIT_100,
    RESERVED,
    SET_TARIFF,
    TARIFFS,
    TARIFFS_UNIT_100,
    VALUE_RESET,
    Kind,
    TableBlock,
)

READ = 3
WRITE = 6
WRITE_MULTIPLE = 16
FUNCTIONS = {READ, WRITE, WRITE_MULTIPLE}

DAY_SECONDS = 86_400
ACTIONS = (0xA1, 0xB2)  # to store the configuration, and to start anew


@dataclass(kw_only=True)
class Meter:
    """One meter on a line. Everything may be changed while it runs."""

    address: int = 1
    load: Load = field(default_factory=Constant)
    clock: Callable[[], float] = time.time
    """Seconds since 1970, as the meter's energy is counted by."""
    counters: Counters = field(default_factory=Counters)
    model: str = "Countis E33"
    serial: tuple[int, int, int] | None = None
    """Year and week, site and line, order; one that fits the address if None."""

    silent: bool = False
    exception: int | None = None
    """Answers everything with this exception code."""
    refuses: set[int] = field(default_factory=set)
    """Starts of blocks that are refused with exception 2."""
    blank: set[int] = field(default_factory=set)
    """Starts of blocks that read "not available" all over."""
    starting: bool = False
    """Answers every read with zeros, as while it is starting up."""
    refuses_reserved: bool = False
    """Refuses a read that touches a reserved register."""
    refuses_functions: set[int] = field(default_factory=set)
    refuses_commands: set[int] = field(default_factory=set)
    """Registers whose writes are refused with exception 2."""
    ignores_commands: set[int] = field(default_factory=set)
    """Registers whose writes are acknowledged and not carried out."""
    has_partial_energies_reset: bool = False
    """Knows the command 40512, as an E1x or E2x does."""
    tariff_count: int = TARIFF_COUNT
    """How many tariffs it counts in."""
    clock_has_short_year: bool = False
    """Its clock shows and takes years of two digits."""
    override: dict[int, int] = field(default_factory=dict)
    """Registers that read something else than they should."""

    settings: dict[int, int] = field(
        default_factory=lambda: {57344: 5, 57345: 5, 57346: 5, 57355: 600}
    )
    """Block 57344."""
    writes: list[tuple[int, list[int]]] = field(default_factory=list)
    """What was written and accepted, for a test to look at."""

    def __post_init__(self) -> None:
        """Start counting now."""
        self._counted_until = int(self.clock())
        self._clock_offset = 0.0

    def count(self) -> Counters:
        """Count up to now, second by second, and return the counters."""
        now = int(self.clock())
        self.counters.turn_to(self._today())
        while self._counted_until < now:
            midnight = self._counted_until + DAY_SECONDS - self._second_of_day()
            self._count(min(now, midnight))
            self.counters.turn_to(self._today())
        return self.counters

    def _count(self, until: int) -> None:
        seen: Phases | None = None
        energies = (0.0, 0.0, 0.0)
        for second in range(self._counted_until, until):
            phases = self.load.phases(second)
            if phases is not seen:
                seen = phases
                active = sum(phase.watts for phase in phases) / 3600
                reactive = sum(phase.reactive for phase in phases) / 3600
                energies = (max(active, 0), max(-active, 0), max(reactive, 0))
            self.counters.add(*energies)
        self._counted_until = until

    def _time(self, seconds: float) -> datetime:
        """Return what the meter's own clock shows at this moment."""
        return datetime.fromtimestamp(seconds + self._clock_offset, UTC)

    def _today(self) -> date:
        return self._time(self._counted_until).date()

    def _second_of_day(self) -> int:
        return int(self._counted_until + self._clock_offset) % DAY_SECONDS

    def refusal(self, function: int) -> ExcCodes | None:
        """Return the exception that refuses this function, whatever it is about."""
        if self.exception is not None:
            return ExcCodes(self.exception)
        if function not in FUNCTIONS or function in self.refuses_functions:
            return ExcCodes.ILLEGAL_FUNCTION
        return None

    def read(self, address: int, count: int) -> list[int] | ExcCodes:
        """Return registers of one block, or the exception that refuses them."""
        for block in BLOCKS:
            if block.holds(address, count):
                break
        else:
            return ExcCodes.ILLEGAL_ADDRESS
        if block.kind is Kind.COMMANDS or block.start in self.refuses:
            return ExcCodes.ILLEGAL_ADDRESS
        addresses = range(address, address + count)
        if self.starting:
            return [0] * count
        if block.start in self.blank:
            return [RESERVED] * count
        registers = self.registers(block) | self.override
        if self.refuses_reserved and not registers.keys() >= set(addresses):
            return ExcCodes.ILLEGAL_ADDRESS
        return [registers.get(address, RESERVED) for address in addresses]

    def write(self, address: int, values: list[int]) -> ExcCodes | None:
        """Carry out a command or change a setting, or refuse it."""
        if address in self.refuses_commands:
            return ExcCodes.ILLEGAL_ADDRESS
        self.count()
        if address in self.ignores_commands:
            accepted = True
        elif CLOCK <= address < CLOCK + 6:
            accepted = address == CLOCK and self.set_clock(values)
        elif address in NETWORK_SETTINGS:
            accepted = self._set(address, values)
        elif (command := self._commands().get(address)) is None or len(values) != 1:
            return ExcCodes.ILLEGAL_ADDRESS
        else:
            accepted = command(values[0])
        if not accepted:
            return ExcCodes.ILLEGAL_VALUE
        self.writes.append((address, values))
        return None

    @property
    def device(self) -> SimDevice:
        """The meter as pymodbus serves it: every register leads back here."""
        first = BLOCKS[0].start
        last = first
        for block in BLOCKS:
            first = min(first, block.start)
            last = max(last, block.start + block.words)
        return SimDevice(
            id=self.address,
            simdata=[SimData(first, count=last - first, datatype=DataType.REGISTERS)],
            action=partial(_serve, self),
        )

    # -- registers -----------------------------------------------------------

    def registers(self, block: TableBlock) -> dict[int, int]:
        """Return what stands in a block now, without what it is told to play."""
        builders: dict[int, Callable[[], dict[int, int]]] = {
            IDENTIFICATION: lambda: identification(
                self.model, self.serial or (0x1438, 0x0120, self.address)
            ),
            COMMUNICATION_BOARD: communication_board,
            NETWORK: lambda: self.settings,
            CLOCK: lambda: shown(
                self._time(self.clock()), short_year=self.clock_has_short_year
            ),
            METROLOGY: lambda: measured(
                self._phases(), 50 + int(self.clock()) % 3 / 100
            ),
            METROLOGY_16_BIT: lambda: (
                measured_in_16_bits(self._phases()) | energies_in_16_bits(self.count())
            ),
            CURRENTS: lambda: measured_currents(self._phases()),
            ENERGIES: lambda: energies(ENERGIES, 1000, self.count()),
            TARIFFS: lambda: tariffs(TARIFFS, 1000, self.count(), self.tariff_count),
            ENERGIES_UNIT_100: lambda: energies(ENERGIES_UNIT_100, 10, self.count()),
            TARIFFS_UNIT_100: lambda: tariffs(
                TARIFFS_UNIT_100, 10, self.count(), self.tariff_count
            ),
            OVERFLOW: lambda: overflows(self.count(), self.tariff_count),
            PERIODS: lambda: periods(PERIODS, 1000, self.count()),
            PERIODS_UNIT_100: lambda: periods(PERIODS_UNIT_100, 10, self.count()),
            MID_STATUS: lambda: {40544: 0, 40545: 0},
            COM_BOARD_PRODUCT: lambda: {40608: 1},
        }
        return builders[block.start]()

    def _phases(self) -> Phases:
        return self.load.phases(int(self.clock()))

    # -- commands ------------------------------------------------------------

    def _commands(self) -> dict[int, Callable[[int], bool]]:
        """Return what each command register does; false refuses the value."""
        counters, count = self.counters, self.tariff_count
        commands: dict[int, Callable[[int], bool]] = {
            ACTION: lambda action: action in ACTIONS,
            VALUE_RESET + 2: partial(reset_partial_counters, counters),
            VALUE_RESET + 4: partial(reset_tariffs, counters, count),
            SET_TARIFF + 1: partial(set_tariff, counters, count),
        }
        if self.has_partial_energies_reset:
            commands[PARTIAL_ENERGIES_RESET] = partial(reset_partial_energies, counters)
        return commands

    def _set(self, address: int, values: list[int]) -> bool:
        wanted = dict(enumerate(values, address))
        if any(
            value not in NETWORK_SETTINGS.get(at, ()) for at, value in wanted.items()
        ):
            return False
        self.settings |= wanted
        return True

    def set_clock(self, values: Sequence[int]) -> bool:
        """Have the clock go on from what these registers of block 57600 show."""
        wanted = understood(values, short_year=self.clock_has_short_year)
        if wanted is None:
            return False
        self._clock_offset = wanted.timestamp() - self.clock()
        return True


async def _serve(
    meter: Meter,
    function: int,
    start: int,
    address: int,
    count: int,
    registers: list[int],
    values: Any,
) -> ExcCodes | None:
    """Answer one request, as pymodbus passes it on."""
    if meter.silent:
        # This is a broadcast, to which nobody answers anyway.
        return ExcCodes.GATEWAY_NO_RESPONSE
    if (refusal := meter.refusal(function)) is not None:
        return refusal
    if function == READ:
        words = meter.read(address, count)
        if isinstance(words, ExcCodes):
            return words
        registers[address - start : address - start + count] = words
        return None
    # Without values, the register is read back for the answer to a write.
    return None if values is None else meter.write(address, list(values))
