"""The dialogs that add meters to a configured bus, or reconfigure a meter."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType
from typing import override

import voluptuous as vol

from homeassistant.config_entries import (
    ConfigEntry,
    ConfigEntryState,
    ConfigSubentry,
    ConfigSubentryFlow,
    SubentryFlowContext,
    SubentryFlowResult,
)
from homeassistant.data_entry_flow import AbortFlow

from .bus_scan import ScanRequest, Work, scans
from .connection import BusData, bus_unique_id, endpoint_name
from .const import CONF_PROFILE, CONF_SERIAL_NUMBER, CONF_UNIT_ID, SUBENTRY_METER
from .countis import UNIT_IDS, Bus, FoundMeter, Profile
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import (
    NO_RESPONSE,
    UNREACHABLE,
    FormError,
    ScanFlow,
    UserInput,
    meter_title,
)
from .schemas import ADD_METERS_SCHEMA, CONF_TAKE_PROFILE, RECONFIGURE_METER_SCHEMA


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


def bus_not_loaded(entry: ConfigEntry) -> AbortFlow:
    """Return the error that ends a dialog because of the state of the bus.

    The translation key has two texts. In a dialog for meters, the text says that the
    bus is not loaded. In the dialog that reconfigures the bus, the text says that the
    bus cannot be unloaded.
    """
    return AbortFlow("bus_not_loaded", {"name": entry.title})


def unit_id_conflict(
    unit_id: int, meters: Iterable[ConfigSubentry]
) -> FormError | None:
    """Return an error if one of `meters` has this unit ID, otherwise None."""
    for each in meters:
        if each.data[CONF_UNIT_ID] == unit_id:
            return FormError("unit_id_in_use", CONF_UNIT_ID, name=each.title)
    return None


def title_after(subentry: ConfigSubentry, profile: Profile, unit_id: int) -> str:
    """Return the title of a meter after a change of its profile or unit ID.

    A title that the user has entered stays.
    """
    before = Profile.from_dict(subentry.data[CONF_PROFILE])
    is_default = subentry.title == meter_title(before, subentry.data[CONF_UNIT_ID])
    return meter_title(profile, unit_id) if is_default else subentry.title


def next_unit_id(used: Collection[int]) -> int | None:
    """Return the unit ID to suggest for a new meter, None if none is free.

    Installers usually number the meters of a bus consecutively. So the suggestion is
    the unit ID after the highest used one. If the highest possible unit ID is used, the
    suggestion is the lowest free unit ID.
    """
    after = range(max(used, default=0) + 1, UNIT_IDS[-1] + 1)
    return next((each for each in (*after, *UNIT_IDS) if each not in used), None)


class MeterFlow(
    ScanFlow[SubentryFlowContext, SubentryFlowResult, tuple[str, str]],
    ConfigSubentryFlow,
):
    """Adds meters to a bus, or reconfigures a meter, while the bus is polled."""

    form = "enter"
    _entered: UserInput = None
    """The values to show if the form with the step ID `form` is shown again.

    None at first.
    """

    @property
    def _entry(self) -> CountisConfigEntry:
        """Return the entry of the bus. Raises `AbortFlow` if the bus is not loaded."""
        # `handler` contains the entry ID and the subentry type.
        entry = self.hass.config_entries.async_get_known_entry(self.handler[0])
        if entry.state is not ConfigEntryState.LOADED:
            raise bus_not_loaded(entry)
        return entry

    @property
    def _subentry(self) -> ConfigSubentry:
        """Return the meter that is reconfigured."""
        return self._entry.subentries[self.context["subentry_id"]]

    @property
    def _other_subentries(self) -> list[ConfigSubentry]:
        """Return the meters of the bus, without the meter that is reconfigured."""
        subentry = self._subentry
        return [each for each in meter_subentries(self._entry) if each is not subentry]

    @override
    def create_bus(self, data: BusData) -> Bus:
        """Return the bus that the poller already uses, instead of creating one."""
        return self._entry.runtime_data.bus

    @override
    def start_task(self, work: Work, name: str) -> asyncio.Task[None]:
        """Start the task of a scan. When the bus is unloaded, the task is cancelled.

        Raises `AbortFlow` if the bus is not loaded.
        """
        return self._entry.async_create_background_task(self.hass, work(), name)

    async def async_step_user(self, user_input: UserInput = None) -> SubentryFlowResult:
        """Offer to show an existing scan of the bus, or ask for a meter's unit ID."""
        scan = scans(self.hass).get(bus_unique_id(self._entry.data))
        if scan and scan.request.entry_id is not None:
            # Only the dialog that reconfigures the bus can show this scan.
            scan = None
        if user_input is None and scan and scan.can_be_shown:
            self.shown_scan = scan
            return self.async_show_menu(
                step_id="resume_scan",
                menu_options=["resume", "enter"],
                description_placeholders={"device": endpoint_name(scan.data)},
            )
        return await self.async_step_enter(user_input)

    async_step_resume_scan = async_step_user

    @override
    async def async_step_resume(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        self._entered = {}  # as if the user had left the unit ID empty
        return await super().async_step_resume(user_input)

    async def async_step_enter(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and scan the bus if the field is empty."""
        entry = self._entry
        self.data = entry.data
        meters = meter_subentries(entry)
        if user_input is not None:
            self._entered = user_input
            unit_id = user_input.get(CONF_UNIT_ID)
            try:
                if unit_id and (conflict := unit_id_conflict(unit_id, meters)):
                    raise conflict
                return await self._async_find_meters([unit_id] if unit_id else None)
            except FormError as err:
                if err.key in NO_RESPONSE:
                    return self.show_no_response(err)
                self.error = err
        used = {each.data[CONF_UNIT_ID] for each in meters}
        entered = self._entered
        if entered is None:
            entered = {CONF_UNIT_ID: next_unit_id(used)}
        # The texts belong to the step `user`, which passes the input to this step.
        return self.show_form("user", ADD_METERS_SCHEMA, entered, own_bus=entry.title)

    async def _async_find_meters(
        self, unit_ids: Sequence[int] | None
    ) -> SubentryFlowResult:
        """Probe or scan `unit_ids` with `async_find`.

        None means all free unit IDs, or all unit IDs if a meter is reconfigured.
        """
        entry = self._entry
        used = {each.data[CONF_UNIT_ID] for each in meter_subentries(entry)}
        if self.form == "reconfigure":
            used = set()
        free = [each for each in UNIT_IDS if each not in used]
        entered = self._entered or {}
        request = ScanRequest(self.form, entered, entry.data, unit_ids or free)
        return await self.async_find(request)

    async def async_step_scan_bus(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Scan the bus, because no meter responds at the entered unit ID."""
        if self.form != "reconfigure":
            self._entered = {}  # as if the user had left the unit ID empty
        try:
            return await self._async_find_meters(None)
        except FormError as err:
            self.error = err
        return await self.async_step_change()

    @override
    async def async_step_found(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask which meters to add, or show where the reconfigured meter responds."""
        if self.form != "reconfigure":
            return await super().async_step_found(user_input)
        assert self.shown_scan is not None  # noqa: S101
        serial_number = self._subentry.data[CONF_SERIAL_NUMBER]
        for meter in self.shown_scan.scan.found:
            if meter.profile.serial_number != serial_number:
                continue
            if serial_number is None and unit_id_conflict(
                meter.unit_id, self._other_subentries
            ):
                continue
            self._entered = {
                CONF_TAKE_PROFILE: False,
                **(self._entered or {}),
                CONF_UNIT_ID: meter.unit_id,
            }
            if serial_number is None:
                self.note_shown()
                # Without a serial number, this may be another meter. So only suggest
                # its unit ID in the form.
                return await self.async_step_reconfigure()
            return await self.async_step_meter_found()
        return await self.async_step_no_known_meter()

    async def async_step_meter_found(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Show the unit ID at which the reconfigured meter responds, and save it."""
        if user_input is not None:
            return await self.async_step_reconfigure(self._entered)
        assert self._entered is not None  # noqa: S101
        self.note_shown()
        return self.show_form(
            "meter_found",
            vol.Schema({}),
            None,
            meter=self._subentry.title,
            unit_id=str(self._entered[CONF_UNIT_ID]),
        )

    async def async_step_no_known_meter(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Show that the reconfigured meter does not respond, but that others do."""
        return self.show_no_known_meter(meter=self._subentry.title)

    @override
    async def async_add(self, meters: list[FoundMeter]) -> SubentryFlowResult:
        scans(self.hass).pop(bus_unique_id(self.data), None)
        subentries = [*map(meter_subentry, meters)]
        if len(subentries) == 1:
            (only,) = subentries
            return self.async_create_entry(
                title=only.title, data=only.data, unique_id=only.unique_id
            )
        # A dialog can return only one subentry. So add several subentries here, and
        # name them in the text with which the dialog ends.
        for subentry in subentries:
            self.hass.config_entries.async_add_subentry(self._entry, subentry)
        names = ", ".join(each.title for each in subentries)
        return self.async_abort(
            reason="meters_added", description_placeholders={"names": names}
        )

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and verify that the meter responds there.

        If two meters have swapped their unit IDs, the user reconfigures one after the
        other. In between, both subentries have the same unit ID. This is allowed if
        both meters have serial numbers, because the serial number is verified before a
        meter is read.
        """
        entry, subentry = self._entry, self._subentry
        self.form = "reconfigure"
        self.data = entry.data
        if user_input is not None:
            unit_id = user_input[CONF_UNIT_ID]
            serial_number = subentry.data[CONF_SERIAL_NUMBER]
            others = self._other_subentries
            indistinguishable = [
                each
                for each in others
                if not (serial_number and each.data[CONF_SERIAL_NUMBER])
            ]
            try:
                if conflict := unit_id_conflict(unit_id, indistinguishable):
                    raise conflict
                profile = await self.async_probe(unit_id, serial_number)
            except FormError as err:
                # If another meter is set up with this unit ID, this is the likely cause
                # of `err`. So the form shows that the unit ID is in use. But an error
                # of the port or gateway has priority, because it affects all meters.
                conflict = unit_id_conflict(unit_id, others)
                self.error = (
                    conflict if conflict and err.key not in UNREACHABLE else err
                )
                if self.error.key in NO_RESPONSE:
                    self.error, self._entered = None, user_input
                    return self.show_no_response(err)
            else:
                before = Profile.from_dict(subentry.data[CONF_PROFILE])
                after = profile if user_input[CONF_TAKE_PROFILE] else before
                return self.async_update_and_abort(
                    entry,
                    subentry,
                    title=title_after(subentry, after, unit_id),
                    data_updates={CONF_UNIT_ID: unit_id, CONF_PROFILE: after.as_dict()},
                )
        entered = user_input or self._entered or subentry.data
        return self.show_form(
            "reconfigure", RECONFIGURE_METER_SCHEMA, entered, meter=subentry.title
        )
