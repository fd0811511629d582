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
    ModbusTcpParams,
    ModbusTimeoutError,
)

from homeassistant.const import (
    CONF_ADDRESS,
    CONF_DEVICE,
    CONF_HOST,
    CONF_PORT,
    CONF_TYPE,
)
from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_SERIAL_NUMBER,
    CONF_STOPBITS,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)
from .countis import (
    AnotherMeterError,
    Countis,
    CountisError,
    Line,
    NotACountisError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
)

# What belongs to the line, and so to all meters on it.
LINE_SETTINGS = (CONF_BAUDRATE, CONF_PARITY, CONF_STOPBITS)

# Where the line is.
ENDPOINT = (CONF_TYPE, CONF_DEVICE, CONF_HOST, CONF_PORT)

PARITIES: dict[str, Literal["N", "E", "O"]] = {"none": "N", "even": "E", "odd": "O"}

# What every integration takes for a line that is carried as it is over a network.
SOCKET_BAUDRATE = 115_200

# The link's own, for all who share it. A meter's line is more exact, so this one
# only has to be longer than what any answer takes.
REQUEST_TIMEOUT = 2.0

# How long an answer may take to begin, at least, where a network lies in between. A
# gateway waits for a silent meter itself, and says so when it is over.
SHORTEST_WAITS = {SERIAL: None, RTU_OVER_TCP: 0.5, TCP: 1.0}

DATA_LINES: HassKey[WeakValueDictionary[tuple[Any, ...], Line]] = HassKey(
    f"{DOMAIN}_lines"
)

# A port is let go of in the background, a moment after its last user has closed
# it: the config flow before the set-up, or an entry that reloads.
OPEN_ATTEMPTS = 4
OPEN_RETRY_DELAY = 0.25

# An adapter that is unplugged during a request is an error of the operating
# system's, not always told as one of the connection.
LINE_ERRORS = (ModbusError, OSError)

METER_ERRORS: dict[type[CountisError], str] = {
    NotACountisError: "not_a_countis",
    AnotherMeterError: "another_meter",
    ResetError: "reset_failed",
    ResetTariffsError: "tariff_reset_failed",
    SetTariffError: "tariff_not_set",
    SetClockError: "clock_not_set",
}

type EntryData = Mapping[str, Any]


def modbus_params(data: EntryData) -> ModbusSerialParams | ModbusTcpParams:
    """Build the parameters that the line is shared by."""
    if data[CONF_TYPE] == TCP:
        return ModbusTcpParams(host=data[CONF_HOST], port=data[CONF_PORT])
    if data[CONF_TYPE] == RTU_OVER_TCP:
        return ModbusSerialParams(
            device=f"socket://{endpoint_name(data)}", baudrate=SOCKET_BAUDRATE
        )
    return ModbusSerialParams(
        device=data[CONF_DEVICE],
        baudrate=data[CONF_BAUDRATE],
        parity=PARITIES[data[CONF_PARITY]],
        stopbits=data[CONF_STOPBITS],
    )


def endpoint(data: EntryData) -> dict[str, Any]:
    """Return what of an entry says where its line is."""
    return {key: data[key] for key in ENDPOINT if key in data}


def endpoint_name(data: EntryData) -> str:
    """Return the port of the line, or the host and port of its gateway."""
    if data[CONF_TYPE] == SERIAL:
        return str(data[CONF_DEVICE])
    host = data[CONF_HOST].lower()
    # The colons of an address are no separators.
    return f"{f'[{host}]' if ':' in host else host}:{data[CONF_PORT]}"


def shared_line(hass: HomeAssistant, data: EntryData) -> Line:
    """Return the line that all meters at this endpoint with this speed share."""
    lines = hass.data.setdefault(DATA_LINES, WeakValueDictionary())
    place = (modbus_params(data).endpoint, data[CONF_BAUDRATE])
    if (line := lines.get(place)) is None:
        line = lines[place] = Line(
            data[CONF_BAUDRATE], shortest_wait=SHORTEST_WAITS[data[CONF_TYPE]]
        )
    return line


def line_settings(data: EntryData) -> str:
    """Return the line settings as they are commonly written: 9600 baud, 8N1."""
    if data[CONF_TYPE] != SERIAL:
        return f"{data[CONF_BAUDRATE]} baud"
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
        "device": endpoint_name(data),
        "address": str(data[CONF_ADDRESS]),
        "settings": line_settings(data),
        "reason": str(cause) or str(error),
    }


def is_line_down(error: Exception) -> bool:
    """Whether the line itself could not be opened, so that nobody was asked."""
    return isinstance(error, ModbusConnectionError | OSError) and not isinstance(
        error, ModbusTimeoutError
    )


def error_key(data: EntryData, error: CountisError | ModbusError | OSError) -> str:
    """Return the translation key of the text that says what to check."""
    if isinstance(error, CountisError):
        return METER_ERRORS[type(error)]
    behind_gateway = data[CONF_TYPE] != SERIAL
    if isinstance(error, ModbusTimeoutError | GatewayTargetError):
        return "no_answer_behind_gateway" if behind_gateway else "no_answer"
    if is_line_down(error):
        return "cannot_reach_gateway" if behind_gateway else "cannot_open_port"
    return "unusable_answer"
