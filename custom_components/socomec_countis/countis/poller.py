"""Decide which block of which meter on a bus is read next.

Each block has a period and a target age. The age of a block is the time since its last
read. A block is due if its age exceeds its period. Even on a busy bus, its age should
not exceed its target age. Of the blocks that are due, the poller reads the most urgent
one: the block with the largest ratio of age to target age. So on a bus with enough
time, each block is read once per period. On a busy bus, blocks are read less often, but
no block is left out.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
import logging
import math
from operator import attrgetter
from typing import NamedTuple, Never

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusProtocolError,
    ModbusTimeoutError,
)

from .bus import Bus
from .errors import CountisError
from .meter import Meter, Reading
from .profile import COUNTER_BLOCKS
from .registers import BLOCK_OF, MEASURED_DETAILS
from .unit import RETRY_TIMEOUTS_AT_ONCE

_LOGGER = logging.getLogger(__name__)

type PollError = ModbusError | CountisError

IDENTITY = "identity"
MEASUREMENTS = "measurements"
POWER = "power"
# In s; the target age of the power. If the poller reads the measurements in place of
# the power, this is also the target age of the measurements.
POWER_TARGET = 1.0
EVIDENCE_BLOCKS = {"transformer", "overflows"}
"""Blocks that may explain implausible counters.

They are polled if a counter block is polled.
"""


class Interval(NamedTuple):
    """How often a block is read."""

    target: float
    """In s; the age that the block should not exceed, even on a busy bus."""
    period: float
    """In s; the time between two reads on a bus with enough time."""


# Of equally urgent blocks of a meter, the first one in this order is read. The times
# are our choice: with a shorter target for the counters ("energies"), 12 meters at 9600
# baud would not show their power each second.
INTERVALS = {
    POWER: Interval(target=POWER_TARGET, period=1),
    IDENTITY: Interval(target=3600, period=3600),  # the meter may be replaced
    "energies": Interval(target=10, period=1),
    MEASUREMENTS: Interval(target=60, period=1),
    "tariffs": Interval(target=60, period=1),
    "partial_tariffs": Interval(target=60, period=1),
    "periods": Interval(target=60, period=60),
    "overflows": Interval(target=3600, period=3600),
    "transformer": Interval(target=3600, period=3600),
    "clock": Interval(target=3600, period=3600),
}

# The following times are our choice.

# In s; a block that was not read yet has this target age, if its own target age is
# longer. With this time, 32 meters at 9600 baud show their power before other blocks
# are read.
FIRST_TARGET = 5.0
# Fraction of each second. If all blocks with a period of 1 s can be read in this time,
# all of them are read each second. The rest of each second is for retries, commands and
# other integrations.
FULL_BUS = 0.9
# Seconds until the next request to an offline meter. The first pause is the shortest
# one, and each further pause is twice as long as the previous one, up to the longest
# one.
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# In s; for this time after a failed retry, the retries of all meters are less urgent
# than a read of power that is due. The reason is that a retry with a timeout takes the
# time of four reads, and delays the other meters.
RETRY_SPACING = 3.0
# In s; the longest delay of a retry by failed retries, each of which begins a new
# `RETRY_SPACING`. A retry that has been due for this time is as urgent as a read of
# power that has just become due.
LONGEST_SPACING = 5.0
# In s; if the pause of an offline meter is longer than this time, the due times of all
# its blocks are cleared, so that all blocks are due when the meter is online again. The
# integration removes the measured values 10 s after the meter went offline. On a serial
# port, the first pause of more than 5 s usually begins before this removal, about 8 s
# after the first lost response. So if values were removed, their blocks are usually due
# when the meter is online again.
LONGEST_PAUSE_KEEPING_DUE_TIMES = 5.0
REOPEN_PAUSE = 1.0  # s between two attempts to open a port or gateway
FAILED_PERIOD = 60.0  # s; the longest period of a block that could not be read
IDLE_PERIOD = 30.0  # s; the period of the identity if no other block is polled


@dataclass(eq=False)
class Polled:
    """A meter that is polled, and when its blocks are due."""

    meter: Meter
    on_reading: Callable[[Reading], None]
    """Called with each reading.

    The identity is reported only if no other block is polled.
    """
    on_error: Callable[[PollError, str | None], None]
    """Called with the error and the block, which is None if the meter is offline."""
    blocks: Sequence[str] = (IDENTITY,)
    """The blocks to read, in the order of `INTERVALS`."""
    online: bool = False
    """Whether the meter responds and its identity is verified."""
    lost_block: str | None = None
    """The block whose response was lost. The next read of the meter retries it."""
    pause: float = 0.0
    """In s; the whole pause of an offline meter between its last and next request.

    0 for an online meter, and after `restart_polling`.
    """
    retry_at: float = 0.0
    """When a lost block or an offline meter is due, in s of the event loop's clock.

    After the retry has succeeded, the time of this retry remains.
    """
    due_at: dict[str, float] = field(default_factory=dict)
    """When each block is due again, in s of the event loop's clock.

    A block without an entry is due now.
    """

    def select_quantities(self, quantities: Collection[str]) -> None:
        """Limit polling to the blocks that these quantities need."""
        names = {BLOCK_OF[quantity] for quantity in quantities}
        if MEASUREMENTS in names:
            names.add(POWER)
        if not names.isdisjoint(COUNTER_BLOCKS):
            names |= EVIDENCE_BLOCKS
        # A block that was not polled until now is treated as never read.
        for name in INTERVALS.keys() - self.blocks:
            self.due_at.pop(name, None)
        # If the details are needed, but were not read until now, the measurements are
        # due at once.
        needs_details = not MEASURED_DETAILS.isdisjoint(quantities)
        if needs_details and not self.meter.reads_details:
            self.due_at.pop(MEASUREMENTS, None)
        self.meter.reads_details = needs_details
        self.blocks = [
            name
            for name in INTERVALS
            if name == IDENTITY or (name in names and self.meter.block(name))
        ]

    def urgency(self, name: str, now: float, target: float) -> float:
        """Return the ratio of the age of a block to its target age, both in s.

        The age of a block without a due time is counted from 1 s (`SHORTEST_PAUSE`)
        before `retry_at`, the time at which the last retry of the meter was due. The
        target age of such a block is at most `FIRST_TARGET`.
        """
        if (due_at := self.due_at.get(name)) is not None:
            return (now - due_at + INTERVALS[name].period) / target
        return (now - self.retry_at + SHORTEST_PAUSE) / min(target, FIRST_TARGET)

    def plan_after_read(self, name: str, now: float, *, with_power: bool) -> None:
        """Set the time at which a block that was read is due again.

        If the block was read on time, it is due one period after its previous due time.
        Otherwise, it is due one period after `now`. `with_power` applies only to blocks
        with a period of 1 s: if the power is due in the meantime, such a block is due
        at the same time as the power.
        """
        self.lost_block, self.pause = None, 0
        period = INTERVALS[name].period
        if name == IDENTITY and len(self.blocks) == 1:
            period = IDLE_PERIOD
        due_at = self.due_at.get(name, now)
        on_time = due_at <= now < due_at + period
        next_at = (due_at if on_time else now) + period
        power_at = self.due_at.get(POWER, 0)
        if with_power and period <= 1 and now < power_at < next_at:
            next_at = power_at
        self.due_at[name] = next_at

    def restart_polling(self, now: float) -> None:
        """Set the meter offline. The identity is due now, and then all other blocks."""
        self.online = False
        self.meter.assume_starting()
        self.lost_block, self.pause = None, 0
        self.retry_at = now
        self.due_at.clear()

    def plan_after_failure(self, name: str, now: float) -> None:
        """Set the time at which a block that could not be read is due again."""
        self.lost_block, self.pause = None, 0
        self.due_at[name] = now + min(INTERVALS[name].period, FAILED_PERIOD)

    def set_offline(self, name: str, now: float) -> None:
        """Set the meter offline, and make its identity due after a pause.

        `name` is the block that could not be read.
        """
        if name != IDENTITY:
            self.plan_after_failure(name, now)
        self.online, self.lost_block = False, None
        self.meter.assume_starting()
        self.pause = min(max(2 * self.pause, SHORTEST_PAUSE), LONGEST_PAUSE)
        self.retry_at = now + self.pause
        if self.pause > LONGEST_PAUSE_KEEPING_DUE_TIMES:
            self.due_at.clear()


class Read(NamedTuple):
    """A read that the poller may do next."""

    due_at: float
    """When the block is due, in s of the event loop's clock; now if it is overdue."""
    rank: float
    """0 for power that has just become due, lower for a more urgent read."""
    polled: Polled
    block: str


class Poller:
    """Reads the blocks of the meters on one bus, one after the other."""

    def __init__(self, bus: Bus) -> None:
        """Initialize the poller without meters."""
        self._bus = bus
        self._polled: list[Polled] = []
        self._changed = asyncio.Event()
        """Set if the next read has to be chosen again."""
        self._reads_everything = True
        """Whether all blocks with a period of 1 s are read each second."""
        self._spaced_until = 0.0
        """Until when `RETRY_SPACING` lasts, in s of the event loop's clock."""

    def add(self, polled: Polled) -> None:
        """Poll a meter, and verify its identity first."""
        polled.restart_polling(asyncio.get_running_loop().time())
        self._polled.append(polled)
        self.replan()

    def remove(self, polled: Polled) -> None:
        """Stop polling a meter."""
        self._polled.remove(polled)
        self.replan()

    def replan(self) -> None:
        """Plan again after a change of the blocks to read, or of the bus delay."""
        load = sum(
            sum(map(self._bus.read_seconds, block.registers_per_request))
            for polled in self._polled
            for name in polled.blocks
            if name != POWER and INTERVALS[name].period <= 1
            if (block := polled.meter.block(name))
        )
        self._reads_everything = load <= FULL_BUS
        self._changed.set()

    async def run(self) -> Never:
        """Read the blocks that are due, until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            reads = self._next_reads(now)
            read = min(reads, key=attrgetter("due_at", "rank"), default=None)
            if read is None or read.due_at > now:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(read and read.due_at):
                        await self._changed.wait()
                continue
            try:
                await self._async_poll(read)
            except Exception:
                _LOGGER.exception(
                    "Unit ID %s: unexpected error while reading the %s; the meter is"
                    " set offline and retried",
                    *(read.polled.meter.unit_id, read.block),
                )
                error = ModbusProtocolError("unexpected error, see the log")
                self._set_offline(read.polled, read.block, error)

    def _next_reads(self, now: float) -> Iterator[Read]:
        """Yield the next read of each meter."""
        for polled in self._polled:
            if polled.lost_block or not polled.online:
                # At `urgent_at`, the retry is as urgent as power that just became due.
                urgent_at = polled.retry_at
                if polled.lost_block or polled.pause:
                    latest = urgent_at + LONGEST_SPACING
                    urgent_at = min(max(urgent_at, self._spaced_until), latest)
                name = polled.lost_block or IDENTITY
                yield Read(max(polled.retry_at, now), urgent_at - now, polled, name)
            else:
                yield self._read_of_online_meter(polled, now)

    def _read_of_online_meter(self, polled: Polled, now: float) -> Read:
        """Return the next read of an online meter that has no lost block."""
        skips_power = self._reads_everything and MEASUREMENTS in polled.blocks
        first_at = lowest_rank = math.inf
        first = IDENTITY
        for name in polled.blocks:
            if skips_power and name == POWER:
                continue  # the measurements contain the power
            due_at = polled.due_at.get(name, now)
            if due_at > first_at:
                continue  # another block is due before this one
            replaces_power = skips_power and name == MEASUREMENTS
            target = POWER_TARGET if replaces_power else INTERVALS[name].target
            rank = 1 - polled.urgency(name, now, target)
            if rank < lowest_rank or max(due_at, now) < first_at:
                first_at, lowest_rank, first = max(due_at, now), rank, name
        return Read(first_at, lowest_rank, polled, first)

    async def _async_poll(self, read: Read) -> None:
        """Read one block, and call `on_reading` or `on_error`."""
        _, rank, polled, name = read
        now = asyncio.get_running_loop().time()
        try:
            with RETRY_TIMEOUTS_AT_ONCE.set(self._bus.is_lossy):
                if name == IDENTITY:
                    await polled.meter.async_verify_identity()
                    polled.online = True
                    self.replan()  # the measured delay of the bus may have changed
                    reading = Reading(IDENTITY, {}, now)
                else:
                    reading = await polled.meter.async_read(name)
        except ModbusConnectionError as err:
            await self._async_connection_lost(err)
        except (ModbusError, CountisError) as err:
            self._handle_failure(polled, name, err, min(rank, 0))
        else:
            read_blocks = [name]
            if reading.block == MEASUREMENTS:
                # The measurements contain the power. If the power was requested,
                # `async_read` may have read the measurements instead. The power is
                # first, because the measurements may be due together with it.
                read_blocks = [POWER, MEASUREMENTS]
            for each in read_blocks:
                polled.plan_after_read(each, now, with_power=self._reads_everything)
            # Report the identity only if no other block is polled. Otherwise, the
            # readings of the other blocks show that the meter is online.
            if polled in self._polled and (name != IDENTITY or len(polled.blocks) == 1):
                polled.on_reading(reading)

    def _handle_failure(
        self, polled: Polled, name: str, err: PollError, rank: float
    ) -> None:
        """Plan the next read after a failed one, and report an error that is final.

        `rank` is the rank of the failed read, at most 0.
        """
        now = asyncio.get_running_loop().time()
        timed_out = isinstance(err, ModbusTimeoutError)
        is_first_attempt = not polled.lost_block and not polled.pause
        if timed_out and is_first_attempt and not self._bus.is_lossy:
            # The retry is as urgent as the failed read, so more urgent reads of other
            # meters precede the retry. `retry_at` determines its rank: `_next_reads`
            # uses `retry_at - now` as the rank, except during `RETRY_SPACING`.
            polled.lost_block, polled.retry_at = name, now + rank
            return
        if timed_out or not polled.online or isinstance(err, CountisError):
            self._set_offline(polled, name, err)
            return
        polled.plan_after_failure(name, now)
        if polled in self._polled and name != IDENTITY:
            polled.on_error(err, name)

    def _set_offline(self, polled: Polled, name: str, err: PollError) -> None:
        """Set a meter offline, plan its retry, and report the error."""
        now = asyncio.get_running_loop().time()
        polled.set_offline(name, now)
        self._spaced_until = now + RETRY_SPACING
        if polled in self._polled:
            polled.on_error(err, None)

    async def _async_connection_lost(self, err: ModbusConnectionError) -> None:
        """Report the error for all meters, and wait before the port is opened again."""
        for polled in list(self._polled):
            polled.restart_polling(asyncio.get_running_loop().time())
            polled.on_error(err, None)
        await asyncio.sleep(REOPEN_PAUSE)
