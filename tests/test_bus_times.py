"""The exact times of a bus: durations on the wires, timeouts, and pauses.

The expected figures do not use the constants of the library. A read and its response
have 13 characters plus two for each register, so a read of one register takes
`time_on_wires(15)` plus the delay, after which the meter begins its response. A write
of one register and its response have 16 characters.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
import gc
from typing import Literal, cast

from modbus_connection import (
    IllegalDataAddressError,
    ModbusConnectionError,
    ModbusTimeoutError,
    ModbusUnit,
)
import pytest

from custom_components.socomec_countis.countis.bus import Bus, wire_seconds
from custom_components.socomec_countis.countis.unit import RETRY_TIMEOUTS_AT_ONCE
from simulator import Meter as SimulatedMeter

from .memory_bus import DAMAGED, LOST, MemoryBus, exception

CHARACTER = 11 / 9600  # s; 11 bits at 9600 baud
SILENCE = 3.5 * CHARACTER  # s; at the end of each transaction


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


def now() -> float:
    """Return the time of the loop's clock in s."""
    return asyncio.get_running_loop().time()


def time_on_wires(characters: float) -> float:
    """Return the time in s of `characters` and the silence after them at 9600 baud."""
    return characters * CHARACTER + SILENCE


def exactly(number: float) -> object:
    """Return an expected number with a tolerance of 1e-6: 1 µs for a time in s."""
    return pytest.approx(number, abs=1e-6)


# -- on the wires ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baudrate", "characters", "seconds"),
    [
        # Up to 19200 baud, the silence is 3.5 characters.
        (4800, 8, 11.5 * 11 / 4800),
        (9600, 8, 11.5 * 11 / 9600),
        (19_200, 100, 103.5 * 11 / 19_200),
        # Above 19200 baud, the silence is 1.75 ms.
        (38_400, 0, 0.00175),
        (38_400, 100, 100 * 11 / 38_400 + 0.00175),
    ],
)
def test_characters_have_11_bits_and_a_silence_after_them(
    baudrate: int, characters: int, seconds: float
) -> None:
    assert wire_seconds(baudrate, characters) == exactly(seconds)


async def test_delay_is_a_moving_average_with_weight_0_1(
    memory_bus: MemoryBus,
) -> None:
    memory_bus.delay = 0.02
    # `bus.delay` begins at 0.03 s. Each read reduces the difference between `bus.delay`
    # and the delay of the meter (0.02 s) by a tenth.
    assert memory_bus.bus.delay == 0.03
    assert memory_bus.bus.read_seconds(10) == exactly(time_on_wires(33) + 0.03)
    await memory_bus.unit().read_holding_registers(50004, 1)
    assert memory_bus.bus.delay == exactly(0.029)
    assert memory_bus.bus.traffic[1].seconds == exactly(time_on_wires(15) + 0.02)
    await memory_bus.unit().read_holding_registers(50004, 2)
    assert memory_bus.bus.delay == exactly(0.0281)
    assert memory_bus.bus.used_seconds == exactly(
        time_on_wires(15) + time_on_wires(17) + 0.04
    )
    # A request that has to open the port does not change the moving average, because
    # the bus does not know exactly when the request is sent.
    memory_bus.connected = False
    await memory_bus.unit().read_holding_registers(50004, 1)
    assert memory_bus.bus.delay == exactly(0.0281)


def test_bus_is_lossy_after_four_lost_reads() -> None:
    bus = Bus(baudrate=9600)
    assert bus.loss == 0
    # After n lost reads, the loss is 1 - 0.95**n. A bus is lossy above 0.15.
    for loss, is_lossy in ((0.05, False), (0.0975, False), (0.142625, False)):
        bus.count_loss(lost=True)
        assert bus.loss == exactly(loss)
        assert bus.is_lossy is is_lossy
    bus.count_loss(lost=True)
    assert bus.is_lossy
    bus.count_loss(lost=False)
    assert bus.loss == exactly((1 - 0.95**4) * 0.95)
    bus.loss = 0.15
    assert not bus.is_lossy
    bus.loss = 0.151
    assert bus.is_lossy


async def test_loss_rises_only_after_a_lost_response(memory_bus: MemoryBus) -> None:
    unit = memory_bus.unit()
    await unit.read_holding_registers(50004, 1)
    assert memory_bus.bus.loss == 0
    memory_bus.faults.append(LOST)
    await unit.read_holding_registers(50004, 1)
    assert memory_bus.bus.loss == exactly(0.05)
    await unit.read_holding_registers(50004, 1)
    assert memory_bus.bus.loss == exactly(0.0475)


# -- timeouts -------------------------------------------------------------------------

type Sender = Callable[[ModbusUnit], Awaitable[object]]


def read_ten(unit: ModbusUnit) -> Awaitable[object]:
    """Read ten registers."""
    return unit.read_holding_registers(50000, 10)


def write_one(unit: ModbusUnit) -> Awaitable[object]:
    """Write one register."""
    return unit.write_register(40481, 1)


def write_six(unit: ModbusUnit) -> Awaitable[object]:
    """Write six registers."""
    return unit.write_registers(57600, [1] * 6)


@pytest.mark.parametrize(
    ("send", "characters", "attempts"),
    [(read_ten, 33, 2), (write_one, 16, 1), (write_six, 29, 1)],
)
@pytest.mark.parametrize(
    ("framing", "delay", "response_timeout"),
    # The timeout is four times the delay, but at least 0.25 s ("rtu") or 1 s ("tcp").
    [
        ("rtu", 0.03, 0.25),
        ("rtu", 0.0625, 0.25),
        ("rtu", 0.1, 0.4),
        ("tcp", 0.03, 1.0),
        ("tcp", 0.5, 2.0),
    ],
)
async def test_timeout_begins_after_the_characters(
    send: Sender,
    characters: int,
    attempts: int,
    framing: Literal["rtu", "tcp"],
    delay: float,
    response_timeout: float,
) -> None:
    memory_bus = MemoryBus(framing=framing)
    memory_bus.bus.delay = delay
    # A meter has responded before, so the bus sends no loopback test (echo check).
    memory_bus.bus.responded = True
    with pytest.raises(ModbusTimeoutError):
        await send(memory_bus.unit())
    traffic = memory_bus.bus.traffic[1]
    assert (traffic.requests, traffic.timeouts) == (attempts, attempts)
    assert traffic.seconds == exactly(
        attempts * (time_on_wires(characters) + response_timeout)
    )


async def test_slow_unit_waits_a_second_in_each_of_three_attempts() -> None:
    memory_bus = MemoryBus()
    memory_bus.bus.responded = True
    unit = memory_bus.bus.unit(1, memory_bus.client(), slow=True)
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 10)
    assert memory_bus.bus.traffic[1].requests == 3
    assert memory_bus.bus.traffic[1].seconds == exactly(3 * (time_on_wires(33) + 1))


@pytest.mark.parametrize("responds", [True, False])
async def test_meters_have_a_tenth_of_a_second_to_execute_a_broadcast(
    meter: SimulatedMeter, *, responds: bool
) -> None:
    # No meter responds to a broadcast, so some clients wait until the timeout. Others
    # return as if a meter had responded. To simulate these clients, the test has a
    # meter at unit ID 0.
    memory_bus = MemoryBus({0: meter} if responds else {})
    await memory_bus.bus.async_broadcast(memory_bus.client(0), 40481, 1)
    transaction = time_on_wires(16) + (memory_bus.delay if responds else 0.25)
    # The bus then waits for the 8 characters of the broadcast, and for 0.1 s.
    assert now() == exactly(transaction + time_on_wires(8) + 0.1)
    assert memory_bus.bus.delay == 0.03
    assert memory_bus.writes == [(40481, (1,))]


# -- recovery -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "loss", "seconds"),
    [
        # The retry begins after the response timeout, on a lossy bus 0.15 s later.
        ("rtu", 0.0, time_on_wires(15) + 0.25),
        ("rtu", 0.5, time_on_wires(15) + 0.25 + 0.15),
        # Behind a TCP gateway, the retry begins after the damaged response.
        ("tcp", 0.0, time_on_wires(15) + 0.02),
    ],
)
async def test_retry_after_damaged_response_waits_until_no_late_byte_can_arrive(
    meter: SimulatedMeter,
    framing: Literal["rtu", "tcp"],
    loss: float,
    seconds: float,
) -> None:
    memory_bus = MemoryBus({1: meter}, framing=framing)
    memory_bus.bus.loss = loss
    memory_bus.faults.append(DAMAGED)
    await memory_bus.unit().read_holding_registers(50004, 1)
    first, second = (request.at for request in memory_bus.requests)
    assert second - first == exactly(seconds)


async def async_unit_after_timeout(memory_bus: MemoryBus) -> tuple[ModbusUnit, float]:
    """Return a unit whose read of five registers timed out.

    Also return the time of this timeout, in s of the loop's clock.
    """
    unit = memory_bus.unit()
    await unit.read_holding_registers(50004, 1)
    memory_bus.faults.append(LOST)
    token = RETRY_TIMEOUTS_AT_ONCE.set(False)  # so the timeout is not retried
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 5)
    RETRY_TIMEOUTS_AT_ONCE.reset(token)
    return unit, now()


@pytest.mark.parametrize(
    ("address", "count", "pause"),
    # The late response to the read of five registers from 50000 may still arrive. Only
    # a read of five other registers waits, because it would accept this response.
    [(50006, 5, 3.0), (50000, 5, 0.0), (50006, 6, 0.0)],
)
async def test_read_waits_3_seconds_for_a_late_response_of_the_same_length(
    memory_bus: MemoryBus, address: int, count: int, pause: float
) -> None:
    unit, ended = await async_unit_after_timeout(memory_bus)
    await unit.read_holding_registers(address, count)
    assert memory_bus.requests[-1].at - ended == exactly(pause)


@pytest.mark.parametrize("pause", [2.9, 3.0])
async def test_read_refused_within_3_seconds_of_a_timeout_is_sent_again_once(
    memory_bus: MemoryBus, pause: float
) -> None:
    unit, ended = await async_unit_after_timeout(memory_bus)
    await asyncio.sleep(pause)
    memory_bus.requests.clear()
    memory_bus.faults.append(exception(2))
    if pause < 3:
        await unit.read_holding_registers(50006, 6)
        assert memory_bus.requests[-1].at - ended == exactly(3)
    else:
        with pytest.raises(IllegalDataAddressError):
            await unit.read_holding_registers(50006, 6)
    assert len(memory_bus.requests) == (2 if pause < 3 else 1)


@pytest.mark.parametrize("probes", [63, 64, 128])
async def test_every_64th_timeout_of_a_probe_disconnects(probes: int) -> None:
    memory_bus = MemoryBus()
    client = memory_bus.client(9)
    for number in range(1, probes + 1):
        memory_bus.connected = True
        with pytest.raises(ModbusTimeoutError):
            await memory_bus.bus.async_request(
                9,
                client,
                lambda: client.read_holding_registers(50004, 1),
                15,  # characters of the request and its response
                probe_timeout=0.06,
            )
        await memory_bus.bus.async_settle()
        assert memory_bus.connected is (number % 64 != 0)
    assert memory_bus.bus.traffic[9].seconds == exactly(
        probes * (time_on_wires(15) + 0.06)
    )


class BusyPort:
    """A client whose port can be closed, but not opened again."""

    def __init__(self) -> None:
        """Begin with an open port."""
        self.connected = True
        self.attempts: list[float] = []
        """The time of each attempt to open the port, in s of the loop's clock."""

    async def read_holding_registers(self, _address: int, _count: int) -> list[int]:
        """Wait for ever, or fail to open the port."""
        if self.connected:
            await asyncio.Event().wait()
        self.attempts.append(now())
        raise ModbusConnectionError

    async def write_register(self, _address: int, _value: int) -> None:
        """Wait for ever, or fail to open the port."""
        await self.read_holding_registers(0, 0)

    async def disconnect(self) -> None:
        """Close the port."""
        self.connected = False


async def test_busy_port_is_tried_every_50_ms_for_1_s_after_a_recovery() -> None:
    bus, port = Bus(baudrate=9600), BusyPort()
    bus.responded = True
    client = cast(ModbusUnit, port)
    with pytest.raises(ModbusConnectionError):
        await bus.unit(1, client).read_holding_registers(50004, 1)
    first = port.attempts[0]
    assert first == exactly(time_on_wires(15) + 0.25)
    assert [at - first for at in port.attempts] == [
        exactly(0.05 * number) for number in range(21)
    ]
    # Without a recovery before the request, the bus makes only one attempt.
    port.attempts.clear()
    with pytest.raises(ModbusConnectionError):
        await bus.unit(1, client).read_holding_registers(50004, 1)
    assert len(port.attempts) == 1


async def test_busy_port_is_tried_once_for_a_write() -> None:
    bus, port = Bus(baudrate=9600), BusyPort()
    bus.responded = True
    unit = bus.unit(1, cast(ModbusUnit, port))
    token = RETRY_TIMEOUTS_AT_ONCE.set(False)
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50004, 1)
    RETRY_TIMEOUTS_AT_ONCE.reset(token)
    with pytest.raises(ModbusConnectionError):
        await unit.write_register(40481, 1)
    assert len(port.attempts) == 1


# -- pauses ---------------------------------------------------------------------------


@asynccontextmanager
async def held(bus: Bus, seconds: float) -> AsyncIterator[None]:
    """Hold the bus in another task for a number of seconds."""

    async def hold() -> None:
        async with bus.hold():
            await asyncio.sleep(seconds)

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    yield
    await holder


@pytest.mark.parametrize(
    ("seconds", "waited"), [(0.5, 0.5), (0.501, 0.505), (0.996, 1.0), (5, 1.0)]
)
async def test_background_request_waits_at_most_a_second_for_a_pause(
    seconds: float, waited: float
) -> None:
    bus = Bus(baudrate=9600)
    async with held(bus, seconds):
        began = now()
        await bus.async_wait_for_pause()
        # The bus checks every 5 ms whether its lock is free.
        assert now() - began == pytest.approx(waited, abs=0.0051)
    began = now()
    await bus.async_wait_for_pause()
    assert now() == began


async def test_lock_is_checked_every_5_milliseconds() -> None:
    bus = Bus(baudrate=9600)
    async with held(bus, 0.0112):
        began = now()
        await bus.async_wait_for_pause()
        assert now() - began == exactly(0.015)


async def test_error_of_a_request_leaves_the_bus_free() -> None:
    memory_bus = MemoryBus()
    with pytest.raises(ModbusTimeoutError):
        await memory_bus.unit().read_holding_registers(50004, 1)
    began = now()
    await memory_bus.bus.async_wait_for_pause()
    assert now() == began


async def test_bus_is_free_after_the_outer_of_two_nested_locks() -> None:
    bus = Bus(baudrate=9600)
    async with bus.hold():
        async with bus.hold():
            pass
        # The bus is still locked, so the wait ends only at its limit of 1 s.
        await bus.async_wait_for_pause()
        assert now() == exactly(1)
    await bus.async_wait_for_pause()
    assert now() == exactly(1)


async def test_time_of_a_transaction_begins_when_the_port_is_open(
    memory_bus: MemoryBus,
) -> None:
    memory_bus.connected = False
    memory_bus.opening_seconds = 0.2
    await memory_bus.unit().read_holding_registers(50004, 1)
    # The bus checks every 10 ms whether the client is connected.
    seconds = time_on_wires(15) + 0.02
    assert memory_bus.bus.traffic[1].seconds == pytest.approx(seconds, abs=0.0101)
    assert now() == exactly(0.2 + seconds)


def test_age_of_the_bus_begins_with_its_creation() -> None:
    assert 0 <= Bus(baudrate=9600).seconds_since_creation < 60


class ErrorOnCancellation:
    """A client whose cancelled requests end with an error."""

    connected = True

    async def read_holding_registers(self, _address: int, _count: int) -> list[int]:
        """Wait until the request is cancelled, and raise an error."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ModbusConnectionError from None
        return []

    async def disconnect(self) -> None:
        """Close the port."""


async def test_error_after_a_timeout_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus(baudrate=9600)
    bus.responded = True
    with pytest.raises(ModbusTimeoutError):
        await bus.unit(
            1, cast(ModbusUnit, ErrorOnCancellation())
        ).read_holding_registers(1, 1)
    await bus.async_settle()
    # asyncio logs an unretrieved error when the task is deleted.
    gc.collect()
    assert "never retrieved" not in caplog.text


class SlowCancellation:
    """A client that needs 0.1 s to end a request that is cancelled."""

    connected = True
    active = 0
    """Number of requests that have not ended."""

    async def read_holding_registers(self, _address: int, _count: int) -> list[int]:
        """Wait until the request is cancelled, and 0.1 s longer."""
        self.active += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            self.active -= 1
        return []


async def test_probe_ends_after_its_cancelled_request() -> None:
    bus, slow = Bus(baudrate=9600), SlowCancellation()
    client = cast(ModbusUnit, slow)
    for number in (1, 2):
        with pytest.raises(ModbusTimeoutError):
            await bus.async_request(
                1,
                client,
                lambda: client.read_holding_registers(50004, 1),
                15,  # characters of the request and its response
                probe_timeout=0.06,
            )
        assert slow.active == 0
        # 0.06 s until the timeout, and 0.1 s until the cancelled request ends
        assert now() == exactly(number * (time_on_wires(15) + 0.16))


class SlowOpening:
    """A client that needs 0.5 s to connect, and whose port cannot be closed."""

    connected = False

    async def read_holding_registers(self, _address: int, _count: int) -> list[int]:
        """Connect, and wait for ever."""
        await asyncio.sleep(0.5)
        self.connected = True
        await asyncio.Event().wait()
        return []

    async def disconnect(self) -> None:
        """Raise an error."""
        raise ModbusConnectionError


async def test_recovery_cancels_the_request_when_its_client_is_connected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus(baudrate=9600)
    unit = bus.unit(1, cast(ModbusUnit, SlowOpening()))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await unit.read_holding_registers(50004, 1)
    assert now() == exactly(0.1)
    await bus.async_settle()
    # The bus checks every 10 ms whether the client is connected.
    assert now() == pytest.approx(0.5, abs=0.0201)
    # Disconnecting failed. If asyncio logs this error, it does so when the task of the
    # recovery is deleted.
    del bus, unit
    gc.collect()
    assert "never retrieved" not in caplog.text


# -- units ----------------------------------------------------------------------------


async def test_statistics_count_each_retry(memory_bus: MemoryBus) -> None:
    unit = memory_bus.unit()
    for number in (1, 2, 3):
        memory_bus.faults.append(DAMAGED)
        await unit.read_holding_registers(50004, 1)
        assert memory_bus.bus.traffic[1].retries == number


async def test_refusal_counts_as_a_response_of_a_meter(memory_bus: MemoryBus) -> None:
    memory_bus.faults.append(exception(2))
    with pytest.raises(IllegalDataAddressError):
        await memory_bus.unit().read_holding_registers(50004, 1)
    assert memory_bus.bus.responded is True


async def test_late_response_is_expected_for_only_3_seconds(
    memory_bus: MemoryBus,
) -> None:
    unit = memory_bus.unit()
    await unit.read_holding_registers(50004, 1)
    token = RETRY_TIMEOUTS_AT_ONCE.set(False)
    for address, count in ((50000, 5), (50000, 7)):
        await asyncio.sleep(10)
        await unit.read_holding_registers(50004, 1)
        memory_bus.faults.append(LOST)
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(address, count)
    RETRY_TIMEOUTS_AT_ONCE.reset(token)
    ended = now()
    # The read of five registers timed out more than 3 s ago. Only the response to the
    # read of seven registers may still arrive.
    await unit.read_holding_registers(50006, 5)
    assert memory_bus.requests[-1].at == exactly(ended)


async def test_loopback_test_is_sent_to_the_unit_that_timed_out() -> None:
    memory_bus = MemoryBus()
    with pytest.raises(ModbusTimeoutError):
        await memory_bus.unit(7).read_holding_registers(50004, 1)
    loopback = memory_bus.requests[-1]
    # In a loopback test (function 8), `address` is the sub-function, 0.
    assert (loopback.function, loopback.address) == (8, 0)
    assert {request.unit_id for request in memory_bus.requests} == {7}
    # Two attempts to read, and the loopback test.
    assert memory_bus.bus.traffic[7].requests == len(memory_bus.requests) == 3


class Reconnecting:
    """A client that is disconnected from 0.1 s to 0.6 s, and receives no response."""

    connected = True

    async def read_holding_registers(self, _address: int, _count: int) -> list[int]:
        """Lose the connection, connect again, and wait for ever."""
        await asyncio.sleep(0.1)
        self.connected = False
        await asyncio.sleep(0.5)
        self.connected = True
        await asyncio.Event().wait()
        return []

    async def disconnect(self) -> None:
        """Close the port."""


async def test_timeout_restarts_when_the_client_is_connected_again() -> None:
    bus = Bus(baudrate=9600)
    client = cast(ModbusUnit, Reconnecting())
    with pytest.raises(ModbusTimeoutError):
        await bus.async_request(
            1,
            client,
            lambda: client.read_holding_registers(50004, 1),
            15,  # characters of the request and its response
        )
    assert now() == pytest.approx(0.6 + time_on_wires(15) + 0.25, abs=0.0101)
