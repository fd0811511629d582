"""Config flow: where a meter is, and whether it answers there."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.config_entries import (
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowResult,
    OptionsFlow,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_ADDRESS, CONF_DEVICE, CONF_TYPE
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError

from .connection import (
    LINE_ERRORS,
    LINE_SETTINGS,
    OPEN_RETRY_DELAY,
    REQUEST_TIMEOUT,
    async_identify,
    endpoint,
    error_key,
    error_placeholders,
    line_settings,
    modbus_params,
    shared_line,
)
from .const import (
    CONF_SERIAL_NUMBER,
    CONNECTION_TYPES,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)
from .countis import Countis, NotACountisError
from .find_flow import FindMetersFlow
from .found_meter import place, title, unique_id
from .schemas import METER_SCHEMAS, NUMBER_CHOICES, OPTIONS_SCHEMA


class CountisConfigFlow(FindMetersFlow, domain=DOMAIN):
    """Adds a meter, or moves it to another line, address or line settings."""

    VERSION = 1
    MINOR_VERSION = 2

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the flow that changes an entry's options."""
        return CountisOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how the meter's line is reached."""
        return self.async_show_menu(
            step_id="user", menu_options=[*CONNECTION_TYPES, "find"]
        )

    async def async_step_serial(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a serial port, and look for the meter there."""
        return await self._async_step_add(SERIAL, user_input)

    async def async_step_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a Modbus TCP gateway, and look for the meter behind it."""
        return await self._async_step_add(TCP, user_input)

    async def async_step_rtu_over_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a gateway that carries RTU frames, and look for the meter."""
        return await self._async_step_add(RTU_OVER_TCP, user_input)

    async def _async_step_add(
        self, kind: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        if user_input is not None:
            data = await self.async_with_known_device({CONF_TYPE: kind, **user_input})
            self._async_abort_entries_match(place(data))
            if meter := await self._async_probe(data):
                await self.async_set_unique_id(unique_id(meter.serial_number, data))
                self._abort_if_unique_id_configured()
                return self.async_create_entry(
                    title=title(meter.model, data),
                    data=data | {CONF_SERIAL_NUMBER: meter.serial_number},
                )
        return self._async_show_meter_form(kind, kind, user_input or {})

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask how the meter's line is reached now."""
        return self.async_show_menu(
            step_id="reconfigure",
            menu_options=[f"reconfigure_{kind}" for kind in CONNECTION_TYPES],
        )

    async def async_step_reconfigure_serial(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Move the meter to a serial port."""
        return await self._async_step_move(SERIAL, user_input)

    async def async_step_reconfigure_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Move the meter behind a Modbus TCP gateway."""
        return await self._async_step_move(TCP, user_input)

    async def async_step_reconfigure_rtu_over_tcp(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Move the meter behind a gateway that carries RTU frames."""
        return await self._async_step_move(RTU_OVER_TCP, user_input)

    async def _async_step_move(
        self, kind: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Ask where the meter is now, and make sure that it is the same one."""
        entry = self._get_reconfigure_entry()
        if user_input is not None:
            data = await self.async_with_known_device({CONF_TYPE: kind, **user_input})
            if place(data) != place(entry.data):
                self._async_abort_entries_match(place(data))
            line = self._line_to_change(entry, data)
            loaded = [each for each in line if each.state is ConfigEntryState.LOADED]
            if loaded:
                await self._async_let_go_of_line(loaded)
            meter = await self._async_probe(data)
            if meter and meter.serial_number == entry.data[CONF_SERIAL_NUMBER]:
                return self._async_take_over(entry, line, meter, data)
            if meter:
                self._errors["base"] = "another_meter"
                self._placeholders |= {
                    "found": meter.serial_number or "?",
                    "expected": entry.data[CONF_SERIAL_NUMBER] or "?",
                }
            for each in loaded:
                await self.hass.config_entries.async_setup(each.entry_id)
        return self._async_show_meter_form(
            f"reconfigure_{kind}", kind, user_input or entry.data
        )

    async def _async_let_go_of_line(self, loaded: list[ConfigEntry]) -> None:
        """Unload the meters that hold a port with its old settings.

        Not in the middle of an answer, which would come in the way of the first one
        with the new settings.
        """
        async with shared_line(self.hass, loaded[0].data).turn:
            for each in loaded:
                await self.hass.config_entries.async_unload(each.entry_id)
            await asyncio.sleep(OPEN_RETRY_DELAY)

    def _async_take_over(
        self,
        entry: ConfigEntry,
        line: list[ConfigEntry],
        meter: Countis,
        data: dict[str, Any],
    ) -> ConfigFlowResult:
        """Store where the meter is now, and what of it concerns its whole line."""
        settings = {key: data[key] for key in LINE_SETTINGS if key in data}
        for each in line:
            if each is entry:
                continue
            self.hass.config_entries.async_update_entry(
                each, data={**each.data, **settings}
            )
            self.hass.config_entries.async_schedule_reload(each.entry_id)
        named_by_default = entry.title == title(meter.model, entry.data)
        return self.async_update_reload_and_abort(
            entry,
            unique_id=unique_id(meter.serial_number, data),
            title=title(meter.model, data) if named_by_default else entry.title,
            data=data | {CONF_SERIAL_NUMBER: meter.serial_number},
            # Or Home Assistant's own text is shown.
            reason="reconfigure_successful",
        )

    def _async_show_meter_form(
        self, step_id: str, kind: str, suggested: Mapping[str, Any]
    ) -> ConfigFlowResult:
        # A choice between numbers is one between their names.
        names = {key: str(suggested[key]) for key in NUMBER_CHOICES if key in suggested}
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                METER_SCHEMAS[kind], {**suggested, **names}
            ),
            errors=self._errors,
            description_placeholders=self._placeholders,
        )

    @override
    async def async_with_known_device(self, data: dict[str, Any]) -> dict[str, Any]:
        """Name the port as the other entries do.

        One port has several names, and under two of them it would be opened
        twice.
        """
        if data[CONF_TYPE] != SERIAL:
            return data

        def known_device() -> str:
            device: str = data[CONF_DEVICE]
            port = Path(device).resolve()
            names = (name for name in known_devices if Path(name).resolve() == port)
            return next(names, device)

        known_devices = [
            str(entry.data[CONF_DEVICE])
            for entry in self._async_current_entries()
            if entry.data[CONF_TYPE] == SERIAL
        ]
        device = await self.hass.async_add_executor_job(known_device)
        return data | {CONF_DEVICE: device}

    def _line_to_change(
        self, entry: ConfigEntry, data: Mapping[str, Any]
    ) -> list[ConfigEntry]:
        """Return the meters whose line settings change along with this one's.

        Speed and format belong to the line, so all its meters share them.
        """
        if endpoint(data) != endpoint(entry.data) or all(
            data[key] == entry.data[key] for key in LINE_SETTINGS if key in data
        ):
            return []
        return [
            each
            for each in self._async_current_entries()
            if endpoint(each.data) == endpoint(data)
        ]

    async def _async_probe(self, data: Mapping[str, Any]) -> Countis | None:
        """Return the meter that answers, or None with the error for the form set."""
        self._errors = {}
        try:
            async with async_get_temporary_unit(
                self.hass, modbus_params(data), data[CONF_ADDRESS]
            ) as unit:
                unit.require_timeout(REQUEST_TIMEOUT)
                meter = Countis(
                    unit, shared_line(self.hass, data), address=data[CONF_ADDRESS]
                )
                try:
                    await async_identify(meter)
                finally:
                    meter.leave_line()
        except (NotACountisError, *LINE_ERRORS) as err:
            self._placeholders = error_placeholders(data, err)
            self._errors["base"] = error_key(data, err)
            return None
        except HomeAssistantError as err:
            settings = (
                line_settings(entry.data)
                for entry in self._async_current_entries()
                if endpoint(entry.data) == endpoint(data)
            )
            self._placeholders = error_placeholders(data, err)
            self._placeholders["reason"] = next(settings, str(err))
            self._errors["base"] = "line_settings_in_use"
            return None
        return meter


class CountisOptionsFlow(OptionsFlowWithReload):
    """Changes what of a meter's readings is published."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options."""
        if user_input is not None:
            return self.async_create_entry(data=user_input)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                OPTIONS_SCHEMA, self.config_entry.options
            ),
        )
