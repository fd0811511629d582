"""A year of mishaps: the statistics contain the energy that the meter counted."""

from datetime import timedelta
import os
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)

from custom_components.socomec_countis import coordinator, runtime
from custom_components.socomec_countis.coordinator import CountisCoordinator
from custom_components.socomec_countis.countis import Correction
from custom_components.socomec_countis.issues import create_correction
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from simulator import Counters
from simulator.counters import OVERFLOW_WH

from .common import Clock
from .year import DISPLAY_WH, TRANSFORMER_MODEL, World, YearMeter

# YEARS=50 ./scripts/test tests/test_year.py
YEARS = int(os.environ.get("YEARS", "3"))
RECORDED_YEARS = max(1, YEARS // 10)
MISHAPS = 44

# kWh; the first and the last state are truncated to a step.
TOLERANCE = 0.0101


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Set up the recorder before Home Assistant, if the test has one."""
    if "recorder_mock" in request.fixturenames:
        request.getfixturevalue("recorder_mock")
    request.getfixturevalue("enable_custom_integrations")


@pytest.fixture
def world(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> World:
    """Return the meter of a seed, and a Home Assistant whose time stands still."""
    random = Random(seed)  # noqa: S311
    true_time = Clock()
    monotonic = Clock(1000)
    consumed, rollover = (
        (1_234_560, OVERFLOW_WH),
        (DISPLAY_WH - 20, DISPLAY_WH),
        (OVERFLOW_WH - 50_000, OVERFLOW_WH),
    )[seed % 3]
    world = World(
        hass,
        hass_storage,
        random,
        YearMeter(
            clock=true_time,
            model=random.choice(("Countis E33", TRANSFORMER_MODEL)),
            rollover=rollover,
            counters=Counters(
                consumed=consumed,
                reactive=300_010,
                produced=7_890,
                partial_consumed=45_670,
                partial_reactive=1_230,
                partial_produced=890,
                tariffs=[consumed - 200_000, 150_000.0, 50_000.0, 0.0],
            ),
        ),
        true_time,
        monotonic,
    )
    hass.loop.set_debug(enabled=False)  # it would log that callbacks take long
    monkeypatch.setattr(hass.loop, "time", monotonic)
    monkeypatch.setattr(runtime, "async_get_unit", world.client)
    monkeypatch.setattr(
        runtime, "time", SimpleNamespace(time=world.wall_time, monotonic=monotonic)
    )

    def note_correction(of: CountisCoordinator, correction: Correction) -> None:
        world.note_correction(correction)
        create_correction(of, correction)

    monkeypatch.setattr(coordinator, "create_correction", note_correction)
    return world


async def recorded(hass: HomeAssistant, ids: dict[str, str]) -> dict[str, float]:
    """Compile the statistics, and return the energy that they contain in kWh."""
    await async_wait_recording_done(hass)
    now = dt_util.utcnow()
    periods = {get_start_time(now - timedelta(minutes=5)), get_start_time(now)}
    for start in sorted(periods):
        do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)
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
    return {ids[each]: found[-1]["sum"] or 0 for each, found in rows.items()}


@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(YEARS))
async def test_statistics_of_a_year_of_mishaps_contain_the_metered_energy(
    world: World,
) -> None:
    await world.start()
    await world.live(MISHAPS)
    assert world.booked() == pytest.approx(world.expected(), abs=TOLERANCE)
    await world.stop()


@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(100, 100 + RECORDED_YEARS))
async def test_recorder_books_a_year_of_mishaps_as_metered(
    recorder_mock: object, world: World
) -> None:
    world.is_recorded = True
    await world.start()
    await world.live(MISHAPS // 2)
    found = await recorded(world.hass, world.ids)
    assert found == pytest.approx(world.booked(), abs=0.001)
    assert found == pytest.approx(world.expected(), abs=TOLERANCE)
    await world.stop()
