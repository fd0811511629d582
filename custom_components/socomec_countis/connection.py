"""The line that a config entry describes, and what to tell when it fails."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from weakref import WeakValueDictionary

from modbus_connection import (
    GatewayTargetError,
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTimeoutError,
)

from homeassistant.const import CONF_ADDRESS, CONF_DEVICE
from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_SERIAL_NUMBER,
    CONF_STOPBITS,
    DOMAIN,
)
from .countis import (
    AnotherMeterError,
    Countis,
    CountisError,
    Line,
    NotACountisError,
    ResetError,
)

LINE_SETTINGS = (CONF_BAUDRATE, CONF_PARITY, CONF_STOPBITS)

PARITIES: dict[str, Literal["N", "E", "O"]] = {"none": "N", "even": "E", "odd": "O"}

# The link's own, for all who share it. A meter's line is more exact, so this one
# only has to be longer than what any answer takes.
REQUEST_TIMEOUT = 2.0

DATA_LINES: HassKey[WeakValueDictionary[tuple[str, int], Line]] = HassKey(
    f"{DOMAIN}_lines"
)

# A port is let go of in the background, a moment after its last user has closed
# it: the config flow before the set-up, or an entry that reloads.
OPEN_ATTEMPTS = 4
OPEN_RETRY_DELAY = 0.25

# An adapter that is unplugged during a request is an error of the operating
# system's, not always told as one of the connection.
LINE_ERRORS = (ModbusError, OSError)

type EntryData = Mapping[str, Any]


def serial_params(data: EntryData) -> ModbusSerialParams:
    """Build the parameters that the line is shared by."""
    return ModbusSerialParams(
        device=data[CONF_DEVICE],
        baudrate=data[CONF_BAUDRATE],
        parity=PARITIES[data[CONF_PARITY]],
        stopbits=data[CONF_STOPBITS],
    )


def shared_line(hass: HomeAssistant, data: EntryData) -> Line:
    """Return the line that all meters with this port and speed share."""
    lines = hass.data.setdefault(DATA_LINES, WeakValueDictionary())
    place = (data[CONF_DEVICE], data[CONF_BAUDRATE])
    if (line := lines.get(place)) is None:
        line = lines[place] = Line(data[CONF_BAUDRATE])
    return line


def line_settings(data: EntryData) -> str:
    """Return the line settings as they are commonly written: 9600 baud, 8N1."""
    parity = PARITIES[data[CONF_PARITY]]
    return f"{data[CONF_BAUDRATE]} baud, 8{parity}{data[CONF_STOPBITS]}"


async def async_identify(meter: Countis) -> None:
    """Set the meter up, waiting for the port where it has just been in use.

    Raises `NotACountisError`, `AnotherMeterError` or `ModbusError`.
    """
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return await meter.async_ensure_identity()
        except ModbusConnectionError:
            await asyncio.sleep(OPEN_RETRY_DELAY)
    return await meter.async_ensure_identity()


def error_placeholders(data: EntryData, error: Exception) -> dict[str, str]:
    """Return what the texts for `error_key` name."""
    if isinstance(error, AnotherMeterError):
        return {"expected": data[CONF_SERIAL_NUMBER], "found": error.found}
    cause: BaseException = error
    # Only the operating system's own error says why a port does not open.
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    return {
        "device": data[CONF_DEVICE],
        "address": str(data[CONF_ADDRESS]),
        "settings": line_settings(data),
        "reason": str(cause) or str(error),
    }


def error_key(error: CountisError | ModbusError | OSError) -> str:
    """Return the translation key of the text that says what to check."""
    match error:
        case NotACountisError():
            return "not_a_countis"
        case AnotherMeterError():
            return "another_meter"
        case ResetError():
            return "reset_failed"
        case ModbusTimeoutError() | GatewayTargetError():
            return "no_answer"
        case ModbusConnectionError() | OSError():
            return "cannot_open_port"
        case _:
            return "unusable_answer"
