"""The energy that the statistics of the recorder contain."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
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
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from simulator import (
    ANOTHER_UNIT_ID,
    FLIPPED,
    LOST,
    NOISE_BEFORE,
    TRUNCATED,
    ZEROS,
    Constant,
    Fault,
    House,
    Line,
    Meter,
    Phase,
    table,
)

from .common import Clock, coordinator_of, entity_id, until, until_polled, until_read
from .test_button import press

pytestmark = pytest.mark.usefixtures("fast_polling", "short_pauses")

KEYS = (
    "energy_consumed",
    "energy_produced",
    "partial_energy_consumed",
    "tariff_1_energy",
)

STEP_SECONDS = 1200  # s between two polls of a day; more polls make the test slower
TOLERANCE = 0.0101  # kWh; one step of a counter, and the rounding errors of floats
DAY_STEPS = 86_400 // STEP_SECONDS
SEEDS = range(2)  # one simulated day each


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Record only energies, and commit them when the test reads them, to save time."""
    return {"commit_interval": 86_400, "include": {"entity_globs": ["sensor.*energy*"]}}


async def recorded_energy(
    hass: HomeAssistant, names: dict[str, str]
) -> dict[str, float]:
    """Compile the statistics, and return the sum in kWh of each counter.

    `names` contains the name of each counter by the ID of its entity.
    """
    await async_wait_recording_done(hass)
    recorder = get_instance(hass)
    begin = start = get_start_time(recorder.recorder_runs_manager.recording_start)
    while start <= dt_util.utcnow():
        do_adhoc_statistics(hass, start=start)
        start += timedelta(minutes=5)
    await async_wait_recording_done(hass)
    rows = await recorder.async_add_executor_job(
        statistics_during_period,
        hass,
        begin,
        None,
        set(names),
        "5minute",
        None,
        {"sum"},
    )
    return {names[each]: found[-1]["sum"] or 0 for each, found in rows.items()}


async def sums(hass: HomeAssistant) -> dict[str, float]:
    """Return the recorded energy of the meter in kWh by counter, rounded to 10 Wh."""
    recorded = await recorded_energy(hass, {entity_id(hass, key): key for key in KEYS})
    return {key: round(energy, 2) for key, energy in recorded.items()}


async def test_statistics_contain_the_energy_that_was_metered(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    clock.seconds += 3600
    await press(hass)  # reset the partial counters
    clock.seconds += 1800
    await until_polled(entry)
    # 3 kW for an hour and a half.
    assert await sums(hass) == {
        "energy_consumed": 4.5,
        "energy_produced": 0,
        "partial_energy_consumed": 4.5,
        "tariff_1_energy": 4.5,
    }


async def test_energy_counted_while_offline_is_added_once_despite_a_reload(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    clock.seconds += 3600
    meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    await until_polled(entry)
    assert (await sums(hass))["energy_consumed"] == 3  # 3 kW for an hour


@dataclass
class DayOfMishaps:
    """A meter and its bus, with a method for each mishap of a day."""

    hass: HomeAssistant
    entry: CountisConfigEntry
    line: Line
    meter: Meter
    clock: Clock
    random: Random

    @property
    def mishaps(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return a function for each kind of mishap."""
        return (
            self.disturb_responses,
            self.override_a_counter,
            self.restart_the_meter,
            self.make_counters_unavailable,
            self.refuse_requests,
            self.cut_the_line,
            self.reload,
            self.reload_without_the_meter,
            self.reset_at_the_meter,
        )

    async def poll(self, seconds: float = 1) -> None:
        """Advance the clock by `seconds`, and wait for a poll."""
        self.clock.seconds += seconds
        await until_polled(self.entry)

    async def disturb_responses(self) -> None:
        """Lose, damage or replace some of the next four responses."""
        faults = (LOST, FLIPPED, TRUNCATED, NOISE_BEFORE, ANOTHER_UNIT_ID, ZEROS)
        self.line.faults.extend(
            self.random.choice((Fault(), *faults)) for _ in range(4)
        )
        await self.poll()

    async def override_a_counter(self) -> None:
        """Replace the registers of a counter for one to three polls."""
        # The first registers of the four counters of `KEYS`.
        register = self.random.choice((50946, 50952, 50956, 51202))
        # 2**32 - 2 is the highest value, because 2**32 - 1 means "not available".
        raw = self.random.choice((0, 1, 2**31, 2**32 - 2, self.random.randrange(2**32)))
        if register == 50956:
            # A lower value of a partial counter would be accepted as a reset. So set a
            # high bit, which makes the value larger than the counter.
            raw |= 2**30
        self.meter.override = {register: raw >> 16, register + 1: raw & 0xFFFF}
        for _ in range(self.random.randint(1, 3)):
            await self.poll()
        self.meter.override = {}

    async def restart_the_meter(self) -> None:
        """Restart the meter, which responds with zeros for one to three polls."""
        self.meter.starting = True
        for _ in range(self.random.randint(1, 3)):
            await self.poll(10)
        self.meter.starting = False

    async def make_counters_unavailable(self) -> None:
        """Make the counters not available for one poll."""
        self.meter.blank_blocks = {table.ENERGIES_UNIT_100, table.TARIFFS_UNIT_100}
        await self.poll()
        self.meter.blank_blocks = set()

    async def refuse_requests(self) -> None:
        """Let the meter refuse all requests for one poll."""
        self.meter.exception_code = self.random.choice((1, 2, 3, 4, 5, 11))
        await self.poll()
        self.meter.exception_code = None

    async def cut_the_line(self) -> None:
        """Cut the line for a minute, while the meter counts."""
        self.line.cut = True
        await self.poll(60)
        self.line.cut = False

    async def reload(self) -> None:
        """Reload the entry."""
        await self.hass.config_entries.async_reload(self.entry.entry_id)

    async def reload_without_the_meter(self) -> None:
        """Reload the entry while the meter is offline or starting."""
        reason = self.random.choice(("offline", "starting"))
        setattr(self.meter, reason, True)
        await self.reload()
        self.clock.seconds += 30
        await until(lambda: not coordinator_of(self.entry).online)
        setattr(self.meter, reason, False)

    async def reset_at_the_meter(self) -> None:
        """Reset the partial counter of consumed energy, as the front panel does."""
        await self.poll(0)  # reads the energy before the reset
        self.meter.counters.partial_consumed = 0
        await self.poll(0)


@pytest.mark.parametrize("seed", SEEDS)
async def test_statistics_of_a_day_of_mishaps_contain_the_metered_energy(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    clock: Clock,
    seed: int,
) -> None:
    random = Random(seed)  # noqa: S311
    meter.load = House(seed=seed, solar_peak=9000)
    day = DayOfMishaps(hass, entry, line, meter, clock, random)
    consumed_before = meter.counters.consumed
    produced_before = meter.counters.produced
    partial_before = meter.counters.partial_consumed
    tariff_before = meter.counters.tariffs[0]

    shown: dict[str, float] = {}
    mishaps = list(day.mishaps)
    random.shuffle(mishaps)
    for step in range(DAY_STEPS):
        await day.poll(STEP_SECONDS)
        if step % 6 == 2:
            # The 72 steps of the day have 12 mishaps: each of the nine kinds once, and
            # three of them again.
            await mishaps[step // 6 % len(mishaps)]()
        for key in ("energy_consumed", "energy_produced"):
            state = hass.states.get(entity_id(hass, key))
            assert state is not None
            value = float(state.state)
            assert value >= shown.get(key, 0)
            shown[key] = value
    await until(lambda: coordinator_of(entry).online)
    for _ in range(2):
        await day.poll(1)
    counters = meter.count()
    recorded = await sums(hass)
    consumed = (counters.consumed - consumed_before) / 1000  # kWh
    assert recorded["energy_consumed"] == pytest.approx(consumed, abs=TOLERANCE)
    assert recorded["energy_produced"] == pytest.approx(
        (counters.produced - produced_before) / 1000, abs=TOLERANCE
    )
    assert recorded["tariff_1_energy"] == pytest.approx(
        (counters.tariffs[0] - tariff_before) / 1000, abs=TOLERANCE
    )
    # At each of at most two resets, less than one step of the counter (0.01 kWh) is
    # lost, in addition to `TOLERANCE`.
    assert recorded["partial_energy_consumed"] == pytest.approx(consumed, abs=0.0301)
    # Without a reset, the partial counter would contain the whole energy of the day.
    assert (
        counters.partial_consumed < partial_before + counters.consumed - consumed_before
    )
    assert ir.async_get(hass).issues == {}
