"""The dialogs of a meter: to add meters to a bus, and to change one of them."""

from collections.abc import Iterable
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
from .scan_flow import FormError, ScanFlow, UserInput, meter_title
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


def check_unit_id(unit_id: int, meters: Iterable[ConfigSubentry]) -> None:
    """Raise `FormError` if one of these meters has this unit ID."""
    for each in meters:
        if each.data[CONF_UNIT_ID] == unit_id:
            raise FormError(key="unit_id_in_use", field=CONF_UNIT_ID, name=each.title)


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

    async def async_step_user(self, user_input: UserInput = None) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and scan the bus if it is left empty."""
        entry = self._entry
        self.data = entry.data
        if user_input is not None:
            meters = meter_subentries(entry)
            known = {each.data[CONF_UNIT_ID] for each in meters}
            unit_ids = [each for each in UNIT_IDS if each not in known]
            try:
                if unit_id := user_input.get(CONF_UNIT_ID):
                    check_unit_id(unit_id, meters)
                    unit_ids = [unit_id]
                return await self.async_look(entry.data, unit_ids)
            except FormError as err:
                self.error = err
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
        """Ask for another unit ID, and verify that the meter responds there.

        After two meters swapped their unit IDs, both are stored with the same one for
        as long as only one of them is reconfigured. This is safe if both have serial
        numbers, because a meter is read only after its own serial number.
        """
        entry = self._entry
        subentry = entry.subentries[self.context["subentry_id"]]
        self.data = entry.data
        if user_input is not None:
            unit_id = user_input[CONF_UNIT_ID]
            serial_number = subentry.data[CONF_SERIAL_NUMBER]
            others = [
                each
                for each in meter_subentries(entry)
                if each is not subentry
                and not (serial_number and each.data[CONF_SERIAL_NUMBER])
            ]
            try:
                check_unit_id(unit_id, others)
                profile = await self.async_probe(unit_id, serial_number)
            except FormError as err:
                self.error = err
            else:
                before = Profile.from_dict(subentry.data[CONF_PROFILE])
                after = profile if user_input[CONF_TAKE_PROFILE] else before
                # A title that the user has given stays.
                default = meter_title(before, subentry.data[CONF_UNIT_ID])
                is_default = subentry.title == default
                return self.async_update_and_abort(
                    entry,
                    subentry,
                    title=meter_title(after, unit_id) if is_default else subentry.title,
                    data_updates={CONF_UNIT_ID: unit_id, CONF_PROFILE: after.as_dict()},
                )
        entered = user_input or subentry.data
        return self.show_form(
            "reconfigure", METER_SCHEMA, entered, meter=subentry.title
        )
