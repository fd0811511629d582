"""The plan of the poller, without requests: when each block of a meter is due."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import cast

from modbus_connection import (
    ModbusConnectionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)
import pytest

from custom_components.socomec_countis.countis.bus import Bus
from custom_components.socomec_countis.countis.meter import Meter, Reading
from custom_components.socomec_countis.countis.poller import (
    INTERVALS,
    Polled,
    Poller,
)
from custom_components.socomec_countis.countis.unit import RETRY_TIMEOUTS_AT_ONCE

EVERY_BLOCK = frozenset(INTERVALS)


@dataclass
class PlannedMeter:
    """The attributes and methods of a `Meter` that the poller needs to plan."""

    supported: Collection[str] = EVERY_BLOCK
    registers_per_request: Collection[int] = (1,)
    """Number of registers in each request of a block."""
    reads_details: bool = False
    """Whether all measurements are read, not only those of the default entities."""
    assumed_starting: int = 0
    """Number of calls of `assume_starting`."""

    identity_requests: list[float] = field(default_factory=list)
    """Times in s, by the clock of the loop, at which the identity was requested."""

    async def async_verify_identity(self) -> None:
        """Note the time, and fail, because the port cannot be opened."""
        self.identity_requests.append(asyncio.get_running_loop().time())
        raise ModbusConnectionError

    def block(self, name: str) -> object:
        """Return this object as the block, or None if the block is not supported."""
        return self if name in self.supported else None

    def assume_starting(self) -> None:
        """Count the calls."""
        self.assumed_starting += 1


@dataclass
class ReadableMeter(PlannedMeter):
    """A meter that responds to all requests."""

    read_seconds: float = 0
    """Duration of the read of a block in s."""
    read_blocks: list[str] = field(default_factory=list)
    """The blocks that were read."""

    async def async_verify_identity(self) -> None:
        """Succeed after 0.1 s."""
        await asyncio.sleep(0.1)

    async def async_read(self, name: str) -> Reading:
        """Return an empty reading of a block."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self.read_seconds)
        self.read_blocks.append(name)
        return Reading(name, {}, began)


class OfflineMeter(PlannedMeter):
    """A meter that does not respond."""

    async def async_verify_identity(self) -> None:
        """Note the time of the request, and fail without a response."""
        self.identity_requests.append(asyncio.get_running_loop().time())
        raise ModbusTimeoutError


def planned(
    meter: PlannedMeter | None = None, *, blocks: Collection[str] = ()
) -> Polled:
    """Return the plan of a meter that is online."""
    polled = Polled(
        cast(Meter, meter or PlannedMeter()), lambda _: None, lambda _, __: None
    )
    polled.online = True
    polled.blocks = ["identity", *blocks]
    return polled


def assert_no_retry_planned(polled: Polled) -> None:
    """Check that neither a block nor the meter waits for a retry."""
    assert polled.lost_block is None
    assert polled.pause == 0


async def async_run(poller: Poller, seconds: float) -> None:
    """Let the poller run for this number of seconds."""
    running = asyncio.create_task(poller.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_each_block_has_its_target_age_and_period() -> None:
    # The target age and the period of each block in s.
    hourly = (3600, 3600)
    assert list(INTERVALS.items()) == [
        ("power", (1, 1)),
        ("identity", hourly),
        ("energies", (10, 1)),
        ("measurements", (60, 1)),
        ("tariffs", (60, 1)),
        ("partial_tariffs", (60, 1)),
        ("periods", (60, 60)),
        ("overflows", hourly),
        ("transformer", hourly),
        ("clock", hourly),
    ]


# -- urgency --------------------------------------------------------------------------


# Each block is due at 100 s, one period after its last read.
@pytest.mark.parametrize(
    ("block", "now", "target", "urgency"),
    [
        ("energies", 100, 10, 0.1),
        ("energies", 105, 10, 0.6),
        ("energies", 99, 10, 0),
        ("periods", 100, 60, 1),
        ("clock", 100, 3600, 1),
    ],
)
def test_urgency_is_the_age_in_proportion_to_the_target(
    block: str, now: float, target: float, urgency: float
) -> None:
    polled = planned()
    polled.due_at = {block: 100}
    assert polled.urgency(block, now, target) == pytest.approx(urgency)


# A block that was never read is treated as if it was read at 49 s, which is 1 s before
# `retry_at`.
@pytest.mark.parametrize(
    ("now", "target", "urgency"),
    [(50, 60, 0.2), (54, 60, 1), (54, 5, 1), (54, 4, 1.25), (50, 1, 1)],
)
def test_block_that_was_never_read_has_a_target_of_at_most_5_seconds(
    now: float, target: float, urgency: float
) -> None:
    polled = planned()
    polled.retry_at = 50
    assert polled.urgency("measurements", now, target) == pytest.approx(urgency)


# -- after a read ---------------------------------------------------------------------


# The block has a period of 1 s, and is due at 100 s. After a read that is early, or
# late by at least one period, the block is due one period after this read.
@pytest.mark.parametrize(
    ("now", "next_at"),
    [(100, 101), (100.9, 101), (101, 102), (103.5, 104.5), (99.5, 100.5)],
)
def test_block_read_on_time_is_due_one_period_after_it_was_due(
    now: float, next_at: float
) -> None:
    polled = planned(blocks=["energies"])
    polled.due_at = {"energies": 100}
    polled.lost_block, polled.pause = "energies", 4
    polled.plan_after_read("energies", now, with_power=False)
    assert polled.due_at == {"energies": next_at}
    assert_no_retry_planned(polled)


@pytest.mark.parametrize(
    ("block", "next_at"), [("energies", 101), ("periods", 160), ("clock", 3700)]
)
def test_first_read_makes_the_block_due_one_period_later(
    block: str, next_at: float
) -> None:
    polled = planned(blocks=["energies"])
    polled.plan_after_read(block, 100, with_power=False)
    assert polled.due_at == {block: next_at}


# The energies are read at 100 s, so they would be due at 101 s. But if `with_power` is
# True, and the power is due between 100 s and 101 s, the energies are due at the same
# time as the power.
@pytest.mark.parametrize(
    ("power_at", "with_power", "next_at"),
    [
        (100.5, True, 100.5),
        (100.5, False, 101),
        (100, True, 101),
        (99, True, 101),
        (100.999, True, 100.999),
        (101.5, True, 101),
    ],
)
def test_block_becomes_due_together_with_the_power(
    power_at: float, next_at: float, *, with_power: bool
) -> None:
    polled = planned(blocks=["power", "energies"])
    polled.due_at = {"power": power_at, "energies": 100}
    polled.plan_after_read("energies", 100, with_power=with_power)
    assert polled.due_at["energies"] == next_at


def test_block_with_a_long_period_is_not_due_together_with_the_power() -> None:
    polled = planned(blocks=["power", "periods"])
    polled.due_at = {"power": 100.5}
    polled.plan_after_read("periods", 100, with_power=True)
    assert polled.due_at["periods"] == 160


# After its read at 100 s, the identity of a meter with entities is due in an hour.
@pytest.mark.parametrize(("blocks", "next_at"), [([], 130), (["energies"], 3700)])
def test_meter_without_entities_is_verified_every_30_seconds(
    blocks: Collection[str], next_at: float
) -> None:
    polled = planned(blocks=blocks)
    polled.plan_after_read("identity", 100, with_power=True)
    assert polled.due_at["identity"] == next_at


# -- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "due_at"), [("energies", 101), ("periods", 160), ("clock", 160)]
)
def test_block_that_failed_is_due_within_a_minute(block: str, due_at: float) -> None:
    polled = planned(blocks=[block])
    polled.lost_block, polled.pause = block, 4
    polled.plan_after_failure(block, 100)
    assert polled.due_at == {block: due_at}
    assert_no_retry_planned(polled)


def test_offline_meter_is_retried_after_1_to_30_seconds() -> None:
    meter = PlannedMeter()
    polled = planned(meter)
    pauses = []
    for number in range(1, 8):
        polled.lost_block = "energies"
        polled.set_offline("identity", 100)
        pauses.append(polled.pause)
        assert polled.retry_at == 100 + polled.pause
        assert polled.lost_block is None
        assert not polled.online
        assert meter.assumed_starting == number
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


# The pauses after one to four lost requests are 1, 2, 4 and 8 s.
@pytest.mark.parametrize(("lost_requests", "is_complete"), [(3, False), (4, True)])
def test_meter_is_read_completely_after_a_pause_of_more_than_5_seconds(
    lost_requests: int, *, is_complete: bool
) -> None:
    polled = planned()
    polled.due_at = {"clock": 500}
    for _ in range(lost_requests):
        polled.set_offline("identity", 100)
    assert polled.due_at == ({} if is_complete else {"clock": 500})


def test_block_that_made_the_meter_offline_is_read_last() -> None:
    polled = planned()
    polled.set_offline("clock", 100)
    # The clock is due after 60 s. The other blocks are due after the pause of 1 s.
    assert polled.due_at == {"clock": 160}
    assert polled.pause == 1
    polled = planned()
    polled.set_offline("identity", 100)
    # The identity needs no due time, because an offline meter is due at `retry_at`.
    assert polled.due_at == {}


def test_restart_of_the_polling_makes_the_identity_due() -> None:
    meter = PlannedMeter()
    polled = planned(meter, blocks=["energies"])
    polled.due_at = {"energies": 100}
    polled.lost_block, polled.pause, polled.retry_at = "energies", 4, 7
    polled.restart_polling(50)
    assert not polled.online
    assert_no_retry_planned(polled)
    # The identity of a meter that is not online is due at `retry_at`.
    assert (polled.retry_at, polled.due_at, meter.assumed_starting) == (50, {}, 1)


# -- the blocks that are wanted -------------------------------------------------------


# The overflows and the transformer are evidence: they explain implausible counters.
@pytest.mark.parametrize(
    ("quantities", "blocks"),
    [
        ((), ["identity"]),
        (["power"], ["power", "identity", "measurements"]),
        (["tariff"], ["identity", "tariffs", "overflows", "transformer"]),
        (["energy_consumed"], ["identity", "energies", "overflows", "transformer"]),
        (["clock_offset"], ["identity", "clock"]),
        (["ct_ratio"], ["identity", "transformer"]),
        (["energy_consumed_today"], ["identity", "periods"]),
    ],
)
def test_blocks_are_those_of_the_quantities_and_their_evidence(
    quantities: Collection[str], blocks: Collection[str]
) -> None:
    polled = planned()
    polled.select_quantities(quantities)
    assert polled.blocks == blocks


def test_block_that_the_meter_does_not_support_is_not_read() -> None:
    polled = planned(PlannedMeter(supported={"energies"}))
    polled.select_quantities(["tariff", "energy_consumed", "power"])
    assert polled.blocks == ["identity", "energies"]


def test_block_that_was_not_wanted_counts_as_never_read() -> None:
    polled = planned(blocks=["energies", "clock"])
    polled.due_at = {"energies": 100, "clock": 200, "tariffs": 300}
    polled.select_quantities(["energy_consumed", "tariff", "clock_offset"])
    assert polled.due_at == {"energies": 100, "clock": 200}


def test_measurements_are_read_at_once_when_details_are_wanted() -> None:
    meter = PlannedMeter()
    polled = planned(meter, blocks=["power", "measurements"])

    def measurements_due_at(quantities: Collection[str]) -> object:
        polled.due_at = {"measurements": 100, "power": 100}
        polled.select_quantities(quantities)
        return polled.due_at.get("measurements")

    assert measurements_due_at(["power"]) == 100
    assert not meter.reads_details
    assert measurements_due_at(["power", "power_factor_l3"]) is None
    assert meter.reads_details
    assert measurements_due_at(["power_factor_l3"]) == 100
    assert measurements_due_at(["power"]) == 100
    assert not meter.reads_details
    assert polled.due_at["power"] == 100


def test_details_may_be_wanted_before_the_first_read() -> None:
    meter = PlannedMeter()
    polled = planned(meter)
    polled.select_quantities(["power_factor_l3"])
    assert meter.reads_details
    assert polled.due_at == {}


# -- the order of the blocks ----------------------------------------------------------


# At 100 s, the urgency of a block that has just become due is 0.1 for the energies,
# 1/60 for the tariffs and the partial tariffs, and 1 for the periods and the clock.
@pytest.mark.parametrize(
    ("due_at", "order"),
    [
        (
            {"energies": 100, "tariffs": 100, "periods": 100},
            ["periods", "energies", "tariffs"],
        ),
        # Of equally urgent blocks, the first one in the order of `INTERVALS` is read.
        ({"tariffs": 100, "partial_tariffs": 100}, ["tariffs", "partial_tariffs"]),
        ({"tariffs": 39, "clock": 100}, ["tariffs", "clock"]),
        ({"energies": 100.4, "periods": 100.2}, ["periods", "energies"]),
        # A block that is not due does not affect the blocks after it.
        ({"energies": 100, "periods": 130, "clock": 100}, ["clock", "energies"]),
        ({"energies": 95, "periods": 101}, ["energies"]),
    ],
)
async def test_most_urgent_block_that_is_due_is_read_first(
    due_at: dict[str, float], order: list[str]
) -> None:
    meter = ReadableMeter()
    polled = planned(meter, blocks=list(due_at))
    poller = Poller(Bus(baudrate=9600))
    poller.add(polled)
    polled.online = True  # `add` has set the meter offline
    polled.due_at = {"identity": 4000, **due_at}
    await asyncio.sleep(100)
    await async_run(poller, 0.5)
    assert meter.read_blocks == order


# -- the order of the meters ----------------------------------------------------------


async def test_retries_wait_3_seconds_after_a_failed_retry() -> None:
    poller = Poller(Bus(baudrate=9600))
    meters = [OfflineMeter(), OfflineMeter(), OfflineMeter()]
    offline = [planned(meter) for meter in meters]
    for polled in offline:
        poller.add(polled)
        polled.set_offline("identity", 0)
    # The power of this meter is always due.
    busy = planned(ReadableMeter(read_seconds=1), blocks=["power"])
    poller.add(busy)
    busy.online = True  # `add` has set the meter offline
    busy.due_at = {"identity": 4000, "power": 100}
    await asyncio.sleep(100)
    for polled, retry_at in zip(offline, (80, 90, 98.5), strict=True):
        polled.retry_at = retry_at
    await async_run(poller, 4.5)
    # After a failed retry, the next retries wait for 3 s. But a retry that has been due
    # for 5 s waits only for the end of a read of the power. This read takes 1 s. At
    # 103 s, the retries of all meters are equally urgent. So the poller retries the
    # first meter in the list.
    assert [meter.identity_requests for meter in meters] == [
        pytest.approx([100, 103]),  # due at 80 s and 102 s
        pytest.approx([100]),  # due at 90 s
        pytest.approx([104]),  # due at 98.5 s
    ]


async def test_opening_the_port_is_retried_each_second() -> None:
    meter = PlannedMeter()
    poller = Poller(Bus(baudrate=9600))
    poller.add(planned(meter))
    await async_run(poller, 3.5)
    assert meter.identity_requests == [pytest.approx(each) for each in range(4)]


async def test_added_meter_is_read_at_once() -> None:
    meter = PlannedMeter()
    poller = Poller(Bus(baudrate=9600))
    running = asyncio.create_task(poller.run())
    await asyncio.sleep(10)
    poller.add(planned(meter))
    await asyncio.sleep(0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert meter.identity_requests == [pytest.approx(10)]


@pytest.mark.parametrize(
    ("blocks", "registers_per_request", "is_full"),
    [
        # At 9600 baud, and with the delay of 30 ms, a read of 100, 108 or 112 registers
        # takes 0.278, 0.296 or 0.306 s: three reads take 0.83, 0.89 or 0.92 s.
        (["measurements", "energies", "tariffs"], (100,), False),
        (["measurements", "energies", "tariffs"], (108,), False),
        (["measurements", "energies", "tariffs"], (112,), True),
        (["measurements", "energies"], (100, 100), True),
        (["measurements", "energies"], (60, 60), False),
        # The periods and the clock are read rarely.
        (["measurements", "energies", "tariffs", "periods", "clock"], (100,), False),
    ],
)
async def test_bus_is_full_if_its_reads_take_more_than_0_9_seconds(
    blocks: Collection[str], registers_per_request: Collection[int], *, is_full: bool
) -> None:
    poller = Poller(Bus(baudrate=9600))
    meter = ReadableMeter(registers_per_request=registers_per_request)

    async def reads_power() -> bool:
        meter.read_blocks.clear()
        await async_run(poller, 3)
        return "power" in meter.read_blocks

    # If the bus is not full, the poller reads the measurements in place of the power.
    poller.add(planned(meter, blocks=["power", *blocks]))
    assert await reads_power() is is_full
    # With another meter, whose four reads take 1.1 s, the bus is full in all cases.
    another = planned(
        ReadableMeter(registers_per_request=(100,)), blocks=["energies"] * 4
    )
    poller.add(another)
    assert await reads_power()
    poller.remove(another)
    assert await reads_power() is is_full


async def test_unexpected_error_is_reported_as_a_protocol_error() -> None:
    class BrokenMeter(PlannedMeter):
        unit_id = 1

        async def async_verify_identity(self) -> None:
            raise ValueError

    errors: list[object] = []
    polled = planned(BrokenMeter())
    polled.on_error = lambda err, block: errors.extend((err, block))
    poller = Poller(Bus(baudrate=9600))
    poller.add(polled)
    await async_run(poller, 0.5)
    error, block = errors
    assert isinstance(error, ModbusProtocolError)
    assert str(error) == "unexpected error, see the log"
    assert block is None


# If `RETRY_TIMEOUTS_AT_ONCE` is True, `BusUnit` retries a timeout. If it is False, the
# poller plans one retry. `values` are the values of this variable at each request.
@pytest.mark.parametrize(("loss", "values"), [(0.0, [False, False]), (0.5, [True])])
async def test_poller_retries_a_timeout_only_if_the_bus_is_not_lossy(
    loss: float, values: list[bool]
) -> None:
    values_at_requests: list[bool] = []

    class RecordingMeter(PlannedMeter):
        async def async_verify_identity(self) -> None:
            values_at_requests.append(RETRY_TIMEOUTS_AT_ONCE.get())
            raise ModbusTimeoutError

    bus = Bus(baudrate=9600)
    bus.loss = loss
    poller = Poller(bus)
    poller.add(planned(RecordingMeter()))
    await async_run(poller, 0.5)
    assert values_at_requests == values


async def test_meter_without_entities_reports_the_time_of_its_request() -> None:
    readings: list[Reading] = []
    polled = planned(ReadableMeter())
    polled.on_reading = readings.append
    poller = Poller(Bus(baudrate=9600))
    await asyncio.sleep(5)
    poller.add(polled)
    await async_run(poller, 0.5)
    (reading,) = readings
    assert (reading.block, reading.values) == ("identity", {})
    assert reading.requested_at == pytest.approx(5)


@pytest.mark.parametrize(("due_at", "retry_at"), [(61, 97), (91, 100), (99, 100)])
async def test_retry_is_as_urgent_as_the_lost_read(
    due_at: float, retry_at: float
) -> None:
    # `lost_block` and `retry_at` (in s) at each read.
    plans: list[tuple[str | None, float]] = []

    class LosingMeter(PlannedMeter):
        async def async_read(self, name: str) -> Reading:
            plans.append((polled.lost_block, polled.retry_at))
            raise ModbusTimeoutError

    polled = planned(LosingMeter(), blocks=["energies"])
    poller = Poller(Bus(baudrate=9600))
    poller.add(polled)
    polled.online = True  # `add` has set the meter offline
    # At 100 s, the energies are 40, 10 or 2 s old, and their target age is 10 s. So the
    # rank of the read, 1 minus the ratio of age to target age, is -3, 0 or 0.8. With a
    # rank of -3, the retry counts as due 3 s before 100 s.
    polled.due_at = {"identity": 4000, "energies": due_at}
    await asyncio.sleep(100)
    await async_run(poller, 0.5)
    _, (lost_block, planned_at) = plans  # the second read is the retry
    assert lost_block == "energies"
    assert planned_at == pytest.approx(retry_at)
