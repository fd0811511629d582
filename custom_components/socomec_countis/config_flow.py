"""The dialogs of a bus: add a bus with meters, change its connection, options."""

from collections.abc import Sequence
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
from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT, CONF_TYPE
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers.schema_config_entry_flow import (
    SchemaFlowFormStep,
    SchemaOptionsFlowHandler,
)

from .bus_scan import ScanRequest, scans
from .connection import BusData, bus_unique_id, endpoint_name, settings_data
from .const import (
    CONF_BAUDRATE,
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
from .meter_flow import MeterFlow, bus_not_loaded, meter_subentry
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import (
    HELD_UNIT_ID,
    NO_RESPONSE,
    UNREACHABLE,
    FormError,
    ScanFlow,
    UserInput,
)
from .schemas import (
    LINE_SETTINGS,
    OPTIONS_SCHEMA,
    SUGGESTED,
    bus_schema,
)

# The highest number of meters that are probed to verify new line settings, until one of
# them responds. Our choice, because a probe with wrong line settings takes about 4 s.
VERIFIED_METERS = 4


def bus_data(kind: str, user_input: BusData) -> dict[str, Any]:
    """Return the data of an entry from the input of a form for a bus.

    The input may contain a unit ID, but the data does not. `kind` is the connection
    type.
    """
    data = {CONF_TYPE: kind, **user_input}
    data.pop(CONF_UNIT_ID, None)
    if CONF_HOST in data:
        # An IPv6 address is stored without its brackets.
        data[CONF_HOST] = data[CONF_HOST].strip(" []")
    return data


class CountisConfigFlow(
    ScanFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow, domain=DOMAIN
):
    """Adds a bus with its meters, or changes the connection of a bus."""

    _entered: BusData | None = None
    """The input of the form for a new bus."""

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
        """Return another entry with the bus of `data`, None if there is none.

        Symbolic links are resolved, because a serial port may have several paths.
        """
        entries = self.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        own_id = self.context.get("entry_id")

        def endpoint(data: BusData) -> str:
            if data[CONF_TYPE] == SERIAL:
                return str(Path(data[CONF_DEVICE]).resolve())
            return bus_unique_id(data)

        def find() -> ConfigEntry | None:
            bus = endpoint(self.data)
            others = (each for each in entries if each.entry_id != own_id)
            return next((each for each in others if endpoint(each.data) == bus), None)

        return await self.hass.async_add_executor_job(find)

    # -- a new bus -----------------------------------------------------------

    @override
    async def async_step_user(self, user_input: UserInput = None) -> ConfigFlowResult:
        for scan in reversed(scans(self.hass).values()):
            if scan.request.form in CONNECTION_TYPES and scan.can_be_continued:
                self.shown_scan = scan
                self.form, self._entered = scan.request.form, scan.request.entered
                return self.async_show_menu(
                    step_id="user",
                    menu_options=["resume", *CONNECTION_TYPES],
                    description_placeholders={"device": endpoint_name(scan.data)},
                )
        return self.async_show_menu(step_id="user", menu_options=[*CONNECTION_TYPES])

    async def _async_new(
        self, kind: str, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for a bus and a unit ID, and scan for the fields that are left empty."""
        if user_input is not None:
            self.form, self._entered = kind, user_input
            unit_id = user_input.get(CONF_UNIT_ID)
            try:
                return await self._async_find(
                    user_input, [unit_id] if unit_id else UNIT_IDS
                )
            except FormError as err:
                if err.key in NO_RESPONSE:
                    return self.show_no_response(err)
                self.error = err
        schema = bus_schema(kind, is_new=True)
        return self.show_form(kind, schema, self._suggested(kind))

    def _suggested(self, kind: str) -> BusData:
        """Return the values that the form for a connection type shows.

        If the user entered another connection type before, the entered address, unit ID
        and speed are kept.
        """
        entered = self._entered or {}
        if entered and kind == self.form:
            return entered
        kept = (CONF_HOST, CONF_PORT, CONF_UNIT_ID, CONF_BAUDRATE)
        return {
            **SUGGESTED[kind],
            **{key: entered[key] for key in kept if key in entered},
        }

    async def _async_find(
        self, entered: BusData, unit_ids: Sequence[int]
    ) -> ConfigFlowResult:
        """Continue with `async_find`, unless another entry has the same bus."""
        known = bus_data(self.form, entered)
        self.data = {**settings_data(known, SCAN_SETTINGS[0]), **known}
        unique_id = bus_unique_id(self.data)
        await self.async_set_unique_id(unique_id, raise_on_progress=False)
        await self._async_abort_if_configured()
        return await self.async_find(ScanRequest(self.form, entered, known, unit_ids))

    async def async_step_scan_bus(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Scan all unit IDs, and on a serial port all line settings."""
        assert self._entered is not None  # noqa: S101
        searched = {CONF_UNIT_ID, *(LINE_SETTINGS if self.form == SERIAL else ())}
        entered = {
            key: value for key, value in self._entered.items() if key not in searched
        }
        try:
            return await self._async_find(entered, UNIT_IDS)
        except FormError as err:
            self.error = err
        return await self.async_step_change()

    @override
    def other_kinds(self) -> list[str]:
        kinds = (TCP, RTU_OVER_TCP)
        return (
            [each for each in kinds if each != self.form] if self.form in kinds else []
        )

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
        scans(self.hass).pop(bus_unique_id(self.data), None)
        return self.async_create_entry(
            title=endpoint_name(self.data),
            data={**self.data, **settings_data(self.data, meters[0].settings)},
            subentries=[meter_subentry(meter).as_dict() for meter in meters],
        )

    # -- a bus that is set up ------------------------------------------------

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for the connection type."""
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
                async with self.claimed():
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
        """Verify the entered connection, and update the entry if a meter responds.

        The entry is unloaded during the verification. Meanwhile, the setup lock keeps
        Home Assistant from setting up the entry. Afterwards, the entry is set up again,
        also after an error. Raises `FormError`, and `AbortFlow` if the entry cannot be
        unloaded.
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
                raise bus_not_loaded(entry)
            try:
                await self._async_verify(meters[:VERIFIED_METERS])
                # Keep a title that the user has entered.
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
        """Raise `FormError` unless one of `meters` responds.

        If `meters` is empty, it is enough that the port or gateway can be opened.
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
