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

# s after the end of a scan. In this time, a dialog offers the result if no dialog has
# shown it yet. Our choice: enough for a user who does something else during the scan,
# and then returns.
KEPT_SECONDS = 1800

type Work = Callable[[], Coroutine[Any, Any, None]]
"""The coroutine function of a task."""
type StartTask = Callable[[Work, str], asyncio.Task[None]]
"""Starts the coroutine function as a task with this name."""
type PausePolling = Callable[[], AbstractAsyncContextManager[None]]
"""Returns a context that stops the polling of a bus, or that has no effect."""


@dataclass(frozen=True)
class ScanRequest:
    """The input for a scan.

    If the latest scan of the bus has an equal request and can be continued, a dialog
    shows this scan instead of a new one.
    """

    form: str
    """The step ID of the form in which the user entered the input."""
    entered: BusData
    """The values that the user entered in this form.

    If another dialog that adds or reconfigures the bus continues the scan, its form
    shows these values. If a dialog that adds meters to a configured bus continues the
    scan, its form is empty.
    """
    fixed_data: BusData
    """The data of the bus, without the line settings that the scan has to find."""
    unit_ids: Sequence[int]
    """The unit IDs to scan."""
    entry_id: str | None = None
    """The ID of the entry that the dialog reconfigures. None in all other dialogs."""


@dataclass(eq=False)
class BusScan:
    """A task that scans one bus, with the request of a dialog.

    `scan` finds the meters, and has the progress and the result.
    """

    hass: HomeAssistant
    request: ScanRequest
    data: BusData
    """The data of the bus.

    Line settings that the scan has to find have default values here.
    """
    scan: Scan
    start_task: StartTask
    polling_paused: PausePolling
    """Returns a context that stops the polling of the bus.

    If the scan can run while the bus is polled, or if the bus is not polled, the
    context has no effect.
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
        """Start the scan, and register it in `scans` as the latest of its bus.

        Raises the errors of `start_task`.
        """
        self.scan.on_change = self._on_change
        self._task = self.start_task(self._async_run, f"{DOMAIN} scan")
        scans(self.hass)[bus_unique_id(self.data)] = self

    def unstarted_copy(self) -> BusScan:
        """Return a scan with the same request, without starting it."""
        # `replace` does not copy `init=False` fields, such as the progress and result.
        scan = replace(self.scan)
        return replace(self, scan=scan)

    @property
    def is_running(self) -> bool:
        """Return whether the task has not ended yet. Call `start` before."""
        return not self._task.done()

    @property
    def is_stopped(self) -> bool:
        """Return whether the task was cancelled before the end of the scan."""
        return self._task.cancelled()

    @property
    def can_be_continued(self) -> bool:
        """Return whether a dialog can continue to show the scan.

        This is possible while the scan is running. It is also possible for
        `KEPT_SECONDS` after the end, unless a dialog has shown the result or the scan
        was stopped.
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
            async with self.polling_paused():
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
