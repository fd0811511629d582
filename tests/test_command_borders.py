"""The errors of commands, and the exact limits within which commands are confirmed."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from custom_components.socomec_countis.countis.commands import (
    async_confirm_tariff,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
    async_set_tariff,
)
from custom_components.socomec_countis.countis.errors import CommandError
from custom_components.socomec_countis.countis.meter import Meter
from simulator import Meter as SimulatedMeter

from .memory_bus import (
    LOST,
    NO_FAULT,
    READ,
    WRITE,
    WRITE_SEVERAL,
    Fault,
    MemoryBus,
    Request,
    async_polled_meter,
    exception,
    virtual_clock,
)

CLOCK = 57600  # register address
PARTIAL_CONSUMED = "partial_energy_consumed"

type Command = Callable[[Meter, Any], Coroutine[Any, Any, None]]

# Each command, and the key of its error.
COMMANDS = [
    (async_reset_partial_counters, "reset_failed"),
    (async_reset_tariff_counters, "tariff_reset_failed"),
    (partial(async_set_tariff, tariff=2), "tariff_not_set"),
    (partial(async_confirm_tariff, tariff=2), "tariff_not_set"),
    (async_set_clock, "clock_not_set"),
]


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory. Its meter at unit ID 1 has a clock in virtual time."""
    meter.true_time = virtual_clock
    return MemoryBus({1: meter})


def ignore(_: object) -> None:
    """Ignore a reading that a command publishes."""


def clock_registers(offset: float) -> list[int]:
    """Return the registers of a clock that is `offset` s ahead of the correct time."""
    time = datetime.fromtimestamp(virtual_clock(), UTC) + timedelta(seconds=offset)
    return [*(time.day, time.month, time.year), *(time.hour, time.minute, time.second)]


def refuse_writes(request: Request) -> Fault:
    """Return exception 4 as the fault of a write, and no fault for a read."""
    return NO_FAULT if request.function == READ else exception(4)


@pytest.mark.parametrize(("command", "key"), COMMANDS)
async def test_failed_command_raises_an_error_with_the_key_of_the_command(
    memory_bus: MemoryBus, command: Command, key: str
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    memory_bus.default_fault = refuse_writes
    with pytest.raises(CommandError) as raised:
        await command(library_meter, ignore)
    assert raised.value.key == key


@pytest.mark.parametrize(
    ("offset", "is_set"),
    # The clock shows whole seconds, so the command measures 2, -2, 3 and -4 s.
    [(2.5, True), (-1.5, True), (3.5, False), (-3.5, False)],
)
async def test_clock_within_two_seconds_of_the_local_time_is_confirmed(
    memory_bus: MemoryBus, offset: float, *, is_set: bool
) -> None:
    library_meter = await async_polled_meter(memory_bus)

    def fault(request: Request) -> Fault:
        if (request.function, request.address) != (READ, CLOCK):
            return NO_FAULT
        words = clock_registers(offset)
        return Fault(lambda _: words)

    memory_bus.default_fault = fault
    if is_set:
        await async_set_clock(library_meter, ignore)
    else:
        with pytest.raises(CommandError):
            await async_set_clock(library_meter, ignore)
    assert len(memory_bus.writes) == 1


async def test_identity_is_read_before_the_clock_is_written_at_a_full_second(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    await async_set_clock(library_meter, ignore)
    (write,) = (each for each in memory_bus.requests if each.function == WRITE_SEVERAL)
    assert write.at == pytest.approx(round(write.at), abs=1e-3)
    # The previous request reads the identity, 0.4 s before the full second.
    before = memory_bus.requests[memory_bus.requests.index(write) - 1]
    assert before.at == pytest.approx(write.at - 0.4, abs=1e-3)


async def test_setting_the_clock_fails_after_five_missed_full_seconds(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    # Reading the identity takes longer than the 0.4 s until each full second.
    memory_bus.delay = 0.24
    memory_bus.bus.baudrate = memory_bus.baudrate = 1200
    with pytest.raises(CommandError):
        await async_set_clock(library_meter, ignore)
    assert memory_bus.writes == []
    # The identity (5 registers) is read once when the command begins, and before each
    # full second.
    assert memory_bus.reads.count(5) == 1 + 5


@pytest.mark.parametrize("stale_count", [0, 1, 2, 3])
async def test_stale_read_back_is_repeated_after_0_3_seconds_up_to_twice(
    memory_bus: MemoryBus, stale_count: int
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    times: list[float] = []

    def fault(request: Request) -> Fault:
        if request.function == READ and request.address == 51200 and memory_bus.writes:
            times.append(request.at)
            if len(times) <= stale_count:
                # The read-back still contains tariff 1.
                return Fault(lambda words: [*words[:1], 1, *words[2:]])
        return NO_FAULT

    memory_bus.default_fault = fault
    command = async_set_tariff(library_meter, ignore, tariff=2)
    if stale_count < 3:
        await command
    else:
        with pytest.raises(CommandError):
            await command
    assert len(times) == min(stale_count + 1, 3)
    # In s; the delay of the meter, then the silence and frames of a read of ten
    # registers.
    duration = 0.02 + (3.5 + 8 + 5 + 20) * 11 / 9600
    for earlier, later in pairwise(times):
        assert later - earlier == pytest.approx(0.3 + duration, abs=1e-3)


@pytest.mark.parametrize(
    ("error", "functions"),
    [
        (LOST, [WRITE]),
        (exception(1), [WRITE, WRITE_SEVERAL]),  # function 6 is not supported
        (exception(5), [WRITE]),  # acknowledge: the command takes longer
    ],
)
async def test_write_with_an_error_is_confirmed_by_the_read_back(
    memory_bus: MemoryBus, error: Fault, functions: list[int]
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    memory_bus.default_fault = lambda request: (
        error if request.function == WRITE else NO_FAULT
    )
    await async_set_tariff(library_meter, ignore, tariff=2)
    written = [each.function for each in memory_bus.requests if each.function != READ]
    assert written == functions


@pytest.mark.parametrize(("steps", "is_reset"), [(1, True), (100, False)])
async def test_reset_is_confirmed_if_the_counter_is_one_step_above_zero(
    memory_bus: MemoryBus, steps: int, *, is_reset: bool
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    # The words 10 and 11 are the partial counter Ea+ (50956), in steps of 10 Wh.
    memory_bus.default_fault = lambda request: (
        Fault(lambda words: [*words[:10], 0, steps, *words[12:]])
        if memory_bus.writes and request.address == 50946
        else NO_FAULT
    )
    if is_reset:
        await async_reset_partial_counters(library_meter, ignore)
        assert library_meter.counter_check.values[PARTIAL_CONSUMED] == 0.01
    else:
        with pytest.raises(CommandError):
            await async_reset_partial_counters(library_meter, ignore)
