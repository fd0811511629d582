"""A clock that runs faster than real time, and an event loop that follows this clock.

The time of the clock passes only while the event loop waits. So a busy computer makes
the soak slower, but does not cause timeouts. Threads wait in real time.
"""

import asyncio
import selectors
import time
from typing import override

real_monotonic = time.monotonic

# Real s; the system call for a shorter wait would take longer than the wait itself.
SHORTEST_WAIT = 0.0002
# In simulated s: more than the rounding errors of a sum of times.
ROUNDING = 1e-6


class SimulatedClock:
    """The true time, and the time on the clock of the machine with Home Assistant."""

    def __init__(self, start: float) -> None:
        """Start at `start`, in s since 1970."""
        self._start = start
        self.elapsed = 0.0
        """Simulated s since the start."""
        self.error = 0.0
        """s by which the clock of the machine is ahead."""
        self.speed = 1.0
        """Simulated s in each real s."""

    @property
    def true_time(self) -> float:
        """Return the true time in s since 1970."""
        return self._start + self.elapsed

    def time(self) -> float:
        """Return the time on the clock of the machine in s since 1970."""
        return self.true_time + self.error

    def monotonic(self) -> float:
        """Return the simulated s since the start, without the error of the clock."""
        return self.elapsed

    def install(self) -> None:
        """Replace `time.time` and `time.monotonic` by functions that use this clock.

        Call this before other modules import these functions.
        """
        time.time = self.time
        time.monotonic = self.monotonic


class SimulatedSelector(selectors.SelectSelector):
    """A selector whose timeout is in simulated s. Its waits advance a clock."""

    def __init__(self, clock: SimulatedClock) -> None:
        """Advance `clock` while this selector waits."""
        super().__init__()
        self.clock = clock

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if events := super().select(0):
            return events
        if timeout is not None and timeout <= 0:
            return events
        began = real_monotonic()
        # If `timeout` is None, wait for an event without a time limit.
        wait = timeout and max(timeout / self.clock.speed, SHORTEST_WAIT)
        events = super().select(wait)
        passed = (real_monotonic() - began) * self.clock.speed
        if timeout is not None:
            # Without an event, advance the clock just past the next timer.
            passed = min(passed, timeout) if events else timeout + ROUNDING
        self.clock.elapsed += passed
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the time of a clock."""

    def __init__(self, clock: SimulatedClock) -> None:
        """Take the time from `clock`."""
        super().__init__(SimulatedSelector(clock))
        self._simulated_clock = clock

    @override
    def time(self) -> float:
        return self._simulated_clock.monotonic()
