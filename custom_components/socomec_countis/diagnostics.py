"""The diagnostics of a bus and of a meter, to be attached to an issue."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.device_registry import DeviceEntry

from .connection import BUS_ERRORS
from .const import CONF_SERIAL_NUMBER, CONF_UNIT_ID, DOMAIN
from .coordinator import CountisCoordinator
from .countis import SERIAL_NUMBER_REGISTERS, Bus, CountisError
from .identifiers import meter_identifier
from .runtime import CountisConfigEntry, meter_subentries

TO_REDACT = {
    CONF_SERIAL_NUMBER,
    "serial_year_week",
    "serial_site_line",
    "serial_order",
    "expected",
    "found",
}
REDACTED_REGISTERS = {str(address) for address in SERIAL_NUMBER_REGISTERS}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> dict[str, Any]:
    """Return the connection, the statistics of the bus and its meters."""
    diagnostics: dict[str, Any] = {
        "entry": dict(entry.data),
        "options": dict(entry.options),
        "meters": [
            async_redact_data(dict(subentry.data), TO_REDACT)
            for subentry in meter_subentries(entry)
        ],
    }
    if entry.state is not ConfigEntryState.LOADED:
        return diagnostics | {
            "setup_error": _error(
                entry.error_reason_translation_key,
                entry.error_reason_translation_placeholders,
            )
        }
    return diagnostics | {"bus": _bus(entry.runtime_data.bus)}


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> dict[str, Any]:
    """Return a meter: its profile, its registers as read now, and its values."""
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    if entry.state is not ConfigEntryState.LOADED:
        return diagnostics
    for coordinator in entry.runtime_data.coordinators.values():
        if (DOMAIN, meter_identifier(coordinator.subentry)) in device.identifiers:
            return {
                "entry": diagnostics["entry"],
                "meter": await _async_meter(coordinator),
                "bus": diagnostics["bus"],
            }
    # The device of a meter that was exchanged for another one.
    return diagnostics


async def _async_meter(coordinator: CountisCoordinator) -> dict[str, Any]:
    meter = coordinator.meter
    registers: Mapping[int, int] = {}
    read_error = None
    try:
        registers = await meter.async_read_registers()
    except (CountisError, *BUS_ERRORS) as err:
        read_error = str(err)
    profile = meter.profile.as_dict()
    last_error = None
    if isinstance(error := coordinator.last_exception, HomeAssistantError):
        last_error = _error(error.translation_key, error.translation_placeholders)
    return {
        CONF_UNIT_ID: meter.unit_id,
        "model": meter.profile.model,
        "software_version": meter.profile.software_version,
        "profile": profile
        | {"identity": async_redact_data(profile["identity"], TO_REDACT)},
        "amperes": meter.counters.limits.amperes,
        "counters": meter.counters.as_dict(),
        "online": coordinator.online,
        "last_error": last_error,
        "values": coordinator.data,
        "registers": async_redact_data(
            {str(address): word for address, word in registers.items()},
            REDACTED_REGISTERS,
        ),
        "read_error": read_error,
    }


def _error(key: str | None, placeholders: Mapping[str, str] | None) -> dict[str, Any]:
    """Return an error without the serial numbers that its text contains."""
    return {
        "key": key,
        "placeholders": async_redact_data(dict(placeholders or {}), TO_REDACT),
    }


def _bus(bus: Bus) -> dict[str, Any]:
    """Return the statistics of a bus; parts are parts of its time."""
    seconds = max(bus.seconds, 1)
    return {
        "seconds": round(bus.seconds),
        "answering_delay": round(bus.delay, 4),
        "used": round(bus.used_seconds / seconds, 4),
        "traffic": {
            str(unit_id): asdict(traffic)
            | {"used": round(traffic.seconds / seconds, 4)}
            for unit_id, traffic in sorted(bus.traffic.items())
        },
    }
