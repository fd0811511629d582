"""The command `watch`: the meters of a bus live, on a screen or line by line."""

import asyncio
from dataclasses import replace
import sys
from typing import Any

from socomec_countis import Profile

from .exit_codes import Exit
from .failures import ERRORS
from .interrupt import Interrupt
from .meters import identity_of, now, print_error
from .monitor import Monitor, Watched
from .options import Selection
from .output import Column, Rows, number, rounded
from .scan import BusScan, nothing_found
from .tables import DECIMALS

PERIOD = 1.0  # s between two lines of a meter
TIME_OF_DAY = slice(11, 19)  # the characters HH:MM:SS of an ISO time

# Each column: its heading, its quantity, and the unit that decides its decimals.
COLUMNS = (
    ("W", "power", "W"),
    ("W L1", "power_l1", "W"),
    ("W L2", "power_l2", "W"),
    ("W L3", "power_l3", "W"),
    ("Ea+ kWh", "energy_consumed", "kWh"),
    ("Ea- kWh", "energy_produced", "kWh"),
)


async def async_watch(selection: Selection, minutes: int) -> Exit:
    """Show the meters until the user quits. The plot shows the last `minutes`.

    Without unit IDs, scan the bus first. Ctrl-C during the scan ends the command.
    """
    profiles: dict[int, Profile] = {}
    if not selection.unit_ids:
        scan = BusScan(selection)
        await scan.async_run()
        if scan.failure is not None:
            selection.output.write_json({"error": scan.failure.as_json()})
            return Exit.FAILED
        if scan.interrupted:
            return Exit.DONE
        if not scan.found:
            selection.output.note(nothing_found(selection))
            return Exit.NEGATIVE_RESULT
        profiles = {each.unit_id: each.profile for each in scan.found}
        # All meters have the same settings, because a scan that has found a meter tries
        # no other settings.
        settings = scan.found[0].settings
        selection = replace(selection, unit_ids=list(profiles), settings=settings)
    has_screen = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        async with selection.connection.open(selection.settings) as opened:
            monitor = Monitor(
                opened, selection.connection, selection.unit_ids, minutes, profiles
            )
            polling = asyncio.create_task(monitor.async_run())
            try:
                if has_screen and not selection.output.as_json:
                    await _async_show_screen(selection, monitor, polling, minutes)
                    exit_code = Exit.DONE
                else:
                    exit_code = await _async_print(selection, monitor, polling)
            finally:
                polling.cancel()
                await asyncio.wait({polling})
            if not polling.cancelled():
                polling.result()  # raises the unexpected error that ended polling
            return exit_code
    except ERRORS as err:
        return print_error(selection, err)


async def _async_show_screen(
    selection: Selection, monitor: Monitor, polling: asyncio.Task[None], minutes: int
) -> None:
    from .screen import WatchApp  # noqa: PLC0415 (textual takes 0.3 s to import)

    settings = f", {selection.settings}" if selection.connection.is_serial else ""
    screen = WatchApp(monitor, f"{selection.connection}{settings}", minutes)
    polling.add_done_callback(lambda _: screen.exit())
    await screen.run_async()


async def _async_print(
    selection: Selection, monitor: Monitor, polling: asyncio.Task[None]
) -> Exit:
    """Print a line for each online meter each second, until Ctrl-C.

    Returns `FAILED` if each meter was tried at least once, and none was found.
    """
    output = selection.output
    rows = Rows(
        output,
        Column("Time", 8),
        Column("Unit ID", is_number=True),
        *(Column(heading, 9, is_number=True) for heading, _, _ in COLUMNS),
    )
    printed: dict[int, str | None] = {}
    with Interrupt() as interrupt:
        interrupted = asyncio.create_task(interrupt.async_wait())
        try:
            while not interrupted.done() and not polling.done():
                for watched in monitor.meters:
                    _print_failure(selection, watched, printed)
                    if watched.online:
                        _print_values(selection, watched, rows)
                if monitor.has_no_meter:
                    return Exit.FAILED
                await asyncio.wait({interrupted, polling}, timeout=PERIOD)
        finally:
            interrupted.cancel()
    return Exit.DONE


def _print_values(selection: Selection, watched: Watched, rows: Rows) -> None:
    cells = [
        number(watched.values.get(quantity), DECIMALS.get(unit, 0))
        for _, quantity, unit in COLUMNS
    ]
    rows.add(now()[TIME_OF_DAY], str(watched.unit_id), *cells)
    selection.output.write_json(_as_json(watched))


def _print_failure(
    selection: Selection, watched: Watched, printed: dict[int, str | None]
) -> None:
    """If a failure is new, or of another kind than at the last call, print it.

    `printed` contains, by unit ID, the kind of the failure at the last call. The kind
    is None if there was no failure.
    """
    kind = watched.failure.kind if watched.failure else None
    if watched.failure is not None and printed.get(watched.unit_id) != kind:
        selection.output.fail(watched.failure)
        selection.output.write_json(
            {
                "time": now(),
                "unit_id": watched.unit_id,
                "error": watched.failure.as_json(),
            }
        )
    printed[watched.unit_id] = kind


def _as_json(watched: Watched) -> dict[str, Any]:
    assert watched.meter is not None  # noqa: S101
    return {
        "time": now(),
        **identity_of(watched.meter),
        "values": rounded(watched.values),
        "failed": sorted(watched.failed_blocks),
    }
