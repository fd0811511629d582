"""The fix flows of the repair issues."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, override

import voluptuous as vol

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.components.repairs import (
    ConfirmRepairFlow,
    RepairsFlow,
    RepairsFlowResult,
)
from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.core import HomeAssistant

from .connection import BUS_ERRORS, error_key, error_placeholders, modbus_params
from .const import (
    CONF_PROFILE,
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    DOMAIN,
)
from .coordinator import CountisCoordinator
from .countis import CountisError, Profile, async_take_profile
from .countis.plausibility import Moment
from .issues import ANOTHER_METER, COUNTERS_REJECTED, rejected_counters
from .runtime import CountisConfigEntry, meter_subentries


class MeterFlow(RepairsFlow):
    """The fix flow of an issue of one meter."""

    def __init__(self, data: dict[str, Any]) -> None:
        """Take the data of the issue."""
        self._issue = data

    @property
    def _coordinator(self) -> CountisCoordinator | None:
        """Return the meter, None if it is not set up any more."""
        entry: CountisConfigEntry | None = self.hass.config_entries.async_get_entry(
            self._issue["entry_id"]
        )
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return None
        return entry.runtime_data.coordinators.get(self._issue["subentry_id"])

    def _abort_not_set_up(self) -> RepairsFlowResult:
        return self.async_abort(
            reason="not_set_up",
            description_placeholders={"name": self._issue["name"]},
        )

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask for a confirmation; the first call has its own input."""
        return await self.async_step_confirm()

    @abstractmethod
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, then do it."""


class ConfirmCountersFlow(MeterFlow):
    """Lets rejected counters continue at the level that the meter reads."""

    _shown: Mapping[str, Moment | None] | None = None
    """Since when each block reads the level that the form shows."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, then accept the next readings of the counters."""
        if (coordinator := self._coordinator) is None:
            return self._abort_not_set_up()
        levels = coordinator.rejected_levels
        if not levels:
            return self.async_abort(
                reason="no_reading",
                description_placeholders={"name": coordinator.name},
            )
        # A confirmation is valid only for the level that the form shows.
        if user_input is not None and levels == self._shown:
            coordinator.confirm_counters()
            return self.async_create_entry(data={})
        self._shown = levels
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema({}),
            description_placeholders={
                "name": coordinator.name,
                "counters": rejected_counters(self.hass, coordinator),
            },
        )


class AcceptMeterFlow(MeterFlow):
    """Accepts the meter that responds as the one of a subentry."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, then take the profile of the other meter and accept it."""
        if (coordinator := self._coordinator) is None:
            return self._abort_not_set_up()
        entry, found = coordinator.config_entry, self._issue["found"]
        subentry = entry.subentries[self._issue["subentry_id"]]
        errors: dict[str, str] = {}
        placeholders = {
            "name": subentry.title,
            "found": found,
            "expected": subentry.data[CONF_SERIAL_NUMBER],
        }
        if user_input is not None:
            if known := self._meter_with(found):
                return self.async_abort(
                    reason="already_configured",
                    description_placeholders={"name": known.title},
                )
            try:
                profile = await self._async_profile(entry, subentry)
            except (CountisError, *BUS_ERRORS) as err:
                unit_id = subentry.data[CONF_UNIT_ID]
                errors["base"] = error_key(entry.data, err)
                placeholders |= error_placeholders(entry.data, unit_id, err, found)
            else:
                self.hass.config_entries.async_update_subentry(
                    entry,
                    subentry,
                    unique_id=found,
                    data={
                        **subentry.data,
                        CONF_SERIAL_NUMBER: found,
                        CONF_PROFILE: profile.as_dict(),
                    },
                )
                return self.async_create_entry(data={})
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema({}),
            errors=errors,
            description_placeholders=placeholders,
        )

    def _meter_with(self, serial_number: str) -> ConfigSubentry | None:
        """Return the meter that is set up with a serial number, on any bus."""
        return next(
            (
                subentry
                for entry in self.hass.config_entries.async_entries(DOMAIN)
                for subentry in meter_subentries(entry)
                if subentry.data[CONF_SERIAL_NUMBER] == serial_number
            ),
            None,
        )

    async def _async_profile(
        self, entry: CountisConfigEntry, subentry: ConfigSubentry
    ) -> Profile:
        """Return the profile of the other meter. Raises as `async_take_profile`."""
        unit_id = subentry.data[CONF_UNIT_ID]
        async with async_get_temporary_unit(
            self.hass, modbus_params(entry.data), unit_id
        ) as client:
            unit = entry.runtime_data.bus.unit(unit_id, client, patient=True)
            return await async_take_profile(unit, expected=self._issue["found"])


FLOWS: dict[str, type[MeterFlow]] = {
    ANOTHER_METER: AcceptMeterFlow,
    COUNTERS_REJECTED: ConfirmCountersFlow,
}


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the fix flow of an issue."""
    for kind, flow in FLOWS.items():
        if data is not None and issue_id.startswith(kind):
            return flow(data)
    return ConfirmRepairFlow()
