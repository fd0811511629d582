"""Checks a demo that was set up."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from custom_components.socomec_countis.countis.energy_curve import Source
from tools.errors import ToolError
from tools.home_assistant import HomeAssistant
from tools.paths import DOMAIN

from . import dashboard, history
from .energy import async_energy_problems
from .entities import MeterEntities
from .history import COUNTERS, Past
from .set_up import DemoSetup

# In kWh; a simulated meter counts less than this between a reset and the next reading.
RESET_KWH = 0.05
# In s; in this time, a total has to rise by 0.01 kWh. In a check, the solar roof
# produces at least 450 W, so a rise takes at most 80 s.
COUNT_TIMEOUT = 180
IMPORT_TIMEOUT = 30  # s; the recorder imports the past in the background
POLL_SECONDS = 0.5  # s between two requests for the states
# In kWh; for each hour. The load curve rounds each record to 1 W. The readings of the
# counter before and after the gap are rounded to 0.01 kWh.
LOAD_CURVE_TOLERANCE = 0.03
TOTALS = ("energy_consumed", "energy_produced")


async def async_check(hass: HomeAssistant, setup: DemoSetup) -> None:
    """Check the services, the dashboards and the simulated meters.

    For each simulated meter, check the statistics, the gap if it has one, and the
    reset. The check fills the gap and resets the partial counters. A real meter, which
    has no past, stays unchanged.

    Raises `ToolError`, or an `ExceptionGroup` of such errors, with the reasons.
    """
    # This request must succeed, because the frontend shows "Loading" until it has the
    # services.
    await hass.command(type="get_services")
    # The check of the resets waits until a total rises. This can take more than a
    # minute, so both checks run in parallel.
    async with asyncio.TaskGroup() as group:
        group.create_task(async_check_history(hass, setup))
        simulated = setup.meters[: len(setup.pasts)]
        group.create_task(async_check_resets(hass, simulated))


async def async_check_history(hass: HomeAssistant, setup: DemoSetup) -> None:
    """Check the statistics. Then check and fill the gap of each meter with a gap."""
    await async_check_statistics(hass, setup.pasts_by_counter)
    for meter, past in zip(setup.meters, setup.pasts, strict=False):
        if past.outage:
            await async_check_stored_gap(hass, meter, past.outage)
            await async_fill_and_check_gap(hass, meter, past)


async def async_check_statistics(
    hass: HomeAssistant, pasts_by_counter: Mapping[str, Past]
) -> None:
    """Check two weeks of every counter, and the Energy and the demo dashboards.

    The keys of `pasts_by_counter` are the entity IDs of the counters.
    """
    problems = ["The statistics were not read"]
    with suppress(TimeoutError):
        async with asyncio.timeout(IMPORT_TIMEOUT):
            while problems:
                for counter in pasts_by_counter:
                    await history.async_join(hass, counter)
                states = await hass.async_states()
                problems = [
                    *await async_energy_problems(hass),
                    *await dashboard.async_problems(hass, states),
                ]
                for counter, past in pasts_by_counter.items():
                    problems += await history.async_problems(
                        hass, counter, float(states[counter]), past.outage
                    )
                await asyncio.sleep(POLL_SECONDS if problems else 0)
    if problems:
        raise ToolError("\n".join(problems))


async def async_check_stored_gap(
    hass: HomeAssistant, meter: MeterEntities, outage: range
) -> None:
    """Check that the integration has loaded the gap of a meter.

    The check reads the diagnostics, because the issue that offers to fill the gap is
    created only some minutes later.
    """
    entity = await hass.command(
        type="config/entity_registry/get", entity_id=meter["energy_consumed"]
    )
    diagnostics = await hass.request(
        "GET",
        f"/api/diagnostics/config_entry/{entity['config_entry_id']}"
        f"/device/{entity['device_id']}",
    )
    gaps = [(gap["begin"], gap["end"]) for gap in diagnostics["data"]["meter"]["gaps"]]
    if gaps != [(outage.start, outage.stop)]:
        msg = f"The gaps in the readings are {gaps}, not {outage}"
        raise ToolError(msg)


async def async_fill_and_check_gap(
    hass: HomeAssistant, meter: MeterEntities, past: Past
) -> None:
    """Fill the gap of a meter, and check the filled hours.

    The sum of all hours of a counter must not change.
    """
    consumed = meter["energy_consumed"]
    counters = [meter[key] for key in COUNTERS if key in meter]
    before = await async_energies(hass, counters)
    filled = await async_fill(hass, consumed, past.outage)
    if filled.get(consumed) != Source.LOAD_CURVE:
        msg = f"{consumed} was not filled from the load curve. Filled: {filled}"
        raise ToolError(msg)
    after = await async_energies(hass, counters)
    problems = [
        f"The hours of {counter} have {after[counter]} kWh in total, not"
        f" {before[counter]} kWh as before the gap was filled"
        for counter in counters
        if abs(after[counter] - before[counter]) > history.ROUNDING_KWH
    ]
    states = await hass.async_states()
    for counter in counters:
        # A counter that did not rise in the outage is not filled, so its hours stay
        # missing.
        outage = range(0) if counter in filled else past.outage
        state = float(states[counter])
        problems += await history.async_problems(hass, counter, state, outage)
    for hour in await history.async_hours(hass, consumed):
        start = hour["start"] // 1000  # ms to s
        true_kwh = past.energy("energy_consumed", start, start + history.HOUR_SECONDS)
        if (
            start in past.outage
            and abs(hour["change"] - true_kwh) > LOAD_CURVE_TOLERANCE
        ):
            problems.append(
                f"Hour {start} has {hour['change']} kWh, not {true_kwh} kWh"
            )
    if problems:
        raise ToolError("\n".join(problems))


async def async_fill(
    hass: HomeAssistant, counter: str, outage: range
) -> dict[str, str]:
    """Call the action `fill_gap` for the gap of a meter.

    `counter` is the entity ID of one counter of the meter. Return the `Source` of each
    filled counter, by entity ID.
    """
    begin, end = (
        datetime.fromtimestamp(at, UTC).isoformat()
        for at in (outage.start, outage.stop)
    )
    result = await hass.request(
        "POST",
        f"/api/services/{DOMAIN}/fill_gap?return_response",
        json={"entity_id": counter, "start": begin, "end": end},
    )
    (filled_meter,) = result["service_response"]["meters"]
    return {
        entity_id: filled_counter["source"]
        for entity_id, filled_counter in filled_meter["counters"].items()
    }


async def async_energies(
    hass: HomeAssistant, counters: Sequence[str]
) -> dict[str, float]:
    """Return the energy of each counter in all hours of its statistics, in kWh."""
    return {
        counter: sum(row["change"] for row in await history.async_hours(hass, counter))
        for counter in counters
    }


async def async_check_resets(
    hass: HomeAssistant, meters: Sequence[MeterEntities]
) -> None:
    """Reset all partial counters. Check that a total rises, and that no total falls."""
    before = await hass.async_states()
    for meter in meters:
        await async_check_reset(hass, meter)
    totals = [meter[key] for meter in meters for key in TOTALS]
    try:
        async with asyncio.timeout(COUNT_TIMEOUT):
            while meters:  # Without a simulated meter, no total has to rise.
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
