"""Shows the values of the demo until Ctrl-C."""

import asyncio
from collections.abc import Iterable, Mapping
import math
import sys
import time

from aiohttp import ClientConnectionError

from tools.errors import ToolError
from tools.home_assistant import HomeAssistant
from tools.home_assistant.login import LOGIN_SECONDS, async_log_in

from .history import async_join
from .table import value_table

TERMINAL_SECONDS = 1  # s between two tables in a terminal: the period of the poller
# Seconds between two tables in a file. All tables stay in the file, and one table a
# minute is enough to show the trend.
FILE_SECONDS = 60
# Seconds between two calls of `async_join` for a counter. A call succeeds after the
# recorder has written its first row of five minutes.
JOIN_SECONDS = 5


async def async_table(hass: HomeAssistant, places: Mapping[str, str]) -> list[str]:
    """Return the table of all meters that are set up now.

    `places` contains the place of each simulated meter, such as "grid", by subentry ID.
    """
    return value_table(
        await hass.async_entities(),
        await hass.async_meter_titles(),
        places,
        await hass.async_sensor_texts(),
        units=await hass.async_units(),
        decimals=await hass.async_decimals(),
        states=await hass.async_states(),
    )


async def async_watch(
    hass: HomeAssistant, counters: Iterable[str], places: Mapping[str, str]
) -> None:
    """Print the values repeatedly.

    `counters` are the entity IDs of counters with an imported past. `places` contains
    the places of the meters by subentry ID. Raises `ToolError` if Home Assistant ends.
    """
    try:
        await _async_watch(hass, counters, places)
    except ClientConnectionError:
        msg = "Home Assistant was stopped or restarted. Start the demo again."
        raise ToolError(msg) from None


async def _async_watch(
    hass: HomeAssistant, counters: Iterable[str], places: Mapping[str, str]
) -> None:
    logged_in_at = time.monotonic()
    shown_at = tried_at = -math.inf
    height = 0
    not_joined = list(counters)
    while True:
        now = time.monotonic()
        if now - logged_in_at > LOGIN_SECONDS:
            await async_log_in(hass)
            logged_in_at = now
        if now - tried_at > JOIN_SECONDS:
            not_joined = [
                each for each in not_joined if not await async_join(hass, each)
            ]
            tried_at = now
        is_terminal = sys.stdout.isatty()
        if now - shown_at >= (TERMINAL_SECONDS if is_terminal else FILE_SECONDS):
            lines = await async_table(hass, places)
            if is_terminal and height:
                # Move the cursor up to the first line of the last table, and erase this
                # table.
                print(f"\033[{height}A\033[J", end="")
            print("\n".join(lines), flush=True)
            shown_at, height = now, len(lines)
        await asyncio.sleep(TERMINAL_SECONDS)
