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
from .block import Block, Counters, Values
from .bus import Bus
from .errors import AnotherMeterError, ImplausibleError
from .plausibility import Correction, CounterCheck
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

# A reading that is implausible for the first time is read again once, at once.
READ_ATTEMPTS = 2


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
        local_time: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Initialize the meter; nothing is requested.

        `client` is the unit of the connection, `accepted` the stored counters of the
        same meter. `clock` returns s since 1970, `local_time` what the clock of the
        meter should show, without a time zone.
        """
        unit = bus.unit(unit_id, client)
        super().__init__(unit)
        self.bus = bus
        self.unit_id = unit_id
        self.profile = profile
        self.clock_time = clock
        self.local_time = local_time
        self.counters = CounterCheck(limits=profile.limits)
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

        self._rejected: set[str] = set()
        self._at_rest = False

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

        Raises `ImplausibleError` for an implausible reading and `ModbusError`.
        """
        block = self.block(name)
        assert block is not None  # noqa: S101
        repeated = name in self._rejected
        for attempt in range(1 if repeated else READ_ATTEMPTS):
            requested_at = asyncio.get_running_loop().time()
            # A response may be older than it looks, so the request counts.
            at = self.clock_time()
            try:
                await block.async_update()
            except IllegalDataAddressError, IllegalFunctionError:
                self.contradicts_profile = True
                raise
            reason = block.implausible
            if name == "power" and reason is not None:
                if not self._at_rest:
                    # Only the frequency tells no load from a meter that starts up.
                    return await self.async_read("measurements")
                reason = None
            corrections: tuple[Correction, ...] = ()
            if reason is None and isinstance(block, Counters):
                reason, corrections = self._check_counters(
                    name, block, at, repeated=repeated or attempt > 0
                )
            if reason is None:
                self._rejected.discard(name)
                return Reading(
                    name, self._values(name, block), requested_at, corrections
                )
        self._rejected.add(name)
        raise ImplausibleError(reason)

    def _check_counters(
        self, name: str, block: Counters, at: float, *, repeated: bool
    ) -> tuple[str | None, tuple[Correction, ...]]:
        """Accept all counters of a block, or return why they are rejected.

        A reset is accepted when it is read twice, an implausible level when it lasts.
        """
        counters = block.counters
        rejected = self.counters.check(
            name,
            counters,
            block.step,
            at,
            resettable=block.resettable if repeated else (),
        )
        corrections: tuple[Correction, ...] = ()
        if rejected and repeated:
            corrections = self.counters.accept_lasting(name, counters, block.step, at)
        if rejected and not corrections:
            return f"implausible: {rejected}", ()
        return None, corrections

    def _values(self, name: str, block: Block) -> Values:
        """Return what a block that was just read says, counters as accepted."""
        if isinstance(block, Clock):
            return {"clock_offset": meter_clock.offset(block.values, self.local_time())}
        values = block.measured(self.counters.limits.allow)
        if isinstance(block, Measurements):
            self._at_rest = not any(values[each] for each in self.power.resolved_fields)
        if isinstance(block, CurrentTransformer):
            primary = block.primary_current if values["ct_ratio"] else None
            if primary != self.profile.primary_current:
                self.contradicts_profile = True
        if isinstance(block, Counters):
            accepted = self.counters.values
            values |= {
                each: accepted[each] for each in block.counters if each in accepted
            }
        return values

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
        requested_at = asyncio.get_running_loop().time()
        at = self.clock_time()
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
        return Reading(name, self._values(name, block), requested_at)

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
