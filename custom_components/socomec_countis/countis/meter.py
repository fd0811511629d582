"""One meter on a bus: verify its identity and read its blocks."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
import time
from typing import Any

from modbus_connection import (
    IllegalDataAddressError,
    IllegalFunctionError,
    ModbusProtocolError,
    ModbusUnit,
)
from modbus_connection.model import Device

from . import clock as meter_clock
from .acceptance import async_check_counters
from .block import Block, Counters, Values
from .bus import Bus
from .errors import AnotherMeterError, ImplausibleError
from .plausibility import Correction, CounterCheck, Limits, Moment
from .profile import BLOCK_TYPES, Profile, serial_number
from .registers import (
    MAIN_MEASUREMENTS,
    Clock,
    CurrentTransformer,
    Energies,
    Identity,
    Measurements,
    Overflows,
    Periods,
    Power,
    Revision,
    Tariffs,
)
from .relations import Relations, highest_power, overflow_counts

# A reading that is implausible for the first time is read again once, at once.
READ_ATTEMPTS = 2
# The blocks that show whether the meter measures its mains.
MEASURED = ("power", "measurements")


@dataclass(frozen=True)
class Reading:
    """One accepted reading of a block."""

    block: str
    values: Values
    requested_at: float
    """When its request was sent, in s of the event loop's clock."""
    corrections: tuple[Correction, ...] = ()
    """Counters that were accepted at a level which does not follow from the last."""


class Meter(Device):
    """One meter on a bus, with the blocks of its profile."""

    def __init__(
        self,
        bus: Bus,
        unit_id: int,
        client: ModbusUnit,
        profile: Profile,
        *,
        accepted: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Initialize the meter; nothing is requested.

        `client` is the unit of the connection, `accepted` the stored counters of the
        same meter. `clock` returns s since 1970, `monotonic` s that pass evenly, and
        `local_time` what the clock of the meter should show, without a time zone.
        """
        unit = bus.unit(unit_id, client)
        super().__init__(unit)
        self.bus = bus
        self.unit_id = unit_id
        self.profile = profile
        self.clock_time = clock
        self.monotonic = monotonic
        self.local_time = local_time
        self.counters = CounterCheck(
            limits=profile.limits,
            counted=profile.quantities - profile.unused,
        )
        if accepted is not None:
            self.counters.restore(accepted)
        self.contradicts_profile = False
        """Whether the meter behaved in another way than its profile says."""
        self.reads_details = False
        """Whether the fields outside 50520 to 50549 are read with the measurements."""

        self.identity = self._supported("identity", Identity)
        self.revision = Revision(unit)
        self.power = Power(unit)
        self.measurements = Measurements(unit)
        self._main_measurements = Measurements(unit)
        self._main_measurements.restrict_to(*MAIN_MEASUREMENTS)
        self.energies = self._supported("energies", Energies)
        self.tariffs = self._supported("tariffs", Tariffs)
        self.transformer = self._supported("transformer", CurrentTransformer)
        self.periods = self._supported("periods", Periods)
        self.overflows = self._supported("overflows", Overflows)
        self.clock = self._supported("clock", Clock)

        self.relations = Relations(profile.relations)
        self._implausible: set[str] = set()
        self._primary_current = profile.primary_current
        self._at_rest = False
        self.measures_mains = False
        """Whether the meter measured its mains, since it was offline."""

    def _supported[B: Block](self, name: str, kind: type[B]) -> B | None:
        block = self.profile.block(name, self.modbus_unit)
        return block if isinstance(block, kind) else None

    def block(self, name: str) -> Block | None:
        """Return the block that a read of this name requests, None if unsupported."""
        if name == "measurements" and not self.reads_details:
            return self._main_measurements
        block: Block | None = getattr(self, name)
        return block

    # -- reading -------------------------------------------------------------

    async def async_verify_identity(self) -> None:
        """Make sure that this meter responds, by one short read.

        Raises `AnotherMeterError` if two reads agree on another serial number, and
        `ModbusError`. A meter without a serial number only has to respond.
        """
        expected = self.profile.serial_number
        if expected is None:
            await self.power.async_update()
            return
        found = None
        for _ in range(READ_ATTEMPTS):
            await self.revision.async_update()
            before, found = found, serial_number(self.revision.values)
            if found == expected:
                self._compare_revision()
                return
        if found is None or found != before:
            msg = "the serial number is not available"
            raise ModbusProtocolError(msg)
        raise AnotherMeterError(found)

    def _compare_revision(self) -> None:
        """Note a firmware or register table that the profile does not know."""
        for name in ("table_version", "software_version"):
            if getattr(self.revision, name) != self.profile.identity.get(name):
                self.contradicts_profile = True

    async def async_read(self, name: str) -> Reading:
        """Read a supported block, again if the reading is implausible.

        While the meter measures no mains, no other block is read. Raises
        `ImplausibleError` for an implausible reading, `AnotherMeterError` if it is
        one of another meter, and `ModbusError`.
        """
        if not (self.measures_mains or name in MEASURED):
            await self.async_read("measurements")
        block = self.block(name)
        assert block is not None  # noqa: S101
        is_new = name not in self._implausible
        for attempts_left in reversed(range(READ_ATTEMPTS if is_new else 1)):
            at = self._now()
            try:
                await block.async_update()
            except IllegalDataAddressError, IllegalFunctionError:
                self.contradicts_profile = True
                raise
            corrections: tuple[Correction, ...] = ()
            if name == "power" and block.implausible:
                if not self._at_rest:
                    # Without a load, all powers are 0. Only the frequency
                    # distinguishes that from a meter that starts up.
                    return await self.async_read("measurements")
                reason = None
            elif isinstance(block, Counters):
                reason, corrections = await async_check_counters(
                    self, name, block, at, is_last=not attempts_left, is_new=is_new
                )
            else:
                reason = block.implausible or self._contradiction(block)
            if reason is None:
                self._implausible.discard(name)
                return self._reading(name, block, at, corrections)
        self._implausible.add(name)
        if name == "measurements":
            self.forget_mains()
        raise ImplausibleError(reason)

    def forget_mains(self) -> None:
        """Read nothing else before the measurements have a mains frequency again."""
        self.measures_mains = self._at_rest = False

    def _contradiction(self, block: Block) -> str | None:
        """Return why measurements contradict each other, or None."""
        if not isinstance(block, Measurements):
            return None
        reason = self.relations.broken_power(block.values)
        self.contradicts_profile |= self.relations.has_changed
        return reason

    def _now(self) -> Moment:
        # A response may be older than it looks, so the time of the request counts.
        return Moment(self.clock_time(), self.monotonic())

    def compare_transformer(self, block: CurrentTransformer) -> None:
        """Follow other current transformers; the profile is taken anew for them."""
        primary = block.primary_current if block.values["ct_ratio"] else None
        before, self._primary_current = self._primary_current, primary
        if primary == self.profile.primary_current:
            return
        self.contradicts_profile = True
        limits = Limits.of_transformer(primary or 0)
        # The meter may have counted with either of them.
        if primary == before and limits.amperes > self.counters.limits.amperes:
            self.counters.limits = limits

    def continue_counting(self, before: Meter) -> None:
        """Continue with the counters of the same meter before its profile changed."""
        before.counters.limits = self.counters.limits
        before.counters.counted = self.counters.counted
        self.counters = before.counters

    def _reading(
        self,
        name: str,
        block: Block,
        at: Moment,
        corrections: tuple[Correction, ...] = (),
    ) -> Reading:
        """Return what a block that was just read says, counters as accepted."""
        assert at.monotonic is not None  # noqa: S101
        if isinstance(block, Clock):
            offset = meter_clock.offset(block.values, self.local_time())
            return Reading(name, {"clock_offset": offset}, at.monotonic)
        values = block.measured(self.counters.limits.allow)
        if isinstance(block, Measurements):
            power = [abs(values[each] or 0) for each in self.power.resolved_fields]
            self._at_rest = not any(power)
            self.measures_mains |= any(power) or not isinstance(block, Power)
            self.counters.note_power(highest_power(values) / 1000, at.monotonic)
        if isinstance(block, CurrentTransformer):
            self.compare_transformer(block)
        if isinstance(block, Overflows):
            self.counters.overflows = overflow_counts(values)
        if isinstance(block, Counters):
            accepted = self.counters.values
            values |= {
                each: accepted[each] for each in block.counters if each in accepted
            }
        return Reading(name, values, at.monotonic, corrections)

    async def async_read_reset(
        self, name: str, counters: Collection[str], *, since: float
    ) -> Reading | None:
        """Read a block whose counters were reset, and accept them if they were.

        `since` is when the command was sent, in s of the event loop's clock. Returns
        None if a counter is higher than it can have become since. Raises
        `ModbusError`.
        """
        block = self.block(name)
        assert isinstance(block, Counters)  # noqa: S101
        self.counters.expect_reset(counters)
        at = self._now()
        await block.async_update()
        values = block.values
        found = {
            each: values[each] for each in counters if each in self.profile.quantities
        }
        seconds = asyncio.get_running_loop().time() - since
        limit = self.counters.reset_limit(seconds, block.step)
        # A counter that reads "not available" is not known to be reset.
        if any(value is None or value > limit for value in found.values()):
            return None
        self.counters.accept_reset(found, block.step, at)
        return self._reading(name, block, at)

    async def async_measure(self) -> Values:
        """Read all measurements now, after verifying the identity.

        Raises as `async_read` and `async_verify_identity` do.
        """
        async with self.bus.hold():
            await self.async_verify_identity()
            block = Measurements(self.modbus_unit)
            await block.async_update()
        if block.implausible:
            raise ImplausibleError(block.implausible)
        return block.measured(self.counters.limits.allow)

    async def async_read_registers(self) -> dict[int, int]:
        """Return the words of all supported blocks by register address.

        Raises `ModbusError` if one of them cannot be read.
        """
        raw = await self.async_read_raw(BLOCK_TYPES)
        return {address: int(word) for address, word in raw["holding"].items()}
