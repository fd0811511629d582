"""Socomec COUNTIS electricity meters on an RS485 bus.

An entry is a bus, and each of its subentries is a meter. The `modbus` integration
owns the connection to the bus and shares it between all integrations that use it.
"""

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.device_registry import DeviceEntry
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.typing import ConfigType

from .connection import endpoint_name
from .const import DOMAIN
from .coordinator import counter_store
from .identifiers import meter_identifier
from .issues import create_line_conflict, delete_issues_of, delete_line_conflict
from .runtime import BusRuntime, CountisConfigEntry, meter_subentries
from .services import async_setup_services

PLATFORMS = [Platform.BINARY_SENSOR, Platform.BUTTON, Platform.SELECT, Platform.SENSOR]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, which exist without a meter as well."""
    async_setup_services(hass)

    @callback
    def on_change(change: ConfigEntryChange, entry: ConfigEntry) -> None:
        # An entry that is retried is disabled without being unloaded.
        if entry.domain == DOMAIN and entry.state is ConfigEntryState.NOT_LOADED:
            delete_line_conflict(hass, entry)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, on_change)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Set up a bus: its meters exist from their profiles, and polling begins."""
    runtime = BusRuntime(hass, entry)
    try:
        await runtime.async_update()
    except HomeAssistantError as err:
        create_line_conflict(hass, entry)
        # Retried, because the other user of the port may change its settings.
        raise ConfigEntryNotReady(
            translation_domain=DOMAIN,
            translation_key="line_settings_in_use",
            translation_placeholders={
                "device": endpoint_name(entry.data),
                "reason": str(err),
            },
        ) from err
    delete_line_conflict(hass, entry)
    entry.runtime_data = runtime
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_on_unload(entry.add_update_listener(_async_update))
    entry.async_create_background_task(
        hass, runtime.async_poll(), f"{DOMAIN} poller {entry.title}"
    )
    return True


async def _async_update(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Follow changes of the entry and its meters; most need no reload."""
    if entry.runtime_data.is_outdated:
        hass.config_entries.async_schedule_reload(entry.entry_id)
    else:
        await entry.runtime_data.async_update()


async def async_unload_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Unload a bus; the `modbus` integration closes the connection."""
    await entry.runtime_data.async_save()
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Remove what is stored of the meters of a bus."""
    delete_issues_of(hass, entry.entry_id)
    for subentry in meter_subentries(entry):
        delete_issues_of(hass, subentry.subentry_id)
        await counter_store(hass, subentry.subentry_id).async_remove()


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> bool:
    """Allow removing the device of a meter that was exchanged for another one."""
    return not any(
        (DOMAIN, meter_identifier(subentry)) in device.identifiers
        for subentry in meter_subentries(entry)
    )
