"""A simulated RS485 line between the port of a client and the meters.

    client - serial port - line - meters

The baud rate of the line determines the time of each byte. A meter begins its response
after a delay. Faults change, delay or remove frames.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
import random
import threading
from typing import Self

from pymodbus.constants import ExcCodes

from .meter import Meter
from .modbus import EXCEPTION_FLAG, respond, with_crc
from .ports import OnData, Port, TerminalPort

BITS_PER_CHARACTER = 11  # start, 8 data bits, parity or second stop bit, stop
DEFAULT_BAUDRATE = 9600
DEFAULT_RESPONSE_DELAY = 0.02  # s; our choice
# In s; the port receives all bytes of one slice in one write. Our choice: shorter
# slices cost processor time, and a real USB adapter also collects bytes for some ms.
SLICE_SECONDS = 0.005


@dataclass(frozen=True)
class Fault:
    """A disturbance of one frame on the line."""

    change: Callable[[bytes], bytes] = bytes
    """Returns the bytes that arrive instead of the frame. The default is no change."""
    delay: float = 0
    """Seconds by which the frame arrives later."""
    pause: float = 0
    """Seconds of silence in the middle of the frame."""
    echo: bool = False
    """Whether the client receives its request before the response."""


LOST = Fault(lambda _frame: b"")
FLIPPED = Fault(lambda frame: frame[:3] + bytes([frame[3] ^ 0x10]) + frame[4:])
"""One bit is inverted."""
TRUNCATED = Fault(lambda frame: frame[: len(frame) // 2])
NOISE_BEFORE = Fault(lambda frame: b"\x00\xff\x55" + frame)
NOISE_AFTER = Fault(lambda frame: frame + b"\xff\x00\x55")
NOISE_WITHIN = Fault(lambda frame: frame[:4] + b"\xff\x00\x55" + frame[4:])
WRONG_BYTE_COUNT = Fault(lambda frame: frame[:2] + bytes([frame[2] ^ 0x40]) + frame[3:])
"""One bit is inverted in the byte count of a response to a read."""
DUPLICATED = Fault(lambda frame: 2 * frame)
SPLIT = Fault(pause=0.05)
"""50 ms pass between the two halves of the frame."""
ECHO = Fault(echo=True)


def _from_another_unit_id(frame: bytes) -> bytes:
    # 247 is the highest unit ID of Modbus.
    return with_crc(bytes([frame[0] % 247 + 1]) + frame[1:-2])


def _of_another_function(frame: bytes) -> bytes:
    return with_crc(bytes([frame[0], frame[1] % 0x10 + 1]) + frame[2:-2])


def _filled(frame: bytes, byte: int) -> bytes:
    """Return the response to a read, with `byte` as each byte of the values."""
    # 5 bytes are not values: unit ID, function code, byte count and CRC (2 bytes).
    return with_crc(frame[:3] + bytes([byte]) * (len(frame) - 5))


def _busy(frame: bytes) -> bytes:
    return with_crc(bytes([frame[0], frame[1] | EXCEPTION_FLAG, ExcCodes.DEVICE_BUSY]))


# Responses with a valid CRC and wrong content.
ANOTHER_UNIT_ID = Fault(_from_another_unit_id)
ANOTHER_FUNCTION = Fault(_of_another_function)
ZEROS = Fault(lambda frame: _filled(frame, 0x00))
"""All registers read 0, as while a meter starts up."""
ONES = Fault(lambda frame: _filled(frame, 0xFF))
"""All registers read 0xFFFF."""
BUSY = Fault(_busy)
"""The response is exception 6."""


def random_bytes(seed: int, length: int = 300) -> Fault:
    """Return a fault that replaces a frame by `length` random bytes.

    The default is longer than the longest frame, which has 256 bytes.
    """
    noise = random.Random(seed).randbytes(length)
    return Fault(lambda _frame: noise)


def late(seconds: float) -> Fault:
    """Return a fault that delays a frame."""
    return Fault(delay=seconds)


class Line:
    """A line with meters. `async with` runs the line in the current event loop.

    While the line runs, any thread may change the public attributes, except `baudrate`,
    `link` and `port`.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        *,
        baudrate: int = DEFAULT_BAUDRATE,
        response_delay: float = DEFAULT_RESPONSE_DELAY,
        link: Path | None = None,
        port_type: Callable[[OnData], Port] = TerminalPort,
    ) -> None:
        """Connect the meters to a line.

        `baudrate` determines the time of each byte. `response_delay` is the time in
        seconds from the end of a request to the start of its response. `link` is the
        path of a symbolic link to the port. `port_type` is `TerminalPort` or
        `MemoryPort`.
        """
        self.meters = {meter.unit_id: meter for meter in meters}
        """The meters by unit ID."""
        self.baudrate = baudrate
        self.character_seconds = BITS_PER_CHARACTER / baudrate
        self.response_delay = response_delay
        self.link = link
        self.port = ""
        """Path of the port that a client opens. Empty while there is no port."""
        self.meter_baudrate: int | None = None
        """The baud rate at which the meters receive, or None for any baud rate."""
        self.cut = False
        """Whether the line is interrupted, so that no frame arrives."""
        self.echoes = False
        """Whether the adapter of the client returns each request."""
        self.response_prefix = b""
        """Bytes that the adapter of the client adds before each response."""
        self.request_faults: deque[Fault] = deque()
        """The faults of the next requests. Only their `change` and `delay` are used."""
        self.faults: deque[Fault] = deque()
        """The faults of the next responses."""
        self.default_fault: Callable[[], Fault] = Fault
        """Returns the fault of each response while `faults` is empty."""
        self.on_request: Callable[[bytes], None] | None = None
        """Called with each request when its last byte is due, even on a cut line."""
        self.on_response: Callable[[bytes], None] | None = None
        """Called with each response when its last byte is due.

        Also called if no byte arrives because the line was cut after the request.
        """
        self.requests: list[bytes] = []
        """All frames from the client."""
        self.response_bytes = 0
        """Number of response bytes that the port has accepted."""
        self._port_type = port_type
        self._client_port: Port | None = None
        self._request = bytearray()
        # Time of the event loop at which the last byte of the latest request arrived.
        self._requested_at = 0.0
        # Calls `_on_arrival` when the last byte of a request arrives. None between two
        # requests.
        self._arrival: asyncio.TimerHandle | None = None
        self._transactions: set[asyncio.Task[None]] = set()
        # The transaction that is sending its response to the client, if any.
        self._sending_transaction: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the port. Raises `OSError` if the link cannot be created."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port."""
        self._unplug()

    @property
    def is_idle(self) -> bool:
        """Whether no request is arriving, and each request has had its response."""
        return self._arrival is None and not self._transactions

    def unplug(self) -> None:
        """Remove the port, also for a client that has opened it."""
        self._in_loop(self._unplug)

    def replug(self) -> None:
        """Create the port again. Without a link, the path of the port may change."""
        self._in_loop(self._plug)

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Call a function in the event loop, from any thread, and wait for its end."""

        async def run() -> None:
            change()

        if threading.get_ident() == self._thread:
            change()
        else:
            asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _plug(self) -> None:
        client_port = self._port_type(self._on_bytes)
        self.port = client_port.name
        if self.link is not None:
            try:
                self._remove_link()
                self.link.symlink_to(self.port)
            except OSError:
                client_port.close()
                raise
            self.port = str(self.link)
        self._client_port = client_port

    def _unplug(self) -> None:
        if self._client_port is None:
            return
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
        self._request.clear()
        for transaction in self._transactions:
            transaction.cancel()
        self._client_port.close()
        self._client_port = None
        # Forget the path, because another program may get a pseudo-terminal with the
        # same path.
        self.port = ""
        self._remove_link()

    def _remove_link(self) -> None:
        """Remove the link. Leave a file that is not a link."""
        if self.link is not None and self.link.is_symlink():
            self.link.unlink()

    def _on_bytes(self, data: bytes) -> None:
        """Collect bytes of a request, and calculate when its last byte arrives."""
        if self._client_port is None:
            return
        if self._sending_transaction is not None:
            # Request and response collide on the two wires, so both are damaged: the
            # response ends, and zeros replace these bytes of the request.
            self._sending_transaction.cancel()
            data = bytes(len(data))
        self._request += data
        now = self._loop.time()
        arrival = now
        if self._arrival is not None:
            arrival = max(now, self._arrival.when())
            self._arrival.cancel()
        self._arrival = self._loop.call_at(
            arrival + len(data) * self.character_seconds, self._on_arrival
        )

    def _on_arrival(self) -> None:
        # The event loop calls this method a little late. The planned time is exact.
        if self._arrival is not None:
            self._requested_at = self._arrival.when()
        frame, self._request, self._arrival = bytes(self._request), bytearray(), None
        self.requests.append(frame)
        client_port = self._client_port
        if client_port is None:
            return
        if self.echoes:
            client_port.write(frame)
        if self.on_request is not None:
            self.on_request(frame)
        if not self.cut and self.meter_baudrate in (None, client_port.baudrate):
            fault = self.request_faults.popleft() if self.request_faults else Fault()
            transaction = self._loop.create_task(self._transact(frame, fault))
            self._transactions.add(transaction)
            transaction.add_done_callback(self._transactions.discard)

    async def _transact(self, request: bytes, request_fault: Fault) -> None:
        """Execute a request on the meters, and send the response to the client."""
        await asyncio.sleep(request_fault.delay)
        frame = respond(self.meters, request_fault.change(request))
        if not frame:
            return
        fault = self.faults.popleft() if self.faults else self.default_fault()
        frame = self.response_prefix + fault.change(frame)
        if fault.echo:
            frame = request + frame
        start_time = max(self._requested_at + self.response_delay, self._loop.time())
        await self._send(frame, start_time + fault.delay, fault.pause)

    async def _send(self, frame: bytes, start_time: float, pause: float) -> None:
        """Send a response to the client.

        `start_time` is the time of the event loop at which the first byte starts.
        `pause` is the time in s between the two halves of the response.
        """
        await asyncio.sleep(start_time - self._loop.time())
        self._sending_transaction = asyncio.current_task()
        half = len(frame) // 2 if pause else 0
        try:
            if pause:
                await self._write_slices(frame[:half], start_time)
                start_time = self._loop.time() + pause
            await self._write_slices(frame[half:], start_time)
        finally:
            self._sending_transaction = None
        if self.on_response is not None:
            self.on_response(frame)

    async def _write_slices(self, data: bytes, start_time: float) -> None:
        """Write bytes to the port, each slice at the time of its last byte.

        `start_time` is the time of the event loop at which the first byte starts.
        """
        size = max(1, round(SLICE_SECONDS / self.character_seconds))
        due = start_time
        for start in range(0, len(data), size):
            part = data[start : start + size]
            due += len(part) * self.character_seconds
            await asyncio.sleep(due - self._loop.time())
            if not self.cut and self._client_port is not None:
                self.response_bytes += self._client_port.write(part)
