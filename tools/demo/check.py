"""Checks a demo that was set up."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from tools.errors import ToolError
from tools.home_assistant import HomeAssistant

from . import dashboard, history
from .energy import async_energy_problems
from .house import MeterEntities

# kWh; more than a house counts between a reset and the next reading.
RESET_KWH = 0.05
# A house with 250 W counts a step of 0.01 kWh in 144 s.
COUNT_TIMEOUT = 180  # s
IMPORT_TIMEOUT = 30  # s; the recorder imports the past in the background
POLL_SECONDS = 0.5
TOTALS = ("energy_consumed", "energy_produced")


async def async_check(
    hass: HomeAssistant, meters: Sequence[MeterEntities], counters: Sequence[str]
) -> None:
    """Check the services, the statistics and the reset of every meter.

    Raises `ToolError`, or an `ExceptionGroup` of them, with the reasons.
    """
    # The frontend shows "Loading" until it has the services.
    await hass.command(type="get_services")
    # A counter needs some s for its next step, so both checks run at once.
    async with asyncio.TaskGroup() as group:
        group.create_task(async_check_statistics(hass, counters))
        group.create_task(async_check_resets(hass, meters))


async def async_check_statistics(hass: HomeAssistant, counters: Sequence[str]) -> None:
    """Check two weeks of every counter, and both dashboards."""
    problems = ["The statistics were not read"]
    with suppress(TimeoutError):
        async with asyncio.timeout(IMPORT_TIMEOUT):
            while problems:
                for counter in counters:
                    await history.async_join(hass, counter)
                states = await hass.async_states()
                problems = [
                    *await async_energy_problems(hass),
                    *await dashboard.async_problems(hass, states),
                ]
                for counter in counters:
                    problems += await history.async_problems(
                        hass, counter, float(states[counter])
                    )
                await asyncio.sleep(POLL_SECONDS if problems else 0)
    if problems:
        raise ToolError("\n".join(problems))


async def async_check_resets(
    hass: HomeAssistant, meters: Sequence[MeterEntities]
) -> None:
    """Reset all partial counters. Check that a total rises, and that none falls."""
    before = await hass.async_states()
    for meter in meters:
        await async_check_reset(hass, meter)
    totals = [meter[key] for meter in meters for key in TOTALS]
    try:
        async with asyncio.timeout(COUNT_TIMEOUT):
            while meters:
                now = await hass.async_states()
                for total in totals:
                    if float(now[total]) < float(before[total]):
                        msg = f"{total} fell from {before[total]} to {now[total]} kWh"
                        raise ToolError(msg)
                if any(float(now[total]) > float(before[total]) for total in totals):
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        msg = f"None of {totals} has risen in {COUNT_TIMEOUT} s"
        raise ToolError(msg) from None


async def async_check_reset(hass: HomeAssistant, meter: MeterEntities) -> None:
    """Press the reset button of a meter, and check its partial counters."""
    partials = [meter[f"partial_{key}"] for key in TOTALS]
    before = await hass.async_states()
    if max(float(before[entity_id]) for entity_id in partials) <= RESET_KWH:
        msg = f"{partials} are {RESET_KWH} kWh or less before the reset"
        raise ToolError(msg)
    await hass.async_press(meter["reset_partial_counters"])
    after = await hass.async_states()
    for entity_id in partials:
        if float(after[entity_id]) > RESET_KWH:
            msg = f"{entity_id} is {after[entity_id]} kWh after the reset"
            raise ToolError(msg)
