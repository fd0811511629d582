"""The ways to a line: a serial port, a Modbus TCP gateway, RTU over TCP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
import errno
import logging
import os
from pathlib import Path
import re
from typing import Literal, override

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusUnit,
)
from modbus_connection.pymodbus import ModbusConnection

from .library import countis

# Longer than any wait of the library, which knows better; and how long a gateway
# that cannot be reached is tried.
REQUEST_TIMEOUT = 5.0

# A port, and a gateway for one client, are let go of a moment after they were closed.
OPEN_ATTEMPTS = 3
OPEN_RETRY_DELAY = 0.25

# What is passed through a network, and collected into packets, arrives later.
NETWORK_WAIT = 0.4

PSEUDO_TERMINALS = "/dev/pts"

# What a port says that cannot be set as it should, where there is such an error.
PORT_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError)
with suppress(ImportError):
    import termios

    PORT_ERRORS += (termios.error,)
OPEN_ERRORS: tuple[type[Exception], ...] = (ModbusError, *PORT_ERRORS)

# [Errno 2] No such file or directory, and (25, 'Inappropriate ioctl for device')
REASON = re.compile(r"(?:\[Errno (-?\d+)\] |\((\d+), ')([^:\[']*)")
NOT_THERE = "it does not answer"

type Params = ModbusSerialParams | ModbusTcpParams


class CannotOpenError(ModbusConnectionError):
    """The line cannot be opened; `number` is the operating system's reason."""

    def __init__(self, reason: str, number: int | None) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.number = number


@dataclass(frozen=True)
class Link:
    """A serial port."""

    place: str
    """The port, or host and port, as entered."""
    what = "port"
    option = "--port"
    has_settings = True
    """Whether the line's format is ours to choose."""
    wait = countis.LINE_WAIT
    """How long an answer may take to begin."""

    def params(self, settings: countis.LineSettings) -> Params:
        """Return what the connection is made with."""
        return ModbusSerialParams(
            device=self.place,
            baudrate=settings.baudrate,
            parity=self._parity(settings),
            stopbits=settings.stopbits,
        )

    def _parity(self, settings: countis.LineSettings) -> Literal["N", "E", "O"]:
        """Return none for a pseudo-terminal, which carries whole characters.

        Asked for one, it refuses; the real line is somewhere behind it.
        """
        is_pseudo = Path(self.place).resolve().is_relative_to(PSEUDO_TERMINALS)
        return "N" if is_pseudo else settings.parity

    @asynccontextmanager
    async def open(
        self, settings: countis.LineSettings, delay: float | None = None
    ) -> AsyncIterator[countis.OpenLine]:
        """Open the line; `delay` is what a meter takes to answer, if not the usual.

        Raises `CannotOpenError`.
        """
        connection = ModbusConnection(self.params(settings), timeout=REQUEST_TIMEOUT)
        try:
            # Before the first request, whose time it would be taken from.
            await _async_connect(connection)
            line = countis.Line(settings.baudrate)
            if delay is not None:
                line.delay = delay

            @asynccontextmanager
            async def unit(address: int) -> AsyncIterator[ModbusUnit]:
                yield connection.for_unit(address)

            yield countis.OpenLine(line, unit)
        finally:
            with suppress(ModbusError, OSError):
                await connection.close()


@dataclass(frozen=True)
class RtuOverTcp(Link):
    """A gateway that passes on what it gets."""

    host: str
    port: int
    what = "gateway"
    option = "--rtu-over-tcp"
    has_settings = False
    wait = NETWORK_WAIT

    @override
    def params(self, settings: countis.LineSettings) -> Params:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return ModbusSerialParams(device=f"socket://{host}:{self.port}")


@dataclass(frozen=True)
class Tcp(Link):
    """A gateway that speaks Modbus TCP."""

    host: str
    port: int
    what = "gateway"
    option = "--tcp"
    has_settings = False
    wait = countis.GATEWAY_WAIT

    @override
    def params(self, settings: countis.LineSettings) -> Params:
        return ModbusTcpParams(host=self.host, port=self.port)


class _Reasons(logging.Handler):
    """Listens to why pymodbus cannot connect, which it tells nobody else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.number: int | None = None
        self.text = NOT_THERE

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if reasons := REASON.findall(record.getMessage()):
            # The innermost of nested errors stands last.
            number, other_number, self.text = reasons[-1]
            self.number = int(number or other_number)
            if self.number in errno.errorcode:
                self.text = os.strerror(self.number)


@contextmanager
def _listening() -> Iterator[_Reasons]:
    reasons = _Reasons()
    logger = logging.getLogger("pymodbus")
    logger.addHandler(reasons)
    try:
        yield reasons
    finally:
        logger.removeHandler(reasons)


async def _async_connect(connection: ModbusConnection) -> None:
    with _listening() as reasons:
        for attempts_left in reversed(range(OPEN_ATTEMPTS)):
            try:
                return await connection.connect()
            except OPEN_ERRORS as err:
                # What is not there will not be there in a moment either.
                if attempts_left and reasons.number != errno.ENOENT:
                    await asyncio.sleep(OPEN_RETRY_DELAY)
                    continue
                reason = str(err) if isinstance(err, PORT_ERRORS) else reasons.text
                raise CannotOpenError(reason, reasons.number) from err
    return None
