"""The command line."""

from argparse import Namespace
import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
import logging
import signal

from .arguments import parse
from .exits import Exit
from .orders import async_reset_partial, async_set_clock, async_set_tariff
from .output import Output
from .read import async_read
from .scan import async_scan
from .wiring import async_check_wiring

COMMANDS: Mapping[str, Callable[[Namespace, Output], Awaitable[Exit]]] = {
    "scan": async_scan,
    "read": async_read,
    "reset-partial": async_reset_partial,
    "set-tariff": async_set_tariff,
    "check-wiring": async_check_wiring,
    "set-clock": async_set_clock,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was entered; return the exit code."""
    entered = parse(arguments)
    if entered.debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(message)s")
    else:
        # What fails is told once, in words of ours.
        logging.basicConfig(handlers=[logging.NullHandler()])
    # pymodbus takes a cancellation for an answer that is lost. Where nothing is
    # left to be said, Ctrl-C ends the program at once; where something is, see Stop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return asyncio.run(_async_run(entered))


async def _async_run(entered: Namespace) -> int:
    return await COMMANDS[entered.command](entered, Output(as_json=entered.json))
