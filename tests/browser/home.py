"""A running Home Assistant with a simulated line, and what the tests ask of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

from simulator import Constant, Line, Phase, ReversedCurrent, line_in_thread
from simulator import Meter as SimulatedMeter
from simulator.site import meters_at
from tools.demo.history import async_import
from tools.errors import ToolError
from tools.home_assistant import (
    HomeAssistant,
    MeterInput,
    async_add_meter,
    async_wait_until_running,
    free_port,
    run_home_assistant,
)
from tools.paths import DOMAIN

from .visitor import Visitor, full_hour

ATTEMPTS = 10

# The address of the meter that is wired wrong.
WORKSHOP = 7


def title(address: int) -> str:
    """Return what a meter is called."""
    return f"COUNTIS E33 #{address}"


@dataclass(frozen=True)
class Home:
    """A Home Assistant that a user is logged in to."""

    hass: HomeAssistant
    simulated: Line
    visitor: Visitor
    hour: datetime
    """The full hour it was started in."""

    @property
    def line(self) -> str:
        """The name of the line's port."""
        return self.simulated.port

    def meter(self, address: int) -> SimulatedMeter:
        """Return a meter of the line, to look at it or change it."""
        return self.simulated.meters[address]

    def serial_number(self, address: int) -> str:
        """Return the serial number of a meter of the line, as it is shown."""
        year_week, site_line, order = self.meter(address).serial or (
            0x1438,
            0x0120,
            address,
        )
        return f"{year_week:04X}{site_line:04X}{order:05d}"

    async def entries(self) -> list[dict[str, Any]]:
        """Return the entries of the buses."""
        entries: list[dict[str, Any]] = await self.hass.command(
            type="config_entries/get", domain=DOMAIN
        )
        return entries

    async def meters(self) -> dict[str, str]:
        """Return the subentry IDs of the meters of all buses, by their titles."""
        subentries = [
            each
            for entry in await self.entries()
            for each in await self.hass.command(
                type="config_entries/subentries/list", entry_id=entry["entry_id"]
            )
        ]
        return {each["title"]: each["subentry_id"] for each in subentries}

    async def states(self) -> list[str]:
        """Return how far the entries of the buses are set up."""
        return [str(entry["state"]) for entry in await self.entries()]

    async def forget_meters(self) -> None:
        """Delete the buses with their meters, and the history of their entities."""
        for entry in await self.entries():
            await self.hass.request(
                "DELETE", f"/api/config/config_entries/entry/{entry['entry_id']}"
            )
        await self.hass.request(
            "POST",
            "/api/services/recorder/purge_entities",
            json={"entity_globs": ["*countis*"], "keep_days": 0},
        )

    async def have_meters(
        self, *unit_ids: int, language: str = "en"
    ) -> list[dict[str, str]]:
        """Set these meters up on one bus, and return their entity IDs by keys.

        The entities are named in the language of Home Assistant.
        """
        config = await self.hass.command(type="get_config")
        titles = list(await self.meters())
        if config["language"] != language or titles != list(map(title, unit_ids)):
            await self.forget_meters()
            await self.hass.command(type="config/core/update", language=language)
            for unit_id in unit_ids:
                await self._add(MeterInput(self.line, unit_id))
        entities = await self.hass.async_settled(len(unit_ids))
        keys: dict[str, dict[str, str]] = {
            subentry_id: {} for subentry_id in (await self.meters()).values()
        }
        for entity in entities:
            keys[entity.subentry_id][entity.key] = entity.entity_id
        return list(keys.values())

    async def _add(self, meter: MeterInput) -> None:
        """Set a meter up through the API.

        The port stays in use for a moment after the last entry on it is deleted. No
        user is as fast as that.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(ToolError):
                return await async_add_meter(self.hass, meter)
            await asyncio.sleep(1)
        return await async_add_meter(self.hass, meter)

    async def device_id(self) -> str:
        """Return the ID of the only meter's device."""
        (subentry_id,) = (await self.meters()).values()
        (entry,) = await self.entries()
        devices = await self.hass.command(type="config/device_registry/list")
        (device,) = [
            device["id"]
            for device in devices
            if subentry_id
            in device["config_entries_subentries"].get(entry["entry_id"], ())
        ]
        return str(device)

    async def state(self, entity_id: str) -> float:
        """Return what an entity shows now."""
        return float((await self.hass.async_states())[entity_id])

    async def shows(self, unique_id: str) -> bool:
        """Return whether the entity with a unique ID exists and is available."""
        states = await self.hass.async_states()
        registry = await self.hass.command(type="config/entity_registry/list")
        return any(
            states.get(entry["entity_id"], "unavailable") != "unavailable"
            for entry in registry
            if entry["platform"] == DOMAIN and entry["unique_id"] == unique_id
        )

    async def use_for_energy(
        self, grid: Mapping[str, str], solar: Mapping[str, str]
    ) -> None:
        """Set the Energy dashboard up with a meter at the grid and one at the roof."""
        await self.hass.command(
            type="energy/save_prefs",
            energy_sources=[
                {
                    "type": "grid",
                    "stat_energy_from": grid["energy_consumed"],
                    "stat_energy_to": grid["energy_produced"],
                    "cost_adjustment_day": 0,
                },
                {"type": "solar", "stat_energy_from": solar["energy_produced"]},
            ],
            device_consumption=[],
        )

    async def changes(
        self, statistic_id: str, period: str, since: datetime
    ) -> dict[datetime, float]:
        """Return the changes of a statistic in kWh, by the starts of its rows."""
        rows = await self.hass.command(
            type="recorder/statistics_during_period",
            start_time=since.isoformat(),
            statistic_ids=[statistic_id],
            period=period,
            types=["change"],
        )
        return {
            datetime.fromtimestamp(row["start"] / 1000, UTC): row["change"]
            for row in rows.get(statistic_id, [])
        }

    async def have_metered(
        self, counters: Mapping[str, Sequence[float]], *, until: float = 0
    ) -> None:
        """Let counters have counted this in the hours before the start, each in kWh.

        Home Assistant goes on with a sum of 0, whatever sum these hours lead to.
        """
        for entity_id, hours in counters.items():
            sums = list(accumulate(hours, initial=-sum(hours)))
            counted = await self.state(entity_id)
            await async_import(
                self.hass,
                entity_id,
                [
                    {
                        "start": (
                            self.hour - timedelta(hours=len(sums) - index)
                        ).isoformat(),
                        "state": counted + kwh,
                        "sum": until + kwh,
                    }
                    for index, kwh in enumerate(sums)
                ],
            )


def _simulated_line(folder: Path) -> Line:
    """Return a house, its roof, and a meter that is wired wrong."""
    workshop = SimulatedMeter(
        unit_id=WORKSHOP,
        load=ReversedCurrent(Constant(Phase(5200), Phase(4700), Phase(5600)), 1),
    )
    return Line([*meters_at([1, 2], lifelike=True), workshop], link=folder / "line")


@asynccontextmanager
async def running_home(folder: Path) -> AsyncIterator[Home]:
    """Start it all, and end it in order."""
    with line_in_thread(_simulated_line(folder)) as line:
        async with run_home_assistant(folder, free_port(0)) as hass:
            yield await settled_home(hass, line)


async def settled_home(hass: HomeAssistant, line: Line) -> Home:
    """Return the home with its user logged in and nothing left to say."""
    hour = full_hour()
    home = Home(hass, line, await Visitor.of(hass, hour), hour)
    await async_wait_until_running(hass)
    return home
