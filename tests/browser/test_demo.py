"""The dashboard of the demo in a browser."""

import asyncio
from datetime import timedelta
from pathlib import Path
import re
import time

from playwright.async_api import Browser, expect
import pytest

from tools.demo.bus import UNIT_IDS, histories_before, run_simulated_bus
from tools.demo.check import async_check_statistics
from tools.demo.dashboard import URL_PATH
from tools.demo.history import COUNTERS, Past, counted_energy
from tools.demo.set_up import DemoPlan, async_set_up_demo
from tools.home_assistant import (
    MeterInput,
    async_wait_until_running,
    free_port,
    run_home_assistant,
)
from tools.home_assistant.entries import simulated_serial_number

from .camera import Camera
from .conftest import wants_pictures
from .visitor import HOUR_OF_THE_DAY, Visitor, full_hour, visit

NOON_HOUR = 12  # local hour of the solar noon


async def test_dashboard_of_the_demo_shows_today_and_two_weeks(
    tmp_path: Path, browser: Browser, pytestconfig: pytest.Config
) -> None:
    # In the time zone of the visitor, the present hour is HOUR_OF_THE_DAY.
    hour = full_hour()
    noon = int((hour - timedelta(hours=HOUR_OF_THE_DAY - NOON_HOUR)).timestamp())
    house, roof = await asyncio.to_thread(histories_before, time.time(), noon)
    async with (
        run_simulated_bus(tmp_path, noon) as port,
        run_home_assistant(tmp_path, free_port(0)) as hass,
    ):
        visitor = await Visitor.of(hass, hour)
        await async_wait_until_running(hass)
        plan = DemoPlan(
            [MeterInput(str(port), unit_id) for unit_id in UNIT_IDS],
            [simulated_serial_number(unit_id) for unit_id in UNIT_IDS],
            [house, roof],
        )
        steps: list[str] = []
        demo = await async_set_up_demo(hass, plan, steps.append)
        assert steps[-2:] == ["Importing the history", "Setting up the dashboards"]
        assert [gap.begin for gap in demo.new_gaps.values()] == [house.outage.start]
        # The demo imports the history only if there is no Energy dashboard. At the
        # second set-up, the Energy dashboard already exists.
        steps.clear()
        second_demo = await async_set_up_demo(hass, plan, steps.append)
        assert steps[-1] == "Waiting for the first values"
        assert second_demo.new_gaps == {}
        listed = await hass.command(type="repairs/list_issues")
        issues = {each["issue_id"] for each in listed["issues"]}
        assert not issues & {"country_not_configured", "deprecated_yaml"}
        # The recorder imports the statistics in the background.
        await async_check_statistics(hass, demo.pasts_by_counter)
        camera = Camera(str(port)) if wants_pictures(pytestconfig) else None
        async with visit(browser, visitor, "en", camera) as frontend:
            await frontend.open(f"/{URL_PATH}")
            page = frontend.page
            gauge = page.locator("hui-gauge-card")
            await expect(gauge).to_contain_text(re.compile(r"\d\s?W"))
            for card, expected in (
                ("Solar", energy_today(roof, "energy_produced")),
                ("From the grid", energy_today(house, "energy_consumed")),
                ("To the grid", energy_today(house, "energy_produced")),
            ):
                statistic = page.locator("hui-statistic-card").filter(has_text=card)
                await expect(statistic).to_contain_text(re.compile(r"\d\s*kWh"))
                shown = re.search(
                    r"([\d.]+)\s*kWh", await statistic.locator("ha-card").inner_text()
                )
                assert shown
                # In kWh. The card also contains the energy of the present hour.
                assert -0.1 < float(shown[1]) - expected < 5, card
            graphs = page.locator("hui-statistics-graph-card")
            await expect(graphs.locator("canvas")).to_have_count(2)
            await expect(page.locator("hui-error-card, hui-warning")).to_have_count(0)
            await expect(page.locator("ha-sidebar .badge")).to_have_count(0)
            await frontend.picture("dashboard", width=1400, height=1300)


def energy_today(past: Past, key: str) -> float:
    """Return the energy of the full hours since midnight, in kWh."""
    hours = past.hours[-HOUR_OF_THE_DAY:]
    return sum(counted_energy(hour, COUNTERS[key]) for hour in hours)
