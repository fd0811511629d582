"""The repair of a gap in the statistics, and its effect on the Energy dashboard."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
import time
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, expect
import pytest

from simulator import Counters, House, Line, Meter, line_in_thread
from tools.demo.gap import gap_of
from tools.demo.history import Past, async_hours, async_import_past
from tools.home_assistant import (
    HomeAssistant,
    async_wait_until_running,
    free_port,
    run_home_assistant,
)
from tools.home_assistant.client import POLL_SECONDS
from tools.home_assistant.entries import async_bus_entry, store_entries
from tools.home_assistant.gaps import store_gap
from tools.paths import DOMAIN

from .camera import DIALOG, Camera
from .conftest import wants_pictures
from .frontend import Frontend
from .home import copy_with_constant, title
from .visitor import HOUR_OF_THE_DAY, Visitor, full_hour, visit

HOUR = timedelta(hours=1)
NOON = 12  # local hour of the solar noon
# Time from local midnight to the last reading before the outage, and to the first one
# after it.
BEGIN = timedelta(hours=5, minutes=40)
END = timedelta(hours=13, minutes=20)
STATISTIC_IDS = {
    key: f"sensor.countis_e33_1_{key}" for key in ("energy_consumed", "energy_produced")
}
"""The statistic ID of each counter, by the key of its entity."""
LOAD_CURVE_RECORDS = 144  # one day in periods of 10 minutes
GRAPH_HEIGHT = 480  # pixels, for the graph of a day
TOLERANCE = 0.1  # as a fraction of the energy of an hour


def past_before(hour: datetime) -> Past:
    """Return the past of a meter in a house with a solar roof.

    At `hour`, the clock of the visitor shows `HOUR_OF_THE_DAY`.
    """
    midnight = hour - HOUR_OF_THE_DAY * HOUR
    begin, end, noon = (
        int((midnight + at).timestamp()) for at in (BEGIN, END, NOON * HOUR)
    )
    load = House(1, solar_peak=6000, noon=noon, slot_seconds=60, lifelike=True)
    return Past.before(hour.timestamp(), load, noon, range(begin, end))


def meter_with_past(past: Past, hour: datetime) -> Meter:
    """Return the meter, with the past in its load curve."""
    meter = Meter(
        load=past.load, counters=Counters(consumed=12_345_678, produced=8_765_432)
    )
    # The meter displays the visitor's time of day, but its date may be a day ahead of
    # the visitor's date.
    shown = datetime.now(UTC) + (HOUR_OF_THE_DAY - hour.hour) * HOUR
    meter.set_clock(
        [shown.day, shown.month, shown.year, shown.hour, shown.minute, shown.second]
    )
    meter.record_past_periods(LOAD_CURVE_RECORDS)
    return meter


async def test_repair_moves_the_energy_of_a_gap_to_its_hours(
    tmp_path: Path,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    # A stored gap can be proposed 1 s after the bus is loaded, in place of 300 s.
    copy = copy_with_constant(tmp_path, "gaps.py", "RETRY_SECONDS", 300, 1)
    monkeypatch.setattr("tools.paths.ROOT", copy)
    hour = full_hour()
    past = past_before(hour)
    meter = meter_with_past(past, hour)
    now, counters = time.time(), meter.count()
    states = {
        STATISTIC_IDS["energy_consumed"]: f"{counters.consumed / 1000:.2f}",
        STATISTIC_IDS["energy_produced"]: f"{counters.produced / 1000:.2f}",
    }
    gap = gap_of(past, STATISTIC_IDS, states, now)
    with line_in_thread(Line([meter], link=tmp_path / "line")) as line:
        entry = await async_bus_entry(str(line.port), 9600, 1)  # 9600 baud, one meter
        config = tmp_path / "config"
        # The entry is disabled until the past is imported. Otherwise the gap could be
        # proposed before the import.
        store_entries(config, entry | {"disabled_by": "user"})
        store_gap(config, entry["subentries"][0]["subentry_id"], gap)
        async with run_home_assistant(tmp_path, free_port(0)) as hass:
            visitor = await Visitor.of(hass, hour)
            await async_wait_until_running(hass)
            await async_import_past(hass, past, STATISTIC_IDS, states, now)
            await wait_until_imported(hass)
            await hass.command(
                type="config_entries/disable",
                entry_id=entry["entry_id"],
                disabled_by=None,
            )
            await set_up_energy_dashboard(hass)
            camera = Camera(str(line.port)) if wants_pictures(pytestconfig) else None
            async with visit(browser, visitor, "en", camera) as frontend:
                await fill_and_restore(hass, frontend, past, hour)


async def wait_until_imported(hass: HomeAssistant) -> None:
    """Wait until the recorder has imported the past of all counters."""
    for statistic_id in STATISTIC_IDS.values():
        while not await async_hours(hass, statistic_id):
            await asyncio.sleep(POLL_SECONDS)


async def set_up_energy_dashboard(hass: HomeAssistant) -> None:
    """Set up the Energy dashboard with the meter at the grid."""
    await hass.command(
        type="energy/save_prefs",
        energy_sources=[
            {
                "type": "grid",
                "stat_energy_from": STATISTIC_IDS["energy_consumed"],
                "stat_energy_to": STATISTIC_IDS["energy_produced"],
                "cost_adjustment_day": 0,
            }
        ],
        device_consumption=[],
    )


async def fill_and_restore(
    hass: HomeAssistant, frontend: Frontend, past: Past, hour: datetime
) -> None:
    """Fill the gap with the dialog of its issue, and then restore the old rows.

    The action `fill_gap` restores them, with its option `restore`.
    """
    before = await hourly_energies(hass, hour)
    zone = ZoneInfo(await zone_of(hass))
    begin, end = (
        datetime.fromtimestamp(at, zone) for at in (past.outage.start, past.outage.stop)
    )
    # In kWh; the hour in which the gap ends contains the energy of the whole gap.
    assert before["energy_consumed"][end.replace(minute=0)] > 5
    await picture_of_graph(frontend, "gap-before")

    issue = frontend.texts("issues.gap.title").format(
        name=title(1), day=f"{begin:%Y-%m-%d}"
    )
    await frontend.start_repair(issue)
    for source in ("load_curve", "even"):
        text = frontend.texts(f"exceptions.gap_source_{source}.message")
        await expect(frontend.step("menu")).to_contain_text(text)
    # The heading, and a row for each hour: the first is 5:00, the last is 13:00.
    await expect(frontend.step("menu").locator("tr")).to_have_count(1 + 9)
    await frontend.picture("gap", width=DIALOG, height=920)
    await frontend.choose(
        frontend.texts("issues.gap.fix_flow.step.init.menu_options.fill")
    )
    await expect(frontend.step("create-entry")).to_be_visible()

    filled = await hourly_energies(hass, hour)
    for key in STATISTIC_IDS:
        assert sum(filled[key].values()) == pytest.approx(sum(before[key].values()))
    for start, energy in filled["energy_consumed"].items():
        at = int(start.timestamp())
        truth = past.energy("energy_consumed", at, at + 3600)  # kWh
        # An hour with little energy may differ by 0.03 kWh.
        assert energy == pytest.approx(truth, rel=TOLERANCE, abs=0.03), start
    await picture_of_graph(frontend, "gap-after")

    response = await frontend.perform(
        f"{DOMAIN}.fill_gap",
        entity_id=STATISTIC_IDS["energy_consumed"],
        start=f"{begin:%Y-%m-%d %H:%M:%S}",
        end=f"{end:%Y-%m-%d %H:%M:%S}",
        restore=True,
    )
    await expect(response).to_contain_text("meters")
    restored = await hourly_energies(hass, hour)
    for key in STATISTIC_IDS:
        # An hour that had no row before the repair has a row without energy now.
        energies = {start: kwh for start, kwh in restored[key].items() if kwh}
        expected = {start: kwh for start, kwh in before[key].items() if kwh}
        assert energies == pytest.approx(expected)


async def zone_of(hass: HomeAssistant) -> str:
    """Return the name of the time zone of Home Assistant."""
    return str((await hass.command(type="get_config"))["time_zone"])


async def hourly_energies(
    hass: HomeAssistant, end: datetime
) -> dict[str, dict[datetime, float]]:
    """Return the energy in kWh of each hour of the day until `end`, by counter.

    At `end`, the clock of the visitor shows `HOUR_OF_THE_DAY`.
    """
    rows = await hass.command(
        type="recorder/statistics_during_period",
        start_time=(end - HOUR_OF_THE_DAY * HOUR).isoformat(),
        end_time=end.isoformat(),
        statistic_ids=list(STATISTIC_IDS.values()),
        period="hour",
        types=["change"],
    )
    return {
        key: {
            datetime.fromtimestamp(row["start"] / 1000, UTC): row["change"]
            for row in rows[STATISTIC_IDS[key]]
        }
        for key in STATISTIC_IDS
    }


async def picture_of_graph(frontend: Frontend, name: str) -> None:
    """Take a picture of the graph of the day in the Energy dashboard."""
    await frontend.open("/energy/electricity")
    graph = frontend.page.locator("hui-energy-usage-graph-card")
    totals = frontend.page.locator("hui-energy-sources-table-card")
    await expect(totals).to_contain_text("kWh")
    # The cards move until all of them are loaded. `hover` waits until the graph stops.
    await graph.locator("canvas").first.hover(trial=True)
    await graph.evaluate("card => card.scrollIntoView({block: 'center'})")
    await frontend.picture(name, height=GRAPH_HEIGHT)
