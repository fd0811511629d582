"""The demo joins the imported statistics with those of a real recorder."""

from datetime import timedelta
import time
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from tools.demo.history import (
    async_import,
    async_join,
    async_problems,
    counter_rows,
)

from .conftest import Client

COUNTER = "sensor.energy_consumed"
HOURS = 14 * 24
KWH_SINCE_HOUR = 0.25  # kWh since the last full hour
STATE = 12_345.67  # kWh


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


@pytest.fixture
async def client(hass: HomeAssistant, hass_ws_client: WebSocketGenerator) -> Client:
    """Import two weeks of statistics of a counter, and return a client."""
    await async_setup_component(hass, "sensor", {})
    set_counter(hass, STATE)
    client = Client(await hass_ws_client())
    end = int(time.time()) // 3600 * 3600
    # 1.5 kWh in each hour.
    rows = counter_rows(end - HOURS * 3600, [1.5] * HOURS, KWH_SINCE_HOUR, STATE)
    await async_import(client, COUNTER, rows)
    await async_wait_recording_done(hass)
    return client


def set_counter(hass: HomeAssistant, state: float) -> None:
    """Set the state of the counter to `state` kWh."""
    hass.states.async_set(
        COUNTER,
        str(state),
        {
            "device_class": "energy",
            "state_class": "total_increasing",
            "unit_of_measurement": "kWh",
        },
    )


async def compile_statistics(hass: HomeAssistant) -> None:
    """Compile the five-minute statistics of the present period.

    If a period ended in the last minute, its statistics are compiled first.
    """
    await async_wait_recording_done(hass)
    now = dt_util.utcnow()
    starts = {get_start_time(now - timedelta(minutes=1)), get_start_time(now)}
    for start in sorted(starts):
        do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)


async def last_row(client: Client, period: str) -> dict[str, Any]:
    """Return the last row of the counter; `period` is "5minute" or "hour"."""
    rows = await client.command(
        type="recorder/statistics_during_period",
        start_time="2000-01-01T00:00:00+00:00",
        statistic_ids=[COUNTER],
        period=period,
        types=["state", "sum", "change"],
    )
    row: dict[str, Any] = rows[COUNTER][-1]
    return row


async def test_imported_statistics_have_no_problem(client: Client) -> None:
    assert await async_problems(client, COUNTER, STATE) == []


async def test_sums_are_not_joined_before_the_recorder_has_rows_of_its_own(
    client: Client,
) -> None:
    assert not await async_join(client, COUNTER)


async def test_joined_sum_continues_the_imported_sum(
    hass: HomeAssistant, client: Client
) -> None:
    imported = await last_row(client, "hour")
    assert imported["sum"] == HOURS * 1.5
    set_counter(hass, STATE + 0.1)
    await compile_statistics(hass)
    # The recorder does not continue the imported rows, so its sum begins at 0.
    assert (await last_row(client, "5minute"))["sum"] < 1
    assert await async_join(client, COUNTER)
    await async_wait_recording_done(hass)
    joined = await last_row(client, "5minute")
    assert joined["state"] == STATE + 0.1
    assert joined["sum"] - imported["sum"] == pytest.approx(KWH_SINCE_HOUR + 0.1)


async def test_second_join_changes_nothing(hass: HomeAssistant, client: Client) -> None:
    await compile_statistics(hass)
    sums = []
    for _ in range(3):
        assert await async_join(client, COUNTER)
        await async_wait_recording_done(hass)
        sums.append((await last_row(client, "5minute"))["sum"])
    assert sums == [pytest.approx(HOURS * 1.5 + KWH_SINCE_HOUR)] * 3


async def test_joined_sum_increases_with_the_counter(
    hass: HomeAssistant, client: Client
) -> None:
    await compile_statistics(hass)
    await async_join(client, COUNTER)
    set_counter(hass, STATE + 2)
    # The present period is compiled already, so the next one contains the new state.
    start = get_start_time(dt_util.utcnow()) + timedelta(minutes=5)
    await async_wait_recording_done(hass)
    do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)
    assert (await last_row(client, "5minute"))["sum"] == pytest.approx(
        HOURS * 1.5 + KWH_SINCE_HOUR + 2
    )
