"""A simulated COUNTIS meter: its load, counters, clock and registers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
import time

from pymodbus.constants import ExcCodes

from .commands import (
    press_reset,
    reset_partial_counters,
    reset_partial_energies,
    reset_tariffs,
    set_tariff,
)
from .counters import TABLE_TARIFF_COUNT, Counters
from .energies import (
    energies,
    energies_16_bit,
    overflows,
    partial_tariffs,
    periods,
    tariffs,
)
from .identity import communication_board, identification
from .load import Constant, Load, Phases
from .load_curve import LoadCurve
from .meter_clock import clock_registers, clock_time
from .metrology import measured_currents, measurements, measurements_16_bit
from .table import (
    ACTION,
    CLOCK,
    COM_BOARD_PRODUCT,
    COMMUNICATION_BOARD,
    CT_PRIMARY,
    CT_SECONDARY,
    CURRENTS,
    ENERGIES,
    ENERGIES_UNIT_100,
    IDENTIFICATION,
    INTEGRATION_PERIOD,
    LOAD_CURVE,
    LOAD_CURVE_COMMAND,
    METROLOGY,
    METROLOGY_16_BIT,
    MID_STATUS,
    NETWORK,
    NETWORK_SETTINGS,
    NETWORK_TYPE,
    OVERFLOW,
    PARTIAL_ENERGIES_RESET,
    PARTIAL_TARIFFS,
    PERIODS,
    PERIODS_UNIT_100,
    RESERVED,
    SET_TARIFF,
    TARIFFS,
    TARIFFS_UNIT_100,
    VALUE_RESET,
    Access,
    TableBlock,
    block_of,
)

# Modbus function codes.
READ = 3
WRITE = 6
WRITE_MULTIPLE = 16
FUNCTIONS = {READ, WRITE, WRITE_MULTIPLE}

UNIT_IDS = range(1, 256)  # as in the menu of the meter

# The values that the command register 57856 accepts. In the simulation, they have no
# effect.
ACTIONS = (0xA1, 0xB2)

DEFAULT_INTEGRATION_PERIOD = 600  # s; of a new meter; our choice


@dataclass(kw_only=True)
class Meter:
    """A simulated meter on a line. Its fields may be set while the line runs."""

    unit_id: int = 1
    load: Load = field(default_factory=Constant)
    true_time: Callable[[], float] = time.time
    """Returns the true time in s since 1970. The load is calculated for this time.

    The meter's own clock may show another time.
    """
    counters: Counters = field(default_factory=Counters)
    load_curve: LoadCurve | None = field(default_factory=LoadCurve)
    """None for a meter without a load curve, such as an E1x or E2x."""
    model: str = "Countis E33"
    serial: tuple[int, int, int] | None = None
    """The registers 50008 (year and week), 50009 (site and line), 50010 (order number).

    If None, the meter has a default serial number, with the unit ID as order number:
    1438012000001 for unit ID 1.
    """

    offline: bool = False
    """Whether the meter receives no requests and sends no responses."""
    exception_code: int | None = None
    """Exception code of the response to every request. None for normal responses."""
    refused_blocks: set[int] = field(default_factory=set)
    """First register addresses of blocks whose reads are refused with exception 2."""
    blank_blocks: set[int] = field(default_factory=set)
    """First register addresses of blocks in which all registers read RESERVED."""
    starting: bool = False
    """Whether the meter is starting up. All registers then read 0."""
    refuses_reserved: bool = False
    """Whether the meter refuses a read that includes a reserved register."""
    refused_functions: set[int] = field(default_factory=set)
    """Function codes that the meter refuses with exception 1."""
    refused_writes: set[int] = field(default_factory=set)
    """First register addresses of writes that are refused with exception 2."""
    ignored_writes: set[int] = field(default_factory=set)
    """First register addresses of writes that are acknowledged, but not executed."""
    has_partial_energies_reset: bool = False
    """Whether the meter has the command register 40512, as an E1x or E2x does."""
    has_partial_tariffs: bool = False
    """Whether the meter has block 32768, as an E1x or E2x does."""
    tariff_count: int = TABLE_TARIFF_COUNT
    """Number of tariffs: 1 to 8."""
    clock_has_short_year: bool = False
    """Whether the year of the clock has two digits."""
    override: dict[int, int] = field(default_factory=dict)
    """Values by register address that replace the simulated ones."""

    settings: dict[int, int] = field(
        default_factory=lambda: {
            NETWORK_TYPE: 5,  # three phases and neutral
            CT_SECONDARY: 5,  # A
            CT_PRIMARY: 5,  # A
            INTEGRATION_PERIOD: DEFAULT_INTEGRATION_PERIOD,
        }
    )
    """Values of the registers of block 57344 by register address."""
    writes: list[tuple[int, list[int]]] = field(default_factory=list)
    """Register address and values of each write that the meter accepted."""

    def __post_init__(self) -> None:
        """Start to count at the current time."""
        self._counted_until = int(self.true_time())
        # Seconds by which the meter's own clock is ahead of `true_time`.
        self._clock_offset = 0.0

    @property
    def integration_period(self) -> int:
        """Return the integration period of the load curve in seconds.

        If the table does not list the value of the register, return
        DEFAULT_INTEGRATION_PERIOD.
        """
        period = self.settings[INTEGRATION_PERIOD]
        is_valid = period in NETWORK_SETTINGS[INTEGRATION_PERIOD]
        return period if is_valid else DEFAULT_INTEGRATION_PERIOD

    def count(self) -> Counters:
        """Count the energy up to the current time, and return the counters."""
        now = int(self.true_time())
        self.counters.start_periods(self._today())
        while self._counted_until < now:
            # Count at most to the end of the integration period. Each midnight of the
            # meter's clock is such an end, so `start_periods` gets the counters as of
            # midnight.
            start = int(self._counted_until + self._clock_offset)
            period = self.integration_period
            seconds = min(period - start % period, now - self._counted_until)
            consumed = self._count_seconds(seconds)
            if self.load_curve is not None:
                self.load_curve.add(
                    start, seconds, consumed, period, self._clock_offset
                )
            self.counters.start_periods(self._today())
        return self.counters

    def press_reset(self) -> None:
        """Reset the partial counters by the button of the meter."""
        press_reset(self.count())

    def record_past_periods(self, count: int) -> None:
        """Fill the load curve with the last `count` integration periods."""
        if self.load_curve is not None:
            self.load_curve.fill(
                self.load,
                int(self._counted_until + self._clock_offset),
                self.integration_period,
                count,
                self._clock_offset,
            )

    def _count_seconds(self, seconds: int) -> float:
        """Count the energy of the next `seconds` s. Return the consumed part in Wh."""
        before = self.counters.consumed
        times = range(self._counted_until, self._counted_until + seconds)
        # Most loads return the same phases for several seconds, so calculate the
        # energies only if the phases change.
        for phases, equal in groupby(map(self.load.phases, times)):
            active = sum(phase.watts for phase in phases) / 3600
            reactive = sum(phase.reactive for phase in phases) / 3600
            self.counters.add(
                max(active, 0), max(-active, 0), max(reactive, 0), len(list(equal))
            )
        self._counted_until += seconds
        return self.counters.consumed - before

    def _time(self, seconds: float) -> datetime:
        """Return the time on the meter's clock at a true time in s since 1970."""
        return datetime.fromtimestamp(seconds + self._clock_offset, UTC)

    def _today(self) -> date:
        return self._time(self._counted_until).date()

    # -- requests ------------------------------------------------------------

    def refusal(self, function: int) -> ExcCodes | None:
        """Return the exception code for all requests with this function, or None."""
        if self.exception_code is not None:
            return ExcCodes(self.exception_code)
        if function not in FUNCTIONS or function in self.refused_functions:
            return ExcCodes.ILLEGAL_FUNCTION
        return None

    def read(self, address: int, count: int) -> list[int] | ExcCodes:
        """Return the values of `count` registers, or an exception code.

        `address` is the address of the first register. If no block contains all
        registers, the meter refuses the read.
        """
        block = block_of(address, count)
        if (
            block is None
            or block.start in self.refused_blocks
            or not self._can_read(block)
        ):
            return ExcCodes.ILLEGAL_ADDRESS
        addresses = range(address, address + count)
        if self.starting:
            return [0] * count
        if block.start in self.blank_blocks:
            return [RESERVED] * count
        registers = self.registers(block)
        if self.override:
            registers = registers | self.override
        if self.refuses_reserved and not registers.keys() >= set(addresses):
            return ExcCodes.ILLEGAL_ADDRESS
        return [registers.get(address, RESERVED) for address in addresses]

    def _can_read(self, block: TableBlock) -> bool:
        if block.start == LOAD_CURVE:
            return self.load_curve is not None
        if block.start == PARTIAL_TARIFFS:
            return self.has_partial_tariffs
        return block.access is not Access.WRITE

    def write(self, address: int, values: list[int]) -> ExcCodes | None:
        """Write values to consecutive registers from `address` on.

        Return the exception code if the meter refuses the write, else None.
        """
        if address in self.refused_writes:
            return ExcCodes.ILLEGAL_ADDRESS
        self.count()
        if address in self.ignored_writes:
            accepted = True
        elif CLOCK <= address < CLOCK + 6:
            accepted = address == CLOCK and self.set_clock(values)
        elif address in NETWORK_SETTINGS:
            accepted = self._write_settings(address, values)
        elif (command := self._commands().get(address)) is None or len(values) != 1:
            return ExcCodes.ILLEGAL_ADDRESS
        else:
            accepted = command(values[0])
        if not accepted:
            return ExcCodes.ILLEGAL_VALUE
        self.writes.append((address, values))
        return None

    # -- registers -----------------------------------------------------------

    def registers(self, block: TableBlock) -> dict[int, int]:
        """Return the registers of a block by register address, without overrides."""
        builders: dict[int, Callable[[], dict[int, int]]] = {
            IDENTIFICATION: lambda: identification(
                self.model, self.serial or (0x1438, 0x0120, self.unit_id)
            ),
            COMMUNICATION_BOARD: communication_board,
            NETWORK: lambda: self.settings,
            CLOCK: lambda: clock_registers(
                self._time(self.true_time()), short_year=self.clock_has_short_year
            ),
            METROLOGY: lambda: measurements(
                self._phases(),
                50 + int(self.true_time()) % 3 / 100,  # 50.00, 50.01, 50.02 Hz in turn
            ),
            METROLOGY_16_BIT: lambda: (
                measurements_16_bit(self._phases()) | energies_16_bit(self.count())
            ),
            CURRENTS: lambda: measured_currents(self._phases()),
            ENERGIES: lambda: energies(ENERGIES, 1000, self.count()),
            TARIFFS: lambda: tariffs(TARIFFS, 1000, self.count(), self.tariff_count),
            ENERGIES_UNIT_100: lambda: energies(ENERGIES_UNIT_100, 10, self.count()),
            TARIFFS_UNIT_100: lambda: tariffs(
                TARIFFS_UNIT_100, 10, self.count(), self.tariff_count
            ),
            PARTIAL_TARIFFS: lambda: partial_tariffs(self.count(), self.tariff_count),
            OVERFLOW: lambda: overflows(self.count(), self.tariff_count),
            PERIODS: lambda: periods(PERIODS, 1000, self.count()),
            PERIODS_UNIT_100: lambda: periods(PERIODS_UNIT_100, 10, self.count()),
            MID_STATUS: lambda: {40544: 0, 40545: 0},
            COM_BOARD_PRODUCT: lambda: {40608: 1},
            LOAD_CURVE: self._load_curve_registers,
        }
        return builders[block.start]()

    def _phases(self) -> Phases:
        return self.load.phases(int(self.true_time()))

    def _load_curve_registers(self) -> dict[int, int]:
        self.count()
        if self.load_curve is None:
            return {}
        # In a diagnostics file, these currents may be 0 A. Use 1 A instead, to avoid a
        # division by 0.
        primary, secondary = (
            self.settings[address] or 1 for address in (CT_PRIMARY, CT_SECONDARY)
        )
        return self.load_curve.registers(self.integration_period, primary / secondary)

    # -- commands ------------------------------------------------------------

    def _commands(self) -> dict[int, Callable[[int], bool]]:
        """Return a function for each command register.

        The argument of the function is the written value. If the meter refuses the
        value, the function returns False.
        """
        counters, tariff_count = self.counters, self.tariff_count
        commands: dict[int, Callable[[int], bool]] = {
            ACTION: lambda action: action in ACTIONS,
            VALUE_RESET + 2: partial(reset_partial_counters, counters),  # 57890
            VALUE_RESET + 4: partial(reset_tariffs, counters, tariff_count),  # 57892
            SET_TARIFF + 1: partial(set_tariff, counters, tariff_count),  # 40481
        }
        if self.has_partial_energies_reset:
            commands[PARTIAL_ENERGIES_RESET] = partial(reset_partial_energies, counters)
        if self.load_curve is not None:
            commands[LOAD_CURVE_COMMAND] = self.load_curve.execute
        return commands

    def _write_settings(self, address: int, values: list[int]) -> bool:
        """Write registers of block 57344. Return False if one value is refused."""
        settings = dict(enumerate(values, address))
        if any(
            value not in NETWORK_SETTINGS.get(at, ()) for at, value in settings.items()
        ):
            return False
        self.settings |= settings
        return True

    def set_clock(self, values: Sequence[int]) -> bool:
        """Set the clock to the values of block 57600.

        Return False if the meter refuses the values.
        """
        new_time = clock_time(values, short_year=self.clock_has_short_year)
        if new_time is None:
            return False
        # Count before the clock changes, because the old time determines the day, week
        # and month of the energy until now.
        self.count()
        self._clock_offset = new_time.timestamp() - self.true_time()
        return True
