"""The dialogs of a bus and of its meters."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Sequence
from functools import partialmethod
from pathlib import Path
from types import MappingProxyType
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
    SubentryFlowContext,
    SubentryFlowResult,
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
    CONF_PROFILE,
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    CONNECTION_TYPES,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    SUBENTRY_METER,
    TCP,
)
from .countis import SCAN_SETTINGS, UNIT_IDS, Bus, FoundMeter, Profile
from .runtime import CountisConfigEntry, meter_subentries
from .scan_flow import (
    HELD_UNIT_ID,
    NO_RESPONSE,
    UNREACHABLE,
    FormError,
    ScanFlow,
    UserInput,
    meter_title,
)
from .schemas import (
    ADD_METERS_SCHEMA,
    CONF_TAKE_PROFILE,
    LINE_SETTINGS,
    OPTIONS_SCHEMA,
    RECONFIGURE_METER_SCHEMA,
    SUGGESTED,
    bus_schema,
)

# The highest number of meters that are probed to verify new line settings. The first
# response ends the verification. With wrong line settings, each probe takes about 4 s.
VERIFIED_METERS = 4


def bus_data(kind: str, user_input: BusData) -> dict[str, Any]:
    """Return the data of the entry for a bus, without the unit ID of its meter."""
    data = {CONF_TYPE: kind, **user_input}
    data.pop(CONF_UNIT_ID, None)
    if CONF_HOST in data:
        # An IPv6 address is stored without its brackets.
        data[CONF_HOST] = data[CONF_HOST].strip(" []")
    return data


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
    """Return the abort of a dialog: the bus is not loaded, or cannot be unloaded."""
    return AbortFlow("bus_not_loaded", {"name": entry.title})


class CountisConfigFlow(
    ScanFlow[ConfigFlowContext, ConfigFlowResult, str], ConfigFlow, domain=DOMAIN
):
    """Adds a bus with its meters, or changes its connection and line settings."""

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
        """Return another entry for the same bus, None if there is none.

        A serial port may have several paths, so symbolic links are resolved.
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
        """Ask for a bus and a meter, and scan for the fields that are left empty."""
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
        """Return the values that the form of a connection shows.

        If the user tries another kind of connection, these are the suggested values,
        but with the address and the unit ID that the user has entered.
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
        """Add a bus that is not set up yet, as `async_find`."""
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
        """Ask for the type of the new connection."""
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
        """Verify the entered bus, and update the entry if one of its meters responds.

        During the verification, the entry is unloaded, and the setup lock keeps Home
        Assistant from setting it up. Afterwards, the entry is set up again, also after
        an error. Raises `FormError`, and `AbortFlow` if the entry cannot be unloaded.
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


def unit_id_in_use(unit_id: int, meters: Iterable[ConfigSubentry]) -> FormError | None:
    """Return the error that names the meter with this unit ID, if there is one."""
    for each in meters:
        if each.data[CONF_UNIT_ID] == unit_id:
            return FormError("unit_id_in_use", CONF_UNIT_ID, name=each.title)
    return None


def next_unit_id(used: Collection[int]) -> int | None:
    """Return the unit ID after the highest one in use, or the lowest free one.

    None if all unit IDs are in use. Installers usually number the meters of a bus.
    """
    after = range(max(used, default=0) + 1, UNIT_IDS[-1] + 1)
    return next((each for each in (*after, *UNIT_IDS) if each not in used), None)


class MeterFlow(
    ScanFlow[SubentryFlowContext, SubentryFlowResult, tuple[str, str]],
    ConfigSubentryFlow,
):
    """Adds meters to a bus, or changes one of them, while the bus is polled."""

    form = "enter"
    _entered: UserInput = None
    """The input of the form."""

    @property
    def _entry(self) -> CountisConfigEntry:
        """Return the entry of the bus. Raises `AbortFlow` if it is not loaded."""
        entry = self.hass.config_entries.async_get_known_entry(self.handler[0])
        if entry.state is not ConfigEntryState.LOADED:
            raise bus_not_loaded(entry)
        return entry

    @property
    def _subentry(self) -> ConfigSubentry:
        """Return the meter that is reconfigured."""
        return self._entry.subentries[self.context["subentry_id"]]

    @override
    def create_bus(self, data: BusData) -> Bus:
        """Return the bus of the loaded entry, which the scan shares with the poller."""
        return self._entry.runtime_data.bus

    @override
    def start_task(
        self, work: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        """Start the task of a scan, which ends when the bus is unloaded."""
        return self._entry.async_create_background_task(self.hass, work, name)

    async def async_step_user(self, user_input: UserInput = None) -> SubentryFlowResult:
        """Continue the scan of the bus, or ask for the unit ID of a meter."""
        scan = scans(self.hass).get(bus_unique_id(self._entry.data))
        if user_input is None and scan and scan.can_be_continued:
            self.shown_scan = scan
            return self.async_show_menu(
                step_id="resume_scan",
                menu_options=["resume", "enter"],
                description_placeholders={"device": endpoint_name(scan.data)},
            )
        return await self.async_step_enter(user_input)

    async_step_resume_scan = async_step_user

    async def async_step_enter(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and scan the bus if it is left empty."""
        entry = self._entry
        self.data = entry.data
        meters = meter_subentries(entry)
        if user_input is not None:
            self._entered = user_input
            unit_id = user_input.get(CONF_UNIT_ID)
            try:
                if unit_id and (in_use := unit_id_in_use(unit_id, meters)):
                    raise in_use
                return await self._async_find([unit_id] if unit_id else None)
            except FormError as err:
                if err.key in NO_RESPONSE:
                    return self.show_no_response(err)
                self.error = err
        used = {each.data[CONF_UNIT_ID] for each in meters}
        entered = self._entered
        if entered is None:
            entered = {CONF_UNIT_ID: next_unit_id(used)}
        return self.show_form("user", ADD_METERS_SCHEMA, entered, own_bus=entry.title)

    async def _async_find(self, unit_ids: Sequence[int] | None) -> SubentryFlowResult:
        """Add meters as `async_find`; None are all unit IDs that are not in use."""
        entry = self._entry
        used = {each.data[CONF_UNIT_ID] for each in meter_subentries(entry)}
        free = [each for each in UNIT_IDS if each not in used]
        entered = self._entered or {}
        request = ScanRequest(self.form, entered, entry.data, unit_ids or free)
        return await self.async_find(request)

    async def async_step_scan_bus(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Scan all unit IDs that are not in use."""
        self._entered = {}
        try:
            return await self._async_find(None)
        except FormError as err:
            self.error = err
        return await self.async_step_change()

    @override
    async def async_step_found(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask which meters to add, or enter the unit ID of the reconfigured meter."""
        if self.form != "reconfigure":
            return await super().async_step_found(user_input)
        assert self.shown_scan is not None  # noqa: S101
        serial_number = self._subentry.data[CONF_SERIAL_NUMBER]
        for meter in self.shown_scan.scan.found:
            if meter.profile.serial_number == serial_number:
                self._entered = {CONF_UNIT_ID: meter.unit_id}
                return await self.async_step_reconfigure()
        return await self.async_step_nothing_found()

    @override
    async def async_add(self, meters: list[FoundMeter]) -> SubentryFlowResult:
        scans(self.hass).pop(bus_unique_id(self.data), None)
        *others, last = map(meter_subentry, meters)
        for subentry in others:
            self.hass.config_entries.async_add_subentry(self._entry, subentry)
        return self.async_create_entry(
            title=last.title, data=last.data, unique_id=last.unique_id
        )

    async def async_step_reconfigure(
        self, user_input: UserInput = None
    ) -> SubentryFlowResult:
        """Ask for the unit ID of a meter, and verify that the meter responds there.

        If two meters have swapped their unit IDs, both subentries have the same unit ID
        until the second one is reconfigured as well. This is safe if both have serial
        numbers, because the serial number is verified before a meter is read.
        """
        entry, subentry = self._entry, self._subentry
        self.form = "reconfigure"
        self.data = entry.data
        if user_input is not None:
            unit_id = user_input[CONF_UNIT_ID]
            serial_number = subentry.data[CONF_SERIAL_NUMBER]
            others = [each for each in meter_subentries(entry) if each is not subentry]
            unverified = [
                each
                for each in others
                if not (serial_number and each.data[CONF_SERIAL_NUMBER])
            ]
            try:
                if in_use := unit_id_in_use(unit_id, unverified):
                    raise in_use
                profile = await self.async_probe(unit_id, serial_number)
            except FormError as err:
                in_use = unit_id_in_use(unit_id, others)
                self.error = in_use if in_use and err.key not in UNREACHABLE else err
                if self.error.key in NO_RESPONSE:
                    self.error, self._entered = None, user_input
                    return self.show_no_response(err)
            else:
                before = Profile.from_dict(subentry.data[CONF_PROFILE])
                after = profile if user_input[CONF_TAKE_PROFILE] else before
                # Keep a title that the user has entered.
                default = meter_title(before, subentry.data[CONF_UNIT_ID])
                is_default = subentry.title == default
                return self.async_update_and_abort(
                    entry,
                    subentry,
                    title=meter_title(after, unit_id) if is_default else subentry.title,
                    data_updates={CONF_UNIT_ID: unit_id, CONF_PROFILE: after.as_dict()},
                )
        entered = user_input or self._entered or subentry.data
        return self.show_form(
            "reconfigure", RECONFIGURE_METER_SCHEMA, entered, meter=subentry.title
        )
