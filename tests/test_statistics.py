"""What the recorder makes of the counters."""

from datetime import timedelta

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)

from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from simulator import Constant, Meter, Phase

from .common import Clock, entity_id
from .test_button import press

KEYS = ("energy_consumed", "energy_produced", "partial_energy_consumed")


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Have the real recorder, which has to be there before Home Assistant."""


async def sums(hass: HomeAssistant) -> dict[str, float]:
    """Compile the statistics and return the energy that they have booked."""
    await async_wait_recording_done(hass)
    now = dt_util.utcnow()
    starts = {get_start_time(now - timedelta(minutes=1)), get_start_time(now)}
    for start in sorted(starts):
        do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)
    ids = {entity_id(hass, key): key for key in KEYS}
    rows = await get_instance(hass).async_add_executor_job(
        statistics_during_period,
        hass,
        now - timedelta(hours=1),
        None,
        set(ids),
        "5minute",
        None,
        {"sum"},
    )
    return {ids[id_]: round(found[-1]["sum"] or 0, 2) for id_, found in rows.items()}


async def test_the_statistics_hold_the_energy_that_was_metered_and_no_more(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    clock.seconds += 3600
    await entry.runtime_data.async_refresh()
    await press(hass)
    clock.seconds += 1800
    await entry.runtime_data.async_refresh()
    # 3 kW for an hour, then for another half of one.
    assert await sums(hass) == {
        "energy_consumed": 4.5,
        "energy_produced": 0,
        "partial_energy_consumed": 4.5,
    }


async def test_a_reload_and_a_silent_meter_book_nothing(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    meter.silent = True
    await entry.runtime_data.async_refresh()
    clock.seconds += 3600
    meter.silent = False
    await entry.runtime_data.async_refresh()
    await hass.config_entries.async_reload(entry.entry_id)
    assert (await sums(hass))["energy_consumed"] == 3
