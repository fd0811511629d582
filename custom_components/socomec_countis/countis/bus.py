"""One RS485 line behind one port or gateway: the only place that sends requests.

What is left of a disturbed transaction never reaches the next one. A transaction is
disturbed if it ends without a valid response: a timeout, a damaged response, or a
cancelled task. The client is disconnected then, which discards the bytes that it and
the port hold, and the line falls silent before the next request opens the port again.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
import time
from typing import Any, Literal, cast

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusTimeoutError,
    ModbusUnit,
)

from .noise import limit_warnings
from .traffic import Traffic
from .unit import READ_CHARACTERS, WRITE_CHARACTERS, BusUnit, Call

BITS_PER_CHARACTER = 11
SILENT_CHARACTERS = 3.5  # between two frames, by the Modbus specification
SHORTEST_SILENCE = 0.00175  # s; by the same, above 19200 baud

# s until a response begins. A COUNTIS takes 30 ms, and adapters add up to 20 ms. A
# gateway has a timeout of its own and reports its end.
SUPPOSED_DELAY = 0.03
RESPONSE_TIMEOUT = 0.25
GATEWAY_RESPONSE_TIMEOUT = 1.0
DELAYS_UNTIL_TIMEOUT = 4
WEIGHT_OF_ONE_DELAY = 0.1

# A bus is lossy if more than this part of the reads had to be repeated. Offline meters
# do not count. Each read counts by the weight: two in a row do not make a bus lossy.
LOSSY = 0.15
WEIGHT_OF_ONE_LOSS = 0.05
# s of silence on a lossy bus, beyond the response timeout of a disturbed transaction.
# Late bytes are lost in it. Elsewhere it only costs time that the other meters miss.
QUIET_SECONDS = 0.15
REOPEN_DELAY = 0.05  # s between two attempts to open a port that was just closed
CONNECT_CHECK_DELAY = 0.01  # s between two looks at a client that connects
# s until a scan probes a bus that is never free, and between two looks at its lock.
LONGEST_WAIT = 1.0
PAUSE_CHECK_DELAY = 0.005
# Timeouts of probes until a recovery, so that noise hides few unit IDs. Our choice: it
# costs a scan of all settings 11 s at most.
PROBES_UNTIL_RECOVERY = 64

BROADCAST = 0
TURNAROUND_SECONDS = 0.1  # in which the meters carry out a broadcast


def wire_seconds(baudrate: int, characters: float) -> float:
    """Return the duration of so many characters and the silence after them, in s."""
    character = BITS_PER_CHARACTER / baudrate
    silence = max(SILENT_CHARACTERS * character, SHORTEST_SILENCE)
    return characters * character + silence


class Bus:
    """One RS485 line: its lock, response timeouts, statistics and recovery."""

    def __init__(
        self,
        *,
        baudrate: int,
        framing: Literal["rtu", "tcp"] = "rtu",
        response_timeout: float | None = None,
    ) -> None:
        """Initialize the bus; nothing is opened or sent.

        `framing` is "rtu" for a serial port and RTU over TCP, "tcp" for a Modbus TCP
        gateway. `response_timeout` is in s until a response begins.
        """
        self.baudrate = baudrate
        self.framing = framing
        default = RESPONSE_TIMEOUT if framing == "rtu" else GATEWAY_RESPONSE_TIMEOUT
        self.response_timeout = response_timeout or default
        self.delay = SUPPOSED_DELAY
        """The measured time until a response begins in s, a moving average."""
        self.responded = False
        """Whether any meter has responded."""
        self.loss = 0.0
        """The part of reads that had to be repeated, a moving average."""
        self.echoes: bool | None = None
        """Whether the adapter returns the requests, None if unknown."""
        self.traffic: defaultdict[int, Traffic] = defaultdict(Traffic)
        """The statistics by unit ID."""
        self._began = time.monotonic()
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._quiet_until = 0.0
        self._reopen_until = 0.0
        self._probes = 0
        limit_warnings()

    @property
    def seconds(self) -> float:
        """Return for how many s the bus has been in use."""
        return time.monotonic() - self._began

    @property
    def used_seconds(self) -> float:
        """Return for how many of these s a transaction occupied it."""
        return sum(traffic.seconds for traffic in self.traffic.values())

    def count_loss(self, *, lost: bool) -> None:
        """Count a read, and whether a response was lost or damaged before."""
        self.loss += WEIGHT_OF_ONE_LOSS * (lost - self.loss)

    @property
    def is_lossy(self) -> bool:
        """Return whether many responses are lost, so that requests are repeated."""
        return self.loss > LOSSY

    def read_seconds(self, words: int) -> float:
        """Return how many s one read of so many registers is expected to take."""
        return wire_seconds(self.baudrate, READ_CHARACTERS + 2 * words) + self.delay

    def unit(
        self,
        unit_id: int,
        client: ModbusUnit,
        *,
        patient: bool = False,
        background: bool = False,
    ) -> ModbusUnit:
        """Return the unit through which components read and write on this bus.

        `patient` is for a meter that was never heard: longer timeouts, more attempts.
        `background` requests wait until no other task uses the bus, for 1 s at most.
        """
        unit = BusUnit(self, unit_id, client, patient=patient, background=background)
        return cast(ModbusUnit, unit)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Keep the bus for several requests of this task; may be nested."""
        task = asyncio.current_task()
        if self._holder is task:
            yield
            return
        async with self._lock:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None

    async def async_wait_for_pause(self) -> None:
        """Wait until no other task uses the bus, for `LONGEST_WAIT` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT):
                await asyncio.sleep(0)  # a task that waits for the lock takes it
                while self._lock.locked():  # noqa: ASYNC110
                    await asyncio.sleep(PAUSE_CHECK_DELAY)

    async def async_broadcast(
        self, client: ModbusUnit, register: int, value: int
    ) -> None:
        """Write a register of all meters; `client` is unit ID 0, no meter responds."""
        async with self.hold():
            # Some clients wait for a response nevertheless.
            with suppress(ModbusTimeoutError):
                await self.async_request(
                    BROADCAST,
                    client,
                    lambda: client.write_register(register, value),
                    WRITE_CHARACTERS,
                )
            sent = wire_seconds(self.baudrate, WRITE_CHARACTERS / 2)
            await asyncio.sleep(sent + TURNAROUND_SECONDS)

    async def async_request[T](
        self,
        unit_id: int,
        client: ModbusUnit,
        call: Call[T],
        characters: int,
        *,
        shortest_timeout: float = 0,
        probe_timeout: float = 0,
        reopen_seconds: float = 0,
    ) -> T:
        """Return the response to one request: one transaction of the bus.

        `characters` is the length of request and response, `shortest_timeout` the least
        response timeout in s. `probe_timeout` is the exact one of a probe: a recovery
        follows only some, because most probes time out. After a recovery, the call is
        repeated for `reopen_seconds` while the port does not open. Raises as units do.
        """
        loop = asyncio.get_running_loop()
        async with self.hold():
            reopens = await self._async_recover() or probe_timeout > 0
            self._reopen_until = loop.time() + reopen_seconds * reopens
            wire = wire_seconds(self.baudrate, characters)
            slowest = max(self.response_timeout, DELAYS_UNTIL_TIMEOUT * self.delay)
            limit = wire + (probe_timeout or max(shortest_timeout, slowest))
            traffic = self.traffic[unit_id]
            traffic.requests += 1
            reconnects = not client.connected
            request = loop.create_task(self._async_open(client, call))
            # Nobody waits any more for the error of a request that is given up.
            request.add_done_callback(lambda done: done.cancelled() or done.exception())
            began = loop.time()
            disturbed = True
            try:
                while not client.connected and not request.done():
                    await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)
                began = loop.time()
                result = await _async_response(client, request, limit)
                disturbed = False
            except Exception as err:
                error = traffic.count(err, connected=client.connected)
                # A refusal is a valid response, and a lost connection holds no bytes.
                lost = isinstance(error, ModbusConnectionError) and not client.connected
                disturbed = not (lost or isinstance(err, ModbusExceptionError))
                if probe_timeout and isinstance(err, ModbusTimeoutError):
                    self._probes += 1
                    disturbed = self._probes % PROBES_UNTIL_RECOVERY == 0
                    request.cancel()
                    await asyncio.wait({request})
                if error is err:
                    raise
                raise error from err
            finally:
                seconds = loop.time() - began
                traffic.seconds += seconds
                if disturbed:
                    self._begin_recovery(client, request, began + limit)
            if not reconnects and unit_id != BROADCAST:
                delay = max(seconds - wire, 0)
                self.delay += WEIGHT_OF_ONE_DELAY * (delay - self.delay)
            return result

    async def _async_open[T](self, client: ModbusUnit, call: Call[T]) -> T:
        """Call, and again while the port that was just closed cannot be opened."""
        while True:
            try:
                return await call()
            except ModbusConnectionError:
                is_late = asyncio.get_running_loop().time() > self._reopen_until
                if client.connected or is_late:
                    raise
            await asyncio.sleep(REOPEN_DELAY)

    def _begin_recovery(
        self, client: ModbusUnit, request: asyncio.Task[Any], end: float
    ) -> None:
        """Discard in the background what is left of a disturbed transaction.

        Its response may arrive until `end`, in s of the event loop's clock.
        """

        async def disconnect() -> None:
            while not request.done():
                # To cancel a client that connects would make asyncio log a traceback.
                if client.connected:
                    request.cancel()
                await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)
            with suppress(ModbusError):
                await client.disconnect()

        self._reopen_until = 0  # nobody waits for the port any more
        end += QUIET_SECONDS * self.is_lossy
        self._quiet_until = end if self.framing == "rtu" else 0
        self._recovery = asyncio.create_task(disconnect())

    async def async_settle(self) -> None:
        """Wait until nothing of a disturbed transaction uses the port any more."""
        if self._recovery is not None:
            await asyncio.wait({self._recovery})

    async def _async_recover(self) -> bool:
        """Wait for the end of a recovery, and return whether there was one."""
        if self._recovery is None:
            return False
        await self.async_settle()
        await asyncio.sleep(self._quiet_until - asyncio.get_running_loop().time())
        self._recovery = None
        return True


async def _async_response[T](
    client: ModbusUnit, request: asyncio.Task[T], limit: float
) -> T:
    """Return the response, for which the client has so many s while connected."""
    while not request.done():
        connected = client.connected
        await asyncio.wait(
            {request}, timeout=limit if connected else CONNECT_CHECK_DELAY
        )
        if connected and client.connected and not request.done():
            msg = f"no response within {limit:.2f} s"
            raise ModbusTimeoutError(msg)
    return request.result()
