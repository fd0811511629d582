"""Stored entries of simulated buses, for a Home Assistant that was never started."""

from collections.abc import Mapping
from datetime import UTC, datetime
import json
from pathlib import Path
from typing import Any

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection

from custom_components.socomec_countis.countis import Bus, async_take_profile
from tools.paths import DOMAIN

# The versions of the file core.config_entries in the oldest supported Home Assistant.
STORAGE_VERSIONS = {"version": 1, "minor_version": 5}


def simulated_serial_number(unit_id: int) -> str:
    """Return the serial number that the simulator gives to the meter at a unit ID."""
    return f"14380120{unit_id:05d}"


async def async_bus_entry(
    port: str,
    baudrate: int,
    meter_count: int,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entry of a serial bus, in the form in which Home Assistant stores it.

    Its meters have the unit IDs 1 to `meter_count`. The profile is read from the meter
    with unit ID 1. The others have the same profile, but serial numbers of their own.

    Raises the errors of `async_take_profile`.
    """
    connection = ModbusConnection(ModbusSerialParams(device=port, baudrate=baudrate))
    unit = Bus(baudrate=baudrate).unit(1, connection.for_unit(1))
    profile = (await async_take_profile(unit)).as_dict()
    await connection.close()
    now = datetime.now(UTC).isoformat()
    subentries = []
    for unit_id in range(1, meter_count + 1):
        serial_number = simulated_serial_number(unit_id)
        identity = {**profile["identity"], "serial_order": unit_id}
        subentries.append(
            {
                "data": {
                    "unit_id": unit_id,
                    "serial_number": serial_number,
                    "profile": {**profile, "identity": identity},
                },
                # The IDs of Home Assistant have 26 characters.
                "subentry_id": f"{unit_id:026d}",
                "subentry_type": "meter",
                "title": f"COUNTIS E33 #{unit_id}",
                "unique_id": serial_number,
            }
        )
    return {
        "created_at": now,
        "data": {
            "type": "serial",
            "device": port,
            "baudrate": baudrate,
            "parity": "none",
            "stopbits": 1,
        },
        "disabled_by": None,
        "discovery_keys": {},
        "domain": DOMAIN,
        "entry_id": f"{0:026d}",
        "minor_version": 1,
        "modified_at": now,
        "options": dict(options or {}),
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": subentries,
        "title": port,
        "unique_id": f"serial:{port}",
        "version": 1,
    }


def store_entries(config: Path, *entries: dict[str, Any]) -> None:
    """Store entries in a new configuration folder."""
    (config / ".storage").mkdir(parents=True)
    (config / ".storage/core.config_entries").write_text(
        json.dumps(
            STORAGE_VERSIONS
            | {"key": "core.config_entries", "data": {"entries": entries}}
        )
    )
