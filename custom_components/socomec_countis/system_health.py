"""The information of the integration in the system health of Home Assistant."""

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN
from .runtime import CountisConfigEntry


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register the function that returns the information."""
    register.async_register_info(async_info)


async def async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return the numbers of meters, online meters and buses, and the error rate.

    The error rate is the share of requests without a usable response. A request that
    failed because there was no connection does not count as an error.
    """
    entries: list[CountisConfigEntry]
    entries = hass.config_entries.async_loaded_entries(DOMAIN)
    runtimes = [entry.runtime_data for entry in entries]
    meters = [each for runtime in runtimes for each in runtime.coordinators.values()]
    traffic = [each for runtime in runtimes for each in runtime.bus.traffic.values()]
    requests = sum(each.requests for each in traffic)
    errors = sum(each.errors for each in traffic)
    return {
        "meters": len(meters),
        "online": sum(each.online for each in meters),
        "buses": len(entries),
        "error_rate": f"{errors / requests:.2%}" if requests else "-",
    }
