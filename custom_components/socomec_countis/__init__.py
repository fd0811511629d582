"""Socomec COUNTIS electricity meters, over RS485 and Modbus RTU.

The line is not opened here: the `modbus` integration shares one connection for
each port between everything that talks over it, and lends out a unit of it.
"""

from datetime import datetime
from time import time

from homeassistant.components.modbus import async_get_unit
from homeassistant.const import CONF_ADDRESS, CONF_TYPE, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.device_registry import DeviceEntry
from homeassistant.helpers.typing import ConfigType
from homeassistant.util import dt as dt_util

from .connection import (
    REQUEST_TIMEOUT,
    error_placeholders,
    modbus_params,
    shared_line,
)
from .const import CONF_SERIAL_NUMBER, DOMAIN, SERIAL
from .coordinator import CountisConfigEntry, CountisCoordinator, meter_store
from .countis import Countis
from .identifiers import meter_identifier
from .issues import clear_all, clear_line_conflict, clear_silence, tell_line_conflict
from .services import async_setup_services

PLATFORMS = [Platform.BINARY_SENSOR, Platform.BUTTON, Platform.SELECT, Platform.SENSOR]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, which are there without a meter as well."""
    async_setup_services(hass)
    return True


async def async_migrate_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Bring an entry up to date: before 1.2, every line was a serial port."""
    if entry.minor_version < 2:  # noqa: PLR2004
        hass.config_entries.async_update_entry(
            entry, data={CONF_TYPE: SERIAL, **entry.data}, minor_version=2
        )
    return True


def local_time() -> datetime:
    """Return what a clock on the wall shows, which knows no time zone."""
    return dt_util.now().replace(tzinfo=None)


async def async_setup_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Set up a meter from a config entry."""
    try:
        unit = async_get_unit(
            hass, entry, modbus_params(entry.data), entry.data[CONF_ADDRESS]
        )
    except HomeAssistantError as err:
        tell_line_conflict(hass, entry)
        # Tried again, as it is for the other user of the port to change.
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key="line_settings_in_use",
            translation_placeholders=error_placeholders(entry.data, err),
        ) from err
    clear_line_conflict(hass, entry)
    unit.require_timeout(REQUEST_TIMEOUT)

    store = meter_store(hass, entry.entry_id)
    meter = Countis(
        unit,
        shared_line(hass, entry.data),
        address=entry.data[CONF_ADDRESS],
        clock=time,
        local_time=local_time,
        serial_number=entry.data[CONF_SERIAL_NUMBER],
        saved=await store.async_load(),
    )
    entry.async_on_unload(meter.leave_line)
    coordinator = CountisCoordinator(hass, entry, meter, store)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator

    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Unload a config entry; the unit is given back by what lent it."""
    await entry.runtime_data.async_save()
    clear_silence(hass, entry)
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Forget the meter of an entry that is removed."""
    clear_all(hass, entry)
    await meter_store(hass, entry.entry_id).async_remove()


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> bool:
    """Allow to remove the device of a meter that was exchanged for another one."""
    return (DOMAIN, meter_identifier(entry)) not in device.identifiers
