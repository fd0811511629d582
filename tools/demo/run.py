"""Starts the demo, sets it up, and shows or checks it."""

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
import fcntl
from importlib.metadata import version
from pathlib import Path
import shutil
import signal
import sys
import tempfile
import time

from aiohttp import ClientError

from custom_components.socomec_countis.gaps import RETRY_SECONDS
from tools.errors import ToolError
from tools.home_assistant import (
    MeterInput,
    async_wait_until_running,
    free_port,
    run_home_assistant,
)
from tools.home_assistant.entries import simulated_serial_number
from tools.home_assistant.gaps import store_gap
from tools.home_assistant.login import PASSWORD, USERNAME
from tools.home_assistant.start import LOG_NAME
from tools.paths import ROOT

from .bus import UNIT_IDS, histories_before, noon_today, run_simulated_bus
from .check import async_check
from .dashboard import URL_PATH
from .gap import gap_text
from .progress import INTERRUPTED, Progress
from .set_up import DemoPlan, async_set_up_demo
from .watch import async_table, async_watch

DEMO_FOLDER = ROOT / ".demo"
# The time from the start of the integration until it offers to fill a stored gap.
OFFER_MINUTES = RETRY_SECONDS // 60
ERROR_LENGTH = 2000  # characters; the text of an error may contain a whole web page


class AlreadyRunningError(Exception):
    """Another demo uses the same data folder."""


def run_demo(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run the demo until Ctrl-C or the end of its check, and return its exit code."""
    folder = DEMO_FOLDER / ("meter" if arguments.port else "simulated")
    if arguments.check:
        DEMO_FOLDER.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="check-", dir=DEMO_FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    # SIGTERM and SIGINT cancel the demo, which then stops the programs that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with locked(folder):
            asyncio.run(async_demo(arguments, folder, progress))
    except KeyboardInterrupt:
        if not arguments.check:
            return 0
        code = INTERRUPTED
    except AlreadyRunningError:
        print("The demo is already running with the same data", file=sys.stderr)
        return 1
    except (ToolError, ClientError, ExceptionGroup) as error:
        print(f"{error_text(error):.{ERROR_LENGTH}}\nLogs: {folder}", file=sys.stderr)
        if not arguments.check:
            print(f"To start from the beginning, delete {folder}.", file=sys.stderr)
        return 1
    else:
        # Without --check, `async_demo` ends only with an exception.
        print("The check has passed.")
        code = 0
    # Only a check continues here. Each check creates a new folder.
    shutil.rmtree(folder)
    return code


def error_text(error: Exception) -> str:
    """Return the text of an error, or the texts of all errors of a group."""
    if isinstance(error, ExceptionGroup):
        return "\n".join(map(error_text, error.exceptions))
    return str(error)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a data folder. Raises `AlreadyRunningError` if it is locked already."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError from None
        yield


async def async_demo(
    arguments: argparse.Namespace, folder: Path, progress: Progress
) -> None:
    """Run the demo in `folder`.

    Raises `ToolError` or `ClientError`, or an `ExceptionGroup` of them.
    """
    # The contexts end in reverse order: Home Assistant stops before the bus. Otherwise,
    # it would report the missing bus as an error.
    async with AsyncExitStack() as bus_context, AsyncExitStack() as hass_context:
        try:
            await _async_demo(arguments, folder, progress, bus_context, hass_context)
        except asyncio.CancelledError:
            text = "\nStopping."
            if not arguments.check:
                text += " The next start continues with the same data."
            print(text, flush=True)
            raise


async def _async_demo(
    arguments: argparse.Namespace,
    folder: Path,
    progress: Progress,
    bus_context: AsyncExitStack,
    hass_context: AsyncExitStack,
) -> None:
    # A check uses the present time as solar noon, so that the solar roof
    # produces energy.
    noon = int(time.time()) if arguments.check else noon_today()
    wanted_port = 0 if arguments.check else arguments.web_port  # 0: any free port
    port = free_port(wanted_port)
    progress.report(f"Home Assistant {version('homeassistant')} starts in {folder}")
    if wanted_port not in (0, port):
        progress.report(f"Port {wanted_port} cannot be used: {port} is used instead")
    async with asyncio.TaskGroup() as group:
        # Home Assistant needs the most time, so the rest starts meanwhile.
        starting = group.create_task(
            hass_context.enter_async_context(run_home_assistant(folder, port))
        )
        plan = await async_plan(arguments, folder, bus_context, noon)
    hass = starting.result()
    progress.report(f"Home Assistant responds at {hass.url}")
    await async_wait_until_running(hass)
    demo = await async_set_up_demo(
        hass, plan, progress.report, is_strict=arguments.check
    )
    new_gaps = demo.new_gaps
    if new_gaps:
        for subentry_id, gap in new_gaps.items():
            store_gap(folder / "config", subentry_id, gap)
        progress.report("Restarting Home Assistant, so that it loads the stored gap")
        await hass_context.aclose()
        hass = await hass_context.enter_async_context(run_home_assistant(folder, port))
        await async_wait_until_running(hass)
        # Wait again until the meters have values. Existing parts stay as they are.
        demo = await async_set_up_demo(
            hass, plan, progress.report, is_strict=arguments.check
        )
    page = URL_PATH if demo.has_dashboard else ""
    print(
        f"\nDashboard       {hass.url}/{page}"
        f"\nHome Assistant  {hass.url}"
        f"\nUser            {USERNAME}, password {PASSWORD}"
        f"\nMeters          on {plan.meters[0].device}"
        f"\nLog             {folder / LOG_NAME}",
    )
    for gap in new_gaps.values():
        print(
            f"Gap             {gap_text(gap)}: in {OFFER_MINUTES} minutes,"
            f" {hass.url}/config/repairs offers to fill it"
        )
    print(flush=True)
    if not arguments.check:
        print("Ctrl-C stops the demo.\n")
        # This call ends only with an exception, so only a check continues below.
        await async_watch(hass, demo.pasts_by_counter, demo.places)
    if arguments.port:
        progress.report("The counters of a real meter are not reset by a check")
    progress.report(
        "Checking the dashboards, and the history, gap and reset of simulated meters"
    )
    await async_check(hass, demo)
    print("\n".join(["", *await async_table(hass, demo.places), ""]))
    progress.report("Stopping Home Assistant")


async def async_plan(
    arguments: argparse.Namespace, folder: Path, bus_context: AsyncExitStack, noon: int
) -> DemoPlan:
    """Return the plan of the demo. Without a port in `arguments`, run a simulated bus.

    The simulated bus stops when `bus_context` ends. `noon` is the solar noon of any
    day, in s since 1970.
    """
    if arguments.port:
        meter = MeterInput(
            arguments.port,
            arguments.unit_id,
            arguments.baudrate,
            arguments.parity,
            arguments.stopbits,
        )
        return DemoPlan([meter])
    port = await bus_context.enter_async_context(run_simulated_bus(folder, noon))
    return DemoPlan(
        [MeterInput(str(port), unit_id) for unit_id in UNIT_IDS],
        [simulated_serial_number(unit_id) for unit_id in UNIT_IDS],
        await asyncio.to_thread(histories_before, time.time(), noon),
    )
