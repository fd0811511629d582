"""The connection to the bus of an entry, and the texts for its errors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
    ModbusUnit,
)

from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT, CONF_TYPE
from homeassistant.core import HomeAssistant

from .const import CONF_BAUDRATE, CONF_PARITY, CONF_STOPBITS, RTU_OVER_TCP, SERIAL, TCP
from .countis import (
    AnotherMeterError,
    Bus,
    CommandError,
    LineSettings,
    NotACountisError,
    Profile,
    async_take_profile,
)
from .countis.errors import EchoError
from .system_errors import GATEWAY_KEYS, PORT_KEYS, error_number, reason

PARITIES: dict[str, Literal["N", "E", "O"]] = {"none": "N", "even": "E", "odd": "O"}

# baud; a socket ignores the speed, but integrations share a connection only if all of
# them pass the same speed. The `modbus` integration passes this speed.
SOCKET_BAUDRATE = 115_200

# In s; the client's timeout to open a port or an RTU-over-TCP gateway, and its timeout
# for each response. `Bus` has its own, usually shorter, timeout for a response. If
# another integration shares the connection and requires a longer timeout, the client
# uses the longer one. To open a Modbus TCP gateway, the timeout is 10 s, the default of
# the Modbus client tmodbus.
CONNECTION_TIMEOUT = 5.0

# s, by connection type: the time in which a response has to begin. On a slow bus or for
# a slow meter, `Bus` may wait longer. For a serial port, `Bus` has a default. Our
# choice: longer than this default, because the network adds a delay, and a Modbus TCP
# gateway reports a lost response only after the gateway's own timeout.
RESPONSE_TIMEOUTS = {RTU_OVER_TCP: 0.5, TCP: 1.5}

BUS_ERRORS = (ModbusError, OSError)

# The translation keys of the texts for errors. The first class that matches selects the
# text, so a subclass is before its base class.
ERROR_KEYS: dict[type[Exception], str] = {
    NotACountisError: "not_a_countis",
    AnotherMeterError: "another_meter",
    EchoError: "adapter_echoes",
    ModbusTimeoutError: "no_response",
    ModbusConnectionError: "cannot_open_port",
    ModbusError: "invalid_response",
    OSError: "cannot_open_port",
}
# For a bus behind a gateway: the key that replaces a key of `ERROR_KEYS`.
KEYS_BEHIND_GATEWAY = {
    "no_response": "no_response_behind_gateway",
    "cannot_open_port": "cannot_reach_gateway",
}

type BusData = Mapping[str, Any]
"""The data of an entry: the connection to a bus, and its line settings."""


def modbus_params(data: BusData) -> ModbusSerialParams | ModbusTcpParams:
    """Return the parameters of the connection.

    Clients with equal parameters share one connection.
    """
    if data[CONF_TYPE] == SERIAL:
        return ModbusSerialParams(
            device=data[CONF_DEVICE],
            baudrate=data[CONF_BAUDRATE],
            parity=PARITIES[data[CONF_PARITY]],
            stopbits=data[CONF_STOPBITS],
        )
    if data[CONF_TYPE] == TCP:
        return ModbusTcpParams(host=data[CONF_HOST], port=data[CONF_PORT])
    return ModbusSerialParams(
        device=f"socket://{endpoint_name(data)}", baudrate=SOCKET_BAUDRATE
    )


@asynccontextmanager
async def temporary_client(
    hass: HomeAssistant, data: BusData, unit_id: int
) -> AsyncIterator[ModbusUnit]:
    """Hold the connection for the context, and yield the client of a unit ID.

    The first request opens the port or gateway, if it is not open yet. Raises
    `HomeAssistantError` if the port is in use with other line settings.
    """
    async with async_get_temporary_unit(hass, modbus_params(data), unit_id) as client:
        client.require_timeout(CONNECTION_TIMEOUT)
        yield client


async def async_profile_at(
    hass: HomeAssistant, data: BusData, bus: Bus, unit_id: int, expected: str | None
) -> Profile:
    """Return a new profile of the meter at a unit ID: what the meter supports.

    If `expected` is not None, the meter must have this serial number. Raises the same
    errors as `temporary_client` and `async_take_profile`.
    """
    async with temporary_client(hass, data, unit_id) as client:
        # The meter may respond slowly, so the timeouts are longer (`slow`).
        unit = bus.unit(unit_id, client, slow=True)
        return await async_take_profile(unit, expected=expected)


def create_bus(data: BusData) -> Bus:
    """Return the bus behind the connection, without opening the connection."""
    return Bus(
        baudrate=data[CONF_BAUDRATE],
        framing="tcp" if data[CONF_TYPE] == TCP else "rtu",
        response_timeout=RESPONSE_TIMEOUTS.get(data[CONF_TYPE]),
    )


def bus_unique_id(data: BusData) -> str:
    """Return the unique ID of a bus: the endpoint of its connection."""
    return ":".join(map(str, modbus_params(data).endpoint))


def endpoint_name(data: BusData) -> str:
    """Return the serial port, or the host and port of the gateway."""
    if data[CONF_TYPE] == SERIAL:
        return str(data[CONF_DEVICE])
    host = data[CONF_HOST].lower()
    # An IPv6 address contains colons, so brackets separate it from the port.
    return f"{f'[{host}]' if ':' in host else host}:{data[CONF_PORT]}"


def settings_data(data: BusData, settings: LineSettings) -> dict[str, Any]:
    """Return line settings in the form in which an entry stores them.

    `data` contains the connection type. Behind a gateway, only the speed is stored,
    because the gateway sets the parity and stop bits.
    """
    if data[CONF_TYPE] != SERIAL:
        return {CONF_BAUDRATE: settings.baudrate}
    words = {letter: word for word, letter in PARITIES.items()}
    return {
        CONF_BAUDRATE: settings.baudrate,
        CONF_PARITY: words[settings.parity],
        CONF_STOPBITS: settings.stopbits,
    }


def line_settings_text(data: BusData) -> str:
    """Return the line settings as text, such as "9600 baud, 8N1"."""
    speed = data[CONF_BAUDRATE]
    if data[CONF_TYPE] != SERIAL:
        return f"{speed} baud"
    return str(LineSettings(speed, PARITIES[data[CONF_PARITY]], data[CONF_STOPBITS]))


def describe_error(
    data: BusData, unit_id: int, error: Exception, serial_number: str | None = None
) -> tuple[str, dict[str, str]]:
    """Return the translation key and the placeholders of the text for an error.

    `serial_number` is the serial number of the expected meter.
    """
    if isinstance(error, CommandError):
        key = error.key
    else:
        key = next(key for kind, key in ERROR_KEYS.items() if isinstance(error, kind))
    is_serial = data[CONF_TYPE] == SERIAL
    if key == "cannot_open_port":
        keys = PORT_KEYS if is_serial else GATEWAY_KEYS
        key = keys.get(error_number(error), key)
    if not is_serial:
        key = KEYS_BEHIND_GATEWAY.get(key, key)
    placeholders = {
        "device": endpoint_name(data),
        "unit_id": str(unit_id),
        "settings": line_settings_text(data),
    }
    if isinstance(error, AnotherMeterError):
        # The text contains two serial numbers instead of a reason. Each is a separate
        # placeholder, because diagnostics redact placeholders by their names.
        identity = {"expected": serial_number or "?", "found": error.found}
        return key, placeholders | identity
    return key, placeholders | {"reason": reason(error)}
