"""The requests to one unit ID of a bus: retries, late responses and echoes."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)

from .errors import EchoError

if TYPE_CHECKING:
    from .bus import Bus

type Call[T] = Callable[[], Coroutine[Any, Any, T]]

# Characters of request and response together. Each register adds two.
READ_CHARACTERS = 13
WRITE_CHARACTERS = 16  # function 6, including its register, or a loopback test
WRITE_SEVERAL_CHARACTERS = 17  # function 16

ATTEMPTS = 2  # to read registers
# Attempts to read registers if the meter may respond slowly (a slow unit), or if the
# bus loses many responses (a lossy bus).
SLOW_ATTEMPTS = 3
SLOW_RESPONSE_TIMEOUT = 1.0  # s; our choice, for a meter that responds slowly

# In s; opening a port is retried for this time. Our choice: a port that was just closed
# is busy for a shorter time.
REOPEN_SECONDS = 1.0
# In s; after a timeout, the response may still arrive within this time. Our choice: a
# radio link or a busy gateway delays responses by up to this time.
LATE_SECONDS = 3.0

LOOPBACK = 0xA55A  # the word of a loopback test; any word is possible

RETRY_TIMEOUTS_AT_ONCE = ContextVar("RETRY_TIMEOUTS_AT_ONCE", default=True)
"""Whether the reads of the current task are retried at once after a timeout.

On a bus that is not lossy, the poller sets the variable to False, and plans the retry.
"""


class BusUnit:
    """One unit ID of a bus, with the `ModbusUnit` methods for blocks and commands."""

    def __init__(
        self,
        bus: Bus,
        unit_id: int,
        client: ModbusUnit,
        *,
        slow: bool,
        background: bool,
    ) -> None:
        """Initialize the unit; `Bus.unit` describes the arguments."""
        self._bus = bus
        self._unit_id = unit_id
        self._client = client
        self._slow = slow
        self._background = background
        self._online: bool | None = None
        """Whether the last read had a response, None before the first read.

        A refused read, or a read that failed with a lost connection, does not change
        the value.
        """
        self._lost = False
        """Whether a response to a read was lost or damaged since the last valid one."""
        self._late_reads: set[tuple[int, int]] = set()
        """Reads (register address and count) whose response may still arrive."""
        self._late_until = 0.0
        """Until when these responses may arrive, in s of the event loop's clock."""

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read registers with function 3, and retry after a lost or damaged response.

        For a slow unit, and on a lossy bus, a read has `SLOW_ATTEMPTS` attempts.
        Otherwise, it has `ATTEMPTS` attempts, but a timeout is not retried in two
        cases: the previous read of the unit timed out as well, or the task retries the
        read itself (`RETRY_TIMEOUTS_AT_ONCE` is False). Raises `ModbusError`.
        """
        bus = self._bus
        is_slow_or_lossy = self._slow or bus.is_lossy
        attempts_left = SLOW_ATTEMPTS if is_slow_or_lossy else ATTEMPTS
        while True:
            attempts_left -= 1
            try:
                words = await self._async_read(address, count)
            except (ModbusTimeoutError, ModbusProtocolError) as err:
                self._lost = True
                timed_out = isinstance(err, ModbusTimeoutError)
                is_final = (
                    timed_out
                    and not is_slow_or_lossy
                    and (self._online is False or not RETRY_TIMEOUTS_AT_ONCE.get())
                )
                if is_final or not attempts_left:
                    self._online = not timed_out
                    await self._async_check_echo()
                    raise
                bus.traffic[self._unit_id].retries += 1
            else:
                bus.count_loss(lost=self._lost)
                self._online, self._lost = True, False
                return words

    async def _async_read(self, address: int, count: int) -> list[int]:
        """Read registers once, and do not accept a late response to another read.

        A response contains the number of registers, but not their address. So a request
        is sent only when no late response to another read of the same number of
        registers can arrive. A refusal contains neither the number nor the address. So
        a refused read is repeated if the refusal may have been a late response to
        another read.
        """

        async def read() -> list[int]:
            words = await self._client.read_holding_registers(address, count)
            if len(words) != count:
                msg = f"{len(words)} registers in place of {count}"
                raise ModbusProtocolError(msg)
            return words

        request = (address, count)
        if self._background:
            await self._bus.async_wait_for_pause()
        await self._async_wait_for_late_responses(
            {other for other in self._late_reads - {request} if other[1] == count}
        )
        try:
            words = await self._bus.async_request(
                self._unit_id,
                self._client,
                read,
                READ_CHARACTERS + 2 * count,
                shortest_timeout=SLOW_RESPONSE_TIMEOUT if self._slow else 0,
                reopen_seconds=REOPEN_SECONDS,
            )
        except ModbusExceptionError:
            self._bus.responded = True
            if not await self._async_wait_for_late_responses(
                self._late_reads - {request}
            ):
                raise
            return await self._async_read(address, count)
        except BaseException:
            self._late_reads.add(request)
            raise
        finally:
            # The response to this request may still arrive in two cases: no valid
            # response was received, or the received one may belong to an earlier equal
            # request.
            if request in self._late_reads:
                self._late_until = asyncio.get_running_loop().time() + LATE_SECONDS
        self._bus.responded = True
        return words

    async def _async_wait_for_late_responses(
        self, reads: Collection[tuple[int, int]]
    ) -> bool:
        """Wait until no late response to `reads` can arrive any more.

        Returns whether such a response was possible when the wait began.
        """
        seconds = self._late_until - asyncio.get_running_loop().time()
        if seconds > 0:
            if not reads:
                return False
            await asyncio.sleep(seconds)
        self._late_reads.clear()
        return seconds > 0

    async def _async_check_echo(self) -> None:
        """Raise `EchoError` if no meter has responded and the adapter echoes requests.

        The client takes the echo of a read for the beginning of a longer response, so
        all meters seem to be offline. The response to a loopback test (function 8) is
        equal to its request, so the client accepts the echo as the response.
        """
        bus = self._bus
        if bus.responded or bus.framing == "tcp":
            return
        if bus.echoes is None:
            try:
                word = await bus.async_request(
                    self._unit_id,
                    self._client,
                    lambda: self._client.diagnostics(0, LOOPBACK),
                    WRITE_CHARACTERS,
                    reopen_seconds=REOPEN_SECONDS,
                )
                bus.echoes = word == LOOPBACK
            except ModbusConnectionError:
                return  # the test has no result, so the next failed read repeats it
            except ModbusError:
                bus.echoes = False
        if bus.echoes:
            msg = "the adapter returns every request; switch off its echo"
            raise EchoError(msg) from None

    async def write_register(self, address: int, value: int) -> None:
        """Write one register with function 6, without retries. Raises `ModbusError`."""
        await self._async_write(
            lambda: self._client.write_register(address, value), WRITE_CHARACTERS
        )

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write registers with function 16, without retries. Raises `ModbusError`."""
        await self._async_write(
            lambda: self._client.write_registers(address, values),
            WRITE_SEVERAL_CHARACTERS + 2 * len(values),
        )

    async def _async_write(self, call: Call[None], characters: int) -> None:
        """Wait until no late response can arrive, then write.

        Without the wait, the read-back of the write could accept a late response to an
        earlier equal read, with the values from before the write.
        """
        await self._async_wait_for_late_responses(self._late_reads)
        await self._bus.async_request(self._unit_id, self._client, call, characters)
