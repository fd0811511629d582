"""Fixtures of the tests of the command line."""

from collections.abc import Generator
import time

import pytest

from cli.connection import RESPONSE_TIMEOUTS
from simulator import Line, Meter, line_in_thread
from socomec_countis import unit


@pytest.fixture(autouse=True)
def _environment() -> Generator[None]:
    """Remove the options of the bus from the environment, and use the time zone UTC.

    The clock of a simulated meter shows UTC.
    """
    with pytest.MonkeyPatch.context() as patched:
        for name in ("COUNTIS_PORT", "COUNTIS_TCP", "COUNTIS_RTU_OVER_TCP"):
            patched.delenv(name, raising=False)
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only 0.05 s for each response, to shorten tests with missing responses."""
    monkeypatch.setitem(RESPONSE_TIMEOUTS, "port", 0.05)
    monkeypatch.setattr(unit, "SLOW_RESPONSE_TIMEOUT", 0.05)
    monkeypatch.setattr(unit, "LATE_SECONDS", 0.05)


@pytest.fixture
def line(meter: Meter, second_meter: Meter) -> Generator[Line]:
    """Run a fast line in a thread, because a command runs its own event loop."""
    with line_in_thread(
        Line([meter, second_meter], baudrate=921_600, response_delay=0.001)
    ) as running:
        yield running
