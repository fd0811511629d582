"""The steps that the demo prints."""

import time

INTERRUPTED = 130  # the exit code by which shells report a program that SIGINT ended


class Progress:
    """Prints steps, each with the time since the start."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the time since the start in s."""
        return time.monotonic() - self._started

    def report(self, text: str) -> None:
        """Print a step, or the reason why a step is left out."""
        print(f"{self.seconds:5.1f} s  {text}", flush=True)
