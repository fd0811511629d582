"""The state of the meters and their buses, for the system health of Home Assistant."""

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN
from .runtime import CountisConfigEntry


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register the information."""
    register.async_register_info(async_info)


async def async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return the number of meters and buses, and the rate of their errors."""
    entries: list[CountisConfigEntry] = [
        entry
        for entry in hass.config_entries.async_entries(DOMAIN)
        if entry.state is ConfigEntryState.LOADED
    ]
    coordinators = [
        coordinator
        for entry in entries
        for coordinator in entry.runtime_data.coordinators.values()
    ]
    traffic = [
        each for entry in entries for each in entry.runtime_data.bus.traffic.values()
    ]
    requests = sum(each.requests for each in traffic)
    errors = sum(each.errors for each in traffic)
    return {
        "meters": len(coordinators),
        "online": sum(coordinator.online for coordinator in coordinators),
        "buses": len(entries),
        "error_rate": f"{errors / requests:.2%}" if requests else "-",
    }
