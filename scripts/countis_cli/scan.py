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
    """Ends a scan between two attempts."""


class _Progress:
    """Shows on standard error how far a scan is and what it tries."""

    def __init__(self, scan: countis.Scan, link: Link) -> None:
        """Show nothing yet."""
        self._scan = scan
        self._has_settings = link.has_settings
        self._is_terminal = sys.stderr.isatty()
        self._shown: object = None

    def show(self) -> None:
        """Rewrite the line of a terminal; elsewhere, add one now and then."""
        scan = self._scan
        percent = int(100 * scan.progress)
        found = f", {len(_found(scan))} found" if scan.found else ""
        settings = f"{scan.trying}, " if self._has_settings else ""
        text = f"{percent:3} %  {settings}address {scan.unit_id}{found}"
        if self._is_terminal:
            sys.stderr.write(f"{CLEAR_LINE}{text}")
        elif self._shown != (
            shown := (percent // PERCENT_BETWEEN_LINES, len(scan.found))
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
    scan = countis.Scan(
        lambda settings: link.open(settings, timeout),
        settings=entered.scanned,
        unit_ids=list(dict.fromkeys(entered.addresses or countis.UNIT_IDS)),
    )
    progress = _Progress(scan, link)
    error: Exception | None = None
    with Stop() as stop:
        scan.on_change = _noting(progress, stop)
        try:
            with suppress(_StoppedError):
                await scan.async_run()
        except ERRORS as err:
            error = err
    progress.clear()
    result = _as_json(scan, link) | {"complete": scan.progress == 1}
    if error is not None:
        failure = problem(error, link)
        output.tell(failure)
        result["error"] = failure.as_json()
    if error is None or output.as_json or scan.found:
        output.show(_as_text(scan, link), result)
    if error is not None:
        return Exit.FAILED
    return Exit.OK if scan.found else Exit.FINDING


def _noting(progress: _Progress, stop: Stop) -> Callable[[], None]:
    def note() -> None:
        progress.show()
        if stop.requested:
            raise _StoppedError

    return note


def _found(scan: countis.Scan) -> list[countis.FoundMeter]:
    """Return the meters by address, each once however often it was asked."""
    by_address = {found.unit_id: found for found in scan.found}
    return [by_address[address] for address in sorted(by_address)]


def _others(scan: countis.Scan) -> list[int]:
    """Return where something else answers, each address once."""
    return sorted(scan.others - {meter.unit_id for meter in scan.found})


def _as_json(scan: countis.Scan, link: Link) -> dict[str, Any]:
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
            for found in _found(scan)
        ],
        "others": _others(scan),
    }


def _as_text(scan: countis.Scan, link: Link) -> str:
    lines = []
    if scan.found:
        heads = ["Address", "Settings", "Model", "Serial number"]
        rows = [
            [
                str(found.unit_id),
                str(found.settings) if link.has_settings else "as the gateway's",
                found.profile.model,
                found.profile.serial_number or "-",
            ]
            for found in _found(scan)
        ]
        lines.append(table([heads, *rows], left=(1, 2, 3)))
    else:
        lines.append(
            "No meter was found. Check the two wires, which may be swapped; that the"
            " display is lit;\n120 ohms at both ends of the line; and look longer at"
            " each address: --wait 1."
        )
    if others := _others(scan):
        lines.append(
            "Something else answers, or not usably, at address "
            + ", ".join(map(str, others))
        )
    if scan.progress < 1:
        lines.append(f"Not complete: {scan.progress:.0%} were scanned.")
    return "\n\n".join(lines)
