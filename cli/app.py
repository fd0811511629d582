"""The command line: the commands, their options and arguments."""

import asyncio
from collections.abc import Coroutine
import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from socomec_countis import tariffs
from socomec_countis.commands import HIGHEST_TARIFF_COUNT

from .commands import (
    async_reset_partial_command,
    async_set_clock_command,
    async_set_tariff_command,
    confirm_reset,
)
from .exit_codes import MEANINGS, Exit
from .load_curve import async_load_curve
from .options import (
    MISSING_TARIFF,
    Options,
    UsageError,
    one_of,
    parse_options,
    with_options,
)
from .read import async_read
from .report import DISTRIBUTION, async_report, version_of
from .scan import MAX_TIMEOUT, PROBE_TIMEOUTS, async_scan
from .watch import async_watch
from .wiring import async_check_wiring

HELP = """\
Finds Socomec COUNTIS meters on an RS485 bus, reads them and sends them commands.

Only one program can use a port. First stop Home Assistant, or disable the bus there.
"""
# In the help, a blank line is shown as a line break.
EXIT_CODES = "\n\n".join(
    (
        "Exit codes:",
        *(f"{code.value:3}  {meaning}" for code, meaning in MEANINGS.items()),
    )
)

app = typer.Typer(
    help=HELP, epilog=EXIT_CODES, no_args_is_help=True, rich_markup_mode="rich"
)


def _show_version(value: bool) -> None:  # noqa: FBT001
    if value:
        version = version_of(DISTRIBUTION) or "(unknown version: not installed)"
        typer.echo(f"countis {version}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version),
    ] = False,
) -> None:
    """Accept the options that come before the command."""


def _run(options: Options, command: Coroutine[Any, Any, Exit]) -> None:
    """Run a command, and end the program with the exit code of the command."""
    if options.debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(message)s")
    else:
        # Log nothing, because each failure is printed as a sentence.
        logging.basicConfig(handlers=[logging.NullHandler()])
    raise typer.Exit(asyncio.run(command))


@app.command(epilog=EXIT_CODES)
@with_options
def scan(
    options: Options,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds within which a response has to begin. Default:"
            f" {PROBE_TIMEOUTS['port']} on a port,"
            f" {PROBE_TIMEOUTS['rtu_over_tcp']:.2g} with --rtu-over-tcp,"
            f" {PROBE_TIMEOUTS['tcp']} with --tcp.",
            min=0.01,
            max=MAX_TIMEOUT,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Scan a bus for meters, with any unit ID and line settings."""
    _run(options, async_scan(parse_options(options, needs_unit_id=False), timeout))


@app.command(epilog=EXIT_CODES)
@with_options
def read(options: Options) -> None:
    """Print all values of meters."""
    _run(options, async_read(parse_options(options)))


@app.command(epilog=EXIT_CODES)
@with_options
def watch(
    options: Options,
    minutes: Annotated[
        int, typer.Option(help="Time that the plot shows, in minutes.", min=1, max=120)
    ] = 10,
) -> None:
    """Show the meters of a bus live; without --unit-id, scan for them first."""
    _run(options, async_watch(parse_options(options, needs_unit_id=False), minutes))


@app.command("set-tariff", epilog=EXIT_CODES)
@with_options
def set_tariff(
    options: Options,
    tariff: Annotated[
        int,
        typer.Argument(
            help=f"Tariff, 1 to {HIGHEST_TARIFF_COUNT}.",
            metavar="TARIFF",
            show_default=False,
        ),
    ] = 0,  # if not entered; `parse_options` then names all missing arguments
    *,
    to_all: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Set the tariff of all meters of the bus by a broadcast. Only the"
            " meters of --unit-id are read back.",
        ),
    ] = False,
) -> None:
    """Set the tariff in which meters count."""
    selection = parse_options(options, missing=[] if tariff else [MISSING_TARIFF])
    # Raises `UsageError` for a tariff that no meter has.
    one_of("Tariff", tariff, tariffs(HIGHEST_TARIFF_COUNT))
    _run(options, async_set_tariff_command(selection, tariff, to_all=to_all))


@app.command("reset-partial", epilog=EXIT_CODES)
@with_options
def reset_partial(
    options: Options,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Reset without a question.")
    ] = False,
) -> None:
    """Set partial counters to zero, and print their readings before and after."""
    selection = parse_options(options)
    if not yes:
        confirm_reset(selection)
    _run(options, async_reset_partial_command(selection))


@app.command("set-clock", epilog=EXIT_CODES)
@with_options
def set_clock(options: Options) -> None:
    """Set clocks to the time of this computer."""
    _run(options, async_set_clock_command(parse_options(options)))


@app.command("check-wiring", epilog=EXIT_CODES)
@with_options
def check_wiring(
    options: Options,
    readings: Annotated[
        int, typer.Option(help="Number of readings, 1 s apart.", min=2, max=60)
    ] = 5,
) -> None:
    """Find wrongly connected phases with the connection test of the meter's manual."""
    _run(options, async_check_wiring(parse_options(options), readings))


@app.command("load-curve", epilog=EXIT_CODES)
@with_options
def load_curve(
    options: Options,
    csv: Annotated[
        Path | None,
        typer.Option(help="Write the records to a CSV file.", dir_okay=False),
    ] = None,
) -> None:
    """Read the load curve that meters keep: the mean power of each period."""
    selection = parse_options(options)
    if csv is not None and not os.access(csv if csv.exists() else csv.parent, os.W_OK):
        msg = (
            f"--csv {csv} cannot be written: check that its folder exists, and that you"
            " may write there."
        )
        raise UsageError(msg)
    _run(options, async_load_curve(selection, csv))


@app.command(epilog=EXIT_CODES)
@with_options
def report(
    options: Options,
    folder: Annotated[
        Path,
        typer.Option(help="Folder of the files.", file_okay=False, exists=True),
    ] = Path(),
) -> None:
    """Write a file about each meter for a bug report, without the serial number."""
    _run(options, async_report(parse_options(options), folder))
