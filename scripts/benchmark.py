"""Measures polling on a simulated line, beside Home Assistant's own modbus platform."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
import itertools
import json
import os
from pathlib import Path
import platform
import sqlite3
from statistics import median
import sys
import tempfile
import time
from typing import Any

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
import psutil

from custom_components.socomec_countis.countis.registers import (
    Energies,
    Measurements,
    Tariffs,
)
from homeassistant.const import __version__ as ha_version

from .benchmark_figures import (
    BITS_PER_CHARACTER,
    COUNTERS,
    POWER,
    Ages,
    Exchange,
    ages,
    exchanges,
    polls,
)
from .demo import DOMAIN, ROOT, free_port, running

REPORT = ROOT / "docs/benchmark.md"
ANSWER_DELAY = 0.02
SILENT_CHARACTERS = 3.5
SPEEDS = (4800, 9600, 19200, 38400)
CROWDS = (1, 2, 4, 8, 12, 16, 32, 64)
CROWD_SPEEDS = (9600, 38400)
SIDE_BY_SIDE = 8
CROWDED_SECONDS = 20
START_TIMEOUT = 180
SETTLED_SECONDS = 10
IDENTIFICATION = 50000
VALUES = 37
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
    """A simulated line that runs, and its log."""

    process: asyncio.subprocess.Process
    port: str
    baudrate: int
    log: Path

    async def async_silence(self, *addresses: int) -> None:
        """Have these meters silent, and all others answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join(map(str, addresses))}\n".encode())
        await self.process.stdin.drain()

    def reads(self, since: float, until: float = float("inf")) -> list[Exchange]:
        """Return what was read in this time."""
        return exchanges(self.log, self.baudrate, since, until)


@asynccontextmanager
async def simulated_line(
    folder: Path, meters: int, baudrate: int
) -> AsyncIterator[Line]:
    """Run a line with meters 1 to `meters`."""
    log = folder / "line"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.benchmark_line", "--log", log),
        *("--meters", str(meters), "--baudrate", str(baudrate)),
        *("--delay", str(ANSWER_DELAY)),
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


def entry(line: Line, address: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config entry as Home Assistant stores it."""
    serial = f"14380120{address:05d}"
    now = datetime.now(UTC).isoformat()
    return {
        "created_at": now,
        "data": {
            "device": line.port,
            "address": address,
            "baudrate": line.baudrate,
            "parity": "none",
            "stopbits": 1,
            "serial_number": serial,
        },
        "disabled_by": None,
        "discovery_keys": {},
        "domain": DOMAIN,
        "entry_id": f"{address:026d}",
        "minor_version": 1,
        "modified_at": now,
        "options": dict(options),
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": f"COUNTIS E33 #{address}",
        "unique_id": serial,
        "version": 1,
    }


def create_config(
    config: Path, entries: Sequence[dict[str, Any]], more: str = ""
) -> None:
    """Set Home Assistant up with these entries."""
    (config / "custom_components").mkdir(parents=True)
    (config / "custom_components" / DOMAIN).symlink_to(
        ROOT / "custom_components" / DOMAIN
    )
    (config / "configuration.yaml").write_text(
        CONFIGURATION.format(port=free_port(0)) + more
    )
    (config / ".storage").mkdir()
    (config / ".storage/core.config_entries").write_text(
        json.dumps(
            STORAGE_VERSIONS
            | {"key": "core.config_entries", "data": {"entries": list(entries)}}
        )
    )


def enable_all(config: Path) -> None:
    """Enable every entity that a Home Assistant before had disabled."""
    registry = config / ".storage/core.entity_registry"
    stored = json.loads(registry.read_text())
    for each in stored["data"]["entities"]:
        each["disabled_by"] = None
    registry.write_text(json.dumps(stored))


@asynccontextmanager
async def home_assistant(config: Path) -> AsyncIterator[psutil.Process]:
    """Run Home Assistant."""
    async with running(
        (sys.executable, "-m", "homeassistant", "--skip-pip", "--config", config),
        config / "log",
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/demo_modules")},
    ) as process:
        yield psutil.Process(process.pid)


async def async_until(happened: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(START_TIMEOUT):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(1)


async def async_settle(line: Line, meters: int) -> None:
    """Wait until all meters are set up and polled, from now on."""
    began = time.monotonic()

    def settled() -> bool:
        recent = line.reads(max(time.monotonic() - SETTLED_SECONDS, began))
        polled = {read.unit for read in recent if read.covers(POWER)}
        setting_up = any(read.address == IDENTIFICATION for read in recent)
        return len(polled) == meters and not setting_up

    await async_until(settled)


@dataclass(frozen=True)
class Run:
    """What was seen of a line and its Home Assistant in the measured time."""

    meters: int
    reads: list[Exchange]
    core: float
    """The part of one core that Home Assistant took."""
    megabytes: float
    rows_per_hour: dict[str, float]
    """Of counters and of measurements, of all meters together."""

    def ages(self, registers: range) -> Ages | None:
        """Return the ages over all meters; None if one was read once at most."""
        return ages(self.reads, registers, range(1, self.meters + 1))


async def async_run(
    meters: int,
    baudrate: int,
    seconds: float,
    options: Mapping[str, Any] | None = None,
    *,
    all_entities: bool = False,
) -> Run:
    """Poll so many meters for so long."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        line = await stack.enter_async_context(simulated_line(folder, meters, baudrate))
        config = folder / "config"
        create_config(
            config,
            [entry(line, address, options or {}) for address in range(1, meters + 1)],
        )
        if all_entities:
            async with home_assistant(config):
                await async_settle(line, meters)
            enable_all(config)
        async with home_assistant(config) as process:
            await async_settle(line, meters)
            # Until each meter had its turn with the counters.
            await asyncio.sleep(min(meters, CROWDED_SECONDS))
            began, wall, before = time.monotonic(), time.time(), process.cpu_times()
            await asyncio.sleep(seconds)
            after, memory = process.cpu_times(), process.memory_info().rss
            ended, wall_ended = time.monotonic(), time.time()
        used = after.user + after.system - before.user - before.system
        return Run(
            meters,
            line.reads(began, ended),
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


# -- the parts -------------------------------------------------------------------


def verdict(*, met: bool) -> str:
    """Return how an aim came out."""
    return "met" if met else "**missed**"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


async def async_one_meter(seconds: float) -> str:
    """Measure a poll at each speed, beside what the line allows."""
    lines = []
    for pair in (SPEEDS[:2], SPEEDS[2:]):
        runs = await asyncio.gather(*(async_run(1, speed, seconds) for speed in pair))
        for speed, run in zip(pair, runs, strict=True):
            found = polls(run.reads)
            requests = median(poll.requests for poll in found)
            characters = median(poll.characters for poll in found)
            took = median(poll.seconds for poll in found)
            limit = characters * BITS_PER_CHARACTER / speed + requests * ANSWER_DELAY
            power = run.ages(POWER)
            assert power is not None
            lines.append(
                (
                    f"{speed}",
                    f"{requests:.0f}",
                    f"{characters:.0f}",
                    f"{1000 * took:.0f} ms",
                    f"{1000 * limit:.0f} ms",
                    f"{took / limit:.2f}",
                    f"{power.per_minute:.1f}",
                    verdict(
                        met=took <= 1.15 * limit and abs(power.per_minute - 60) < 1
                    ),
                )
            )
    return "\n\n".join(
        (
            "## One meter",
            (
                "A poll of everything that the default entities of a meter"
                " with four tariffs show. The limit is the time of the bytes"
                " themselves and 20 ms for each answer. Aims: line time at most"
                " 1.15 times the limit, 60 ± 1 polls a minute."
            ),
            table(
                (
                    *("baud", "requests", "bytes", "line time", "limit", "ratio"),
                    *("polls a minute", "aim"),
                ),
                lines,
            ),
        )
    )


def yaml_platform(port: str, baudrate: int) -> str:
    """Return the configuration of the modbus platform for all values of a meter."""
    sensors = [
        {
            "name": f"{name}",
            "slave": 1,
            "address": field.address,
            "input_type": "holding",
            "data_type": "uint32" if field.count == 2 else "uint16",
            "scan_interval": 1,
        }
        for block in (Measurements, Energies, Tariffs)
        for name, field in block.declared_fields.items()
        if name != "tariff"
    ]
    hub = {
        "name": "line",
        "type": "serial",
        "port": port,
        "baudrate": baudrate,
        "bytesize": 8,
        "method": "rtu",
        "parity": "N",
        "stopbits": 1,
        "sensors": sensors,
    }
    return f"modbus: {json.dumps([hub])}\n"


async def async_beside_yaml(seconds: float) -> str:
    """Measure Home Assistant's modbus platform beside ours, at the same time."""

    async def async_platform() -> list[Exchange]:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            line = await stack.enter_async_context(simulated_line(folder, 1, 9600))
            config = folder / "config"
            create_config(config, [], yaml_platform(line.port, 9600))
            await stack.enter_async_context(home_assistant(config))
            # Until each value was read twice.
            await async_until(lambda: len(line.reads(0)) > 2 * VALUES)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            return line.reads(began)

    ours, theirs = await asyncio.gather(
        async_run(1, 9600, seconds, all_entities=True), async_platform()
    )
    # As much a part of each exchange as its bytes: before it nobody else may talk.
    silence = SILENT_CHARACTERS * BITS_PER_CHARACTER / 9600
    poll = median(poll.seconds for poll in polls(ours.reads)) + silence
    requests = median(poll.requests for poll in polls(ours.reads))
    addresses = {read.address for read in theirs}
    each = median(read.answered - read.begun for read in theirs if read.answered)
    refresh = len(addresses) * (each + silence)
    gaps = [
        later - earlier
        for address in addresses
        for earlier, later in _neighbours(
            [read.asked for read in theirs if read.address == address]
        )
    ]
    power = ours.ages(POWER)
    assert power is not None
    return "\n\n".join(
        (
            "## Beside the `modbus` platform of Home Assistant",
            (
                "All the values of a poll, for which the entities that are disabled"
                " at first were enabled, and the same as YAML sensors with"
                " `scan_interval: 1`, 9600 baud, at the same time on another line."
                " The silence of 3.5 characters that each exchange ends with counts"
                " for both. Aim: at most a fifth of its line time."
            ),
            table(
                ("", "requests", "line time", "each value every", "aim"),
                (
                    (
                        "`modbus` platform",
                        f"{len(addresses)}",
                        f"{refresh:.2f} s",
                        f"{median(gaps):.1f} s",
                        "",
                    ),
                    (
                        "this integration",
                        f"{requests:.0f}",
                        f"{poll:.2f} s ({poll / refresh:.0%})",
                        f"{60 / power.per_minute:.1f} s",
                        verdict(met=poll <= refresh / 5),
                    ),
                ),
            ),
        )
    )


def _neighbours(moments: Sequence[float]) -> list[tuple[float, float]]:
    return list(itertools.pairwise(moments))


async def async_crowds(seconds: float) -> str:
    """Measure how old values get on a line with many meters."""
    lines = []
    load = []
    in_turn: dict[int, float] = {}
    for meters in CROWDS:
        print(f"  {meters} meters ...", file=sys.stderr, flush=True)
        if meters <= SIDE_BY_SIDE:
            runs = await asyncio.gather(
                *(async_run(meters, speed, seconds) for speed in CROWD_SPEEDS)
            )
        else:
            # Two of these at once would be a benchmark of this machine.
            runs = [
                await async_run(meters, speed, seconds + meters)
                for speed in CROWD_SPEEDS
            ]
        for speed, run in zip(CROWD_SPEEDS, runs, strict=True):
            if meters == 1:
                in_turn[speed] = median(poll.seconds for poll in polls(run.reads))
            power, counters = run.ages(POWER), run.ages(COUNTERS)
            print(f"  {speed} {power} {counters} {run.core}", file=sys.stderr)
            assert power is not None
            aim = ""
            if (meters, speed) == (12, 9600):
                aim = verdict(met=power.per_minute >= 59)
            if (meters, speed) == (64, 38400):
                aim = verdict(
                    met=power.worst <= 3
                    and counters is not None
                    and counters.worst <= 15
                )
            lines.append(
                (
                    f"{meters}",
                    f"{speed}",
                    f"{60 / power.per_minute:.2f} s",
                    f"{power.median:.2f} s",
                    f"{power.worst:.2f} s",
                    "-" if counters is None else f"{counters.median:.1f} s",
                    "-" if counters is None else f"{counters.worst:.1f} s",
                    f"{meters * in_turn[speed]:.1f} s",
                    aim,
                )
            )
            if meters in (1, 64):
                load.append((meters, speed, run))
    return "\n\n".join(
        (
            "## Many meters on one line",
            (
                "The age of a value is counted from the moment its meter was"
                " asked; the worst is that of the unluckiest meter at the"
                " unluckiest moment. Aims: power of 12 meters at 9600 baud every"
                " second; of 64 at 38400 baud, power never older than 3 s and"
                " counters never older than 15 s. The last column but one is what"
                " polling everything of one meter after the other would take for a"
                " round."
            ),
            table(
                (
                    *("meters", "baud", "power every", "its age, median", "worst"),
                    *("counters' age, median", "worst", "in turn", "aim"),
                ),
                lines,
            ),
            "## What it takes of Home Assistant",
            (
                "Of one core of this machine, and of its memory; all of Home"
                " Assistant, its recorder included. Aim: 64 meters in less than a"
                " third of a core."
            ),
            table(
                ("meters", "baud", "of a core", "memory", "aim"),
                [
                    (
                        f"{meters}",
                        f"{speed}",
                        f"{run.core:.1%}",
                        f"{run.megabytes:.0f} MB",
                        verdict(met=run.core < 1 / 3) if meters == 64 else "",
                    )
                    for meters, speed, run in load
                ],
            ),
        )
    )


async def async_silent(seconds: float) -> str:
    """Measure what silent meters cost the others."""
    meters, baudrate = 8, 9600
    lines = []
    before = 0.0
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        line = await stack.enter_async_context(simulated_line(folder, meters, baudrate))
        config = folder / "config"
        create_config(
            config, [entry(line, address, {}) for address in range(1, meters + 1)]
        )
        await stack.enter_async_context(home_assistant(config))
        await async_settle(line, meters)
        for silent in ((), (3,), (3, 5, 8)):
            await line.async_silence(*silent)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            reads = line.reads(began)
            others = set(range(1, meters + 1)) - set(silent)
            power = ages(reads, POWER, others)
            assert power is not None
            if not silent:
                before = power.per_minute
            asked = sum(read.unit in silent for read in reads)
            lines.append(
                (
                    f"{len(silent)}",
                    f"{power.per_minute:.1f}",
                    f"{power.worst:.2f} s",
                    f"{60 * asked / (time.monotonic() - began):.1f}",
                    verdict(met=power.per_minute >= 0.95 * before) if silent else "",
                )
            )
    return "\n\n".join(
        (
            "## Silent meters",
            (
                "Eight meters at 9600 baud, of which some fall silent at the"
                " beginning of the measured time. Aim: the slowest of the others"
                " keeps 95 % of its rate."
            ),
            table(
                (
                    *("silent", "power of the others, a minute", "its worst age"),
                    *("asked of the silent, a minute", "aim"),
                ),
                lines,
            ),
        )
    )


async def async_database(seconds: float) -> str:
    """Measure the rows written with and without the deadbands."""
    sparing, every = await asyncio.gather(
        # A counter moves once in half a minute.
        async_run(1, 9600, 6 * seconds),
        async_run(1, 9600, 6 * seconds, {"publish_every_reading": True}),
    )
    written = [sum(run.rows_per_hour.values()) for run in (sparing, every)]
    share = written[0] / written[1]
    return "\n\n".join(
        (
            "## Rows in the database",
            (
                "Of one meter's default entities, in an hour, in front of a"
                " household whose load changes every second. Aim: less than a"
                " tenth."
            ),
            table(
                ("", "rows an hour", *(f"of {kind}" for kind in KINDS), "aim"),
                (
                    (
                        "every change is published",
                        f"{written[1]:.0f}",
                        *(f"{every.rows_per_hour[kind]:.0f}" for kind in KINDS),
                        "",
                    ),
                    (
                        "as it is by default",
                        f"{written[0]:.0f} ({share:.0%})",
                        *(f"{sparing.rows_per_hour[kind]:.0f}" for kind in KINDS),
                        verdict(met=share < 0.1),
                    ),
                ),
            ),
        )
    )


async def async_reads(seconds: float) -> str:
    """Measure one read of a block against several around its reserved registers."""
    lines = []
    for speed in SPEEDS:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            line = await stack.enter_async_context(simulated_line(folder, 1, speed))
            connection = ModbusConnection(
                ModbusSerialParams(device=line.port, baudrate=speed)
            )
            unit = connection.for_unit(1)
            blocks = (Energies(unit), Energies(unit).apart())
            took: dict[int, list[float]] = {0: [], 1: []}
            until = time.monotonic() + seconds / len(SPEEDS)
            while time.monotonic() < until:
                for index, block in enumerate(blocks):
                    began = time.monotonic()
                    await block.async_update()
                    took[index].append(time.monotonic() - began)
            await connection.close()
        whole, apart = (median(took[index]) for index in (0, 1))
        lines.append(
            (
                f"{speed}",
                f"{1000 * whole:.0f} ms",
                f"{1000 * apart:.0f} ms",
                f"{apart / whole:.1f}",
            )
        )
    return "\n\n".join(
        (
            "## One read or several",
            (
                "The six counters of block 50944, with the reserved registers between"
                " them in one read of 18 registers, or without them in four reads of 12"
                " registers together."
            ),
            table(("baud", "one read", "four reads", "ratio"), lines),
        )
    )


PARTS = {
    "one": async_one_meter,
    "reads": async_reads,
    "yaml": async_beside_yaml,
    "crowds": async_crowds,
    "silent": async_silent,
    "database": async_database,
}


def processor() -> str:
    """Return what this machine calculates with."""
    for row in Path("/proc/cpuinfo").read_text().splitlines():
        if row.startswith("model name"):
            return row.split(":")[1].strip()
    return platform.machine()


async def async_main(parts: Sequence[str], seconds: float) -> str:
    """Measure, and return the report."""
    texts = []
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        texts.append(await PARTS[part](seconds))
    return "\n\n".join(
        (
            "# Benchmark",
            (
                f"Measured on {datetime.now(UTC):%Y-%m-%d} with"
                f" `./scripts/benchmark --seconds {seconds:g}`, on"
                f" {psutil.cpu_count()} x {processor()}, Python"
                f" {platform.python_version()}, Home Assistant {ha_version}. The"
                " line is simulated, on a pseudo-terminal and in a process of its"
                " own: bytes take the time they take (11 bits each), and a meter"
                " takes 20 ms to begin its answer. The times are those the line"
                " saw."
            ),
            *texts,
        )
    )


def main() -> None:
    """Read the arguments, measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=30, help="how long each case is measured"
    )
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", help="these parts, and print them only"
    )
    args = parser.parse_args()
    report = asyncio.run(async_main(args.only or list(PARTS), args.seconds))
    print(report)
    if not args.only:
        REPORT.write_text(report + "\n")


if __name__ == "__main__":
    main()
