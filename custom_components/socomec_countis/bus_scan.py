"""The scan of a bus as a task, which continues if the dialog is closed.

`countis/scan.py` scans the bus. `scan_flow.py` has the steps of the dialog that starts
and shows a scan.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
import logging
from typing import Any

from modbus_connection import ModbusProtocolError

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.hass_dict import HassKey

from .connection import BUS_ERRORS, BusData, bus_unique_id, endpoint_name
from .const import DOMAIN
from .countis import Scan

_LOGGER = logging.getLogger(__name__)

# In s; after the end of a scan, a dialog offers the result for this time, unless a
# dialog has already shown the result. Our choice: enough for a user who does something
# else during the scan, and then returns.
KEPT_SECONDS = 1800

type Work = Callable[[], Coroutine[Any, Any, None]]
"""The coroutine function of a task."""
type StartTask = Callable[[Work, str], asyncio.Task[None]]
"""Starts a coroutine function as a task. The text is the name of the task."""
type PausePolling = Callable[[], AbstractAsyncContextManager[None]]
"""Returns a context that stops the polling of a bus if a scan needs this."""


@dataclass(frozen=True)
class ScanRequest:
    """The input for a scan.

    If the latest scan of the bus has an equal request and can still be shown, a
    dialog shows this scan instead of starting a new one.
    """

    form: str
    """The step ID of the form in which the user entered the input."""
    entered: BusData
    """The values that the user entered in this form.

    Another dialog can show the scan, and then show its own form again. In a dialog that
    adds or reconfigures the bus, that form contains these values. In a dialog that adds
    meters to a configured bus, that form is empty.
    """
    fixed_data: BusData
    """The data of the bus, without the line settings that the scan has to find."""
    unit_ids: Sequence[int]
    """The unit IDs to scan."""
    entry_id: str | None = None
    """The ID of the entry that the dialog reconfigures. None in all other dialogs."""


@dataclass(eq=False)
class BusScan:
    """A scan of one bus, which runs as a task.

    A dialog creates the `request`. `scan` finds the meters, and contains the progress
    and the result.
    """

    hass: HomeAssistant
    request: ScanRequest
    data: BusData
    """The data of the bus.

    Line settings that the scan has to find have default values here.
    """
    scan: Scan
    start_task: StartTask
    pause_polling: PausePolling
    """Returns a context that stops the polling of the bus during the scan.

    If the bus is not polled, or can be polled during the scan, the context has no
    effect.
    """
    listeners: set[Callable[[], None]] = field(default_factory=set, init=False)
    """The functions to call at each change of the progress."""
    error: Exception | None = field(default=None, init=False)
    """The error that ended the scan, if there was one."""
    was_shown: bool = field(default=False, init=False)
    """Whether a dialog has shown the result."""
    _ended_at: float = field(default=0, init=False)
    """When the scan ended, in s of the event loop's clock."""

    def start(self) -> None:
        """Start the scan, and register it in `scans` as the latest scan of its bus.

        Raises the errors of `start_task`.
        """
        self.scan.on_change = self._on_change
        self._task = self.start_task(self._async_run, f"{DOMAIN} scan")
        scans(self.hass)[bus_unique_id(self.data)] = self

    def unstarted_copy(self) -> BusScan:
        """Return a new scan with the same request, which is not started yet."""
        # `replace` does not copy `init=False` fields, such as the progress and result.
        scan = replace(self.scan)
        return replace(self, scan=scan)

    @property
    def is_running(self) -> bool:
        """Return whether the task has not ended yet. Call `start` first."""
        return not self._task.done()

    @property
    def is_stopped(self) -> bool:
        """Return whether the task was cancelled before the end of the scan."""
        return self._task.cancelled()

    @property
    def can_be_shown(self) -> bool:
        """Return whether a dialog can show the progress or the result of the scan.

        The progress can be shown while the scan is running. The result can be shown for
        `KEPT_SECONDS` after the end, unless a dialog has already shown the result, or
        the scan was stopped.
        """
        if self.is_running:
            return True
        age = self.hass.loop.time() - self._ended_at
        return not (self.was_shown or self.is_stopped) and age < KEPT_SECONDS

    async def async_wait(self) -> None:
        """Wait for the end of the scan. If the wait is cancelled, the scan goes on."""
        await asyncio.wait([self._task])

    async def async_stop(self) -> None:
        """Stop the scan, and wait until its task has ended."""
        self._task.cancel()
        await self.async_wait()

    async def _async_run(self) -> None:
        try:
            async with self.pause_polling():
                await self.scan.async_run()
        except (HomeAssistantError, *BUS_ERRORS) as err:
            self.error = err
        except Exception:
            _LOGGER.exception(
                "Unexpected error during the scan of %s", endpoint_name(self.data)
            )
            self.error = ModbusProtocolError("unexpected error, see the log")
        finally:
            self._ended_at = self.hass.loop.time()

    @callback
    def _on_change(self) -> None:
        for listener in self.listeners:
            listener()


SCANS: HassKey[dict[str, BusScan]] = HassKey(f"{DOMAIN}_scans")


def scans(hass: HomeAssistant) -> dict[str, BusScan]:
    """Return the latest scan of each bus, by the unique ID of the bus."""
    return hass.data.setdefault(SCANS, {})


async def async_stop_scan(hass: HomeAssistant, data: BusData) -> None:
    """Stop the scan of a bus if there is one, and forget the result."""
    with suppress(KeyError):
        await scans(hass).pop(bus_unique_id(data)).async_stop()
