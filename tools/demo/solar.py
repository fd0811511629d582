"""A template helper that changes the sign of an inverter's power.

A meter measures exported power as negative. The Energy dashboard needs a positive
power. A user creates such a helper in Settings, Devices & services, Helpers.
"""

from typing import Any, Protocol

from .history import Commands

NAME = "Solar power"
PLATFORM = "template"
FLOWS = "/api/config/config_entries/flow"


class Api(Commands, Protocol):
    """A client of Home Assistant's WebSocket and HTTP API."""

    async def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Return the JSON response to an HTTP request."""


async def async_solar_power(hass: Api, power: str) -> str:
    """Return the entity ID of the helper. Create the helper if it is missing.

    `power` is the entity ID of the power of the inverter.
    """
    if not (found := await _async_found(hass)):
        flow = await hass.request("POST", FLOWS, json={"handler": PLATFORM})
        path = f"{FLOWS}/{flow['flow_id']}"
        await hass.request("POST", path, json={"next_step_id": "sensor"})
        await hass.request(
            "POST",
            path,
            json={
                "name": NAME,
                "state": f"{{{{ 0 - states('{power}') | float }}}}",
                "unit_of_measurement": "W",
                "device_class": "power",
                "state_class": "measurement",
                "additional_options": {
                    "availability": f"{{{{ has_value('{power}') }}}}"
                },
            },
        )
        found = await _async_found(hass)
    return found[0]


async def _async_found(hass: Api) -> list[str]:
    registry = await hass.command(type="config/entity_registry/list")
    return [
        entry["entity_id"]
        for entry in registry
        if entry["platform"] == PLATFORM and entry["original_name"] == NAME
    ]
