"""A running Home Assistant with a simulated line, and its API for the tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import fcntl
from itertools import accumulate
import os
from pathlib import Path
import shutil
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
from tools.paths import DOMAIN, ROOT

from .visitor import Visitor, full_hour

ATTEMPTS = 10  # to add a meter, one per second

WORKSHOP = 7  # unit ID of a wrongly wired meter


def title(unit_id: int) -> str:
    """Return the title of the meter at a unit ID."""
    return f"COUNTIS E33 #{unit_id}"


def is_free(port: str) -> bool:
    """Return whether no program has locked a serial port."""
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@dataclass(frozen=True)
class Home:
    """A Home Assistant that a user is logged in to."""

    hass: HomeAssistant
    line: Line
    visitor: Visitor
    first_hour: datetime
    """Start of the hour in which Home Assistant started."""

    @property
    def port(self) -> str:
        """Return the path of the port of the line."""
        return self.line.port

    async def until_port_is_free(self) -> None:
        """Wait until Home Assistant has closed the port. An open port is locked."""
        # In s: longer than a scan (about 30 s), shorter than `TEST_TIMEOUT` (300 s).
        async with asyncio.timeout(120):
            while not is_free(self.port):
                await asyncio.sleep(0.1)

    def meter(self, unit_id: int) -> SimulatedMeter:
        """Return the simulated meter at a unit ID."""
        return self.line.meters[unit_id]

    def serial_number(self, unit_id: int) -> str:
        """Return the serial number of a meter, as the frontend shows it."""
        # Without a number of its own, a meter has the default of the simulator.
        year_week, site_line, order = self.meter(unit_id).serial or (
            0x1438,
            0x0120,
            unit_id,
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

    async def entry_states(self) -> list[str]:
        """Return the states of the entries of the buses, such as loaded."""
        return [str(entry["state"]) for entry in await self.entries()]

    async def delete_buses(self) -> None:
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

    async def set_up_meters(
        self, *unit_ids: int, language: str = "en"
    ) -> list[dict[str, str]]:
        """Set up meters on one bus, and return the entity IDs of each meter by key.

        Home Assistant names the entities in `language`. If exactly these meters are
        already set up in this language, they stay.
        """
        config = await self.hass.command(type="get_config")
        titles = list(await self.meters())
        if config["language"] != language or titles != list(map(title, unit_ids)):
            await self.delete_buses()
            await self.hass.command(type="config/core/update", language=language)
            for unit_id in unit_ids:
                await self._add(MeterInput(self.port, unit_id))
        entities = await self.hass.async_wait_for_values(len(unit_ids))
        entity_ids: dict[str, dict[str, str]] = {
            subentry_id: {} for subentry_id in (await self.meters()).values()
        }
        for entity in entities:
            entity_ids[entity.subentry_id][entity.key] = entity.entity_id
        return list(entity_ids.values())

    async def _add(self, meter: MeterInput) -> None:
        """Set up a meter with the API.

        After the last entry of a port is deleted, the port is still in use for a
        moment. The API is faster than a user, so the first attempts may fail.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(ToolError):
                await async_add_meter(self.hass, meter)
                return
            await asyncio.sleep(1)
        await async_add_meter(self.hass, meter)

    async def device_id(self) -> str:
        """Return the device ID of the only meter."""
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
        """Return the state of an entity as a number."""
        return float((await self.hass.async_states())[entity_id])

    async def is_available(self, unique_id: str) -> bool:
        """Return whether the entity with a unique ID exists and is available."""
        states = await self.hass.async_states()
        registry = await self.hass.command(type="config/entity_registry/list")
        return any(
            states.get(entry["entity_id"], "unavailable") != "unavailable"
            for entry in registry
            if entry["platform"] == DOMAIN and entry["unique_id"] == unique_id
        )

    async def set_up_energy_dashboard(
        self, grid: Mapping[str, str], solar: Mapping[str, str]
    ) -> None:
        """Set up the Energy dashboard with the meters of the grid and of the roof."""
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
        """Return the changes of a statistic in kWh, by the start of each row."""
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

    async def import_statistics(
        self, energies: Mapping[str, Sequence[float]], *, last_sum: float = 0
    ) -> None:
        """Import the statistics of the hours before `first_hour`.

        `energies` contains the energy of each hour in kWh by entity ID. The sum of each
        statistic ends at `last_sum` kWh. The recorder does not continue this sum: the
        sum of the rows that the recorder adds begins at 0.
        """
        for entity_id, hours in energies.items():
            # In kWh, relative to the sum of the last hour. So the last sum is 0.
            sums = list(accumulate(hours, initial=-sum(hours)))
            counted = await self.state(entity_id)
            await async_import(
                self.hass,
                entity_id,
                [
                    {
                        "start": (
                            self.first_hour - timedelta(hours=len(sums) - index)
                        ).isoformat(),
                        "state": counted + kwh,
                        "sum": last_sum + kwh,
                    }
                    for index, kwh in enumerate(sums)
                ],
            )


def _simulated_line(folder: Path) -> Line:
    """Return a line with meters of a house, a roof and a wrongly wired workshop."""
    workshop = SimulatedMeter(
        unit_id=WORKSHOP,
        # In W, with a reversed current of L1.
        load=ReversedCurrent(Constant(Phase(5200), Phase(4700), Phase(5600)), 1),
    )
    return Line([*meters_at([1, 2], lifelike=True), workshop], link=folder / "line")


@asynccontextmanager
async def running_home(folder: Path) -> AsyncIterator[Home]:
    """Run a simulated line and a Home Assistant."""
    with line_in_thread(_simulated_line(folder)) as line:
        async with run_home_assistant(folder, free_port(0)) as hass:
            yield await settled_home(hass, line)


async def settled_home(hass: HomeAssistant, line: Line) -> Home:
    """Return a home after its user is logged in and Home Assistant is running."""
    hour = full_hour()
    home = Home(hass, line, await Visitor.of(hass, hour), hour)
    await async_wait_until_running(hass)
    return home


def copy_with_constant(folder: Path, file: str, name: str, old: int, new: int) -> Path:
    """Return a folder with a copy of the integration in which a constant is changed."""
    copy = folder / "copy"
    shutil.copytree(
        ROOT / "custom_components",
        copy / "custom_components",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    module = copy / "custom_components" / DOMAIN / file
    code = module.read_text()
    assignment = f"\n{name} = {old}\n"
    assert assignment in code
    module.write_text(code.replace(assignment, f"\n{name} = {new}\n"))
    return copy
