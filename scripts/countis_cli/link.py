"""The ways to a line: a serial port, a Modbus TCP gateway, RTU over TCP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
import errno
import logging
import os
from pathlib import Path
import re
from typing import ClassVar, Literal, override

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTcpParams,
)
from modbus_connection.pymodbus import ModbusConnection

from .library import countis

# s; bounds connecting. The bus has a shorter timeout for each response.
CONNECTION_TIMEOUT = 5.0

# A port, and a gateway for one client, are let go of a moment after they were closed.
OPEN_ATTEMPTS = 3
OPEN_RETRY_DELAY = 0.25

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
    framing: ClassVar[Literal["rtu", "tcp"]] = "rtu"
    response_timeout: ClassVar[float | None] = None
    """s until a response begins; None is the default of the bus."""

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
        self, settings: countis.LineSettings, response_timeout: float | None = None
    ) -> AsyncIterator[countis.scan.OpenBus]:
        """Open the bus; `response_timeout` is in s, by default that of the link.

        Raises `CannotOpenError`.
        """
        connection = ModbusConnection(self.params(settings), timeout=CONNECTION_TIMEOUT)
        try:
            await _async_connect(connection)
            bus = countis.Bus(
                baudrate=settings.baudrate,
                framing=self.framing,
                response_timeout=response_timeout or self.response_timeout,
            )
            yield countis.scan.OpenBus(
                bus, lambda unit_id: nullcontext(connection.for_unit(unit_id))
            )
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
    response_timeout = 0.5  # a network collects bytes into packets

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
    framing = "tcp"
    response_timeout = 1.5  # the gateway reports the end of its own, shorter timeout

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


async def async_find_meter(opened: countis.scan.OpenBus, unit_id: int) -> countis.Meter:
    """Return the meter at a unit ID; raises as `async_take_profile` does."""
    async with opened.unit(unit_id) as client:
        unit = opened.bus.unit(unit_id, client, patient=True)
        profile = await countis.async_take_profile(unit)
        return countis.Meter(opened.bus, unit_id, client, profile)
