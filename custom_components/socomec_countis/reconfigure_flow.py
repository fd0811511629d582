"""The dialog that changes the connection and the line settings of a bus."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partialmethod
from operator import attrgetter
from pathlib import Path
import re
from typing import Any, override

from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowContext,
    ConfigFlowResult,
    ConfigSubentry,
)
from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT, CONF_TYPE

from .bus_scan import ScanRequest, scans
from .connection import (
    BusData,
    bus_unique_id,
    endpoint_name,
    line_settings_text,
    settings_data,
)
from .const import (
    CONF_BAUDRATE,
    CONF_PROFILE,
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    CONNECTION_TYPES,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)
from .countis import SCAN_SETTINGS, UNIT_IDS, FoundMeter, Profile
from .meter_flow import bus_not_loaded, meter_subentry, title_after
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import (
    ANY_UNIT_ID,
    NO_RESPONSE,
    UNREACHABLE,
    FormError,
    ScanFlow,
    UserInput,
)
from .schemas import (
    CONF_METERS,
    LINE_SETTINGS,
    SUGGESTED,
    bus_schema,
    found_schema,
)

# The highest number of meters that are probed to verify new line settings. The first of
# these meters that responds ends the verification. Our choice: with wrong line
# settings, each probe takes about 4 s, so the user waits for up to 16 s.
MAX_PROBED_METERS = 4

# The step ID of a form that changes a bus: this prefix, then the connection type.
PREFIX = "reconfigure_"


def bus_data(kind: str, user_input: BusData) -> dict[str, Any]:
    """Return the data of the entry for a bus, from the input of the form.

    The form for a new bus also contains the unit ID of a meter. The result does not.
    """
    data = {CONF_TYPE: kind, **user_input}
    data.pop(CONF_UNIT_ID, None)
    if CONF_HOST in data:
        # The user may enter the address of the gateway's web page. An IPv6 address is
        # stored without its brackets.
        host = re.sub(r"^\s*\w+://", "", data[CONF_HOST]).split("/")[0]
        data[CONF_HOST] = host.strip(" []")
    return data


class ReconfigureFlow(ScanFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow):
    """Changes a bus, and offers to scan it if none of its meters responds.

    The subclass `CountisConfigFlow` also adds a bus (`is_new`).
    """

    entered: BusData | None = None
    """The input of the form for a bus."""

    @property
    def is_new(self) -> bool:
        """Return whether the dialog adds a bus."""
        return self.source != SOURCE_RECONFIGURE

    @property
    def entered_kind(self) -> str:
        """Return the connection type for which `entered` was entered.

        Until the user submits a form for a bus, the result is the default of `form`,
        which is not a connection type.
        """
        return self.form.removeprefix(PREFIX)

    @property
    def _entry(self) -> CountisConfigEntry:
        """Return the entry of the bus that is reconfigured."""
        return self.hass.config_entries.async_get_known_entry(self.context["entry_id"])

    async def async_other_entry(self) -> CountisConfigEntry | None:
        """Return another entry for the same bus, None if there is none.

        A serial port may have several paths, so symbolic links are resolved.
        """
        entries = self.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        own_id = self.context.get("entry_id")

        def endpoint(data: BusData) -> str:
            if data[CONF_TYPE] == SERIAL:
                return str(Path(data[CONF_DEVICE]).resolve())
            return bus_unique_id(data)

        def find() -> CountisConfigEntry | None:
            bus = endpoint(self.data)
            others = (each for each in entries if each.entry_id != own_id)
            return next((each for each in others if endpoint(each.data) == bus), None)

        return await self.hass.async_add_executor_job(find)

    def entered_for(self, kind: str) -> Mapping[str, Any]:
        """Return the entered values that the form for the connection type `kind` shows.

        If the values were entered for another connection type, the form shows only the
        host and its TCP port, the speed and the unit ID.
        """
        entered = self.entered or {}
        kept = (CONF_HOST, CONF_PORT, CONF_UNIT_ID, CONF_BAUDRATE)
        if kind == self.entered_kind:
            return entered
        return {key: entered[key] for key in kept if key in entered}

    @override
    def other_kinds(self) -> list[str]:
        kinds = (TCP, RTU_OVER_TCP)
        return (
            [each for each in kinds if each != self.entered_kind]
            if self.entered_kind in kinds
            else []
        )

    # -- the form --------------------------------------------------------------

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for the new connection type, and offer the scan of an earlier dialog."""
        options = [f"{PREFIX}{each}" for each in CONNECTION_TYPES]
        for scan in reversed(scans(self.hass).values()):
            request = scan.request
            if request.entry_id == self._entry.entry_id and scan.can_be_shown:
                self.shown_scan = scan
                self.form, self.entered = request.form, request.entered
                options = ["resume", *options]
                break
        return self.async_show_menu(
            step_id="reconfigure",
            menu_options=options,
            description_placeholders={
                "device": endpoint_name(self.shown_scan.data)
                if self.shown_scan
                else "",
                **self._connection_marks(),
            },
        )

    def _connection_marks(self) -> dict[str, str]:
        """Return a mark for the present connection type, and "" for the other types."""
        data = self._entry.data
        marks = dict.fromkeys(CONNECTION_TYPES, "")
        return marks | {data[CONF_TYPE]: f" (✓ {endpoint_name(data)})"}

    async def async_change_bus(
        self, kind: str, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Ask for the connection and the line settings, and verify them."""
        entry = self._entry
        if user_input is not None:
            self.form, self.entered = f"{PREFIX}{kind}", user_input
            self.data = bus_data(kind, user_input)
            try:
                async with self.reserved():
                    await self._async_verify_and_update(entry)
                return self.async_abort(reason="reconfigure_successful")
            except FormError as err:
                if err.key in NO_RESPONSE:
                    return self.show_no_response(err)
                self.error = err
        shown = {**SUGGESTED[kind], **entry.data, **self.entered_for(kind)}
        return self.show_form(f"{PREFIX}{kind}", bus_schema(kind, is_new=False), shown)

    async_step_reconfigure_serial = partialmethod(async_change_bus, SERIAL)
    async_step_reconfigure_tcp = partialmethod(async_change_bus, TCP)
    async_step_reconfigure_rtu_over_tcp = partialmethod(async_change_bus, RTU_OVER_TCP)

    # -- the verification ------------------------------------------------------

    async def _async_verify_and_update(self, entry: CountisConfigEntry) -> None:
        """Verify the entered bus, and update the entry if the verification succeeds.

        Raises `FormError` if the verification fails, or `AbortFlow` if the entry cannot
        be unloaded.
        """
        await self._async_raise_if_configured()
        meters = meter_subentries(entry)
        if entry.state is ConfigEntryState.LOADED:
            coordinators = entry.runtime_data.coordinators
            online = {key for key, each in coordinators.items() if each.online}
            # Meters that are online are probed first (False before True).
            meters.sort(key=lambda each: each.subentry_id not in online)
        async with self._unloaded(entry):
            await self._async_verify(meters[:MAX_PROBED_METERS])
            self._update_entry(entry)

    async def _async_raise_if_configured(self) -> None:
        if other := await self.async_other_entry():
            raise FormError(key="bus_already_configured", name=other.title)

    @asynccontextmanager
    async def _unloaded(self, entry: CountisConfigEntry) -> AsyncIterator[None]:
        """Unload the entry for the context, and set it up again, also after an error.

        The setup lock keeps Home Assistant from setting up the entry in the meantime.
        """
        async with entry.setup_lock:
            if not await entry.async_unload(self.hass):
                raise bus_not_loaded(entry)  # its text: the bus could not be stopped
            try:
                yield
            finally:
                await entry.async_setup(self.hass)

    async def _async_verify(self, meters: list[ConfigSubentry]) -> None:
        """Raise `FormError` unless one of these meters responds.

        Without meters, it is enough that the port or gateway can be opened.
        """
        expected = [
            (each.data[CONF_UNIT_ID], each.data[CONF_SERIAL_NUMBER]) for each in meters
        ]
        errors: list[FormError] = []
        for unit_id, serial_number in expected or [(ANY_UNIT_ID, None)]:
            try:
                await self.async_probe(unit_id, serial_number)
            except FormError as err:
                if err.key in UNREACHABLE:
                    raise
                errors.append(err)
            else:
                return
        if not expected:
            return
        # An error other than a missing response has priority.
        for error in errors:
            if error.key not in NO_RESPONSE:
                raise error
        unit_ids = sorted(unit_id for unit_id, _ in expected)
        errors[0].placeholders["unit_id"] = ", ".join(map(str, unit_ids))
        raise errors[0]

    def _update_entry(self, entry: CountisConfigEntry) -> None:
        # Keep a title that the user has entered.
        is_default = entry.title == endpoint_name(entry.data)
        self.hass.config_entries.async_update_entry(
            entry,
            data=self.data,
            unique_id=bus_unique_id(self.data),
            title=endpoint_name(self.data) if is_default else entry.title,
        )

    # -- the scan --------------------------------------------------------------

    def input_without_scanned_fields(self) -> BusData:
        """Return the input without the fields for which a scan tries all values.

        These fields are the unit ID, and on a serial port the line settings.
        """
        settings = LINE_SETTINGS if self.entered_kind == SERIAL else ()
        scanned = {CONF_UNIT_ID, *settings}
        entered = self.entered or {}
        return {key: entered[key] for key in entered if key not in scanned}

    async def async_find_own_meters(self) -> ConfigFlowResult:
        """Scan the entered bus for the meters of the entry. Raises `FormError`."""
        entered = self.input_without_scanned_fields()
        fixed_data = bus_data(self.entered_kind, entered)
        # Complete the data with the line settings that a scan tries first.
        self.data = {**settings_data(fixed_data, SCAN_SETTINGS[0]), **fixed_data}
        await self._async_raise_if_configured()
        entry_id = self._entry.entry_id
        request = ScanRequest(self.form, entered, fixed_data, UNIT_IDS, entry_id)
        return await self.async_find(request)

    @override
    @asynccontextmanager
    async def pause_polling(self) -> AsyncIterator[None]:
        """Unload the bus for the context, because its poller uses the port.

        For a new bus, the context has no effect, because the bus has no poller. A scan
        takes minutes, so the setup lock is not held, and the user can reload the bus.
        The scan then fails when it tries other line settings.
        """
        if self.is_new:
            yield
            return
        entry = self._entry
        # The unloading has to finish, even if the scan is stopped meanwhile.
        unloading = self.hass.async_create_task(self._async_unload(entry))
        try:
            if not await asyncio.shield(unloading):
                raise bus_not_loaded(entry)  # its text: the bus could not be stopped
            yield
        finally:
            await asyncio.wait([unloading])
            entries = self.hass.config_entries
            exists = entries.async_get_entry(entry.entry_id) is not None
            if exists and entry.state.recoverable and not self.hass.is_stopping:
                await entries.async_reload(entry.entry_id)

    async def _async_unload(self, entry: CountisConfigEntry) -> bool:
        async with entry.setup_lock:
            return await entry.async_unload(self.hass)

    def _matches(self) -> list[tuple[ConfigSubentry, FoundMeter]]:
        """Return each meter of the bus that was found, as subentry and `FoundMeter`.

        A meter without a serial number is identified by its unit ID. If another meter
        of the bus responds at this unit ID, the other meter is left out. If it were not
        left out, both meters would have the same unit ID, and the meter without a
        serial number would show the values of the other meter.
        """
        assert self.shown_scan is not None  # noqa: S101
        meters = meter_subentries(self._entry)
        unit_ids_without_serial = {
            each.data[CONF_UNIT_ID]
            for each in meters
            if each.data[CONF_SERIAL_NUMBER] is None
        }

        def is_same(subentry: ConfigSubentry, found: FoundMeter) -> bool:
            serial_number = subentry.data[CONF_SERIAL_NUMBER]
            if found.profile.serial_number != serial_number:
                return False
            if serial_number is None:
                return bool(found.unit_id == subentry.data[CONF_UNIT_ID])
            return found.unit_id not in unit_ids_without_serial

        found = sorted(self.shown_scan.scan.found, key=attrgetter("unit_id"))
        return [
            (subentry, meter)
            for meter in found
            for subentry in meters
            if is_same(subentry, meter)
        ]

    def _new_meters(
        self, matches: list[tuple[ConfigSubentry, FoundMeter]]
    ) -> list[FoundMeter]:
        """Return the found meters that are not set up, in the order of their unit IDs.

        If the scan did not find a meter of the entry, that meter keeps its unit ID. A
        found meter with the same unit ID is left out.
        """
        assert self.shown_scan is not None  # noqa: S101
        unit_ids = {
            each.subentry_id: each.data[CONF_UNIT_ID]
            for each in meter_subentries(self._entry)
        } | {subentry.subentry_id: found.unit_id for subentry, found in matches}
        new_meters = [
            each
            for each in self.shown_scan.scan.found
            if each.unit_id not in unit_ids.values() and not self.find_configured(each)
        ]
        return sorted(new_meters, key=attrgetter("unit_id"))

    @override
    async def async_step_found(self, user_input: UserInput = None) -> ConfigFlowResult:
        """Ask which meters to add, or show the meters of the bus that respond."""
        if self.is_new:
            return await super().async_step_found(user_input)
        if self._matches():
            return await self.async_step_reconfigure_found()
        return await self.async_step_no_known_meter()

    async def async_step_reconfigure_found(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Show the meters of the bus that respond, and save the result of the scan.

        If the user submits the form, the connection, the line settings and the unit IDs
        are saved. The form also lists found meters that are not set up. Those that
        the user selects are added.
        """
        self.note_shown()
        matches = self._matches()
        new_meters = {str(each.unit_id): each for each in self._new_meters(matches)}
        # All found meters have the same line settings.
        settings = settings_data(self.data, matches[0][1].settings)
        data = {**self.data, **settings}
        selected: list[str] = []
        if user_input is not None:
            # A meter may have been set up in another dialog meanwhile.
            ticked = user_input.get(CONF_METERS, ())
            selected = [key for key in ticked if key in new_meters]
            try:
                async with self.reserved():
                    await self._async_raise_if_configured()
                    async with self._unloaded(self._entry):
                        self._update_found(data, matches)
                        for key in selected:
                            self.hass.config_entries.async_add_subentry(
                                self._entry, meter_subentry(new_meters[key])
                            )
                return self.async_abort(reason="reconfigure_successful")
            except FormError as err:
                self.error = err
        return self.show_form(
            "reconfigure_found",
            found_schema(
                {key: self.label(each) for key, each in new_meters.items()}, selected
            ),
            None,
            device=endpoint_name(data),
            settings=line_settings_text(data),
            found="\n".join(f"- {_title_with_unit_ids(*each)}" for each in matches),
        )

    def _update_found(
        self, data: BusData, matches: list[tuple[ConfigSubentry, FoundMeter]]
    ) -> None:
        """Store the connection, the line settings and the unit IDs of the meters."""
        entry = self._entry
        for subentry, found in matches:
            profile = Profile.from_dict(subentry.data[CONF_PROFILE])
            self.hass.config_entries.async_update_subentry(
                entry,
                subentry,
                title=title_after(subentry, profile, found.unit_id),
                data={**subentry.data, CONF_UNIT_ID: found.unit_id},
            )
        self.data = data
        self._update_entry(entry)

    async def async_step_no_known_meter(
        self, user_input: UserInput = None
    ) -> ConfigFlowResult:
        """Show that no meter of the bus responds, but that other meters do."""
        return self.show_no_known_meter()


def _title_with_unit_ids(subentry: ConfigSubentry, found: FoundMeter) -> str:
    """Return the title of a meter, with both unit IDs if its unit ID has changed."""
    before = subentry.data[CONF_UNIT_ID]
    if found.unit_id == before:
        return subentry.title
    return f"{subentry.title} (#{before} → #{found.unit_id})"
