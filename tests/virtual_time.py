"""An event loop in virtual time: results do not depend on the speed of the machine."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
import selectors
from typing import Any, Protocol, override

import pytest

# The folders of `tests` whose tests run in real time.
REAL_TIME_FOLDERS = {"blueprints", "browser", "cli", "tools"}
# Seconds of real time that the loop waits for a call in another thread. After that,
# virtual time advances to the next timer, because the thread may wait for this timer.
# A `Barrier` that is not reached within this time is checked again.
THREAD_SECONDS = 20


class Barrier(Protocol):
    """The point at which a thread has done all work that was queued for it."""

    def is_reached(self) -> bool:
        """Return whether the thread is idle.

        If the thread is not idle, wake the loop as soon as the thread is idle.
        """


class VirtualSelector(selectors.DefaultSelector):
    """A selector that advances virtual time in place of waiting.

    While a thread works, the selector waits for the thread in real time.
    """

    now = 0.0
    """In s of virtual time."""
    thread_calls = 0
    """Number of running calls in other threads. They stop virtual time."""
    barrier: Barrier | None = None
    """Virtual time advances only after a thread has reached this barrier, if any."""

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if ready := super().select(0):
            return ready
        if timeout is None:
            # Without a timer, only I/O or another thread can wake the loop.
            return super().select(None)
        if timeout <= 0:
            return ready
        if self.thread_calls:
            if ready := super().select(THREAD_SECONDS):
                return ready
        elif self.barrier is not None and not self.barrier.is_reached():
            return super().select(THREAD_SECONDS)
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time advances to the next timer when all tasks wait.

    The time stops while an executor works. So work in threads takes no virtual time.
    """

    def __init__(self) -> None:
        """Create a loop whose clock shows 0 s."""
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    @override
    def time(self) -> float:
        return self._virtual.now

    @override
    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.thread_calls += 1
        future.add_done_callback(self._on_executed)
        return future

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        with self.time_stopped():
            await super().shutdown_default_executor(timeout)

    def _on_executed(self, _future: asyncio.Future[Any]) -> None:
        self._virtual.thread_calls -= 1

    @contextmanager
    def waiting_for(self, barrier: Barrier) -> Iterator[None]:
        """Advance virtual time only while the thread of a barrier is idle."""
        self._virtual.barrier = barrier
        try:
            yield
        finally:
            self._virtual.barrier = None

    @contextmanager
    def time_stopped(self) -> Iterator[None]:
        """Stop virtual time while a thread works outside `run_in_executor`."""
        self._virtual.thread_calls += 1
        try:
            yield
        finally:
            self._virtual.thread_calls -= 1


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new loop in virtual time, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def is_in_real_time(item: pytest.Item) -> bool:
    """Return whether a test runs in real time."""
    marked = item.get_closest_marker("real_time") is not None
    return marked or item.path.parent.name in REAL_TIME_FOLDERS
