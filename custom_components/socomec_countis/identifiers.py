"""The identifiers of devices and entities."""

from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigSubentry

from .const import CONF_SERIAL_NUMBER


def bus_identifier(entry: ConfigEntry[Any]) -> str:
    """Return the identifier of the device of a bus: the ID of the entry."""
    return entry.entry_id


def meter_identifier(subentry: ConfigSubentry) -> str:
    """Return the identifier of the device of a meter: the serial number of the meter.

    Without a serial number, the identifier is the ID of the subentry. The unit ID is
    not used, because the entities would lose their history if the unit ID changed.
    """
    identifier: str = subentry.data[CONF_SERIAL_NUMBER] or subentry.subentry_id
    return identifier


def entity_unique_id(subentry: ConfigSubentry, key: str) -> str:
    """Return the unique ID of an entity, from the key of its description."""
    return f"{meter_identifier(subentry)}_{key}"
