"""What a COUNTIS can be told: each command is confirmed by reading back.

Each raises a `CommandError` if the meter did not follow, `ModbusError` if the line
leaves that open, and as `Countis.async_update` does for a meter that is not the
one it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
import re

from modbus_connection import ModbusTimeoutError, ModbusUnit

from .errors import ResetError, ResetTariffsError, SetClockError, SetTariffError
from .line import Line
from .meter import FIRST_WAIT, Countis
from .registers import (
    PARTIAL_COUNTERS,
    PARTIAL_ENERGIES,
    PARTIAL_ENERGIES_RESET,
    SET_CLOCK,
    SET_TARIFF,
    TARIFF_COUNTERS,
    TARIFF_RESET,
    VALUE_RESET,
    Counters,
    Values,
)

# A command takes a moment to show.
CHECKS = 3
CHECK_DELAY = 0.3

# What 80 kW, the most a meter for 100 A can see, count in one second.
RESET_TO_KWH = 0.02

# How far a clock may be off that was just set: it shows whole seconds.
CLOCK_SECONDS = 2

# The answer to a write is as long as that to a read of so many registers.
BROADCAST_AS_READ = (2,)
# Nobody answers a broadcast, so the meters are given the time for it.
BROADCAST_DELAY = 0.2

MOST_TARIFFS = 8
USUAL_TARIFFS = 4


def tariffs(count: float | None) -> range:
    """Return the tariffs of a meter with this tariff count (51200), if it says."""
    if count is None or not 1 <= count <= MOST_TARIFFS:
        count = USUAL_TARIFFS
    return range(1, int(count) + 1)


async def async_reset_partial_counters(meter: Countis) -> Values:
    """Set the partial counters to zero (57890); return them as read back."""
    async with meter.exclusively():
        energies = meter.energies
        names = _counting(energies, PARTIAL_COUNTERS)
        if energies is None or not names:
            msg = "the meter has no partial counters"
            raise ResetError(msg)
        bits = sum(PARTIAL_COUNTERS[name] for name in names)
        accepted = await meter.async_write(VALUE_RESET, bits)
        if accepted and await _async_are_reset(meter, energies, names):
            return _believe_reset(meter, energies, PARTIAL_COUNTERS)
        # Reserved on an E3x or E4x: asked for only where it exists, or where
        # there is nothing else left to ask for.
        if (not accepted or re.search(r"\bE[12]\d", meter.model)) and (
            await meter.async_write(PARTIAL_ENERGIES_RESET, PARTIAL_ENERGIES)
            and await _async_are_reset(meter, energies, names)
        ):
            return _believe_reset(meter, energies, PARTIAL_COUNTERS)
    msg = "the partial counters did not fall to zero"
    raise ResetError(msg)


async def async_reset_tariff_counters(meter: Countis) -> Values:
    """Set the tariff counters to zero (57892); return them as read back."""
    async with meter.exclusively():
        block = meter.tariffs
        names = _counting(block, TARIFF_COUNTERS)
        if block is not None and names:
            bits = sum(TARIFF_COUNTERS[name] for name in names)
            accepted = await meter.async_write(TARIFF_RESET, bits)
            if accepted and await _async_are_reset(meter, block, names):
                return _believe_reset(meter, block, TARIFF_COUNTERS)
    msg = "the tariff counters did not fall to zero"
    raise ResetTariffsError(msg)


async def async_set_tariff(meter: Countis, tariff: int) -> Values:
    """Have the meter count in this tariff (40481); return it as read back."""
    async with meter.exclusively():
        if await meter.async_write(SET_TARIFF, tariff) and (
            await _async_has_tariff(meter, tariff)
        ):
            return {"tariff": tariff}
    msg = f"the tariff is not {tariff}"
    raise SetTariffError(msg)


async def async_broadcast_tariff(unit: ModbusUnit, line: Line, tariff: int) -> None:
    """Have every meter on a line count in this tariff; `unit` is address 0."""

    async def write() -> None:
        await unit.write_register(SET_TARIFF, tariff)
        await asyncio.sleep(BROADCAST_DELAY)

    # Some clients wait for the answer that nobody gives.
    with suppress(ModbusTimeoutError):
        await line.async_take_turn(BROADCAST_AS_READ, write(), wait=FIRST_WAIT)


async def async_confirm_tariff(meter: Countis, tariff: int) -> Values:
    """Return the tariff as read back, after a broadcast."""
    async with meter.exclusively():
        if await _async_has_tariff(meter, tariff):
            return {"tariff": tariff}
    msg = f"the tariff is not {tariff}"
    raise SetTariffError(msg)


async def async_set_clock(meter: Countis) -> Values:
    """Set the clock to the local time (57600); return its offset as read back."""
    async with meter.exclusively():
        if (clock := meter.clock) is not None:
            await meter.async_reread(clock)
            # Its seconds begin when it is set, so they are set when one begins.
            now = meter.local_time()
            begins = now.replace(microsecond=0) + timedelta(seconds=1)
            await asyncio.sleep((begins - now).total_seconds())
            if await meter.async_write(SET_CLOCK, *clock.showing(begins)):
                await meter.async_reread(clock)
                offset = clock.values["clock_offset"]
                if offset is not None and abs(offset) <= CLOCK_SECONDS:
                    return clock.values
    msg = "the clock does not show the time that it was set to"
    raise SetClockError(msg)


def _counting(block: Counters | None, counters: Mapping[str, int]) -> list[str]:
    """Return those of the counters that the meter has."""
    values = {} if block is None else block.values
    return [name for name in counters if values.get(name) is not None]


async def _async_until(check: Callable[[], Awaitable[bool]]) -> bool:
    """Check until it is so, for about a second."""
    for attempt in range(CHECKS):
        if attempt:
            await asyncio.sleep(CHECK_DELAY)
        if await check():
            return True
    return False


async def _async_are_reset(meter: Countis, block: Counters, names: list[str]) -> bool:
    async def check() -> bool:
        await meter.async_reread(block)
        values = [block.values[name] for name in names]
        # A counter that reads "not available" is not known to be reset.
        return all(value is not None and value <= RESET_TO_KWH for value in values)

    return await _async_until(check)


async def _async_has_tariff(meter: Countis, tariff: int) -> bool:
    async def check() -> bool:
        if meter.tariffs is None:
            return False
        await meter.async_reread(meter.tariffs)
        return meter.tariffs.tariff == tariff

    return await _async_until(check)


def _believe_reset(
    meter: Countis, block: Counters, counters: Mapping[str, int]
) -> Values:
    values: Values = {name: block.values[name] for name in _counting(block, counters)}
    meter.guard.forget(values)
    meter.guard.doubts("reset", values, block.step, meter.now())
    return values
