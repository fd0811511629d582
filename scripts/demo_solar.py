"""The power of an inverter as the Energy dashboard wants it: positive.

A meter tells what is produced as negative. This is the helper that a user would
make in Settings, Devices & services, Helpers.
"""

from typing import Any, Protocol

from .demo_history import Commands

NAME = "Solar power"
PLATFORM = "template"
FLOWS = "/api/config/config_entries/flow"


class Api(Commands, Protocol):
    """Home Assistant's HTTP API as well."""

    async def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send a request and return the answer."""


async def async_solar_power(hass: Api, power: str) -> str:
    """Return the sensor that shows this power the other way round; make it first."""
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
