"""The values of one meter, fed by the poller of its bus."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
import logging
import math
from typing import Any, override

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.storage import Store
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .connection import BUS_ERRORS, translated
from .const import CONF_SERIAL_NUMBER, DOMAIN
from .countis import (
    BLOCK_OF,
    COUNTERS,
    AnotherMeterError,
    CountisError,
    Meter,
    PollError,
    Publish,
    Reading,
    Values,
    Wiring,
    check_wiring,
)
from .countis.plausibility import NEW_BEGINNING, Moment
from .issues import (
    create_another_meter,
    create_correction,
    create_offline,
    create_rejected,
    delete_another_meter,
    delete_offline,
    delete_rejected,
)

_LOGGER = logging.getLogger(__name__)

type AcceptedCounters = dict[str, Any]

# s; a measured value that is not renewed is removed after this time.
HOLD_SECONDS = 10

# s; after this time offline, a repair issue is created.
OFFLINE_ISSUE_SECONDS = 3600

# s; after this time without an accepted reading, a repair issue is created.
REJECTED_ISSUE_SECONDS = 600

# s between two saves of the counters. An older value only loosens the plausibility
# limit after a power cut; what changed otherwise is saved at once.
SAVE_SECONDS = 300

# The wiring is checked by so many readings, so many s apart.
WIRING_READINGS = 5
WIRING_SECONDS = 1.0

STORAGE_VERSION = 1


def counter_store(hass: HomeAssistant, subentry_id: str) -> Store[AcceptedCounters]:
    """Return the store of a meter's accepted counters."""
    return Store(hass, STORAGE_VERSION, f"{DOMAIN}.{subentry_id}", atomic_writes=True)


async def async_load_counters(
    hass: HomeAssistant, subentry: ConfigSubentry
) -> AcceptedCounters | None:
    """Return the stored counters of a meter, None if there are none to use."""
    stored: Any
    try:
        stored = await counter_store(hass, subentry.subentry_id).async_load()
        if stored and stored[CONF_SERIAL_NUMBER] == subentry.data[CONF_SERIAL_NUMBER]:
            counters: AcceptedCounters = stored["counters"]
            return counters
    except (HomeAssistantError, LookupError, TypeError) as err:
        _LOGGER.warning("%s: the stored counters are not used: %r", subentry.title, err)
    return None


class CountisCoordinator(DataUpdateCoordinator[Values]):
    """The values of one meter.

    The data is what the entities show: quantity to value, None for "not available".
    A measured value is removed when it could not be read for `HOLD_SECONDS`. A
    counter keeps its last accepted value.
    """

    config_entry: ConfigEntry[Any]

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        subentry: ConfigSubentry,
        meter: Meter,
        on_wanted: CALLBACK_TYPE,
    ) -> None:
        """Initialize the coordinator; `on_wanted` is called when entities change."""
        super().__init__(hass, _LOGGER, config_entry=entry, name=subentry.title)
        self.subentry = subentry
        self.meter = meter
        self.data = dict(meter.counters.values)
        self._on_wanted = on_wanted
        self._store = counter_store(hass, subentry.subentry_id)
        self._save_at = hass.loop.time()
        self._before: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._saved: dict[str, float] = {}
        self._rejected_since: float | None = None
        self._requested_at: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
        self._expired: set[str] = set()
        self._error: PollError | None = None
        self._timers: list[CALLBACK_TYPE] = []

    @property
    def online(self) -> bool:
        """Whether no request has failed, or the last one had a response."""
        return self._error is None

    @callback
    def replace_meter(self, meter: Meter) -> None:
        """Follow another unit ID or profile; show nothing that is unsupported now."""
        self.meter = meter
        shown = meter.profile.quantities | meter.counters.values.keys()
        self.data = {
            quantity: value
            for quantity, value in self.data.items()
            if quantity in shown
        }
        self.async_update_listeners()

    # -- fed by the poller ---------------------------------------------------

    @callback
    def take(self, reading: Reading) -> None:
        """Show a reading, unless a newer one of its block is shown."""
        block = reading.block
        if reading.requested_at < self._requested_at.get(block, 0):
            return
        self._requested_at[block] = reading.requested_at
        self._set_online()
        self._failing_since.pop(block, None)
        if block in self._expired:
            self._expired.discard(block)
            _LOGGER.info("%s: the %s can be read again", self.name, block)
        for correction in reading.corrections:
            create_correction(self.hass, self, correction)
        self.async_set_updated_data({**self.data, **reading.values})
        if block in COUNTERS:
            self._save(reading)
        if block in COUNTERS or self._rejected_since is not None:
            self._report_rejected()

    @callback
    def fail(self, error: PollError, block: str | None) -> None:
        """Note that a block, or the whole meter if it is None, could not be read."""
        if block is None:
            self._set_offline(error)
            return
        self._set_online()
        now = self.hass.loop.time()
        since = self._failing_since.setdefault(block, now)
        self._report_rejected()
        if now - since >= HOLD_SECONDS and block not in self._expired:
            self._expired.add(block)
            _LOGGER.warning("%s: the %s cannot be read: %s", self.name, block, error)
            self._remove_measured({block})
            self.async_update_listeners()

    def _set_online(self) -> None:
        if self._error is None:
            return
        self._error = None
        if not self.last_update_success:
            _LOGGER.info("%s responds again", self.name)
        self._cancel_timers()
        delete_offline(self.hass, self.subentry)
        delete_another_meter(self.hass, self.subentry)

    def _set_offline(self, error: PollError) -> None:
        if isinstance(error, AnotherMeterError):
            create_another_meter(self.hass, self, error.found)
        if self._error is None:
            self._timers = [
                async_call_later(self.hass, HOLD_SECONDS, self._expire),
                async_call_later(self.hass, OFFLINE_ISSUE_SECONDS, self._report),
            ]
        self._error = error

    @callback
    def _expire(self, now: datetime) -> None:
        """Show that the meter is offline."""
        assert self._error is not None  # noqa: S101
        self._remove_measured(set(BLOCK_OF.values()))
        if self._rejected_since != math.inf:  # not reported yet
            self._rejected_since = None
        self._failing_since.clear()
        self._expired.clear()
        self.async_set_update_error(self.failure(UpdateFailed, self._error))

    @callback
    def _report(self, now: datetime) -> None:
        if isinstance(self._error, AnotherMeterError):
            later = async_call_later(self.hass, OFFLINE_ISSUE_SECONDS, self._report)
            self._timers.append(later)
            return
        delete_another_meter(self.hass, self.subentry)
        create_offline(self.hass, self)

    @property
    def rejected_counters(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the counters that are shown and not accepted.

        Each with its last accepted value, and its reading or None if it has none.
        """
        counters = self.meter.counters
        wanted = {BLOCK_OF[each] for each in self.async_contexts() if each}
        unread = (wanted & self._failing_since.keys()) - counters.rejected.keys()
        found: dict[str, tuple[float | None, float | None]] = {
            name: (value, None)
            for name, value in counters.values.items()
            if BLOCK_OF[name] in unread
        }
        for block in wanted & counters.rejected.keys():
            found |= counters.rejected[block]
        return found

    def _report_rejected(self) -> None:
        """Create or delete the issue of the counters that are not accepted."""
        now = self.hass.loop.time()
        if not self.rejected_counters:
            if self._rejected_since is not None:
                self._rejected_since = None
                delete_rejected(self.hass, self.subentry)
        elif self._rejected_since is None:
            self._rejected_since = now
        elif now - self._rejected_since >= REJECTED_ISSUE_SECONDS:
            self._rejected_since = math.inf  # reported
            create_rejected(self.hass, self)

    @property
    def rejected_levels(self) -> dict[str, Moment | None]:
        """Return since when each block reads a level that is rejected."""
        counters = self.meter.counters
        return {block: counters.began(block) for block in counters.rejected}

    def confirm_counters(self) -> None:
        """Let the rejected counters continue at the level that the meter reads."""
        for block in self.meter.counters.rejected:
            self.meter.counters.confirm(block)
        self._rejected_since = None

    def _remove_measured(self, blocks: set[str]) -> None:
        """Remove the values of these blocks, except those of counters."""
        counters = self.meter.counters.values
        self.data = {
            quantity: value
            for quantity, value in self.data.items()
            if quantity in counters or BLOCK_OF[quantity] not in blocks
        }

    def _cancel_timers(self) -> None:
        while self._timers:
            self._timers.pop()()

    # -- what the entities show ----------------------------------------------

    @callback
    @override
    def async_add_listener(
        self, update_callback: CALLBACK_TYPE, context: Any = None
    ) -> CALLBACK_TYPE:
        """Read the block of the entity that listens, until it stops."""
        remove = super().async_add_listener(update_callback, context)
        self._on_wanted()

        @callback
        def remove_listener() -> None:
            remove()
            self._on_wanted()

        return remove_listener

    # -- commands ------------------------------------------------------------

    async def async_command(
        self, command: Callable[[Meter, Publish], Awaitable[None]]
    ) -> None:
        """Give the meter a command, and show what is read back.

        Raises `HomeAssistantError` that says what to check.
        """
        try:
            await command(self.meter, self.take)
        except (CountisError, *BUS_ERRORS) as err:
            raise self.failure(HomeAssistantError, err) from err
        finally:
            await self.async_save()

    async def async_check_wiring(self) -> Wiring:
        """Check the wiring by readings of some seconds.

        Raises `HomeAssistantError` that says what to check.
        """
        readings: list[Values] = []
        try:
            for _ in range(WIRING_READINGS):
                if readings:
                    await asyncio.sleep(WIRING_SECONDS)
                readings.append(await self.meter.async_measure())
        except (CountisError, *BUS_ERRORS) as err:
            raise self.failure(HomeAssistantError, err) from err
        return check_wiring(readings)

    def failure[E: HomeAssistantError](self, kind: type[E], error: Exception) -> E:
        """Return a translated error that says what to check."""
        return translated(
            kind,
            self.config_entry.data,
            self.meter.unit_id,
            error,
            name=self.subentry.title,
            serial_number=self.meter.profile.serial_number,
        )

    # -- state that survives a restart ---------------------------------------

    def _save(self, reading: Reading) -> None:
        """Save the counters: at once what a power cut must not lose, else later."""
        counters = self.meter.counters
        before, offsets_before = self._before
        self._before = values, offsets = counters.values, counters.rollover_offsets
        fell = any(values[name] < value for name, value in before.items())
        # Home Assistant would book all of a value that is a tenth above the saved one.
        outgrown = any(
            self._saved.get(name, 0) < NEW_BEGINNING * value
            for name, value in values.items()
        )
        if fell or outgrown or reading.corrections or offsets != offsets_before:
            self._saved = values
            self.config_entry.async_create_task(self.hass, self.async_save())
        elif self.hass.loop.time() >= self._save_at:
            self._save_at = self.hass.loop.time() + SAVE_SECONDS
            self._store.async_delay_save(self._stored, SAVE_SECONDS)

    async def async_save(self) -> None:
        """Save the counters now."""
        self._save_at = self.hass.loop.time() + SAVE_SECONDS
        if self.meter.counters.values:
            await self._store.async_save(self._stored())

    def _stored(self) -> AcceptedCounters:
        self._saved = self.meter.counters.values
        return {
            CONF_SERIAL_NUMBER: self.meter.profile.serial_number,
            "counters": self.meter.counters.as_dict(),
        }

    async def async_remove(self) -> None:
        """Delete what is stored of a meter that was removed."""
        await self.async_shutdown()
        await self._store.async_remove()

    @override
    async def async_shutdown(self) -> None:
        """Delete the issues of a meter that is no longer polled."""
        self._cancel_timers()
        delete_rejected(self.hass, self.subentry)
        delete_offline(self.hass, self.subentry)
        delete_another_meter(self.hass, self.subentry)
        await super().async_shutdown()
