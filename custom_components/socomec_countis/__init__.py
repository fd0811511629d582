"""Socomec COUNTIS electricity meters on an RS485 bus.

A config entry is a bus, and each of its subentries is a meter. Home Assistant's own
integration `modbus` opens the connection to the bus. Integrations that use the
bus through `modbus`, with the same line settings, share this connection.
"""

from functools import partial

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

from .connection import endpoint_name, line_settings_text
from .const import DOMAIN
from .coordinator import counter_store
from .demand import demand_store
from .gap import gap_store
from .identifiers import bus_identifier, meter_identifier
from .issues import (
    BUS_OFFLINE,
    LINE_CONFLICT,
    create_issue,
    delete_all_issues,
    delete_issues,
)
from .partial_tariffs import PartialTariffs
from .runtime import BusRuntime, CountisConfigEntry, meter_subentries
from .services import async_setup_services
from .texts import translated_error

PLATFORMS = [Platform.BINARY_SENSOR, Platform.BUTTON, Platform.SELECT, Platform.SENSOR]

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register the actions, which exist even before a bus is added."""
    async_setup_services(hass)

    @callback
    def on_entry_change(change: ConfigEntryChange, entry: ConfigEntry) -> None:
        # If another integration uses the port with other line settings, the entry has
        # an issue, and Home Assistant retries the set-up. If the user disables such an
        # entry, its state becomes `NOT_LOADED`, but Home Assistant does not call
        # `async_unload_entry`. So the issue is deleted here.
        if entry.domain == DOMAIN and entry.state is ConfigEntryState.NOT_LOADED:
            delete_issues(hass, entry.entry_id, LINE_CONFLICT)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, on_entry_change)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Set up a bus: add the entities of its meters, and start to poll the meters.

    The entities depend only on the stored profiles, so the set-up sends no request.
    Raises `ConfigEntryNotReady` if another integration uses the port with other line
    settings.
    """
    runtime = BusRuntime(hass, entry)
    try:
        await runtime.async_update()
    except HomeAssistantError as err:
        device, settings = endpoint_name(entry.data), line_settings_text(entry.data)
        create_issue(
            hass, LINE_CONFLICT, entry.entry_id, device=device, settings=settings
        )
        # `ConfigEntryNotReady` lets Home Assistant retry the set-up, because the user
        # may change the line settings of the other integration.
        raise translated_error(
            ConfigEntryNotReady, "line_settings_in_use", device=device, reason=str(err)
        ) from err
    delete_issues(hass, entry.entry_id, LINE_CONFLICT)
    entry.runtime_data = runtime
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_on_unload(entry.add_update_listener(_async_update))
    entry.async_on_unload(partial(delete_issues, hass, entry.entry_id, *BUS_OFFLINE))
    entry.async_create_background_task(
        hass, runtime.async_poll(), f"{DOMAIN} poller {entry.title}"
    )
    return True


async def _async_update(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Apply changes of the entry and its subentries, with a reload if necessary."""
    if entry.runtime_data.needs_reload:
        hass.config_entries.async_schedule_reload(entry.entry_id)
    else:
        await entry.runtime_data.async_update()


async def async_unload_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> bool:
    """Save the data of the meters, and unload a bus.

    The `modbus` integration closes the connection.
    """
    await entry.runtime_data.async_save()
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Delete the issues of a bus and its meters, and the stored data of the meters."""
    delete_all_issues(hass, entry.entry_id)
    for subentry in meter_subentries(entry):
        delete_all_issues(hass, subentry.subentry_id)
        for store in (counter_store, demand_store, gap_store):
            await store(hass, subentry.subentry_id).async_remove()
        await PartialTariffs(hass, entry, subentry).async_remove()


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> bool:
    """Allow a user to delete a device, unless it is the bus or one of its meters.

    If a meter was replaced by one with another serial number, the device of the old
    meter remains until the user deletes it.
    """
    in_use = {bus_identifier(entry), *map(meter_identifier, meter_subentries(entry))}
    return in_use.isdisjoint(identifier for _, identifier in device.identifiers)
