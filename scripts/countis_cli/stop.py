"""Ctrl-C as a wish to come to an end, with what there is so far."""

import asyncio
from contextlib import suppress
import signal
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Notes the first Ctrl-C, or a polite kill; the second one ends at once."""

    def __init__(self) -> None:
        """Begin with no such wish."""
        self.requested = False

    def __enter__(self) -> Self:
        """Take over the signals."""
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
        self._loop.call_soon_threadsafe(self._event.set)

    async def async_wait(self, seconds: float) -> bool:
        """Wait as long as this, or until it is wished for; whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        return self.requested
