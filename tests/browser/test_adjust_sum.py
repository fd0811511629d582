"""The dialog *Adjust sum*, used as the issues and the documentation describe."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
import re
import sqlite3
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, expect
import pytest

from simulator import Constant, Counters, Line, Meter, Phase, line_in_thread
from tools.home_assistant import (
    async_wait_until_running,
    free_port,
    run_home_assistant,
)

from .frontend import Frontend
from .home import Home, copy_with_constant, settled_home, title
from .test_energy import kwh
from .visitor import HOUR_OF_THE_DAY, visit

HOUR = timedelta(hours=1)
OFF_DURATION = 2 * HOUR  # of Home Assistant, after the counters fell
HOURLY_KWH = [0.5] * 24  # of each counter, in the 24 hours before the fall
# Energy of today in the imported statistics. The day has 15 hours so far. In the last
# 2 hours (`OFF_DURATION`), Home Assistant was off, so 13 hours have statistics.
TODAY_KWH = sum(HOURLY_KWH[: HOUR_OF_THE_DAY - OFF_DURATION // HOUR])
LOAD = Constant(Phase(2000), Phase(2000), Phase(2000))  # W
# In kWh; the upper limit of the energy that a counter counts during the test. At 6 kW
# (`LOAD`), it counts 0.5 kWh in 5 min, which is the timeout of the test.
MOST_COUNTED = 0.5
ROUNDING = 0.01  # kWh; the dialog rounds a change to two decimals
# In kWh; the last sum of a counter that was disabled for a long time. The recorder
# starts a new sum.
OLD_SUM = 321

MOVE_BACK = (
    """UPDATE states SET
    last_changed_ts = last_changed_ts - :seconds,
    last_reported_ts = last_reported_ts - :seconds,
    last_updated_ts = last_updated_ts - :seconds""",
    "UPDATE statistics SET start_ts = start_ts - :seconds",
    "UPDATE statistics_short_term SET start_ts = start_ts - :seconds",
    """UPDATE statistics_runs SET
    start = strftime('%Y-%m-%d %H:%M:%f000', start, '-' || :seconds || ' seconds')""",
)


async def test_adjust_sum_corrects_the_energy_dashboard(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The issue of rejected counters is created after 1 s in place of 600 s.
    copy = copy_with_constant(
        tmp_path, "coordinator.py", "REJECTED_ISSUE_SECONDS", 600, 1
    )
    monkeypatch.setattr("tools.paths.ROOT", copy)
    grid = Meter(unit_id=1, load=LOAD, counters=Counters(consumed=1_234_560))
    roof = Meter(unit_id=2, load=LOAD, counters=Counters(produced=800_000))
    port = free_port(0)
    with line_in_thread(Line([grid, roof], link=tmp_path / "line")) as line:
        async with run_home_assistant(tmp_path, port) as hass:
            home = await settled_home(hass, line)
            grid_entities, roof_entities = await home.set_up_meters(1, 2)
            # Entity IDs of three counters. `fell` falls by more than a tenth, so the
            # recorder assumes a reset. `fell_less` falls by less than a tenth. The last
            # sum of `with_old_sum` is `OLD_SUM`.
            fell = grid_entities["energy_consumed"]
            fell_less = roof_entities["energy_produced"]
            with_old_sum = grid_entities["energy_produced"]
            await home.import_statistics({fell: HOURLY_KWH, fell_less: HOURLY_KWH})
            await home.import_statistics({with_old_sum: HOURLY_KWH}, last_sum=OLD_SUM)
            grid.counters.consumed = 500_000  # Wh
            roof.counters.produced = 760_000  # Wh
            async with visit(browser, home.visitor, "en", None) as frontend:
                await confirm_counters(frontend, title(1))
                await confirm_counters(frontend, title(2))
            while not {fell, fell_less} <= (issues := await fall_issues(home)).keys():
                await asyncio.sleep(0.2)
        move_back_recordings(tmp_path / "config" / "home-assistant_v2.db")
        async with run_home_assistant(tmp_path, port) as hass:
            home = replace(home, hass=hass)
            await async_wait_until_running(hass)
            await home.set_up_energy_dashboard(grid_entities, roof_entities)
            async with visit(browser, home.visitor, "en", None) as frontend:
                await read_issue(frontend, issues[fell])
                # The recorder assumed a reset, so it added the whole reading.
                found = kilowatt_hours(issues[fell]["found"])
                await correct(home, frontend, fell, -found, "5minute")
                await read_issue(frontend, issues[fell_less])
                # The recorder subtracted the difference.
                difference = kilowatt_hours(issues[fell_less]["difference"])
                await correct(home, frontend, fell_less, difference, "hour")
                # The recorder subtracted the old sum. Only an hourly row shows the
                # subtraction.
                five_minute_changes = await compiled_changes(
                    home, with_old_sum, "5minute"
                )
                assert min(five_minute_changes.values()) >= 0
                await correct(home, frontend, with_old_sum, OLD_SUM, "hour")
                await frontend.open("/energy/electricity")
                # The dashboard shows the energy to the grid as a negative value.
                for unit_id, name, sign in (
                    (1, "consumed", 1),
                    (1, "produced", -1),
                    (2, "produced", 1),
                ):
                    total = await total_of(frontend, f"{title(unit_id)} Energy {name}")
                    assert TODAY_KWH <= sign * total < TODAY_KWH + MOST_COUNTED


async def confirm_counters(frontend: Frontend, name: str) -> None:
    """Confirm the rejected counters of a meter in their repair issue."""
    issue = frontend.texts("issues.counters_rejected.title").format(name=name)
    await frontend.start_repair(issue)
    await expect(frontend.step("form")).to_contain_text(" → ")
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()


async def fall_issues(home: Home) -> dict[str, dict[str, str]]:
    """Return the placeholders of the issues of counters that fell, by entity ID."""
    result = await home.hass.command(type="repairs/list_issues")
    return {
        issue["translation_placeholders"]["entity"]: issue["translation_placeholders"]
        for issue in result["issues"]
        if issue["translation_key"] == "counter_fell"
    }


def move_back_recordings(database: Path) -> None:
    """Move all recorded states and statistics back by `OFF_DURATION`.

    This simulates that Home Assistant was off for this time. When the recorder starts,
    it compiles the missing statistics.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in MOVE_BACK:
            connection.execute(statement, {"seconds": OFF_DURATION.total_seconds()})


def kilowatt_hours(text: str) -> float:
    """Return the number in a text such as "7.89 kWh"."""
    return float(text.removesuffix(" kWh"))


async def read_issue(frontend: Frontend, placeholders: Mapping[str, str]) -> None:
    """Open the issue of a counter that fell, and follow its link to the statistics."""
    issue = frontend.texts("issues.counter_fell.title").format(**placeholders)
    await frontend.start_repair(issue)
    await expect(frontend.step("form")).to_contain_text(placeholders["entity"])
    await frontend.flow.locator("a").click()
    # Since Home Assistant 2026.11, the page adds its sort order to the URL.
    page = re.compile(r"/config/tools/statistics(\?|$)")
    await expect(frontend.page).to_have_url(page)


async def correct(
    home: Home, frontend: Frontend, statistic_id: str, correction: float, period: str
) -> None:
    """Adjust the sum of a statistic at the row with the largest change.

    `correction` is added to the sum, in kWh. If `period` is "5minute", find the row by
    its time. If it is "hour", find the row in the list of outliers.
    """
    rows = await compiled_changes(home, statistic_id, period)
    start = max(rows, key=lambda row: abs(rows[row]))
    new = rows[start] + correction
    assert 0 <= round(new, 2) < MOST_COUNTED
    await frontend.start_adjust_sum(statistic_id)
    if period == "hour":
        await frontend.show_outliers()
    else:
        zone = ZoneInfo(home.visitor.time_zone)
        await frontend.pick_time(start.astimezone(zone))
    await frontend.replace_change(rows[start], new)
    # The recorder adjusts the sum in the background. `correction` is outside the
    # limits below, so the loop runs at least once.
    hours = {start: correction}
    while not all(-ROUNDING < change < MOST_COUNTED for change in hours.values()):
        await asyncio.sleep(0.2)
        hours = await compiled_changes(home, statistic_id, "hour")


async def compiled_changes(
    home: Home, statistic_id: str, period: str
) -> dict[datetime, float]:
    """Wait for the row of the last full hour, and return the changes since the fall.

    The changes are in kWh, by the start of each row.
    """
    since = home.first_hour - OFF_DURATION
    while home.first_hour - HOUR not in await home.changes(statistic_id, "hour", since):
        await asyncio.sleep(0.2)
    return await home.changes(statistic_id, period, since)


async def total_of(frontend: Frontend, name: str) -> float:
    """Return the energy of today in a row of the Energy dashboard, in kWh."""
    totals = frontend.page.locator("hui-energy-sources-table-card")
    return await kwh(totals.get_by_role("row").filter(has_text=name))
