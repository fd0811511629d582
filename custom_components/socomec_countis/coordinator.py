"""Polls one meter, once a second."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
import logging
import math
from typing import Any, override

from modbus_connection import ModbusError
from modbus_connection.model import UpdateReport

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryError, HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .connection import (
    LINE_ERRORS,
    async_identify,
    error_key,
    error_placeholders,
    is_line_down,
)
from .const import DOMAIN
from .countis import (
    BLOCK_OF,
    PERIOD,
    AnotherMeterError,
    Countis,
    CountisError,
    NotACountisError,
    Values,
    Wiring,
    check_wiring,
)
from .issues import (
    clear_another_meter,
    clear_silence,
    tell_another_meter,
    tell_correction,
    tell_silence,
)

_LOGGER = logging.getLogger(__name__)

type CountisConfigEntry = ConfigEntry[CountisCoordinator]
type SavedMeter = dict[str, Any]

# How long a measured value is shown without a newer one.
HOLD_SECONDS = 10

# From one question to the next, to a meter that does not answer.
LONGEST_PAUSE = 30.0

# The user is told of a meter that does not answer for so long.
SILENT_SECONDS = 3600

# What a power cut loses makes the guard of the counters wider, not wrong.
SAVE_SECONDS = 300

# The wiring is tested by so many readings, so many seconds apart.
WIRING_READINGS = 5
WIRING_SECONDS = 1.0

STORAGE_VERSION = 1


def meter_store(hass: HomeAssistant, entry_id: str) -> Store[SavedMeter]:
    """Return where what is known of an entry's meter is kept across a restart."""
    return Store(hass, STORAGE_VERSION, f"{DOMAIN}.{entry_id}")


class CountisCoordinator(DataUpdateCoordinator[Values]):
    """Polls one meter.

    The data is what is shown: quantity to value, None for "not available". What
    is measured is left out when it could not be read for too long. A counter
    stays as it was last believed.
    """

    config_entry: CountisConfigEntry

    def __init__(
        self,
        hass: HomeAssistant,
        entry: CountisConfigEntry,
        meter: Countis,
        store: Store[SavedMeter],
    ) -> None:
        """Initialize the coordinator."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=timedelta(seconds=PERIOD),
        )
        self.meter = meter
        self._store = store
        self._save_at = -math.inf
        self._readings: Values = {}
        self._failing_since: dict[str, float] = {}
        self._expired: frozenset[str] = frozenset()
        self._silent_since = math.inf
        self._silence_told = False
        self._error: CountisError | ModbusError | OSError | None = None
        self._pause = PERIOD
        self._ask_at = -math.inf
        self._due = -math.inf

    @override
    async def _async_setup(self) -> None:
        """Make sure that it is this entry's meter that answers.

        One that is known from before may be away: its counters hold their value.
        """
        try:
            await async_identify(self.meter)
        except (NotACountisError, AnotherMeterError) as err:
            if isinstance(err, AnotherMeterError):
                tell_another_meter(self.hass, self.config_entry, err.found)
            raise self.failure(ConfigEntryError, err) from err
        except LINE_ERRORS as err:
            if not self.meter.quantities:
                raise self.failure(UpdateFailed, err) from err
            self._fall_silent(err)
        else:
            clear_another_meter(self.hass, self.config_entry)

    async def async_command(
        self, command: Callable[[Countis], Awaitable[Values]]
    ) -> None:
        """Give the meter a command, and show what it returns as read back.

        Raises `HomeAssistantError` that says what to check.
        """
        try:
            values = await command(self.meter)
        except (CountisError, *LINE_ERRORS) as err:
            raise self.failure(HomeAssistantError, err) from err
        self.async_set_updated_data(self.data | values)

    async def async_reset(
        self, command: Callable[[Countis], Awaitable[Values]]
    ) -> None:
        """Reset counters, having shown what they counted until now.

        Raises as `async_command` does.
        """
        await self.async_command(Countis.async_count)
        await self.async_command(command)

    async def async_check_wiring(self) -> Wiring:
        """Test the wiring by readings of some seconds.

        Raises `HomeAssistantError` that says what to check.
        """
        readings: list[Values] = []
        try:
            for _ in range(WIRING_READINGS):
                if readings:
                    await asyncio.sleep(WIRING_SECONDS)
                readings.append(await self.meter.async_measure())
        except (CountisError, *LINE_ERRORS) as err:
            raise self.failure(HomeAssistantError, err) from err
        return check_wiring(readings)

    async def async_save(self) -> None:
        """Keep what is known of the meter for the next start."""
        await self._store.async_save(self.meter.saved())

    @override
    async def _async_update_data(self) -> Values:
        """Read what is due, and return what is shown."""
        try:
            if self.hass.loop.time() >= self._ask_at:
                await self._async_ask()
            return self._shown()
        finally:
            self._keep_time()

    async def _async_ask(self) -> None:
        """Ask the meter; which entities exist is decided by a whole first poll."""
        try:
            # Without entities there is a first poll, which has to be a whole one.
            report = await self.meter.async_update(set(self.async_contexts()))
        except AnotherMeterError as err:
            # The set-up tells the user, and does not poll.
            self.hass.config_entries.async_schedule_reload(self.config_entry.entry_id)
            raise self.failure(UpdateFailed, err) from err
        except (NotACountisError, *LINE_ERRORS) as err:
            if not self.meter.quantities:
                raise self.failure(UpdateFailed, err) from err
            self._fall_silent(err)
            return
        if not self.meter.quantities:
            problem = next(iter(report.failed.values()))
            raise self.failure(UpdateFailed, problem) from problem
        self._take_up(report)

    def _fall_silent(self, error: CountisError | ModbusError | OSError) -> None:
        """Ask less and less often; a port that does not open costs no line time."""
        now = self.hass.loop.time()
        self._silent_since = min(self._silent_since, now)
        self._error = error
        if now - self._silent_since >= SILENT_SECONDS and not self._silence_told:
            self._silence_told = True
            tell_silence(self.hass, self.config_entry)
        if not is_line_down(error):
            self._ask_at = now + min(self._pause, LONGEST_PAUSE)
            self._pause *= 2

    def _take_up(self, report: UpdateReport) -> None:
        """Keep what a poll has read, and what it could not."""
        now = self.hass.loop.time()
        self._silent_since = math.inf
        self._error = None
        self._pause = PERIOD
        if self._silence_told:
            self._silence_told = False
            clear_silence(self.hass, self.config_entry)
        self._readings |= self.meter.values(report)
        for block in report.updated:
            self._failing_since.pop(block, None)
        for block in report.failed:
            self._failing_since.setdefault(block, now)
        expired = frozenset(
            block
            for block, since in self._failing_since.items()
            if now - since >= HOLD_SECONDS
        )
        for block in expired - self._expired:
            error = report.failed.get(block, "")
            _LOGGER.warning("%s: no %s: %s", self.name, block, error)
        for block in self._expired - expired:
            _LOGGER.info("%s: %s are back", self.name, block)
        self._expired = expired
        for correction in self.meter.corrections:
            tell_correction(self.hass, self.config_entry, correction)
        self.meter.corrections.clear()
        if now >= self._save_at:
            self._save_at = now + SAVE_SECONDS
            self._store.async_delay_save(self.meter.saved, SAVE_SECONDS)

    def _shown(self) -> Values:
        """Return the data, or raise `UpdateFailed` for a meter that is away.

        A set-up without the meter has its counters to show.
        """
        silent_for = self.hass.loop.time() - self._silent_since
        if self._error and self.data and silent_for >= HOLD_SECONDS:
            raise self.failure(UpdateFailed, self._error) from self._error
        measured = {
            quantity: value
            for quantity, value in self._readings.items()
            if BLOCK_OF[quantity] not in self._expired
        }
        return measured | self.meter.guard.values

    def _keep_time(self) -> None:
        """Have the next poll a second after this one was due, or as soon as it can."""
        now = self.hass.loop.time()
        self._due = min(max(self._due + PERIOD, now), now + PERIOD)

    @callback
    @override
    def _schedule_refresh(self) -> None:
        """Schedule the next poll for when it is due.

        The base class starts polls at a fixed fraction of a second, and skips a
        second whenever a poll lasts beyond the next full one.
        """
        now = self.hass.loop.time()
        self._microsecond = max(self._due, now) - int(now) - PERIOD
        super()._schedule_refresh()

    def failure[E: HomeAssistantError](
        self, kind: type[E], error: CountisError | ModbusError | OSError
    ) -> E:
        """Return the error as Home Assistant tells it, with what to check."""
        return kind(
            translation_domain=DOMAIN,
            translation_key=error_key(self.config_entry.data, error),
            translation_placeholders={
                "name": self.config_entry.title,
                **error_placeholders(self.config_entry.data, error),
            },
        )
