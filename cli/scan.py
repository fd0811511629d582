"""The command `scan`: the meters of a bus, and their line settings."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from socomec_countis import SCAN_SETTINGS, UNIT_IDS, FoundMeter, LineSettings, Scan
from socomec_countis.bus import RESPONSE_TIMEOUT
from socomec_countis.probe import PROBE_TIMEOUT

from .connection import RESPONSE_TIMEOUTS, Connection, Kind
from .exit_codes import Exit
from .failures import BUS_CAUSES, ERRORS, Failure, failure, gateway_causes
from .interrupt import Interrupt
from .options import Selection
from .output import Column, ProgressDisplay, Rows, percent

MAX_TIMEOUT = 60  # s; the highest --timeout, our choice
# In s; in RTU framing, `Probe.async_send` subtracts this time from the response timeout
# of the bus, to get the timeout of a probe.
TIMEOUT_DIFFERENCE = RESPONSE_TIMEOUT - PROBE_TIMEOUT
# In s; the default timeouts of a probe.
PROBE_TIMEOUTS: dict[Kind, float] = {
    "port": PROBE_TIMEOUT,
    "rtu_over_tcp": (RESPONSE_TIMEOUTS["rtu_over_tcp"] or 0) - TIMEOUT_DIFFERENCE,
    "tcp": RESPONSE_TIMEOUTS["tcp"] or 0,
}


def nothing_found(selection: Selection, timeout: float | None = None) -> str:
    """Return the message that no meter was found, with what to check.

    `timeout` is the probe timeout in s that the user entered, or None.
    """
    connection = selection.connection
    restricted = {
        "unit IDs": bool(selection.unit_ids),
        "line settings": (
            connection.is_serial and selection.scan_settings != SCAN_SETTINGS
        ),
    }
    advice = "check"
    if any(restricted.values()):
        tried = " and ".join(name for name, is_true in restricted.items() if is_true)
        advice = (
            f"only the selected {tried} were tried. Omit the options to try all."
            " Also check"
        )
    causes = "" if connection.is_serial else f"{gateway_causes(connection)}, "
    used_timeout = timeout or PROBE_TIMEOUTS[connection.kind]
    longer = min(max(2 * used_timeout, 1), MAX_TIMEOUT)  # s
    return (
        f"No meter was found: {advice} {causes}{BUS_CAUSES}, or give each meter more"
        f" time (countis scan --timeout {longer:g})."
    )


class _InterruptedError(Exception):
    """Ends a scan between two probes."""


class BusScan:
    """A scan of a bus. The scan prints its progress and the meters that it finds."""

    def __init__(self, selection: Selection, timeout: float | None = None) -> None:
        """Initialize the scan. `timeout` is the probe timeout in s, or None."""
        self._selection = selection
        self._bus_timeout = timeout
        if timeout is not None and selection.connection.framing == "rtu":
            self._bus_timeout = timeout + TIMEOUT_DIFFERENCE
        self._rows = Rows(
            selection.output,
            Column("Unit ID", is_number=True),
            Column("Line settings", 16),
            Column("Model", 16),
            Column("Serial number", 13),
        )
        self._scan: Scan | None = None
        self._shown: set[int] = set()
        self.failure: Failure | None = None
        """The error that ended the scan, or None."""
        self.interrupted = False
        """Whether the user pressed Ctrl-C during the scan."""

    @property
    def found(self) -> list[FoundMeter]:
        """Return the meters sorted by unit ID, each once."""
        found = self._scan.found if self._scan else []
        by_unit_id = {each.unit_id: each for each in found}
        return [by_unit_id[unit_id] for unit_id in sorted(by_unit_id)]

    @property
    def others(self) -> list[int]:
        """Return the unit IDs at which a device responds, but no COUNTIS was found."""
        others = self._scan.others if self._scan else set()
        return sorted(others - {each.unit_id for each in self.found})

    @property
    def progress(self) -> float:
        """Return the part of the scan that is done, from 0 to 1."""
        return self._scan.progress if self._scan else 0

    async def async_run(self) -> None:
        """Scan until the end, an error or Ctrl-C.

        An error is printed, and kept in `failure`.
        """
        selection = self._selection
        connection = selection.connection
        with Interrupt() as interrupt, selection.output.progress() as display:
            try:
                usable = await connection.async_usable_settings(selection.scan_settings)
                self._note_unusable(usable)
                self._scan = Scan(
                    lambda settings: connection.open(settings, self._bus_timeout),
                    settings=usable,
                    unit_ids=selection.unit_ids or UNIT_IDS,
                )
                self._scan.on_change = self._on_change(display, interrupt)
                with suppress(_InterruptedError):
                    await self._scan.async_run()
            except ERRORS as err:
                self.failure = failure(err, connection)
            self.interrupted = interrupt.requested
        if self.failure is not None:
            selection.output.fail(self.failure)

    def _note_unusable(self, usable: list[LineSettings]) -> None:
        """Print the parities that the scan omits: the port does not support them."""
        tried = {each.parity for each in self._selection.scan_settings}
        left_out = tried - {each.parity for each in usable}
        if self._selection.connection.is_serial and left_out:
            self._selection.output.note(
                f"The port cannot be set to parity {', '.join(sorted(left_out))}:"
                " the scan omits these settings."
            )

    def _on_change(
        self, display: ProgressDisplay, interrupt: Interrupt
    ) -> Callable[[], None]:
        """Return a callback that prints the changes, and ends the scan after Ctrl-C."""

        def on_change() -> None:
            scan = self._scan
            assert scan is not None  # noqa: S101
            for meter in self.found:
                if meter.unit_id not in self._shown:
                    self._shown.add(meter.unit_id)
                    self._rows.add(*_cells(meter, self._selection.connection))
            settings = (
                f"{scan.probed_settings}, "
                if self._selection.connection.is_serial
                else ""
            )
            found = f", {len(self.found)} found" if self.found else ""
            display.show(
                scan.progress,
                f"{settings}unit ID {scan.probed_unit_id}{found}",
                scan.remaining_seconds,
            )
            if interrupt.requested:
                raise _InterruptedError

        return on_change


async def async_scan(selection: Selection, probe_timeout: float | None) -> Exit:
    """Scan a bus, and print the meters.

    `probe_timeout` is in s, None for the default.
    """
    scan = BusScan(selection, probe_timeout)
    await scan.async_run()
    output = selection.output
    result: dict[str, Any] = {
        "meters": [_as_json(each, selection.connection) for each in scan.found],
        "others": scan.others,
        "complete": scan.progress == 1,
    }
    if scan.failure is not None:
        result["error"] = scan.failure.as_json()
    output.write_json(result)
    if scan.others:
        unit_ids = ", ".join(map(str, scan.others))
        output.show(
            f"A device responds at unit ID {unit_ids}, but could not be identified as a"
            " COUNTIS."
        )
    if scan.failure is not None:
        return Exit.FAILED
    if scan.progress < 1:
        output.note(f"The scan is not complete: {percent(scan.progress)} is done.")
    elif not scan.found:
        output.note(nothing_found(selection, probe_timeout))
    return Exit.DONE if scan.found else Exit.NEGATIVE_RESULT


def _cells(meter: FoundMeter, connection: Connection) -> list[str]:
    settings = str(meter.settings) if connection.is_serial else "of the gateway"
    profile = meter.profile
    return [
        str(meter.unit_id),
        settings,
        profile.model,
        profile.serial_number or "-",
    ]


def _as_json(meter: FoundMeter, connection: Connection) -> dict[str, Any]:
    settings = meter.settings if connection.is_serial else None
    return {
        "unit_id": meter.unit_id,
        "baudrate": settings and settings.baudrate,
        "parity": settings and settings.parity,
        "stopbits": settings and settings.stopbits,
        "model": meter.profile.model,
        "serial_number": meter.profile.serial_number,
    }
