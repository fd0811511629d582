"""Socomec COUNTIS electricity meters, over RS485 and Modbus RTU.

The line is not opened here: the `modbus` integration shares one connection for
each port between everything that talks over it, and lends out a unit of it.
"""

from homeassistant.components.modbus import async_get_unit
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError

from .connection import error_placeholders, serial_params
from .const import DOMAIN, REQUEST_TIMEOUT
from .coordinator import CountisConfigEntry, CountisCoordinator
from .countis import Countis

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

    coordinator = CountisCoordinator(hass, entry, Countis(unit))
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator

    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Unload a config entry; the unit is given back by what lent it."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
