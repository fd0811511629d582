"""Polls one meter, once a second."""

from collections.abc import Mapping
import logging
from typing import override

from modbus_connection import ModbusError

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryError
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .connection import LINE_ERRORS, async_identify, error_key, error_placeholders
from .const import CONF_SERIAL_NUMBER, DOMAIN, SCAN_INTERVAL
from .countis import Countis, NotACountisError, Values

_LOGGER = logging.getLogger(__name__)

type CountisConfigEntry = ConfigEntry[CountisCoordinator]


class CountisCoordinator(DataUpdateCoordinator[Values]):
    """Polls one meter.

    The data is what the last poll refreshed: quantity to value, None for "not
    available". A quantity whose block could not be read is not in it.
    """

    config_entry: CountisConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: CountisConfigEntry, meter: Countis
    ) -> None:
        """Initialize the coordinator."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=SCAN_INTERVAL,
            always_update=False,
        )
        self.meter = meter
        self._failing: frozenset[str] = frozenset()
        # The base class starts polls at a fixed fraction of a second, and skips
        # a second whenever a poll lasts beyond the next full one. From the full
        # second on, a poll has all of it.
        self._microsecond = 0.0

    @override
    async def _async_setup(self) -> None:
        """Make sure that it is this entry's meter that answers."""
        try:
            await async_identify(self.meter)
        except NotACountisError as err:
            raise ConfigEntryError(
                translation_domain=DOMAIN,
                translation_key="not_a_countis",
                translation_placeholders=error_placeholders(
                    self.config_entry.data, err
                ),
            ) from err
        except LINE_ERRORS as err:
            raise self._update_failed(err) from err

        expected = self.config_entry.data[CONF_SERIAL_NUMBER]
        if expected is not None and self.meter.serial_number != expected:
            raise ConfigEntryError(
                translation_domain=DOMAIN,
                translation_key="another_meter",
                translation_placeholders={
                    "found": self.meter.serial_number or "?",
                    "expected": expected,
                },
            )

    @override
    async def _async_update_data(self) -> Values:
        """Read the meter; a block that fails is left out.

        Which entities exist is decided by the first poll, so that has to be a
        whole one.
        """
        try:
            # A meter known to be silent costs its line one timeout, not two.
            report = await self.meter.async_update(retry=self.last_update_success)
        except LINE_ERRORS as err:
            raise self._update_failed(err) from err
        if report.failed and not (self.data and report.updated):
            error = next(iter(report.failed.values()))
            raise self._update_failed(error) from error
        self._log_blocks(report.failed)
        return self.meter.values(report)

    def _log_blocks(self, failed: Mapping[str, ModbusError]) -> None:
        """Log once that a block cannot be read, and once that it can again."""
        for block in failed.keys() - self._failing:
            _LOGGER.warning("%s: no %s: %s", self.name, block, failed[block])
        for block in self._failing - failed.keys():
            _LOGGER.info("%s: %s are back", self.name, block)
        self._failing = frozenset(failed)

    def _update_failed(self, error: ModbusError | OSError) -> UpdateFailed:
        return UpdateFailed(
            translation_domain=DOMAIN,
            translation_key=error_key(error),
            translation_placeholders=error_placeholders(self.config_entry.data, error),
        )
