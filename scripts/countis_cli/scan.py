"""Finds meters on a line."""

from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
import sys
from typing import Any

from .exits import Exit
from .library import countis
from .link import Link
from .output import Output, table
from .problems import ERRORS, problem
from .stop import Stop

PERCENT_BETWEEN_LINES = 10
CLEAR_LINE = "\r\x1b[K"


class _StoppedError(Exception):
    """Ends a search between two attempts."""


class _Progress:
    """Shows on standard error how far a search is and what it tries."""

    def __init__(self, search: countis.Scan, link: Link) -> None:
        """Show nothing yet."""
        self._search = search
        self._has_settings = link.has_settings
        self._is_terminal = sys.stderr.isatty()
        self._shown: object = None

    def show(self) -> None:
        """Rewrite the line of a terminal; elsewhere, add one now and then."""
        search = self._search
        percent = int(100 * search.progress)
        found = f", {len(_found(search))} found" if search.found else ""
        settings = f"{search.trying}, " if self._has_settings else ""
        text = f"{percent:3} %  {settings}address {search.unit_id}{found}"
        if self._is_terminal:
            sys.stderr.write(f"{CLEAR_LINE}{text}")
        elif self._shown != (
            shown := (percent // PERCENT_BETWEEN_LINES, len(search.found))
        ):
            self._shown = shown
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the terminal's line to what follows."""
        if self._is_terminal:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()


async def async_scan(entered: Namespace, output: Output) -> Exit:
    """Look for meters, and show those that were found, however it ends."""
    link: Link = entered.link
    timeout = entered.wait
    if timeout is not None and link.framing == "rtu":
        # A probe waits for a shorter time than other requests do.
        timeout += countis.bus.RESPONSE_TIMEOUT - countis.probe.PROBE_TIMEOUT
    search = countis.Scan(
        lambda settings: link.open(settings, timeout),
        settings=entered.scanned,
        unit_ids=list(dict.fromkeys(entered.addresses or countis.UNIT_IDS)),
    )
    progress = _Progress(search, link)
    error: Exception | None = None
    with Stop() as stop:
        search.on_change = _noting(progress, stop)
        try:
            with suppress(_StoppedError):
                await search.async_run()
        except ERRORS as err:
            error = err
    progress.clear()
    result = _as_json(search, link) | {"complete": search.progress == 1}
    if error is not None:
        failure = problem(error, link)
        output.tell(failure)
        result["error"] = failure.as_json()
    if error is None or output.as_json or search.found:
        output.show(_as_text(search, link), result)
    if error is not None:
        return Exit.FAILED
    return Exit.OK if search.found else Exit.FINDING


def _noting(progress: _Progress, stop: Stop) -> Callable[[], None]:
    def note() -> None:
        progress.show()
        if stop.requested:
            raise _StoppedError

    return note


def _found(search: countis.Scan) -> list[countis.FoundMeter]:
    """Return the meters by address, each once however often it was asked."""
    by_address = {found.unit_id: found for found in search.found}
    return [by_address[address] for address in sorted(by_address)]


def _others(search: countis.Scan) -> list[int]:
    """Return where something else answers, each address once."""
    return sorted(search.others - {meter.unit_id for meter in search.found})


def _as_json(search: countis.Scan, link: Link) -> dict[str, Any]:
    def settings(found: countis.FoundMeter) -> dict[str, Any]:
        known = found.settings if link.has_settings else None
        return {
            "baudrate": known and known.baudrate,
            "parity": known and known.parity,
            "stopbits": known and known.stopbits,
        }

    return {
        "found": [
            {"address": found.unit_id}
            | settings(found)
            | {
                "model": found.profile.model,
                "serial_number": found.profile.serial_number,
            }
            for found in _found(search)
        ],
        "others": _others(search),
    }


def _as_text(search: countis.Scan, link: Link) -> str:
    lines = []
    if search.found:
        heads = ["Address", "Settings", "Model", "Serial number"]
        rows = [
            [
                str(found.unit_id),
                str(found.settings) if link.has_settings else "as the gateway's",
                found.profile.model,
                found.profile.serial_number or "-",
            ]
            for found in _found(search)
        ]
        lines.append(table([heads, *rows], left=(1, 2, 3)))
    else:
        lines.append(
            "No meter was found. Check the two wires, which may be swapped; that the"
            " display is lit;\n120 ohms at both ends of the line; and look longer at"
            " each address: --wait 1."
        )
    if others := _others(search):
        lines.append(
            "Something else answers, or not usably, at address "
            + ", ".join(map(str, others))
        )
    if search.progress < 1:
        lines.append(f"Not complete: {search.progress:.0%} were searched.")
    return "\n\n".join(lines)
