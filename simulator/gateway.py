"""Simulated gateways between a network and a line.

    client - TCP - gateway - pseudo-terminal - line

Only the gateway uses the port of its line.
"""

from abc import ABC, abstractmethod
import asyncio
from collections.abc import Callable
from contextlib import suppress
import os
import struct
import termios
import tty
from typing import ClassVar, Self

from pymodbus.constants import ExcCodes

from .line import Line
from .modbus import BROADCAST, EXCEPTION_FLAG, has_valid_crc, with_crc
from .ports import INPUT_SPEED, OUTPUT_SPEED, READ_SIZE

LOCALHOST = "127.0.0.1"

# Header of Modbus TCP: transaction ID, protocol ID, length, unit ID. The length counts
# the bytes of unit ID and PDU.
MBAP = struct.Struct(">HHHB")
MODBUS_PROTOCOL = 0
MAX_PDU = 253  # bytes of a request or response without unit ID and CRC

# Codes of functions whose responses contain a byte count.
READ_FUNCTIONS = frozenset({1, 2, 3, 4, 23})
# Lengths of RTU responses in bytes, with unit ID and CRC.
EXCEPTION_LENGTH = 5
WRITE_LENGTHS = {5: 8, 6: 8, 15: 8, 16: 8, 22: 10}  # by function code
MAX_FRAME = 256  # the longest RTU frame

# Characters of silence between two RTU frames, from the Modbus specification.
FRAME_GAP_CHARACTERS = 3.5
# In s; a pause of this length ends a frame. Our choice: an adapter transfers bytes in
# bursts, and the pauses between these bursts are shorter.
FRAME_END_SECONDS = 0.05
# The gateway divides each wait for bytes into this number of parts. On a busy computer,
# the timeout of a part may be handled late, when bytes have already arrived. The next
# part then reads these bytes. A single wait would lose them. The number is our choice.
WAIT_PARTS = 20
TURNAROUND_SECONDS = 0.1  # s; time for the meters to execute a broadcast; our choice


class _SerialPort:
    """The serial port of the gateway. If the port is closed, a write opens it."""

    def __init__(self, line: Line, on_data: Callable[[bytes], None]) -> None:
        self.line = line
        self._on_data = on_data
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the port at the baud rate of the line."""
        descriptor = os.open(self.line.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(descriptor)
        attributes = termios.tcgetattr(descriptor)
        speed = getattr(termios, f"B{self.line.baudrate}")
        attributes[INPUT_SPEED] = attributes[OUTPUT_SPEED] = speed
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        asyncio.get_running_loop().add_reader(descriptor, self._read, descriptor)
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the port."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, data: bytes) -> None:
        """Send bytes to the line. If the line is unplugged, the bytes are lost."""
        with suppress(OSError):
            if self._descriptor is None:
                self.open()
            if self._descriptor is not None:
                os.write(self._descriptor, data)

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()  # the line was unplugged


class Gateway(ABC):
    """A gateway to a line. `async with` runs the gateway in the current event loop.

    Gateway and line have to run in the same event loop.
    """

    name: ClassVar[str]

    def __init__(self, line: Line, *, host: str = LOCALHOST, port: int = 0) -> None:
        """Connect the gateway to a line. Port 0 selects a free TCP port."""
        self.host = host
        self.port = port
        self.line = line
        self._serial = _SerialPort(line, self._on_data)
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        """Open the serial port and listen.

        Raises `OSError` if the host or the TCP port is not available.
        """
        self._serial.open()
        try:
            self._server = await asyncio.start_server(
                self._on_client, self.host, self.port
            )
        except OSError:
            self._serial.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect all clients and close the serial port."""
        self._server.close()
        # `_clients` lacks a client that asyncio has accepted, but not yet passed to
        # `_on_client`.
        self._server.abort_clients()
        while self._clients:
            task, writer = self._clients.popitem()
            task.cancel()
            writer.close()  # if the task has not started, it does not close its writer
            await asyncio.wait({task})
        self._serial.close()

    def _on_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._clients[task] = writer
        task.add_done_callback(lambda done: self._clients.pop(done, None))

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._transfer(reader, writer)
        finally:
            writer.close()

    @abstractmethod
    async def _transfer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Transfer the requests of a client until its connection ends."""

    @abstractmethod
    def _on_data(self, data: bytes) -> None:
        """Process bytes from the line."""


class RtuGateway(Gateway):
    """A gateway for RTU frames. All clients receive all bytes from the line."""

    name = "RTU over TCP"

    async def _transfer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(READ_SIZE):
            self._serial.write(data)

    def _on_data(self, data: bytes) -> None:
        for writer in self._clients.values():
            writer.write(data)


class TcpGateway(Gateway):
    """A gateway that converts Modbus TCP to RTU, one request at a time."""

    name = "Modbus TCP"

    def __init__(
        self,
        line: Line,
        *,
        host: str = LOCALHOST,
        port: int = 0,
        timeout: float = 0.5,
    ) -> None:
        """Connect the gateway to a line. Port 0 selects a free TCP port.

        `timeout` is the response timeout in s, from the last byte of the request to the
        first byte of the response. The default is our choice.
        """
        super().__init__(line, host=host, port=port)
        self.timeout = timeout
        self._bus_lock = asyncio.Lock()
        self._response: asyncio.StreamReader | None = None
        """The bytes of the expected response.

        None if the gateway expects no response. The gateway then discards all bytes.
        """
        self.discarded = 0
        """Number of bytes discarded because the gateway expected no response."""

    async def _transfer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            header = await reader.readexactly(MBAP.size)
            transaction, protocol, length, unit_id = MBAP.unpack(header)
            if protocol != MODBUS_PROTOCOL or not 1 < length <= 1 + MAX_PDU:
                return  # not a valid header; `_connection` disconnects the client
            request = await reader.readexactly(length - 1)
            async with self._bus_lock:
                response = await self._transact(unit_id, request)
            if response:
                header = MBAP.pack(transaction, protocol, 1 + len(response), unit_id)
                writer.write(header + response)
                await writer.drain()

    async def _transact(self, unit_id: int, request: bytes) -> bytes:
        """Send a request to the line, and return the response.

        Request and response are without unit ID and CRC. If no valid response arrives,
        return exception 11. After a broadcast, return b"", because no meter responds.
        """
        frame = with_crc(bytes([unit_id]) + request)
        self._serial.write(frame)
        sending_seconds = len(frame) * self.line.character_seconds
        if unit_id == BROADCAST:
            await asyncio.sleep(sending_seconds + TURNAROUND_SECONDS)
            return b""
        response = await self._receive(sending_seconds + self.timeout)
        await asyncio.sleep(FRAME_GAP_CHARACTERS * self.line.character_seconds)
        if response[:1] == bytes([unit_id]) and has_valid_crc(response):
            return response[1:-2]
        return bytes([request[0] | EXCEPTION_FLAG, ExcCodes.GATEWAY_NO_RESPONSE])

    async def _receive(self, timeout: float) -> bytes:  # noqa: ASYNC109
        """Return a frame from the line, or b"" if none begins within `timeout` s.

        The frame ends when it is complete, or after a pause of FRAME_END_SECONDS.
        """
        frame = b""
        self._response = asyncio.StreamReader()
        parts_left = WAIT_PARTS
        while parts_left and (missing := _expected_length(frame) - len(frame)):
            parts_left -= 1
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout / WAIT_PARTS):
                    frame += await self._response.read(missing)
                parts_left = WAIT_PARTS
                timeout = FRAME_END_SECONDS
        self._response = None
        return frame

    def _on_data(self, data: bytes) -> None:
        if self._response is None:
            self.discarded += len(data)
        else:
            self._response.feed_data(data)


def _expected_length(frame: bytes) -> int:
    """Return the complete length in bytes of a frame that begins with these bytes.

    The first three bytes determine the length. If `frame` is shorter, return 3. For an
    unknown function, return MAX_FRAME: a pause then ends the frame.
    """
    if len(frame) < 3:
        return 3
    function = frame[1]
    if function & EXCEPTION_FLAG:
        return EXCEPTION_LENGTH
    if function in READ_FUNCTIONS:
        return 5 + frame[2]  # 5: unit ID, function code, byte count, CRC (2 bytes)
    return WRITE_LENGTHS.get(function, MAX_FRAME)
