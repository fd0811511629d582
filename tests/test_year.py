"""After a year of mishaps, the statistics contain the energy that the meter counted."""

import os
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from custom_components.socomec_countis import coordinator, runtime
from custom_components.socomec_countis.coordinator import CountisCoordinator
from custom_components.socomec_countis.countis import Correction
from custom_components.socomec_countis.issues import create_correction_issue
from homeassistant.core import HomeAssistant
from simulator import Counters
from simulator.counters import COUNTER_RANGE_WH

from .common import Clock
from .test_statistics import recorded_energy
from .year import DISPLAY_ROLLOVER_WH, TRANSFORMER_MODEL, World, YearMeter

# Number of simulated years, each with its own seed. To simulate more of them, use
# YEARS=50 ./scripts/test tests/test_year.py.
YEARS = int(os.environ.get("YEARS", "2"))
RECORDED_YEARS = max(1, YEARS // 10)  # number of years with a real recorder
MISHAPS = 44  # in a year: each of the 22 mishaps twice

TOLERANCE = 0.0101  # kWh; the first and the last state are truncated to 0.01 kWh


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """If the test uses a recorder, prepare its database before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """
    if "recorder_mock" in request.fixturenames:
        request.getfixturevalue("recorder_mock")
    request.getfixturevalue("enable_custom_integrations")


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Commit the states when the test reads them, to save time."""
    return {"commit_interval": 86_400}


@pytest.fixture
def world(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> World:
    """Return a world: one meter, and Home Assistant.

    `seed` determines the meter and the mishaps. The tests set all clocks themselves, so
    they turn off `VirtualLoop` with the mark `real_time`.
    """
    random = Random(seed)  # noqa: S311
    true_time = Clock()
    monotonic = Clock(1000)
    # Pairs in Wh: the consumed energy, and the energy at which counters roll over. In
    # the first pair, the consumed energy is far below the rollover. In the others, it
    # is just below the rollover. The seed selects a pair.
    consumed, rollover = (
        (1_234_560, COUNTER_RANGE_WH),
        (DISPLAY_ROLLOVER_WH - 20, DISPLAY_ROLLOVER_WH),
        (COUNTER_RANGE_WH - 50_000, COUNTER_RANGE_WH),
    )[seed % 3]
    world = World(
        hass,
        hass_storage,
        random,
        YearMeter(
            true_time=true_time,
            model=random.choice(("Countis E33", TRANSFORMER_MODEL)),
            rollover=rollover,
            counters=Counters(
                consumed=consumed,
                reactive=300_010,
                produced=7_890,
                partial_consumed=45_670,
                partial_reactive=1_230,
                partial_produced=890,
                # The sum of the tariffs is the consumed energy.
                tariffs=[consumed - 200_000, 150_000.0, 50_000.0, 0.0],
            ),
        ),
        true_time,
        monotonic,
    )
    # In debug mode, the loop would log a callback as slow if the test sets the loop's
    # clock during this callback.
    hass.loop.set_debug(enabled=False)
    monkeypatch.setattr(hass.loop, "time", monotonic)
    monkeypatch.setattr(runtime, "async_get_unit", world.client)
    monkeypatch.setattr(
        runtime, "time", SimpleNamespace(time=world.wall_time, monotonic=monotonic)
    )

    def note_correction(owner: CountisCoordinator, correction: Correction) -> None:
        world.note_correction(correction)
        create_correction_issue(owner, correction)

    monkeypatch.setattr(coordinator, "create_correction_issue", note_correction)
    return world


@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(YEARS))
async def test_statistics_of_a_year_of_mishaps_contain_the_metered_energy(
    world: World,
) -> None:
    await world.start()
    await world.run_year(MISHAPS)
    assert world.energy_in_statistics() == pytest.approx(
        world.metered_energy(), abs=TOLERANCE
    )
    await world.stop()


@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(100, 100 + RECORDED_YEARS))
async def test_recorded_sums_of_a_year_of_mishaps_are_the_metered_energy(
    recorder_mock: object, world: World
) -> None:
    world.is_recorded = True
    await world.start()
    await world.run_year(MISHAPS // 2)  # each mishap once
    energy = await recorded_energy(world.hass, world.ids)
    assert energy == pytest.approx(world.energy_in_statistics(), abs=0.001)
    assert energy == pytest.approx(world.metered_energy(), abs=TOLERANCE)
    await world.stop()
