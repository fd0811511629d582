"""One run of the benchmark: a simulated bus, and Home Assistant that polls it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
import json
import os
from pathlib import Path
import sqlite3
import sys
import tempfile
import time
from typing import Any

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
import psutil

from custom_components.socomec_countis.countis import Bus, async_take_profile

from .benchmark_figures import COUNTERS, POWER, Ages, Exchange, ages, exchanges
from .demo import DOMAIN, ROOT, HomeAssistant, free_port, running
from .demo import home_assistant as demo_home_assistant

ANSWERING_DELAY = 0.02  # s; of the simulated meters
START_TIMEOUT = 180  # s
# Before a run is measured, each of these was read of all meters: a restart reads all
# of it once, and after that each block in its turn.
FIRST_READS = (POWER, COUNTERS, range(51200, 51202), range(50520, 50522))
KINDS = ("measurements", "counters")
STORAGE_VERSIONS = {"version": 1, "minor_version": 5}

CONFIGURATION = """\
recorder:
  commit_interval: 1
logger:
  default: error
http:
  server_port: {port}
"""


@dataclass(frozen=True)
class Line:
    """A simulated bus in a process of its own, and its log."""

    process: asyncio.subprocess.Process
    port: str
    baudrate: int
    log: Path

    async def async_silence(self, *unit_ids: int) -> None:
        """Make these meters silent, and all others respond."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join(map(str, unit_ids))}\n".encode())
        await self.process.stdin.drain()

    def reads(self, since: float, until: float = float("inf")) -> list[Exchange]:
        """Return the reads in this time."""
        return exchanges(self.log, self.baudrate, since, until)


@asynccontextmanager
async def simulated_line(
    meters: int, baudrate: int, *options: str
) -> AsyncIterator[Line]:
    """Run a bus with meters 1 to `meters`, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "line"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts.benchmark_line", "--log", log),
            *("--meters", str(meters), "--baudrate", str(baudrate)),
            *("--delay", str(ANSWERING_DELAY), *options),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = (await process.stdout.readline()).decode().strip()
            yield Line(process, port, baudrate, log)
        finally:
            process.stdin.close()
            await process.wait()


async def async_entry(
    line: Line, meters: int, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the entry of a bus with meters 1 to `meters`, as it is stored.

    All meters have the profile of the first one, with another serial number.
    """
    connection = ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=line.baudrate)
    )
    unit = Bus(baudrate=line.baudrate).unit(1, connection.for_unit(1))
    profile = (await async_take_profile(unit)).as_dict()
    await connection.close()
    now = datetime.now(UTC).isoformat()
    subentries = []
    for unit_id in range(1, meters + 1):
        serial_number = f"14380120{unit_id:05d}"
        identity = {**profile["identity"], "serial_order": unit_id}
        subentries.append(
            {
                "data": {
                    "unit_id": unit_id,
                    "serial_number": serial_number,
                    "profile": {**profile, "identity": identity},
                },
                "subentry_id": f"{unit_id:026d}",
                "subentry_type": "meter",
                "title": f"COUNTIS E33 #{unit_id}",
                "unique_id": serial_number,
            }
        )
    return {
        "created_at": now,
        "data": {
            "type": "serial",
            "device": line.port,
            "baudrate": line.baudrate,
            "parity": "none",
            "stopbits": 1,
        },
        "disabled_by": None,
        "discovery_keys": {},
        "domain": DOMAIN,
        "entry_id": f"{0:026d}",
        "minor_version": 1,
        "modified_at": now,
        "options": dict(options or {}),
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": subentries,
        "title": line.port,
        "unique_id": f"serial:{line.port}",
        "version": 1,
    }


def store(config: Path, *entries: dict[str, Any]) -> None:
    """Create the configuration folder with these entries."""
    (config / ".storage").mkdir(parents=True)
    (config / ".storage/core.config_entries").write_text(
        json.dumps(
            STORAGE_VERSIONS
            | {"key": "core.config_entries", "data": {"entries": entries}}
        )
    )


def enable_all(config: Path) -> None:
    """Enable every entity that is disabled by default, while it does not run."""
    registry = config / ".storage/core.entity_registry"
    stored = json.loads(registry.read_text())
    for each in stored["data"]["entities"]:
        each["disabled_by"] = None
    registry.write_text(json.dumps(stored))


@asynccontextmanager
async def home_assistant(config: Path, more: str = "") -> AsyncIterator[psutil.Process]:
    """Run Home Assistant with little besides the integration."""
    components = config / "custom_components"
    components.mkdir(exist_ok=True)
    if not (components / DOMAIN).is_symlink():
        (components / DOMAIN).symlink_to(ROOT / "custom_components" / DOMAIN)
    (config / "configuration.yaml").write_text(
        CONFIGURATION.format(port=free_port(0)) + more
    )
    async with running(
        (sys.executable, "-m", "homeassistant", "--skip-pip", "--config", config),
        config / "log",
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/demo_modules")},
    ) as process:
        yield psutil.Process(process.pid)


@asynccontextmanager
async def dialogs(line: Line, meters: int) -> AsyncIterator[HomeAssistant]:
    """Run Home Assistant with its API, and with so many meters that are polled."""
    with tempfile.TemporaryDirectory() as folder:
        entries = [await async_entry(line, meters)] if meters else []
        store(Path(folder) / "config", *entries)
        began = time.monotonic()
        async with demo_home_assistant(Path(folder), free_port(0)) as hass:
            await async_settle(line, meters, began)
            yield hass


async def async_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(START_TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(1)


def first_reads(reads: list[Exchange], registers: range) -> dict[int, float]:
    """Return when these registers of each unit ID were at the client first."""
    found: dict[int, float] = {}
    for read in reads:
        if read.answered is not None and read.covers(registers):
            found.setdefault(read.unit, read.answered)
    return found


async def async_settle(line: Line, meters: int, began: float) -> float:
    """Wait until all has been read once, and return for how many s power was not.

    These s begin with the first request on the bus.
    """

    def settled() -> bool:
        reads = line.reads(began)
        return all(len(first_reads(reads, each)) == meters for each in FIRST_READS)

    await async_until(settled)
    reads = line.reads(began)
    return max(first_reads(reads, POWER).values()) - reads[0].begun if reads else 0


@dataclass(frozen=True)
class Run:
    """What was measured of a bus and its Home Assistant."""

    meters: int
    reads: list[Exchange]
    all_reads: list[Exchange]
    """Also those from the start of Home Assistant until the measured time."""
    restart: float
    """s from the first request until all meters have shown power."""
    core: float
    """The part of one core that Home Assistant took."""
    megabytes: float
    rows_per_hour: dict[str, float]
    """Of counters and of measurements, of all meters together."""

    def ages(self, registers: range) -> Ages | None:
        """Return the ages over all meters; None if one was read once at most.

        On a busy bus, counters may be read once in the measured time, so their ages
        are counted from their first read on.
        """
        reads = self.all_reads if registers == COUNTERS else self.reads
        return ages(reads, registers, range(1, self.meters + 1))


async def async_run(
    meters: int,
    baudrate: int,
    seconds: float,
    options: Mapping[str, Any] | None = None,
    *,
    all_entities: bool = False,
    restarted: bool = False,
    resting: int = 0,
) -> Run:
    """Poll so many meters for so long, of which `resting` measure no power.

    `restarted` starts Home Assistant once before: the first start takes longer, because
    it creates the devices and entities in their registries.
    """
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(
            simulated_line(meters, baudrate, "--resting", str(resting))
        )
        config = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store(config, await async_entry(line, meters, options))
        if restarted or all_entities:
            async with home_assistant(config):
                await async_settle(line, meters, time.monotonic())
        if all_entities:
            enable_all(config)
        started = time.monotonic()
        async with home_assistant(config) as process:
            restart = await async_settle(line, meters, started)
            began, wall, before = time.monotonic(), time.time(), process.cpu_times()
            await asyncio.sleep(seconds)
            after, memory = process.cpu_times(), process.memory_info().rss
            ended, wall_ended = time.monotonic(), time.time()
        used = after.user + after.system - before.user - before.system
        return Run(
            meters,
            line.reads(began, ended),
            line.reads(started, ended),
            restart,
            used / (ended - began),
            memory / 2**20,
            {
                kind: count * 3600 / (ended - began)
                for kind, count in rows(config, wall, wall_ended).items()
            },
        )


def rows(config: Path, since: float, until: float) -> dict[str, int]:
    """Return how many states of counters and measurements were written."""
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
