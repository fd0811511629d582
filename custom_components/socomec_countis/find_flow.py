"""The dialogs that find meters on a line."""

from abc import abstractmethod
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from typing import Any

from modbus_connection import ModbusUnit
import voluptuous as vol

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.config_entries import (
    SOURCE_IMPORT,
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.const import CONF_ADDRESS, CONF_TYPE
from homeassistant.core import callback
from homeassistant.data_entry_flow import UnknownFlow
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import discovery_flow
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from .connection import (
    LINE_ERRORS,
    REQUEST_TIMEOUT,
    endpoint,
    endpoint_name,
    error_key,
    error_placeholders,
    line_settings,
    modbus_params,
    shared_line,
)
from .const import (
    CONF_BAUDRATE,
    CONF_SERIAL_NUMBER,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)
from .countis import (
    ADDRESSES,
    ALL_SETTINGS,
    GATEWAY_WAIT,
    LINE_WAIT,
    FoundMeter,
    LineSettings,
    OpenLine,
    Search,
)
from .found_meter import entry_data, place, settings_data, title, unique_id
from .schemas import SEARCH_SCHEMAS

CONF_METERS = "meters"

# A dash that is no hyphen, which would make a heading of the line before.
NOBODY = "\u2013"

CONF_MODEL = "model"

# A unit that is only held, so that the line stays open from one address to the next.
HELD_ADDRESS = 1

WAITS = {SERIAL: LINE_WAIT, RTU_OVER_TCP: 2 * LINE_WAIT, TCP: GATEWAY_WAIT}


class FindMetersFlow(ConfigFlow):
    """Looks for meters on a line, and adds those that are ticked."""

    _line: dict[str, Any]
    _search: Search
    _task: asyncio.Task[None]
    _started = False
    _shown: tuple[object, ...] = ()
    _discovered: dict[str, Any]
    _offered = False

    def __init__(self) -> None:
        """Start without an error to tell about."""
        self._errors: dict[str, str] = {}
        self._placeholders: dict[str, str] = {}

    async def async_step_find(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how the line is reached."""
        return self.async_show_menu(
            step_id="find",
            menu_options=["find_serial", "find_tcp", "find_rtu_over_tcp"],
        )

    async def async_step_find_serial(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a port, and what is known of the meters on it."""
        return await self._async_step_find_on(SERIAL, user_input)

    async def async_step_find_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a Modbus TCP gateway."""
        return await self._async_step_find_on(TCP, user_input)

    async def async_step_find_rtu_over_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a gateway that carries RTU frames."""
        return await self._async_step_find_on(RTU_OVER_TCP, user_input)

    async def _async_step_find_on(
        self, kind: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        if user_input is not None:
            self._errors = {}
            data = await self.async_with_known_device({CONF_TYPE: kind, **user_input})
            settings = await self._async_usable_settings(data)
            if settings:
                return await self._async_start(data, settings)
        return self.async_show_form(
            step_id=f"find_{kind}",
            data_schema=self.add_suggested_values_to_schema(
                SEARCH_SCHEMAS[kind],
                {
                    key: value if key == CONF_ADDRESS else str(value)
                    for key, value in (user_input or {}).items()
                },
            ),
            errors=self._errors,
            description_placeholders=self._placeholders,
        )

    @abstractmethod
    async def async_with_known_device(self, data: dict[str, Any]) -> dict[str, Any]:
        """Name the port as the other entries do."""

    async def _async_usable_settings(
        self, data: Mapping[str, Any]
    ) -> list[LineSettings]:
        """Return the settings to try: all that fit what is known.

        A port that is in use can only be searched with the settings it has.
        """
        if data[CONF_TYPE] != SERIAL:
            return [LineSettings(data[CONF_BAUDRATE], "N", 1)]
        fitting = [
            settings
            for settings in ALL_SETTINGS
            if {**settings_data(data, settings), **data}
            == {**data, **settings_data(data, settings)}
        ]
        free = [each for each in ALL_SETTINGS if await self._async_is_free(data, each)]
        usable = [each for each in fitting if each in free]
        if not usable:
            self._errors["base"] = "line_settings_in_use"
            self._placeholders = {
                "device": endpoint_name(data),
                "reason": ", ".join(str(each) for each in free) or "?",
            }
        return usable

    async def _async_is_free(
        self, data: Mapping[str, Any], settings: LineSettings
    ) -> bool:
        """Whether nobody uses the port with other settings; does not open it."""
        params = modbus_params({**data, **settings_data(data, settings)})
        try:
            async with async_get_temporary_unit(self.hass, params, HELD_ADDRESS):
                return True
        except HomeAssistantError:
            return False

    async def _async_start(
        self, data: dict[str, Any], settings: list[LineSettings]
    ) -> ConfigFlowResult:
        addresses = (
            [data[CONF_ADDRESS]] if CONF_ADDRESS in data else self._unknown(data)
        )
        self._line = endpoint(data)
        self._search = Search(
            self._open_line,
            settings,
            addresses,
            wait=WAITS[data[CONF_TYPE]],
            on_change=self._show_progress,
        )
        self._started = True
        self._task = self.hass.async_create_task(self._search.async_run())
        return await self.async_step_search()

    def _unknown(self, data: Mapping[str, Any]) -> list[int]:
        """Return the addresses at which no meter is set up on this line."""
        known = {each.data[CONF_ADDRESS] for each in self._on_line(data)}
        return [address for address in ADDRESSES if address not in known]

    def _on_line(self, data: Mapping[str, Any]) -> list[ConfigEntry]:
        """Return the entries of the meters that are set up on a line."""
        return [
            each
            for each in self._async_current_entries()
            if endpoint(each.data) == endpoint(data)
        ]

    @asynccontextmanager
    async def _open_line(self, settings: LineSettings) -> AsyncIterator[OpenLine]:
        """Hold the line with some settings."""
        data = {**self._line, **settings_data(self._line, settings)}
        params = modbus_params(data)

        @asynccontextmanager
        async def unit(address: int) -> AsyncIterator[ModbusUnit]:
            async with async_get_temporary_unit(self.hass, params, address) as lent:
                lent.require_timeout(REQUEST_TIMEOUT)
                yield lent

        async with unit(HELD_ADDRESS):
            yield OpenLine(shared_line(self.hass, data), unit)

    @callback
    def _show_progress(self) -> None:
        """Move the percentage on; renew the text when it says something else."""
        search = self._search
        self.async_update_progress(search.progress)
        shown = (search.trying, len(search.found), search.address // 16)
        if shown != self._shown:
            self._shown = shown
            self.hass.async_create_task(self._async_renew())

    async def _async_renew(self) -> None:
        with suppress(UnknownFlow):
            await self.hass.config_entries.flow.async_configure(self.flow_id)

    async def async_step_search(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show what is being tried until the search has come to its end."""
        search, task = self._search, self._task
        if not task.done():
            return self.async_show_progress(
                step_id="search",
                progress_action="search",
                progress_task=task,
                description_placeholders={
                    "device": endpoint_name(self._line),
                    "settings": self._settings_text(search.trying),
                    "address": str(search.address),
                    "found": str(len(search.found)),
                },
            )
        if isinstance(error := task.exception(), LINE_ERRORS):
            data = {
                **self._line,
                **settings_data(self._line, search.settings[0]),
                CONF_ADDRESS: search.address,
            }
            self._errors = {"base": error_key(data, error)}
            self._placeholders = error_placeholders(data, error)
            return self.async_show_progress_done(
                next_step_id=f"find_{self._line[CONF_TYPE]}"
            )
        task.result()
        return self.async_show_progress_done(
            next_step_id="found" if self._new else "nothing_found"
        )

    def _settings_text(self, settings: LineSettings) -> str:
        """Return the line settings that are tried."""
        return line_settings({**self._line, **settings_data(self._line, settings)})

    @property
    def _new(self) -> list[FoundMeter]:
        """Return the found meters that are not set up yet."""
        known = {each.unique_id for each in self._async_current_entries()}
        places = [place(each.data) for each in self._async_current_entries()]
        return [
            meter
            for meter in sorted(self._search.found, key=attrgetter("address"))
            if unique_id(meter.serial_number, data := entry_data(self._line, meter))
            not in known
            and place(data) not in places
        ]

    def _known_text(self) -> str:
        """Return the meters on this line that are set up already, as a list."""
        entries = self._on_line(self._line)
        return "\n".join(f"- {entry.title}" for entry in entries) or NOBODY

    async def async_step_nothing_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Tell what was tried and what to check, and offer to try again."""
        search = self._search
        tried = search.settings
        return self.async_show_menu(
            step_id="nothing_found",
            menu_options=["find", "user"],
            description_placeholders={
                "device": endpoint_name(self._line),
                "addresses": _ranges(search.addresses),
                "settings": ", ".join(self._settings_text(each) for each in tried),
                "known": self._known_text(),
                "others": ", ".join(str(each) for each in sorted(search.others))
                or NOBODY,
            },
        )

    async def async_step_found(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask which of the meters to add, and add them."""
        meters = {str(meter.address): meter for meter in self._new}
        if user_input is not None:
            chosen = [meters[key] for key in user_input[CONF_METERS] if key in meters]
            if chosen:
                return await self._async_add(chosen)
            self._errors = {"base": "none_chosen"}
        options = [
            SelectOptionDict(value=key, label=self._label(meter))
            for key, meter in meters.items()
        ]
        return self.async_show_form(
            step_id="found",
            data_schema=vol.Schema(
                {
                    vol.Required(CONF_METERS, default=list(meters)): SelectSelector(
                        SelectSelectorConfig(
                            options=options,
                            multiple=True,
                            mode=SelectSelectorMode.LIST,
                        )
                    )
                }
            ),
            errors=self._errors,
            description_placeholders={
                "device": endpoint_name(self._line),
                "known": self._known_text(),
            },
        )

    def _label(self, meter: FoundMeter) -> str:
        """Return a meter as the list shows it."""
        name = title(meter.model, {CONF_ADDRESS: meter.address})
        parts = (name, meter.serial_number, self._settings_text(meter.settings))
        return " · ".join(part for part in parts if part)

    async def _async_add(self, meters: list[FoundMeter]) -> ConfigFlowResult:
        """Add all of these; a dialog itself makes one entry only."""
        self._offered = True
        first, *others = meters
        for meter in others:
            await self.hass.config_entries.flow.async_init(
                DOMAIN,
                context={"source": SOURCE_IMPORT},
                data=self._description(meter),
            )
        return await self.async_step_import(self._description(first))

    def _description(self, meter: FoundMeter) -> dict[str, Any]:
        return entry_data(self._line, meter) | {CONF_MODEL: meter.model}

    async def async_step_import(self, description: dict[str, Any]) -> ConfigFlowResult:
        """Add a meter that was just found."""
        data = dict(description)
        model = data.pop(CONF_MODEL)
        await self.async_set_unique_id(unique_id(data[CONF_SERIAL_NUMBER], data))
        self._abort_if_unique_id_configured()
        self._async_abort_entries_match(place(data))
        return self.async_create_entry(title=title(model, data), data=data)

    @callback
    def async_remove(self) -> None:
        """Offer what was found when the dialog is closed before its end."""
        if not self._started or self._offered:
            return
        for meter in self._new:
            discovery_flow.async_create_flow(
                self.hass,
                DOMAIN,
                context={"source": SOURCE_INTEGRATION_DISCOVERY},
                data=self._description(meter),
            )

    async def async_step_integration_discovery(
        self, discovery_info: dict[str, Any]
    ) -> ConfigFlowResult:
        """Offer a meter that was found by a search that was stopped."""
        self._discovered = discovery_info
        number = discovery_info[CONF_SERIAL_NUMBER]
        await self.async_set_unique_id(unique_id(number, discovery_info))
        self._abort_if_unique_id_configured()
        name = title(discovery_info[CONF_MODEL], discovery_info)
        self.context["title_placeholders"] = {"name": name}
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether to add it."""
        if user_input is not None:
            return await self.async_step_import(self._discovered)
        return self.async_show_form(
            step_id="confirm",
            description_placeholders={
                "model": self._discovered[CONF_MODEL],
                "address": str(self._discovered[CONF_ADDRESS]),
                "device": endpoint_name(self._discovered),
                "serial_number": self._discovered[CONF_SERIAL_NUMBER] or NOBODY,
            },
        )


def _ranges(addresses: Sequence[int]) -> str:
    """Return addresses as they are commonly written: 1-4, 7."""
    runs: list[list[int]] = []
    for address in sorted(addresses):
        if runs and address == runs[-1][-1] + 1:
            runs[-1].append(address)
        else:
            runs.append([address])
    return ", ".join(
        str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs
    )
