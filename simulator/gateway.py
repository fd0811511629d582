"""Network gateways in front of a simulated line, which is theirs alone.

client - TCP - gateway - pseudo-terminal - line
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

from .line import BROADCAST, READ_SIZE, Line, checks, with_crc

LOCALHOST = "127.0.0.1"

MBAP = struct.Struct(">HHHB")  # transaction, protocol, what follows, unit
MODBUS_PROTOCOL = 0
LONGEST_PDU = 253

EXCEPTION = 0x80
EXCEPTION_CHARACTERS = 5
# How long answers are, by function: those that say so themselves, and the echoes.
COUNTED = frozenset({1, 2, 3, 4, 23})
ECHOES = {5: 8, 6: 8, 15: 8, 16: 8, 22: 10}
LONGEST_FRAME = 256
ECHOED = {5: 5, 6: 5, 15: 5, 16: 5}  # of a write without unit and check sum

SILENT_CHARACTERS = 3.5
# A frame of unknown length is over after this; adapters pass on bytes in bursts.
END_SECONDS = 0.05
TURNAROUND_SECONDS = 0.1  # what the meters have for a broadcast


class _SerialPort:
    """The gateway's own end of the line, open whenever there is one."""

    def __init__(self, line: Line, on_data: Callable[[bytes], None]) -> None:
        self.line = line
        self._on_data = on_data
        self._end: int | None = None

    def open(self) -> None:
        """Open the port with the line's speed."""
        end = os.open(self.line.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(end)
        attributes = termios.tcgetattr(end)
        attributes[4:6] = [getattr(termios, f"B{self.line.baudrate}")] * 2
        termios.tcsetattr(end, termios.TCSANOW, attributes)
        asyncio.get_running_loop().add_reader(end, self._read, end)
        self._end = end

    def close(self) -> None:
        """Close the port."""
        if self._end is not None:
            asyncio.get_running_loop().remove_reader(self._end)
            os.close(self._end)
            self._end = None

    def write(self, data: bytes) -> None:
        """Send this, or nothing to a line that is unplugged."""
        with suppress(OSError):
            if self._end is None:
                self.open()
            if self._end is not None:
                os.write(self._end, data)

    def _read(self, end: int) -> None:
        try:
            data = os.read(end, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self.close()


class Gateway(ABC):
    """Listens at `host` and `port`; `async with` runs it in the line's own loop."""

    name: ClassVar[str]

    def __init__(self, line: Line, *, host: str = LOCALHOST, port: int = 0) -> None:
        """Put the gateway in front of a line; port 0 is any that is free."""
        self.host = host
        self.port = port
        self.line = line
        self._serial = _SerialPort(line, self._on_data)
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        """Open the line and listen."""
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
        """Send the clients away."""
        self._server.close()
        tasks = list(self._clients)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._serial.close()

    def _on_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._attend(reader, writer))
        self._clients[task] = writer
        task.add_done_callback(self._clients.pop)

    async def _attend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    @abstractmethod
    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a client until it leaves."""

    @abstractmethod
    def _on_data(self, data: bytes) -> None:
        """Take what came from the line."""


class RtuGateway(Gateway):
    """Carries bytes as they are; all clients hear all answers."""

    name = "RTU over TCP"

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(READ_SIZE):
            self._serial.write(data)

    def _on_data(self, data: bytes) -> None:
        for writer in self._clients.values():
            writer.write(data)


class TcpGateway(Gateway):
    """Speaks Modbus TCP to its clients, and asks the meters for them in turn."""

    name = "Modbus TCP"

    def __init__(
        self,
        line: Line,
        *,
        host: str = LOCALHOST,
        port: int = 0,
        timeout: float = 0.5,
        answers_broadcast: bool = False,
    ) -> None:
        """As any gateway; `timeout` is what a unit may take to begin its answer."""
        super().__init__(line, host=host, port=port)
        self.timeout = timeout
        self.answers_broadcast = answers_broadcast
        """Whether a broadcast is acknowledged, which no meter does."""
        self._turn = asyncio.Lock()
        self._answers: asyncio.StreamReader | None = None
        """While one is waited for; what comes too late is nobody's any more."""

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            header = await reader.readexactly(MBAP.size)
            transaction, protocol, length, unit = MBAP.unpack(header)
            if protocol != MODBUS_PROTOCOL or not 1 < length <= 1 + LONGEST_PDU:
                return
            request = await reader.readexactly(length - 1)
            async with self._turn:
                answer = await self._ask(unit, request)
            if answer:
                header = MBAP.pack(transaction, protocol, 1 + len(answer), unit)
                writer.write(header + answer)
                await writer.drain()

    async def _ask(self, unit: int, request: bytes) -> bytes:
        """Return the answer to a request, both without unit and check sum."""
        frame = with_crc(bytes([unit]) + request)
        self._serial.write(frame)
        sent = len(frame) * self.line.character_seconds
        if unit == BROADCAST:
            await asyncio.sleep(sent + TURNAROUND_SECONDS)
            echo = request[: ECHOED.get(request[0], 0)]
            return echo if self.answers_broadcast else b""
        answer = await self._receive(sent + self.timeout)
        await asyncio.sleep(SILENT_CHARACTERS * self.line.character_seconds)
        if len(answer) > 3 and answer[0] == unit and checks(answer):
            return answer[1:-2]
        return bytes([request[0] | EXCEPTION, ExcCodes.GATEWAY_NO_RESPONSE])

    async def _receive(self, wait: float) -> bytes:
        """Return a frame that begins in time; it ends by its length or with silence."""
        frame = b""
        self._answers = asyncio.StreamReader()
        with suppress(TimeoutError):
            while missing := _length(frame) - len(frame):
                async with asyncio.timeout(wait):
                    frame += await self._answers.read(missing)
                wait = END_SECONDS
        self._answers = None
        return frame

    def _on_data(self, data: bytes) -> None:
        if self._answers is not None:
            self._answers.feed_data(data)


def _length(frame: bytes) -> int:
    """Return how long a frame will be, as far as its beginning tells."""
    if len(frame) < 3:
        return 3
    function = frame[1]
    if function & EXCEPTION:
        return EXCEPTION_CHARACTERS
    if function in COUNTED:
        return 5 + frame[2]
    return ECHOES.get(function, LONGEST_FRAME)
