"""A COUNTIS: who it is, what it measures, and the one command it is given."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
import logging
import math
import re
import time
from typing import Any, override

from modbus_connection import (
    AcknowledgeError,
    IllegalFunctionError,
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)
from modbus_connection.model import Device, UpdateReport, read_optional

from .errors import (
    AnotherMeterError,
    CountisError,
    DoubtfulError,
    NotACountisError,
    ResetError,
)
from .guard import Correction, CounterGuard
from .limits import UNKNOWN_TRANSFORMER_AMPERES, Limits
from .line import Line
from .registers import (
    PARTIAL_COUNTERS,
    PARTIAL_ENERGIES,
    PARTIAL_ENERGIES_RESET,
    VALUE_RESET,
    Block,
    Counters,
    CurrentTransformer,
    Energies,
    EnergiesInKwh,
    Identity,
    Measurements,
    Power,
    SerialNumber,
    Tariffs,
    TariffsInKwh,
    Values,
)
from .schedule import MEASUREMENTS, PERIOD, POWER, Schedule

_LOGGER = logging.getLogger(__name__)

SIGNATURE = "SOCO"
PRODUCT_ORDER_COUNTIS = 100
UNNAMED_MODEL = "COUNTIS"

BLOCKS = (POWER, MEASUREMENTS, "energies", "tariffs")

# Another meter may have taken the place of this one without a gap.
IDENTIFIED_FOR_SECONDS = 3600

# Who is asked for the first time may take longer than any table says.
FIRST_WAIT = 1.0

# The answer to a write is as long as that to a read of so many registers.
WRITE_AS_READ = (2,)

# Spreads any number of neighbouring addresses evenly.
GOLDEN_RATIO = 0.618

# One counter in whole kWh and the same in steps of 10 Wh differ by less than
# this, whether the meter rounds or cuts off.
SAME_COUNTER_KWH = 1.1

# What 80 kW, the most a meter for 100 A can see, count in one second.
RESET_TO_KWH = 0.02
RESET_CHECKS = 3
RESET_CHECK_DELAY = 0.3


class Countis(Device):
    """One meter on a line.

    Setting up, with the first poll or `async_ensure_setup`, reads the identity
    and settles which blocks the meter serves; both then stay as they are.
    """

    def __init__(
        self,
        unit: ModbusUnit,
        line: Line,
        *,
        address: int = 0,
        clock: Callable[[], float] = time.time,
        serial_number: str | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the unit that the meter answers at, and the line it is on.

        `clock` returns seconds since 1970. With a `serial_number`, no other meter
        is accepted. `saved` is what `saved` returned before, if of this meter.
        """
        super().__init__(unit)
        self.line = line
        self.power: Block | None = None
        self.measurements: Measurements | None = None
        self.energies: Energies | None = None
        self.tariffs: Tariffs | None = None
        self.guard = CounterGuard(clock)
        self.corrections: list[Correction] = []
        """Counters that are believed at a new level, for whoever tells the user."""
        self.identity: Mapping[str, Any] = {}
        """The values of block 50000; empty where the meter does not serve it."""
        self.quantities: frozenset[str] = frozenset()
        """What the meter measures and counts, as the first poll found it."""
        self._saved_variants: Mapping[str, str | None] = {}
        self._expected = serial_number
        if saved is not None and saved["serial_number"] == serial_number:
            self.identity = saved["identity"]
            self.quantities = frozenset(saved["quantities"])
            self.guard.restore(saved["counters"])
            self._saved_variants = saved["variants"]
        self._identity_block: Identity | None = None
        self._schedule = Schedule(phase=address * GOLDEN_RATIO % 1)
        self._failing: frozenset[str] = frozenset()
        # Known from before, it may have been exchanged since.
        self._identified_until = -math.inf
        # A poll that overlaps a reset would bring back the counters of before.
        self._busy = asyncio.Lock()

    def saved(self) -> dict[str, Any]:
        """Return what is known of the meter, to be kept across a restart."""
        return {
            "serial_number": self.serial_number,
            "identity": dict(self.identity),
            "variants": self.variants,
            "quantities": sorted(self.quantities),
            "counters": self.guard.saved(),
        }

    @property
    def model(self) -> str:
        """The model as printed on the meter, "COUNTIS" where it has no name."""
        for name in ("product_name", "extended_name"):
            model = str(self.identity.get(name) or "").upper()
            if UNNAMED_MODEL in model:
                return model
        return UNNAMED_MODEL

    @property
    def serial_number(self) -> str | None:
        """Year and week, site and line (hex digits) and order number.

        None where the meter does not say (50008 to 50010 of the table).
        """
        return _serial_number(self.identity)

    @property
    def software_version(self) -> str | None:
        """The firmware's version, such as "1.00" (50007 of the table)."""
        version = self.identity.get("software_version")
        if version is None:
            return None
        major, minor = divmod(version, 100)
        return f"{major}.{minor:02d}"

    @property
    def variants(self) -> Mapping[str, str | None]:
        """Which blocks this meter serves, and how they have to be read."""
        if not self._setup_done:
            return self._saved_variants
        blocks: dict[str, Block | None] = {
            "identity": self._identity_block,
            "measurements": self.measurements,
            "energies": self.energies,
            "tariffs": self.tariffs,
        }
        return {
            name: None if block is None else block.description
            for name, block in blocks.items()
        }

    @override
    async def _async_setup(self) -> None:
        """Read the identity and settle which blocks the meter serves.

        Raises `NotACountisError` for another device, `ModbusError` for a line
        that does not carry the answers, or a meter that is not ready for them.
        """
        identity = await self._async_served(Identity)
        if identity is not None:
            if not any(identity.values.values()):
                msg = "the identification is empty"
                raise ModbusProtocolError(msg)
            if (
                identity.signature != SIGNATURE
                or identity.product_order_id != PRODUCT_ORDER_COUNTIS
            ):
                msg = (
                    f"the signature is {identity.signature!r} and the product order"
                    f" {identity.product_order_id}"
                )
                raise NotACountisError(msg)
        elif self._expected is not None:
            msg = "the identification is not available"
            raise ModbusProtocolError(msg)
        # None of their registers is reserved.
        measurements = await self._async_read_optional(Measurements(self.modbus_unit))
        if identity is None:
            _require_plausible(measurements)
        found = {} if identity is None else identity.values
        if self._expected is not None:
            self._require_expected(_serial_number(found))
        self._identity_block = identity
        self.identity = found
        self.measurements = measurements
        self.energies = await self._async_finer(Energies, EnergiesInKwh)
        self.tariffs = await self._async_finer(Tariffs, TariffsInKwh)
        for name, block in (
            (MEASUREMENTS, self.measurements),
            ("energies", self.energies),
            ("tariffs", self.tariffs),
        ):
            # A meter that is starting up has what it had before.
            expected = name == MEASUREMENTS or self._saved_variants.get(name)
            if expected and (block is None or not block.available):
                msg = f"the {name} are not available"
                raise ModbusProtocolError(msg)
        self.guard.limits = await self._async_limits()
        self._expected = self.serial_number
        self._mark_identified()
        self.power = Power(self.modbus_unit)

    async def _async_limits(self) -> Limits:
        """Return what the meter can measure, scaled by current transformers."""
        transformer = CurrentTransformer(self.modbus_unit)
        # What a meter refuses beyond its own registers says nothing about it.
        with suppress(ModbusExceptionError):
            await self._async_read_optional(transformer)
        if transformer.primary_current is not None:
            return Limits.of_transformer(transformer.primary_current)
        if re.search(r"\bE4\d", self.model):
            return Limits(UNKNOWN_TRANSFORMER_AMPERES)
        return Limits()

    async def _async_served[B: Block](self, block_type: type[B]) -> B | None:
        """Return the block as far as the meter serves it.

        Tables leave open whether a read across reserved registers is refused or
        answered with ones, so it is tried around them as well.
        """
        for block in (
            block_type(self.modbus_unit),
            block_type(self.modbus_unit).apart(),
        ):
            if await self._async_read_optional(block) is not None:
                return block if block.available else None
        return None

    async def _async_read_optional[B: Block](self, block: B) -> B | None:
        return await self.line.async_take_turn(
            block.reads, read_optional(block), wait=FIRST_WAIT
        )

    async def _async_finer[B: Counters](
        self, fine_type: type[B], coarse_type: type[B]
    ) -> B | None:
        """Return the counters in steps of 10 Wh, or those in kWh.

        Steps of 10 Wh are the better ones where the meter has them and they
        tell the same as those in kWh.
        """
        fine = await self._async_served(fine_type)
        coarse = await self._async_served(coarse_type)
        if fine is None or coarse is None:
            return fine or coarse
        coarse_values = coarse.values
        for name, value in fine.values.items():
            other = coarse_values[name]
            if value is None or other is None:
                continue
            if abs(value - other) > SAME_COUNTER_KWH:
                _LOGGER.debug("%s: %s in 10 Wh against %s in kWh", name, value, other)
                return coarse
        return fine

    async def async_update(self, wanted: Collection[str] = ()) -> UpdateReport:
        """Read what is due of the wanted blocks, of all if none are named.

        What was lost or damaged on the line is asked for once more. Raises
        `ModbusConnectionError` for a line that cannot be opened,
        `ModbusTimeoutError` for a meter that does not answer at all, and
        `AnotherMeterError` for one that is not this one; the report tells which
        blocks could not be read otherwise, or not believed.
        """
        async with self._busy:
            try:
                await self._async_find()
                began = asyncio.get_running_loop().time()
                # In one turn: each would cost a round of all the other meters.
                async with self.line.turn:
                    return await self._async_poll_due(began, wanted)
            except (ModbusError, OSError, CountisError) as err:
                if isinstance(err, ModbusTimeoutError) and self in self.line.meters:
                    await self.line.async_clear(self.modbus_unit)
                self.leave_line()
                raise

    async def async_ensure_identity(self) -> None:
        """Set the meter up, and make sure that it is the one from before.

        Raises as `async_update` does, and `NotACountisError` for another device.
        """
        async with self._busy:
            await self._async_find()

    def leave_line(self) -> None:
        """Give up the meter's share of the line, until it answers again."""
        self.line.meters.discard(self)
        self._identified_until = -math.inf

    async def _async_find(self) -> None:
        if asyncio.get_running_loop().time() >= self._identified_until:
            await self._async_knock()
            self._mark_identified()
        await self.async_ensure_setup()
        self.line.meters.add(self)

    def _mark_identified(self) -> None:
        now = asyncio.get_running_loop().time()
        self._identified_until = now + IDENTIFIED_FOR_SECONDS

    async def _async_poll_due(
        self, began: float, wanted: Collection[str]
    ) -> UpdateReport:
        now = asyncio.get_running_loop().time()
        report = UpdateReport()
        costs = {
            name: self.line.cost(block.reads)
            for name in BLOCKS
            if (block := getattr(self, name)) is not None
        }
        due = self._schedule.due(
            now,
            self.line.share,
            costs,
            wanted or costs,
            line_round=self.line.round,
            time_left=began + PERIOD - now,
        )
        self.line.polls += 1
        for name in due:
            await self._async_poll_block(name, report)
            self._schedule.done(name, now, costs[name])
        for name in report.failed:
            self._schedule.read_again(name)
        # All measurements hold power as well.
        if MEASUREMENTS in report.updated:
            report.updated.add(POWER)
        elif MEASUREMENTS in report.failed and POWER not in report.updated:
            report.failed[POWER] = report.failed[MEASUREMENTS]
        self._failing = frozenset(report.failed)
        if not self.quantities and report.complete:
            self.quantities = frozenset(
                name for name, value in self.values(report).items() if value is not None
            )
        return report

    async def _async_knock(self) -> None:
        """Make sure, in one short read, that it is this meter that answers."""
        block = SerialNumber(self.modbus_unit) if self._expected else self.power
        if block is None:
            return
        try:
            await self.line.async_take_turn(block.reads, block.async_update())
        except ModbusConnectionError:
            raise
        except ModbusError:
            # Who was silent before is not asked twice.
            if self not in self.line.meters:
                raise
            await self.line.async_take_turn(block.reads, block.async_update())
        if isinstance(block, SerialNumber):
            self._require_expected(_serial_number(block.values))

    def _require_expected(self, number: str | None) -> None:
        if number is None:
            # It is starting up, or something answers that is no meter.
            msg = "the serial number is not available"
            raise ModbusProtocolError(msg)
        if number != self._expected:
            raise AnotherMeterError(number)

    async def _async_poll_block(self, name: str, report: UpdateReport) -> None:
        error = await self._async_read_block(name)
        if name == POWER and isinstance(error, DoubtfulError):
            # A house at rest still has voltages, a meter that starts up has none.
            name = MEASUREMENTS
            error = await self._async_read_block(name)
        # What failed before will most likely fail again.
        if error is not None and name not in self._failing:
            error = await self._async_read_block(name, again=True)
        if error is None:
            report.updated.add(name)
        elif isinstance(error, ModbusTimeoutError) and not report.updated:
            raise error
        else:
            report.failed[name] = error

    async def _async_read_block(
        self, name: str, *, again: bool = False
    ) -> ModbusError | None:
        """Read a block; return what keeps it from being believed."""
        block: Block = getattr(self, name)
        try:
            await self.line.async_exchange(block.reads, block.async_update())
        except ModbusConnectionError:
            raise
        except ModbusError as err:
            return err
        problem = block.problem
        if problem is None and isinstance(block, Counters):
            problem = self._doubts(name, block, again=again)
        return None if problem is None else DoubtfulError(problem)

    def _doubts(self, name: str, block: Counters, *, again: bool) -> str | None:
        """Believe the counters of a block, or return why not.

        A reset is believed when it is seen twice, an implausible level when it
        lasts.
        """
        again = again or name in self._failing
        resettable = block.resettable if again else ()
        doubts = self.guard.doubts(
            name, block.counters, block.step, resettable=resettable
        )
        if doubts and again:
            corrections = self.guard.accept_lasting(name, block.counters, block.step)
            self.corrections += corrections
            if corrections:
                return None
        return f"implausible: {doubts}" if doubts else None

    def values(self, report: UpdateReport) -> Values:
        """Return what a poll refreshed, and every counter as last believed.

        Quantity to value, None if the meter has none at the moment.
        """
        values: Values = {}
        for name in BLOCKS:
            if name in report.updated:
                block: Block = getattr(self, name)
                values |= block.measured(self.guard.limits)
        return values | self.guard.values

    async def async_read_registers(self) -> dict[int, int]:
        """Read every block once more and return its registers as they are.

        Raises `ModbusError` if one of them cannot be read.
        """
        registers: dict[int, int] = {}
        async with self._busy:
            await self.async_ensure_setup()
            for block in (
                self._identity_block,
                self.measurements,
                self.energies,
                self.tariffs,
            ):
                if block is None:
                    continue
                raw = await self.line.async_take_turn(
                    block.reads, block.async_read_raw(), wait=FIRST_WAIT
                )
                registers |= {at: int(word) for at, word in raw["holding"].items()}
        return registers

    async def async_reset_partial_counters(self) -> Values:
        """Set the partial counters to zero and return them as read back.

        Raises `ResetError` if the meter did not, `ModbusError` if the line leaves
        that open, and as `async_update` does for a meter that is not this one.
        """
        async with self._busy:
            await self._async_find()
            energies = self.energies
            names = [
                name
                for name, value in self._partial_counters.items()
                if value is not None
            ]
            if energies is None or not names:
                msg = "the meter has no partial counters"
                raise ResetError(msg)
            bits = sum(PARTIAL_COUNTERS[name] for name in names)
            accepted = await self._async_command(VALUE_RESET, bits)
            if accepted and await self._async_are_reset(energies, names):
                return self._believe_reset(energies)
            # Reserved on an E3x or E4x: asked for only where it exists, or where
            # there is nothing else left to ask for.
            if (not accepted or re.search(r"\bE[12]\d", self.model)) and (
                await self._async_command(PARTIAL_ENERGIES_RESET, PARTIAL_ENERGIES)
                and await self._async_are_reset(energies, names)
            ):
                return self._believe_reset(energies)
            msg = "the partial counters did not fall to zero"
            raise ResetError(msg)

    def _believe_reset(self, energies: Energies) -> Values:
        counters = {
            name: value
            for name, value in self._partial_counters.items()
            if value is not None
        }
        self.guard.forget(counters)
        self.guard.doubts("reset", counters, energies.step)
        return dict(counters)

    async def _async_command(self, register: int, value: int) -> bool:
        """Write one command register; False if the meter refuses it.

        An answer that gets lost leaves open whether the command arrived, which
        the counters then tell.
        """
        unit = self.modbus_unit
        writes: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
            lambda: unit.write_register(register, value),
            # For a meter that knows function 16 only.
            lambda: unit.write_registers(register, [value]),
        )
        for write in writes:
            try:
                await self.line.async_take_turn(WRITE_AS_READ, write(), wait=FIRST_WAIT)
            except IllegalFunctionError:
                continue
            except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
                return True
            except ModbusExceptionError as err:
                _LOGGER.debug("Command %s = %#06x is refused: %s", register, value, err)
                return False
            return True
        return False

    @property
    def _partial_counters(self) -> Values:
        values = {} if self.energies is None else self.energies.values
        return {name: values[name] for name in PARTIAL_COUNTERS if name in values}

    async def _async_are_reset(self, energies: Energies, names: Iterable[str]) -> bool:
        """Read the counters back until they stand at zero, for about a second."""
        for attempt in range(RESET_CHECKS):
            if attempt:
                await asyncio.sleep(RESET_CHECK_DELAY)
            await self.line.async_take_turn(
                energies.reads, energies.async_update(), wait=FIRST_WAIT
            )
            values = [self._partial_counters[name] for name in names]
            # A counter that reads "not available" is not known to be reset.
            if all(value is not None and value <= RESET_TO_KWH for value in values):
                return True
        return False


def _serial_number(identity: Mapping[str, Any]) -> str | None:
    year_week = identity.get("serial_year_week")
    site_line = identity.get("serial_site_line")
    order = identity.get("serial_order")
    if year_week is None or site_line is None or order is None:
        return None
    if not (year_week or site_line or order):
        return None
    return f"{year_week:04X}{site_line:04X}{order:05d}"


def _require_plausible(measured: Measurements | None) -> None:
    """Accept an unidentified device only for what it measures.

    Raises `NotACountisError` where that is not a mains voltage and frequency.
    """
    if measured is None:
        msg = "it serves neither the identification nor the metrology block"
        raise NotACountisError(msg)
    voltages = (measured.voltage_l1, measured.voltage_l2, measured.voltage_l3)
    if not (
        45 <= (measured.frequency or 0) <= 65  # noqa: PLR2004
        # The meter lives on the phases it measures, so one of them is there.
        and any(100 <= (voltage or 0) <= 300 for voltage in voltages)  # noqa: PLR2004
    ):
        msg = f"{voltages} V at {measured.frequency} Hz are no mains"
        raise NotACountisError(msg)
