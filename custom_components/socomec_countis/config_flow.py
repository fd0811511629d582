"""The dialogs of a bus: its connection and line settings, and its first meters."""

from collections.abc import Iterable
from functools import partialmethod
from pathlib import Path
from typing import Any, override

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowContext,
    ConfigFlowResult,
    ConfigSubentry,
    ConfigSubentryFlow,
    OptionsFlow,
)
from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_TYPE
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers.schema_config_entry_flow import (
    SchemaFlowFormStep,
    SchemaOptionsFlowHandler,
)

from .connection import BusData, bus_unique_id, endpoint_name, settings_data
from .const import (
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    CONNECTION_TYPES,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    SUBENTRY_METER,
    TCP,
)
from .countis import SCAN_SETTINGS, UNIT_IDS, FoundMeter
from .meter_flow import MeterFlow, meter_subentry
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import HELD_UNIT_ID, UNREACHABLE, FormError, ScanFlow, UserInput
from .schemas import OPTIONS_SCHEMA, SUGGESTED, bus_schema

# Wrong line settings silence all meters alike, so a few of them are enough to verify
# the settings. Each that does not respond takes about 4 s.
VERIFIED_METERS = 4


def bus_data(kind: str, user_input: BusData) -> dict[str, Any]:
    """Return the data of the entry for a bus, without what was left empty."""
    data = {CONF_TYPE: kind, **user_input}
    data.pop(CONF_UNIT_ID, None)
    if CONF_HOST in data:
        # An IPv6 address is stored without its brackets.
        data[CONF_HOST] = data[CONF_HOST].strip(" []")
    return data


def same_bus(entries: Iterable[ConfigEntry], data: BusData) -> ConfigEntry | None:
    """Return the entry for a bus, by any name of its serial port."""

    def endpoint(data: BusData) -> str:
        if data[CONF_TYPE] == SERIAL:
            return str(Path(data[CONF_DEVICE]).resolve())
        return bus_unique_id(data)

    bus = endpoint(data)
    return next((each for each in entries if endpoint(each.data) == bus), None)


class CountisConfigFlow(
    ScanFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow, domain=DOMAIN
):
    """Adds a bus with its meters, or changes its connection and line settings."""

    _entered: BusData | None = None

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        form = SchemaFlowFormStep(OPTIONS_SCHEMA)
        return SchemaOptionsFlowHandler(config_entry, {"init": form})

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        return {SUBENTRY_METER: MeterFlow}

    async def _async_other_entry(self) -> ConfigEntry | None:
        """Return another entry for the same bus."""
        entries = self.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        own_id = self.context.get("entry_id")
        others = [each for each in entries if each.entry_id != own_id]
        return await self.hass.async_add_executor_job(same_bus, others, self.data)

    # -- a new bus -----------------------------------------------------------

    @override
    async def async_step_user(self, user_input: UserInput = None) -> ConfigFlowResult:
        return self.async_show_menu(step_id="user", menu_options=[*CONNECTION_TYPES])

    async def _async_new(
        self, kind: str, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for a bus and a meter, and scan for what is left empty."""
        if user_input is not None:
            self.form, self._entered = kind, user_input
            known = bus_data(kind, user_input)
            self.data = {**settings_data(known, SCAN_SETTINGS[0]), **known}
            unique_id = bus_unique_id(self.data)
            await self.async_set_unique_id(unique_id, raise_on_progress=False)
            await self._async_abort_if_configured()
            unit_id = user_input.get(CONF_UNIT_ID)
            try:
                return await self.async_look(known, [unit_id] if unit_id else UNIT_IDS)
            except FormError as err:
                self.error = err
        entered = self._entered or SUGGESTED[kind]
        return self.show_form(kind, bus_schema(kind, is_new=True), entered)

    async_step_serial = partialmethod(_async_new, SERIAL)
    async_step_tcp = partialmethod(_async_new, TCP)
    async_step_rtu_over_tcp = partialmethod(_async_new, RTU_OVER_TCP)

    async def _async_abort_if_configured(self) -> None:
        if entry := await self._async_other_entry():
            reason = "bus_already_configured"
            raise AbortFlow(reason, {"name": entry.title})

    @override
    async def async_add(self, meters: list[FoundMeter]) -> ConfigFlowResult:
        # Another dialog may have set up the bus during the scan.
        await self._async_abort_if_configured()
        return self.async_create_entry(
            title=endpoint_name(self.data),
            data={**self.data, **settings_data(self.data, meters[0].settings)},
            subentries=[meter_subentry(meter).as_dict() for meter in meters],
        )

    # -- a bus that is set up ------------------------------------------------

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask how the bus is connected now."""
        options = [f"reconfigure_{each}" for each in CONNECTION_TYPES]
        return self.async_show_menu(step_id="reconfigure", menu_options=options)

    async def _async_change(
        self, kind: str, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for the connection and the line settings, and verify them."""
        entry: CountisConfigEntry = self.hass.config_entries.async_get_known_entry(
            self.context["entry_id"]
        )
        if user_input is not None:
            self.data = bus_data(kind, user_input)
            try:
                with self.claimed():
                    await self._async_verify_and_update(entry)
                return self.async_abort(reason="reconfigure_successful")
            except FormError as err:
                self.error = err
        entered = user_input or {**SUGGESTED[kind], **entry.data}
        schema = bus_schema(kind, is_new=False)
        return self.show_form(f"reconfigure_{kind}", schema, entered)

    async_step_reconfigure_serial = partialmethod(_async_change, SERIAL)
    async_step_reconfigure_tcp = partialmethod(_async_change, TCP)
    async_step_reconfigure_rtu_over_tcp = partialmethod(_async_change, RTU_OVER_TCP)

    async def _async_verify_and_update(self, entry: CountisConfigEntry) -> None:
        """Change the entry if a known meter responds on the bus as it is now.

        The lock keeps the entry from being set up by something else in between. It is
        set up again with its old or its new data, whatever happens. Raises `FormError`.
        """
        if other := await self._async_other_entry():
            raise FormError(key="bus_already_configured", name=other.title)
        meters = meter_subentries(entry)
        if entry.state is ConfigEntryState.LOADED:
            coordinators = entry.runtime_data.coordinators
            online = {key for key, each in coordinators.items() if each.online}
            meters.sort(key=lambda each: each.subentry_id not in online)
        async with entry.setup_lock:
            if not await entry.async_unload(self.hass):
                reason = "bus_not_loaded"
                raise AbortFlow(reason, {"name": entry.title})
            try:
                await self._async_verify(meters[:VERIFIED_METERS])
                # A title that the user has given stays.
                is_default = entry.title == endpoint_name(entry.data)
                self.hass.config_entries.async_update_entry(
                    entry,
                    data=self.data,
                    unique_id=bus_unique_id(self.data),
                    title=endpoint_name(self.data) if is_default else entry.title,
                )
            finally:
                await entry.async_setup(self.hass)

    async def _async_verify(self, meters: list[ConfigSubentry]) -> None:
        """Raise `FormError` unless one of these meters responds.

        Without meters, it is enough that the port or gateway can be opened.
        """
        known = [(m.data[CONF_UNIT_ID], m.data[CONF_SERIAL_NUMBER]) for m in meters]
        for unit_id, serial_number in known or [(HELD_UNIT_ID, None)]:
            try:
                await self.async_probe(unit_id, serial_number)
            except FormError as err:
                if err.key in UNREACHABLE:
                    raise
                error = err
            else:
                return
        if known:
            raise error
