"""The steps that the dialogs of a bus and of its meters share: scan and select."""

from abc import abstractmethod
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, override

from modbus_connection import ModbusUnit
import voluptuous as vol

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.core import callback
from homeassistant.data_entry_flow import FlowContext, FlowHandler, FlowResult
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.hass_dict import HassKey

from .connection import (
    BUS_ERRORS,
    CONNECTION_TIMEOUT,
    BusData,
    bus_unique_id,
    create_bus,
    endpoint_name,
    error_key,
    error_placeholders,
    is_connection_lost,
    line_settings,
    modbus_params,
    settings_data,
)
from .const import DOMAIN
from .countis import (
    CountisError,
    FoundMeter,
    LineSettings,
    OpenBus,
    Profile,
    Scan,
    async_take_profile,
    settings_to_try,
)
from .countis.line_settings import ALL_SETTINGS
from .schemas import CONF_METERS, found_schema, suggested_values

# s for which a port that was just closed may be busy, and between two attempts.
REOPEN_SECONDS = 1.0
REOPEN_DELAY = 0.1

# The unit ID of a client that only keeps the port open from one probe to the next.
HELD_UNIT_ID = 1

# The unique IDs of the buses that dialogs probe or scan.
BUSES_IN_USE: HassKey[set[str]] = HassKey(f"{DOMAIN}_buses_in_use")


type UserInput = Mapping[str, Any] | None


def meter_title(profile: Profile, unit_id: int) -> str:
    """Return the default title of a meter."""
    return f"{profile.model} #{unit_id}"


class ScanFlow[C: FlowContext, R: FlowResult[Any, Any], H](FlowHandler[C, R, H]):
    """A dialog that looks for meters on a bus, and adds those that are ticked."""

    data: BusData
    """The bus; its line settings are the first ones to try."""
    form = "user"
    """The step that asks what to look for."""
    reached = True
    """Whether the port or gateway could be opened for the last probe."""
    _settings: Sequence[LineSettings]
    _unit_ids: Sequence[int]
    _scan: Scan
    _task: asyncio.Task[None]
    _progress: dict[str, str]
    _shown = (0, 0)
    _is_closed = False

    def __init__(self) -> None:
        """Initialize the dialog without an error."""
        self.errors: dict[str, str] = {}
        self.placeholders: dict[str, str] = {}

    @abstractmethod
    async def async_add(self, meters: list[FoundMeter]) -> R:
        """Add these meters, and end the dialog."""

    create_bus = staticmethod(create_bus)

    @callback
    @override
    def async_remove(self) -> None:
        # Home Assistant cancels a scan that runs; no other one begins.
        self._is_closed = True

    def show_form(
        self, step_id: str, schema: vol.Schema, entered: UserInput, **placeholders: str
    ) -> R:
        """Show a form with what was entered, and with the error that is set."""
        suggested = suggested_values(entered or {})
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, suggested),
            errors=self.errors,
            description_placeholders={**placeholders, **self.placeholders},
        )

    def set_error(self, key: str, field: str = "base", **placeholders: str) -> None:
        """Have the form show an error."""
        self.errors = {field: key}
        self.placeholders = placeholders

    async def _async_set_error_of(
        self, error: Exception, unit_id: int, serial_number: str | None = None
    ) -> None:
        """Have the form say what to check."""
        if isinstance(error, HomeAssistantError):
            key, usable = "line_settings_in_use", await self._async_usable_settings()
            reason = ", ".join(str(each) for each in usable)
            placeholders = {"device": endpoint_name(self.data), "reason": reason or "?"}
        else:
            key = error_key(self.data, error)
            placeholders = error_placeholders(self.data, unit_id, error, serial_number)
        self.set_error(key, **placeholders)

    # -- the bus -------------------------------------------------------------

    def claim(self) -> bool:
        """Keep other dialogs from the bus; set an error if one of them uses it."""
        in_use = self.hass.data.setdefault(BUSES_IN_USE, set())
        unique_id = bus_unique_id(self.data)
        if unique_id in in_use:
            self.set_error("bus_in_use", device=endpoint_name(self.data))
            return False
        in_use.add(unique_id)
        return True

    def release(self) -> None:
        """Let other dialogs use the bus."""
        self.hass.data[BUSES_IN_USE].remove(bus_unique_id(self.data))

    def _with(self, settings: LineSettings) -> BusData:
        return {**self.data, **settings_data(self.data, settings)}

    @asynccontextmanager
    async def _lend_unit(
        self, unit_id: int, data: BusData
    ) -> AsyncIterator[ModbusUnit]:
        """Lend a client; raise `HomeAssistantError` if the port has other settings."""
        params = modbus_params(data)
        async with async_get_temporary_unit(self.hass, params, unit_id) as client:
            client.require_timeout(CONNECTION_TIMEOUT)
            yield client

    @asynccontextmanager
    async def _open_bus(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        data = self._with(settings)
        async with self._lend_unit(HELD_UNIT_ID, data):
            yield OpenBus(self.create_bus(data), partial(self._lend_unit, data=data))

    async def _async_usable_settings(self) -> list[LineSettings]:
        """Return the settings that the port is in use with, all if it is free."""
        usable = []
        for each in ALL_SETTINGS:
            with suppress(HomeAssistantError):
                async with self._lend_unit(HELD_UNIT_ID, self._with(each)):
                    usable.append(each)
        return usable

    async def async_probe(
        self, unit_id: int, serial_number: str | None = None
    ) -> Profile | None:
        """Return the profile of this meter at a unit ID, None if an error is set."""
        bus = self.create_bus(self.data)
        until = self.hass.loop.time() + REOPEN_SECONDS
        while True:
            try:
                async with self._lend_unit(unit_id, self.data) as client:
                    unit = bus.unit(unit_id, client, patient=True)
                    return await async_take_profile(unit, expected=serial_number)
            except (HomeAssistantError, CountisError, *BUS_ERRORS) as err:
                lost = is_connection_lost(err)
                if not lost or self.hass.loop.time() > until:
                    self.reached = not (lost or isinstance(err, HomeAssistantError))
                    await self._async_set_error_of(err, unit_id, serial_number)
                    return None
            await asyncio.sleep(REOPEN_DELAY)

    # -- the steps -----------------------------------------------------------

    async def async_look(self, known: BusData, unit_ids: Sequence[int]) -> R | None:
        """Probe the one meter that is described, or scan for all that fit.

        `known` is the bus without the line settings that were left empty. Returns None
        if an error is set.
        """
        self.errors = {}
        if not self.claim():
            return None
        profile = None
        try:
            # By their text, because only the speed is of importance behind a gateway.
            fitting = {
                line_settings(self._with(each)): each
                for each in await self._async_usable_settings()
                if known.items() <= self._with(each).items()
            }
            self._settings = settings_to_try(usable=fitting.values())
            self._unit_ids = unit_ids
            if not self._settings:
                await self._async_set_error_of(HomeAssistantError(), unit_ids[0])
            elif len(self._settings) == len(unit_ids) == 1:
                profile = await self.async_probe(unit_ids[0])
        finally:
            self.release()
        if self.errors or self._is_closed:
            return None
        if profile is None:
            return await self.async_step_search()
        meter = FoundMeter(unit_ids[0], self._settings[0], profile)
        return await self._async_add_new([meter])

    async def async_step_search(self, user_input: UserInput = None) -> R:
        """Start a scan."""
        if not self.claim():
            form: R = await getattr(self, f"async_step_{self.form}")()
            return form
        self._scan = Scan(
            self._open_bus, self._settings, self._unit_ids, self._on_change
        )
        self._progress = self._progress_placeholders()
        # Not eager: if the scan ended at once, `found` would get the form's input.
        self._task = self.hass.async_create_background_task(
            self._async_scan(), f"{DOMAIN} scan", eager_start=False
        )
        self._task.add_done_callback(lambda _: self.release())
        return await self.async_step_scan()

    async def _async_scan(self) -> None:
        try:
            await self._scan.async_run()
        except (HomeAssistantError, *BUS_ERRORS) as err:
            await self._async_set_error_of(err, self._scan.unit_id)

    @callback
    def _on_change(self) -> None:
        """Show the progress at once, and each second a text that has changed."""
        self.async_update_progress(self._scan.progress)
        shown = (len(self._scan.found), int(self.hass.loop.time()))
        if shown != self._shown:
            self._shown = shown
            self._progress = self._progress_placeholders()
            self.async_notify_flow_changed()

    def _progress_placeholders(self) -> dict[str, str]:
        minutes, seconds = divmod(round(self._scan.remaining_seconds), 60)
        return {
            "device": endpoint_name(self.data),
            "unit_id": str(self._scan.unit_id),
            "settings": line_settings(self._with(self._scan.trying)),
            "time_left": f"{minutes}:{seconds:02}",
            "found": "\n".join(f"- {self._label(each)}" for each in self._scan.found),
        }

    async def async_step_scan(self, user_input: UserInput = None) -> R:
        """Show the progress until the scan has ended."""
        if not self._task.done():
            return self.async_show_progress(
                step_id="scan",
                progress_action="scan_found" if self._scan.found else "scan",
                progress_task=self._task,
                description_placeholders=self._progress,
            )
        self._task.result()
        step = "found" if self._scan.found else "nothing_found"
        return self.async_show_progress_done(
            next_step_id=self.form if self.errors else step
        )

    async def async_step_found(self, user_input: UserInput = None) -> R:
        """Ask which of the meters to add, and add them."""
        found = sorted(self._scan.found, key=lambda each: each.unit_id)
        meters = {str(each.unit_id): each for each in found}
        if user_input is not None:
            ticked = [meters[key] for key in user_input[CONF_METERS]]
            self.set_error("none_ticked")
            if ticked and (result := await self._async_add_new(ticked)):
                return result
        labels = {key: self._label(each) for key, each in meters.items()}
        new = [key for key, each in meters.items() if not self._configured(each)]
        schema = found_schema(labels, new)
        return self.show_form("found", schema, {}, device=endpoint_name(self.data))

    async def _async_add_new(self, meters: list[FoundMeter]) -> R | None:
        """Add these meters; None, and an error, if one of them is set up already."""
        for meter in meters:
            if known := self._configured(meter):
                self.set_error("meter_already_configured", **known)
                return None
        return await self.async_add(meters)

    def _configured(self, meter: FoundMeter) -> dict[str, str] | None:
        """Return the titles of a meter that is set up already, and of its bus."""
        for entry in self.hass.config_entries.async_entries(DOMAIN):
            for subentry in entry.subentries.values():
                if subentry.unique_id == meter.profile.serial_number is not None:
                    return {"name": subentry.title, "bus": entry.title}
        return None

    def _label(self, meter: FoundMeter) -> str:
        """Return a meter as the list shows it, with its bus if it is set up."""
        known = self._configured(meter)
        parts = (
            meter_title(meter.profile, meter.unit_id),
            meter.profile.serial_number,
            line_settings(self._with(meter.settings)),
            known and f"✓ {known['bus']}",
        )
        return " · ".join(part for part in parts if part)

    async def async_step_nothing_found(self, user_input: UserInput = None) -> R:
        """Say what was tried, what else responded and what to check."""
        first, last = self._unit_ids[0], self._unit_ids[-1]
        tried = [line_settings(self._with(each)) for each in self._settings]
        return self.async_show_menu(
            step_id="others_found" if self._scan.others else "nothing_found",
            menu_options=["search", self.form],
            description_placeholders={
                "device": endpoint_name(self.data),
                "unit_ids": str(first) if first == last else f"{first}-{last}",
                "settings": "; ".join(tried),
                "others": ", ".join(str(each) for each in sorted(self._scan.others)),
            },
        )

    async_step_others_found = async_step_nothing_found
