"""Serial ports that a client opens to reach a simulated bus."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
import errno
from itertools import count
import os
import pty
import termios
import tty
from typing import Any, ClassVar, Protocol, override

# Baud rates that a meter supports, by the constant of the operating system.
BAUDRATES = {
    termios.B4800: 4800,
    termios.B9600: 9600,
    termios.B19200: 19200,
    termios.B38400: 38400,
}
INPUT_SPEED, OUTPUT_SPEED = 4, 5  # indices in the list that `termios.tcgetattr` returns
READ_SIZE = 4096  # bytes; a single read of a pseudo-terminal returns fewer

type OnData = Callable[[bytes], None]
"""Receives the bytes that the client sent."""


class Port(Protocol):
    """A serial port with a client at its other end."""

    name: str
    """The path that a client opens."""

    @property
    def baudrate(self) -> int | None:
        """Return the baud rate of the client, or None if no meter supports it."""

    def write(self, data: bytes) -> int:
        """Send bytes to the client. Return the number of bytes that were accepted."""

    def close(self) -> None:
        """Unplug the port, also for a client that has it open."""


class TerminalPort:
    """A pseudo-terminal, which any program can open as a serial port.

    This class also keeps the client's end (the slave) open. Otherwise, reads would fail
    after the last client closes the port.
    """

    def __init__(self, on_data: OnData) -> None:
        """Open a pseudo-terminal, and read it in the running event loop."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        # If the buffer is full, lose the bytes. A blocking write would stop the
        # simulation.
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(
            self._master, lambda: on_data(os.read(self._master, READ_SIZE))
        )

    @property
    def baudrate(self) -> int | None:
        """Return the baud rate of the client, or None if no meter supports it."""
        return BAUDRATES.get(termios.tcgetattr(self._slave)[OUTPUT_SPEED])

    def write(self, data: bytes) -> int:
        """Send bytes to the client. Return the number of bytes that were accepted."""
        with suppress(BlockingIOError):
            return os.write(self._master, data)
        return 0

    def close(self) -> None:
        """Unplug the port, also for a client that has it open."""
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


class MemoryPort:
    """A serial port in memory, for clients in the event loop of the simulation.

    A client opens the port with the function that `memory_opener` returns. The event
    loop alone transfers the bytes, so the port also works in virtual time.
    """

    _ports: ClassVar[dict[str, MemoryPort]] = {}
    _numbers: ClassVar = count()

    def __init__(self, on_data: OnData) -> None:
        """Create the port at a new path."""
        self.name = f"/dev/memory{next(self._numbers)}"
        self.baudrate: int | None = None
        self.on_data = on_data
        self.transport: MemoryTransport | None = None
        self._ports[self.name] = self

    @classmethod
    def named(cls, path: str | None) -> MemoryPort | None:
        """Return the port at a path or at a link to the path, or None."""
        return cls._ports.get(os.path.realpath(path or ""))

    def write(self, data: bytes) -> int:
        """Send bytes to the client. Return the number of bytes.

        If no client is connected, the bytes are lost.
        """
        if self.transport is not None:
            self.transport.receive(data)
        return len(data)

    def close(self) -> None:
        """Unplug the port, also for a client that has it open."""
        del self._ports[self.name]
        if self.transport is not None:
            self.transport.disconnect(OSError(errno.EIO, "the port was unplugged"))


class MemoryTransport(asyncio.Transport):
    """The transport of a client that has opened a port in memory."""

    def __init__(self, port: MemoryPort, protocol: asyncio.Protocol) -> None:
        """Open the port."""
        super().__init__()
        self._port = port
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False
        port.transport = self
        self._loop.call_soon(protocol.connection_made, self)

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._loop.call_soon(self._port.on_data, bytes(data))

    def receive(self, data: bytes) -> None:
        """Pass bytes to the client in the next iteration of the event loop."""
        self._loop.call_soon(self._pass_bytes, data)

    def _pass_bytes(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    @override
    def is_closing(self) -> bool:
        return self._closing

    @override
    def close(self) -> None:
        self.disconnect(None)

    @override
    def abort(self) -> None:
        self.disconnect(None)

    def disconnect(self, error: Exception | None) -> None:
        """Disconnect the client from the port.

        `error` is the reason, or None if the client closed the port.
        """
        if self._closing:
            return
        self._closing = True
        self._port.transport = None
        self._loop.call_soon(self._protocol.connection_lost, error)


def memory_opener[**P, T](
    open_other: Callable[..., Awaitable[T]],
) -> Callable[..., Awaitable[T | tuple[MemoryTransport, asyncio.Protocol]]]:
    """Return a replacement for the `create_serial_connection` of serialx or pymodbus.

    `open_other` is the replaced function. The replacement opens each `MemoryPort`
    itself, and any other port with `open_other`. It raises `OSError` if a client has
    already opened the `MemoryPort`.
    """

    async def open_port(
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], asyncio.Protocol],
        url: str,
        baudrate: int,
        **other_settings: Any,
    ) -> T | tuple[MemoryTransport, asyncio.Protocol]:
        port = MemoryPort.named(url)
        if port is None:
            return await open_other(
                loop, protocol_factory, url, baudrate=baudrate, **other_settings
            )
        if port.transport is not None:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), url)
        port.baudrate = baudrate if baudrate in BAUDRATES.values() else None
        protocol = protocol_factory()
        return MemoryTransport(port, protocol), protocol

    return open_port
