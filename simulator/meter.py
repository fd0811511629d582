"""A simulated COUNTIS: counts what flows through it and serves its table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
import time
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice

from .counters import TARIFF_COUNT, Counters
from .load import Constant, Load, Phases
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
    text,
    unsigned,
    unsigned_16,
    wide_text,
)

READ = 3
WRITE = 6
WRITE_MULTIPLE = 16
FUNCTIONS = {READ, WRITE, WRITE_MULTIPLE}

DAY_SECONDS = 86_400
YEARS = range(2000, 2100)
OVERFLOW_WH = 999_999_999 * 10
MEGA = 1_000_000
ALL_TARIFFS = 0xFFFF
ACTIONS = (0xA1, 0xB2)  # to store the configuration, and to start anew
PARTIAL_ENERGIES = 0x20
PARTIAL_BITS = {
    0x0001: "partial_consumed",
    0x0002: "partial_reactive",
    0x0008: "partial_produced",
}


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
        registers = self._registers(block) | self.override
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
            accepted = address == CLOCK and self._set_clock(values)
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

    def _registers(self, block: TableBlock) -> dict[int, int]:
        builders: dict[int, Callable[[], dict[int, int]]] = {
            IDENTIFICATION: self._identification,
            COMMUNICATION_BOARD: self._communication_board,
            NETWORK: lambda: self.settings,
            CLOCK: self._clock_registers,
            METROLOGY: self._metrology,
            METROLOGY_16_BIT: self._metrology_in_16_bits,
            CURRENTS: lambda: measured_currents(self._phases()),
            ENERGIES: lambda: self._energies(ENERGIES, 1000),
            TARIFFS: lambda: self._tariffs(TARIFFS, 1000),
            ENERGIES_UNIT_100: lambda: self._energies(ENERGIES_UNIT_100, 10),
            TARIFFS_UNIT_100: lambda: self._tariffs(TARIFFS_UNIT_100, 10),
            OVERFLOW: self._overflow,
            PERIODS: lambda: self._periods(PERIODS, 1000),
            PERIODS_UNIT_100: lambda: self._periods(PERIODS_UNIT_100, 10),
            MID_STATUS: lambda: {40544: 0, 40545: 0},
            COM_BOARD_PRODUCT: lambda: {40608: 1},
        }
        return builders[block.start]()

    def _identification(self) -> dict[int, int]:
        year_week, site_line, order = self.serial or (0x1438, 0x0120, self.address)
        return {
            **wide_text(50000, "SOCO"),
            50004: 100,
            50005: 33,
            50006: 200,
            50007: 102,
            50008: year_week,
            50009: site_line,
            50010: order,
            **unsigned(50011, 0),
            **dict.fromkeys(range(50013, 50017), 0),
            50018: 1,
            50019: 2,
            **text(50030, "880100", 4),
            **text(50042, "SOCOMEC" if self.model else "", 8),
            **text(50050, self.model, 8),
            **text(50058, self.model, 8),
        }

    def _communication_board(self) -> dict[int, int]:
        return {
            **dict.fromkeys(range(38912, 38916), 1),
            38916: 17,
            38917: 8,
            38918: 2017,
            **text(38919, "880110", 4),
        }

    def _clock_registers(self) -> dict[int, int]:
        now = self._time(self.clock())
        parts = (now.day, now.month, now.year, now.hour, now.minute, now.second)
        return {CLOCK + index: part for index, part in enumerate(parts)}

    def _phases(self) -> Phases:
        return self.load.phases(int(self.clock()))

    def _metrology(self) -> dict[int, int]:
        return measured(self._phases(), 50 + int(self.clock()) % 3 / 100)

    def _metrology_in_16_bits(self) -> dict[int, int]:
        counters = self.count()
        totals = (counters.consumed, counters.reactive, counters.produced)
        registers = measured_in_16_bits(self._phases())
        for index, total in enumerate(totals):
            registers |= unsigned_16(METROLOGY_16_BIT + 31 + index, _steps(total, MEGA))
        return registers

    def _energies(self, start: int, step: int) -> dict[int, int]:
        counters = self.count()
        return {
            **unsigned(start + 2, _steps(counters.consumed, step)),
            **unsigned(start + 4, _steps(counters.reactive, step)),
            **unsigned(start + 8, _steps(counters.produced, step)),
            **unsigned(start + 12, _steps(counters.partial_consumed, step)),
            **unsigned(start + 14, _steps(counters.partial_reactive, step)),
            **unsigned(start + 18, _steps(counters.partial_produced, step)),
        }

    def _tariffs(self, start: int, step: int) -> dict[int, int]:
        counters = self.count()
        registers = {start: TARIFF_COUNT, start + 1: counters.tariff}
        for index, energy in enumerate(counters.tariffs):
            registers |= unsigned(start + 2 + 2 * index, _steps(energy, step))
        return registers

    def _periods(self, start: int, step: int) -> dict[int, int]:
        counters = self.count()
        registers: dict[int, int] = {}
        for index, period in enumerate(counters.periods):
            energies = (
                period.consumed_before,
                period.produced_before,
                counters.consumed - period.consumed_at_start,
                counters.produced - period.produced_at_start,
            )
            for place, energy in enumerate(energies):
                registers |= unsigned(
                    start + 8 * index + 2 * place, _steps(energy, step)
                )
        return registers

    def _overflow(self) -> dict[int, int]:
        counters = self.count()
        totals = (counters.consumed, counters.reactive, counters.produced)
        return {
            **unsigned(36864, 999_999_999),
            **{
                36866 + index: int(total // OVERFLOW_WH)
                for index, total in enumerate(totals)
            },
            **{
                36871 + index: int(energy // OVERFLOW_WH)
                for index, energy in enumerate(counters.tariffs)
            },
        }

    # -- commands ------------------------------------------------------------

    def _commands(self) -> dict[int, Callable[[int], bool]]:
        """Return what each command register does; false refuses the value."""
        commands: dict[int, Callable[[int], bool]] = {
            ACTION: lambda action: action in ACTIONS,
            VALUE_RESET + 2: self._reset_partial_counters,
            VALUE_RESET + 4: self._reset_tariffs,
            SET_TARIFF + 1: self._set_tariff,
        }
        if self.has_partial_energies_reset:
            commands[PARTIAL_ENERGIES_RESET] = self._reset_partial_energies
        return commands

    def _set(self, address: int, values: list[int]) -> bool:
        wanted = dict(enumerate(values, address))
        if any(
            value not in NETWORK_SETTINGS.get(at, ()) for at, value in wanted.items()
        ):
            return False
        self.settings |= wanted
        return True

    def _reset_partial_counters(self, bits: int) -> bool:
        """Reset what is asked for; bits of other things are a mistake here."""
        if not bits or bits & ~sum(PARTIAL_BITS):
            return False
        for bit, name in PARTIAL_BITS.items():
            if bits & bit:
                setattr(self.counters, name, 0.0)
        return True

    def _reset_partial_energies(self, value: int) -> bool:
        return value == PARTIAL_ENERGIES and self._reset_partial_counters(
            sum(PARTIAL_BITS)
        )

    def _reset_tariffs(self, bits: int) -> bool:
        if bits != ALL_TARIFFS and (not bits or bits >> TARIFF_COUNT):
            return False
        for index in range(TARIFF_COUNT):
            if bits >> index & 1:
                self.counters.tariffs[index] = 0.0
        return True

    def _set_tariff(self, tariff: int) -> bool:
        if not 1 <= tariff <= TARIFF_COUNT:
            return False
        self.counters.tariff = tariff
        return True

    def _set_clock(self, values: list[int]) -> bool:
        try:
            day, month, year, hour, minute, second = values
            if year not in YEARS:
                return False
            wanted = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            return False
        self._clock_offset = wanted.timestamp() - self.clock()
        return True


def _steps(energy: float, step: int) -> int:
    """Return a counter as its register has it, wrapped where the display does."""
    # Thousands of additions leave a whole number a little short of itself.
    return int((energy + 1e-6) % OVERFLOW_WH // step)


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
