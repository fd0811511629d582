"""One RS485 line behind one port or gateway. All requests are sent here.

A transaction is disturbed if it ends without a valid response: by a timeout, a damaged
response or a cancelled task. Then the bus recovers, so that no late or partial response
reaches the next transaction: it disconnects the client, which discards the received
bytes, and waits until the line is idle. The next request connects the client again.
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

BITS_PER_CHARACTER = 11  # start bit, 8 data bits, parity, stop bit; or 2 stop bits
SILENT_CHARACTERS = 3.5  # between two frames (Modbus specification)
SHORTEST_SILENCE = 0.00175  # s; between two frames above 19200 baud (the same)

INITIAL_DELAY = 0.03  # s until a response begins; assumed until it is measured
RESPONSE_TIMEOUT = 0.25  # s; our choice: several times the delay of meter and adapter
GATEWAY_RESPONSE_TIMEOUT = 1.0  # s; our choice: a gateway reports its own timeout
DELAYS_UNTIL_TIMEOUT = 4  # the timeout on a slower bus, in measured delays; our choice
DELAY_WEIGHT = 0.1  # of a new delay in the moving average

# A bus is lossy if more than this part of the reads was repeated. Our choice: with this
# weight of a read in the moving average, two lost responses do not make a bus lossy.
LOSSY = 0.15
LOSS_WEIGHT = 0.05
# s; a recovery of a lossy bus waits so much longer than the response timeout, because
# late bytes are frequent there. Our choice.
LOSSY_IDLE_SECONDS = 0.15
REOPEN_DELAY = 0.05  # s between two attempts to open a port that was just closed
CONNECT_CHECK_DELAY = 0.01  # s between two checks of a client that connects
# s that a scan waits for a bus that is never free. Our choice: then each second, one
# probe delays the poller.
LONGEST_WAIT = 1.0
LOCK_CHECK_DELAY = 0.005  # s between two checks of the bus lock
# Timeouts of probes until a recovery. Our choice: noise hides at most so many unit IDs,
# and the recoveries take 11 s of a scan of all settings.
PROBES_UNTIL_RECOVERY = 64

BROADCAST = 0
TURNAROUND_SECONDS = 0.1  # s in which the meters carry out a broadcast; our choice


def wire_seconds(baudrate: int, characters: float) -> float:
    """Return the duration of characters and the silent interval after them, in s."""
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
        gateway. `response_timeout` is the time in s until a response has to begin.
        """
        self.baudrate = baudrate
        self.framing = framing
        default = RESPONSE_TIMEOUT if framing == "rtu" else GATEWAY_RESPONSE_TIMEOUT
        self.response_timeout = response_timeout or default
        self.delay = INITIAL_DELAY
        """Moving average of the time until a response begins, in s."""
        self.responded = False
        """Whether a meter has responded."""
        self.loss = 0.0
        """Moving average of the part of the reads that were repeated, from 0 to 1."""
        self.echoes: bool | None = None
        """Whether the adapter returns the requests, None if unknown."""
        self.traffic: defaultdict[int, Traffic] = defaultdict(Traffic)
        """By unit ID."""
        self._began = time.monotonic()
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._idle_at = 0.0
        """When the line is idle after a recovery, in s of the event loop's clock."""
        self._reopen_until = 0.0
        """Until when a port that cannot be opened is tried again, in the same s."""
        self._probe_timeouts = 0
        limit_warnings()

    @property
    def seconds(self) -> float:
        """Return the age of the bus in s."""
        return time.monotonic() - self._began

    @property
    def used_seconds(self) -> float:
        """Return the duration of all transactions in s."""
        return sum(traffic.seconds for traffic in self.traffic.values())

    def count_loss(self, *, lost: bool) -> None:
        """Count a read, and whether a response to it was lost or damaged before."""
        self.loss += LOSS_WEIGHT * (lost - self.loss)

    @property
    def is_lossy(self) -> bool:
        """Return whether many responses of online meters are lost or damaged."""
        return self.loss > LOSSY

    def read_seconds(self, words: int) -> float:
        """Return the expected duration of a read of so many registers in s."""
        return wire_seconds(self.baudrate, READ_CHARACTERS + 2 * words) + self.delay

    def unit(
        self,
        unit_id: int,
        client: ModbusUnit,
        *,
        patient: bool = False,
        background: bool = False,
    ) -> ModbusUnit:
        """Return a unit ID for components to read and write.

        A `patient` unit has longer timeouts and more attempts, for a meter that may
        respond slowly. Requests of a `background` unit wait until no other task uses
        the bus, for `LONGEST_WAIT` at most.
        """
        unit = BusUnit(self, unit_id, client, patient=patient, background=background)
        return cast(ModbusUnit, unit)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Lock the bus for several requests of this task; may be nested."""
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
                await asyncio.sleep(0)  # lets a task that waits for the lock take it
                while self._lock.locked():  # noqa: ASYNC110
                    await asyncio.sleep(LOCK_CHECK_DELAY)

    async def async_broadcast(
        self, client: ModbusUnit, register: int, value: int
    ) -> None:
        """Write a register of all meters, through the `client` of unit ID 0.

        No meter responds to a broadcast.
        """
        async with self.hold():
            # Some clients wait for a response.
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
        """Return the response to one request, in one transaction.

        `characters` is the length of request and response together. `shortest_timeout`
        is the least response timeout in s, and `probe_timeout` the exact one of a
        probe. Most probes time out, so only some of them begin a recovery. After a
        recovery, a port that cannot be opened is tried again for `reopen_seconds`.
        Raises `ModbusError`.
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
            # asyncio logs an error that no task retrieves.
            request.add_done_callback(lambda done: done.cancelled() or done.exception())
            began = loop.time()
            disturbed = True
            try:
                await _async_connected(client, request)
                began = loop.time()
                result = await _async_response(client, request, limit)
                disturbed = False
            except Exception as err:
                error = traffic.count(err, connected=client.connected)
                # A refusal is a valid response, and a lost connection holds no bytes.
                lost = isinstance(error, ModbusConnectionError) and not client.connected
                disturbed = not (lost or isinstance(err, ModbusExceptionError))
                if probe_timeout and isinstance(err, ModbusTimeoutError):
                    self._probe_timeouts += 1
                    disturbed = self._probe_timeouts % PROBES_UNTIL_RECOVERY == 0
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
                self.delay += DELAY_WEIGHT * (delay - self.delay)
            return result

    async def _async_open[T](self, client: ModbusUnit, call: Call[T]) -> T:
        """Call, and repeat the call while a port that was closed cannot be opened."""
        while True:
            try:
                return await call()
            except ModbusConnectionError:
                is_late = asyncio.get_running_loop().time() >= self._reopen_until
                if client.connected or is_late:
                    raise
            await asyncio.sleep(REOPEN_DELAY)

    def _begin_recovery(
        self, client: ModbusUnit, request: asyncio.Task[Any], end: float
    ) -> None:
        """Disconnect the client in the background.

        The response to the disturbed transaction may arrive until `end`, in s of the
        event loop's clock.
        """

        async def disconnect() -> None:
            while not request.done():
                # If a client that connects is cancelled, asyncio logs a traceback.
                if client.connected:
                    request.cancel()
                await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)
            with suppress(ModbusError):
                await client.disconnect()

        self._reopen_until = 0  # the disturbed request does not open the port again
        end += LOSSY_IDLE_SECONDS * self.is_lossy
        self._idle_at = end if self.framing == "rtu" else 0
        self._recovery = asyncio.create_task(disconnect())

    async def async_settle(self) -> None:
        """Wait until no disturbed transaction uses the port."""
        if self._recovery is not None:
            await asyncio.wait({self._recovery})

    async def _async_recover(self) -> bool:
        """Wait for the end of a recovery, and return whether there was one."""
        if self._recovery is None:
            return False
        await self.async_settle()
        await asyncio.sleep(self._idle_at - asyncio.get_running_loop().time())
        self._recovery = None
        return True


async def _async_connected(client: ModbusUnit, request: asyncio.Task[Any]) -> None:
    """Wait until the client is connected, or the request has ended without."""
    while not client.connected and not request.done():
        await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)


async def _async_response[T](
    client: ModbusUnit, request: asyncio.Task[T], limit: float
) -> T:
    """Return the response, or raise `ModbusTimeoutError` after `limit` s.

    The time in which the client connects does not count.
    """
    while not request.done():
        await asyncio.wait({request}, timeout=limit)
        if client.connected and not request.done():
            msg = f"no response within {limit:.2f} s"
            raise ModbusTimeoutError(msg)
        await _async_connected(client, request)
    return request.result()
