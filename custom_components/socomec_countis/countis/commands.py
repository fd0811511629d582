"""Commands to a meter, each confirmed by a read-back.

While a command holds the bus lock, it verifies the identity of the meter, writes, and
reads back for the first time. `async_confirm_tariff` does not write. It only verifies
the identity and reads back. Each command passes its readings to `publish`.

Each command raises `CommandError` if the meter did not carry the command out. If a read
failed or the connection was lost, the command raises `ModbusError`. After a
`ModbusError`, either nothing was written, or the outcome is unknown. Each command also
raises the errors of `Meter.async_verify_identity`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
import logging

from modbus_connection import (
    AcknowledgeError,
    IllegalFunctionError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)

from . import registers
from .block import CounterBlock
from .clock import clock_words, has_short_year
from .errors import CommandError, ImplausibleError
from .meter import Meter, Reading
from .plausibility import CounterReading
from .profile import COUNTER_BLOCKS
from .registers import PARTIAL_COUNTERS, TARIFF_COUNTERS

_LOGGER = logging.getLogger(__name__)

type Publish = Callable[[Reading], None]

# A meter needs a moment to carry out a command, so a read-back that does not confirm
# the command is repeated after each of these delays. The read-back of the clock is not
# repeated. Our choice: 0.6 s in total.
READ_BACK_DELAYS = (0.3, 0.3)  # s

# In s; the largest offset of a clock that was just set. Our choice: larger than the
# error of the offset, which is up to 1 s because the clock shows whole seconds.
CLOCK_SET_TOLERANCE = 2
# In s; the command requests the bus lock at most this time before a full second. Our
# choice: usually enough to wait for a transaction of the poller, and to verify the
# identity.
CLOCK_LEAD = 0.4
CLOCK_ATTEMPTS = 5  # to lock the bus before a full second

E1X_E2X_FAMILIES = (1, 2)

HIGHEST_TARIFF_COUNT = 8  # the highest value of 51200 in Socomec's table
DEFAULT_TARIFF_COUNT = 4  # because the table has registers for four tariff counters


def tariffs(count: float | None) -> range:
    """Return the tariffs of a meter with this tariff count (51200).

    If the count is None or not in 1 to `HIGHEST_TARIFF_COUNT`, the meter is assumed to
    have `DEFAULT_TARIFF_COUNT` tariffs.
    """
    if count is None or not 1 <= count <= HIGHEST_TARIFF_COUNT:
        count = DEFAULT_TARIFF_COUNT
    return range(1, int(count) + 1)


async def async_reset_partial_counters(meter: Meter, publish: Publish) -> None:
    """Set the partial counters to zero (57890).

    Socomec's tables of all models contain 57890. If 57890 had no effect on an E1x or
    E2x, the command writes 40512.
    """
    commands = [(registers.VALUE_RESET, _bits(meter, PARTIAL_COUNTERS))]
    if meter.profile.family in E1X_E2X_FAMILIES:
        commands.append(
            (registers.PARTIAL_ENERGIES_RESET, registers.PARTIAL_ENERGIES_BIT)
        )
    if not await _async_reset(meter, "energies", PARTIAL_COUNTERS, commands, publish):
        raise CommandError(key="reset_failed")


async def async_reset_tariff_counters(meter: Meter, publish: Publish) -> None:
    """Set the tariff counters to zero (57892)."""
    commands = [(registers.TARIFF_RESET, _bits(meter, TARIFF_COUNTERS))]
    if not await _async_reset(meter, "tariffs", TARIFF_COUNTERS, commands, publish):
        raise CommandError(key="tariff_reset_failed")


async def async_set_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Set the tariff in which the meter counts (40481)."""
    read_back = partial(_async_has_tariff, meter, publish, tariff)
    if not await _async_command(
        meter, registers.SET_TARIFF, tariff, lambda _: read_back()
    ):
        raise CommandError(key="tariff_not_set")


async def async_confirm_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Confirm by a read-back that a broadcast has set the tariff (51201)."""
    await meter.async_verify_identity()
    read_back = partial(_async_has_tariff, meter, publish, tariff)
    if not (await read_back() or await _async_confirmed_later(read_back)):
        raise CommandError(key="tariff_not_set")


async def async_set_clock(meter: Meter, publish: Publish) -> None:
    """Set the clock to the local time (57600 to 57605, in one write).

    Also raises `CommandError` if the meter has no clock, or if none of the
    `CLOCK_ATTEMPTS` locks the bus before a full second.
    """
    clock = meter.blocks.get("clock")
    if clock is not None:
        await meter.async_verify_identity()
        publish(await meter.async_read("clock"))
        short_year = has_short_year(clock.values)
        for _ in range(CLOCK_ATTEMPTS):
            # A meter begins a new second when its clock is written, so the command
            # writes at a full second. Other tasks can use the bus until `CLOCK_LEAD`
            # before this second.
            await asyncio.sleep(max(_until_full_second(meter) - CLOCK_LEAD, 0))
            async with meter.bus.hold():
                await meter.async_verify_identity()
                seconds = _until_full_second(meter)
                if seconds > CLOCK_LEAD:
                    continue  # too late: the full second has passed
                time = meter.local_time() + timedelta(seconds=seconds)
                words = clock_words(time, short_year=short_year)
                await asyncio.sleep(seconds)
                if await _async_write(meter, registers.SET_CLOCK, words):
                    reading = await meter.async_read("clock")
                    publish(reading)
                    offset = reading.values["clock_offset"]
                    if offset is not None and abs(offset) <= CLOCK_SET_TOLERANCE:
                        return
            break
    raise CommandError(key="clock_not_set")


def _until_full_second(meter: Meter) -> float:
    """Return the time until the next full second of the local time, in s."""
    return 1 - meter.local_time().microsecond / 1_000_000


def _bits(meter: Meter, counters: Mapping[str, int]) -> int:
    """Return the sum of the reset bits of all `counters` that the meter has."""
    return sum(counters[each] for each in counters.keys() & meter.profile.quantities)


async def _async_reset(
    meter: Meter,
    name: str,
    counters: Mapping[str, int],
    commands: Sequence[tuple[int, int]],
    publish: Publish,
) -> bool:
    """Reset counters of a block, and return whether a read-back confirms the reset.

    Each command is a register address and its value. A command is sent only if the
    previous command had no effect. Raises `ImplausibleError` if the block is
    implausible before the reset.
    """
    existing = counters.keys() & meter.profile.quantities
    block = meter.blocks.get(name)
    if not existing or not isinstance(block, CounterBlock):
        return False
    # The reset deletes the counted energy that is not accepted yet. The accepted value
    # of a counter rises only to the lower of two consecutive readings. So read all
    # counters twice, to accept their latest values.
    async with meter.bus.hold():
        await meter.async_verify_identity()
        for each in 2 * COUNTER_BLOCKS:
            if meter.block(each) is not None:
                try:
                    publish(await meter.async_read(each))
                except ImplausibleError:
                    if each == name:
                        raise

    async def read_back(sent_at: float) -> bool:
        meter.counter_check.expect_reset(counters)
        at = meter.now()
        await block.async_update()
        values = block.values
        found = {each: values[each] for each in existing}
        seconds = asyncio.get_running_loop().time() - sent_at
        limit = meter.counter_check.reset_limit(seconds, block.step)
        # A counter that is not available does not confirm its reset.
        if any(value is None or value > limit for value in found.values()):
            return False
        meter.counter_check.accept_reset(CounterReading(name, found, block.step, at))
        publish(meter.accepted_reading(name, block, at))
        return True

    for register, value in commands:
        if await _async_command(meter, register, value, read_back):
            return True
    return False


async def _async_command(
    meter: Meter,
    register: int,
    value: int,
    read_back: Callable[[float], Awaitable[bool]],
) -> bool:
    """Write a register, and return whether a read-back confirms the command.

    `read_back` returns whether a read-back confirms the command. The argument of
    `read_back` is the time of the write, in s of the event loop's clock.
    """
    async with meter.bus.hold():
        await meter.async_verify_identity()
        sent_at = asyncio.get_running_loop().time()
        if not await _async_write(meter, register, [value]):
            return False
        if await read_back(sent_at):
            return True
    return await _async_confirmed_later(lambda: read_back(sent_at))


async def _async_confirmed_later(read_back: Callable[[], Awaitable[bool]]) -> bool:
    """Read back after each delay, until a read-back confirms the command.

    Returns whether a read-back confirmed the command.
    """
    for delay in READ_BACK_DELAYS:
        await asyncio.sleep(delay)
        if await read_back():
            return True
    return False


async def _async_write(meter: Meter, register: int, words: list[int]) -> bool:
    """Write one register with function 6, or several with function 16.

    If the meter does not support function 6, one register is written with function 16.
    Returns False if the meter refuses the write. Returns True also if the response is
    lost or damaged, or if the meter needs more time (`AcknowledgeError`). Then only the
    read-back shows whether the meter carried the command out.
    """
    unit = meter.modbus_unit
    try:
        if len(words) == 1:
            with suppress(IllegalFunctionError):
                await unit.write_register(register, words[0])
                return True
        await unit.write_registers(register, words)
    except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
        pass
    except ModbusExceptionError as err:
        _LOGGER.debug(
            "The meter at unit ID %s refuses to write register %s, so the command has"
            " no effect: %s",
            *(meter.unit_id, register, err),
        )
        return False
    return True


async def _async_has_tariff(meter: Meter, publish: Publish, tariff: int) -> bool:
    """Read the tariff (51201), and return whether it is `tariff`.

    The reading is published, unless it is implausible.
    """
    block = meter.blocks.get("tariffs")
    if block is None:
        return False
    try:
        publish(await meter.async_read("tariffs"))
    except ImplausibleError:
        # The tariff may be correct in spite of implausible counters or measurements. If
        # the measurements were implausible, `async_read` did not read the block. So
        # read the block here, without a check of its counters.
        await block.async_update()
    return block.values["tariff"] == tariff
