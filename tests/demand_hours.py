"""Helpers to test the demand over hours of virtual time: clock, load and poller."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
import time

import pytest

from custom_components.socomec_countis.countis import poller
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity, event
from homeassistant.util import dt as dt_util
from simulator import Constant, Meter, Phase

from .common import state

SENSORS = (
    "demand",
    "demand_forecast",
    "peak_demand_this_month",
    "peak_demand_last_month",
)
ENERGIES = "energies"  # the block with the counters from which the demand is calculated
# Two minutes before a demand period begins. The time zone of the tests is US/Pacific.
START = datetime(2026, 6, 10, 11, 58, tzinfo=dt_util.get_time_zone("US/Pacific"))


class RunningClock:
    """A wall clock that runs with the clock of the event loop."""

    def __init__(self, start: datetime) -> None:
        """Set the clock to `start`."""
        self.loop = asyncio.get_running_loop()
        self.offset = start.timestamp() - self.loop.time()

    def __call__(self) -> float:
        """Return the time in s since 1970."""
        return self.loop.time() + self.offset

    def utcnow(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self(), UTC)


@contextmanager
def running_clock(start: datetime) -> Iterator[RunningClock]:
    """Replace the clocks of Home Assistant by a new clock, which begins at `start`.

    Yields the clock, for the simulated meter. `dt_util.now` is not replaced, because
    the demand does not use this function.
    """
    clock = RunningClock(start)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(time, "time", clock)
        monkeypatch.setattr(dt_util, "utcnow", clock.utcnow)
        monkeypatch.setattr(entity, "timer", clock)  # the time of a state
        monkeypatch.setattr(event, "time_tracker_utcnow", clock.utcnow)
        monkeypatch.setattr(event, "time_tracker_timestamp", clock)
        yield clock


def poll_mainly(
    monkeypatch: pytest.MonkeyPatch, *blocks: str, seconds: float = 5
) -> None:
    """Poll `blocks` every `seconds` s, and the other blocks only every hour.

    With fewer reads, the simulation of hours takes less time.
    """
    intervals = {
        name: poller.Interval(target=period, period=period)
        for name in poller.INTERVALS
        for period in (seconds if name in blocks else 3600,)
    }
    monkeypatch.setattr(poller, "INTERVALS", intervals)


def set_load(meter: Meter, watts: float) -> None:
    """Let the meter measure a power on phase L1 only."""
    meter.load = Constant(Phase(watts), Phase(0), Phase(0))


async def sleep_until(hass: HomeAssistant, clock: RunningClock, at: str) -> None:
    """Wait until the local clock next shows `at` (hour:minute:second)."""
    local = dt_util.as_local(clock.utcnow())
    hour, minute, second = map(int, at.split(":"))
    target = local.replace(hour=hour, minute=minute, second=second, microsecond=0)
    if target < local:
        target += timedelta(days=1)
    await asyncio.sleep((target - local).total_seconds())
    await hass.async_block_till_done()


def watts(hass: HomeAssistant, key: str) -> float:
    """Return the state of a sensor in W."""
    return float(state(hass, key))
