"""The partial counters by tariff of one meter, kept over restarts.

A partial counter counts the energy since its last reset. If a meter has no registers
for its partial counters by tariff, `countis/partial_tariffs.py` calculates these
counters. This file saves the last reset, so that the calculation continues after a
restart.
"""

import logging
from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store

from .const import CONF_SERIAL_NUMBER, DOMAIN
from .countis import PARTIAL_CONSUMED, CalculatedCounters, Meter, PartialReset, Values

_LOGGER = logging.getLogger(__name__)

STORAGE_VERSION = 1


class PartialTariffs:
    """The partial counters by tariff of one meter, with the store of the last reset.

    If a meter has registers for these counters, `update` returns no counters, because
    the poller reads the registers.
    """

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry[Any], subentry: ConfigSubentry
    ) -> None:
        """Initialize the counters as unknown; `async_load` loads the last reset."""
        self._hass = hass
        self._entry = entry
        self._subentry = subentry
        self._store: Store[dict[str, Any]] = Store(
            hass,
            STORAGE_VERSION,
            f"{DOMAIN}.{subentry.subentry_id}.partial_tariffs",
            atomic_writes=True,
        )
        self._counters = CalculatedCounters()

    @property
    def reset(self) -> PartialReset | None:
        """Return the last reset of the partial counters, None if it is unknown."""
        return self._counters.reset

    async def async_load(self) -> None:
        """Load the last reset, unless it is invalid or belongs to another meter."""
        try:
            stored = await self._store.async_load()
            serial_number = self._subentry.data[CONF_SERIAL_NUMBER]
            if stored and stored[CONF_SERIAL_NUMBER] == serial_number:
                reset = stored["reset"]
                self._counters.reset = reset and PartialReset.from_dict(reset)
        except (
            HomeAssistantError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as err:
            _LOGGER.warning(
                "%s: the stored reset of the partial counters is not used: %r",
                self._subentry.title,
                err,
            )

    @callback
    def update(self, meter: Meter) -> Values:
        """Return the partial counters by tariff in kWh, from the accepted counters.

        The value of an unknown counter is None. Each change of `reset` is saved, also a
        change to None.
        """
        # Maps each partial counter to the tariff counter from which it is calculated.
        calculated = meter.profile.calculated_counters
        accepted = meter.counter_check.accepted
        needed = {PARTIAL_CONSUMED, *calculated.values()}
        if not calculated or not needed <= accepted.keys():
            return dict.fromkeys(calculated)
        tariffs = {name: accepted[name] for name in calculated.values()}
        previous_reset = self.reset
        # The reason if known counters have become unknown, otherwise None.
        why_unknown = self._counters.take(accepted[PARTIAL_CONSUMED], tariffs)
        if why_unknown is not None:
            _LOGGER.warning(
                "%s: the partial counters by tariff are unknown until their next"
                " reset, because %s",
                self._subentry.title,
                why_unknown,
            )
        if self.reset is not previous_reset:
            self._entry.async_create_task(self._hass, self._async_save(meter))
        values = self._counters.values(
            {name: counter.value for name, counter in tariffs.items()}
        )
        return {partial: values[tariff] for partial, tariff in calculated.items()}

    async def _async_save(self, meter: Meter) -> None:
        await self._store.async_save(
            {
                CONF_SERIAL_NUMBER: meter.profile.serial_number,
                "reset": self.reset and self.reset.as_dict(),
            }
        )

    async def async_remove(self) -> None:
        """Delete the stored reset."""
        await self._store.async_remove()
