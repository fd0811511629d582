"""Measures polling on a simulated line, beside Home Assistant's own modbus platform."""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
import itertools
import json
from pathlib import Path
import platform
from statistics import median
import sys
import tempfile
import time

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
import psutil

from custom_components.socomec_countis.countis.registers import (
    Energies,
    Measurements,
    Tariffs,
)
from homeassistant.const import __version__ as ha_version

from . import benchmark_aims
from .benchmark_aims import aim, table, verdict
from .benchmark_figures import (
    BITS_PER_CHARACTER,
    COUNTERS,
    POWER,
    Exchange,
    ages,
    polls,
    silence,
)
from .benchmark_run import (
    ANSWERING_DELAY,
    KINDS,
    Run,
    async_entry,
    async_run,
    async_settle,
    async_until,
    home_assistant,
    simulated_line,
    store,
)
from .demo import ROOT

REPORT = ROOT / "docs/benchmark.md"
SPEEDS = (4800, 9600, 19200, 38400)
CROWDS = (1, 2, 4, 8, 12, 16, 32, 64)
CROWD_SPEEDS = (9600, 38400)
SIDE_BY_SIDE = 16  # meters; two larger runs at once would measure this machine
VALUES = 38


# -- the parts -------------------------------------------------------------------


async def async_one_meter(seconds: float) -> str:
    """Measure a poll at each speed, beside what the line allows."""
    lines = []
    ratios = []
    rates = []
    for pair in (SPEEDS[:2], SPEEDS[2:]):
        runs = await asyncio.gather(*(async_run(1, speed, seconds) for speed in pair))
        for speed, run in zip(pair, runs, strict=True):
            found = polls(run.reads)
            requests = median(poll.requests for poll in found)
            characters = median(poll.characters for poll in found)
            took = median(poll.seconds for poll in found)
            limit = characters * BITS_PER_CHARACTER / speed + requests * ANSWERING_DELAY
            ratios.append(took / (limit + (requests - 1) * silence(speed)))
            power = run.ages(POWER)
            assert power is not None
            rates.append(power.per_minute)
            lines.append(
                (
                    f"{speed}",
                    f"{requests:.0f}",
                    f"{characters:.0f}",
                    f"{1000 * took:.0f} ms",
                    f"{1000 * limit:.0f} ms",
                    f"{took / limit:.2f}",
                    f"{ratios[-1]:.2f}",
                    f"{power.per_minute:.1f}",
                    verdict(
                        met=took <= 1.15 * limit and abs(power.per_minute - 60) < 1
                    ),
                )
            )
    aim(
        "one meter, 4800 to 38400 baud: line time / (bytes + answering delay +"
        " 3.5-character silences); polls a minute",
        "1.06; 60",
        "≤ 1.06; 60",
        f"{max(ratios):.2f}; {min(rates):.1f} to {max(rates):.1f}",
        met=round(max(ratios), 2) <= 1.06
        and all(abs(rate - 60) < 0.5 for rate in rates),
    )
    return "\n\n".join(
        (
            "## One meter",
            (
                "A poll of everything that the default entities of a meter"
                " with four tariffs show. The limit is the time of the bytes"
                " themselves and 20 ms for each response. The second ratio counts"
                " the silence of 3.5 characters between two requests as well. Aims:"
                " line time at most 1.15 times the limit, 60 ± 1 polls a minute."
            ),
            table(
                (
                    *("baud", "requests", "bytes", "line time", "limit", "ratio"),
                    *("with silences", "polls a minute", "aim"),
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
            line = await stack.enter_async_context(simulated_line(1, 9600))
            config = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yaml = yaml_platform(line.port, 9600)
            await stack.enter_async_context(home_assistant(config, yaml))
            # Until each value was read twice.
            await async_until(lambda: len(line.reads(0)) > 2 * VALUES)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            return line.reads(began)

    ours, theirs = await asyncio.gather(
        async_run(1, 9600, seconds, all_entities=True), async_platform()
    )
    # A part of each transaction, because no other may begin before.
    pause = silence(9600)
    poll = median(poll.seconds for poll in polls(ours.reads)) + pause
    requests = median(poll.requests for poll in polls(ours.reads))
    addresses = {read.address for read in theirs}
    each = median(read.answered - read.begun for read in theirs if read.answered)
    refresh = len(addresses) * (each + pause)
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
    crowds: dict[tuple[int, int], Run] = {}
    in_turn: dict[int, float] = {}
    for meters in CROWDS:
        print(f"  {meters} meters ...", file=sys.stderr, flush=True)
        if meters <= SIDE_BY_SIDE:
            runs = await asyncio.gather(
                *(async_run(meters, speed, seconds) for speed in CROWD_SPEEDS)
            )
        else:
            runs = [
                await async_run(meters, speed, seconds + 0.7 * meters, restarted=True)
                for speed in CROWD_SPEEDS
            ]
        for speed, run in zip(CROWD_SPEEDS, runs, strict=True):
            crowds[meters, speed] = run
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
    await benchmark_aims.async_at_rest(crowds, seconds)
    return "\n\n".join(
        (
            "## Many meters on one line",
            (
                "The age of a value is counted from the moment at which the request"
                " was at the meter; the worst is that of the unluckiest meter at the"
                " unluckiest moment. A counter without an age (-) was read once at"
                " most in the measured time. Aims: power of 12 meters at 9600 baud"
                " every second; of 64 at 38400 baud, power never older than 3 s and"
                " counters never older than 15 s. The last column but one is how long"
                " a round takes that reads everything of one meter after the other."
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
        line = await stack.enter_async_context(simulated_line(meters, baudrate))
        config = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store(config, await async_entry(line, meters))
        await stack.enter_async_context(home_assistant(config))
        await async_settle(line, meters, time.monotonic())
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
            line = await stack.enter_async_context(simulated_line(1, speed))
            connection = ModbusConnection(
                ModbusSerialParams(device=line.port, baudrate=speed)
            )
            unit = connection.for_unit(1)
            blocks = (Energies(unit), Energies(unit, split=True))
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
    "dialogs": benchmark_aims.async_dialogs,
    "commands": benchmark_aims.async_commands,
    "flapping": benchmark_aims.async_flapping,
    "database": async_database,
}
# Their figures are rates, not milliseconds.
SIDE_BY_SIDE_PARTS = ("silent", "flapping", "database")


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
        if part not in SIDE_BY_SIDE_PARTS:
            print(f"{part} ...", file=sys.stderr, flush=True)
            texts.append(await PARTS[part](seconds))
    together = [part for part in parts if part in SIDE_BY_SIDE_PARTS]
    print(f"{together} ...", file=sys.stderr, flush=True)
    texts += await asyncio.gather(*(PARTS[part](seconds) for part in together))
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
            *benchmark_aims.section(),
            *filter(None, texts),
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
