"""Records Ctrl-C, so that a command can print its results before it ends."""

import asyncio
import signal
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Records Ctrl-C or SIGTERM. A second signal of the same kind ends the program."""

    def __init__(self) -> None:
        """Initialize without a signal."""
        self.requested = False

    def __enter__(self) -> Self:
        """Replace the handlers of the signals. The event loop has to be running."""
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers of the signals."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
        self._loop.call_soon_threadsafe(self._event.set)

    async def async_wait(self) -> None:
        """Wait for the first signal."""
        await self._event.wait()
