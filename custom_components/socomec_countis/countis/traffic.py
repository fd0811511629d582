"""Counts the requests to one unit ID, and their errors."""

from dataclasses import dataclass

from modbus_connection import (
    GatewayPathUnavailableError,
    GatewayTargetError,
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)


@dataclass
class Traffic:
    """The requests to one unit ID since the bus was created, and their outcome."""

    requests: int = 0
    retries: int = 0
    """Immediate retries of reads whose response was lost or damaged."""
    timeouts: int = 0
    damaged: int = 0
    """Responses with a wrong CRC, length, function or unit ID."""
    refused: int = 0
    """Modbus exceptions of the meter."""
    seconds: float = 0
    """Duration of all transactions in s."""

    @property
    def errors(self) -> int:
        """Return the number of requests without a usable response.

        Cancelled requests, and requests that failed without a connection, are not
        included.
        """
        return self.timeouts + self.damaged + self.refused

    def count(self, err: Exception, *, connected: bool) -> ModbusError:
        """Count an error of a client, and return the `ModbusError` to raise for it.

        A lost connection is not counted, because it concerns all unit IDs.

        `connected` is whether the client is connected after the error.
        """
        if isinstance(err, GatewayPathUnavailableError | GatewayTargetError):
            err = ModbusTimeoutError(str(err))  # the meter did not respond
        if isinstance(err, ModbusExceptionError):
            self.refused += 1
            return err
        if isinstance(err, ModbusTimeoutError) and connected:
            self.timeouts += 1
            return err
        if isinstance(err, ModbusConnectionError):
            return err
        if isinstance(err, ModbusProtocolError):
            self.damaged += 1
            return err
        # OSError includes a timeout of a client that is not connected, because
        # `ModbusTimeoutError` is a subclass.
        if isinstance(err, OSError) or not connected:
            return ModbusConnectionError(str(err))
        # If a client does not check whether a response belongs to the request, it may
        # raise any exception for a wrong response.
        self.damaged += 1
        return ModbusProtocolError(str(err))
