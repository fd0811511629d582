"""Commands to a meter, each confirmed by reading back.

Each holds the bus from its write to its first read-back, after verifying the
identity of the meter. Each passes what it reads to `publish` and raises a
`CommandError` if the meter did not carry it out, `ModbusError` if the bus leaves
that open, and as `Meter.async_verify_identity` does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
import logging
import re

from modbus_connection import (
    AcknowledgeError,
    IllegalFunctionError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)

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
from .registers import (
    PARTIAL_COUNTERS,
    PARTIAL_ENERGIES,
    PARTIAL_ENERGIES_RESET,
    SET_CLOCK,
    SET_TARIFF,
    TARIFF_COUNTERS,
    TARIFF_RESET,
    VALUE_RESET,
)

_LOGGER = logging.getLogger(__name__)

type Publish = Callable[[Reading], None]

# Read-backs after a command. A command takes a moment to show, so they are some
# time apart: 0.6 s in all.
CHECKS = 3
CHECK_DELAY = 0.3  # s

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
    """Set the partial counters to zero (57890; on an E1x or E2x also 40512)."""
    bits = _bits(meter, PARTIAL_COUNTERS)
    if not bits:
        msg = "the meter has no partial counters"
        raise ResetError(msg)
    await _async_publish_counters(meter, publish)
    done = await _async_reset(meter, "energies", VALUE_RESET, bits, publish)
    # Reserved on an E3x or E4x, so it is written only where it exists, or where the
    # meter refused the other command and nothing else is left.
    if not done and (done is None or re.search(r"\bE[12]\d", meter.profile.model)):
        done = await _async_reset(
            meter, "energies", PARTIAL_ENERGIES_RESET, PARTIAL_ENERGIES, publish
        )
    if not done:
        msg = "the partial counters did not fall to zero"
        raise ResetError(msg)


async def async_reset_tariff_counters(meter: Meter, publish: Publish) -> None:
    """Set the tariff counters to zero (57892)."""
    bits = _bits(meter, TARIFF_COUNTERS)
    await _async_publish_counters(meter, publish)
    if not bits or not await _async_reset(
        meter, "tariffs", TARIFF_RESET, bits, publish
    ):
        msg = "the tariff counters did not fall to zero"
        raise ResetTariffsError(msg)


async def async_set_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Let the meter count in this tariff (40481)."""
    if not await _async_command(
        meter, SET_TARIFF, [tariff], lambda _: _async_has_tariff(meter, publish, tariff)
    ):
        msg = f"the tariff is not {tariff}"
        raise SetTariffError(msg)


async def async_confirm_tariff(meter: Meter, publish: Publish, *, tariff: int) -> None:
    """Make sure that the meter counts in this tariff, after a broadcast."""
    await meter.async_verify_identity()
    if not await _async_until(lambda: _async_has_tariff(meter, publish, tariff)):
        msg = f"the tariff is not {tariff}"
        raise SetTariffError(msg)


async def async_set_clock(meter: Meter, publish: Publish) -> None:
    """Set the clock to the local time (57600 to 57605, in one write)."""
    if (block := meter.clock) is not None:
        await meter.async_verify_identity()
        publish(await meter.async_read("clock"))
        short_year = has_short_year(block.values)
        done = False

        async def is_set() -> bool:
            reading = await meter.async_read("clock")
            publish(reading)
            offset = reading.values["clock_offset"]
            return offset is not None and abs(offset) <= CLOCK_TOLERANCE

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
                if await _async_write(meter, SET_CLOCK, words):
                    done = await is_set()
            break
        if done:
            return
    msg = "the clock does not show the time that it was set to"
    raise SetClockError(msg)


def _until_full_second(meter: Meter) -> float:
    """Return the s until the next full second of the local time."""
    return 1 - meter.local_time().microsecond / 1_000_000


def _bits(meter: Meter, counters: Mapping[str, int]) -> int:
    """Return the bits of those of the counters that the meter has."""
    quantities = meter.profile.quantities
    return sum(bit for name, bit in counters.items() if name in quantities)


async def _async_publish_counters(meter: Meter, publish: Publish) -> None:
    """Read all counters, so that their last values are known before a reset."""
    async with meter.bus.hold():
        await meter.async_verify_identity()
        for name in COUNTERS:
            if meter.block(name) is not None:
                with suppress(ImplausibleError):
                    publish(await meter.async_read(name))


async def _async_command(
    meter: Meter,
    register: int,
    words: list[int],
    is_done: Callable[[float], Awaitable[bool]],
) -> bool | None:
    """Write registers, and return whether the meter carries the command out.

    `is_done` is called with the time of the write, in s of the event loop's clock.
    Returns None if the meter refuses the write.
    """
    async with meter.bus.hold():
        await meter.async_verify_identity()
        sent_at = asyncio.get_running_loop().time()
        if not await _async_write(meter, register, words):
            return None
        if await is_done(sent_at):
            return True
    await asyncio.sleep(CHECK_DELAY)
    return await _async_until(lambda: is_done(sent_at), checks=CHECKS - 1)


async def _async_until(
    is_done: Callable[[], Awaitable[bool]], *, checks: int = CHECKS
) -> bool:
    """Return whether a check succeeds, at the latest with its last repetition."""
    for attempt in range(checks):
        if attempt:
            await asyncio.sleep(CHECK_DELAY)
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
            try:
                await unit.write_register(register, words[0])
            except IllegalFunctionError:
                await unit.write_registers(register, words)
        else:
            await unit.write_registers(register, words)
    except AcknowledgeError, ModbusTimeoutError, ModbusProtocolError:
        return True
    except ModbusExceptionError as err:
        _LOGGER.debug(
            "Unit %s refuses %s = %s: %s", meter.unit_id, register, words, err
        )
        return False
    return True


async def _async_reset(
    meter: Meter, name: str, register: int, value: int, publish: Publish
) -> bool | None:
    """Reset counters of a block, and return whether they fell to zero.

    Returns None if the meter refuses the command.
    """
    counters = PARTIAL_COUNTERS if name == "energies" else TARIFF_COUNTERS

    async def is_reset(sent_at: float) -> bool:
        reading = await meter.async_read_reset(name, counters, since=sent_at)
        if reading is not None:
            publish(reading)
        return reading is not None

    return await _async_command(meter, register, [value], is_reset)


async def _async_has_tariff(meter: Meter, publish: Publish, tariff: int) -> bool:
    """Read the tariff, and return whether it is this one."""
    if meter.tariffs is None:
        return False
    reading = await meter.async_read("tariffs")
    publish(reading)
    return reading.values["tariff"] == tariff
