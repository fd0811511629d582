"""The repair of a gap in the statistics, and its effect on the Energy dashboard."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import json
from pathlib import Path
import time
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, expect
import pytest

from custom_components.socomec_countis.gap import STORAGE_VERSION, Gap
from simulator import Counters, House, Line, Meter, line_in_thread
from tools.demo.history import async_import
from tools.home_assistant import (
    HomeAssistant,
    async_wait_until_running,
    free_port,
    run_home_assistant,
)
from tools.home_assistant.entries import async_bus_entry, store_entries
from tools.paths import DOMAIN

from .camera import DIALOG, Camera
from .conftest import wants_pictures
from .frontend import Frontend
from .home import copy_with_constant, title
from .visitor import HOUR_OF_THE_DAY, Visitor, full_hour, visit

HOUR = timedelta(hours=1)
HOURS = 48  # that the meter has counted before the test
NOON = 12  # local hour of the solar noon
# The local times of the last reading before the outage, and of the first one after it.
BEGIN = timedelta(hours=5, minutes=40)
END = timedelta(hours=13, minutes=20)
KEYS = ("energy_consumed", "energy_produced")
GRAPH_HEIGHT = 480  # pixels, for the graph of a day
TOLERANCE = 0.1  # part of the energy of an hour


@dataclass
class Past:
    """The counters of a meter at each hour before the test."""

    meter: Meter
    hour: datetime
    """The start of the present hour, which is `HOUR_OF_THE_DAY` at the visitor."""

    def __post_init__(self) -> None:
        """Note the counters at each hour."""
        midnight = self.hour - HOUR_OF_THE_DAY * HOUR
        self.begin, self.end = midnight + BEGIN, midnight + END
        """The times of the last reading before the gap and of the first one after."""
        hours = (self.hour - index * HOUR for index in range(HOURS, -1, -1))
        self.counted = {
            at: self._count(at) for at in sorted([*hours, self.begin, self.end])
        }
        """The energy of each counter in kWh, by time."""
        self.meter.clock = time.time

    def _count(self, at: datetime) -> dict[str, float]:
        self.meter.clock = at.timestamp
        counters = self.meter.count()
        energies = (counters.consumed, counters.produced)
        return {
            key: round(energy / 1000, 2)
            for key, energy in zip(KEYS, energies, strict=True)
        }

    def energy(self, key: str, begin: datetime) -> float:
        """Return the energy of an hour in kWh."""
        return self.counted[begin + HOUR][key] - self.counted[begin][key]

    @property
    def gap(self) -> Gap:
        """Return the gap, as the integration stores it after the outage."""
        readings = {
            key: [
                (at.timestamp(), self.counted[at][key]) for at in (self.begin, self.end)
            ]
            for key in KEYS
        }
        return Gap(self.begin.timestamp(), self.end.timestamp(), readings)

    def rows(self, key: str) -> list[dict[str, object]]:
        """Return the rows that the recorder wrote around the outage.

        There is no row of an hour in which Home Assistant was off.
        """
        last = self.counted[self.hour][key]
        rows = []
        for index in range(HOURS, 0, -1):
            start = self.hour - index * HOUR
            if self.begin < start and start + HOUR < self.end:
                continue
            at = self.begin if start < self.begin < start + HOUR else start + HOUR
            state = self.counted[at][key]
            rows.append(
                {"start": start.isoformat(), "state": state, "sum": state - last}
            )
        return rows


def past_before(hour: datetime) -> Past:
    """Return the past of a meter in a house with a solar roof."""
    noon = int((hour - (HOUR_OF_THE_DAY - NOON) * HOUR).timestamp())
    begin = hour - HOURS * HOUR
    meter = Meter(
        load=House(1, solar_peak=6000, noon=noon, slot_seconds=60, lifelike=True),
        counters=Counters(consumed=12_345_678, produced=8_765_432),
        clock=begin.timestamp,
    )
    # The meter displays the local time of the visitor.
    shown = begin + (HOUR_OF_THE_DAY - hour.hour) * HOUR
    meter.set_clock(
        [shown.day, shown.month, shown.year, shown.hour, shown.minute, shown.second]
    )
    return Past(meter, hour)


async def test_repair_moves_the_energy_of_a_gap_to_its_hours(
    tmp_path: Path,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    copy = copy_with_constant(tmp_path, "gaps.py", "RETRY_SECONDS", 300, 1)
    monkeypatch.setattr("tools.paths.ROOT", copy)
    past = past_before(full_hour())
    with line_in_thread(Line([past.meter], link=tmp_path / "line")) as line:
        entry = await async_bus_entry(str(line.port), 9600, 1)
        config = tmp_path / "config"
        # The gap is proposed as soon as the entry is enabled.
        store_entries(config, entry | {"disabled_by": "user"})
        store_gap(config, entry["subentries"][0]["subentry_id"], past.gap)
        async with run_home_assistant(tmp_path, free_port(0)) as hass:
            visitor = await Visitor.of(hass, past.hour)
            await async_wait_until_running(hass)
            for key in KEYS:
                await async_import(hass, statistic(key), past.rows(key))
            await hass.command(
                type="config_entries/disable",
                entry_id=entry["entry_id"],
                disabled_by=None,
            )
            await use_for_energy(hass)
            camera = Camera(str(line.port)) if wants_pictures(pytestconfig) else None
            async with visit(browser, visitor, "en", camera) as frontend:
                await repair(hass, frontend, past)


def store_gap(config: Path, subentry_id: str, gap: Gap) -> None:
    """Store a gap of a meter, in the configuration of a Home Assistant that is off."""
    key = f"{DOMAIN}.gaps.{subentry_id}"
    content = {
        "version": STORAGE_VERSION,
        "minor_version": 1,
        "key": key,
        "data": [gap.as_dict()],
    }
    (config / ".storage" / key).write_text(json.dumps(content))


def statistic(key: str) -> str:
    """Return the ID of the statistic of a counter."""
    return f"sensor.countis_e33_1_{key}"


async def use_for_energy(hass: HomeAssistant) -> None:
    """Use the meter as the grid of the Energy dashboard."""
    await hass.command(
        type="energy/save_prefs",
        energy_sources=[
            {
                "type": "grid",
                "stat_energy_from": statistic("energy_consumed"),
                "stat_energy_to": statistic("energy_produced"),
                "cost_adjustment_day": 0,
            }
        ],
        device_consumption=[],
    )


async def repair(hass: HomeAssistant, frontend: Frontend, past: Past) -> None:
    """Fill the gap with the dialog of its issue, then restore it with the action."""
    before = await changes(hass, past)
    assert before["energy_consumed"][past.end.replace(minute=0)] > 5
    await picture_of_the_day(frontend, "gap-before")

    begin = past.begin.astimezone(ZoneInfo(await zone_of(hass)))
    issue = frontend.texts("issues.gap.title").format(
        name=title(1), begin=f"{begin:%Y-%m-%d %H:%M}"
    )
    await frontend.start_repair(issue)
    for source in ("load_curve", "even"):
        text = frontend.texts(f"exceptions.gap_source_{source}.message")
        await expect(frontend.step("menu")).to_contain_text(text)
    await expect(frontend.step("menu").locator("tr")).to_have_count(1 + 9)
    await frontend.picture("gap", width=DIALOG, height=920)
    await frontend.choose(
        frontend.texts("issues.gap.fix_flow.step.init.menu_options.fill")
    )
    await expect(frontend.step("create-entry")).to_be_visible()

    filled = await changes(hass, past)
    for key in KEYS:
        assert sum(filled[key].values()) == pytest.approx(sum(before[key].values()))
    for hour, energy in filled["energy_consumed"].items():
        truth = past.energy("energy_consumed", hour)
        assert energy == pytest.approx(truth, rel=TOLERANCE, abs=0.03), hour
    await picture_of_the_day(frontend, "gap-after")

    response = await frontend.perform(
        f"{DOMAIN}.fill_gap",
        entity_id=statistic("energy_consumed"),
        start=f"{begin:%Y-%m-%d %H:%M:%S}",
        end=f"{begin + END - BEGIN:%Y-%m-%d %H:%M:%S}",
        restore=True,
    )
    await expect(response).to_contain_text("meters")
    restored = await changes(hass, past)
    for key in KEYS:
        # A restored hour that had no row has a row without energy.
        energies = {hour: kwh for hour, kwh in restored[key].items() if kwh}
        had = {hour: kwh for hour, kwh in before[key].items() if kwh}
        assert energies == pytest.approx(had)


async def zone_of(hass: HomeAssistant) -> str:
    """Return the name of the time zone of Home Assistant."""
    return str((await hass.command(type="get_config"))["time_zone"])


async def changes(hass: HomeAssistant, past: Past) -> dict[str, dict[datetime, float]]:
    """Return the energy of each full hour of the day in kWh, by counter."""
    rows = await hass.command(
        type="recorder/statistics_during_period",
        start_time=(past.hour - HOUR_OF_THE_DAY * HOUR).isoformat(),
        end_time=past.hour.isoformat(),
        statistic_ids=[statistic(key) for key in KEYS],
        period="hour",
        types=["change"],
    )
    return {
        key: {
            datetime.fromtimestamp(row["start"] / 1000, UTC): row["change"]
            for row in rows[statistic(key)]
        }
        for key in KEYS
    }


async def picture_of_the_day(frontend: Frontend, name: str) -> None:
    """Take a picture of the day in the Energy dashboard."""
    await frontend.open("/energy/electricity")
    graph = frontend.page.locator("hui-energy-usage-graph-card")
    totals = frontend.page.locator("hui-energy-sources-table-card")
    await expect(totals).to_contain_text("kWh")
    # The cards move until all of them are loaded.
    await graph.locator("canvas").first.hover(trial=True)
    await graph.evaluate("card => card.scrollIntoView({block: 'center'})")
    await frontend.picture(name, height=GRAPH_HEIGHT)
