"""Polling of meters on a bus in memory, in virtual time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
import math
from typing import Any

from modbus_connection import (
    IllegalDataAddressError,
    ModbusConnectionError,
    ModbusTimeoutError,
)
import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    ImplausibleError,
    Meter,
    Polled,
    Poller,
    PollError,
    Profile,
    Reading,
    async_reset_partial_counters,
    async_take_profile,
)
from custom_components.socomec_countis.countis.poller import INTERVALS
from custom_components.socomec_countis.countis.registers import MEASURED_DETAILS
from simulator import Meter as SimulatedMeter

from .common import Clock
from .memory_bus import (
    LOST,
    NO_FAULT,
    Fault,
    MemoryBus,
    Request,
    async_profile_of,
    exception,
    virtual_clock,
)
from .virtual_time import run

POWER_REGISTERS = range(50536, 50550)
POWER_BLOCKS = ("power", "measurements")  # the blocks that contain the power
# The blocks that a bus with enough time reads each second.
EACH_SECOND = ("measurements", "energies", "tariffs")
# In s; the time until each block of each meter has been read once. These reads take
# 16 s for 12 meters at 9600 baud, and 38 s for 64 meters at 38400 baud.
SETTLED = 20.0  # for at most 12 meters at 9600 baud
SETTLED_64 = 40.0  # for 64 meters at 38400 baud

# `MemoryBus.reads` contains the number of registers of each read: 5 for the identity,
# 30 for the measurements without details, 54 with details, 9 for the overflows, 6 for
# the clock.


@pytest.fixture(scope="session")
def profile() -> Profile:
    """Return the profile of a simulated meter."""
    return run(async_profile_of(SimulatedMeter(true_time=Clock())))


@pytest.fixture
def default(profile: Profile) -> Collection[str]:
    """Return the quantities that most tests poll: all except `MEASURED_DETAILS`."""
    return profile.quantities - MEASURED_DETAILS


@dataclass
class PolledBus:
    """A bus in memory with its poller, and the readings and errors of the poller."""

    memory_bus: MemoryBus
    profile: Profile
    wanted: Collection[str]
    polled: dict[int, Polled] = field(default_factory=dict)
    """By unit ID, like the following attributes."""
    readings: defaultdict[int, list[tuple[float, Reading]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Each with its time in s by the clock of the loop."""
    errors: defaultdict[int, list[tuple[float, PollError, str | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Each with its time in s by the clock of the loop, and the block."""
    ended_at: float | None = None
    """When polling ended, in s by the clock of the loop."""

    def __post_init__(self) -> None:
        """Create a poller without meters."""
        self.poller = Poller(self.memory_bus.bus)

    @property
    def now(self) -> float:
        """Return the time of the loop's clock in s, or `ended_at` after polling."""
        if self.ended_at is not None:
            return self.ended_at
        return asyncio.get_running_loop().time()

    def add(self, unit_id: int) -> None:
        """Poll the meter at a unit ID."""
        # The serial number of the simulated meter ends with its unit ID.
        identity = {**self.profile.identity, "serial_order": unit_id}
        meter = Meter(
            self.memory_bus.bus,
            unit_id,
            self.memory_bus.client(unit_id),
            replace(self.profile, identity=identity),
            clock=virtual_clock,
            monotonic=asyncio.get_running_loop().time,
        )
        self.polled[unit_id] = Polled(
            meter,
            lambda reading: self.readings[unit_id].append((self.now, reading)),
            lambda err, block: self.errors[unit_id].append((self.now, err, block)),
        )
        self.poller.add(self.polled[unit_id])
        self.want(unit_id, self.wanted)

    def want(self, unit_id: int, quantities: Collection[str]) -> None:
        """Poll the blocks that contain these quantities of a meter."""
        self.polled[unit_id].select_quantities(quantities)
        self.poller.replan()

    async def lose_next_response(self) -> Request:
        """Lose the response to the next request, and return this request."""
        lost: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

        def lose(request: Request) -> Fault:
            self.memory_bus.default_fault = lambda _: NO_FAULT
            lost.set_result(request)
            return LOST

        self.memory_bus.default_fault = lose
        return await lost

    def times(
        self, unit_id: int, *blocks: str, since: float = 0, until: float = math.inf
    ) -> list[float]:
        """Return the times in s at which one of the blocks of a meter was read."""
        return [
            at
            for at, reading in self.readings[unit_id]
            if reading.block in blocks and since <= at <= until
        ]

    def longest_gap(self, unit_id: int, *blocks: str, since: float) -> float:
        """Return the longest time in s without a read of these blocks, from `since`."""
        times = [since, *self.times(unit_id, *blocks, since=since), self.now]
        return max(later - earlier for earlier, later in pairwise(times))

    def mean_gap(self, *blocks: str, since: float, until: float | None = None) -> float:
        """Return the mean time in s between two reads of these blocks of one meter.

        This is the mean over all polled meters. The default of `until` is `now`.
        """
        end = self.now if until is None else until
        reads = sum(
            len(self.times(each, *blocks, since=since, until=end))
            for each in self.polled
        )
        return (end - since) * len(self.polled) / reads

    def requests_to(self, unit_id: int, *, since: float = 0) -> list[float]:
        """Return the times in s at which requests to a unit ID were sent."""
        return [
            each.at
            for each in self.memory_bus.requests
            if each.unit_id == unit_id and each.at >= since
        ]


@asynccontextmanager
async def polling(
    profile: Profile,
    wanted: Collection[str],
    *,
    meters: int = 1,
    baudrate: int = 9600,
    at_rest: Collection[int] = (),
) -> AsyncIterator[PolledBus]:
    """Poll a number of simulated meters, with unit IDs from 1.

    The power of the meters `at_rest` is 0. At the end, the poller is stopped.
    """
    simulated = {
        unit_id: SimulatedMeter(
            unit_id=unit_id,
            true_time=virtual_clock,
            override=dict.fromkeys(POWER_REGISTERS, 0) if unit_id in at_rest else {},
        )
        for unit_id in range(1, meters + 1)
    }
    bus = PolledBus(MemoryBus(simulated, baudrate=baudrate), profile, wanted)
    for unit_id in simulated:
        bus.add(unit_id)
    poller = asyncio.create_task(bus.poller.run())
    yield bus
    bus.ended_at = bus.now
    assert not poller.done()
    poller.cancel()
    await asyncio.gather(poller, return_exceptions=True)
    assert bus.memory_bus.overlaps == 0


type BusAfter = Callable[..., PolledBus]


@pytest.fixture(scope="session")
def bus_after(profile: Profile) -> BusAfter:
    """Return a function that polls a bus without faults, and returns this bus.

    The arguments are the time of polling in s, and those of `polling`. For equal
    arguments, the function returns the same bus, because polling takes long.
    """

    @cache
    def bus_after(seconds: float, **options: Any) -> PolledBus:
        async def async_poll() -> PolledBus:
            wanted = profile.quantities - MEASURED_DETAILS
            async with polling(profile, wanted, **options) as bus:
                await asyncio.sleep(seconds)
            return bus

        return run(async_poll())

    return bus_after


# -- a bus with time for everything ---------------------------------------------------


@pytest.mark.parametrize(
    ("meters", "baudrate"), [(1, 4800), (1, 9600), (3, 9600), (5, 19200), (7, 38400)]
)
async def test_bus_with_enough_time_reads_everything_on_a_grid_of_1_s(
    profile: Profile, default: Collection[str], meters: int, baudrate: int
) -> None:
    async with polling(profile, default, meters=meters, baudrate=baudrate) as bus:
        await asyncio.sleep(70)
        for unit_id in bus.polled:
            for block in EACH_SECOND:
                assert bus.longest_gap(unit_id, block, since=5) <= 1.4
                times = bus.times(unit_id, block, since=10)
                assert len(times) == pytest.approx(60, abs=1)
                # How late each read is, relative to a grid of 1 s from the first read.
                late = [(at - times[0] + 0.5) % 1 - 0.5 for at in times]
                assert max(late) - min(late) < 0.4
            # The measurements contain the power.
            assert bus.times(unit_id, "power", since=5) == []
        assert bus.errors == {}


async def test_block_with_a_long_period_is_read_once_per_period(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(250)
        times = bus.times(1, "periods")
        assert len(times) == 5
        assert [later - earlier for earlier, later in pairwise(times)] == [
            pytest.approx(60, abs=0.5)
        ] * 4
        assert len(bus.times(1, "overflows")) == len(bus.times(1, "clock")) == 1
        assert {reading.block for _, reading in bus.readings[1]} == {
            *EACH_SECOND,
            *("periods", "overflows", "clock"),
        }


async def test_clock_overflows_and_identity_are_read_once_an_hour(
    profile: Profile,
) -> None:
    async with polling(profile, {"clock_offset", "overflows_consumed"}) as bus:
        await asyncio.sleep(2 * 3600 + 10)
        # The first read of the measurements (30) shows that the meter has started.
        assert bus.memory_bus.reads == [5, 30, 9, 6] + [5, 9, 6] * 2
        # It is now 2 h and 10 s: all 10 requests were sent in the first 2 h and 1 s.
        assert [bus.now - at > 9 for at in bus.requests_to(1)] == [True] * 10


async def test_only_the_identity_is_read_if_nothing_is_wanted(
    profile: Profile,
) -> None:
    async with polling(profile, ()) as bus:
        await asyncio.sleep(100)
        assert bus.memory_bus.reads == [5] * 4
        assert bus.requests_to(1) == [pytest.approx(30 * n, abs=0.01) for n in range(4)]
        # The empty readings report that the meter is online.
        assert [reading.values for _, reading in bus.readings[1]] == [{}] * 4
        meter = bus.memory_bus.meters[1]
        meter.offline = True
        await asyncio.sleep(30)
        # The error belongs to no single block, because the meter is offline.
        assert bus.errors[1][0][2] is None


@pytest.mark.parametrize("unwanted", EACH_SECOND)
@pytest.mark.parametrize("meters", [1, 16])
async def test_unwanted_block_is_never_polled(
    profile: Profile, meters: int, unwanted: str
) -> None:
    quantities = {
        "measurements": "voltage_l1",
        "energies": "energy_consumed",
        "tariffs": "tariff",
    }
    wanted = {name for block, name in quantities.items() if block != unwanted}
    async with polling(profile, wanted, meters=meters) as bus:
        await asyncio.sleep(40)
        blocks = {
            reading.block for each in bus.readings.values() for _, reading in each
        }
    # The poller adds the power to the measurements, and the overflows to the counters.
    assert blocks - {"power", "overflows"} == quantities.keys() - {unwanted}
    if unwanted == "measurements":
        assert "power" not in blocks


@pytest.mark.parametrize("meters", [1, 20])
async def test_block_that_becomes_wanted_is_read_at_once(
    profile: Profile, meters: int
) -> None:
    power = {"power"}
    async with polling(profile, power, meters=meters) as bus:
        await asyncio.sleep(10)
        for quantity, block in (
            ("energy_consumed", "energies"),
            ("clock_offset", "clock"),
            ("energy_consumed_today", "periods"),
        ):
            # In the second pass, the block was read before, but not wanted for 5 s.
            for _ in range(2):
                wanted_at = bus.now
                bus.want(1, power | {quantity})
                await asyncio.sleep(1)
                assert bus.times(1, block, since=wanted_at)[0] - wanted_at < 0.3
                bus.want(1, power)
                await asyncio.sleep(5)
                assert bus.times(1, block, since=wanted_at + 1) == []


async def test_details_that_become_wanted_are_read_at_once(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=12) as bus:
        await asyncio.sleep(SETTLED)
        assert 54 not in bus.memory_bus.reads
        wanted_at = bus.now
        bus.want(1, {*default, "voltage_l1_l2"})
        await asyncio.sleep(1)
        at, reading = next(
            each
            for each in bus.readings[1]
            if each[0] > wanted_at and each[1].block == "measurements"
        )
        assert at - wanted_at < 0.4
        assert "voltage_l1_l2" in reading.values
        bus.want(1, default)
        bus.memory_bus.requests.clear()
        await asyncio.sleep(70)
        assert bus.times(1, "measurements", since=wanted_at + 1)
        assert 54 not in bus.memory_bus.reads


async def test_meter_without_entities_is_read_at_once_when_entities_are_enabled(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, ()) as bus:
        await asyncio.sleep(10)
        bus.want(1, default)
        await asyncio.sleep(1)
        assert {reading.block for _, reading in bus.readings[1]} >= {
            *("measurements", "energies", "tariffs", "clock"),
        }
        # The identity is still due 30 s after its first read, and then once an hour.
        bus.want(1, {"clock_offset"})
        bus.memory_bus.requests.clear()
        await asyncio.sleep(3500)
        assert bus.memory_bus.reads.count(5) == 1


async def test_blocks_of_a_meter_are_read_in_consecutive_requests(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.requests.clear()
        await asyncio.sleep(10)
        times = [each.at for each in bus.memory_bus.requests]
        polls = [times[index : index + 3] for index in range(0, len(times) - 2, 3)]
        assert len(polls) >= 9
        # At 9600 baud, the third request of a poll is sent 0.2 s after the first.
        assert all(last - first < 0.25 for first, _, last in polls)


# -- an overloaded bus ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("meters", "baudrate", "end"),
    [(16, 9600, 270), (24, 4800, 300)],
)
def test_gaps_on_an_overloaded_bus_are_in_proportion_to_the_targets(
    bus_after: BusAfter, meters: int, baudrate: int, end: float
) -> None:
    bus = bus_after(end, meters=meters, baudrate=baudrate)
    since = end / 3
    power_gap = bus.mean_gap(*POWER_BLOCKS, since=since)
    for block in ("energies", "tariffs", "measurements"):
        target = INTERVALS[block].target
        # The ratio of gap to target, relative to that of the power (target: 1 s).
        ratio = bus.mean_gap(block, since=since) / target / power_gap
        assert 0.75 < ratio < 1.5, block
    for unit_id in bus.polled:
        assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=since) < 1.8 * power_gap
        for block in ("energies", "tariffs", "measurements", "periods"):
            limit = 1.7 * power_gap * INTERVALS[block].target
            assert bus.longest_gap(unit_id, block, since=since) < limit, block
        for block in ("overflows", "clock"):
            assert bus.times(unit_id, block)
    assert bus.errors == {}


@pytest.mark.parametrize(
    ("meters", "baudrate", "end"), [(12, 9600, 140), (6, 4800, 140), (16, 9600, 270)]
)
def test_full_bus_reads_energies_more_often_than_tariffs_and_measurements(
    bus_after: BusAfter, meters: int, baudrate: int, end: float
) -> None:
    bus = bus_after(end, meters=meters, baudrate=baudrate)
    reads = {
        block: sum(len(bus.times(each, block, since=20)) for each in bus.polled)
        for block in EACH_SECOND
    }
    assert reads["energies"] >= 3 * reads["tariffs"]
    assert reads["energies"] >= 3 * reads["measurements"]


def test_power_of_12_meters_at_9600_baud_is_read_each_second(
    bus_after: BusAfter,
) -> None:
    bus = bus_after(140, meters=12, baudrate=9600)
    for unit_id in bus.polled:
        reads = len(bus.times(unit_id, *POWER_BLOCKS, since=SETTLED))
        assert reads >= 0.99 * 120
        assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=SETTLED) <= 1.6
        assert bus.longest_gap(unit_id, "energies", since=SETTLED) <= 20


def test_power_of_64_meters_at_38400_baud_is_read_every_2_5_seconds(
    bus_after: BusAfter,
) -> None:
    bus = bus_after(90, meters=64, baudrate=38400)
    assert bus.mean_gap(*POWER_BLOCKS, since=SETTLED_64) <= 2.5
    for unit_id in bus.polled:
        assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=SETTLED_64) <= 3
        assert bus.longest_gap(unit_id, "energies", since=SETTLED_64) <= 28


@pytest.mark.parametrize(
    ("meters", "baudrate", "end", "limit"),  # `end` and `limit` in s
    [(32, 9600, 45, 5), (64, 38400, 90, 4), (12, 9600, 140, 2)],
)
def test_power_of_all_meters_is_read_first_at_the_start(
    bus_after: BusAfter, meters: int, baudrate: int, end: float, limit: float
) -> None:
    bus = bus_after(end, meters=meters, baudrate=baudrate)
    for unit_id in bus.polled:
        assert bus.times(unit_id, *POWER_BLOCKS)[0] < limit
        assert bus.times(unit_id, "energies")[0] < 45
        assert bus.times(unit_id, "clock")[0] < 45


def test_meters_at_rest_do_not_slow_the_polling(bus_after: BusAfter) -> None:
    # 16 meters overload the bus. Each block has been read once after 22 s.
    since, until = 30, 150
    none_at_rest = bus_after(270, meters=16, baudrate=9600)
    at_rest = range(1, 17, 2)
    half_at_rest = bus_after(until, meters=16, baudrate=9600, at_rest=at_rest)
    gaps = [
        bus.mean_gap(*POWER_BLOCKS, since=since, until=until)
        for bus in (none_at_rest, half_at_rest)
    ]
    assert gaps[1] == pytest.approx(gaps[0], rel=0.02)


# -- offline meters ------------------------------------------------------------------


async def test_offline_meter_is_retried_after_1_to_30_seconds(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10.5)
        meter = bus.memory_bus.meters[1]
        meter.offline = True
        offline_at = bus.now
        await asyncio.sleep(150)
        requests = bus.requests_to(1, since=offline_at)
        # Only the first lost request is retried at once.
        lost, *retries = requests
        assert retries[0] - lost < 0.6
        # Each pause begins after the timeout of the previous request, about 0.3 s.
        pauses = [later - earlier for earlier, later in pairwise(retries)]
        assert (
            pauses
            == [
                pytest.approx(pause + 0.3, abs=0.15)
                for pause in (1, 2, 4, 8, 16, 30, 30, 30)
            ][: len(pauses)]
        )
        assert len(pauses) >= 7
        times, errors, blocks = zip(*bus.errors[1], strict=True)
        assert len(times) == len(pauses) + 1
        assert {type(err) for err in errors} == {ModbusTimeoutError}
        assert set(blocks) == {None}
        # The first pause of the next outage is short again.
        meter.offline = False
        await asyncio.sleep(31)  # more than the longest pause, 30 s
        assert bus.polled[1].online
        meter.offline = True
        offline_at = bus.now
        await asyncio.sleep(6)
        # The lost request, its retry, and the retries after 1 s and 2 s.
        assert len(bus.requests_to(1, since=offline_at)) == 4


async def test_meter_that_is_online_again_is_read_completely_at_once(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.meters[1].offline = True
        await asyncio.sleep(20)
        bus.memory_bus.meters[1].offline = False
        bus.readings.clear()
        # The pause of 16 s before the next retry has already begun.
        await asyncio.sleep(16)
        first = bus.readings[1][0][0]
        at_once = {reading.block for at, reading in bus.readings[1] if at < first + 1}
        assert at_once == {*EACH_SECOND, "periods", "overflows", "clock"}


async def test_lost_response_does_not_make_a_meter_offline(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10)
        # A gateway reports a lost response by exception 10 or 11.
        for fault in (LOST, exception(10), exception(11)):
            bus.memory_bus.faults.append(fault)
            await asyncio.sleep(5)
        assert bus.errors == {}


@pytest.mark.parametrize("code", [10, 11])
async def test_two_gateway_exceptions_in_a_row_make_a_meter_offline(
    profile: Profile, default: Collection[str], code: int
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.faults.extend([exception(code)] * 2)
        await asyncio.sleep(0.9)
        ((_, error, block),) = bus.errors[1]
        assert isinstance(error, ModbusTimeoutError)
        assert block is None
        # Unlike the refusal of a block, these exceptions do not contradict the profile.
        assert not bus.polled[1].meter.contradicts_profile
        await asyncio.sleep(2)
        assert bus.polled[1].online


async def async_flap(
    meter: SimulatedMeter, *, begin: float, offline: float, online: float
) -> None:
    """Set a meter offline and online in turn, beginning after `begin` s.

    `offline` is the duration of each outage in s, and `online` is the time in s until
    the next outage.
    """
    await asyncio.sleep(begin)
    while True:
        meter.offline = True
        await asyncio.sleep(offline)
        meter.offline = False
        await asyncio.sleep(online)


@pytest.mark.parametrize(("offline", "online"), [(3, 27), (10, 10)])
async def test_flapping_meters_cost_the_others_less_than_2_percent_of_reads(
    profile: Profile, default: Collection[str], offline: float, online: float
) -> None:
    async with polling(profile, default, meters=12) as bus:
        await asyncio.sleep(SETTLED)
        # Meter 1 stays offline, and meters 2 to 4 flap.
        bus.memory_bus.meters[1].offline = True
        flapping = [
            asyncio.create_task(
                async_flap(
                    bus.memory_bus.meters[each],
                    begin=2 * each,
                    offline=offline,
                    online=online,
                )
            )
            for each in (2, 3, 4)
        ]
        since = SETTLED + 10
        await asyncio.sleep(190)
        for unit_id in range(5, 13):
            reads = len(bus.times(unit_id, *POWER_BLOCKS, since=since))
            assert reads >= 0.98 * (bus.now - since), unit_id
            assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=since) < 2.7
            assert bus.longest_gap(unit_id, "energies", since=since) < 25
        for unit_id in (2, 3, 4):
            assert len(bus.times(unit_id, *POWER_BLOCKS, since=since)) > 36
        for task in flapping:
            task.cancel()


async def test_meters_that_flap_together_cost_less_than_2_percent_of_reads(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=12) as bus:
        await asyncio.sleep(SETTLED)
        # Meter 3 stays offline, and meters 5, 8 and 11 flap.
        bus.memory_bus.meters[3].offline = True
        flapping = [
            asyncio.create_task(
                async_flap(bus.memory_bus.meters[each], begin=0, offline=5, online=5)
            )
            for each in (5, 8, 11)
        ]
        await asyncio.sleep(150)
        for unit_id in bus.polled.keys() - {3, 5, 8, 11}:
            reads = len(bus.times(unit_id, *POWER_BLOCKS, since=SETTLED))
            assert reads >= 0.98 * 150, unit_id
            assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=SETTLED) < 2.5
        for task in flapping:
            task.cancel()


async def test_lost_response_is_retried_after_due_reads_of_other_meters(
    profile: Profile,
) -> None:
    async with polling(profile, {"power"}, meters=12) as bus:
        await asyncio.sleep(10)
        lost = await bus.lose_next_response()
        await asyncio.sleep(1.5)
        later = [each for each in bus.memory_bus.requests if each.at > lost.at]
        reads_before_retry = [each.unit_id for each in later].index(lost.unit_id)
        assert reads_before_retry >= 2
        # The next regular read would be a second after the lost one.
        assert later[reads_before_retry].at - lost.at < 0.8
        assert bus.errors == {}


async def test_lost_response_on_an_overloaded_bus_is_retried_within_3_seconds(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=24) as bus:
        await asyncio.sleep(40)
        lost = await bus.lose_next_response()
        await asyncio.sleep(10)
        # Without a loss, the gaps are 2 s.
        assert bus.longest_gap(lost.unit_id, *POWER_BLOCKS, since=lost.at - 5) < 2.8
        assert bus.errors == {}


async def test_each_of_32_offline_meters_is_retried_within_45_seconds(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=48) as bus:
        await asyncio.sleep(10)
        offline = range(1, 33)
        for unit_id in offline:
            bus.memory_bus.meters[unit_id].offline = True
        await asyncio.sleep(200)
        for unit_id in offline:
            requests = bus.requests_to(unit_id, since=bus.now - 100)
            times = [bus.now - 100, *requests, bus.now]
            gaps = [later - earlier for earlier, later in pairwise(times)]
            assert max(gaps) < 45


async def test_short_outage_causes_no_reads_of_blocks_with_a_long_period(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.meters[1].offline = True
        await asyncio.sleep(2)
        bus.memory_bus.meters[1].offline = False
        assert bus.errors[1]
        bus.readings.clear()
        await asyncio.sleep(20)
        assert {reading.block for _, reading in bus.readings[1]} == {*EACH_SECOND}


async def test_offline_meters_cost_the_others_less_than_2_percent_of_reads(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=12) as bus:
        await asyncio.sleep(SETTLED)
        for unit_id in (1, 2, 3, 4):
            bus.memory_bus.meters[unit_id].offline = True
        await asyncio.sleep(160)
        for unit_id in range(5, 13):
            reads = len(bus.times(unit_id, *POWER_BLOCKS, since=SETTLED))
            assert reads >= 0.98 * 160
        for unit_id in (1, 2, 3, 4):
            # Each offline meter is still retried every 30 s.
            assert len(bus.requests_to(unit_id, since=SETTLED + 60)) >= 3


async def test_block_without_a_response_does_not_stop_the_other_blocks(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=2) as bus:
        # A gateway may be unable to pass on responses of one length. Here, only the
        # responses with the 10 registers of the tariffs are lost.
        bus.memory_bus.default_fault = lambda request: (
            LOST if (request.unit_id, request.content) == (1, 10) else NO_FAULT
        )
        await asyncio.sleep(100)
        assert bus.times(1, "tariffs") == []
        for block in ("energies", "periods", "overflows", "clock"):
            assert bus.times(1, block), block
        assert len(bus.times(1, *POWER_BLOCKS)) > 30
        assert bus.longest_gap(2, *POWER_BLOCKS, since=SETTLED) < 2.4


# -- the connection ------------------------------------------------------------------


async def test_identities_are_verified_first_after_a_connection_loss(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=5) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.plugged = bus.memory_bus.connected = False
        await asyncio.sleep(20)
        for unit_id in bus.polled:
            assert {type(err) for _, err, _ in bus.errors[unit_id]} == {
                ModbusConnectionError
            }
            assert {block for _, _, block in bus.errors[unit_id]} == {None}
            # The error is reported after each attempt to open the port.
            assert len(bus.errors[unit_id]) >= 8
            assert not bus.polled[unit_id].online
        bus.memory_bus.plugged = True
        plugged_at = bus.now
        bus.memory_bus.requests.clear()
        await asyncio.sleep(2.5)
        first: dict[int, int] = {}
        for request in bus.memory_bus.requests:
            assert isinstance(request.content, int)
            first.setdefault(request.unit_id, request.content)
        assert first == dict.fromkeys(bus.polled, 5)  # registers of the identity
        for unit_id in bus.polled:
            assert (
                bus.times(unit_id, *POWER_BLOCKS, since=plugged_at)[0]
                < plugged_at + 2.4
            )


async def test_port_that_cannot_be_opened_at_the_start_is_retried(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        bus.memory_bus.plugged = bus.memory_bus.connected = False
        await asyncio.sleep(60)
        assert bus.errors[1]
        assert bus.readings == {}
        bus.memory_bus.plugged = True
        await asyncio.sleep(2.2)
        assert bus.times(1, *POWER_BLOCKS)


# -- adding and removing meters ------------------------------------------------------


async def test_added_meter_costs_the_others_no_poll(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=8) as bus:
        await asyncio.sleep(SETTLED)
        bus.memory_bus.meters[9] = SimulatedMeter(unit_id=9, true_time=virtual_clock)
        added_at = bus.now
        await async_take_profile(bus.memory_bus.unit(9))
        bus.add(9)
        await asyncio.sleep(added_at + 20 - bus.now)
        for unit_id in range(1, 9):
            assert len(bus.times(unit_id, *POWER_BLOCKS, since=added_at)) >= 20
            assert bus.longest_gap(unit_id, *POWER_BLOCKS, since=added_at) < 1.6
        assert bus.times(9, *POWER_BLOCKS)[0] - added_at < 3


async def test_meter_is_added_to_an_empty_bus_and_removed_again(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=0) as bus:
        bus.memory_bus.meters[1] = SimulatedMeter(unit_id=1, true_time=virtual_clock)
        await asyncio.sleep(100)
        bus.add(1)
        await asyncio.sleep(5)
        # The reads of the identity and of the measurements take 0.2 s.
        assert bus.times(1, *POWER_BLOCKS)[0] == pytest.approx(100.2, abs=0.1)
        bus.poller.remove(bus.polled[1])
        bus.readings.clear()
        bus.memory_bus.requests.clear()
        await asyncio.sleep(100)
        assert bus.readings == {}
        # Only a read that had already begun may still send a request.
        assert len(bus.memory_bus.requests) <= 1


@pytest.mark.parametrize("fault", [NO_FAULT, LOST])
async def test_meter_removed_during_a_request_is_not_reported(
    profile: Profile, fault: Fault
) -> None:
    async with polling(profile, {"power"}, meters=2) as bus:
        await asyncio.sleep(10)
        bus.readings.clear()
        removed: list[int] = []

        def remove(request: Request) -> Fault:
            if not removed:
                removed.append(request.unit_id)
                bus.poller.remove(bus.polled[request.unit_id])
            return fault if request.unit_id in removed else NO_FAULT

        bus.memory_bus.default_fault = remove
        await asyncio.sleep(5)
        (unit_id,) = removed
        assert bus.readings[unit_id] == []
        assert bus.errors[unit_id] == []
        assert bus.times(3 - unit_id, *POWER_BLOCKS)  # the meter that was not removed


async def test_offline_meter_removed_during_its_request_is_not_reported(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        bus.memory_bus.meters[1].offline = True
        await asyncio.sleep(5)
        requests = len(bus.memory_bus.requests)
        while len(bus.memory_bus.requests) == requests:
            await asyncio.sleep(0.01)
        errors = len(bus.errors[1])
        bus.poller.remove(bus.polled[1])
        await asyncio.sleep(5)
        assert len(bus.errors[1]) == errors


# -- readings that are refused or implausible ----------------------------------------


async def test_implausible_block_is_reported_and_the_others_are_read(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=2) as bus:
        await asyncio.sleep(10)
        bus.memory_bus.meters[1].override = {50946: 100}  # the high word of Ea+
        since = bus.now
        await asyncio.sleep(30)
        errors = bus.errors[1]
        assert {block for _, _, block in errors} == {"energies"}
        assert {type(err) for _, err, _ in errors} == {ImplausibleError}
        assert 27 <= len(errors) <= 30
        assert bus.polled[1].online
        for unit_id, block in ((1, "measurements"), (1, "tariffs"), (2, "energies")):
            assert len(bus.times(unit_id, block, since=since)) >= 29
        # Only after the first implausible reading, the block is read again at once.
        energies = [
            each
            for each in bus.memory_bus.requests
            if each.unit_id == 1
            and each.address == 50946
            and since <= each.at < errors[-1][0]
        ]
        assert len(energies) == len(errors) + 1
        bus.memory_bus.meters[1].override = {}
        await asyncio.sleep(3)
        assert len(bus.times(1, "energies", since=since)) >= 2


async def test_starting_meter_costs_the_others_less_than_3_percent_of_reads(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=12) as bus:
        await asyncio.sleep(SETTLED)
        # The meter seems to be starting: all its measurements are 0.
        bus.memory_bus.meters[1].override = dict.fromkeys(range(50512, 50574), 0)
        await asyncio.sleep(120)
        assert {block for _, _, block in bus.errors[1]} >= {"power"}
        for unit_id in range(2, 13):
            assert len(bus.times(unit_id, *POWER_BLOCKS, since=SETTLED)) >= 0.97 * 120


async def test_refused_block_is_read_again_after_a_minute(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        bus.memory_bus.meters[1].refused_blocks = {57600, 36928}  # clock and periods
        await asyncio.sleep(100)
        for block in ("clock", "periods"):
            failed_at = [at for at, _, name in bus.errors[1] if name == block]
            assert len(failed_at) == 2
            assert failed_at[1] - failed_at[0] == pytest.approx(60, abs=1)
        assert {type(err) for _, err, _ in bus.errors[1]} == {IllegalDataAddressError}
        assert bus.polled[1].meter.contradicts_profile
        bus.memory_bus.meters[1].refused_blocks = set()
        await asyncio.sleep(60)
        assert len(bus.times(1, "clock")) == 1
        assert len(bus.times(1, "periods")) == 1


async def test_another_meter_is_reported_until_the_expected_one_responds(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default, meters=2) as bus:
        meter = bus.memory_bus.meters[1]
        meter.serial = (0x1438, 0x0120, 7)
        await asyncio.sleep(20)
        errors = [err for _, err, _ in bus.errors[1]]
        assert {type(err) for err in errors} == {AnotherMeterError}
        assert {block for _, _, block in bus.errors[1]} == {None}
        assert bus.times(1, *POWER_BLOCKS) == []
        assert len(bus.times(2, "measurements")) >= 19
        meter.serial = None  # so the meter has the expected serial number again
        await asyncio.sleep(17)  # more than the pause of 16 s before the next retry
        assert bus.times(1, *POWER_BLOCKS)


async def test_meter_replaced_without_an_outage_is_reported_within_an_hour(
    profile: Profile,
) -> None:
    async with polling(profile, {"clock_offset"}) as bus:
        await asyncio.sleep(100)
        bus.memory_bus.meters[1].serial = (0x1438, 0x0120, 7)
        await asyncio.sleep(3520)
        assert isinstance(bus.errors[1][0][1], AnotherMeterError)


async def test_unavailable_identity_is_verified_again_within_a_minute(
    profile: Profile,
) -> None:
    async with polling(profile, {"clock_offset"}) as bus:
        await asyncio.sleep(3590)
        # A part of the serial number is not available.
        bus.memory_bus.meters[1].override = {50008: 0xFFFF}
        await asyncio.sleep(20)
        assert bus.polled[1].online
        bus.memory_bus.meters[1].override = {}
        await asyncio.sleep(60)
        assert bus.errors == {}
        # One read at the start, two without an available identity, one a minute later.
        assert bus.memory_bus.reads.count(5) == 4
        await asyncio.sleep(3600)
        assert bus.memory_bus.reads.count(5) == 5


async def test_starting_meter_stays_offline_until_its_identity_is_available(
    profile: Profile, default: Collection[str]
) -> None:
    async with polling(profile, default) as bus:
        bus.memory_bus.meters[1].starting = True
        await asyncio.sleep(10)
        assert bus.readings == {}
        assert {block for _, _, block in bus.errors[1]} == {None}
        bus.memory_bus.meters[1].starting = False
        # The pause of 8 s before the next retry has already begun.
        await asyncio.sleep(8)
        assert bus.times(1, *POWER_BLOCKS)


async def test_unexpected_error_of_one_meter_does_not_stop_the_others(
    profile: Profile, default: Collection[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with polling(profile, default, meters=2) as bus:
        await asyncio.sleep(5)
        failures = 0

        def fail(reading: Reading) -> None:
            nonlocal failures
            failures += 1
            raise ValueError(reading.block)

        on_reading, bus.polled[1].on_reading = bus.polled[1].on_reading, fail
        await asyncio.sleep(30)
        assert failures > 3
        assert {block for _, _, block in bus.errors[1]} == {None}
        assert len(bus.times(2, "measurements", since=5)) >= 29
        assert "Unit ID 1: unexpected error while reading the" in caplog.text
        caplog.clear()
        bus.polled[1].on_reading = on_reading
        await asyncio.sleep(3)
        assert bus.times(1, "measurements", since=35)


# -- commands on a polled bus --------------------------------------------------------


# `seconds` is longer than the time between two reads of the counters of a meter.
@pytest.mark.parametrize(
    ("meters", "baudrate", "seconds"),
    [(64, 9600, 60), (24, 38400, 30), (1, 9600, 60)],
)
async def test_command_on_a_polled_bus_is_confirmed_within_two_seconds(
    profile: Profile,
    default: Collection[str],
    meters: int,
    baudrate: int,
    seconds: float,
) -> None:
    async with polling(profile, default, meters=meters, baudrate=baudrate) as bus:
        await asyncio.sleep(20)
        simulated = bus.memory_bus.meters[1]
        simulated.counters.partial_consumed += 20  # Wh, so not 0 before the reset
        began = bus.now
        readings: list[Reading] = []
        await async_reset_partial_counters(bus.polled[1].meter, readings.append)
        assert bus.now - began < 2
        # The bits of the three partial counters: 0x0001 Ea+, 0x0002 Er+, 0x0008 Ea-.
        assert simulated.writes == [(57890, [0x000B])]
        assert readings[-1].values["partial_energy_consumed"] == 0
        async with asyncio.timeout(seconds):
            while not bus.times(1, "energies", since=began):
                await asyncio.sleep(1)
        assert bus.errors == {}
