"""The fix flows of the repair issues."""

from collections.abc import Mapping
from typing import Any, override

import voluptuous as vol

from homeassistant.components.repairs import (
    ConfirmRepairFlow,
    RepairsFlow,
    RepairsFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.exceptions import HomeAssistantError

from .connection import BUS_ERRORS, async_profile_at, describe_error
from .const import CONF_PROFILE, CONF_SERIAL_NUMBER, CONF_UNIT_ID, DOMAIN
from .coordinator import CountisCoordinator
from .countis import CountisError
from .countis.plausibility import Moment
from .gap import Gap
from .gap_texts import async_gap_placeholders
from .issues import ANOTHER_METER, COUNTERS_REJECTED, GAP, create_rejected_issue
from .runtime import CountisConfigEntry, configured_meter


class MeterFixFlow(ConfirmRepairFlow):
    """The base class of the fix flows for the issues of one meter."""

    data: dict[str, Any]
    """The data of the issue, with the title of the meter and the subentry ID.

    The title is `name`, and the subentry ID is `owner_id`.
    """

    @property
    def coordinator(self) -> CountisCoordinator:
        """Return the coordinator of the meter.

        Raises `AbortFlow` if the meter was removed or its bus is not loaded.
        """
        entries: list[CountisConfigEntry]
        entries = self.hass.config_entries.async_loaded_entries(DOMAIN)
        for entry in entries:
            if found := entry.runtime_data.coordinators.get(self.data["owner_id"]):
                return found
        reason = "not_set_up"
        raise AbortFlow(reason, {"name": self.data["name"]})


class AcceptCountersFlow(MeterFixFlow):
    """The fix flow that accepts the present level of the rejected counters.

    A level is a series of rejected readings that agree with each other.
    """

    _shown_rejected_since: Mapping[str, Moment | None] | None = None
    """The value of `coordinator.rejected_since` when the form was last shown.

    None before the form was shown.
    """

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask the user, then accept the next readings that agree with the level."""
        coordinator = self.coordinator
        rejected_since = coordinator.rejected_since
        if not rejected_since:
            placeholders = {"name": coordinator.name}
            return self.async_abort(
                reason="no_reading", description_placeholders=placeholders
            )
        # Accept only the level that the form has shown. If another level has begun
        # since then, show the form again.
        if user_input is not None and rejected_since == self._shown_rejected_since:
            coordinator.confirm_counters()
            return self.async_create_entry(data={})
        self._shown_rejected_since = rejected_since
        # The form shows the placeholders of the issue, so update the issue.
        create_rejected_issue(coordinator, coordinator.counters_of_form)
        return await super().async_step_confirm()


class AcceptMeterFlow(MeterFixFlow):
    """The fix flow that accepts another meter at the unit ID of a configured meter."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask the user, then store the serial number and profile of the other meter.

        The unit ID and the title of the subentry stay the same.
        """
        if user_input is None:
            return await super().async_step_confirm()
        coordinator, found_serial = self.coordinator, self.data["found"]
        if configured := configured_meter(self.hass, found_serial):
            placeholders = {"name": configured[1].title}
            return self.async_abort(
                reason="already_configured", description_placeholders=placeholders
            )
        entry, subentry = coordinator.config_entry, coordinator.subentry
        bus, unit_id = entry.runtime_data.bus, subentry.data[CONF_UNIT_ID]
        try:
            profile = await async_profile_at(
                self.hass, entry.data, bus, unit_id, found_serial
            )
        except (CountisError, *BUS_ERRORS) as err:
            key, placeholders = describe_error(entry.data, unit_id, err, found_serial)
            return self.async_show_form(
                step_id="confirm",
                data_schema=vol.Schema({}),
                errors={"base": key},
                description_placeholders=self.data | placeholders,
            )
        self.hass.config_entries.async_update_subentry(
            entry,
            subentry,
            unique_id=found_serial,
            data={
                **subentry.data,
                CONF_SERIAL_NUMBER: found_serial,
                CONF_PROFILE: profile.as_dict(),
            },
        )
        return self.async_create_entry(data={})


class FillGapFlow(MeterFixFlow):
    """The fix flow that fills or discards a gap."""

    @property
    def gap(self) -> Gap:
        """Return the gap of the issue.

        Raises `AbortFlow` if the gap was filled or discarded meanwhile.
        """
        for gap in self.coordinator.meter_gaps.gaps:
            if gap.begin == self.data["begin"] and gap.filled_at is None:
                return gap
        reason = "no_gap"
        raise AbortFlow(reason)

    @override
    async def async_step_init(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask the user, and show the present and the proposed energy by hour or day."""
        gap = self.gap
        try:
            plans = await self.coordinator.meter_gaps.async_plan(gap)
        except HomeAssistantError as err:
            return self._abort(err)
        if not plans:
            placeholders = {"name": self.coordinator.name}
            return self.async_abort(
                reason="nothing_to_fill", description_placeholders=placeholders
            )
        texts = await async_gap_placeholders(self.hass, gap, plans)
        return self.async_show_menu(
            step_id="init",
            menu_options=["fill", "leave"],
            description_placeholders={"name": self.coordinator.name, **texts},
        )

    async def async_step_fill(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Fill the gap."""
        gap = self.gap
        try:
            await self.coordinator.meter_gaps.async_fill(gap)
        except HomeAssistantError as err:
            return self._abort(err)
        return self.async_create_entry(data={})

    async def async_step_leave(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Discard the gap. Its energy stays in the hour in which the gap ended."""
        await self.coordinator.meter_gaps.async_discard(self.gap)
        return self.async_create_entry(data={})

    def _abort(self, error: HomeAssistantError) -> RepairsFlowResult:
        """End the dialog with the text of an error."""
        return self.async_abort(
            reason=str(error.translation_key),
            description_placeholders=error.translation_placeholders,
        )


# The flows by kind of issue. An issue ID begins with the kind.
FLOWS: dict[str, type[MeterFixFlow]] = {
    ANOTHER_METER: AcceptMeterFlow,
    COUNTERS_REJECTED: AcceptCountersFlow,
    GAP: FillGapFlow,
}


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the fix flow of an issue."""
    for kind, flow in FLOWS.items():
        if issue_id.startswith(kind):
            return flow()
    return ConfirmRepairFlow()  # for an issue that only informs
