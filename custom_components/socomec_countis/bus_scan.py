"""The scan of a bus, which continues while no dialog shows it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.hass_dict import HassKey

from .connection import BUS_ERRORS, BusData, bus_unique_id
from .const import DOMAIN
from .countis import Scan

# s; the result of a scan that no dialog has shown is kept for this time. Our choice:
# the user has closed the dialog or the page, and comes back to see the result.
KEPT_SECONDS = 1800

type StartTask = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
type Release = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class ScanRequest:
    """The input that starts a scan. Equal requests share one scan."""

    form: str
    """The ID of the step with the form."""
    entered: BusData
    """The input of the form."""
    known: BusData
    """The data of the bus without the line settings that were left empty."""
    unit_ids: Sequence[int]
    entry_id: str | None = None
    """The ID of the entry that is reconfigured, None for another dialog."""


@dataclass(eq=False)
class BusScan:
    """A scan of one bus: its request, its progress and its result."""

    hass: HomeAssistant
    request: ScanRequest
    data: BusData
    """The data of the bus."""
    scan: Scan
    start_task: StartTask
    released: Release
    """Stops other requests on the bus for a context."""
    listeners: set[Callable[[], None]] = field(default_factory=set, init=False)
    """Called at each change, by the dialogs that show this scan."""
    error: Exception | None = field(default=None, init=False)
    is_shown: bool = field(default=False, init=False)
    """Whether a dialog has shown the result."""
    _ended_at: float = field(default=0, init=False)
    """In s: when the scan ended."""

    def start(self) -> None:
        """Start the scan, in place of an ended scan of the same bus."""
        self.scan.on_change = self._on_change
        scans(self.hass)[bus_unique_id(self.data)] = self
        self._task = self.start_task(self._async_run(), f"{DOMAIN} scan")

    def again(self) -> BusScan:
        """Return a new scan with the same parameters."""
        scan = replace(self.scan)
        return replace(self, scan=scan)

    @property
    def is_running(self) -> bool:
        """Return whether the scan has not ended yet."""
        return not self._task.done()

    @property
    def is_stopped(self) -> bool:
        """Return whether the scan was stopped before its end."""
        return self._task.cancelled()

    @property
    def can_be_continued(self) -> bool:
        """Return whether a dialog can show the progress or a result that is new."""
        if self.is_running:
            return True
        age = self.hass.loop.time() - self._ended_at
        return not (self.is_shown or self.is_stopped) and age < KEPT_SECONDS

    async def async_wait(self) -> None:
        """Wait for the end. If the waiting task is cancelled, the scan continues."""
        await asyncio.wait([self._task])

    async def async_stop(self) -> None:
        """Stop the scan, and wait until it has released the bus."""
        self._task.cancel()
        await self.async_wait()

    async def _async_run(self) -> None:
        try:
            async with self.released():
                await self.scan.async_run()
        except (HomeAssistantError, *BUS_ERRORS) as err:
            self.error = err
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
    """Stop the scan of a bus, if there is one, and forget its result."""
    with suppress(KeyError):
        await scans(hass).pop(bus_unique_id(data)).async_stop()
