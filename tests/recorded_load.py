"""A simulated meter that records a load whose power rises every 5 minutes.

Each power occurs in only one step. So the mean power of a record shows the true time of
its period.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import product
from typing import ClassVar, Literal

from custom_components.socomec_countis.countis.clock import clock_words
from custom_components.socomec_countis.countis.load_curve import (
    LoadCurve,
    LoadRecord,
    async_read_load_curve,
)
from custom_components.socomec_countis.countis.meter import Meter
from custom_components.socomec_countis.countis.profile import Profile
from simulator import Counters, Phase
from simulator import LoadCurve as SimulatedLoadCurve
from simulator import Meter as SimulatedMeter
from simulator.load import Phases

from .memory_bus import MemoryBus, async_meter

STEP_SECONDS = 300  # duration of a step, in which the power is constant
FIRST_WATTS = 100  # in the first step
STEP_WATTS = 10  # rise from one step to the next
JOULES_PER_KWH = 3_600_000

INTEGRATION_PERIOD = 57355  # register address

HOUR = 3600  # s

# The possible meanings of the date of a record.
STAMPS: tuple[Literal["start", "end"], ...] = ("start", "end")
TIME_BASES: tuple[Literal["local", "utc"], ...] = ("local", "utc")


@dataclass(frozen=True)
class Steps:
    """A load whose power rises by 10 W every five minutes."""

    start: int
    """In s since 1970."""

    def phases(self, second: int) -> Phases:
        """Return the load of each phase at `second`, in s since 1970."""
        return _step_phases((second - self.start) // STEP_SECONDS)

    def energy(self, begin: float, end: float) -> float:
        """Return the consumed energy in kWh between two times at which steps begin."""
        # The numbers of the steps that begin at `begin` and at `end`.
        first, after_last = ((at - self.start) / STEP_SECONDS for at in (begin, end))
        last = after_last - 1
        steps = after_last - first
        watts = FIRST_WATTS + STEP_WATTS * (first + last) / 2  # mean of first and last
        return watts * steps * STEP_SECONDS / JOULES_PER_KWH

    def begin(self, record: LoadRecord, period: int) -> float:
        """Return when the period of a complete record began, in s since 1970.

        `period` is in s. The mean power of the record determines the result.
        """
        assert record.watts is not None
        steps = period / STEP_SECONDS
        # The mean power is (steps - 1) / 2 steps above the first power of the period.
        first = (record.watts - FIRST_WATTS) / STEP_WATTS - (steps - 1) / 2
        return self.start + first * STEP_SECONDS


@lru_cache(maxsize=4096)
def _step_phases(step: int) -> Phases:
    return Phase(FIRST_WATTS + STEP_WATTS * step), Phase(), Phase()


def offset_of(zone: tzinfo, at: float) -> float:
    """Return by how many s a time zone is ahead of UTC at a time in s since 1970."""
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None
    return offset.total_seconds()


@dataclass
class RecordedLoad:
    """A load, and a simulated meter that records this load.

    At the start, the clock of the meter shows the local time plus `clock_error`.
    """

    start: int
    """In s since 1970."""
    zone: tzinfo
    period: int
    """Integration period in s."""
    clock_error: float = 0
    """By how many s the clock of the meter is ahead of the local time at the start."""
    load_curve: SimulatedLoadCurve = field(default_factory=SimulatedLoadCurve)
    _profile: ClassVar[Profile | None] = None
    """The profile of each meter, after the first read of a profile."""

    def __post_init__(self) -> None:
        """Create the meter and set its clock."""
        self.now = float(self.start)
        self.steps = Steps(self.start)
        self.meter = self._powered_meter(Counters())
        self.set_clock(self.clock_error)

    def _powered_meter(self, counters: Counters) -> SimulatedMeter:
        """Return a meter whose power is switched on now."""
        meter = SimulatedMeter(
            true_time=self.true_time,
            load=self.steps,
            load_curve=self.load_curve,
            counters=counters,
        )
        meter.settings[INTEGRATION_PERIOD] = self.period
        return meter

    def true_time(self) -> float:
        """Return the present time in s since 1970."""
        return self.now

    def set_clock(self, error: float = 0) -> None:
        """Set the clock of the meter to `error` s ahead of the local time."""
        self.meter.count()  # records the load until now with the previous clock
        self._set_offset(offset_of(self.zone, self.now) + error)

    def _set_offset(self, offset: float) -> None:
        """Set by how many s the clock of the meter is ahead of UTC."""
        self.offset = offset
        self.meter.set_clock(clock_words(self.displayed, short_year=False))

    @property
    def displayed(self) -> datetime:
        """Return what the clock of the meter displays, without a time zone."""
        shown = datetime.fromtimestamp(self.now + self.offset, UTC)
        return shown.replace(tzinfo=None)

    def run(self, seconds: float) -> None:
        """Let the meter record its load for the next seconds."""
        self.now += seconds
        self.meter.count()

    def run_without_power(self, seconds: float) -> None:
        """Let the meter have no power for the next seconds. Its clock runs on."""
        self.meter.count()
        self.now += seconds
        self.meter = self._powered_meter(self.meter.counters)
        self._set_offset(self.offset)

    @property
    def consumed(self) -> float:
        """Return the exact consumed energy in kWh."""
        return self.meter.count().consumed / 1000

    @property
    def date_is_end(self) -> bool:
        """Return whether the date of a record is the end of its period."""
        return self.load_curve.stamp == "end"

    @property
    def is_utc(self) -> bool:
        """Return whether the dates are in UTC although the clock does not show UTC."""
        return self.load_curve.time_base == "utc" and self.offset != 0

    async def read(self) -> LoadCurve:
        """Return the load curve that the library reads from the meter."""
        return await async_read_load_curve(await self.library_meter())

    async def read_each(self) -> AsyncIterator[LoadCurve]:
        """Yield the load curve with each possible meaning of its dates."""
        meter = await self.library_meter()
        for stamp, time_base in product(STAMPS, TIME_BASES):
            self.load_curve.stamp = stamp
            self.load_curve.time_base = time_base
            yield await async_read_load_curve(meter)

    async def library_meter(self) -> Meter:
        """Return the meter of the library, on a bus in memory.

        The meters of all recorded loads have the same profile, so only the first call
        reads the profile.
        """
        meter = await async_meter(MemoryBus({1: self.meter}), profile=self._profile)
        RecordedLoad._profile = meter.profile
        return meter
