"""The requests to one unit ID of a bus, as components send them."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from modbus_connection import (
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

# Characters of request and response together, without two for each register.
READ_CHARACTERS = 13
WRITE_CHARACTERS = 16  # function 6, its register included; also a loopback test
WRITE_SEVERAL_CHARACTERS = 17  # function 16

ATTEMPTS = 2
MOST_ATTEMPTS = 3  # of a patient unit, and on a lossy bus
# s; a meter in AUTO mode may take as long.
PATIENT_RESPONSE_TIMEOUT = 1.0

REOPEN_SECONDS = 1.0  # s for which a port may be busy after it was closed
# s after a lost response in which it may arrive. Our choice: a radio link or a gateway
# that is busy takes so long.
LATE_SECONDS = 3.0

LOOPBACK = 0xA55A  # any word

REPEATS_TIMEOUTS = ContextVar("REPEATS_TIMEOUTS", default=True)
"""Whether the reads of this task are repeated at once if they time out."""


class BusUnit:
    """One unit ID: what components use of `ModbusUnit`."""

    def __init__(
        self,
        bus: Bus,
        unit_id: int,
        client: ModbusUnit,
        *,
        patient: bool,
        background: bool,
    ) -> None:
        """Initialize the unit with the client that carries its requests."""
        self._bus = bus
        self._unit_id = unit_id
        self._client = client
        self._patient = patient
        self._background = background
        self._online: bool | None = None
        """Whether the last request had a response, None before the first one."""
        self._lost = False
        """Whether a response was lost or damaged since the last valid one."""
        self._late: set[tuple[int, int]] = set()
        """Reads (register address and count) whose response may still arrive."""
        self._late_until = 0.0
        self.disconnect = client.disconnect
        self.on_connection_lost = client.on_connection_lost
        self.require_connect_delay = client.require_connect_delay
        self.require_timeout = client.require_timeout
        self.set_message_spacing = client.set_message_spacing

    @property
    def connected(self) -> bool:
        """Return whether the client is connected."""
        return self._client.connected

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read registers, again if the response is lost or damaged.

        A timeout is not repeated if the last request of the unit timed out, too, or if
        the task repeats it later. On a lossy bus it is repeated nevertheless, because
        the loss is probably not the meter's.
        """
        bus = self._bus
        insists = self._patient or bus.is_lossy
        attempts = 0
        while True:
            attempts += 1
            try:
                words = await self._async_read(address, count)
            except (ModbusTimeoutError, ModbusProtocolError) as err:
                self._lost = True
                timed_out = isinstance(err, ModbusTimeoutError)
                is_final = self._online is False or not REPEATS_TIMEOUTS.get()
                gives_up = timed_out and is_final and not insists
                if attempts == (MOST_ATTEMPTS if insists else ATTEMPTS) or gives_up:
                    self._online = not timed_out
                    await self._async_check_echo()
                    raise
                bus.traffic[self._unit_id].retries += 1
            else:
                bus.count_loss(lost=self._lost)
                self._online, self._lost = True, False
                return words

    async def _async_read(self, address: int, count: int) -> list[int]:
        """Read registers once, without taking the response to another read.

        A response only shows how many registers it holds, not which ones, and a
        refusal not even that.
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
        await self._async_settle(
            {other for other in self._late - {request} if other[1] == count}
        )
        try:
            words = await self._bus.async_request(
                self._unit_id,
                self._client,
                read,
                READ_CHARACTERS + 2 * count,
                shortest_timeout=PATIENT_RESPONSE_TIMEOUT if self._patient else 0,
                reopen_seconds=REOPEN_SECONDS,
            )
        except ModbusExceptionError:
            self._bus.responded = True
            if not await self._async_settle(self._late - {request}):
                raise
            return await self._async_read(address, count)
        except BaseException:
            self._late.add(request)
            raise
        finally:
            # If the response was a late one, that to this request is still missing.
            if request in self._late:
                self._late_until = asyncio.get_running_loop().time() + LATE_SECONDS
        self._bus.responded = True
        return words

    async def _async_settle(self, reads: Collection[tuple[int, int]]) -> bool:
        """Wait until no response to these reads can arrive, and return if one could."""
        seconds = self._late_until - asyncio.get_running_loop().time()
        if reads and seconds > 0:
            await asyncio.sleep(seconds)
        elif seconds > 0:
            return False
        self._late.clear()
        return seconds > 0

    async def _async_check_echo(self) -> None:
        """Raise `EchoError` if no meter ever responded and the adapter echoes requests.

        An echoed read looks like the beginning of a long response, so all meters seem
        to be offline. A loopback test (function 8) and its response are the same.
        """
        bus = self._bus
        if bus.responded or bus.framing == "tcp":
            return
        if bus.echoes is None:
            bus.echoes = False
            with suppress(ModbusError):
                word = await bus.async_request(
                    self._unit_id,
                    self._client,
                    lambda: self._client.diagnostics(0, LOOPBACK),
                    WRITE_CHARACTERS,
                )
                bus.echoes = word == LOOPBACK
        if bus.echoes:
            msg = "the adapter returns every request; switch off its echo"
            raise EchoError(msg) from None

    async def write_register(self, address: int, value: int) -> None:
        """Write one register with function 6. Never repeated."""
        await self._async_write(
            lambda: self._client.write_register(address, value), WRITE_CHARACTERS
        )

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write several registers with function 16. Never repeated."""
        await self._async_write(
            lambda: self._client.write_registers(address, values),
            WRITE_SEVERAL_CHARACTERS + 2 * len(values),
        )

    async def _async_write(self, call: Call[None], characters: int) -> None:
        """Write, and let no response from before be taken for the read-back."""
        await self._async_settle(self._late)
        await self._bus.async_request(self._unit_id, self._client, call, characters)
