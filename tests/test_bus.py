"""The bus with a client in memory: transactions, retries, recovery and statistics."""

import asyncio
from collections import deque
from collections.abc import Callable
import logging
from typing import Literal, cast

from modbus_connection import (
    GatewayPathUnavailableError,
    GatewayTargetError,
    IllegalDataAddressError,
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)
import pytest

from custom_components.socomec_countis.countis.bus import (
    INITIAL_DELAY,
    LONGEST_BACKGROUND_WAIT,
    LOSSY_IDLE_SECONDS,
    PROBES_UNTIL_RECOVERY,
    REOPEN_DELAY,
    Bus,
)
from custom_components.socomec_countis.countis.bus import RESPONSE_TIMEOUT as TIMEOUT
from custom_components.socomec_countis.countis.errors import EchoError
from custom_components.socomec_countis.countis.unit import (
    LATE_SECONDS,
    REOPEN_SECONDS,
    RETRY_TIMEOUTS_AT_ONCE,
    SLOW_RESPONSE_TIMEOUT,
)

UNIT_ID = 5
NOISY_LOGGER = "tmodbus.transport.async_rtu"

type Outcome = list[int] | Exception | float | None
"""The words of the response, the error to raise, the time in s until the correct
response, or None for no response."""


class Client:
    """A client in memory for one unit ID. A test sets the outcome of each request."""

    def __init__(self) -> None:
        """Begin connected, with correct responses."""
        self.connected = True
        self.connect_seconds = 0.0
        """The time in s until the client is connected."""
        self.on_connect: Callable[[], None] = lambda: None
        """Called when the client connects. May raise an error."""
        self.outcomes: deque[Outcome] = deque()
        """The outcomes of the next requests. If empty, each response is correct."""
        self.loopback_difference: int | None = None
        """The bits in which the response to a loopback test differs from the request:
        0 for an echo, None for no response."""
        self.disconnect_error: ModbusError | None = None
        self.log: list[object] = []
        """The reads (register address and count), the writes (register address and
        words), "loopback", "cancelled" and "disconnect"."""

    async def _respond(self, entry: object, words: list[int]) -> list[int]:
        if not self.connected:
            await asyncio.sleep(self.connect_seconds)
            self.on_connect()
            self.connected = True
        self.log.append(entry)
        outcome = self.outcomes.popleft() if self.outcomes else words
        try:
            if outcome is None:
                await asyncio.Event().wait()
            if isinstance(outcome, float):
                await asyncio.sleep(outcome)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, list) else words

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Return words that each contain the register address."""
        return await self._respond((address, count), [address] * count)

    async def write_register(self, address: int, value: int) -> None:
        """Write one register."""
        await self._respond((address, [value]), [])

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write several registers."""
        await self._respond((address, values), [])

    async def diagnostics(self, sub_function: int, data: int = 0) -> int:
        """Return the word of a loopback test."""
        if self.loopback_difference is None:
            self.outcomes.appendleft(None)
        await self._respond("loopback", [])
        return data ^ (self.loopback_difference or 0)

    async def disconnect(self) -> None:
        """Close the port."""
        self.log.append("disconnect")
        self.connected = False
        if self.disconnect_error is not None:
            raise self.disconnect_error


@pytest.fixture
def bus() -> Bus:
    """Return a bus on which a meter has responded, so the bus sends no loopback test.

    The frames and silence of a transaction take only 2 ms at this speed. So the
    expected times leave them out.
    """
    bus = Bus(baudrate=921_600)
    bus.responded = True
    return bus


@pytest.fixture
def client() -> Client:
    """Return the client of the unit ID."""
    return Client()


@pytest.fixture
def unit(bus: Bus, client: Client) -> ModbusUnit:
    """Return the unit through which the tests send requests."""
    return bus.unit(UNIT_ID, cast(ModbusUnit, client))


def seconds() -> float:
    """Return the virtual time in s."""
    return asyncio.get_running_loop().time()


def port_opening(*states: str) -> Callable[[], None]:
    """Return an `on_connect` that raises an error while the port is busy.

    Each attempt to open the port takes the next state: "busy" or "free".
    """
    next_states = iter(states)

    def open_port() -> None:
        if next(next_states) == "busy":
            msg = "busy"
            raise ModbusConnectionError(msg)

    return open_port


async def test_read_returns_words_in_one_transaction(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(0.02)
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2)]
    traffic = bus.traffic[UNIT_ID]
    assert (traffic.requests, traffic.retries, traffic.errors) == (1, 0, 0)
    assert bus.used_seconds == bus.seconds_since_creation == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("outcome", "damaged"),
    [
        (None, 0),
        (ModbusTimeoutError("lost"), 0),
        (ModbusProtocolError("CRC"), 1),
        (ModbusError("frame"), 1),
        (AttributeError("message"), 1),  # a client may raise any exception
        ([1, 2, 3], 1),  # three registers, but the request is for two
    ],
)
async def test_request_with_lost_or_damaged_response_is_retried(
    bus: Bus, client: Client, unit: ModbusUnit, outcome: Outcome, damaged: int
) -> None:
    client.outcomes.append(outcome)
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    # Leave out "cancelled", which the client logs only for the outcome None.
    log = [each for each in client.log if each != "cancelled"]
    assert log == [(7, 2), "disconnect", (7, 2)]
    traffic = bus.traffic[UNIT_ID]
    assert (traffic.requests, traffic.retries) == (2, 1)
    assert (traffic.timeouts, traffic.damaged) == (1 - damaged, damaged)


@pytest.mark.parametrize("error", [ModbusProtocolError("CRC"), ModbusError("frame")])
async def test_two_damaged_responses_raise_a_protocol_error(
    client: Client, unit: ModbusUnit, error: ModbusError
) -> None:
    client.outcomes += [error, error]
    with pytest.raises(ModbusProtocolError, match=str(error)):
        await unit.read_holding_registers(7, 2)
    assert client.log.count((7, 2)) == 2


async def test_timeout_of_an_offline_meter_is_not_retried(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes += [None, None, None]
    # Only the first timeout is retried. After the retry, the meter is offline.
    for requests in (2, 3):
        with pytest.raises(ModbusTimeoutError, match="no response"):
            await unit.read_holding_registers(7, 2)
        assert bus.traffic[UNIT_ID].requests == requests
    # After a response, the meter is online, so its next timeout is retried.
    await unit.read_holding_registers(7, 2)
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    # 3 requests before, 1 with a response, and 2 for the timeout and its retry
    assert bus.traffic[UNIT_ID].requests == 6


async def test_slow_unit_has_three_longer_attempts(bus: Bus, client: Client) -> None:
    slow = bus.unit(UNIT_ID, cast(ModbusUnit, client), slow=True)
    for _ in range(2):
        # The third response takes exactly the response timeout. It is in time, because
        # the timeout does not include the duration of the frames.
        client.outcomes += [None, None, SLOW_RESPONSE_TIMEOUT]
        assert await slow.read_holding_registers(7, 2) == [7, 7]
    client.outcomes += [None, None, None]
    with pytest.raises(ModbusTimeoutError):
        await slow.read_holding_registers(7, 2)
    assert bus.traffic[UNIT_ID].requests == 9  # three reads, three attempts each


@pytest.mark.parametrize("error", [GatewayPathUnavailableError(), GatewayTargetError()])
async def test_exception_of_a_gateway_raises_a_timeout(
    bus: Bus, client: Client, unit: ModbusUnit, error: ModbusExceptionError
) -> None:
    client.outcomes += [error, error]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2), (7, 2)]
    assert (bus.traffic[UNIT_ID].timeouts, bus.traffic[UNIT_ID].refused) == (2, 0)
    client.outcomes.append(error)  # only one, because a write is not retried
    with pytest.raises(ModbusTimeoutError):
        await unit.write_register(7, 1)


async def test_refusal_is_not_retried(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(IllegalDataAddressError())
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2)]
    assert (bus.traffic[UNIT_ID].refused, bus.traffic[UNIT_ID].errors) == (1, 1)


async def test_write_is_not_retried(bus: Bus, client: Client, unit: ModbusUnit) -> None:
    await unit.write_register(7, 1)
    await unit.write_registers(8, [2, 3])
    for error in (None, ModbusProtocolError("CRC")):
        client.outcomes.append(error)
        with pytest.raises((ModbusTimeoutError, ModbusProtocolError)):
            await unit.write_register(7, 1)
    assert bus.traffic[UNIT_ID].requests == 4
    assert [each for each in client.log if isinstance(each, tuple)] == [
        (7, [1]),
        (8, [2, 3]),
        (7, [1]),
        (7, [1]),
    ]


# -- connecting ---------------------------------------------------------------------


async def test_connecting_may_take_longer_than_the_response_timeout(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.connected = False
    client.connect_seconds = 3 * TIMEOUT
    delay = bus.delay
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2)]
    assert bus.delay == delay
    assert bus.used_seconds < TIMEOUT


@pytest.mark.parametrize(
    "error",
    [
        ModbusConnectionError("unplugged"),
        ModbusTimeoutError("unplugged"),
        OSError("unplugged"),
        ModbusError("unplugged"),
    ],
)
async def test_failed_connecting_raises_a_connection_error(
    bus: Bus, client: Client, unit: ModbusUnit, error: Exception
) -> None:
    def fail() -> None:
        raise error

    client.connected = False
    client.on_connect = fail
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        await unit.read_holding_registers(7, 2)
    assert client.log == []
    assert bus.traffic[UNIT_ID].errors == 0


async def test_connection_with_an_error_is_closed(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(OSError("unplugged"))
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        await unit.read_holding_registers(7, 2)
    await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2), "disconnect", (7, 2)]


async def test_opening_a_busy_port_is_retried_after_a_recovery(
    client: Client, unit: ModbusUnit
) -> None:
    client.on_connect = port_opening("busy", "busy", "free")
    client.outcomes.append(ModbusProtocolError("CRC"))
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    # Without a recovery before the request, the bus makes only one attempt.
    await asyncio.sleep(2 * REOPEN_SECONDS)
    client.on_connect = port_opening("busy", "free")
    client.connected = False
    with pytest.raises(ModbusConnectionError):
        await unit.read_holding_registers(7, 2)


async def test_port_that_remains_busy_raises_a_connection_error(
    client: Client, unit: ModbusUnit
) -> None:
    client.on_connect = port_opening(*["busy"] * 99)  # more attempts than the bus makes
    client.outcomes.append(ModbusProtocolError("CRC"))
    began = seconds()
    with pytest.raises(ModbusConnectionError):
        await unit.read_holding_registers(7, 2)
    # In s; the recovery lasts until the response timeout has passed. Then the bus tries
    # to open the port for REOPEN_SECONDS.
    expected = pytest.approx(TIMEOUT + REOPEN_SECONDS, abs=REOPEN_DELAY)
    assert seconds() - began == expected


async def test_reconnecting_does_not_count_for_the_response_timeout(
    client: Client, unit: ModbusUnit
) -> None:
    async def reconnect() -> None:
        await asyncio.sleep(0.5 * TIMEOUT)
        client.connected = False
        await asyncio.sleep(2 * TIMEOUT)
        client.connected = True

    # The response arrives half a timeout after the client is connected again.
    client.outcomes.append(3.0 * TIMEOUT)
    _, words = await asyncio.gather(reconnect(), unit.read_holding_registers(7, 2))
    assert words == [7, 7]
    assert client.log == [(7, 2)]


# -- recovery -----------------------------------------------------------------------


async def test_cancelled_request_is_followed_by_a_recovery(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    read_task = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(0.5 * TIMEOUT)
    read_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read_task
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2), "cancelled", "disconnect", (7, 2)]


async def test_request_is_not_cancelled_while_its_client_connects(
    client: Client, unit: ModbusUnit
) -> None:
    client.connected = False
    client.connect_seconds = 2 * TIMEOUT
    read_task = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(TIMEOUT)
    # The task ends at once, but the bus does not cancel the request of the task.
    read_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read_task
    client.connect_seconds = 0
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2), "disconnect", (7, 2)]


async def test_failed_disconnect_does_not_fail_the_retry(
    client: Client, unit: ModbusUnit
) -> None:
    client.disconnect_error = ModbusConnectionError("device is gone")
    client.outcomes.append(None)
    assert await unit.read_holding_registers(7, 2) == [7, 7]


@pytest.mark.parametrize(
    ("framing", "loss", "idle_seconds"),
    [
        ("rtu", 0, TIMEOUT),
        ("rtu", 0.5, TIMEOUT + LOSSY_IDLE_SECONDS),
        ("tcp", 0, 0),
        ("tcp", 0.5, 0),
    ],
)
async def test_recovery_waits_for_late_bytes_except_behind_a_tcp_gateway(
    bus: Bus,
    client: Client,
    unit: ModbusUnit,
    framing: Literal["rtu", "tcp"],
    loss: float,
    idle_seconds: float,
) -> None:
    bus.framing = framing
    bus.loss = loss
    client.outcomes.append(ModbusProtocolError("CRC"))
    began = seconds()
    await unit.read_holding_registers(7, 2)
    assert seconds() - began == pytest.approx(idle_seconds, abs=0.01)


async def test_timeout_of_an_offline_meter_on_a_lossy_bus_is_retried(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes += [None, None]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    bus.loss = 0.5
    client.outcomes += [None, None]
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    client.outcomes += [ModbusProtocolError("CRC")] * 3
    with pytest.raises(ModbusProtocolError):
        await unit.read_holding_registers(7, 2)
    # On a lossy bus, each of the last two reads has three attempts.
    assert bus.traffic[UNIT_ID].requests == 2 + 3 + 3


async def test_loss_follows_the_fraction_of_retried_reads(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    assert bus.loss == pytest.approx(0.05)  # the weight of one read
    # An offline meter does not change the loss. The first of its four reads has two
    # attempts, the others have one.
    client.outcomes += [None] * 5
    for _ in range(4):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
    assert bus.loss == pytest.approx(0.05)
    # Two more reads count as retried: the first one after the timeouts, and then the
    # one with a damaged response.
    for _ in range(2):
        await unit.read_holding_registers(7, 2)
        client.outcomes.append(ModbusProtocolError("CRC"))
    # A bus is lossy above 0.15. The loss is 0.143 now. The next read is retried as well
    # and raises the loss to 0.185.
    assert not bus.is_lossy
    await unit.read_holding_registers(7, 2)
    assert bus.is_lossy
    for _ in range(20):
        await unit.read_holding_registers(7, 2)
    assert not bus.is_lossy


async def test_timeout_is_raised_at_once_if_the_task_retries_the_read_later(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes += [None, ModbusProtocolError("CRC")]
    with RETRY_TIMEOUTS_AT_ONCE.set(False):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
        assert client.log.count((7, 2)) == 1
        # A read with a damaged response is retried at once nevertheless.
        await unit.read_holding_registers(7, 2)
    assert client.log.count((7, 2)) == 3


async def test_read_waits_for_a_late_response_of_the_same_length(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    began = seconds()
    # The same read, and a read of another length, do not wait.
    await unit.read_holding_registers(7, 2)
    await unit.read_holding_registers(8, 3)
    assert seconds() - began < TIMEOUT
    await unit.read_holding_registers(9, 2)
    assert seconds() - began == pytest.approx(LATE_SECONDS)
    # After this wait, no late response is possible any more.
    began = seconds()
    await unit.read_holding_registers(7, 2)
    assert seconds() - began < TIMEOUT


async def test_request_refused_after_a_lost_response_is_retried(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    client.outcomes.append(IllegalDataAddressError())
    assert await unit.read_holding_registers(8, 3) == [8, 8, 8]
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    # The retry is refused as well.
    client.outcomes += [IllegalDataAddressError(), IllegalDataAddressError()]
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(8, 3)
    # After a lost response, a refusal of the same request is not retried.
    client.outcomes += [None, IllegalDataAddressError()]
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(7, 2)


async def test_write_waits_for_late_responses(client: Client, unit: ModbusUnit) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    began = seconds()
    await unit.write_register(8, 1)
    assert seconds() - began == pytest.approx(LATE_SECONDS)
    began = seconds()
    await unit.write_register(8, 1)
    assert seconds() - began < TIMEOUT


async def test_recovery_follows_only_after_several_lost_probes(
    bus: Bus, client: Client
) -> None:
    async def probe() -> list[int]:
        return await bus.async_request(
            UNIT_ID,
            cast(ModbusUnit, client),
            lambda: client.read_holding_registers(7, 1),
            15,  # characters of the request and its response
            probe_timeout=0.005,
        )

    client.outcomes += [None] * PROBES_UNTIL_RECOVERY
    for _ in range(PROBES_UNTIL_RECOVERY):
        assert "disconnect" not in client.log
        with pytest.raises(ModbusTimeoutError):
            await probe()
    assert await probe() == [7]
    assert client.log[-2:] == ["disconnect", (7, 1)]
    assert client.log.count("cancelled") == PROBES_UNTIL_RECOVERY


async def test_wait_for_a_pause_ends_when_the_bus_is_free_or_after_1_s(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(0.02)
    read_task = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(0)
    await bus.async_wait_for_pause()
    assert read_task.done()
    async with bus.hold():
        began = seconds()
        await bus.async_wait_for_pause()
    assert seconds() - began == pytest.approx(LONGEST_BACKGROUND_WAIT)


# -- bus lock -----------------------------------------------------------------------


async def test_command_waits_for_one_transaction_of_the_poller(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    async def poll() -> None:
        for address in range(4):
            await unit.read_holding_registers(address, 2)

    async def command() -> None:
        await asyncio.sleep(0.005)
        # A task that has locked the bus may lock it again.
        async with bus.hold(), bus.hold():
            await unit.write_register(99, 1)
            await unit.read_holding_registers(99, 2)

    client.outcomes += [0.01] * 6
    await asyncio.gather(poll(), command())
    assert client.log == [
        (0, 2),
        (99, [1]),
        (99, 2),
        (1, 2),
        (2, 2),
        (3, 2),
    ]


# Some clients return at once after a broadcast, others raise a timeout.
# `test_bus_times.py` tests a client that waits for longer than the timeout of the bus.
@pytest.mark.parametrize("outcome", [[], ModbusTimeoutError("no response")])
async def test_broadcast_occupies_the_bus_for_100_ms(
    bus: Bus, client: Client, outcome: Outcome
) -> None:
    client.outcomes.append(outcome)
    delay = bus.delay
    began = seconds()
    await bus.async_broadcast(cast(ModbusUnit, client), 40481, 2)
    assert seconds() - began >= 0.1
    assert client.log[0] == (40481, [2])
    assert bus.traffic[0].requests == 1
    assert bus.delay == delay


# -- timing -------------------------------------------------------------------------


async def test_duration_of_a_read_follows_from_the_measured_delay(
    client: Client,
) -> None:
    bus = Bus(baudrate=9600)
    unit = bus.unit(UNIT_ID, cast(ModbusUnit, client))
    # In s; the request (8 characters), the response with 14 registers, and the silence.
    frames = (8 + 5 + 2 * 14 + 3.5) * 11 / 9600
    assert bus.read_seconds(14) == pytest.approx(frames + INITIAL_DELAY)
    client.outcomes.append(frames + 0.02)
    await unit.read_holding_registers(7, 14)
    assert bus.delay == pytest.approx(0.9 * INITIAL_DELAY + 0.1 * 0.02)


async def test_response_timeout_follows_the_measured_delay(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    # The response timeout is at least four times the measured delay.
    bus.delay = TIMEOUT
    client.outcomes.append(3.0 * TIMEOUT)
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2)]


def test_gateway_has_a_longer_response_timeout() -> None:
    assert Bus(baudrate=9600).response_timeout == 0.25
    assert Bus(baudrate=9600, framing="tcp").response_timeout == 1
    assert Bus(baudrate=9600, response_timeout=0.5).response_timeout == 0.5


# -- echo of an adapter -------------------------------------------------------------


async def test_echo_is_reported_if_no_meter_has_responded(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    bus.responded = False
    client.loopback_difference = 0  # the adapter echoes
    client.outcomes += [None, None]
    with pytest.raises(EchoError, match="echo"):
        await unit.read_holding_registers(7, 2)
    client.outcomes.append(None)
    with pytest.raises(EchoError, match="echo"):
        await unit.read_holding_registers(7, 2)
    # The bus keeps the result of the loopback test, so it does not repeat the test.
    assert client.log.count("loopback") == 1
    assert await unit.read_holding_registers(7, 2) == [7, 7]


async def test_echo_is_found_although_the_port_is_busy(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    bus.responded = False
    client.loopback_difference = 0
    # The port is free for the retry of the read, and busy once for the loopback test.
    client.on_connect = port_opening("free", "busy", "free")
    client.outcomes += [None, None]
    with pytest.raises(EchoError):
        await unit.read_holding_registers(7, 2)


async def test_loopback_test_that_was_not_sent_is_sent_later(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    bus.responded = False
    client.loopback_difference = 0
    # The port is free for the retry of the read, and busy for the loopback test.
    client.on_connect = port_opening("free", *["busy"] * 99)
    client.outcomes += [None, None]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    assert "loopback" not in client.log
    client.on_connect = port_opening(*["free"] * 99)
    client.outcomes.append(None)
    with pytest.raises(EchoError):
        await unit.read_holding_registers(7, 2)


@pytest.mark.parametrize("difference", [None, 1])
async def test_loopback_test_without_an_echo_is_sent_once(
    bus: Bus, client: Client, unit: ModbusUnit, difference: int | None
) -> None:
    bus.responded = False
    client.loopback_difference = difference
    for _ in range(2):
        client.outcomes += [None, None]
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
        # The second read has only one attempt, so one outcome remains.
        client.outcomes.clear()
    assert client.log.count("loopback") == 1


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_loopback_test_is_not_sent_to_gateway_or_after_a_response(
    bus: Bus, client: Client, unit: ModbusUnit, framing: Literal["rtu", "tcp"]
) -> None:
    bus.framing = framing
    # A meter has responded at the serial port, but none behind the gateway.
    bus.responded = framing == "rtu"
    client.outcomes += [None, None]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    assert "loopback" not in client.log


# -- log ----------------------------------------------------------------------------


def test_warning_about_noise_is_logged_once(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger(NOISY_LOGGER)
    caplog.set_level(logging.WARNING, NOISY_LOGGER)
    for length in range(3):
        logger.warning("Discarding so many bytes of noise: %d", length)
        logger.error("broken")
    assert caplog.messages.count("broken") == 3
    assert len(caplog.messages) == 4  # one warning, and three times "broken"
    # With the debug level, the logger logs each warning.
    caplog.set_level(logging.DEBUG, NOISY_LOGGER)
    logger.warning("Discarding so many bytes of noise: %d", 3)
    assert len(caplog.messages) == 5
