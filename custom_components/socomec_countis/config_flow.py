"""Config flow: where a meter is, and whether it answers there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

import voluptuous as vol

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.config_entries import (
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    OptionsFlow,
    OptionsFlowWithReload,
)
from homeassistant.const import CONF_ADDRESS, CONF_DEVICE
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    SerialPortSelector,
)

from .connection import (
    LINE_ERRORS,
    LINE_SETTINGS,
    PARITIES,
    REQUEST_TIMEOUT,
    async_identify,
    error_key,
    error_placeholders,
    line_settings,
    serial_params,
    shared_line,
)
from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_PUBLISH_EVERY_READING,
    CONF_SERIAL_NUMBER,
    CONF_STOPBITS,
    DOMAIN,
)
from .countis import Countis, NotACountisError

NUMBER_CHOICES = (CONF_BAUDRATE, CONF_STOPBITS)


def _number_choice(*numbers: int) -> vol.All:
    return vol.All(
        SelectSelector(
            SelectSelectorConfig(
                options=[str(number) for number in numbers],
                mode=SelectSelectorMode.DROPDOWN,
            )
        ),
        vol.Coerce(int),
    )


# The meter's own settings, with its defaults where it has some.
METER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_DEVICE): SerialPortSelector(),
        vol.Required(CONF_ADDRESS, default=1): vol.All(
            NumberSelector(
                NumberSelectorConfig(
                    min=1, max=255, step=1, mode=NumberSelectorMode.BOX
                )
            ),
            vol.Coerce(int),
        ),
        vol.Required(CONF_BAUDRATE, default="9600"): _number_choice(
            4800, 9600, 19200, 38400
        ),
        vol.Required(CONF_PARITY, default="none"): SelectSelector(
            SelectSelectorConfig(
                options=list(PARITIES),
                translation_key=CONF_PARITY,
                mode=SelectSelectorMode.DROPDOWN,
            )
        ),
        vol.Required(CONF_STOPBITS, default="1"): _number_choice(1, 2),
    }
)


OPTIONS_SCHEMA = vol.Schema(
    {vol.Required(CONF_PUBLISH_EVERY_READING, default=False): BooleanSelector()}
)


class CountisConfigFlow(ConfigFlow, domain=DOMAIN):
    """Adds a meter, or moves it to another port, address or line settings."""

    VERSION = 1

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the flow that changes an entry's options."""
        return CountisOptionsFlow()

    def __init__(self) -> None:
        """Start without an error to tell about."""
        self._errors: dict[str, str] = {}
        self._placeholders: dict[str, str] = {}

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the meter is, and look for it there."""
        if user_input is not None:
            data = await self._async_with_known_device(user_input)
            self._async_abort_entries_match(_place(data))
            if meter := await self._async_probe(data):
                await self.async_set_unique_id(_unique_id(meter, data))
                self._abort_if_unique_id_configured()
                return self.async_create_entry(
                    title=_title(meter, data),
                    data=data | {CONF_SERIAL_NUMBER: meter.serial_number},
                )
        return self._async_show_meter_form("user", user_input or {})

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the meter is now, and make sure that it is the same one."""
        entry = self._get_reconfigure_entry()
        if user_input is not None:
            data = await self._async_with_known_device(user_input)
            if _place(data) != _place(entry.data):
                self._async_abort_entries_match(_place(data))
            line = self._line_to_change(entry, data)
            loaded = [each for each in line if each.state is ConfigEntryState.LOADED]
            # They hold the port with its old settings.
            for each in loaded:
                await self.hass.config_entries.async_unload(each.entry_id)
            meter = await self._async_probe(data)
            expected = entry.data[CONF_SERIAL_NUMBER]
            if meter and meter.serial_number == expected:
                settings = {key: data[key] for key in LINE_SETTINGS}
                for each in line:
                    if each is entry:
                        continue
                    self.hass.config_entries.async_update_entry(
                        each, data={**each.data, **settings}
                    )
                    self.hass.config_entries.async_schedule_reload(each.entry_id)
                named_by_default = entry.title == _title(meter, entry.data)
                return self.async_update_reload_and_abort(
                    entry,
                    unique_id=_unique_id(meter, data),
                    title=_title(meter, data) if named_by_default else entry.title,
                    data_updates=data,
                )
            if meter:
                self._errors["base"] = "another_meter"
                self._placeholders |= {
                    "found": meter.serial_number or "?",
                    "expected": expected or "?",
                }
            for each in loaded:
                await self.hass.config_entries.async_setup(each.entry_id)
        return self._async_show_meter_form("reconfigure", user_input or entry.data)

    def _async_show_meter_form(
        self, step_id: str, suggested: Mapping[str, Any]
    ) -> ConfigFlowResult:
        # A choice between numbers is one between their names.
        names = {key: str(suggested[key]) for key in NUMBER_CHOICES if key in suggested}
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                METER_SCHEMA, {**suggested, **names}
            ),
            errors=self._errors,
            description_placeholders=self._placeholders,
        )

    async def _async_with_known_device(self, data: dict[str, Any]) -> dict[str, Any]:
        """Name the port as the other entries do.

        One port has several names, and under two of them it would be opened
        twice.
        """

        def known_device() -> str:
            device: str = data[CONF_DEVICE]
            port = Path(device).resolve()
            names = (name for name in known_devices if Path(name).resolve() == port)
            return next(names, device)

        known_devices = [
            str(entry.data[CONF_DEVICE]) for entry in self._async_current_entries()
        ]
        device = await self.hass.async_add_executor_job(known_device)
        return data | {CONF_DEVICE: device}

    def _line_to_change(
        self, entry: ConfigEntry, data: Mapping[str, Any]
    ) -> list[ConfigEntry]:
        """Return the meters whose line settings change along with this one's.

        Speed and format belong to the line, so all its meters share them.
        """
        if data[CONF_DEVICE] != entry.data[CONF_DEVICE] or serial_params(
            data
        ) == serial_params(entry.data):
            return []
        return [
            each
            for each in self._async_current_entries()
            if each.data[CONF_DEVICE] == data[CONF_DEVICE]
        ]

    async def _async_probe(self, data: Mapping[str, Any]) -> Countis | None:
        """Return the meter that answers, or None with the error for the form set."""
        self._errors = {}
        try:
            async with async_get_temporary_unit(
                self.hass, serial_params(data), data[CONF_ADDRESS]
            ) as unit:
                unit.require_timeout(REQUEST_TIMEOUT)
                meter = Countis(unit, shared_line(self.hass, data))
                try:
                    await async_identify(meter)
                finally:
                    meter.leave_line()
        except (NotACountisError, *LINE_ERRORS) as err:
            self._placeholders = error_placeholders(data, err)
            self._errors["base"] = error_key(err)
            return None
        except HomeAssistantError as err:
            settings = (
                line_settings(entry.data)
                for entry in self._async_current_entries()
                if entry.data[CONF_DEVICE] == data[CONF_DEVICE]
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


def _place(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: data[key] for key in (CONF_DEVICE, CONF_ADDRESS)}


def _title(meter: Countis, data: Mapping[str, Any]) -> str:
    return f"{meter.model} #{data[CONF_ADDRESS]}"


def _unique_id(meter: Countis, data: Mapping[str, Any]) -> str:
    """Return the serial number, or for a meter without one the place it is at."""
    return meter.serial_number or f"{data[CONF_DEVICE]}#{data[CONF_ADDRESS]}"
