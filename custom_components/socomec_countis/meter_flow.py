"""Subentry flow of a meter: to add meters to a bus, and to change one of them."""

from types import MappingProxyType
from typing import override

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigSubentry,
    ConfigSubentryFlow,
    SubentryFlowContext,
    SubentryFlowResult,
)
from homeassistant.data_entry_flow import AbortFlow

from .connection import BusData
from .const import CONF_PROFILE, CONF_SERIAL_NUMBER, CONF_UNIT_ID, SUBENTRY_METER
from .countis import UNIT_IDS, Bus, FoundMeter, Profile
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import ScanFlow, UserInput, meter_title
from .schemas import CONF_TAKE_PROFILE, METER_SCHEMA, METERS_SCHEMA


def meter_subentry(meter: FoundMeter) -> ConfigSubentry:
    """Return the subentry for a meter that was found."""
    data = {
        CONF_UNIT_ID: meter.unit_id,
        CONF_SERIAL_NUMBER: meter.profile.serial_number,
        CONF_PROFILE: meter.profile.as_dict(),
    }
    return ConfigSubentry(
        data=MappingProxyType(data),
        subentry_type=SUBENTRY_METER,
        title=meter_title(meter.profile, meter.unit_id),
        unique_id=meter.profile.serial_number,
    )


class MeterFlow(
    ScanFlow[SubentryFlowContext, SubentryFlowResult, tuple[str, str]],
    ConfigSubentryFlow,
):
    """Adds meters to a bus, or changes one of them, while the bus is polled."""

    @property
    def _entry(self) -> CountisConfigEntry:
        """Return the bus, which has to be set up."""
        entry = self.hass.config_entries.async_get_known_entry(self.handler[0])
        if entry.state is not ConfigEntryState.LOADED:
            reason = "bus_not_loaded"
            raise AbortFlow(reason, {"name": entry.title})
        return entry

    @override
    def create_bus(self, data: BusData) -> Bus:
        """Return the bus that polls the meters."""
        return self._entry.runtime_data.bus

    def _is_in_use(self, unit_id: int | None, own_id: str = "") -> bool:
        """Return whether another meter has this unit ID; the error names it."""
        for each in meter_subentries(self._entry):
            if each.data[CONF_UNIT_ID] == unit_id and each.subentry_id != own_id:
                self.set_error("unit_id_in_use", CONF_UNIT_ID, name=each.title)
                return True
        return False

    async def async_step_user(self, user_input: UserInput = None) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and scan the bus if it is left empty."""
        entry = self._entry
        self.data = entry.data
        if user_input is not None:
            unit_id = user_input.get(CONF_UNIT_ID)
            known = {each.data[CONF_UNIT_ID] for each in meter_subentries(entry)}
            free = [each for each in UNIT_IDS if each not in known]
            if not self._is_in_use(unit_id) and (
                result := await self.async_look(
                    entry.data, [unit_id] if unit_id else free
                )
            ):
                return result
        return self.show_form("user", METERS_SCHEMA, user_input, own_bus=entry.title)

    @override
    async def async_add(self, meters: list[FoundMeter]) -> SubentryFlowResult:
        *others, last = map(meter_subentry, meters)
        for subentry in others:
            self.hass.config_entries.async_add_subentry(self._entry, subentry)
        return self.async_create_entry(
            title=last.title, data=last.data, unique_id=last.unique_id
        )

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask for another unit ID, and verify that the meter responds there."""
        entry = self._entry
        subentry = entry.subentries[self.context["subentry_id"]]
        self.data = entry.data
        if user_input is not None:
            self.errors = {}
            unit_id = user_input[CONF_UNIT_ID]
            serial_number = subentry.data[CONF_SERIAL_NUMBER]
            if not self._is_in_use(unit_id, subentry.subentry_id) and (
                profile := await self.async_probe(unit_id, serial_number)
            ):
                before = Profile.from_dict(subentry.data[CONF_PROFILE])
                after = profile if user_input[CONF_TAKE_PROFILE] else before
                title = subentry.title
                # A title that the user has given stays.
                if title == meter_title(before, subentry.data[CONF_UNIT_ID]):
                    title = meter_title(after, unit_id)
                return self.async_update_and_abort(
                    entry,
                    subentry,
                    title=title,
                    data_updates={CONF_UNIT_ID: unit_id, CONF_PROFILE: after.as_dict()},
                )
        entered = user_input or subentry.data
        return self.show_form(
            "reconfigure", METER_SCHEMA, entered, meter=subentry.title
        )
