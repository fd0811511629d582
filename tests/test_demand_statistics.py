"""The demand in the statistics of the recorder."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)

from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from simulator import Meter

from .common import entity_id, state
from .demand_hours import (
    ENERGIES,
    SENSORS,
    START,
    RunningClock,
    poll_mainly,
    running_clock,
    set_load,
    sleep_until,
)
from .test_sensor import enable

# The demand in W of each quarter-hour, by the time at which the quarter-hour ends.
DEMANDS = {"12:15": 3000, "12:30": 9000, "12:45": 0, "13:00": 500}


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before Home Assistant is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Record only the demand, and commit it when the test reads it, to save time."""
    return {"commit_interval": 86_400, "include": {"entity_globs": ["sensor.*demand"]}}


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RunningClock]:
    """Let the clocks of Home Assistant and of the meter begin at 11:58."""
    poll_mainly(monkeypatch, ENERGIES)
    with running_clock(START) as clock:
        yield clock


async def test_highest_statistic_value_of_a_quarter_hour_is_its_demand(
    hass: HomeAssistant, clock: RunningClock, entry: CountisConfigEntry, meter: Meter
) -> None:
    await enable(hass, entry, *SENSORS)
    await sleep_until(hass, clock, "12:00:01")
    for end, watts in DEMANDS.items():
        set_load(meter, watts)
        await sleep_until(hass, clock, f"{end}:01")
    await async_wait_recording_done(hass)
    begin = clock.utcnow().replace(minute=0, second=0, microsecond=0)
    begin -= timedelta(hours=1)
    for minutes in range(5, 65, 5):  # the rows from 12:05 to 13:00
        start = get_start_time(begin + timedelta(minutes=minutes))
        do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)
    demand = entity_id(hass, "demand")
    rows = await get_instance(hass).async_add_executor_job(
        statistics_during_period,
        hass,
        begin,
        begin + timedelta(hours=1),
        {demand},
        "5minute",
        None,
        {"max"},
    )
    highest = [row["max"] or 0 for row in rows[demand]]
    # The first row of a quarter-hour also contains the last demand of the quarter-hour
    # before. So a group contains the second and the third row of a quarter-hour, and
    # the first row of the next one. The first group begins at 12:05. The last group has
    # only two rows, because the last row ends at 13:00.
    by_quarter = [max(highest[index : index + 3]) for index in range(0, 12, 3)]
    # The tolerance has two reasons. The last value of a period is up to 10 s old at the
    # end of the period: 100 W at 9000 W. The group of the period until 12:45 also
    # contains the first 5 min of the next period. In this time, 500 W raise the demand
    # to 167 W.
    assert by_quarter == pytest.approx(list(DEMANDS.values()), abs=200)
    assert float(state(hass, "peak_demand_this_month")) == pytest.approx(9000, abs=60)
