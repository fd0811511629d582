"""One meter on a bus: verify its identity and read its blocks."""

from collections.abc import Callable, Mapping
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

from .acceptance import async_check_counters
from .block import Block, CounterBlock, Values
from .bus import Bus
from .clock import clock_offset
from .errors import AnotherMeterError, ImplausibleError
from .limits import Limits
from .plausibility import Correction, CounterCheck, Moment
from .profile import BLOCK_TYPES, Profile, serial_number
from .registers import (
    Clock,
    CurrentTransformer,
    MainMeasurements,
    Measurements,
    Overflows,
    Power,
    Revision,
)
from .relations import Relations, highest_power

# If a reading is implausible, `Meter.async_read` reads the block again at once, unless
# the previous call for the block already failed with an implausible reading.
READ_ATTEMPTS = 2


@dataclass(frozen=True)
class Reading:
    """One accepted reading of a block."""

    block: str
    values: Values
    requested_at: float
    """When the request was sent, in s of the event loop's clock."""
    corrections: tuple[Correction, ...] = ()
    """The accepted values that were replaced by implausible values.

    The implausible values have lasted, or the user has confirmed them.
    """


class Meter:
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
        """Initialize the meter, without a request.

        `client` sends the requests to the unit ID. `accepted` is the stored result of
        `CounterCheck.as_dict` for the same meter. `clock` returns s since 1970, and
        `monotonic` returns s of the event loop's clock. `local_time` returns the time
        that the meter's clock should show, without a time zone.
        """
        self.bus = bus
        self.unit_id = unit_id
        self.modbus_unit = bus.unit(unit_id, client)
        self.profile = profile
        self._clock = clock
        self.monotonic = monotonic
        self.local_time = local_time
        self.counter_check = CounterCheck(
            limits=profile.limits,
            counted_before=profile.quantities - profile.unused,
        )
        if accepted is not None:
            self.counter_check.restore(accepted)
        self.relations = Relations(profile.relations)
        self.contradicts_profile = False
        """Whether a response of the meter contradicted its profile."""
        self.reads_details = False
        """Whether all measurements are read, not only `MainMeasurements`."""
        self.has_started = False
        """Whether a reading has shown that the meter is not starting any more.

        Such a reading has a mains frequency, or a power or power factor that is not 0.
        The attribute becomes False again when the meter goes offline, or when its
        measurements are rejected.
        """

        self.blocks: dict[str, Block] = {
            name: block
            for name in BLOCK_TYPES
            if (block := profile.block(name, self.modbus_unit))
        }
        """The supported blocks by name, and "power", a part of "measurements"."""
        self.blocks["power"] = self._power = Power(self.modbus_unit)
        self.revision = Revision(self.modbus_unit)
        self._main_measurements = MainMeasurements(self.modbus_unit)
        self._implausible: set[str] = set()
        """The blocks whose last reading was rejected."""
        self._primary_current = profile.primary_current
        self._had_no_power = False
        """Whether the last accepted values of "power" were all 0 or not available.

        The attribute is False while the meter may be starting.
        """

    def block(self, name: str) -> Block | None:
        """Return the block that is read for a name, None if it is not supported."""
        if name == "measurements" and not self.reads_details:
            return self._main_measurements
        return self.blocks.get(name)

    async def async_verify_identity(self) -> None:
        """Verify with a short read that this meter responds, not another meter.

        An unexpected serial number is read again. If the profile has no serial number,
        any meter that returns its powers is accepted. Raises `ModbusError`, and
        `AnotherMeterError` if both reads return the same unexpected serial number.
        """
        expected = self.profile.serial_number
        if expected is None:
            await self._power.async_update()
            return
        revision, found = self.revision, None
        for _ in range(READ_ATTEMPTS):
            await revision.async_update()
            before, found = found, serial_number(revision.values)
            if found == expected:
                for name in ("table_version", "software_version"):
                    if getattr(revision, name) != self.profile.identity.get(name):
                        self.contradicts_profile = True
                return
        if found is None or found != before:
            msg = "the serial number is not available, or differs between two reads"
            raise ModbusProtocolError(msg)
        raise AnotherMeterError(found)

    async def async_read(self, name: str) -> Reading:
        """Read a supported block, and read it again if the reading is implausible.

        If the meter may be starting, the measurements are read before any other block
        except "power". If all values of "power" are 0 or not available, the
        measurements are read and returned in place of "power". Once the measurements
        are accepted with such values, "power" is accepted with such values as well
        (`_had_no_power`). Raises `ImplausibleError` for an implausible reading,
        `AnotherMeterError` if another meter has responded, and `ModbusError`.
        """
        if not self.has_started and name not in {"power", "measurements"}:
            await self.async_read("measurements")
        block = self.block(name)
        assert block is not None  # noqa: S101
        was_rejected_before = name in self._implausible
        attempts = 1 if was_rejected_before else READ_ATTEMPTS
        for attempts_left in reversed(range(attempts)):
            at = self.now()
            try:
                await block.async_update()
            except IllegalDataAddressError, IllegalFunctionError:
                self.contradicts_profile = True
                raise
            corrections: tuple[Correction, ...] = ()
            if name == "power" and block.implausible_reason:
                if not self._had_no_power:
                    # Either there is no load, or the meter is starting. Only the
                    # frequency in the measurements shows which.
                    return await self.async_read("measurements")
                reason = None
            elif isinstance(block, CounterBlock):
                reason, corrections = await async_check_counters(
                    self,
                    name,
                    block,
                    at,
                    is_last=not attempts_left,
                    was_rejected_before=was_rejected_before,
                )
            else:
                reason = block.implausible_reason or self._contradiction(block)
            if reason is None:
                self._implausible.discard(name)
                return self.accepted_reading(name, block, at, corrections)
        self._implausible.add(name)
        if name == "measurements":
            self.assume_starting()
        raise ImplausibleError(reason)

    def _contradiction(self, block: Block) -> str | None:
        """Return why measurements contradict each other, or None."""
        if not isinstance(block, Measurements):
            return None
        reason = self.relations.power_contradiction(block.values)
        self.contradicts_profile |= self.relations.contradicts_profile
        return reason

    def now(self) -> Moment:
        """Return the present moment. Call this just before a request is sent."""
        return Moment(self._clock(), self.monotonic())

    def accepted_reading(
        self,
        name: str,
        block: Block,
        at: Moment,
        corrections: tuple[Correction, ...] = (),
    ) -> Reading:
        """Return the reading of a block whose content was accepted.

        Keeps the powers, the current transformer and the rollovers of this reading for
        the checks of later readings.
        """
        if isinstance(block, Clock):
            offset = clock_offset(block.values, self.local_time())
            return Reading(name, {"clock_offset": offset}, at.monotonic)
        values = block.possible_values(self.counter_check.limits.allow)
        if isinstance(block, Measurements):
            powers = [values[each] for each in self._power.resolved_fields]
            self.has_started |= any(powers) or not isinstance(block, Power)
            self._had_no_power = self.has_started and not any(powers)
            self.counter_check.note_power(highest_power(values) / 1000, at.monotonic)
        if isinstance(block, CurrentTransformer):
            self.compare_transformer(block)
        if isinstance(block, Overflows):
            self.counter_check.overflows = block.by_counter
        if isinstance(block, CounterBlock):
            accepted = self.counter_check.values
            values |= {
                counter: accepted[counter]
                for counter in block.counters
                if counter in accepted
            }
        return Reading(name, values, at.monotonic, corrections)

    def assume_starting(self) -> None:
        """Assume that the meter may be starting, until a reading shows otherwise."""
        self.has_started = self._had_no_power = False

    def compare_transformer(self, block: CurrentTransformer) -> None:
        """Compare the current transformer with the one in the profile.

        A difference sets `contradicts_profile`. If two consecutive readings have the
        same primary current, and this current allows higher limits than the present
        ones, the limits are raised.
        """
        before, self._primary_current = self._primary_current, block.primary
        if block.primary == self.profile.primary_current:
            return
        self.contradicts_profile = True
        limits = Limits.of_transformer(block.primary or 0)
        # Lower limits apply only with a new profile, because until then the meter may
        # have counted with either transformer.
        if (
            block.primary == before
            and limits.amperes > self.counter_check.limits.amperes
        ):
            self.counter_check.limits = limits

    def continue_counting(self, previous: Meter) -> None:
        """Use the counter check of `previous`, with the limits of this object.

        `previous` is the object of the same meter with its previous unit ID or profile.
        """
        previous.counter_check.limits = self.counter_check.limits
        previous.counter_check.counted_before = self.counter_check.counted_before
        self.counter_check = previous.counter_check

    async def async_measure(self) -> Values:
        """Verify the identity, then read and return all measurements.

        Raises the same errors as `async_read` and `async_verify_identity`.
        """
        async with self.bus.hold():
            await self.async_verify_identity()
            block = Measurements(self.modbus_unit)
            await block.async_update()
        if block.implausible_reason:
            raise ImplausibleError(block.implausible_reason)
        return block.possible_values(self.counter_check.limits.allow)

    async def async_read_registers(self) -> dict[int, int]:
        """Return the words of all supported blocks by register address.

        Raises `ModbusError` if one of the blocks cannot be read.
        """
        words: dict[int, int] = {}
        for name, block in self.blocks.items():
            if name != "power":  # because the measurements contain the power
                words |= (await block.async_read_raw())["holding"]
        return dict(sorted(words.items()))
