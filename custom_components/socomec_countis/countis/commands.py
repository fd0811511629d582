"""Commands to a meter, each confirmed by reading back.

Each holds the bus from its write to its first read-back, after verifying the
identity of the meter. Each passes what it reads to `publish` and raises a
`CommandError` if the meter did not carry it out, `ModbusError` if the bus leaves
that open, and as `Meter.async_verify_identity` does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
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
from .clock import has_short_year, registers_showing
from .errors import (
    ImplausibleError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
)
from .meter import Meter, Reading
from .profile import COUNTERS
from .registers import PARTIAL_COUNTERS, TARIFF_COUNTERS

_LOGGER = logging.getLogger(__name__)

type Publish = Callable[[Reading], None]

# A command takes a moment to show, so the read-back is repeated: 0.6 s in all.
REPETITIONS = 2
REPETITION_DELAY = 0.3  # s

# s; how far a clock may be off that was just set, because it shows whole seconds.
CLOCK_TOLERANCE = 2
# s before a full second at which the bus is requested to set the clock: longer than
# the transaction of the poller that may have to end first.
CLOCK_LEAD = 0.4
CLOCK_ATTEMPTS = 5

MOST_TARIFFS = 8  # register 51200 of an E34 or E44
USUAL_TARIFFS = 4


def tariffs(count: float | None) -> range:
    """Return the tariffs of a meter with this tariff count (51200)."""
    if count is None or not 1 <= count <= MOST_TARIFFS:
        count = USUAL_TARIFFS
    return range(1, int(count) + 1)


async def async_reset_partial_counters(meter: Meter, publish: Publish) -> None:
    """Set the partial counters to zero (57890; on an E1x or E2x also 40512).

    All tables name 57890. 40512 is reserved on an E3x or E4x, so it is written only
    if the model is known to be an E1x or E2x, and if 57890 had no effect.
    """
    commands = [(registers.VALUE_RESET, _bits(meter, PARTIAL_COUNTERS))]
    if meter.profile.family in registers.PARTIAL_ENERGIES_FAMILIES:
        commands.append((registers.PARTIAL_ENERGIES_RESET, registers.PARTIAL_ENERGIES))
    if not await _async_reset(meter, "energies", PARTIAL_COUNTERS, commands, publish):
        msg = "the partial counters did not fall to zero"
        raise ResetError(msg)


async def async_reset_tariff_counters(meter: Meter, publish: Publish) -> None:
    """Set the tariff counters to zero (57892)."""
    commands = [(registers.TARIFF_RESET, _bits(meter, TARIFF_COUNTERS))]
    if not await _async_reset(meter, "tariffs", TARIFF_COUNTERS, commands, publish):
        msg = "the tariff counters did not fall to zero"
        raise ResetTariffsError(msg)


async def async_set_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Let the meter count in this tariff (40481)."""
    if not await _async_command(
        meter,
        registers.SET_TARIFF,
        tariff,
        lambda _: _async_has_tariff(meter, publish, tariff),
    ):
        msg = f"the tariff is not {tariff}"
        raise SetTariffError(msg)


async def async_confirm_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Make sure that the meter counts in this tariff, after a broadcast."""
    await meter.async_verify_identity()
    is_set = partial(_async_has_tariff, meter, publish, tariff)
    if not (await is_set() or await _async_repeated(is_set)):
        msg = f"the tariff is not {tariff}"
        raise SetTariffError(msg)


async def async_set_clock(meter: Meter, publish: Publish) -> None:
    """Set the clock to the local time (57600 to 57605, in one write)."""
    if meter.clock is not None:
        await meter.async_verify_identity()
        publish(await meter.async_read("clock"))
        short_year = has_short_year(meter.clock.values)
        for _ in range(CLOCK_ATTEMPTS):
            # The seconds of the clock begin when it is set, so it is set at the
            # beginning of one. Until shortly before, other requests use the bus.
            await asyncio.sleep(max(_until_full_second(meter) - CLOCK_LEAD, 0))
            async with meter.bus.hold():
                await meter.async_verify_identity()
                left = _until_full_second(meter)
                if left > CLOCK_LEAD:
                    continue
                time = meter.local_time() + timedelta(seconds=left)
                words = registers_showing(time, short_year=short_year)
                await asyncio.sleep(left)
                if await _async_write(meter, registers.SET_CLOCK, words):
                    reading = await meter.async_read("clock")
                    publish(reading)
                    offset = reading.values["clock_offset"]
                    if offset is not None and abs(offset) <= CLOCK_TOLERANCE:
                        return
            break
    msg = "the clock does not show the time that it was set to"
    raise SetClockError(msg)


def _until_full_second(meter: Meter) -> float:
    """Return the s until the next full second of the local time."""
    return 1 - meter.local_time().microsecond / 1_000_000


def _bits(meter: Meter, counters: Mapping[str, int]) -> int:
    """Return the bits of those of the counters that the meter has."""
    return sum(counters[each] for each in counters.keys() & meter.profile.quantities)


async def _async_reset(
    meter: Meter,
    block: str,
    counters: Collection[str],
    commands: Sequence[tuple[int, int]],
    publish: Publish,
) -> bool:
    """Reset counters by the first command that works, and return whether one did.

    A command is a register address and its value. Raises `ImplausibleError` if the
    counters cannot be read before.
    """
    if meter.profile.quantities.isdisjoint(counters):
        return False
    # Read all counters twice, so that their last values are accepted before the reset.
    async with meter.bus.hold():
        await meter.async_verify_identity()
        for name in 2 * COUNTERS:
            if meter.block(name) is not None:
                try:
                    publish(await meter.async_read(name))
                except ImplausibleError:
                    if name == block:
                        raise

    async def is_reset(sent_at: float) -> bool:
        reading = await meter.async_read_reset(block, counters, since=sent_at)
        if reading is not None:
            publish(reading)
        return reading is not None

    for register, value in commands:
        if await _async_command(meter, register, value, is_reset):
            return True
    return False


async def _async_command(
    meter: Meter,
    register: int,
    value: int,
    is_done: Callable[[float], Awaitable[bool]],
) -> bool:
    """Write a register, and return whether the meter carries the command out.

    `is_done` is called with the time of the write, in s of the event loop's clock.
    """
    async with meter.bus.hold():
        await meter.async_verify_identity()
        sent_at = asyncio.get_running_loop().time()
        if not await _async_write(meter, register, [value]):
            return False
        if await is_done(sent_at):
            return True
    return await _async_repeated(lambda: is_done(sent_at))


async def _async_repeated(is_done: Callable[[], Awaitable[bool]]) -> bool:
    """Repeat a check that failed, and return whether it succeeds."""
    for _ in range(REPETITIONS):
        await asyncio.sleep(REPETITION_DELAY)
        if await is_done():
            return True
    return False


async def _async_write(meter: Meter, register: int, words: list[int]) -> bool:
    """Write registers in one request, with function 6 or 16.

    A response that is lost leaves open whether the command arrived; the read-back
    shows it. Returns False if the meter refuses the write.
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
        _LOGGER.debug("Unit %s refuses %s: %s", meter.unit_id, register, err)
        return False
    return True


async def _async_has_tariff(meter: Meter, publish: Publish, tariff: int) -> bool:
    """Read the tariff, and return whether it is this one."""
    if meter.tariffs is None:
        return False
    reading = await meter.async_read("tariffs")
    publish(reading)
    return reading.values["tariff"] == tariff
