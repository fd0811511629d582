"""A simulated RS485 line between a client and the meters on it.

    client - pseudo-terminal - line - pseudo-terminal - pymodbus server

The line makes bytes take the time they take, adds the time that a meter needs
to answer, and disturbs frames when told to.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import pty
import random
import termios
import threading
import tty
from typing import Any, Self

from pymodbus.constants import ExcCodes
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusSerialServer

from .meter import Meter

BITS_PER_CHARACTER = 11
BAUDRATES = {
    termios.B4800: 4800,
    termios.B9600: 9600,
    termios.B19200: 19200,
    termios.B38400: 38400,
}
OUTPUT_SPEED = 5  # of what termios tells
BROADCAST = 0
EXCEPTION = 0x80  # bit of the function code
READ_SIZE = 4096
# An adapter passes on what came in this often; less costs nothing but sleep.
SLICE_SECONDS = 0.005


@dataclass(frozen=True)
class Fault:
    """What happens to one frame on its way."""

    change: Callable[[bytes], bytes] = bytes
    delay: float = 0
    """s before its first byte."""
    pause: float = 0
    """s in the middle of it."""
    echo: bool = False
    """Whether the request comes back in front of a response."""


LOST = Fault(lambda _frame: b"")
FLIPPED = Fault(lambda frame: frame[:3] + bytes([frame[3] ^ 0x10]) + frame[4:])
TRUNCATED = Fault(lambda frame: frame[: len(frame) // 2])
NOISE_BEFORE = Fault(lambda frame: b"\x00\xff\x55" + frame)
NOISE_AFTER = Fault(lambda frame: frame + b"\xff\x00\x55")
NOISE_WITHIN = Fault(lambda frame: frame[:4] + b"\xff\x00\x55" + frame[4:])
LONGER = Fault(lambda frame: frame[:2] + bytes([frame[2] ^ 0x40]) + frame[3:])
"""The byte count of a response to a read is another one."""
DUPLICATED = Fault(lambda frame: 2 * frame)
SPLIT = Fault(pause=0.05)
ECHO = Fault(echo=True)


def with_crc(content: bytes) -> bytes:
    """Return a frame: its content and the check sum."""
    return content + FramerRTU.compute_CRC(content).to_bytes(2)


def checks(frame: bytes) -> bool:
    """Whether a frame's check sum is that of its content."""
    return FramerRTU.compute_CRC(frame[:-2]) == int.from_bytes(frame[-2:])


def _from_another_address(frame: bytes) -> bytes:
    return with_crc(bytes([frame[0] % 247 + 1]) + frame[1:-2])


def _of_another_function(frame: bytes) -> bytes:
    return with_crc(bytes([frame[0], frame[1] % 0x10 + 1]) + frame[2:-2])


def _filled(frame: bytes, byte: int) -> bytes:
    return with_crc(frame[:3] + bytes([byte]) * (len(frame) - 5))


def _busy(frame: bytes) -> bytes:
    return with_crc(bytes([frame[0], frame[1] | EXCEPTION, ExcCodes.DEVICE_BUSY]))


ANOTHER_ADDRESS = Fault(_from_another_address)
ANOTHER_FUNCTION = Fault(_of_another_function)
ZEROS = Fault(lambda frame: _filled(frame, 0x00))
"""An intact response with false content, as of a meter that is starting up."""
ONES = Fault(lambda frame: _filled(frame, 0xFF))
BUSY = Fault(_busy)


def babble(seed: int, length: int = 300) -> Fault:
    """Return random bytes in place of a response."""
    noise = random.Random(seed).randbytes(length)
    return Fault(lambda _frame: noise)


def late(seconds: float) -> Fault:
    """Return an answer that arrives this much later."""
    return Fault(delay=seconds)


@dataclass(frozen=True)
class _Terminal:
    """A pseudo-terminal; our own end of the port keeps it alive between clients."""

    master: int
    slave: int

    @classmethod
    def open(cls) -> Self:
        master, slave = pty.openpty()
        tty.setraw(slave)
        # Bytes that nobody reads get lost in the end; the line goes on.
        os.set_blocking(master, False)
        return cls(master, slave)

    @property
    def port(self) -> str:
        return os.ttyname(self.slave)

    @property
    def baudrate(self) -> int | None:
        """The speed that a client has set; None for one that no meter knows."""
        return BAUDRATES.get(termios.tcgetattr(self.slave)[OUTPUT_SPEED])

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


class _Refused(ModbusPDU):
    """A request that is answered with an exception, whatever it asks for."""

    def __init__(self, request: ModbusPDU, code: ExcCodes) -> None:
        super().__init__(dev_id=request.dev_id)
        self.function_code = request.function_code
        self._code = code

    async def datastore_update(self, context: object, device_id: int) -> ModbusPDU:
        return ExceptionResponse(self.function_code, self._code)


class Line:
    """A line with meters on it; `async with` runs it in the current loop.

    `port` is what a client opens. `requests` are the frames that went out to
    the meters. `cut`, `faults` and `request_faults` may be changed at any time,
    from any thread.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        *,
        baudrate: int = 9600,
        answer_delay: float = 0.02,
        link: Path | None = None,
    ) -> None:
        """Put the meters on the line; `link` is a lasting name for its port."""
        self.meters = {meter.address: meter for meter in meters}
        self.baudrate = baudrate
        self.character_seconds = BITS_PER_CHARACTER / baudrate
        self.answer_delay = answer_delay
        self.link = link
        self.port = ""
        self.cut = False
        self.faults: deque[Fault] = deque()
        """One for each of the next answers."""
        self.fault: Callable[[], Fault] = Fault
        """Makes the fault of each answer after those."""
        self.prefix = b""
        """What the client's adapter puts before each answer."""
        self.echoes = False
        """Whether the client's adapter returns each request."""
        self.request_faults: deque[Fault] = deque()
        """One for each of the next requests."""
        self.understood_baudrate: int | None = None
        """The only speed that the meters understand; any if None."""
        self.on_request: Callable[[bytes], None] | None = None
        """Told of each request when it is at the meters."""
        self.on_answer: Callable[[bytes], None] | None = None
        """Told of each answer when it is at the client."""
        self.requests: list[bytes] = []
        self.bytes_sent = 0
        """By the client."""
        self.bytes_answered = 0
        """To the client, as far as they arrived."""
        self._client: _Terminal | None = None
        self._request = bytearray()
        self._asked_at = 0.0
        self._arrival: asyncio.TimerHandle | None = None
        self._frames: set[asyncio.Task[None]] = set()
        self._answering: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the port and serve the meters."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._plug()
        self._server_end = _Terminal.open()
        self._server = ModbusSerialServer(
            [meter.device for meter in self.meters.values()],
            port=self._server_end.port,
            broadcast_enable=True,
            trace_pdu=self._on_pdu,
        )
        await self._server.serve_forever(background=True)
        self._loop.add_reader(self._server_end.master, self._on_answer)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port."""
        self._unplug()
        self._loop.remove_reader(self._server_end.master)
        await self._server.shutdown()  # type: ignore[no-untyped-call]
        # The server's transport takes a turn of the loop to let go of its end.
        await asyncio.sleep(0)
        self._server_end.close()

    def unplug(self) -> None:
        """Pull the adapter: the port is gone, for who has it open as well."""
        self._in_loop(self._unplug)

    def replug(self) -> None:
        """Plug it in again: the port is back, without a link at a new path."""
        self._in_loop(self._plug)

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Change something from any thread, and return when it is done."""

        async def run() -> None:
            change()

        if threading.get_ident() == self._thread:
            change()
        else:
            asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _plug(self) -> None:
        self._client = _Terminal.open()
        self.port = self._client.port
        self._loop.add_reader(self._client.master, self._on_request, self._client)
        if self.link is not None:
            self._remove_link()
            self.link.symlink_to(self.port)
            self.port = str(self.link)

    def _unplug(self) -> None:
        if self._client is None:
            return
        self._loop.remove_reader(self._client.master)
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self._request.clear()
        for frame in self._frames:
            frame.cancel()
        self._client.close()
        self._client = None
        self._remove_link()

    def _remove_link(self) -> None:
        """Remove the link; anything else in its place is not ours."""
        if self.link is not None and self.link.is_symlink():
            self.link.unlink()

    def _on_request(self, client: _Terminal) -> None:
        """Collect a request; it is at the meters when its last bit is."""
        data = os.read(client.master, READ_SIZE)
        self.bytes_sent += len(data)
        if self._answering is not None:
            # Two who talk at once on two wires: neither is understood.
            self._answering.cancel()
            data = bytes(len(data))
        self._request += data
        now = self._loop.time()
        arrival = now
        if self._arrival is not None:
            arrival = max(now, self._arrival.when())
            self._arrival.cancel()
        self._arrival = self._loop.call_at(
            arrival + len(data) * self.character_seconds, self._on_arrival, client
        )

    def _on_arrival(self, client: _Terminal) -> None:
        # When it was due: the loop calls a little later.
        if self._arrival is not None:
            self._asked_at = self._arrival.when()
        frame, self._request, self._arrival = bytes(self._request), bytearray(), None
        self.requests.append(frame)
        if self.echoes:
            os.write(client.master, frame)
        if self.on_request is not None:
            self.on_request(frame)
        if not self.cut and self.understood_baudrate in (None, client.baudrate):
            fault = self.request_faults.popleft() if self.request_faults else Fault()
            self._start(self._deliver(fault.change(frame), fault.delay))

    async def _deliver(self, frame: bytes, delay: float) -> None:
        """Hand a request over to the meters that understand it."""
        await asyncio.sleep(delay)
        if not checks(frame):
            return
        meter = self.meters.get(frame[0])
        if frame[0] == BROADCAST or (meter is not None and not meter.silent):
            # What pymodbus made nothing of before is not the start of this.
            for connection in self._server.active_connections.values():
                connection.recv_buffer = b""
            os.write(self._server_end.master, frame)

    def _on_pdu(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:  # noqa: FBT001
        """Refuse what pymodbus would answer without asking the meter."""
        meter = self.meters.get(pdu.dev_id)
        if sending or meter is None:
            return pdu
        refusal = meter.refusal(pdu.function_code)
        return pdu if refusal is None else _Refused(pdu, refusal)

    def _on_answer(self) -> None:
        frame = os.read(self._server_end.master, READ_SIZE)
        fault = self.faults.popleft() if self.faults else self.fault()
        frame = self.prefix + fault.change(frame)
        if fault.echo and self.requests:
            frame = self.requests[-1] + frame
        self._start(self._carry(frame, fault))

    def _start(self, journey: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(journey)
        self._frames.add(task)
        task.add_done_callback(self._frames.discard)

    async def _carry(self, frame: bytes, fault: Fault) -> None:
        """Let an answer arrive bit by bit, some bytes at a time."""
        # What the server behind takes is part of the delay.
        begin = max(self._asked_at + self.answer_delay, self._loop.time()) + fault.delay
        await asyncio.sleep(begin - self._loop.time())
        self._answering = asyncio.current_task()
        try:
            if fault.pause:
                half = len(frame) // 2
                await self._put(frame[:half], begin)
                begin = self._loop.time() + fault.pause
                frame = frame[half:]
            await self._put(frame, begin)
        finally:
            self._answering = None
        if self.on_answer is not None:
            self.on_answer(frame)

    async def _put(self, frame: bytes, due: float) -> None:
        size = max(1, round(SLICE_SECONDS / self.character_seconds))
        for start in range(0, len(frame), size):
            part = frame[start : start + size]
            due += len(part) * self.character_seconds
            await asyncio.sleep(due - self._loop.time())
            if not self.cut and self._client is not None:
                with suppress(BlockingIOError):
                    self.bytes_answered += os.write(self._client.master, part)
