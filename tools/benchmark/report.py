"""Runs the measurements ("rows") of the benchmark, and writes the report."""

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
import platform
import sys

import psutil

from homeassistant.const import __version__ as ha_version
from tools.paths import ROOT

from . import home_assistant_rows, library_rows
from .arguments import ROWS
from .text import aims_section, paragraphs

REPORT = ROOT / "docs/benchmark.md"
# In the page, this tool keeps this heading and all text below it.
KEPT_FROM = "## Missed aims"
MEASURE = {
    "one": library_rows.async_one_meter,
    "reads": library_rows.async_reads,
    "many-meters": library_rows.async_many_meters,
    "rest": library_rows.async_rest,
    "offline": library_rows.async_offline,
    "flapping": library_rows.async_flapping,
    "yaml": home_assistant_rows.async_modbus_platform,
    "load": home_assistant_rows.async_load,
    "dialogs": home_assistant_rows.async_dialogs,
    "commands": home_assistant_rows.async_commands,
    "database": home_assistant_rows.async_database,
}
# To save time, these rows are measured at the same time. Their aims only compare rates.
# If the machine is busy, rates change less than durations.
TOGETHER = ("offline", "flapping", "database")


def processor() -> str:
    """Return the name of the processor, or else its architecture."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


async def async_measure(rows: Sequence[str], seconds: float) -> str:
    """Measure rows, and return the report.

    Most rows measure each bus for `seconds`. "database" takes six times as long, and
    "dialogs" and "commands" ignore `seconds`.
    """
    texts: dict[str, str] = {}
    for row in rows:
        if row not in TOGETHER:
            print(f"{row} ...", file=sys.stderr, flush=True)
            texts[row] = await MEASURE[row](seconds)
    together = [row for row in rows if row in TOGETHER]
    print(f"{', '.join(together)} ...", file=sys.stderr, flush=True)
    measured = await asyncio.gather(*(MEASURE[row](seconds) for row in together))
    texts |= zip(together, measured, strict=True)
    return paragraphs(
        "# Benchmark",
        "Use this page to find out how often the integration reads the values of many"
        " meters on one bus (RS485 line), and how it recovers from disturbances.",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with"
        f" `./scripts/benchmark --seconds {seconds:g}`, on"
        f" {psutil.cpu_count()} x {processor()}, Python"
        f" {platform.python_version()}, Home Assistant {ha_version}. The"
        " bus is simulated. A simulated meter begins its response 20 ms after the"
        " request.",
        *aims_section(),
        # A row that only adds to the table of aims has no text.
        *filter(None, (texts[row] for row in rows)),
    )


def run_benchmark(arguments: argparse.Namespace) -> None:
    """Measure and print the selected rows.

    Without a selection, measure all rows, and also write the report.
    """
    rows = arguments.only or list(ROWS)
    report = asyncio.run(async_measure(rows, arguments.seconds)) + "\n"
    print(report)
    if not arguments.only:
        # The kept text is written by hand. Its last table is made from the output of
        # `tools.benchmark.recovery`.
        _, heading, kept = REPORT.read_text().partition(KEPT_FROM)
        REPORT.write_text(report + (f"\n{heading}{kept}" if heading else ""))
