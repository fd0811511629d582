"""An event loop in virtual time, which does not depend on the speed of the machine."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
import selectors
import time
from typing import Any, Protocol, override

import pytest

REAL_MONOTONIC = time.monotonic
REAL_TIME_FOLDERS = {"blueprints", "browser", "cli", "scripts", "simulator", "tools"}
THREAD_SECONDS = 20  # of real time, after which a thread may itself wait for time


class Barrier(Protocol):
    """Is reached when a thread has done what it was given before."""

    def is_reached(self) -> bool:
        """Return whether it is, and wake the loop when that changes."""


class VirtualSelector(selectors.DefaultSelector):
    """Passes the time for which a loop would wait, unless threads are at work."""

    now = 0.0
    """s of virtual time."""
    threads = 0
    """How many things are done in other threads, for which time has to wait."""
    barrier: Barrier | None = None
    """A thread that has to be idle before time goes on."""

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if ready := super().select(0):
            return ready
        if timeout is None:
            # Nothing is due, so that only another thread can wake the loop.
            return super().select(None)
        if timeout <= 0:
            return ready
        if self.threads:
            if ready := super().select(THREAD_SECONDS):
                return ready
        elif self.barrier is not None and not self.barrier.is_reached():
            return super().select(THREAD_SECONDS)
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time proceeds to the next timer when all tasks wait.

    The time stands still while an executor is at work, so that what threads do takes
    no time at all.
    """

    def __init__(self, start: float = 0) -> None:
        """Start at so many s."""
        self._virtual = VirtualSelector()
        self._virtual.now = start
        super().__init__(self._virtual)

    @override
    def time(self) -> float:
        return self._virtual.now

    @override
    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._on_executed)
        return future

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        with self.standing_still():
            await super().shutdown_default_executor(timeout)

    def _on_executed(self, _future: asyncio.Future[Any]) -> None:
        self._virtual.threads -= 1

    @contextmanager
    def waiting_for(self, barrier: Barrier) -> Iterator[None]:
        """Let time go on only when a thread is idle."""
        self._virtual.barrier = barrier
        try:
            yield
        finally:
            self._virtual.barrier = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let no time pass while a thread without an executor is at work."""
        self._virtual.threads += 1
        try:
            yield
        finally:
            self._virtual.threads -= 1


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Return the result of something that happens in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def is_in_real_time(item: pytest.Item) -> bool:
    """Return whether a test runs in the time of the machine."""
    marked = item.get_closest_marker("real_time") is not None
    return marked or item.path.parent.name in REAL_TIME_FOLDERS
