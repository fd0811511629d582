"""The line that the meters of one port share."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
import time
from typing import Any

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)

BITS_PER_CHARACTER = 11
REQUEST_CHARACTERS = 8
ANSWER_CHARACTERS = 5  # beside two for each register
SILENT_CHARACTERS = 3.5  # between two frames
SHORTEST_SILENCE = 0.00175  # where those would be shorter still

# What a meter takes to begin its answer: as supposed before one was heard, and as
# waited for at least. Adapters add some 20 ms to it.
SUPPOSED_DELAY = 0.03
SHORTEST_WAIT = 0.25
DELAYS_WAITED_FOR = 4
WEIGHT_OF_ONE_DELAY = 0.1

# A port is let go of a moment after it was closed.
REOPENING_SECONDS = 0.1


@dataclass
class Traffic:
    """What was asked of one meter since the line is in use, and what went wrong."""

    requests: int = 0
    retries: int = 0
    """Of these, what was asked once more."""
    timeouts: int = 0
    damaged: int = 0
    """Answers with a wrong checksum, length or sender."""
    refused: int = 0
    """Answers that are Modbus exceptions."""
    seconds: float = 0
    """Of the line's time."""

    @property
    def errors(self) -> int:
        """How many requests had no usable answer."""
        return self.timeouts + self.damaged + self.refused


@dataclass(eq=False)
class Line:
    """What the meters on one line have in common: their turns and its seconds."""

    baudrate: int
    shortest_wait: float | None = None
    """What a meter is waited for at least, in seconds, if not the usual."""
    meters: set[object] = field(default_factory=set)
    """Those that answer, and so have a share of the line."""
    polls: int = 0
    """Of all meters together."""
    delay: float = SUPPOSED_DELAY
    """What a meter takes on average to begin its answer, in seconds."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever talks: a poll from its first read to its last."""
    traffic: defaultdict[int, Traffic] = field(
        default_factory=lambda: defaultdict(Traffic)
    )
    """By address."""
    began: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        """The part of the line that is each meter's."""
        return 1 / max(len(self.meters), 1)

    @property
    def round(self) -> int:
        """How often all meters had a poll."""
        return self.polls // max(len(self.meters), 1)

    @property
    def seconds(self) -> float:
        """For how long the line has been in use."""
        return time.monotonic() - self.began

    @property
    def used_seconds(self) -> float:
        """How much of it someone was talking, or waited for."""
        return sum(traffic.seconds for traffic in self.traffic.values())

    def wire_seconds(self, reads: Sequence[int]) -> float:
        """Return what the frames alone take, for reads of so many registers."""
        character = BITS_PER_CHARACTER / self.baudrate
        silence = max(SILENT_CHARACTERS * character, SHORTEST_SILENCE)
        characters = REQUEST_CHARACTERS + ANSWER_CHARACTERS
        return sum((characters + 2 * words) * character + silence for words in reads)

    def cost(self, reads: Sequence[int]) -> float:
        """Return what reads of so many registers take of the line, in seconds."""
        return self.wire_seconds(reads) + len(reads) * self.delay

    async def async_take_turn[T](
        self,
        reads: Sequence[int],
        exchange: Coroutine[Any, Any, T],
        *,
        address: int = 0,
        wait: float | None = None,
    ) -> T:
        """Return what the exchange does, in a turn of its own.

        As `async_exchange` otherwise.
        """
        try:
            async with self.turn:
                return await self.async_exchange(
                    reads, exchange, address=address, wait=wait
                )
        finally:
            # Who is cancelled while waiting has not begun.
            exchange.close()

    async def async_exchange[T](
        self,
        reads: Sequence[int],
        exchange: Coroutine[Any, Any, T],
        *,
        address: int = 0,
        wait: float | None = None,
    ) -> T:
        """Return what the exchange does, for who holds the turn.

        `wait` is how many seconds each of its answers may take to begin, at
        least. Raises `ModbusTimeoutError` if they take longer.
        """
        wire = self.wire_seconds(reads)
        shortest = wait or self.shortest_wait or SHORTEST_WAIT
        wait = max(shortest, DELAYS_WAITED_FOR * self.delay)
        traffic = self.traffic[address]
        traffic.requests += len(reads)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(wire + len(reads) * wait):
                result = await exchange
        except TimeoutError as err:
            traffic.timeouts += 1
            if isinstance(err, ModbusTimeoutError):
                raise
            msg = f"no whole answer within {wire + len(reads) * wait:.2f} s"
            raise ModbusTimeoutError(msg) from err
        except ModbusConnectionError:
            raise
        except ModbusProtocolError:
            traffic.damaged += 1
            raise
        except ModbusExceptionError:
            traffic.refused += 1
            raise
        finally:
            took = asyncio.get_running_loop().time() - began
            traffic.seconds += took
        delay = max(took - wire, 0) / len(reads)
        self.delay += WEIGHT_OF_ONE_DELAY * (delay - self.delay)
        return result

    async def async_clear(self, unit: ModbusUnit) -> None:
        """Forget half an answer, which the next one would be taken for the rest of.

        Only opening the port anew does that.
        """
        async with self.turn:
            with suppress(ModbusError, OSError):
                await unit.disconnect()
            await asyncio.sleep(REOPENING_SECONDS)
