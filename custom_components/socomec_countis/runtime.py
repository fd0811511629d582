"""The running bus of a loaded entry, with its meters and their entities."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
import time
from typing import Any

from homeassistant.components.modbus import async_get_unit
from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_TYPE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import dt as dt_util

from .connection import CONNECTION_TIMEOUT, create_bus, modbus_params
from .const import (
    CONF_PROFILE,
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    SUBENTRY_METER,
    TCP,
)
from .coordinator import AcceptedCounters, CountisCoordinator, async_load_counters
from .countis import Meter, Poller, Profile
from .demand import async_load_demand
from .entity import device_info
from .identifiers import bus_identifier
from .issues import BUS_OFFLINE, delete_all_issues, delete_issues
from .partial_tariffs import PartialTariffs

# The protocol by connection type, shown as the model of the device of a bus.
BUS_MODELS = {
    SERIAL: "Modbus RTU",
    TCP: "Modbus TCP",
    RTU_OVER_TCP: "Modbus RTU over TCP",
}

type CountisConfigEntry = ConfigEntry[BusRuntime]
type CreateEntities = Callable[[CountisCoordinator], Sequence[Entity]]
"""Returns the entities of one platform for a meter."""
type RunningPlatform = tuple[CreateEntities, AddConfigEntryEntitiesCallback]
"""The functions that create the entities of a platform, and add them."""


def local_time() -> datetime:
    """Return the local time without a time zone, like the clock of a meter."""
    return dt_util.now().replace(tzinfo=None)


def meter_subentries(entry: ConfigEntry[Any]) -> list[ConfigSubentry]:
    """Return the subentries of a bus, each of which is a meter."""
    return entry.get_subentries_of_type(SUBENTRY_METER)


def configured_meter(
    hass: HomeAssistant, serial_number: str | None
) -> tuple[ConfigEntry[Any], ConfigSubentry] | None:
    """Return the entry and subentry of the meter with this serial number, or None."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        for subentry in meter_subentries(entry):
            if serial_number is not None and subentry.unique_id == serial_number:
                return entry, subentry
    return None


class BusRuntime:
    """The running bus of a loaded entry.

    Meters are added and removed while the other meters are polled.
    """

    def __init__(self, hass: HomeAssistant, entry: CountisConfigEntry) -> None:
        """Initialize the bus without meters."""
        self.hass = hass
        self.entry = entry
        self.data_in_use = dict(entry.data)
        """The data of the entry when the bus was created."""
        self.bus = create_bus(entry.data)
        self.poller = Poller(self.bus)
        self.device_id = ""
        """The ID of the device of the bus in the device registry."""
        self.coordinators: dict[str, CountisCoordinator] = {}
        """The coordinator of each meter, by the ID of the meter's subentry."""
        self._platforms: list[RunningPlatform] = []
        self._unique_ids: dict[str, set[str | None]] = {}
        """The unique IDs of the added entities, by the ID of the meter's subentry."""
        self.evidence_lock = asyncio.Lock()
        """Held while a task reads the evidence about a gap from a meter.

        A gap is a time in which the meter was not read. Reading the evidence may take a
        minute. Two tasks that read the load curve of one meter would disturb each
        other, because both would select the page that the meter returns. If tasks read
        several meters at the same time, too little time would be left for polls.
        """
        self._update_lock = asyncio.Lock()
        """Held while meters are added, removed and changed."""
        self._is_quantities_update_scheduled = False

    async def async_update(self) -> None:
        """Add, remove and change meters so that they match the subentries of the entry.

        Raises `HomeAssistantError` if the port is in use with other line settings.
        """
        async with self._update_lock:
            self.device_id = self._register_device()
            subentries = {
                each.subentry_id: each for each in meter_subentries(self.entry)
            }
            if self.coordinators.keys() != subentries.keys():
                # If an issue says that the bus is offline, it is about the previous
                # meters. If the present meters are offline, the timer of a coordinator
                # creates an issue again.
                delete_issues(self.hass, self.entry.entry_id, *BUS_OFFLINE)
            for subentry_id in self.coordinators.keys() - subentries.keys():
                await self._async_remove_meter(subentry_id)
            for subentry_id, subentry in subentries.items():
                if subentry_id in self.coordinators:
                    self._update_meter(subentry)
                else:
                    await self._async_add_meter(subentry)

    @property
    def needs_reload(self) -> bool:
        """Return whether a change of the entry needs a reload.

        Such a change is another connection, other line settings, or another meter in a
        subentry.
        """
        return self.data_in_use != dict(self.entry.data) or any(
            coordinator.meter.profile.serial_number != subentry.data[CONF_SERIAL_NUMBER]
            for subentry in meter_subentries(self.entry)
            if (coordinator := self.coordinators.get(subentry.subentry_id))
        )

    async def async_poll(self) -> None:
        """Poll the meters until this task is cancelled.

        After a request without a valid response, the bus disconnects the client in the
        background. If the task is cancelled meanwhile, wait until the client has
        disconnected.
        """
        try:
            await self.poller.run()
        finally:
            await self.bus.async_settle()

    async def async_save(self) -> None:
        """Save the counters and the demand of all meters."""
        for coordinator in self.coordinators.values():
            await coordinator.async_save()
            await coordinator.meter_demand.async_save()

    def _register_device(self) -> str:
        """Create or rename the device of the bus, and return the ID of the device.

        The name of the device contains the title of the entry, which a user can change.
        """
        device = dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.entry.entry_id,
            identifiers={(DOMAIN, bus_identifier(self.entry))},
            model=BUS_MODELS[self.entry.data[CONF_TYPE]],
            translation_key="bus",
            translation_placeholders={"name": self.entry.title},
        )
        return device.id

    async def _async_add_meter(self, subentry: ConfigSubentry) -> None:
        accepted = await async_load_counters(self.hass, subentry)
        meter = self._create_meter(subentry, accepted)
        partial_tariffs = PartialTariffs(self.hass, self.entry, subentry)
        await partial_tariffs.async_load()
        coordinator = CountisCoordinator(
            self.hass,
            self.entry,
            subentry,
            meter,
            partial_tariffs,
            demand=await async_load_demand(self.hass, subentry),
            on_wanted_quantities_changed=self._schedule_quantities_update,
        )
        await coordinator.meter_gaps.async_load()
        self.coordinators[subentry.subentry_id] = coordinator
        self._start(coordinator)

    async def _async_remove_meter(self, subentry_id: str) -> None:
        coordinator = self.coordinators.pop(subentry_id)
        self.poller.remove(coordinator.polled)
        self._unique_ids.pop(subentry_id, None)
        await coordinator.async_remove()
        delete_all_issues(self.hass, subentry_id)

    def _update_meter(self, subentry: ConfigSubentry) -> None:
        """Apply a changed unit ID, profile or title of a meter."""
        coordinator = self.coordinators[subentry.subentry_id]
        coordinator.name = subentry.title
        before = coordinator.meter
        unit_id = subentry.data[CONF_UNIT_ID]
        profile = Profile.from_dict(subentry.data[CONF_PROFILE])
        if (unit_id, profile) != (before.unit_id, before.profile):
            self.poller.remove(coordinator.polled)
            meter = self._create_meter(subentry, None)
            meter.continue_counting(before)
            coordinator.replace_meter(meter)
            self._start(coordinator)
        dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.entry.entry_id,
            config_subentry_id=subentry.subentry_id,
            **device_info(coordinator),
        )

    def _create_meter(
        self, subentry: ConfigSubentry, accepted: AcceptedCounters | None
    ) -> Meter:
        """Return the meter of a subentry.

        `accepted` contains the last accepted counters, with which the first readings
        are compared. It is None if no counters are stored, or if the caller calls
        `continue_counting` next.
        """
        unit_id = subentry.data[CONF_UNIT_ID]
        client = async_get_unit(
            self.hass, self.entry, modbus_params(self.entry.data), unit_id
        )
        client.require_timeout(CONNECTION_TIMEOUT)
        return Meter(
            self.bus,
            unit_id,
            client,
            Profile.from_dict(subentry.data[CONF_PROFILE]),
            accepted=accepted,
            clock=time.time,
            monotonic=time.monotonic,
            local_time=local_time,
        )

    def _start(self, coordinator: CountisCoordinator) -> None:
        """Poll a meter from now on, and add its entities."""
        self.poller.add(coordinator.polled)
        self._schedule_quantities_update()
        self._add_entities(coordinator, self._platforms)

    # -- entities ------------------------------------------------------------

    @callback
    def async_add_platform(
        self, create: CreateEntities, add: AddConfigEntryEntitiesCallback
    ) -> None:
        """Add the entities of a platform, now and for each meter that is added later.

        `create` returns the entities of a meter, and `add` adds them to Home Assistant.
        """
        platform = (create, add)
        self._platforms.append(platform)
        for coordinator in self.coordinators.values():
            self._add_entities(coordinator, [platform])

    def _add_entities(
        self, coordinator: CountisCoordinator, platforms: Sequence[RunningPlatform]
    ) -> None:
        """Add the entities that a meter does not have yet, from these platforms."""
        subentry_id = coordinator.subentry.subentry_id
        existing = self._unique_ids.setdefault(subentry_id, set())
        for create, add in platforms:
            new = [
                each for each in create(coordinator) if each.unique_id not in existing
            ]
            existing |= {each.unique_id for each in new}
            add(new, config_subentry_id=subentry_id)

    @callback
    def _schedule_quantities_update(self) -> None:
        """Schedule an update of the quantities that the poller reads.

        Home Assistant adds entities one by one. So the update waits for the next
        iteration of the event loop, and includes all changes until then.
        """
        if not self._is_quantities_update_scheduled:
            self._is_quantities_update_scheduled = True
            self.hass.loop.call_soon(self._update_quantities)

    def _update_quantities(self) -> None:
        self._is_quantities_update_scheduled = False
        for coordinator in self.coordinators.values():
            coordinator.polled.select_quantities(coordinator.wanted_quantities)
        self.poller.replan()
