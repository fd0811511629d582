"""The dialogs that add a bus, and that change its options."""

from collections.abc import Sequence
from functools import partialmethod
from typing import override

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigFlowResult,
    ConfigSubentryFlow,
    OptionsFlow,
)
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers.schema_config_entry_flow import (
    SchemaFlowFormStep,
    SchemaOptionsFlowHandler,
)

from .bus_scan import ScanRequest, scans
from .connection import BusData, bus_unique_id, endpoint_name, settings_data
from .const import (
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
from .reconfigure_flow import ReconfigureFlow, bus_data
from .scan_flow import NO_RESPONSE, FormError, UserInput
from .schemas import OPTIONS_SCHEMA, SUGGESTED, bus_schema


class CountisConfigFlow(ReconfigureFlow, domain=DOMAIN):
    """Adds a bus with its meters. The base class changes a bus that is set up."""

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

    @override
    async def async_step_user(self, user_input: UserInput = None) -> ConfigFlowResult:
        for scan in reversed(scans(self.hass).values()):
            # Only a form that adds a bus has a connection type as its step ID.
            if scan.request.form in CONNECTION_TYPES and scan.can_be_shown:
                self.shown_scan = scan
                self.form, self.entered = scan.request.form, scan.request.entered
                return self.async_show_menu(
                    step_id="user",
                    menu_options=["resume", *CONNECTION_TYPES],
                    description_placeholders={"device": endpoint_name(scan.data)},
                )
        return self.async_show_menu(step_id="user", menu_options=[*CONNECTION_TYPES])

    async def _async_form(
        self, kind: str, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for a bus and a meter. A scan finds the values of empty fields.

        `kind` is the connection type. In the dialog that reconfigures a bus, this step
        asks for the new connection instead. That dialog offers the step only in menus
        with `other_kinds`.
        """
        if not self.is_new:
            return await self.async_change_bus(kind, user_input)
        if user_input is not None:
            self.form, self.entered = kind, user_input
            unit_id = user_input.get(CONF_UNIT_ID)
            try:
                return await self._async_find_meters(
                    user_input, [unit_id] if unit_id else UNIT_IDS
                )
            except FormError as err:
                if err.key in NO_RESPONSE:
                    return self.show_no_response(err)
                self.error = err
        entered = self.entered_for(kind)
        # Suggest the usual values only in a form that the user has not submitted yet.
        # In a submitted form, the fields that the user left empty stay empty.
        is_same_kind = kind == self.entered_kind
        shown = entered if is_same_kind else {**SUGGESTED[kind], **entered}
        return self.show_form(kind, bus_schema(kind, is_new=True), shown)

    async def _async_find_meters(
        self, entered: BusData, unit_ids: Sequence[int]
    ) -> ConfigFlowResult:
        """Find the meters of the entered bus with `async_find`.

        Raises `AbortFlow` if another entry has the bus, or `FormError` in the same
        cases as `async_find`.
        """
        fixed_data = bus_data(self.form, entered)
        # Until the scan ends, line settings that the user left empty have defaults.
        self.data = {**settings_data(fixed_data, SCAN_SETTINGS[0]), **fixed_data}
        unique_id = bus_unique_id(self.data)
        await self.async_set_unique_id(unique_id, raise_on_progress=False)
        await self._async_abort_if_configured()
        return await self.async_find(
            ScanRequest(self.form, entered, fixed_data, unit_ids)
        )

    async def async_step_scan_bus(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Scan all unit IDs, and on a serial port all line settings."""
        try:
            if not self.is_new:
                return await self.async_find_own_meters()
            return await self._async_find_meters(
                self.input_without_scanned_fields(), UNIT_IDS
            )
        except FormError as err:
            self.error = err
        return await self.async_step_change()

    async_step_serial = partialmethod(_async_form, SERIAL)
    async_step_tcp = partialmethod(_async_form, TCP)
    async_step_rtu_over_tcp = partialmethod(_async_form, RTU_OVER_TCP)

    async def _async_abort_if_configured(self) -> None:
        if entry := await self.async_other_entry():
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
