"""What a user can download and attach to an issue."""

from dataclasses import asdict
from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant

from .connection import LINE_ERRORS
from .const import CONF_SERIAL_NUMBER
from .coordinator import CountisConfigEntry
from .countis import SERIAL_NUMBER_REGISTERS, Line

TO_REDACT = {CONF_SERIAL_NUMBER}
SERIAL_NUMBER_PLACEHOLDERS = {"expected", "found"}
REDACTED_REGISTERS = {str(address) for address in SERIAL_NUMBER_REGISTERS}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> dict[str, Any]:
    """Return the line, what the meter is, its registers and what was read of them.

    Of an entry that is not set up, the line and the reason.
    """
    data = async_redact_data(dict(entry.data), TO_REDACT)
    if entry.state is not ConfigEntryState.LOADED:
        placeholders = entry.error_reason_translation_placeholders or {}
        return {
            "entry": data,
            "setup_error": {
                "key": entry.error_reason_translation_key,
                "placeholders": async_redact_data(
                    dict(placeholders), SERIAL_NUMBER_PLACEHOLDERS
                ),
            },
        }
    coordinator = entry.runtime_data
    meter = coordinator.meter
    registers: dict[int, int] = {}
    read_error = None
    try:
        registers = await meter.async_read_registers()
    except LINE_ERRORS as err:
        read_error = str(err)
    return {
        "entry": data,
        "meter": {
            "model": meter.model,
            "software_version": meter.software_version,
            "identity": async_redact_data(
                meter.identity,
                {"serial_year_week", "serial_site_line", "serial_order"},
            ),
            "variants": meter.variants,
            "amperes": meter.guard.limits.amperes,
            "counters": meter.guard.saved(),
        },
        "line": {
            "meters": len(meter.line.meters),
            "seconds": round(meter.line.seconds),
            "answering_delay": round(meter.line.delay, 4),
            "used": _share(meter.line, meter.line.used_seconds),
            "traffic": {
                str(address): asdict(traffic)
                | {"used": _share(meter.line, traffic.seconds)}
                for address, traffic in sorted(meter.line.traffic.items())
            },
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


def _share(line: Line, seconds: float) -> float:
    """Return which part of the line's time so many seconds are."""
    return round(seconds / max(line.seconds, 1), 4)
