"""Polls the meters of a bus, and keeps their values for the command `watch`."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
import time
from typing import NamedTuple

from socomec_countis import (
    Meter,
    OpenBus,
    Polled,
    Poller,
    PollError,
    Profile,
    Reading,
    Traffic,
    Values,
)

from .connection import Connection, async_find_meter
from .failures import ERRORS, NO_RESPONSE, Failure, failure
from .tables import PHASES

# Seconds between two attempts to find the meters that were not found yet. If a meter
# does not respond, an attempt uses the bus for several seconds, which delays all other
# reads.
FIND_PAUSE = 10.0
# In s; replaces FIND_PAUSE after any failure other than a missing response. For
# example, a meter that is starting responds, but may not have all required blocks yet.
RETRY_PAUSE = 1.0


class Power(NamedTuple):
    """The power of a meter at one time."""

    at: float
    """s since 1970."""
    watts: tuple[float | None, ...]
    """Of L1, L2 and L3. None for each phase that is not available."""


@dataclass
class Watched:
    """A meter of the command `watch`, with its values."""

    unit_id: int
    powers: deque[Power]
    """The power of the last minutes, the oldest first."""
    meter: Meter | None = None
    """None until the monitor has found the meter."""
    values: Values = field(default_factory=dict)
    failure: Failure | None = None
    """Why the meter is offline. None while it is online, or before a first failure."""
    failed_blocks: set[str] = field(default_factory=set)
    """The blocks whose last read failed although the meter stayed online."""

    @property
    def online(self) -> bool:
        """Return whether the meter has been read, and is not offline now."""
        return bool(self.values) and self.failure is None


class Monitor:
    """Polls meters, and repeatedly tries to find meters that were not found yet."""

    def __init__(
        self,
        opened: OpenBus,
        connection: Connection,
        unit_ids: Sequence[int],
        minutes: int,
        profiles: Mapping[int, Profile],
    ) -> None:
        """Initialize the monitor.

        The monitor keeps the power of the last `minutes`. `profiles` contains the
        profiles that a scan has taken, by unit ID.
        """
        self._opened = opened
        self._connection = connection
        self._poller = Poller(opened.bus)
        self._kept_seconds = 60 * minutes
        self._profiles = profiles
        self.meters = [Watched(unit_id, deque()) for unit_id in unit_ids]
        self._untried = set(unit_ids)

    @property
    def has_no_meter(self) -> bool:
        """Return whether each meter was tried at least once, and none was found."""
        return not self._untried and all(each.meter is None for each in self.meters)

    @property
    def bus_used(self) -> float:
        """Return the part of the time that transactions take, from 0 to 1."""
        bus = self._opened.bus
        return bus.used_seconds / max(bus.seconds_since_creation, 1)

    @property
    def delay(self) -> float:
        """Return the measured time until a response begins, in s."""
        return self._opened.bus.delay

    def traffic(self, watched: Watched) -> Traffic:
        """Return the statistics of the requests to a meter."""
        return self._opened.bus.traffic[watched.unit_id]

    async def async_run(self) -> None:
        """Poll until the task is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poller.run())
            tasks.create_task(self._async_find_all())

    async def _async_find_all(self) -> None:
        """Find the meters one by one. Repeat this until all of them are found."""
        while missing := [each for each in self.meters if each.meter is None]:
            for watched in missing:
                await self._async_find(watched)
            has_other_failure = any(
                each.failure is not None and each.failure.kind != NO_RESPONSE
                for each in missing
            )
            await asyncio.sleep(RETRY_PAUSE if has_other_failure else FIND_PAUSE)

    async def _async_find(self, watched: Watched) -> None:
        try:
            meter = await async_find_meter(
                self._opened, watched.unit_id, self._profiles.get(watched.unit_id)
            )
        except ERRORS as err:
            watched.failure = failure(err, self._connection, watched.unit_id)
        else:
            watched.meter = meter
            polled = Polled(
                meter,
                on_reading=partial(self._on_reading, watched),
                on_error=partial(self._on_error, watched),
            )
            polled.select_quantities(meter.profile.quantities)
            self._poller.add(polled)
        self._untried.discard(watched.unit_id)

    def _on_reading(self, watched: Watched, reading: Reading) -> None:
        watched.failure = None
        watched.failed_blocks.discard(reading.block)
        watched.values |= reading.values
        if "power" not in reading.values:
            return
        now = time.time()
        watts = tuple(reading.values.get(f"power_{phase}") for phase in PHASES)
        watched.powers.append(Power(now, watts))
        while watched.powers[0].at < now - self._kept_seconds:
            watched.powers.popleft()

    def _on_error(self, watched: Watched, error: PollError, block: str | None) -> None:
        # If the meter is offline, `block` is None.
        if block is not None:
            watched.failed_blocks.add(block)
            return
        watched.failure = failure(error, self._connection, watched.unit_id)
