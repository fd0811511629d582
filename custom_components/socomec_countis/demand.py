"""The demand of one meter, with a store that keeps it over restarts.

`countis/demand.py` calculates the demand, `demand_sensor.py` shows it.
"""

from datetime import datetime
import logging
from typing import Any

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util

from .const import CONF_SERIAL_NUMBER, DOMAIN
from .countis import BLOCK_OF, Meter, Profile, Reading
from .countis.demand import Demand, PowerIntegral
from .countis.plausibility import Moment

_LOGGER = logging.getLogger(__name__)

type StoredDemand = dict[str, Any]
"""The keys "serial_number", "demand" and "quantity".

"demand" is the result of `Demand.as_dict`. "quantity" is the quantity from which the
demand was calculated.
"""

# The quantities from which a demand can be calculated.
COUNTER = "energy_consumed"
POWER = "power"

# Seconds between two saves within a demand period. Our choice: rare saves write less to
# the disk. To continue the period after a restart, only the counter at the beginning of
# the period is needed. This counter is saved early (see `SAVE_BEGIN_SECONDS`).
SAVE_SECONDS = 300
# In s; after the first reading in a period, the counter at its beginning is saved after
# this time. If the power is cut before that, the demand of the period is unknown. Our
# choice: a power cut within this one second is unlikely.
SAVE_BEGIN_SECONDS = 1

STORAGE_VERSION = 1


def demand_store(hass: HomeAssistant, subentry_id: str) -> Store[StoredDemand]:
    """Return the store of a meter's demand."""
    key = f"{DOMAIN}.{subentry_id}.demand"
    return Store(hass, STORAGE_VERSION, key, atomic_writes=True)


def local_time_of(at: float) -> datetime:
    """Return a time in s since 1970 as local time with its time zone."""
    return dt_util.as_local(dt_util.utc_from_timestamp(at))


def demand_quantity(profile: Profile) -> str:
    """Return the quantity from which the demand of a meter is calculated."""
    return COUNTER if profile.counts_in_high_resolution else POWER


async def async_load_demand(
    hass: HomeAssistant, subentry: ConfigSubentry
) -> MeterDemand:
    """Return the demand of a meter, continued from the stored demand if possible."""
    store = demand_store(hass, subentry.subentry_id)
    demand = MeterDemand(store, subentry.data[CONF_SERIAL_NUMBER])
    try:
        if stored := await store.async_load():
            demand.restore(stored)
    except (HomeAssistantError, LookupError, TypeError) as err:
        _LOGGER.warning("%s: the stored demand is not used: %r", subentry.title, err)
    return demand


class MeterDemand:
    """The demand of one meter, calculated while an enabled entity shows the demand."""

    def __init__(self, store: Store[StoredDemand], serial_number: str | None) -> None:
        """Initialize the demand without readings and entities."""
        self.demand = Demand(local_time_of)
        self._store = store
        self._serial_number = serial_number
        self._quantity: str | None = None
        """The quantity from which the demand was calculated last."""
        self._integral = PowerIntegral()
        self._entity_count = 0
        """The number of enabled entities that show the demand."""
        self._is_save_scheduled = False

    def restore(self, stored: StoredDemand) -> None:
        """Continue with the stored demand, if it belongs to this meter.

        Raises `LookupError` or `TypeError` for content of another shape.
        """
        if stored[CONF_SERIAL_NUMBER] == self._serial_number:
            self._quantity = stored["quantity"]
            self.demand.restore(stored["demand"])

    @callback
    def use(self) -> CALLBACK_TYPE:
        """Calculate the demand for one entity until it calls the returned function."""
        self._entity_count += 1

        @callback
        def release() -> None:
            self._entity_count -= 1

        return release

    @callback
    def add_reading(self, meter: Meter, reading: Reading) -> None:
        """Continue the demand with an accepted reading, if an entity shows the demand.

        A reading without the quantity that `demand_quantity` returns is ignored.
        """
        if not self._entity_count:
            return
        quantity = demand_quantity(meter.profile)
        if quantity != self._quantity:
            # The counter and the integral of the power have different zero points. So
            # the difference of their values is not an energy.
            self.demand.interrupt()
            self._quantity = quantity
        if quantity == POWER:
            self._add_power(meter, reading)
        elif reading.block == BLOCK_OF[COUNTER]:
            if any(each.counter == COUNTER for each in reading.corrections):
                self.demand.interrupt()
            if accepted := meter.counter_check.accepted.get(COUNTER):
                self._add(accepted.at, accepted.value)

    def _add_power(self, meter: Meter, reading: Reading) -> None:
        if (watts := reading.values.get(POWER)) is None:
            return
        if not self._integral.add(reading.requested_at, watts):
            # The energy before the first reading, or in a long pause, is unknown.
            self.demand.interrupt()
        now = meter.now()
        wall = now.wall - (now.monotonic - reading.requested_at)  # time of the request
        self._add(Moment(wall, reading.requested_at), self._integral.kilowatt_hours)

    def _add(self, at: Moment, kilowatt_hours: float) -> None:
        if self.demand.add(at, kilowatt_hours):  # a new period has begun
            self._schedule_save(SAVE_BEGIN_SECONDS)
        elif not self._is_save_scheduled:
            self._schedule_save(SAVE_SECONDS)

    @callback
    def set_minutes(self, minutes: int) -> None:
        """Set and save the length of the demand periods."""
        self.demand.minutes = minutes
        self._schedule_save(SAVE_BEGIN_SECONDS)

    def _schedule_save(self, seconds: float) -> None:
        self._is_save_scheduled = True
        self._store.async_delay_save(self._data_to_save, seconds)

    async def async_save(self) -> None:
        """Save the demand now, if it has changed."""
        if self._is_save_scheduled:
            await self._store.async_save(self._data_to_save())

    def _data_to_save(self) -> StoredDemand:
        """Return the demand for the store, and note that it is saved."""
        self._is_save_scheduled = False
        return {
            CONF_SERIAL_NUMBER: self._serial_number,
            "quantity": self._quantity,
            "demand": self.demand.as_dict(),
        }

    async def async_remove(self) -> None:
        """Delete the store of a meter that was removed."""
        await self._store.async_remove()
