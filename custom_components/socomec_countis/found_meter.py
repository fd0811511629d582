"""What a dialog makes of a meter that has answered."""

from collections.abc import Mapping
from typing import Any

from homeassistant.const import CONF_ADDRESS, CONF_TYPE

from .connection import PARITIES, endpoint, endpoint_name
from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_SERIAL_NUMBER,
    CONF_STOPBITS,
    SERIAL,
)
from .countis import FoundMeter, LineSettings


def place(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an entry says where its meter is."""
    return endpoint(data) | {CONF_ADDRESS: data[CONF_ADDRESS]}


def title(model: str, data: Mapping[str, Any]) -> str:
    """Return the name of an entry."""
    return f"{model} #{data[CONF_ADDRESS]}"


def unique_id(serial_number: str | None, data: Mapping[str, Any]) -> str:
    """Return the serial number, or for a meter without one the place it is at."""
    return serial_number or f"{endpoint_name(data)}#{data[CONF_ADDRESS]}"


def settings_data(data: Mapping[str, Any], settings: LineSettings) -> dict[str, Any]:
    """Return a line's settings as an entry stores them."""
    if data[CONF_TYPE] != SERIAL:
        return {CONF_BAUDRATE: settings.baudrate}
    words = {letter: word for word, letter in PARITIES.items()}
    return {
        CONF_BAUDRATE: settings.baudrate,
        CONF_PARITY: words[settings.parity],
        CONF_STOPBITS: settings.stopbits,
    }


def entry_data(line: Mapping[str, Any], meter: FoundMeter) -> dict[str, Any]:
    """Return the data of the entry for a meter that was found on a line."""
    return {
        **endpoint(line),
        **settings_data(line, meter.settings),
        CONF_ADDRESS: meter.address,
        CONF_SERIAL_NUMBER: meter.serial_number,
    }
