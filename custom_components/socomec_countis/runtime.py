"""The bus of a loaded entry, and its meters."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
import logging
import time
from typing import Any

from modbus_connection import ModbusUnit

from homeassistant.components.modbus import async_get_unit
from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import dt as dt_util

from .connection import BUS_ERRORS, CONNECTION_TIMEOUT, create_bus, modbus_params
from .const import CONF_PROFILE, CONF_SERIAL_NUMBER, CONF_UNIT_ID, SUBENTRY_METER
from .coordinator import CountisCoordinator, async_load_counters
from .countis import (
    CountisError,
    Meter,
    Polled,
    Poller,
    PollError,
    Profile,
    Reading,
    async_take_profile,
)
from .entity import device_info
from .issues import delete_issues_of

_LOGGER = logging.getLogger(__name__)

type CountisConfigEntry = ConfigEntry[BusRuntime]
type CreateEntities = Callable[[CountisCoordinator], Sequence[Entity]]

# s; a profile that the meter contradicts is not taken anew more often than this.
PROFILE_PERIOD = 3600


def local_time() -> datetime:
    """Return the local time without a time zone, as a meter's clock shows it."""
    return dt_util.now().replace(tzinfo=None)


def meter_subentries(entry: ConfigEntry[Any]) -> list[ConfigSubentry]:
    """Return the meters of a bus."""
    return entry.get_subentries_of_type(SUBENTRY_METER)


class BusRuntime:
    """The bus of a loaded entry: its meters are added and removed while it runs."""

    def __init__(self, hass: HomeAssistant, entry: CountisConfigEntry) -> None:
        """Initialize the bus without meters."""
        self.hass = hass
        self.entry = entry
        self.data = dict(entry.data)
        self.bus = create_bus(entry.data)
        self.poller = Poller(self.bus)
        self.coordinators: dict[str, CountisCoordinator] = {}
        """By the ID of the meter's subentry."""
        self._polled: dict[str, Polled] = {}
        self._platforms: list[
            tuple[CreateEntities, AddConfigEntryEntitiesCallback]
        ] = []
        self._clients: dict[int, ModbusUnit] = {}
        """By unit ID."""
        self._profile_at: dict[str, float] = {}
        self._updating = asyncio.Lock()
        self._wanting: set[str] = set()
        self._unique_ids: dict[str, set[str | None]] = {}

    async def async_update(self) -> None:
        """Add, remove and change meters as the subentries say; the others go on.

        Raises `HomeAssistantError` if the port is used with other line settings.
        """
        async with self._updating:
            subentries = {
                each.subentry_id: each for each in meter_subentries(self.entry)
            }
            for subentry_id in self.coordinators.keys() - subentries.keys():
                await self._async_remove_meter(subentry_id)
            for subentry_id, subentry in subentries.items():
                if subentry_id in self.coordinators:
                    self._update_meter(subentry)
                else:
                    await self._async_add_meter(subentry)

    @property
    def is_outdated(self) -> bool:
        """Whether the entry has to be set up anew to follow its changes.

        It has another connection, or a meter in the place of another one.
        """
        return self.data != dict(self.entry.data) or any(
            coordinator.meter.profile.serial_number != subentry.data[CONF_SERIAL_NUMBER]
            for subentry in meter_subentries(self.entry)
            if (coordinator := self.coordinators.get(subentry.subentry_id))
        )

    async def async_poll(self) -> None:
        """Poll the meters until this is cancelled."""
        try:
            await self.poller.run()
        finally:
            await self.bus.async_settle()

    async def async_save(self) -> None:
        """Save the counters of all meters."""
        for coordinator in self.coordinators.values():
            await coordinator.async_save()

    async def _async_add_meter(self, subentry: ConfigSubentry) -> None:
        """Poll a meter, and add its entities."""
        subentry_id = subentry.subentry_id
        accepted = await async_load_counters(self.hass, subentry)
        coordinator = CountisCoordinator(
            self.hass,
            self.entry,
            subentry,
            self._meter(subentry, accepted),
            lambda: self._want(subentry_id),
        )
        self.coordinators[subentry_id] = coordinator
        self._poll(coordinator)
        self._add_entities(coordinator)

    async def _async_remove_meter(self, subentry_id: str) -> None:
        """Stop polling a meter whose subentry was removed."""
        self.poller.remove(self._polled.pop(subentry_id))
        self._unique_ids.pop(subentry_id, None)
        await self.coordinators.pop(subentry_id).async_remove()
        delete_issues_of(self.hass, subentry_id)

    def _update_meter(self, subentry: ConfigSubentry) -> None:
        """Poll a meter at another unit ID, or with another profile, if it has one."""
        coordinator = self.coordinators[subentry.subentry_id]
        coordinator.name = subentry.title
        before = coordinator.meter
        unit_id = subentry.data[CONF_UNIT_ID]
        profile = Profile.from_dict(subentry.data[CONF_PROFILE])
        if (unit_id, profile) != (before.unit_id, before.profile):
            self.poller.remove(self._polled[subentry.subentry_id])
            meter = self._meter(subentry, None)
            meter.continue_counting(before)
            coordinator.replace_meter(meter)
            self._poll(coordinator)
            self._add_entities(coordinator)
        dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.entry.entry_id,
            config_subentry_id=subentry.subentry_id,
            **device_info(coordinator),
        )

    @callback
    def async_add_platform(
        self, create: CreateEntities, add: AddConfigEntryEntitiesCallback
    ) -> None:
        """Add the entities of a platform for each meter, now and later."""
        self._platforms.append((create, add))
        for coordinator in self.coordinators.values():
            self._add_entities(coordinator)

    def _add_entities(self, coordinator: CountisCoordinator) -> None:
        """Add those entities of a meter that do not exist yet."""
        subentry_id = coordinator.subentry.subentry_id
        existing = self._unique_ids.setdefault(subentry_id, set())
        for create, add in self._platforms:
            new = [
                each for each in create(coordinator) if each.unique_id not in existing
            ]
            existing |= {each.unique_id for each in new}
            add(new, config_subentry_id=subentry_id)

    def _meter(
        self, subentry: ConfigSubentry, accepted: dict[str, Any] | None
    ) -> Meter:
        unit_id = subentry.data[CONF_UNIT_ID]
        if (client := self._clients.get(unit_id)) is None:
            client = self._clients[unit_id] = async_get_unit(
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

    def _poll(self, coordinator: CountisCoordinator) -> None:
        """Have the poller read a meter, and pass on what it reads."""
        subentry_id = coordinator.subentry.subentry_id

        def on_reading(reading: Reading) -> None:
            coordinator.take(reading)
            self._check_profile(coordinator)

        def on_error(error: PollError, block: str | None) -> None:
            coordinator.fail(error, block)
            if block is not None:
                self._check_profile(coordinator)

        self._polled[subentry_id] = Polled(coordinator.meter, on_reading, on_error)
        self.poller.add(self._polled[subentry_id])
        self._want(subentry_id)

    def _want(self, subentry_id: str) -> None:
        """Have the blocks of a meter read that its enabled entities show, from now on.

        Entities are added many at a time, so this is done once for all of them.
        """
        if not self._wanting:
            self.hass.loop.call_soon(self._async_want)
        self._wanting.add(subentry_id)

    @callback
    def _async_want(self) -> None:
        for subentry_id in self._wanting & self._polled.keys():
            coordinator = self.coordinators[subentry_id]
            quantities = {each for each in coordinator.async_contexts() if each}
            self._polled[subentry_id].want(quantities)
        self._wanting.clear()
        self.poller.replan()

    def _check_profile(self, coordinator: CountisCoordinator) -> None:
        """Take the profile anew in the background if the meter contradicts it."""
        meter = coordinator.meter
        subentry_id = coordinator.subentry.subentry_id
        now = self.hass.loop.time()
        if not (meter.contradicts_profile or meter.profile.outdated) or (
            now < self._profile_at.get(subentry_id, 0)
        ):
            return
        self._profile_at[subentry_id] = now + PROFILE_PERIOD
        self.entry.async_create_background_task(
            self.hass, self._async_take_profile(coordinator), "take profile"
        )

    async def _async_take_profile(self, coordinator: CountisCoordinator) -> None:
        meter = coordinator.meter
        meter.contradicts_profile = False
        subentry = coordinator.subentry
        try:
            profile = await async_take_profile(
                meter.modbus_unit,
                expected=meter.profile.serial_number,
                previous=meter.profile,
            )
        except (CountisError, *BUS_ERRORS) as err:
            _LOGGER.debug("%s: the profile cannot be taken: %s", subentry.title, err)
            return
        if subentry.subentry_id not in self.entry.subentries:
            return
        _LOGGER.info("%s: the profile was taken anew", subentry.title)
        self.hass.config_entries.async_update_subentry(
            self.entry,
            subentry,
            data={**subentry.data, CONF_PROFILE: profile.as_dict()},
        )
