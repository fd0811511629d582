"""What the user can decide about a meter that is not the one it was."""

from typing import Any

import voluptuous as vol

from homeassistant.components.repairs import (
    ConfirmRepairFlow,
    RepairsFlow,
    RepairsFlowResult,
)
from homeassistant.components.repairs.const import FlowType
from homeassistant.config_entries import SOURCE_RECONFIGURE
from homeassistant.core import HomeAssistant

from .const import CONF_SERIAL_NUMBER
from .coordinator import meter_store
from .issues import ANOTHER_METER


class AcceptMeterFlow(RepairsFlow):
    """Makes the meter that answers the entry's own."""

    def __init__(self, entry_id: str, found: str) -> None:
        """Take the entry and the serial number of the meter that answers."""
        self._entry_id = entry_id
        self._found = found

    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask what to do."""
        entry = self.hass.config_entries.async_get_known_entry(self._entry_id)
        return self.async_show_menu(
            step_id="init",
            menu_options=["confirm", "reconfigure"],
            description_placeholders={
                "name": entry.title,
                "found": self._found,
                "expected": entry.data[CONF_SERIAL_NUMBER],
            },
        )

    async def async_step_reconfigure(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Go on in the entry's own dialog; the issue stays until that has helped."""
        entry = self.hass.config_entries.async_get_known_entry(self._entry_id)
        flow = await self.hass.config_entries.flow.async_init(
            entry.domain,
            context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
        )
        return self.async_abort(
            reason="reconfigure",
            description_placeholders={"name": entry.title},
            next_flow=(FlowType.CONFIG_FLOW, flow["flow_id"]),
        )

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask, and then set the entry up anew with the other meter."""
        entries = self.hass.config_entries
        entry = entries.async_get_known_entry(self._entry_id)
        if user_input is None:
            return self.async_show_form(
                step_id="confirm",
                data_schema=vol.Schema({}),
                description_placeholders={
                    "name": entry.title,
                    "found": self._found,
                    "expected": entry.data[CONF_SERIAL_NUMBER],
                },
            )
        known = entries.async_entry_for_domain_unique_id(entry.domain, self._found)
        if known is not None:
            return self.async_abort(
                reason="already_configured",
                description_placeholders={"name": known.title},
            )
        # The counters of the one are no measure of the other's.
        await entries.async_unload(entry.entry_id)
        await meter_store(self.hass, entry.entry_id).async_remove()
        entries.async_update_entry(
            entry,
            data={**entry.data, CONF_SERIAL_NUMBER: self._found},
            unique_id=self._found,
        )
        entries.async_schedule_reload(entry.entry_id)
        return self.async_create_entry(data={})


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the flow for one of our issues."""
    if data is not None and issue_id.startswith(ANOTHER_METER):
        return AcceptMeterFlow(data["entry_id"], data["found"])
    return ConfirmRepairFlow()
