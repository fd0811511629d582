"""Home Assistant that polls a simulated bus, and the resources that it uses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
import json
from pathlib import Path
import sqlite3
import tempfile
import time
from typing import Any

import psutil

from tools.home_assistant import (
    HomeAssistant,
    free_port,
    run_home_assistant,
    run_program,
)
from tools.home_assistant.entries import async_bus_entry, store_entries
from tools.home_assistant.start import (
    home_assistant_command,
    home_assistant_environment,
    link_integration,
)

from .bus import PolledBus, SimulatedBus, run_bus

# The kinds of sensors. The index is 1 for counters, and 0 for all other sensors.
KINDS = ("measurements", "counters")

CONFIGURATION = """\
recorder:
  commit_interval: 1
logger:
  default: error
http:
  server_port: {port}
"""


def enable_all(config: Path) -> None:
    """Enable every entity in the registry of a Home Assistant that is not running."""
    registry = config / ".storage/core.entity_registry"
    stored = json.loads(registry.read_text())
    for each in stored["data"]["entities"]:
        each["disabled_by"] = None
    registry.write_text(json.dumps(stored))


@asynccontextmanager
async def run_small_home_assistant(
    config: Path, more: str = ""
) -> AsyncIterator[psutil.Process]:
    """Run Home Assistant with few integrations, and yield its process.

    `more` is additional configuration.
    """
    link_integration(config)
    (config / "configuration.yaml").write_text(
        CONFIGURATION.format(port=free_port(0)) + more
    )
    async with run_program(
        home_assistant_command(config),
        config / "log",
        env=home_assistant_environment(),
    ) as process:
        yield psutil.Process(process.pid)


@asynccontextmanager
async def run_home_assistant_with_api(
    bus: SimulatedBus, meters: int
) -> AsyncIterator[HomeAssistant]:
    """Run Home Assistant, and yield the client of its API.

    Home Assistant polls the unit IDs 1 to `meters`, or has no entry if `meters` is 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        entries = (
            [await async_bus_entry(bus.port, bus.baudrate, meters)] if meters else []
        )
        store_entries(Path(folder) / "config", *entries)
        began = time.monotonic()
        async with run_home_assistant(Path(folder), free_port(0)) as hass:
            await bus.async_settle(meters, began)
            yield hass


@dataclass(frozen=True)
class Run(PolledBus):
    """A polled bus, and the resources that Home Assistant used to poll it."""

    restart: float
    """s from the first request until the power of all meters was read.

    If Home Assistant was started twice, this is the time of the second start.
    """
    core_fraction: float
    """The fraction of one processor core that Home Assistant used."""
    megabytes: float
    """The memory of Home Assistant in MB of 2**20 bytes."""
    rows_per_hour: dict[str, float]
    """Rows that all meters add to the database per hour, for each of `KINDS`."""


async def async_run(
    meters: int,
    baudrate: int,
    seconds: float,
    options: Mapping[str, Any] | None = None,
    *,
    all_entities: bool = False,
    restarted: bool = False,
) -> Run:
    """Poll a bus with Home Assistant for `seconds`.

    `all_entities` enables every entity. `restarted` measures the second start, because
    the first start takes longer: it creates the devices and entities.
    """
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(run_bus(meters, baudrate))
        config = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store_entries(
            config, await async_bus_entry(bus.port, baudrate, meters, options)
        )
        if restarted or all_entities:
            async with run_small_home_assistant(config):
                await bus.async_settle(meters, time.monotonic())
        if all_entities:
            enable_all(config)
        started = time.monotonic()
        async with run_small_home_assistant(config) as process:
            restart = await bus.async_settle(meters, started)
            settled, wall_settled = time.monotonic(), time.time()
            before = process.cpu_times()
            await asyncio.sleep(seconds)
            after, memory = process.cpu_times(), process.memory_info().rss
            ended, wall_ended = time.monotonic(), time.time()
        used = after.user + after.system - before.user - before.system
        return Run(
            meters,
            bus.reads(settled, ended),
            bus.reads(started, ended),
            restart,
            used / (ended - settled),
            memory / 2**20,
            {
                kind: count * 3600 / (ended - settled)
                for kind, count in count_rows(config, wall_settled, wall_ended).items()
            },
        )


def count_rows(config: Path, since: float, until: float) -> dict[str, int]:
    """Return the number of states that were stored between two times, by kind.

    The times are in s since 1970. A sensor is a counter if its entity ID contains
    "energy".
    """
    with sqlite3.connect(config / "home-assistant_v2.db") as database:
        found = database.execute(
            "SELECT states_meta.entity_id LIKE '%energy%', COUNT(*)"
            " FROM states JOIN states_meta USING (metadata_id)"
            " WHERE states_meta.entity_id LIKE 'sensor.countis%'"
            " AND states.last_updated_ts BETWEEN ? AND ? GROUP BY 1",
            (since, until),
        )
        return dict.fromkeys(KINDS, 0) | {
            KINDS[is_counter]: count for is_counter, count in found
        }
