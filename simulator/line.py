"""A simulated RS485 line between a client and the meters on it.

    client - pseudo-terminal - line - pseudo-terminal - pymodbus server

The line makes bytes take the time they take, adds the time that a meter needs
to answer, and disturbs answers when told to.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import os
from pathlib import Path
import pty
import termios
import threading
import tty
from typing import Self

from pymodbus.framer.rtu import FramerRTU
from pymodbus.server import ModbusSerialServer

from .meter import Meter

BITS_PER_CHARACTER = 11
BAUDRATES = (4800, 9600, 19200, 38400)
OUTPUT_SPEED = 5  # of what termios tells
BROADCAST = 0
READ_SIZE = 4096
# An adapter passes on what came in this often; less costs nothing but sleep.
SLICE_SECONDS = 0.005


@dataclass(frozen=True)
class Fault:
    """What happens to one answer on its way."""

    change: Callable[[bytes], bytes] = bytes
    delay: float = 0


LOST = Fault(lambda _frame: b"")
FLIPPED = Fault(lambda frame: frame[:3] + bytes([frame[3] ^ 0x10]) + frame[4:])
TRUNCATED = Fault(lambda frame: frame[: len(frame) // 2])


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
        return cls(master, slave)

    @property
    def port(self) -> str:
        return os.ttyname(self.slave)

    @property
    def baudrate(self) -> int:
        """The speed that a client has set."""
        speed = termios.tcgetattr(self.slave)[OUTPUT_SPEED]
        return next(rate for rate in BAUDRATES if getattr(termios, f"B{rate}") == speed)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


class Line:
    """A line with meters on it; `async with` runs it in the current loop.

    `port` is what a client opens. `requests` are the frames that went out to
    the meters. `cut` and `faults` may be changed at any time, from any thread.
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
        self.character_seconds = BITS_PER_CHARACTER / baudrate
        self.answer_delay = answer_delay
        self.link = link
        self.port = ""
        self.cut = False
        self.faults: deque[Fault] = deque()
        """One for each of the next answers."""
        self.understood_baudrate: int | None = None
        """The only speed that the meters understand; any if None."""
        self.requests: list[bytes] = []
        self._request = bytearray()
        self._arrival: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the port and serve the meters."""
        self._loop = asyncio.get_running_loop()
        self._client = _Terminal.open()
        self._server_end = _Terminal.open()
        self._server = ModbusSerialServer(
            [meter.device for meter in self.meters.values()],
            port=self._server_end.port,
            broadcast_enable=True,
        )
        await self._server.serve_forever(background=True)
        self._loop.add_reader(self._client.master, self._on_request)
        self._loop.add_reader(self._server_end.master, self._on_answer)
        self.port = self._client.port
        if self.link is not None:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.port)
            self.port = str(self.link)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port."""
        self._loop.remove_reader(self._client.master)
        self._loop.remove_reader(self._server_end.master)
        if self._arrival is not None:
            self._arrival.cancel()
        for answer in self._answers:
            answer.cancel()
        await self._server.shutdown()  # type: ignore[no-untyped-call]
        # The server's transport takes a turn of the loop to let go of its end.
        await asyncio.sleep(0)
        self._client.close()
        self._server_end.close()
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def _on_request(self) -> None:
        """Collect a request; it is at the meters when its last bit is."""
        data = os.read(self._client.master, READ_SIZE)
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
        """Hand a request over to the meters that understand it."""
        frame, self._request, self._arrival = bytes(self._request), bytearray(), None
        self.requests.append(frame)
        if (
            self.cut
            or self.understood_baudrate not in (None, self._client.baudrate)
            or FramerRTU.compute_CRC(frame[:-2]) != int.from_bytes(frame[-2:])
        ):
            return
        meter = self.meters.get(frame[0])
        if frame[0] == BROADCAST or (meter is not None and not meter.silent):
            os.write(self._server_end.master, frame)

    def _on_answer(self) -> None:
        frame = os.read(self._server_end.master, READ_SIZE)
        fault = self.faults.popleft() if self.faults else Fault()
        task = self._loop.create_task(self._carry(fault.change(frame), fault.delay))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _carry(self, frame: bytes, delay: float) -> None:
        """Let an answer arrive bit by bit, some bytes at a time."""
        await asyncio.sleep(self.answer_delay + delay)
        size = max(1, round(SLICE_SECONDS / self.character_seconds))
        due = self._loop.time()
        for start in range(0, len(frame), size):
            part = frame[start : start + size]
            due += len(part) * self.character_seconds
            await asyncio.sleep(due - self._loop.time())
            if not self.cut:
                os.write(self._client.master, part)


@contextmanager
def line_in_thread(line: Line) -> Iterator[Line]:
    """Run a line in a thread of its own, beside whatever the caller runs."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with line:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[run()])
    thread.start()
    ready.wait()
    try:
        yield line
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
