"""One RS485 line behind one port or gateway. Its `Bus` object sends all requests.

A timeout, a damaged response or a cancelled task disturbs a transaction: the response
may still arrive, as a whole or in part. A recovery follows, so that the next
transaction does not receive this response. The recovery disconnects the client, which
discards the received bytes. Then the recovery waits until the line is idle, except
behind a Modbus TCP gateway. The next request connects the client again.
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

BITS_PER_CHARACTER = 11  # start bit, 8 data bits, parity or second stop bit, stop bit
SILENT_CHARACTERS = 3.5  # the silence between two frames (Modbus specification)
# Seconds of silence between two frames above 19200 baud (Modbus specification).
SHORTEST_SILENCE = 0.00175

# In s; the initial value of `Bus.delay`, the time until a response begins. Our choice.
INITIAL_DELAY = 0.03
RESPONSE_TIMEOUT = 0.25  # s; our choice: several times the delay of meter and adapter
# In s; our choice: longer than `RESPONSE_TIMEOUT`, because a gateway has its own
# timeout for the meter.
GATEWAY_RESPONSE_TIMEOUT = 1.0
# The response timeout of a slow bus is this multiple of the measured delay. Our choice.
DELAYS_UNTIL_TIMEOUT = 4
DELAY_WEIGHT = 0.1  # weight of a new delay in the moving average (`Bus.delay`)

# A bus is lossy if more than this fraction of the reads was retried. Our choice.
LOSSY_ABOVE = 0.15
# Weight of a read in the moving average of the retried fraction (`Bus.loss`). Our
# choice: two lost responses do not make a bus lossy.
LOSS_WEIGHT = 0.05
# In s; the recovery of a lossy bus waits longer by this time, because late bytes are
# frequent on a lossy bus. Our choice.
LOSSY_IDLE_SECONDS = 0.15
REOPEN_DELAY = 0.05  # s between two attempts to open a port that was just closed
CONNECT_CHECK_DELAY = 0.01  # s between two checks of a client that connects
# In s; a background request, such as a probe, waits for a free bus at most this time.
# Then the request is sent. Our choice: if the bus is never free, a scan delays the
# poller by at most one probe per second.
LONGEST_BACKGROUND_WAIT = 1.0
LOCK_CHECK_DELAY = 0.005  # s between two checks of the bus lock
# If the client has received noise, it may not find the later responses behind the
# noise. A recovery discards the noise. So a recovery follows after this number of
# probes without a response. Our choice: with a higher number, noise would hide more
# unit IDs. With a lower number, a scan would take longer. In a scan with all line
# settings, the 36 recoveries take 7 s together (0.2 s each).
PROBES_UNTIL_RECOVERY = 64

BROADCAST = 0  # the unit ID of a request to all meters
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
        """Initialize the bus, without opening the port.

        `framing` is "rtu" for a serial port and RTU over TCP, "tcp" for a Modbus TCP
        gateway. `response_timeout` is the time in s in which a response has to begin,
        None for the default of the framing. On a slow bus, and for a slow unit (see
        `unit`), the time may be longer.
        """
        self.baudrate = baudrate
        self.framing = framing
        default = RESPONSE_TIMEOUT if framing == "rtu" else GATEWAY_RESPONSE_TIMEOUT
        self.response_timeout = response_timeout or default
        self.delay = INITIAL_DELAY
        """Moving average of the time until a response begins, in s."""
        self.responded = False
        """Whether any device has responded."""
        self.loss = 0.0
        """Moving average of the fraction of the reads that were retried."""
        self.echoes: bool | None = None
        """Whether the adapter returns the requests, None if unknown."""
        self.traffic: defaultdict[int, Traffic] = defaultdict(Traffic)
        """The numbers of requests and errors, by unit ID."""
        self._created_at = time.monotonic()
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        """The task that has locked the bus."""
        self._recovery: asyncio.Task[None] | None = None
        """The task that disconnects the client after a disturbed transaction."""
        self._idle_at = 0.0
        """When a recovery may end, in s of the event loop's clock."""
        self._reopen_until = 0.0
        """Until when opening the port is retried, in s of the event loop's clock."""
        self._probe_timeouts = 0
        limit_warnings()

    @property
    def seconds_since_creation(self) -> float:
        """Return the time since the `Bus` was created, in s."""
        return time.monotonic() - self._created_at

    @property
    def used_seconds(self) -> float:
        """Return the duration of all transactions in s."""
        return sum(traffic.seconds for traffic in self.traffic.values())

    def count_loss(self, *, lost: bool) -> None:
        """Update `loss` after the valid response to a read.

        If a response was lost or damaged since the previous valid response of the unit,
        `lost` is True.
        """
        self.loss += LOSS_WEIGHT * (lost - self.loss)

    @property
    def is_lossy(self) -> bool:
        """Return whether many responses of online meters are lost or damaged."""
        return self.loss > LOSSY_ABOVE

    def read_seconds(self, registers: int) -> float:
        """Return the expected duration of a read of this number of registers, in s."""
        characters = READ_CHARACTERS + 2 * registers
        return wire_seconds(self.baudrate, characters) + self.delay

    def unit(
        self,
        unit_id: int,
        client: ModbusUnit,
        *,
        slow: bool = False,
        background: bool = False,
    ) -> ModbusUnit:
        """Return the unit with this unit ID, for blocks and commands.

        `client` sends the requests. The reads of a `slow` unit have longer timeouts and
        more attempts, for a meter that may respond slowly. Each read of a `background`
        unit waits at most `LONGEST_BACKGROUND_WAIT` until no other task uses the bus.
        """
        unit = BusUnit(self, unit_id, client, slow=slow, background=background)
        return cast(ModbusUnit, unit)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Lock the bus for several requests of this task.

        A task that has locked the bus may call this method again.
        """
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
        """Wait at most `LONGEST_BACKGROUND_WAIT` until no task uses the bus."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_BACKGROUND_WAIT):
                # If the lock was just released, let the next waiting task take it.
                await asyncio.sleep(0)
                while self._lock.locked():  # noqa: ASYNC110
                    await asyncio.sleep(LOCK_CHECK_DELAY)

    async def async_broadcast(
        self, client: ModbusUnit, register: int, value: int
    ) -> None:
        """Write a register of all meters, through the `client` of unit ID 0.

        No meter responds to a broadcast.
        """
        async with self.hold():
            # Some clients wait for a response to a broadcast, until the timeout.
            with suppress(ModbusTimeoutError):
                await self.async_request(
                    BROADCAST,
                    client,
                    lambda: client.write_register(register, value),
                    WRITE_CHARACTERS,
                )
            # `WRITE_CHARACTERS` counts request and response, which have equal lengths.
            sending = wire_seconds(self.baudrate, WRITE_CHARACTERS / 2)
            await asyncio.sleep(sending + TURNAROUND_SECONDS)

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
        """Send one request with `call`, and return the response.

        `characters` is the length of request and response together. `shortest_timeout`
        is a lower limit of the response timeout in s. If `probe_timeout` is not 0, the
        request is a probe, and `probe_timeout` is its exact response timeout in s. Most
        probes have no response, so a recovery follows only once in
        `PROBES_UNTIL_RECOVERY` timeouts. A port that was just closed may be busy. So
        for a probe, and for the first request after a recovery, opening the port is
        retried for `reopen_seconds`. Raises `ModbusError`.
        """
        loop = asyncio.get_running_loop()
        async with self.hold():
            may_reopen = await self._async_recover() or probe_timeout > 0
            self._reopen_until = loop.time() + reopen_seconds * may_reopen
            wire = wire_seconds(self.baudrate, characters)
            timeout = max(self.response_timeout, DELAYS_UNTIL_TIMEOUT * self.delay)
            limit = wire + (probe_timeout or max(shortest_timeout, timeout))
            traffic = self.traffic[unit_id]
            traffic.requests += 1
            reconnects = not client.connected
            request = loop.create_task(self._async_call(client, call))
            # Retrieve the error, because asyncio logs each error that is not retrieved.
            request.add_done_callback(lambda done: done.cancelled() or done.exception())
            began = loop.time()
            disturbed = True
            try:
                await _async_wait_for_client(client, request)
                began = loop.time()
                result = await _async_response(client, request, limit)
                disturbed = False
            except Exception as err:
                error = traffic.count(err, connected=client.connected)
                # Two errors do not disturb the transaction: a lost connection, because
                # the client has discarded all bytes, and a Modbus exception, because it
                # is a valid response.
                disconnected = (
                    isinstance(error, ModbusConnectionError) and not client.connected
                )
                disturbed = not (disconnected or isinstance(err, ModbusExceptionError))
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
            # A broadcast has no delay, because it has no response. If the client has
            # just connected, the delay is unknown, because the request may have been
            # sent before `began`.
            if not reconnects and unit_id != BROADCAST:
                delay = max(seconds - wire, 0)
                self.delay += DELAY_WEIGHT * (delay - self.delay)
            return result

    async def _async_call[T](self, client: ModbusUnit, call: Call[T]) -> T:
        """Send a request with `call`, and retry while the port cannot be opened.

        A failure after `_reopen_until` is final.
        """
        while True:
            try:
                return await call()
            except ModbusConnectionError:
                is_final = asyncio.get_running_loop().time() >= self._reopen_until
                if client.connected or is_final:
                    raise
            await asyncio.sleep(REOPEN_DELAY)

    def _begin_recovery(
        self, client: ModbusUnit, request: asyncio.Task[Any], end: float
    ) -> None:
        """Disconnect the client of a disturbed transaction in the background.

        `request` is the task that waits for the response. The response may arrive until
        `end`, in s of the event loop's clock.
        """

        async def disconnect() -> None:
            while not request.done():
                # Do not cancel the request while the client connects, because asyncio
                # would log a traceback.
                if client.connected:
                    request.cancel()
                await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)
            with suppress(ModbusError):
                await client.disconnect()

        self._reopen_until = 0  # the disturbed request must not open the port again
        end += LOSSY_IDLE_SECONDS * self.is_lossy
        # Behind a Modbus TCP gateway, a new connection receives no late response.
        self._idle_at = end if self.framing == "rtu" else 0
        self._recovery = asyncio.create_task(disconnect())

    async def async_settle(self) -> None:
        """Wait until the client of a disturbed transaction has disconnected."""
        if self._recovery is not None:
            await asyncio.wait({self._recovery})

    async def _async_recover(self) -> bool:
        """Wait until the recovery has ended, and return whether there was one."""
        if self._recovery is None:
            return False
        await self.async_settle()
        await asyncio.sleep(self._idle_at - asyncio.get_running_loop().time())
        self._recovery = None
        return True


async def _async_wait_for_client(
    client: ModbusUnit, request: asyncio.Task[Any]
) -> None:
    """Wait until the client is connected, or the request has ended."""
    while not client.connected and not request.done():
        await asyncio.wait({request}, timeout=CONNECT_CHECK_DELAY)


async def _async_response[T](
    client: ModbusUnit, request: asyncio.Task[T], limit: float
) -> T:
    """Return the response, or raise `ModbusTimeoutError` after `limit` s.

    The time in which the client connects is not part of the `limit`.
    """
    while not request.done():
        await asyncio.wait({request}, timeout=limit)
        if client.connected and not request.done():
            msg = f"no response within {limit:.2f} s"
            raise ModbusTimeoutError(msg)
        await _async_wait_for_client(client, request)
    return request.result()
