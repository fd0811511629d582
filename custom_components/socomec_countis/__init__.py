"""Socomec COUNTIS electricity meters, over RS485 and Modbus RTU.

The line is not opened here: the `modbus` integration shares one connection for
each port between everything that talks over it, and lends out a unit of it.
"""

from time import time

from homeassistant.components.modbus import async_get_unit
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers.device_registry import DeviceEntry

from .connection import (
    REQUEST_TIMEOUT,
    error_placeholders,
    serial_params,
    shared_line,
)
from .const import CONF_SERIAL_NUMBER, DOMAIN
from .coordinator import CountisConfigEntry, CountisCoordinator, meter_store
from .countis import Countis
from .identifiers import meter_identifier
from .issues import clear_another_meter

PLATFORMS = [Platform.BUTTON, Platform.SENSOR]


async def async_setup_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Set up a meter from a config entry."""
    try:
        unit = async_get_unit(
            hass, entry, serial_params(entry.data), entry.data[CONF_ADDRESS]
        )
    except HomeAssistantError as err:
        # Tried again, as it is for the other user of the port to change.
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key="line_settings_in_use",
            translation_placeholders=error_placeholders(entry.data, err),
        ) from err
    unit.require_timeout(REQUEST_TIMEOUT)

    store = meter_store(hass, entry.entry_id)
    meter = Countis(
        unit,
        shared_line(hass, entry.data),
        address=entry.data[CONF_ADDRESS],
        clock=time,
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
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Forget the meter of an entry that is removed."""
    clear_another_meter(hass, entry)
    await meter_store(hass, entry.entry_id).async_remove()


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> bool:
    """Allow to remove the device of a meter that was exchanged for another one."""
    return (DOMAIN, meter_identifier(entry)) not in device.identifiers
