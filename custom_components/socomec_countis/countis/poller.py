"""Decides which block of which meter is read next, on a bus that they share.

Each block has a target age and a period. A block whose last read is older than its
period is due. Of the blocks that are due, the poller reads the one whose age is the
largest in proportion to its target. So a bus with time for everything reads
everything each second, an overloaded bus reads each block less often in the same
proportion, and no block waits for ever.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
import logging
import math
from typing import NamedTuple, Never

from modbus_connection import ModbusConnectionError, ModbusError, ModbusTimeoutError

from .bus import Bus
from .errors import CountisError
from .meter import Meter, Reading
from .registers import BLOCK_OF, MEASURED_DETAILS

_LOGGER = logging.getLogger(__name__)

type PollError = ModbusError | CountisError

IDENTITY = "identity"
MEASUREMENTS = "measurements"
POWER = "power"
POWER_TARGET = 1.0  # s


class Interval(NamedTuple):
    """How often a block is read."""

    target: float
    """s; the age that it should not exceed on a busy bus."""
    period: float
    """s; it is not read more often than this."""


# In the order in which blocks are read that are equally urgent.
INTERVALS = {
    POWER: Interval(target=POWER_TARGET, period=1),
    IDENTITY: Interval(target=3600, period=3600),  # another meter may take the place
    "energies": Interval(target=15, period=1),
    MEASUREMENTS: Interval(target=60, period=1),
    "tariffs": Interval(target=60, period=1),
    "periods": Interval(target=60, period=60),
    "overflows": Interval(target=3600, period=3600),
    "transformer": Interval(target=3600, period=3600),
    "clock": Interval(target=3600, period=3600),
}

# s; the target age of a block that was not read yet, longer than 32 meters at 9600 baud
# need to show their power first. Also of a meter that did not respond: each attempt
# takes the time of six reads of the power, so the power of the others comes first.
FIRST_TARGET = 5.0

# The part of the bus that reading everything each second may take. The rest is for
# retries, commands and other integrations. Our choice.
FULL_BUS = 0.9

# s until the next request to a meter that did not respond; doubled up to the longest.
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

# s until a port or gateway that could not be opened is tried again.
REOPEN_PAUSE = 1.0

# s until a block that could not be read is read again, if it is read less often.
FAILED_PERIOD = 60.0

# s until a meter without enabled entities is verified again, to know if it is online.
IDLE_PERIOD = 30.0


@dataclass(eq=False)
class Polled:
    """A meter that is polled, and when its blocks are due."""

    meter: Meter
    on_reading: Callable[[Reading], None]
    on_error: Callable[[PollError, str | None], None]
    """Called with the error and the block, None if the whole meter is offline."""
    blocks: Sequence[str] = (IDENTITY,)
    """The blocks that are read, in the order of `INTERVALS`."""
    online: bool = False
    """Whether the meter responded and its identity was verified."""
    pause: float = SHORTEST_PAUSE
    retry_at: float = 0.0
    """When an offline meter is due to be verified, in s."""
    due_at: dict[str, float] = field(default_factory=dict)
    """When each block is due again, in s; missing before its first read."""

    def want(self, quantities: Collection[str]) -> None:
        """Read only the blocks that hold quantities which an entity shows."""
        names = {BLOCK_OF[quantity] for quantity in quantities}
        if MEASUREMENTS in names:
            names.add(POWER)
        # A block that was not read until now is due at once.
        for name in INTERVALS.keys() - self.blocks:
            self.due_at.pop(name, None)
        details = not MEASURED_DETAILS.isdisjoint(quantities)
        if details and not self.meter.reads_details:
            self.due_at.pop(MEASUREMENTS, None)
        self.meter.reads_details = details
        self.blocks = [
            name
            for name in INTERVALS
            if name == IDENTITY or (name in names and self.meter.block(name))
        ]

    def urgency(self, name: str, now: float, target: float) -> float:
        """Return the age of a block in proportion to its target age."""
        if (due_at := self.due_at.get(name)) is not None:
            return (now - due_at + INTERVALS[name].period) / target
        return (now - self.retry_at + SHORTEST_PAUSE) / min(target, FIRST_TARGET)

    def done(self, name: str, now: float) -> None:
        """Set when a block is due again: on a grid, if it was read on time."""
        period = INTERVALS[name].period
        if name == IDENTITY and len(self.blocks) == 1:
            period = IDLE_PERIOD
        due_at = self.due_at.get(name, now)
        on_time = due_at <= now < due_at + period
        self.due_at[name] = (due_at if on_time else now) + period

    def restart(self, now: float) -> None:
        """Verify the identity at once, and read everything after that."""
        self.online = False
        self.pause = SHORTEST_PAUSE
        self.retry_at = now
        self.due_at.clear()

    def failed(self, name: str, now: float) -> None:
        """Set when a block that could not be read is due again."""
        self.due_at[name] = now + min(INTERVALS[name].period, FAILED_PERIOD)

    def lost(self, name: str, now: float) -> None:
        """Verify the identity after a pause; the block that failed comes last."""
        self.online = False
        self.retry_at = now + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        self.due_at.clear()
        if name != IDENTITY:
            self.failed(name, now)


class Poller:
    """Reads the meters of one bus, one block after the other."""

    def __init__(self, bus: Bus) -> None:
        """Initialize the poller; `run` does the work."""
        self._bus = bus
        self._polled: list[Polled] = []
        self._changed = asyncio.Event()
        self._reads_everything = True

    def add(self, polled: Polled) -> None:
        """Poll another meter; its identity is verified first."""
        polled.restart(asyncio.get_running_loop().time())
        self._polled.append(polled)
        self.replan()

    def remove(self, polled: Polled) -> None:
        """Stop polling a meter."""
        self._polled.remove(polled)
        self.replan()

    def replan(self) -> None:
        """Take into account which blocks of the meters are read now."""
        # The part of each second that reading everything takes.
        load = sum(
            self._seconds(polled, name)
            for polled in self._polled
            for name in polled.blocks
            if name != POWER and INTERVALS[name].period <= 1
        )
        self._reads_everything = load <= FULL_BUS
        self._changed.set()

    async def run(self) -> Never:
        """Read what is due, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            polled, name, due_at = self._next(loop.time())
            if polled is not None and due_at <= loop.time():
                try:
                    await self._async_poll(polled, name)
                except Exception:  # must not end the polling of all meters
                    _LOGGER.exception("Polling unit ID %s failed", polled.meter.unit_id)
                    polled.lost(name, loop.time())
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if math.isinf(due_at) else due_at):
                    await self._changed.wait()

    def _next(self, now: float) -> tuple[Polled | None, str, float]:
        """Return what is read next and when: the most urgent of what is due.

        If nothing is due, it is what is due first. On a full bus, a block that is
        younger than its target is not read if that would delay the next power.
        """
        best: tuple[Polled | None, str, float] = (None, "", math.inf)
        first, highest, next_power = best, -math.inf, math.inf
        for polled in self._polled:
            for name, due_at, target in self._reads(polled):
                if due_at <= now:
                    urgency = polled.urgency(name, now, target)
                    if urgency > highest:
                        highest, best = urgency, (polled, name, due_at)
                elif due_at < first[2]:
                    first = (polled, name, due_at)
                if due_at > now and target == POWER_TARGET:
                    next_power = min(next_power, due_at)
        if best[0] is None:
            return first
        may_wait = not self._reads_everything and highest < 1
        if may_wait and now + self._seconds(best[0], best[1]) > next_power:
            return first
        return best

    def _seconds(self, polled: Polled, name: str) -> float:
        """Return how many s a read of a block is expected to take."""
        block = polled.meter.block(name)
        return sum(map(self._bus.read_seconds, block.request_words if block else ()))

    def _reads(self, polled: Polled) -> Iterator[tuple[str, float, float]]:
        """Yield the blocks of a meter, when each is due and its target age, in s."""
        if not polled.online:
            # At first as urgent as the power that cannot be read before.
            is_first = polled.pause == SHORTEST_PAUSE
            yield IDENTITY, polled.retry_at, POWER_TARGET if is_first else FIRST_TARGET
            return
        for name in polled.blocks:
            target = INTERVALS[name].target
            if self._reads_everything and MEASUREMENTS in polled.blocks:
                if name == POWER:
                    continue  # the measurements contain it
                if name == MEASUREMENTS:
                    target = POWER_TARGET
            yield name, polled.due_at.get(name, -math.inf), target

    async def _async_poll(self, polled: Polled, name: str) -> None:
        """Read one block, and report the result."""
        now = asyncio.get_running_loop().time()
        try:
            if name == IDENTITY:
                await polled.meter.async_verify_identity()
                polled.online, polled.pause = True, SHORTEST_PAUSE
                self.replan()  # the measured delay of the bus may have changed
                reading = Reading(IDENTITY, {}, now)
            else:
                reading = await polled.meter.async_read(name)
        except ModbusConnectionError as err:
            await self._async_connection_lost(err)
        except (ModbusError, CountisError) as err:
            self._failed(polled, name, err)
        else:
            # The measurements contain the power, and may have been read in its place.
            both = {MEASUREMENTS, POWER} if reading.block == MEASUREMENTS else set()
            for each in {name} | both:
                polled.done(each, now)
            if polled in self._polled and (name != IDENTITY or len(polled.blocks) == 1):
                polled.on_reading(reading)

    def _failed(self, polled: Polled, name: str, err: PollError) -> None:
        """Report a block that could not be read, or a meter that is offline."""
        now = asyncio.get_running_loop().time()
        is_lost = not polled.online or isinstance(
            err, ModbusTimeoutError | CountisError
        )
        (polled.lost if is_lost else polled.failed)(name, now)
        if polled in self._polled and (is_lost or name != IDENTITY):
            polled.on_error(err, None if is_lost else name)

    async def _async_connection_lost(self, err: ModbusConnectionError) -> None:
        """Report all meters as offline, and wait before the port is tried again."""
        for polled in list(self._polled):
            polled.restart(asyncio.get_running_loop().time())
            polled.on_error(err, None)
        await asyncio.sleep(REOPEN_PAUSE)
