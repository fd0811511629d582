"""What a user can download and attach to an issue."""

from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .connection import LINE_ERRORS
from .const import CONF_SERIAL_NUMBER
from .coordinator import CountisConfigEntry
from .countis import SERIAL_NUMBER_REGISTERS

TO_REDACT = {CONF_SERIAL_NUMBER}
REDACTED_REGISTERS = {str(address) for address in SERIAL_NUMBER_REGISTERS}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> dict[str, Any]:
    """Return the line, what the meter is, its registers and what was read of them."""
    coordinator = entry.runtime_data
    meter = coordinator.meter
    registers: dict[int, int] = {}
    read_error = None
    try:
        registers = await meter.async_read_registers()
    except LINE_ERRORS as err:
        read_error = str(err)
    return {
        "entry": async_redact_data(dict(entry.data), TO_REDACT),
        "meter": {
            "model": meter.model,
            "software_version": meter.software_version,
            "identity": async_redact_data(
                meter.identity.values if meter.identity else {},
                {"serial_year_week", "serial_site_line", "serial_order"},
            ),
            "variants": meter.variants,
        },
        "last_poll": {
            "success": coordinator.last_update_success,
            "error": str(coordinator.last_exception or ""),
            "values": coordinator.data,
        },
        "registers": async_redact_data(
            {str(address): word for address, word in registers.items()},
            REDACTED_REGISTERS,
        ),
        "read_error": read_error,
    }
