"""The steps that the dialogs of a bus and of its meters share: scan and select.

`bus_scan.py` has the scan itself, which continues if the dialog is closed.
"""

from abc import abstractmethod
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import Any, override

import voluptuous as vol

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_TYPE
from homeassistant.core import callback
from homeassistant.data_entry_flow import (
    AbortFlow,
    FlowContext,
    FlowHandler,
    FlowResult,
    UnknownFlow,
)
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.hass_dict import HassKey

from .bus_scan import BusScan, ScanRequest, Work, async_stop_scan, scans
from .connection import (
    BUS_ERRORS,
    PARITIES,
    BusData,
    async_profile_at,
    bus_unique_id,
    create_bus,
    describe_error,
    endpoint_name,
    line_settings_text,
    settings_data,
    temporary_client,
)
from .const import CONF_BAUDRATE, CONF_PARITY, CONF_STOPBITS, DOMAIN, SERIAL
from .countis import (
    CountisError,
    FoundMeter,
    LineSettings,
    OpenBus,
    Profile,
    Scan,
    settings_to_try,
)
from .countis.line_settings import ALL_SETTINGS
from .runtime import configured_meter
from .schemas import CONF_METERS, found_schema, suggested_values
from .system_errors import KEYS as SYSTEM_ERROR_KEYS

# In s; if the port or gateway cannot be opened, the attempt is repeated for this time.
# Our choice: a port that was just closed is usually free again within this time.
REOPEN_SECONDS = 1.0
REOPEN_DELAY = 0.1  # s between two attempts to open the port

# The unit ID of a client that only keeps the port open, or that only shows whether the
# port can be used. No response is needed, so any unit ID is possible.
ANY_UNIT_ID = 1

# The unique IDs of the buses that are reserved for a dialog (see `reserved`).
BUSES_IN_USE: HassKey[set[str]] = HassKey(f"{DOMAIN}_buses_in_use")

# The error keys of a port or gateway that cannot be opened.
UNREACHABLE = SYSTEM_ERROR_KEYS | {
    "cannot_open_port",
    "cannot_reach_gateway",
    "line_settings_in_use",
}

# The error keys after which the dialog offers a scan, because the unit ID or the line
# settings may be wrong.
NO_RESPONSE = {"no_response", "no_response_behind_gateway"}

type UserInput = Mapping[str, Any] | None


class FormError(Exception):
    """An error that a form shows, as a translation key with placeholders."""

    def __init__(self, key: str, field: str = "base", **placeholders: str) -> None:
        """Keep the translation key, the field and the placeholders of the text."""
        super().__init__(key)
        self.key = key
        self.field = field
        self.placeholders = placeholders


def meter_title(profile: Profile, unit_id: int) -> str:
    """Return the default title of a meter."""
    return f"{profile.model} #{unit_id}"


class ScanFlow[C: FlowContext, R: FlowResult[Any, Any], H](FlowHandler[C, R, H]):
    """A dialog that scans a bus for meters, and adds the selected meters.

    `C`, `R` and `H` are the types of its context, result and handler.
    """

    data: BusData
    """The data of the bus."""
    form = "user"
    """The step ID of the form in which the user enters the bus or unit ID."""
    error: FormError | None = None
    """The error that the next form shows."""
    shown_scan: BusScan | None = None
    """The scan whose progress or result the dialog shows."""
    _wait_task: asyncio.Task[None] | None = None
    """The task that waits for the end of the scan, until the dialog is closed."""
    _progress: dict[str, str]
    """The placeholders of the progress text."""
    _text_version = (0, 0)
    """The number of found meters and the time at the last update of the progress text.

    The time is in whole s of the event loop's clock.
    """
    _is_closed = False
    """Whether the dialog was closed."""

    @abstractmethod
    async def async_add(self, meters: list[FoundMeter]) -> R:
        """Add `meters`, and end the dialog."""

    create_bus = staticmethod(create_bus)

    def start_task(self, work: Work, name: str) -> asyncio.Task[None]:
        """Start the task of a scan. The task does not end with the dialog."""
        return self.hass.async_create_background_task(work(), name)

    @callback
    @override
    def async_remove(self) -> None:
        # A running scan continues, but no scan may start in a closed dialog.
        self._is_closed = True
        if self.shown_scan is not None:
            self.shown_scan.listeners.discard(self._on_change)

    def show_form(
        self, step_id: str, schema: vol.Schema, entered: UserInput, **placeholders: str
    ) -> R:
        """Show a form with the values that the user entered, and with `self.error`.

        The next form does not show this error again.
        """
        error, self.error = self.error, None
        suggested = suggested_values(entered or {})
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, suggested),
            errors={error.field: error.key} if error else {},
            description_placeholders=placeholders
            | (error.placeholders if error else {}),
        )

    # -- the bus -------------------------------------------------------------

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[None]:
        """Reserve the bus for this dialog during the context; stop a scan of the bus.

        Raises `FormError` if another dialog has reserved the bus.
        """
        in_use = self.hass.data.setdefault(BUSES_IN_USE, set())
        unique_id = bus_unique_id(self.data)
        if unique_id in in_use:
            raise FormError(key="bus_in_use", device=endpoint_name(self.data))
        in_use.add(unique_id)
        try:
            await async_stop_scan(self.hass, self.data)
            yield
        finally:
            in_use.remove(unique_id)

    @asynccontextmanager
    async def pause_polling(self) -> AsyncIterator[None]:
        """Pause the polling during the context, if a scan needs the bus alone.

        In this base class, the polling continues. The dialogs of a meter can share the
        bus with the poller, because they use the same `Bus`, which locks each
        transaction.
        """
        yield

    def _data_with(self, settings: LineSettings) -> BusData:
        """Return the data of the bus with other line settings."""
        return {**self.data, **settings_data(self.data, settings)}

    @asynccontextmanager
    async def _open_bus(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        """Keep the port open for the context, and yield the bus for a scan."""
        data = self._data_with(settings)
        async with temporary_client(self.hass, data, ANY_UNIT_ID):
            client = partial(temporary_client, self.hass, data)
            yield OpenBus(self.create_bus(data), client)

    async def _async_usable_settings(self) -> list[LineSettings]:
        """Return the settings with which the port can be used now.

        If the port is free, all settings can be used. If other integrations use the
        port, only their settings can be used.
        """
        usable = []
        for each in ALL_SETTINGS:
            with suppress(HomeAssistantError):
                async with temporary_client(
                    self.hass, self._data_with(each), ANY_UNIT_ID
                ):
                    usable.append(each)
        return usable

    async def _async_form_error(
        self, error: Exception, unit_id: int, serial_number: str | None = None
    ) -> FormError:
        """Return an error of the bus or a meter as `FormError`.

        A `HomeAssistantError` means that the port is in use with other line settings.
        """
        if isinstance(error, HomeAssistantError):
            usable = await self._async_usable_settings()
            reason = ", ".join(map(str, usable)) or "?"
            device = endpoint_name(self.data)
            return FormError(key="line_settings_in_use", device=device, reason=reason)
        key, placeholders = describe_error(self.data, unit_id, error, serial_number)
        return FormError(key, **placeholders)

    async def async_probe(
        self, unit_id: int, serial_number: str | None = None
    ) -> Profile:
        """Return the profile of the meter at a unit ID. Raises `FormError`.

        If the port or gateway cannot be opened, the attempt is repeated for
        `REOPEN_SECONDS`, because a port that was just closed may be busy.
        """
        bus = self.create_bus(self.data)
        until = self.hass.loop.time() + REOPEN_SECONDS
        while True:
            try:
                return await async_profile_at(
                    self.hass, self.data, bus, unit_id, serial_number
                )
            except (HomeAssistantError, CountisError, *BUS_ERRORS) as err:
                error = await self._async_form_error(err, unit_id, serial_number)
            if error.key not in UNREACHABLE or self.hass.loop.time() > until:
                raise error
            await asyncio.sleep(REOPEN_DELAY)

    # -- the steps -----------------------------------------------------------

    async def async_find(self, request: ScanRequest) -> R:
        """Probe and add a meter, or scan for meters.

        If the latest scan of the bus has the same request and can still be shown, the
        dialog shows that scan. If the request has one unit ID, and only one combination
        of line settings can be used, the meter is probed. Otherwise, a scan tries all
        unit IDs of the request with all usable combinations. Raises `FormError`.
        """
        latest = scans(self.hass).get(bus_unique_id(self.data))
        if latest and latest.request == request and latest.can_be_shown:
            return await self.async_show_scan(latest)
        unit_ids = request.unit_ids
        async with self.reserved(), self.pause_polling():
            settings = settings_to_try(
                request.fixed_data.get(CONF_BAUDRATE),
                PARITIES.get(request.fixed_data.get(CONF_PARITY, "")),
                request.fixed_data.get(CONF_STOPBITS),
                usable=await self._async_usable_settings(),
            )
            if not settings:  # because the port is in use with other settings
                raise await self._async_form_error(HomeAssistantError(), unit_ids[0])
            if self.data[CONF_TYPE] != SERIAL:
                settings = settings[:1]  # The gateway sets the parity and stop bits.
            if len(settings) == len(unit_ids) == 1:
                self.data = self._data_with(settings[0])
                profile = await self.async_probe(unit_ids[0])
                meter = FoundMeter(unit_ids[0], settings[0], profile)
                return await self._async_check_and_add([meter])
        scan = Scan(self._open_bus, settings, unit_ids)
        bus_scan = BusScan(
            self.hass, request, self.data, scan, self.start_task, self.pause_polling
        )
        return await self._async_start(bus_scan)

    async def _async_start(self, scan: BusScan) -> R:
        """Start a scan, and show its progress.

        Raises `UnknownFlow` if the dialog has already been closed.
        """
        if self._is_closed:
            raise UnknownFlow
        scan.start()
        return await self.async_show_scan(scan)

    async def async_show_scan(self, scan: BusScan) -> R:
        """Show the progress of a scan, or its result if it has ended.

        The progress of an ended scan must not be shown, because it would stay on the
        screen. The frontend notices only changes that happen after it has shown the
        progress.
        """
        self.shown_scan, self.data = scan, scan.data
        if scan.is_running:
            return await self.async_step_scan()
        return await self._async_run_step(await self._async_result_step_id(scan))

    async def async_step_resume(self, user_input: UserInput = None) -> R:
        """Show the scan that the menu offered, or its result."""
        assert self.shown_scan is not None  # noqa: S101
        return await self.async_show_scan(self.shown_scan)

    async def async_step_scan_again(self, user_input: UserInput = None) -> R:
        """Start a new scan with the request of the scan that has ended."""
        assert self.shown_scan is not None  # noqa: S101
        try:
            async with self.reserved():
                again = self.shown_scan.unstarted_copy()
        except FormError as err:
            self.error = err
            return await self.async_step_change()
        return await self._async_start(again)

    async def async_step_change(self, user_input: UserInput = None) -> R:
        """Show the form with the values that the user entered."""
        self.note_shown()
        return await self._async_run_step(self.form)

    async def _async_run_step(self, step_id: str) -> R:
        step: Callable[[], Awaitable[R]] = getattr(self, f"async_step_{step_id}")
        return await step()

    async def _async_result_step_id(self, scan: BusScan) -> str:
        """Return the ID of the step that shows the result of a scan.

        If the scan ended with an error, the next form shows this error. An `AbortFlow`
        ends the dialog instead.
        """
        if isinstance(scan.error, AbortFlow):
            return "aborted"
        if scan.is_stopped:
            device = endpoint_name(self.data)
            self.error = FormError(key="scan_stopped", device=device)
        elif scan.error is not None:
            unit_id = scan.scan.probed_unit_id
            self.error = await self._async_form_error(scan.error, unit_id)
        if self.error:
            return "change"
        return "found" if scan.scan.found else "nothing_found"

    async def async_step_aborted(self, user_input: UserInput = None) -> R:
        """End the dialog with the text of the error that ended the scan."""
        assert self.shown_scan is not None  # noqa: S101
        self.note_shown()
        error = self.shown_scan.error
        assert isinstance(error, AbortFlow)  # noqa: S101
        return self.async_abort(
            reason=error.reason, description_placeholders=error.description_placeholders
        )

    async def async_step_scan(self, user_input: UserInput = None) -> R:
        """Show the progress of the scan until it has ended."""
        scan = self.shown_scan
        assert scan is not None  # noqa: S101
        if self._wait_task is None:
            self._progress = self._progress_placeholders(scan)
            scan.listeners.add(self._on_change)
            # Home Assistant cancels this task when the dialog is closed.
            self._wait_task = self.hass.async_create_background_task(
                scan.async_wait(), f"{DOMAIN} wait for a scan"
            )
        elif self._wait_task.done():
            self._wait_task = None
            scan.listeners.discard(self._on_change)
            return self.async_show_progress_done(
                next_step_id=await self._async_result_step_id(scan)
            )
        return self.async_show_progress(
            step_id="scan",
            progress_action="scan_found" if scan.scan.found else "scan",
            progress_task=self._wait_task,
            description_placeholders=self._progress,
        )

    def note_shown(self) -> None:
        """Note that a dialog has shown the result, so that no dialog offers it again.

        Each step that shows the result calls this method. Home Assistant calls such a
        step only if the dialog is open in a browser.
        """
        if self.shown_scan is not None:
            self.shown_scan.was_shown = True

    @callback
    def _on_change(self) -> None:
        """Update the progress bar, and the progress text if it is due.

        The text is due when a meter is found, and otherwise once a second.
        """
        assert self.shown_scan is not None  # noqa: S101
        scan = self.shown_scan.scan
        self.async_update_progress(scan.progress)
        version = (len(scan.found), int(self.hass.loop.time()))
        if version != self._text_version:
            self._text_version = version
            self._progress = self._progress_placeholders(self.shown_scan)
            self.async_notify_flow_changed()

    def _progress_placeholders(self, bus_scan: BusScan) -> dict[str, str]:
        scan = bus_scan.scan
        minutes, seconds = divmod(round(scan.remaining_seconds), 60)
        return {
            "device": endpoint_name(self.data),
            "unit_id": str(scan.probed_unit_id),
            "settings": line_settings_text(self._data_with(scan.probed_settings)),
            "time_left": f"{minutes} min {seconds} s" if minutes else f"{seconds} s",
            # The frontend centres this text, so bullets would be far from their lines.
            # Two spaces at the end of a line are a line break in Markdown.
            "found": "  \n".join(
                meter_title(each.profile, each.unit_id) for each in scan.found
            ),
        }

    async def async_step_found(self, user_input: UserInput = None) -> R:
        """Ask which of the found meters to add, and add the selected meters."""
        assert self.shown_scan is not None  # noqa: S101
        self.note_shown()
        found = sorted(self.shown_scan.scan.found, key=attrgetter("unit_id"))
        meters = {str(each.unit_id): each for each in found}
        if user_input is not None:
            selected = [meters[key] for key in user_input[CONF_METERS]]
            try:
                return await self._async_check_and_add(selected)
            except FormError as err:
                self.error = err
        labels = {key: self.label(each) for key, each in meters.items()}
        ticked = [key for key, each in meters.items() if not self.find_configured(each)]
        if user_input is not None:
            ticked = user_input[CONF_METERS]
        schema = found_schema(labels, ticked)
        return self.show_form("found", schema, {}, device=endpoint_name(self.data))

    async def _async_check_and_add(self, meters: list[FoundMeter]) -> R:
        """Check that `meters` can be added, and add them.

        Raises `FormError` if there is no meter, or if a meter is already configured.
        """
        if not meters:
            raise FormError(key="none_ticked")
        for meter in meters:
            if configured := self.find_configured(meter):
                entry, subentry = configured
                key = "meter_already_configured"
                raise FormError(key, name=subentry.title, bus=entry.title)
        return await self.async_add(meters)

    def find_configured(
        self, meter: FoundMeter
    ) -> tuple[ConfigEntry, ConfigSubentry] | None:
        """Return the entry and subentry of a found meter, None if it is not set up."""
        return configured_meter(self.hass, meter.profile.serial_number)

    def label(self, meter: FoundMeter) -> str:
        """Return the label of a found meter, with the bus if the meter is set up."""
        configured = self.find_configured(meter)
        parts = (
            meter_title(meter.profile, meter.unit_id),
            meter.profile.serial_number,
            line_settings_text(self._data_with(meter.settings)),
        )
        label = " · ".join(part for part in parts if part)
        return f"{label} → {configured[0].title}" if configured else label

    async def async_step_nothing_found(self, user_input: UserInput = None) -> R:
        """Show the scanned settings, the other devices that responded, and advice."""
        assert self.shown_scan is not None  # noqa: S101
        self.note_shown()
        scan = self.shown_scan.scan
        first, last = scan.unit_ids[0], scan.unit_ids[-1]
        tried = [line_settings_text(self._data_with(each)) for each in scan.settings]
        step, other_kinds = "nothing_found", self.other_kinds()
        if scan.others:
            # A device responds, so another connection type is not needed.
            step, other_kinds = "others_found", []
        elif self.data[CONF_TYPE] != SERIAL:
            step = "nothing_found_behind_gateway"
        return self.async_show_menu(
            step_id=step,
            menu_options=["scan_again", "change", *other_kinds],
            description_placeholders={
                "device": endpoint_name(self.data),
                "unit_ids": str(first) if first == last else f"{first}-{last}",
                "settings": "; ".join(tried),
                "others": ", ".join(map(str, sorted(scan.others))),
            },
        )

    async_step_others_found = async_step_nothing_found
    async_step_nothing_found_behind_gateway = async_step_nothing_found

    def show_no_known_meter(self, **placeholders: str) -> R:
        """Show that the scan has found only meters that the dialog does not expect.

        The dialog expects the meter that it reconfigures, or a meter of the bus that it
        reconfigures. The subclass has to define `async_step_no_known_meter`.
        """
        assert self.shown_scan is not None  # noqa: S101
        self.note_shown()
        found = sorted(self.shown_scan.scan.found, key=attrgetter("unit_id"))
        return self.async_show_menu(
            step_id="no_known_meter",
            menu_options=["scan_again", "change"],
            description_placeholders={
                "device": endpoint_name(self.data),
                "found": "\n".join(
                    f"- {meter_title(each.profile, each.unit_id)}" for each in found
                ),
                **placeholders,
            },
        )

    def other_kinds(self) -> list[str]:
        """Return the steps that try the same gateway with another connection type.

        The base class has no such steps.
        """
        return []

    def show_no_response(self, error: FormError) -> R:
        """Show that a meter does not respond, with the offer to scan its bus."""
        self._no_response = error
        return self.async_show_menu(
            step_id=error.key,
            menu_options=["scan_bus", "change", *self.other_kinds()],
            description_placeholders=error.placeholders,
        )

    async def async_step_no_response(self, user_input: UserInput = None) -> R:
        """Show the menu of the latest `show_no_response` again."""
        return self.show_no_response(self._no_response)

    async_step_no_response_behind_gateway = async_step_no_response
