"""The bus that an entry describes, and the texts for its errors."""

from collections.abc import Mapping
from typing import Any, Literal

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
)

from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT, CONF_TYPE
from homeassistant.exceptions import HomeAssistantError

from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_STOPBITS,
    DOMAIN,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)
from .countis import (
    AnotherMeterError,
    Bus,
    LineSettings,
    NotACountisError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
)
from .countis.errors import EchoError

PARITIES: dict[str, Literal["N", "E", "O"]] = {"none": "N", "even": "E", "odd": "O"}

# Every integration passes this speed for RTU over TCP, which has none of its own.
SOCKET_BAUDRATE = 115_200

# s; the timeout of the connection, for all integrations that share it. It bounds the
# opening of a port (tmodbus has 10 s of its own for Modbus TCP). The bus has a shorter
# timeout for each response.
CONNECTION_TIMEOUT = 5.0

# s until a response begins, where it takes longer than on a serial port: a network
# lies in between. A Modbus TCP gateway waits itself, and reports a lost response.
RESPONSE_TIMEOUTS = {RTU_OVER_TCP: 0.5, TCP: 1.5}

BUS_ERRORS = (ModbusError, OSError)

# The first class that fits an error decides which text says what to check.
ERROR_KEYS: dict[type[Exception], str] = {
    NotACountisError: "not_a_countis",
    AnotherMeterError: "another_meter",
    ResetError: "reset_failed",
    ResetTariffsError: "tariff_reset_failed",
    SetTariffError: "tariff_not_set",
    SetClockError: "clock_not_set",
    EchoError: "adapter_echoes",
    ModbusTimeoutError: "no_response",
    ModbusConnectionError: "cannot_open_port",
    ModbusError: "invalid_response",
    OSError: "cannot_open_port",
}
GATEWAY_KEYS = {
    "no_response": "no_response_behind_gateway",
    "cannot_open_port": "cannot_reach_gateway",
}

type BusData = Mapping[str, Any]
"""The data of an entry: the connection to a bus, and its line settings."""


def modbus_params(data: BusData) -> ModbusSerialParams | ModbusTcpParams:
    """Return the parameters by which the connection is shared."""
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


def create_bus(data: BusData) -> Bus:
    """Return the bus at the end of a connection."""
    return Bus(
        baudrate=data[CONF_BAUDRATE],
        framing="tcp" if data[CONF_TYPE] == TCP else "rtu",
        response_timeout=RESPONSE_TIMEOUTS.get(data[CONF_TYPE]),
    )


def bus_unique_id(data: BusData) -> str:
    """Return the endpoint of the connection, which no two buses share."""
    return ":".join(map(str, modbus_params(data).endpoint))


def endpoint_name(data: BusData) -> str:
    """Return the serial port, or the host and port of the gateway."""
    if data[CONF_TYPE] == SERIAL:
        return str(data[CONF_DEVICE])
    host = data[CONF_HOST].lower()
    # The colons of an IPv6 address are no separators.
    return f"{f'[{host}]' if ':' in host else host}:{data[CONF_PORT]}"


def settings_data(data: BusData, settings: LineSettings) -> dict[str, Any]:
    """Return line settings as the data of an entry contains them."""
    if data[CONF_TYPE] != SERIAL:
        return {CONF_BAUDRATE: settings.baudrate}
    words = {letter: word for word, letter in PARITIES.items()}
    return {
        CONF_BAUDRATE: settings.baudrate,
        CONF_PARITY: words[settings.parity],
        CONF_STOPBITS: settings.stopbits,
    }


def line_settings(data: BusData) -> str:
    """Return the line settings as they are commonly written: 9600 baud, 8N1."""
    speed = data[CONF_BAUDRATE]
    if data[CONF_TYPE] != SERIAL:
        return f"{speed} baud"
    return str(LineSettings(speed, PARITIES[data[CONF_PARITY]], data[CONF_STOPBITS]))


def error_key(data: BusData, error: Exception) -> str:
    """Return the translation key of the text that says what to check."""
    key = next(key for kind, key in ERROR_KEYS.items() if isinstance(error, kind))
    return key if data[CONF_TYPE] == SERIAL else GATEWAY_KEYS.get(key, key)


def error_placeholders(
    data: BusData, unit_id: int, error: Exception, serial_number: str | None = None
) -> dict[str, str]:
    """Return the placeholders of the text for `error_key`.

    `serial_number` is that of the meter that was expected.
    """
    if isinstance(error, AnotherMeterError):
        return {
            "unit_id": str(unit_id),
            "expected": serial_number or "?",
            "found": error.found,
        }
    cause: BaseException = error
    # Only the error of the operating system says why a port does not open. An error
    # that was raised "from None" says more than what it hides.
    while deeper := cause.__cause__ or (
        None if cause.__suppress_context__ else cause.__context__
    ):
        cause = deeper
    return {
        "device": endpoint_name(data),
        "unit_id": str(unit_id),
        "settings": line_settings(data),
        "reason": str(cause) or str(error),
    }


def translated[E: HomeAssistantError](
    kind: type[E],
    data: BusData,
    unit_id: int,
    error: Exception,
    *,
    name: str,
    serial_number: str | None = None,
) -> E:
    """Return an error of the bus as a translated error of Home Assistant."""
    placeholders = error_placeholders(data, unit_id, error, serial_number)
    return kind(
        translation_domain=DOMAIN,
        translation_key=error_key(data, error),
        translation_placeholders={"name": name, **placeholders},
    )
