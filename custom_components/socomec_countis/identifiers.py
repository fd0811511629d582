"""What devices and entities are known by."""

from homeassistant.config_entries import ConfigEntry

from .const import CONF_SERIAL_NUMBER


def meter_identifier(entry: ConfigEntry) -> str:
    """Return what the device of an entry is known by.

    A meter without a serial number is known by where it is. That may change,
    which must not cost its entities their history.
    """
    identifier: str = entry.data[CONF_SERIAL_NUMBER] or entry.entry_id
    return identifier


def entity_unique_id(entry: ConfigEntry, key: str) -> str:
    """Return what the entity of a quantity or a command is known by."""
    return f"{meter_identifier(entry)}_{key}"
