"""The diagnostics of a bus and of a meter, which users attach to a bug report."""

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

# The keys of serial numbers, and of registers that contain a part of a serial number.
# The placeholders "expected" and "found" of an error (`describe_error`) contain serial
# numbers.
TO_REDACT = {
    CONF_SERIAL_NUMBER,
    "serial_year_week",
    "serial_site_line",
    "serial_order",
    "expected",
    "found",
    *map(str, SERIAL_NUMBER_REGISTERS),
}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> dict[str, Any]:
    """Return the diagnostics of a bus: its connection and its meters.

    If the bus is loaded, the diagnostics also contain its statistics. Otherwise, they
    contain its set-up error.
    """
    diagnostics: dict[str, Any] = {
        "entry": entry.data,
        "options": entry.options,
        "meters": [subentry.data for subentry in meter_subentries(entry)],
    }
    if entry.state is ConfigEntryState.LOADED:
        diagnostics["bus"] = _bus_statistics(entry.runtime_data.bus)
    else:
        diagnostics["setup_error"] = {
            "key": entry.error_reason_translation_key,
            "placeholders": entry.error_reason_translation_placeholders or {},
        }
    return async_redact_data(diagnostics, TO_REDACT)


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: CountisConfigEntry, device: DeviceEntry
) -> dict[str, Any]:
    """Return the diagnostics of a device: a meter with its bus, or only the bus.

    For a meter, its registers are read now. If the bus is not loaded, or if another
    meter has replaced the meter of the device, the diagnostics are those of the bus.
    """
    diagnostics = await async_get_config_entry_diagnostics(hass, entry)
    if entry.state is ConfigEntryState.LOADED:
        for coordinator in entry.runtime_data.coordinators.values():
            if (DOMAIN, meter_identifier(coordinator.subentry)) in device.identifiers:
                meter = await _async_meter_diagnostics(coordinator)
                del diagnostics["meters"]
                diagnostics["meter"] = async_redact_data(meter, TO_REDACT)
    return diagnostics


async def _async_meter_diagnostics(coordinator: CountisCoordinator) -> dict[str, Any]:
    """Return the profile, the values and the registers of a meter."""
    meter = coordinator.meter
    reset = coordinator.partial_tariffs.reset
    registers: Mapping[int, int] = {}
    read_error = last_error = None
    try:
        registers = await meter.async_read_registers()
    except (CountisError, *BUS_ERRORS) as err:
        read_error = str(err)
    if isinstance(error := coordinator.last_exception, HomeAssistantError):
        last_error = {
            "key": error.translation_key,
            "placeholders": error.translation_placeholders,
        }
    return {
        CONF_UNIT_ID: meter.unit_id,
        "model": meter.profile.model,
        "software_version": meter.profile.software_version,
        "profile": meter.profile.as_dict(),
        "amperes": meter.counter_check.limits.amperes,
        "counters": meter.counter_check.as_dict(),
        "partial_reset": reset and reset.as_dict(),
        "demand": coordinator.meter_demand.demand.as_dict(),
        "online": coordinator.online,
        "last_error": last_error,
        "values": coordinator.data,
        "gaps": [gap.as_dict() for gap in coordinator.meter_gaps.gaps],
        "load_curve": coordinator.meter_gaps.load_curve_findings,
        "registers": {str(address): word for address, word in registers.items()},
        "read_error": read_error,
    }


def _bus_statistics(bus: Bus) -> dict[str, Any]:
    """Return the statistics of a bus.

    All times are in s. `seconds` is the time that the statistics cover. Within
    `traffic`, `seconds` is the duration of all transactions of a unit ID. `used` is the
    duration of the transactions of the bus or the unit ID, as a fraction (0 to 1) of
    the time that the statistics cover.
    """
    seconds = max(bus.seconds_since_creation, 1)
    return {
        "seconds": round(bus.seconds_since_creation),
        "response_delay": round(bus.delay, 4),
        "used": round(bus.used_seconds / seconds, 4),
        "traffic": {
            str(unit_id): asdict(traffic)
            | {"used": round(traffic.seconds / seconds, 4)}
            for unit_id, traffic in sorted(bus.traffic.items())
        },
    }
