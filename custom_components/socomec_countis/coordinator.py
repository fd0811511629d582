"""The coordinator of a meter: its values, its commands and its issues."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
import logging
from typing import Any, override

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_TYPE, Platform
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.storage import Store
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .connection import BUS_ERRORS, describe_error, endpoint_name
from .const import CONF_PROFILE, CONF_SERIAL_NUMBER, DOMAIN, SERIAL
from .countis import (
    BLOCK_OF,
    COUNTER_BLOCKS,
    PARTIAL_CONSUMED,
    AnotherMeterError,
    CountisError,
    Meter,
    Polled,
    PollError,
    Publish,
    Reading,
    Values,
    Wiring,
    async_set_tariff,
    async_take_profile,
    check_wiring,
)
from .countis.plausibility import RESET_RATIO, Moment
from .demand import MeterDemand
from .gaps import MeterGaps
from .identifiers import entity_unique_id
from .issues import (
    ANOTHER_METER,
    BUS_OFFLINE,
    COUNTERS_REJECTED,
    METER_OFFLINE,
    create_correction_issue,
    create_issue,
    create_meter_issue,
    create_rejected_issue,
    delete_issues,
)
from .partial_tariffs import PartialTariffs
from .texts import translated_error

_LOGGER = logging.getLogger(__name__)

type AcceptedCounters = dict[str, Any]
"""The last accepted counters, as `CounterCheck.as_dict` returns them."""
type StoredCounters = dict[str, Any]
"""The serial number of the meter, and its `AcceptedCounters` as "counters"."""

type RejectedCounters = dict[str, tuple[float | None, float | None]]
"""By counter, in kWh or kvarh: the last accepted value and the rejected reading.

The accepted value is None before the first accepted reading. The rejected reading is
None if the block could not be read, or if the reading was rejected before its counters
were checked one by one.
"""

# In s; if a measurement cannot be read, its last value is shown for this time. Our
# choice: a few lost responses change no state, and no automation uses an old value for
# long.
HOLD_SECONDS = 10

# In s; after this time without a response, a repair issue is created. Our choice: a
# power cut or a restart of a gateway is usually shorter.
OFFLINE_ISSUE_SECONDS = 3600

# In s; after this time without an accepted reading of a counter, a repair issue is
# created. Our choice: rejected readings that agree with each other are usually accepted
# after 60 s (`ACCEPTED_AFTER`), and then need no issue.
REJECTED_ISSUE_SECONDS = 600

# Seconds between two saves of counters that rise slowly (see `_save`), to write less to
# the disk. After a power cut, the age of the saved values is no disadvantage: the
# plausibility limit of the first readings rises with this age.
SAVE_SECONDS = 300

# Seconds between two attempts to take the profile again, if the profile is outdated or
# the meter contradicts it. Our choice, because an attempt needs about ten requests.
PROFILE_PERIOD = 3600

# The number of readings in a wiring check. Several readings show whether the sign of a
# power changes. If it changes, the check is inconclusive.
WIRING_READINGS = 5
WIRING_SECONDS = 1.0  # s; the pause between two readings. Our choice: 4 s in total

STORAGE_VERSION = 1


def counter_store(hass: HomeAssistant, subentry_id: str) -> Store[StoredCounters]:
    """Return the store of a meter's accepted counters."""
    return Store(hass, STORAGE_VERSION, f"{DOMAIN}.{subentry_id}", atomic_writes=True)


async def async_load_counters(
    hass: HomeAssistant, subentry: ConfigSubentry
) -> AcceptedCounters | None:
    """Return the stored counters of a meter, or None.

    Returns None if the store is empty or invalid, or belongs to another meter.
    `CounterCheck.restore` checks the counters themselves.
    """
    stored: Any
    try:
        stored = await counter_store(hass, subentry.subentry_id).async_load()
        if stored and stored[CONF_SERIAL_NUMBER] == subentry.data[CONF_SERIAL_NUMBER]:
            counters: AcceptedCounters = stored["counters"]
            return counters
    except (HomeAssistantError, LookupError, TypeError) as err:
        _LOGGER.warning(
            "%s: the stored counters are not used, so the first readings cannot be"
            " compared with them: %r",
            subentry.title,
            err,
        )
    return None


class CountisCoordinator(DataUpdateCoordinator[Values]):
    """The values of one meter, its issues and its profile.

    `data` contains the values that the entities show, by quantity. The value None means
    "not available". A measured value is removed if it cannot be read for
    `HOLD_SECONDS`. A counter keeps its last accepted value.
    """

    config_entry: ConfigEntry[Any]

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        subentry: ConfigSubentry,
        meter: Meter,
        partial_tariffs: PartialTariffs,
        *,
        demand: MeterDemand,
        on_wanted_quantities_changed: CALLBACK_TYPE,
    ) -> None:
        """Initialize the coordinator with the stored data of the meter.

        Entities call `on_wanted_quantities_changed` when they are added or removed.
        """
        super().__init__(hass, _LOGGER, config_entry=entry, name=subentry.title)
        self.subentry = subentry
        self.meter = meter
        self.partial_tariffs = partial_tariffs
        self.meter_demand = demand
        self.polled = Polled(meter, self.on_reading, self.on_error)
        self.data = self.counters
        self.meter_gaps = MeterGaps(self)
        self.on_wanted_quantities_changed = on_wanted_quantities_changed
        self.wiring_lock = asyncio.Lock()
        """Held during a wiring check."""
        self.is_checking_wiring = False
        self.wiring: Mapping[str, Any] | None = None
        """The result of the latest wiring check, None before the first one."""
        # Times are in s of the event loop's clock.
        self._requested_at: dict[str, float] = {}
        """By block: when the request for its latest reading was sent."""
        self._failing_since: dict[str, float] = {}
        """By block: when its read errors began."""
        self._expired_blocks: set[str] = set()
        """The blocks of the online meter that could not be read for `HOLD_SECONDS`."""
        self._unaccepted_since: dict[str, float] = {}
        """By block: since when its counters were rejected or could not be read."""
        self._listed_counters: set[str] = set()
        """The counters that the issue for rejected counters lists."""
        self._error: PollError | None = None
        """Why the meter is offline, None if it is online."""
        self._timers: dict[Callable[[datetime], None], CALLBACK_TYPE] = {}
        """By action: the function that cancels its timer.

        A timer that has ended stays here, so that it does not start again.
        """
        self._next_profile_at = 0.0
        """When the profile may be taken again."""
        self._store = counter_store(hass, subentry.subentry_id)
        self._saved: tuple[dict[str, float], dict[str, float]] = ({}, {})
        """The counters that were saved last, and their rollover offsets."""
        self._is_save_scheduled = False

    @property
    def online(self) -> bool:
        """Return whether the meter responds to the poller; True before the first poll.

        Unlike `shown_online`, this property changes at once.
        """
        return self._error is None

    @property
    def responds(self) -> bool:
        """Return whether this or another meter responds at the unit ID."""
        return self.online or isinstance(self._error, AnotherMeterError)

    @property
    def shown_online(self) -> bool | None:
        """Return whether the entities show the meter as online.

        None before the first accepted reading, unless the meter is shown as offline. If
        the meter goes offline, the result stays True for `HOLD_SECONDS`, because the
        measured values are still shown.
        """
        if not self.last_update_success:
            return False
        return True if self._requested_at else None

    @property
    def offline_reason(self) -> str | None:
        """Return the translation key of the latest error.

        None unless the meter is shown as offline.
        """
        if self.last_update_success or self._error is None:
            return None
        data, unit_id = self.config_entry.data, self.meter.unit_id
        key, _ = describe_error(data, unit_id, self._error)
        return key

    @property
    def wanted_quantities(self) -> set[str]:
        """Return the quantities that the poller has to read for the enabled entities.

        These include the counters from which partial counters are calculated.
        """
        wanted = {quantity for quantity in self.async_contexts() if quantity}
        calculated = self.meter.profile.calculated_counters
        return wanted | (
            {PARTIAL_CONSUMED, *calculated.values()}
            if wanted & calculated.keys()
            else set()
        )

    @property
    def counters(self) -> Values:
        """Return the accepted counters, and the partial counters by tariff.

        All of them are in kWh or kvarh.
        """
        return {
            **self.meter.counter_check.values,
            **self.partial_tariffs.update(self.meter),
        }

    @callback
    def replace_meter(self, meter: Meter) -> None:
        """Use `meter` from now on: the same meter with another unit ID or profile."""
        self.meter = meter
        self.polled = Polled(meter, self.on_reading, self.on_error)
        supported = meter.profile.quantities | self.counters.keys()
        self.data = {
            quantity: value
            for quantity, value in self.data.items()
            if quantity in supported
        }
        self.async_update_listeners()

    # -- called by the poller ------------------------------------------------

    @callback
    def on_reading(self, reading: Reading) -> None:
        """Show an accepted reading, unless a newer reading of its block is shown."""
        block = reading.block
        if reading.requested_at < self._requested_at.get(block, 0):
            return
        self._requested_at[block] = reading.requested_at
        self._set_online()
        self._failing_since.pop(block, None)
        if block in self._expired_blocks:
            self._expired_blocks.discard(block)
            _LOGGER.info("%s: the %s can be read again", self.name, block)
        for correction in reading.corrections:
            _LOGGER.warning(
                "%s: %s (kWh or kvarh) changed from %.2f to %.2f and stayed there;"
                " accepted, but the statistics may have to be corrected",
                self.name,
                correction.counter,
                correction.accepted,
                correction.found,
            )
            create_correction_issue(self, correction)
        values = reading.values
        self.meter_demand.add_reading(self.meter, reading)
        if block in COUNTER_BLOCKS:
            values = {**values, **self.partial_tariffs.update(self.meter)}
            self._save(reading)
            corrected = {each.counter for each in reading.corrections}
            self.meter_gaps.check_reading(block, corrected)
        self.async_set_updated_data({**self.data, **values})
        self._check_rejected()
        self._check_profile()

    @callback
    def on_error(self, error: PollError, block: str | None) -> None:
        """Handle a read error of `block`, or of the whole meter if `block` is None.

        The measured values of a block are removed if it could not be read for
        `HOLD_SECONDS`. Counters keep their values.
        """
        if block is None:
            self._set_offline(error)
            return
        self._set_online()
        now = self.hass.loop.time()
        since = self._failing_since.setdefault(block, now)
        if now - since >= HOLD_SECONDS and block not in self._expired_blocks:
            self._expired_blocks.add(block)
            _LOGGER.warning("%s: the %s cannot be read: %s", self.name, block, error)
            counters = self.counters
            self.data = {
                quantity: value
                for quantity, value in self.data.items()
                if quantity in counters or BLOCK_OF[quantity] != block
            }
            self.async_update_listeners()
        self._check_rejected()
        self._check_profile()

    def _set_online(self) -> None:
        if self._error is not None:
            self._error = None
            if not self.last_update_success:
                _LOGGER.info("%s responds again", self.name)
            self._cancel_timer(self._show_offline)
            self._cancel_timer(self._report_offline)
            self._delete_issues(*METER_OFFLINE, ANOTHER_METER)
            self._delete_issues_of_bus()

    def _set_offline(self, error: PollError) -> None:
        self._error = error
        if not self.last_update_success:
            # The entities already show the meter as offline, so update the reason now.
            self.last_exception = self.failure(UpdateFailed, error)
            self.async_update_listeners()
        self._start_timer(HOLD_SECONDS, self._show_offline)
        if isinstance(error, AnotherMeterError):
            # A meter responds at this unit ID, so the bus is not offline.
            self.reset_offline_issue()
            self._delete_issues_of_bus()
            expected = self.meter.profile.serial_number or "?"
            create_meter_issue(
                self, ANOTHER_METER, found=error.found, expected=expected
            )
        else:
            self._start_timer(OFFLINE_ISSUE_SECONDS, self._report_offline)

    @callback
    def _show_offline(self, now: datetime) -> None:
        """Remove all measured values, because the meter is offline."""
        assert self._error is not None  # noqa: S101
        self.data = self.counters
        self._failing_since.clear()
        self._expired_blocks.clear()
        # When the meter is online again, `REJECTED_ISSUE_SECONDS` have to pass again
        # before the issue for rejected counters lists a block. Blocks that this issue
        # already lists are an exception, so that the issue stays.
        listed_blocks = {BLOCK_OF[name] for name in self._listed_counters}
        for block in self._unaccepted_since.keys() - listed_blocks:
            del self._unaccepted_since[block]
        self.async_set_update_error(self.failure(UpdateFailed, self._error))

    @callback
    def _report_offline(self, now: datetime) -> None:
        """Create the issue of this meter, or of the bus if none of its meters responds.

        If only one meter is set up, the issue is always that of the meter. The text of
        this issue also has advice for the bus.
        """
        self._delete_issues(ANOTHER_METER)
        entry = self.config_entry
        device = endpoint_name(entry.data)
        is_behind_gateway = entry.data[CONF_TYPE] != SERIAL
        meters: dict[str, CountisCoordinator] = entry.runtime_data.coordinators
        if len(meters) > 1 and not any(each.responds for each in meters.values()):
            kind = BUS_OFFLINE[is_behind_gateway]
            create_issue(
                self.hass, kind, entry.entry_id, bus=entry.title, device=device
            )
            for each in meters.values():
                each.reset_offline_issue()
            return
        create_meter_issue(
            self,
            METER_OFFLINE[is_behind_gateway],
            unit_id=str(self.meter.unit_id),
            device=device,
        )

    def _start_timer(self, seconds: float, action: Callable[[datetime], None]) -> None:
        """Call `action` once after `seconds`, unless its timer was already started.

        After `_cancel_timer`, the timer can be started again.
        """
        if action not in self._timers:
            self._timers[action] = async_call_later(self.hass, seconds, action)

    def _cancel_timer(self, action: Callable[[datetime], None]) -> None:
        if cancel := self._timers.pop(action, None):
            cancel()

    def reset_offline_issue(self) -> None:
        """Delete the issue of the offline meter, and cancel the timer of the issue.

        The next error of the offline meter starts the timer again, unless another meter
        responds at its unit ID.
        """
        self._cancel_timer(self._report_offline)
        self._delete_issues(*METER_OFFLINE)

    def _delete_issues(self, *kinds: str) -> None:
        delete_issues(self.hass, self.subentry.subentry_id, *kinds)

    def _delete_issues_of_bus(self) -> None:
        delete_issues(self.hass, self.config_entry.entry_id, *BUS_OFFLINE)

    # -- rejected counters ---------------------------------------------------

    @property
    def rejected_counters(self) -> RejectedCounters:
        """Return the counters that were rejected or could not be read.

        Blocks that no enabled entity needs are left out.
        """
        counters = self.meter.counter_check
        wanted = {BLOCK_OF[quantity] for quantity in self.wanted_quantities}
        unread = (wanted & self._failing_since.keys()) - counters.rejected.keys()
        found: RejectedCounters = {
            name: (value, None)
            for name, value in counters.values.items()
            if BLOCK_OF[name] in unread
        }
        for block in wanted & counters.rejected.keys():
            found |= counters.rejected[block]
        return found

    @property
    def counters_of_form(self) -> RejectedCounters:
        """Return the counters that the form of the issue for rejected counters lists.

        In this form, the user confirms all rejected counters, so all of them are
        listed. A counter that could not be read is listed only if the issue already
        lists it.
        """
        return {
            name: readings
            for name, readings in self.rejected_counters.items()
            if readings[1] is not None or name in self._listed_counters
        }

    def _check_rejected(self) -> None:
        """Create, update or delete the issue for rejected counters.

        The issue lists the counters of the blocks from which no reading was accepted
        for `REJECTED_ISSUE_SECONDS`.
        """
        now = self.hass.loop.time()
        rejected = self.rejected_counters
        self._unaccepted_since = {
            block: self._unaccepted_since.get(block, now)
            for block in {BLOCK_OF[name] for name in rejected}
        }
        listed = {
            name: readings
            for name, readings in rejected.items()
            if now - self._unaccepted_since[BLOCK_OF[name]] >= REJECTED_ISSUE_SECONDS
        }
        if not listed:
            self._delete_issues(COUNTERS_REJECTED)
        elif listed.keys() != self._listed_counters:
            _LOGGER.warning(
                "%s: no reading of these counters was accepted for %s s, so they keep"
                " their last accepted values. Last accepted value and rejected reading"
                " of each counter: %s",
                self.name,
                REJECTED_ISSUE_SECONDS,
                listed,
            )
            create_rejected_issue(self, listed)
        self._listed_counters = set(listed)

    @property
    def rejected_since(self) -> dict[str, Moment | None]:
        """Return when the level of each block began, for blocks with rejected counters.

        A level is a series of rejected readings that agree with each other (see
        countis/plausibility.py). The value of a block without a level is None.
        """
        counters = self.meter.counter_check
        return {block: counters.rejected_since(block) for block in counters.rejected}

    def confirm_counters(self) -> None:
        """Accept the next readings that agree with the rejected readings."""
        for block in self.meter.counter_check.rejected:
            self.meter.counter_check.confirm(block)
        # If no reading is accepted for `REJECTED_ISSUE_SECONDS` from now on, the issue
        # is created again.
        self._unaccepted_since.clear()
        self._listed_counters.clear()

    # -- the profile ---------------------------------------------------------

    def _check_profile(self) -> None:
        """Take the profile again if it is outdated or the meter contradicts it.

        The profile is taken in the background, once in `PROFILE_PERIOD` at most.
        """
        now = self.hass.loop.time()
        is_wrong = self.meter.contradicts_profile or self.meter.profile.outdated
        if is_wrong and now >= self._next_profile_at:
            self._next_profile_at = now + PROFILE_PERIOD
            self.config_entry.async_create_background_task(
                self.hass, self._async_take_profile(), "take profile"
            )

    async def _async_take_profile(self) -> None:
        meter, subentry = self.meter, self.subentry
        meter.contradicts_profile = False
        try:
            profile = await async_take_profile(
                meter.modbus_unit,
                expected=meter.profile.serial_number,
                previous=meter.profile,
            )
        except (CountisError, *BUS_ERRORS) as err:
            _LOGGER.debug("%s: the profile cannot be taken: %s", self.name, err)
            return
        if subentry.subentry_id in self.config_entry.subentries:
            _LOGGER.info("%s: the profile was taken again", self.name)
            self.hass.config_entries.async_update_subentry(
                self.config_entry,
                subentry,
                data={**subentry.data, CONF_PROFILE: profile.as_dict()},
            )

    # -- commands ------------------------------------------------------------

    async def async_command(
        self, command: Callable[[Meter, Publish], Awaitable[None]]
    ) -> None:
        """Send a command to the meter, and show the values that are read back.

        Raises `HomeAssistantError` with a text that says what to check.
        """
        try:
            await command(self.meter, self.on_reading)
        except (CountisError, *BUS_ERRORS) as err:
            raise self.failure(HomeAssistantError, err) from err
        finally:
            await self.async_save()

    async def async_change_tariff(
        self, tariff: int, command: Callable[..., Awaitable[None]] = async_set_tariff
    ) -> None:
        """Set the tariff, and enable the entity of its counter.

        The entity of an unused counter is disabled by default. An entity that the user
        has disabled stays disabled. `command` is `async_confirm_tariff` if a broadcast
        has already set the tariff. Raises the same errors as `async_command`.
        """
        await self.async_command(partial(command, tariff=tariff))
        entities = er.async_get(self.hass)
        unique_id = entity_unique_id(self.subentry, f"tariff_{tariff}_energy")
        entity_id = entities.async_get_entity_id(Platform.SENSOR, DOMAIN, unique_id)
        entity = entity_id and entities.async_get(entity_id)
        if entity and entity.disabled_by is er.RegistryEntryDisabler.INTEGRATION:
            # Home Assistant reloads the bus after 30 s, which adds the entity.
            entities.async_update_entity(entity.entity_id, disabled_by=None)

    async def async_check_wiring(self) -> Wiring:
        """Return the result of a wiring check with `WIRING_READINGS` readings.

        Raises `HomeAssistantError` with a text that says what to check.
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

    @callback
    def show_wiring(
        self, result: Mapping[str, Any] | None, *, is_checking: bool
    ) -> None:
        """Update the entities when a wiring check has begun or ended.

        `result` is None if the check has just begun, or has failed. In both cases, the
        result of the previous check remains.
        """
        self.is_checking_wiring = is_checking
        self.wiring = result or self.wiring
        self.async_update_listeners()

    def failure[E: HomeAssistantError](self, kind: type[E], error: Exception) -> E:
        """Return an error of the meter or the bus as a translated error of `kind`."""
        key, placeholders = describe_error(
            self.config_entry.data,
            self.meter.unit_id,
            error,
            self.meter.profile.serial_number,
        )
        return translated_error(kind, key, name=self.subentry.title, **placeholders)

    # -- counters that are kept over a restart -------------------------------

    def _save(self, reading: Reading) -> None:
        """Save the counters: within `SAVE_SECONDS`, or at once after a large change.

        After a power cut, the entities show the saved counters first, so the saved
        counters have to be close to the accepted counters. If a saved counter is too
        high, the first readings are rejected. If a saved counter is less than
        `RESET_RATIO` times the last recorded state, the recorder assumes a reset, and
        adds the whole counter to the energy.
        """
        counters = self.meter.counter_check
        saved_values, saved_offsets = self._saved
        is_close = all(
            RESET_RATIO * value <= saved_values.get(name, 0) <= value
            for name, value in counters.values.items()
        )
        if (
            not is_close
            or reading.corrections
            or counters.rollover_offsets != saved_offsets
        ):
            self.config_entry.async_create_task(self.hass, self.async_save())
        elif not self._is_save_scheduled:
            self._is_save_scheduled = True
            self._store.async_delay_save(self._data_to_save, SAVE_SECONDS)

    async def async_save(self) -> None:
        """Save the counters now."""
        if self.meter.counter_check.values:
            await self._store.async_save(self._data_to_save())

    def _data_to_save(self) -> StoredCounters:
        """Return the counters for the store, and note that they are saved."""
        counters = self.meter.counter_check
        self._saved = counters.values, counters.rollover_offsets
        self._is_save_scheduled = False
        return {
            CONF_SERIAL_NUMBER: self.meter.profile.serial_number,
            "counters": counters.as_dict(),
        }

    async def async_remove(self) -> None:
        """Stop the coordinator of a removed meter, and delete its stored data."""
        await self.async_shutdown()
        await self._store.async_remove()
        await self.partial_tariffs.async_remove()
        await self.meter_demand.async_remove()
        await self.meter_gaps.async_remove()

    @override
    async def async_shutdown(self) -> None:
        """Cancel the timers, and delete the issues that depend on the polling."""
        while self._timers:
            self._timers.popitem()[1]()
        self.meter_gaps.stop_timer()
        self._delete_issues(*METER_OFFLINE, ANOTHER_METER, COUNTERS_REJECTED)
        await super().async_shutdown()
