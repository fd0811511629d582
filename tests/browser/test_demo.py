"""What the demo shows."""

import asyncio
from datetime import timedelta
from pathlib import Path
import re
import time

from playwright.async_api import Browser, expect
import pytest

from scripts.demo import (
    ADDRESSES,
    Meter,
    async_check_statistics,
    async_furnish,
    free_port,
    home_assistant,
    pasts_before,
    simulated_line,
)
from scripts.demo_dashboard import URL_PATH
from scripts.demo_history import COUNTERS, Past, counted

from .camera import Camera
from .conftest import wants_pictures
from .visitor import HOUR_OF_THE_DAY, Visitor, full_hour, visit

NOON = 12


async def test_the_dashboard_of_the_demo_shows_today_and_two_weeks(
    tmp_path: Path, browser: Browser, pytestconfig: pytest.Config
) -> None:
    hour = full_hour()
    noon = int((hour - timedelta(hours=HOUR_OF_THE_DAY - NOON)).timestamp())
    house, roof = await asyncio.to_thread(pasts_before, time.time(), noon)
    async with (
        simulated_line(tmp_path, noon) as line,
        home_assistant(tmp_path, free_port(0)) as hass,
    ):
        visitor = await Visitor.of(hass, hour)
        await hass.async_tidy_up()
        meters = [Meter(str(line), address) for address in ADDRESSES]
        furnished = await async_furnish(hass, meters, [house, roof])
        # The recorder imports it in its own time.
        await async_check_statistics(hass, furnished.counters)
        camera = Camera(str(line)) if wants_pictures(pytestconfig) else None
        async with visit(browser, visitor, "en", camera) as frontend:
            await frontend.open(f"/{URL_PATH}")
            page = frontend.page
            gauge = page.locator("hui-gauge-card")
            await expect(gauge).to_contain_text(re.compile(r"\d\s?W"))
            for card, expected in (
                ("Solar", today(roof, "energy_produced")),
                ("From the grid", today(house, "energy_consumed")),
                ("To the grid", today(house, "energy_produced")),
            ):
                statistic = page.locator("hui-statistic-card").filter(has_text=card)
                await expect(statistic).to_contain_text(re.compile(r"\d\s*kWh"))
                shown = re.search(
                    r"([\d.]+)\s*kWh", await statistic.locator("ha-card").inner_text()
                )
                # The hour that has begun counts as well.
                assert shown
                assert -0.1 < float(shown[1]) - expected < 5, card
            graphs = page.locator("hui-statistics-graph-card")
            await expect(graphs.locator("canvas")).to_have_count(2)
            await expect(page.locator("hui-error-card, hui-warning")).to_have_count(0)
            await expect(page.locator("ha-sidebar .badge")).to_have_count(0)
            await frontend.picture("dashboard", width=1400, height=1300)


def today(past: Past, key: str) -> float:
    """Return what a meter has counted in the full hours since midnight, in kWh."""
    hours = past.hours[-HOUR_OF_THE_DAY:]
    return sum(counted(hour, COUNTERS[key]) for hour in hours)
