"""How the meters and their lines are, in Home Assistant's system health."""

from typing import Any

from homeassistant.components.system_health import SystemHealthRegistration
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback

from .const import DOMAIN
from .coordinator import CountisConfigEntry


@callback
def async_register(hass: HomeAssistant, register: SystemHealthRegistration) -> None:
    """Register what is shown."""
    register.async_register_info(async_info)


async def async_info(hass: HomeAssistant) -> dict[str, Any]:
    """Return how many meters and lines there are, and what goes wrong on them."""
    entries: list[CountisConfigEntry] = [
        entry
        for entry in hass.config_entries.async_entries(DOMAIN)
        if entry.state is ConfigEntryState.LOADED
    ]
    meters = [entry.runtime_data.meter for entry in entries]
    lines = {meter.line for meter in meters}
    traffic = [meter.line.traffic[meter.address] for meter in meters]
    requests = sum(each.requests for each in traffic)
    errors = sum(each.errors for each in traffic)
    return {
        "meters": len(meters),
        "answering": sum(meter in meter.line.meters for meter in meters),
        "lines": len(lines),
        "error_rate": f"{errors / requests:.2%}" if requests else "-",
    }
