"""A COUNTIS: who it is, and what it measures."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from datetime import datetime
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
)
from .guard import Correction, CounterGuard
from .limits import UNKNOWN_TRANSFORMER_AMPERES, Limits
from .line import Line
from .registers import (
    BLOCK_OF,
    Block,
    Clock,
    Counters,
    CurrentTransformer,
    Energies,
    EnergiesInKwh,
    Identity,
    MainMeasurements,
    Measurements,
    Overflows,
    Periods,
    PeriodsInKwh,
    Power,
    SerialNumber,
    Tariffs,
    TariffsInKwh,
    Values,
)
from .schedule import INTERVALS, MEASUREMENTS, PERIOD, POWER, Schedule

_LOGGER = logging.getLogger(__name__)

SIGNATURE = "SOCO"
PRODUCT_ORDER_COUNTIS = 100
UNNAMED_MODEL = "COUNTIS"

# These make the read of the measurements so much longer.
DETAILS = Measurements.declared_fields.keys() - MainMeasurements.declared_fields

COUNTERS = ("energies", "tariffs")
BLOCKS = (POWER, MEASUREMENTS, "energies", "tariffs", *INTERVALS)

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
        local_time: Callable[[], datetime] = datetime.now,
        serial_number: str | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the unit that the meter answers at, and the line it is on.

        `clock` returns seconds since 1970, `local_time` what the meter's own clock
        should show, without a time zone. With a `serial_number`, no other meter
        is accepted. `saved` is what `saved` returned before, if of this meter.
        """
        super().__init__(unit)
        self.line = line
        self.address = address
        self.now = clock
        self.local_time = local_time
        self.power: Block | None = None
        self.measurements: Measurements | None = None
        self.energies: Energies | None = None
        self.tariffs: Tariffs | None = None
        self.periods: Periods | None = None
        self.overflows: Overflows | None = None
        self.transformer: CurrentTransformer | None = None
        self.clock: Clock | None = None
        self.guard = CounterGuard()
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
        self._heard = False
        self._just_set_up = False
        self._schedule = Schedule(phase=address * GOLDEN_RATIO % 1)
        self._failing: frozenset[str] = frozenset()
        self._main_measurements = MainMeasurements(unit)
        self._without_details = False
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
            "periods": self.periods,
            "overflows": self.overflows,
            "transformer": self.transformer,
            "clock": self.clock,
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
        self._heard = False
        await self._async_identify()
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
        # What a meter refuses beyond its own registers says nothing about it.
        with suppress(ModbusExceptionError):
            self.transformer = await self._async_served(CurrentTransformer)
        self.guard.limits = self._limits
        if self.is_direct:
            self.transformer = None
        self.periods = await self._async_extra(Periods) or (
            await self._async_extra(PeriodsInKwh)
        )
        self.overflows = await self._async_extra(Overflows)
        self.clock = await self._async_extra(Clock)
        if self.clock is not None:
            self.clock.local_time = self.local_time
        self._just_set_up = True
        self._expected = self.serial_number
        self._mark_identified()
        self.power = Power(self.modbus_unit)

    async def _async_identify(self) -> None:
        """Read who it is, and what it measures."""
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

    @property
    def is_direct(self) -> bool:
        """Whether the model is one without current transformers."""
        return re.search(r"\bE[123]\d", self.model) is not None

    @property
    def _limits(self) -> Limits:
        """What the meter can measure, scaled by current transformers."""
        primary = self.transformer and self.transformer.primary_current
        if primary:
            return Limits.of_transformer(primary)
        if re.search(r"\bE4\d", self.model):
            return Limits(UNKNOWN_TRANSFORMER_AMPERES)
        return Limits()

    async def _async_extra[B: Block](self, block_type: type[B]) -> B | None:
        """Return a block that a meter is complete without, None if it has none."""
        with suppress(ModbusProtocolError, ModbusTimeoutError, ModbusExceptionError):
            return await self._async_served(block_type)
        return None

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
        """Read a block while setting up, once more if the answer is lost or damaged.

        Who has not been heard at all yet is not asked twice.
        """
        try:
            found = await self._async_take_turn(
                block.reads, read_optional(block), wait=FIRST_WAIT
            )
        except ModbusConnectionError:
            raise
        except (ModbusProtocolError, ModbusTimeoutError) as err:
            if not self._heard:
                if isinstance(err, ModbusTimeoutError):
                    raise
                # Who had the port before may have asked for what is answered now.
                await asyncio.sleep(FIRST_WAIT)
            self.line.traffic[self.address].retries += len(block.reads)
            found = await self._async_take_turn(
                block.reads, read_optional(block), wait=FIRST_WAIT
            )
        self._heard = True
        return found

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
        coarse_values = coarse.counters
        for name, value in fine.counters.items():
            other = coarse_values[name]
            if value is None or other is None:
                continue
            if abs(value - other) > SAME_COUNTER_KWH:
                _LOGGER.debug("%s: %s in 10 Wh against %s in kWh", name, value, other)
                return coarse
        return fine

    async def _async_take_turn[T](
        self,
        reads: Sequence[int],
        exchange: Coroutine[Any, Any, T],
        *,
        wait: float | None = None,
    ) -> T:
        return await self.line.async_take_turn(
            reads, exchange, address=self.address, wait=wait
        )

    async def async_update(self, wanted: Collection[str] = ()) -> UpdateReport:
        """Read what is due of the wanted quantities, of all if none are named.

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
        self._without_details = bool(wanted) and DETAILS.isdisjoint(wanted)
        costs = {
            name: self.line.cost(self._block(name).reads)
            for name in BLOCKS
            if getattr(self, name) is not None
        }
        due = self._schedule.due(
            now,
            self.line.share,
            costs,
            {BLOCK_OF[name] for name in wanted} or costs.keys() - INTERVALS.keys(),
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
        if self._just_set_up:
            self._just_set_up = False
            # They were read by that.
            report.updated |= {
                name for name in INTERVALS if getattr(self, name) is not None
            }
        if not wanted and report.complete:
            self.quantities |= {
                name for name, value in self.values(report).items() if value is not None
            }
        return report

    async def _async_knock(self) -> None:
        """Make sure, in one short read, that it is this meter that answers."""
        block = SerialNumber(self.modbus_unit) if self._expected else self.power
        if block is None:
            return
        # A port that is not open yet has to be opened within the same time.
        wait = None if self.modbus_unit.connected else FIRST_WAIT
        try:
            await self._async_take_turn(block.reads, block.async_update(), wait=wait)
        except ModbusConnectionError:
            raise
        except ModbusError:
            # Who was silent before is not asked twice.
            if self not in self.line.meters:
                raise
            self.line.traffic[self.address].retries += 1
            await self._async_take_turn(block.reads, block.async_update())
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
            self.line.traffic[self.address].retries += len(self._block(name).reads)
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
        block = self._block(name)
        # What an answer counts may be older than the answer.
        asked = self.now()
        try:
            await self.line.async_exchange(
                block.reads, block.async_update(), address=self.address
            )
        except ModbusConnectionError:
            raise
        except ModbusError as err:
            return err
        problem = block.problem
        if problem is None and isinstance(block, Counters):
            problem = self._doubts(name, block, asked, again=again)
        return None if problem is None else DoubtfulError(problem)

    def _doubts(
        self, name: str, block: Counters, asked: float, *, again: bool
    ) -> str | None:
        """Believe the counters of a block, or return why not.

        A reset is believed when it is seen twice, an implausible level when it
        lasts.
        """
        again = again or name in self._failing
        resettable = block.resettable if again else ()
        doubts = self.guard.doubts(
            name, block.counters, block.step, asked, resettable=resettable
        )
        if doubts and again:
            corrections = self.guard.accept_lasting(
                name, block.counters, block.step, asked
            )
            self.corrections += corrections
            if corrections:
                return None
        return f"implausible: {doubts}" if doubts else None

    def _block(self, name: str) -> Block:
        """Return the block, or the part of it that holds what is wanted."""
        if name == MEASUREMENTS and self._without_details:
            return self._main_measurements
        block: Block = getattr(self, name)
        return block

    def values(self, report: UpdateReport) -> Values:
        """Return what a poll refreshed, and every counter as last believed.

        Quantity to value, None if the meter has none at the moment.
        """
        values: Values = {}
        for name in BLOCKS:
            if name in report.updated:
                values |= self._block(name).measured(self.guard.limits)
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
                self.periods,
                self.overflows,
                self.transformer,
                self.clock,
            ):
                if block is None:
                    continue
                raw = await self._async_take_turn(
                    block.reads, block.async_read_raw(), wait=FIRST_WAIT
                )
                registers |= {at: int(word) for at, word in raw["holding"].items()}
        return dict(sorted(registers.items()))

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Keep polls out for a command, once it is this meter that answers.

        Raises as `async_update` does for a meter that is not this one.
        """
        async with self._busy:
            await self._async_find()
            yield

    async def async_reread(self, block: Block) -> None:
        """Read a block in a turn of its own; for who has the meter exclusively.

        What was lost or damaged on the line is asked for once more.
        """
        try:
            await self._async_take_turn(
                block.reads, block.async_update(), wait=FIRST_WAIT
            )
        except ModbusProtocolError, ModbusTimeoutError:
            self.line.traffic[self.address].retries += len(block.reads)
            await self._async_take_turn(
                block.reads, block.async_update(), wait=FIRST_WAIT
            )

    async def async_write(self, register: int, *values: int) -> bool:
        """Write registers at once; False if the meter refuses it.

        An answer that gets lost leaves open whether the command arrived, which
        reading back then tells. For who has the meter exclusively.
        """
        unit = self.modbus_unit
        writes: list[Callable[[], Coroutine[Any, Any, None]]] = [
            # The only one there is for several registers, and for a meter that
            # does not know the other.
            lambda: unit.write_registers(register, list(values))
        ]
        if len(values) == 1:
            writes.insert(0, lambda: unit.write_register(register, values[0]))
        for write in writes:
            try:
                await self._async_take_turn(WRITE_AS_READ, write(), wait=FIRST_WAIT)
            except IllegalFunctionError:
                continue
            except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
                return True
            except ModbusExceptionError as err:
                _LOGGER.debug("%s = %s is refused: %s", register, values, err)
                return False
            return True
        return False

    async def async_measure(self) -> Values:
        """Read all measurements now, apart from the polls.

        Raises `ModbusError` if they cannot be read, `DoubtfulError` among them.
        """
        async with self.exclusively():
            block = Measurements(self.modbus_unit)
            await self.async_reread(block)
            if problem := block.problem:
                raise DoubtfulError(problem)
            return block.measured(self.guard.limits)

    async def async_count(self) -> Values:
        """Read the counters now, apart from the polls, as far as they are believed.

        Raises `ModbusError` if they cannot be read.
        """
        async with self.exclusively():
            report = UpdateReport()
            for name in COUNTERS:
                if getattr(self, name) is not None:
                    await self._async_poll_block(name, report)
        for error in report.failed.values():
            if not isinstance(error, DoubtfulError):
                raise error
        return dict(self.guard.values)


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
