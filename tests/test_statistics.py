"""The energy that the statistics of the recorder contain."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

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
)

from .common import Clock, coordinator_of, entity_id, until, until_polled, until_read
from .test_button import press

pytestmark = pytest.mark.usefixtures("quick", "impatient")

KEYS = (
    "energy_consumed",
    "energy_produced",
    "partial_energy_consumed",
    "tariff_1_energy",
)

STEP_SECONDS = 1200
DAY_STEPS = 86_400 // STEP_SECONDS
SEEDS = range(4)


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Set up the recorder before Home Assistant."""


async def sums(hass: HomeAssistant) -> dict[str, float]:
    """Compile the statistics, and return the energy that they contain in kWh."""
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


async def test_statistics_contain_the_energy_that_was_metered(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))
    clock.seconds += 3600
    await press(hass)
    clock.seconds += 1800
    await until_polled(entry)
    # 3 kW for an hour, then for another half of one.
    assert await sums(hass) == {
        "energy_consumed": 4.5,
        "energy_produced": 0,
        "partial_energy_consumed": 4.5,
        "tariff_1_energy": 4.5,
    }


async def test_offline_meter_and_a_reload_add_nothing_to_the_statistics(
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
    assert (await sums(hass))["energy_consumed"] == 3


@dataclass
class BadDay:
    """A meter, and what can go wrong with it in the course of a day."""

    hass: HomeAssistant
    entry: CountisConfigEntry
    line: Line
    meter: Meter
    clock: Clock
    random: Random

    @property
    def mishaps(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return everything that can go wrong."""
        return (
            self.bad_bytes,
            self.wrong_counters,
            self.start_up,
            self.all_ones,
            self.exception,
            self.cut,
            self.restart,
            self.restart_without_the_meter,
            self.reset_at_the_meter,
        )

    async def poll(self, seconds: float = 1) -> None:
        """Let some time pass, and wait for a poll."""
        self.clock.seconds += seconds
        await until_polled(self.entry)

    async def bad_bytes(self) -> None:
        """Disturb some responses."""
        faults = (LOST, FLIPPED, TRUNCATED, NOISE_BEFORE, ANOTHER_UNIT_ID, ZEROS)
        self.line.faults.extend(
            self.random.choice((Fault(), *faults)) for _ in range(4)
        )
        await self.poll()

    async def wrong_counters(self) -> None:
        """Read counters that the meter does not have, intact and for some polls."""
        register = self.random.choice((50946, 50952, 50956, 51202))
        raw = self.random.choice((0, 1, 2**31, 2**32 - 2, self.random.randrange(2**32)))
        if register == 50956:
            # Higher than before, because a partial counter may be reset.
            raw |= 2**30
        self.meter.override = {register: raw >> 16, register + 1: raw & 0xFFFF}
        for _ in range(self.random.randint(1, 3)):
            await self.poll()
        self.meter.override = {}

    async def start_up(self) -> None:
        """Restart the meter, which then responds with zeros for a while."""
        self.meter.starting = True
        for _ in range(self.random.randint(1, 3)):
            await self.poll(10)
        self.meter.starting = False

    async def all_ones(self) -> None:
        """Let the counters not be available for a while."""
        self.meter.blank_blocks = {50944, 51200}
        await self.poll()
        self.meter.blank_blocks = set()

    async def exception(self) -> None:
        """Let the meter refuse everything for a while."""
        self.meter.exception_code = self.random.choice((1, 2, 3, 4, 5, 11))
        await self.poll()
        self.meter.exception_code = None

    async def cut(self) -> None:
        """Cut the bus while the meter goes on counting."""
        self.line.cut = True
        await self.poll(60)
        self.line.cut = False

    async def restart(self) -> None:
        """Reload the entry, which is what a restart means to the integration."""
        await self.hass.config_entries.async_reload(self.entry.entry_id)

    async def restart_without_the_meter(self) -> None:
        """Reload the entry while the meter is offline or starting."""
        reason = self.random.choice(("offline", "starting"))
        setattr(self.meter, reason, True)
        await self.restart()
        self.clock.seconds += 30
        await until(lambda: not coordinator_of(self.entry).online)
        setattr(self.meter, reason, False)

    async def reset_at_the_meter(self) -> None:
        """Reset the partial counters by the front panel."""
        await self.poll(0)
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
    day = BadDay(hass, entry, line, meter, clock, random)
    partial = meter.counters.partial_consumed
    tariff = meter.counters.tariffs[0]
    before = (meter.counters.consumed, meter.counters.produced)

    shown: dict[str, float] = {}
    mishaps = list(day.mishaps)
    random.shuffle(mishaps)
    for step in range(DAY_STEPS):
        await day.poll(STEP_SECONDS)
        if step % 6 == 2:
            # Each of them once a day, and three of them twice.
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
    counted = await sums(hass)
    consumed = (counters.consumed - before[0]) / 1000
    assert counted["energy_consumed"] == pytest.approx(consumed, abs=0.0101)
    assert counted["energy_produced"] == pytest.approx(
        (counters.produced - before[1]) / 1000, abs=0.0101
    )
    assert counted["tariff_1_energy"] == pytest.approx(
        (counters.tariffs[0] - tariff) / 1000, abs=0.0101
    )
    # Each reset cuts off less than a step of the counter.
    assert counted["partial_energy_consumed"] == pytest.approx(consumed, abs=0.0301)
    assert partial > 0
    assert ir.async_get(hass).issues == {}
