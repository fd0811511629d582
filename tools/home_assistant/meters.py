"""Adds meters through the dialogs of the integration."""

from dataclasses import dataclass
from typing import Any

from tools.errors import ToolError
from tools.paths import DOMAIN

from .client import HomeAssistant

BUS_FLOWS = "/api/config/config_entries/flow"
METER_FLOWS = "/api/config/config_entries/subentries/flow"


@dataclass(frozen=True)
class MeterInput:
    """The input of a user in the dialogs that add a bus and a meter."""

    device: str
    """The path of the serial port."""
    unit_id: int
    baudrate: int = 9600
    parity: str = "none"
    stopbits: int = 1

    @property
    def form(self) -> dict[str, Any]:
        """Return the input for the form that adds a bus."""
        return {
            "device": self.device,
            "unit_id": self.unit_id,
            "baudrate": str(self.baudrate),
            "parity": self.parity,
            "stopbits": str(self.stopbits),
        }


async def async_add_meter(hass: HomeAssistant, meter: MeterInput) -> bool:
    """Add a meter, and its bus as well if the bus is not set up.

    If the meter is already set up, change nothing, and return False. If the dialog
    shows an error, raise `ToolError` with its text.
    """
    entries = await hass.command(type="config_entries/get", domain=DOMAIN)
    by_title = {each["title"]: each["entry_id"] for each in entries}
    title = meter.device  # the default title of the bus
    category, prefix = "config", "config"  # of the texts of the dialog
    if title not in by_title:
        result = await _async_submit(
            hass, BUS_FLOWS, DOMAIN, {"next_step_id": "serial"}, meter.form
        )
        if result.get("reason") == "bus_already_configured":
            # A user has changed the title of the bus. Use the new title.
            title = result["description_placeholders"]["name"]
    if title in by_title:
        result = await _async_submit(
            hass, METER_FLOWS, (by_title[title], "meter"), {"unit_id": meter.unit_id}
        )
        category, prefix = "config_subentries", "config_subentries.meter"
    if result["type"] == "create_entry":
        return True
    if result["type"] == "abort":
        key = f"abort.{result['reason']}"
    elif result["type"] == "menu":
        # If a meter does not respond, a menu offers a scan. The step ID of this menu is
        # the name of the error.
        key = f"error.{result['step_id']}"
    else:
        key = f"error.{next(iter(result['errors'].values()))}"
    if key == "error.unit_id_in_use":
        return False
    text = await hass.async_text(category, f"{prefix}.{key}")
    raise ToolError(text.format(**(result["description_placeholders"] or {})))


async def _async_submit(
    hass: HomeAssistant, flows: str, handler: Any, *inputs: dict[str, Any]
) -> dict[str, Any]:
    """Start a flow, submit one input after the other, and return the last result."""
    result: dict[str, Any] = await hass.request(
        "POST", flows, json={"handler": handler}
    )
    for each in inputs:
        if result["type"] == "abort":
            break
        path = f"{flows}/{result['flow_id']}"
        result = await hass.request("POST", path, json=each)
    return result
