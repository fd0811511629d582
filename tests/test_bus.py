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

from custom_components.socomec_countis.countis import bus as bus_module
from custom_components.socomec_countis.countis import unit as unit_module
from custom_components.socomec_countis.countis.bus import Bus
from custom_components.socomec_countis.countis.errors import EchoError
from custom_components.socomec_countis.countis.unit import REPEATS_TIMEOUTS

TIMEOUT = 0.03
LATE = 0.2
NOISY_LOGGER = "tmodbus.transport.async_rtu"

type Outcome = list[int] | Exception | float | None


class Client:
    """A client of one unit in memory; behaves as the next outcome says.

    A list of words is the response, an exception is raised, a number is a delay in s
    of the right response, and None is no response.
    """

    def __init__(self) -> None:
        """Connect at once, and respond to everything."""
        self.connected = True
        self.outcomes: deque[Outcome] = deque()
        self.connecting: Callable[[], None] = lambda: None
        self.connect_seconds = 0.0
        self.log: list[object] = []
        self.disconnect_error: ModbusError | None = None
        self.loopback: int | None = None

    async def _respond(self, entry: object, words: list[int]) -> list[int]:
        if not self.connected:
            await asyncio.sleep(self.connect_seconds)
            self.connecting()
            self.connected = True
        self.log.append(entry)
        outcome = self.outcomes.popleft() if self.outcomes else words
        try:
            if outcome is None:
                await asyncio.sleep(60)
            if isinstance(outcome, float):
                await asyncio.sleep(outcome)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, list) else words

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Respond with the register address in each word."""
        return await self._respond((address, count), [address] * count)

    async def write_register(self, address: int, value: int) -> None:
        """Acknowledge."""
        await self._respond((address, [value]), [])

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Acknowledge."""
        await self._respond((address, values), [])

    async def diagnostics(self, sub_function: int, data: int = 0) -> int:
        """Return the loopback word, changed by some bits, or nothing."""
        if self.loopback is None:
            self.outcomes.appendleft(None)
        await self._respond("loopback", [])
        return data if self.loopback is None else self.loopback ^ data

    async def disconnect(self) -> None:
        """Drop the connection."""
        self.log.append("disconnect")
        self.connected = False
        if self.disconnect_error is not None:
            raise self.disconnect_error

    def on_connection_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Log the call, as the following ones do."""
        self.log.append("on_connection_lost")
        return callback

    def require_connect_delay(self, seconds: float | None) -> None:
        """Log it."""
        self.log.append(("connect_delay", seconds))

    def require_timeout(self, seconds: float | None) -> None:
        """Log it."""
        self.log.append(("timeout", seconds))

    def set_message_spacing(self, seconds: float) -> None:
        """Log it."""
        self.log.append(("spacing", seconds))


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what the tests wait for."""
    monkeypatch.setattr(bus_module, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(bus_module, "REOPEN_DELAY", 0.01)
    monkeypatch.setattr(bus_module, "SUPPOSED_DELAY", 0.001)
    monkeypatch.setattr(unit_module, "PATIENT_RESPONSE_TIMEOUT", 3 * TIMEOUT)
    monkeypatch.setattr(unit_module, "LATE_SECONDS", LATE)
    monkeypatch.setattr(unit_module, "REOPEN_SECONDS", 0.1)


@pytest.fixture
def bus() -> Bus:
    """Return a fast bus on which a meter has responded."""
    bus = Bus(baudrate=921_600, response_timeout=TIMEOUT)
    bus.responded = True
    return bus


@pytest.fixture
def client() -> Client:
    """Return the client of the meter."""
    return Client()


@pytest.fixture
def unit(bus: Bus, client: Client) -> ModbusUnit:
    """Return the meter at unit ID 5."""
    return bus.unit(5, cast(ModbusUnit, client))


def seconds() -> float:
    """Return the time of the event loop."""
    return asyncio.get_running_loop().time()


async def test_read_returns_words_in_one_transaction(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2)]
    traffic = bus.traffic[5]
    assert (traffic.requests, traffic.retries, traffic.errors) == (1, 0, 0)
    assert 0 < bus.used_seconds <= bus.seconds


async def test_client_settings_are_passed_on(client: Client, unit: ModbusUnit) -> None:
    unit.on_connection_lost(lambda: None)
    unit.require_connect_delay(1)
    unit.require_timeout(2)
    unit.set_message_spacing(3)
    assert client.log == [
        "on_connection_lost",
        ("connect_delay", 1),
        ("timeout", 2),
        ("spacing", 3),
    ]
    await unit.disconnect()
    assert not unit.connected


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (None, 0),
        (ModbusTimeoutError("lost"), 0),
        (ModbusProtocolError("CRC"), 1),
        (ModbusError("frame"), 1),
        (AttributeError("message"), 1),
        ([1, 2, 3], 1),
    ],
)
async def test_lost_or_damaged_response_is_requested_once_more(
    bus: Bus, client: Client, unit: ModbusUnit, error: Outcome, damaged: int
) -> None:
    client.outcomes.append(error)
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    without = [each for each in client.log if each != "cancelled"]
    assert without == [(7, 2), "disconnect", (7, 2)]
    traffic = bus.traffic[5]
    assert (traffic.requests, traffic.retries) == (2, 1)
    assert (traffic.timeouts, traffic.damaged) == (1 - damaged, damaged)


@pytest.mark.parametrize("error", [ModbusProtocolError("CRC"), ModbusError("frame")])
async def test_two_damaged_responses_are_an_error(
    client: Client, unit: ModbusUnit, error: ModbusError
) -> None:
    client.outcomes += [error, error]
    with pytest.raises(ModbusProtocolError, match=str(error)):
        await unit.read_holding_registers(7, 2)
    assert client.log.count((7, 2)) == 2


async def test_timeout_of_an_offline_unit_is_not_repeated(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes += [None, None, None]
    for requests in (2, 3):
        with pytest.raises(ModbusTimeoutError, match="no response"):
            await unit.read_holding_registers(7, 2)
        assert bus.traffic[5].requests == requests
    await unit.read_holding_registers(7, 2)
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    assert bus.traffic[5].requests == 6


async def test_patient_unit_gets_three_longer_attempts(
    bus: Bus, client: Client
) -> None:
    patient = bus.unit(5, cast(ModbusUnit, client), patient=True)
    for _ in range(2):
        client.outcomes += [None, None, 2.0 * TIMEOUT]
        assert await patient.read_holding_registers(7, 2) == [7, 7]
    client.outcomes += [None, None, None]
    with pytest.raises(ModbusTimeoutError):
        await patient.read_holding_registers(7, 2)
    assert bus.traffic[5].requests == 9


@pytest.mark.parametrize("error", [GatewayPathUnavailableError(), GatewayTargetError()])
async def test_gateway_exceptions_are_timeouts(
    bus: Bus, client: Client, unit: ModbusUnit, error: ModbusExceptionError
) -> None:
    client.outcomes += [error, error]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2), (7, 2)]
    assert (bus.traffic[5].timeouts, bus.traffic[5].refused) == (2, 0)
    client.outcomes.append(error)
    with pytest.raises(ModbusTimeoutError):
        await unit.write_register(7, 1)


async def test_refusal_is_raised_at_once(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(IllegalDataAddressError())
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2)]
    assert (bus.traffic[5].refused, bus.traffic[5].errors) == (1, 1)


async def test_writes_are_never_repeated(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    await unit.write_register(7, 1)
    await unit.write_registers(8, [2, 3])
    for error in (None, ModbusProtocolError("CRC")):
        client.outcomes.append(error)
        with pytest.raises((ModbusTimeoutError, ModbusProtocolError)):
            await unit.write_register(7, 1)
    assert bus.traffic[5].requests == 4
    assert [each for each in client.log if isinstance(each, tuple)] == [
        (7, [1]),
        (8, [2, 3]),
        (7, [1]),
        (7, [1]),
    ]


# -- connecting ---------------------------------------------------------------------


async def test_connecting_takes_longer_than_the_response_timeout(
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
        ModbusConnectionError("away"),
        ModbusTimeoutError("away"),
        OSError("away"),
        ModbusError("away"),
    ],
)
async def test_failed_connecting_is_a_connection_error(
    bus: Bus, client: Client, unit: ModbusUnit, error: Exception
) -> None:
    def fail() -> None:
        raise error

    client.connected = False
    client.connecting = fail
    with pytest.raises(ModbusConnectionError, match="away"):
        await unit.read_holding_registers(7, 2)
    assert client.log == []
    assert bus.traffic[5].errors == 0


async def test_broken_connection_is_dropped(client: Client, unit: ModbusUnit) -> None:
    client.outcomes.append(OSError("gone"))
    with pytest.raises(ModbusConnectionError, match="gone"):
        await unit.read_holding_registers(7, 2)
    await unit.read_holding_registers(7, 2)
    assert client.log == [(7, 2), "disconnect", (7, 2)]


async def test_port_that_is_still_busy_is_opened_again(
    client: Client, unit: ModbusUnit
) -> None:
    def fail() -> None:
        if next(attempts) == "busy":
            msg = "busy"
            raise ModbusConnectionError(msg)

    attempts = iter(("busy", "busy", "free"))
    client.connecting = fail
    client.outcomes.append(ModbusProtocolError("CRC"))
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    # Without a recovery before, nothing is tried twice.
    attempts = iter(("busy", "free"))
    client.connected = False
    with pytest.raises(ModbusConnectionError):
        await unit.read_holding_registers(7, 2)


async def test_port_that_stays_busy_is_an_error(
    client: Client, unit: ModbusUnit
) -> None:
    def fail() -> None:
        msg = "busy"
        raise ModbusConnectionError(msg)

    client.connecting = fail
    client.outcomes.append(ModbusProtocolError("CRC"))
    began = seconds()
    with pytest.raises(ModbusConnectionError):
        await unit.read_holding_registers(7, 2)
    assert 0.1 <= seconds() - began < 0.3


async def test_reconnecting_during_a_request_does_not_count(
    client: Client, unit: ModbusUnit
) -> None:
    async def reconnect() -> None:
        await asyncio.sleep(0.5 * TIMEOUT)
        client.connected = False
        await asyncio.sleep(2 * TIMEOUT)
        client.connected = True

    client.outcomes.append(3.0 * TIMEOUT)
    _, words = await asyncio.gather(reconnect(), unit.read_holding_registers(7, 2))
    assert words == [7, 7]
    assert client.log == [(7, 2)]


# -- recovery -----------------------------------------------------------------------


async def test_cancelled_request_leaves_the_bus_clean(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    reading = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(0.5 * TIMEOUT)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2), "cancelled", "disconnect", (7, 2)]


async def test_client_that_connects_is_not_cancelled(
    client: Client, unit: ModbusUnit
) -> None:
    client.connected = False
    client.connect_seconds = 2 * TIMEOUT
    reading = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(TIMEOUT)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    client.connect_seconds = 0
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2), "disconnect", (7, 2)]


async def test_failed_disconnect_does_not_matter(
    client: Client, unit: ModbusUnit
) -> None:
    client.disconnect_error = ModbusConnectionError("device is gone")
    client.outcomes.append(None)
    assert await unit.read_holding_registers(7, 2) == [7, 7]


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize("loss", [0, 0.5])
async def test_only_a_serial_line_falls_silent_before_the_next_request(
    bus: Bus,
    client: Client,
    unit: ModbusUnit,
    framing: Literal["rtu", "tcp"],
    loss: float,
) -> None:
    bus.framing = framing
    bus.loss = loss
    client.outcomes.append(ModbusProtocolError("CRC"))
    began = seconds()
    await unit.read_holding_registers(7, 2)
    took = seconds() - began
    assert (took >= TIMEOUT) is (framing == "rtu")
    assert (took >= TIMEOUT + 0.05) is (framing == "rtu" and loss > 0)


async def test_lossy_bus_repeats_timeouts_of_offline_units(
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
    assert bus.traffic[5].requests == 2 + 3 + 3


async def test_loss_is_the_part_of_reads_that_were_repeated(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    assert bus.loss == pytest.approx(0.05)
    # A meter that does not respond says nothing about the bus.
    client.outcomes += [None] * 5
    for _ in range(4):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
    assert bus.loss == pytest.approx(0.05)
    for _ in range(2):
        await unit.read_holding_registers(7, 2)
        client.outcomes.append(ModbusProtocolError("CRC"))
    assert not bus.is_lossy
    await unit.read_holding_registers(7, 2)
    assert bus.is_lossy
    for _ in range(20):
        await unit.read_holding_registers(7, 2)
    assert not bus.is_lossy


async def test_timeout_that_the_task_repeats_is_raised_at_once(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes += [None, ModbusProtocolError("CRC")]
    with REPEATS_TIMEOUTS.set(False):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
        assert client.log.count((7, 2)) == 1
        await unit.read_holding_registers(7, 2)
    assert client.log.count((7, 2)) == 3


async def test_read_waits_for_a_late_response_of_the_same_length(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    began = seconds()
    await unit.read_holding_registers(7, 2)
    await unit.read_holding_registers(8, 3)
    assert seconds() - began < LATE / 2
    await unit.read_holding_registers(9, 2)
    assert seconds() - began >= LATE
    began = seconds()
    await unit.read_holding_registers(7, 2)
    assert seconds() - began < LATE / 2


async def test_refusal_after_a_lost_response_is_requested_again(
    client: Client, unit: ModbusUnit
) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    client.outcomes.append(IllegalDataAddressError())
    assert await unit.read_holding_registers(8, 3) == [8, 8, 8]
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    client.outcomes += [IllegalDataAddressError(), IllegalDataAddressError()]
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(8, 3)
    # A refusal of the request that timed out before is its own.
    client.outcomes += [None, IllegalDataAddressError()]
    with pytest.raises(IllegalDataAddressError):
        await unit.read_holding_registers(7, 2)


async def test_write_waits_for_late_responses(client: Client, unit: ModbusUnit) -> None:
    client.outcomes.append(None)
    await unit.read_holding_registers(7, 2)
    began = seconds()
    await unit.write_register(8, 1)
    assert seconds() - began >= LATE / 2
    began = seconds()
    await unit.write_register(8, 1)
    assert seconds() - began < LATE / 2


async def test_only_some_probes_are_followed_by_a_recovery(
    bus: Bus, client: Client
) -> None:
    async def probe() -> list[int]:
        return await bus.async_request(
            5,
            cast(ModbusUnit, client),
            lambda: client.read_holding_registers(7, 1),
            15,
            probe_timeout=0.005,
        )

    count = bus_module.PROBES_UNTIL_RECOVERY
    client.outcomes += [None] * count
    for _ in range(count):
        assert "disconnect" not in client.log
        with pytest.raises(ModbusTimeoutError):
            await probe()
    assert await probe() == [7]
    assert client.log[-2:] == ["disconnect", (7, 1)]
    assert client.log.count("cancelled") == count


async def test_pause_of_the_bus_is_waited_for(
    bus: Bus, client: Client, unit: ModbusUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.outcomes.append(0.02)
    reading = asyncio.create_task(unit.read_holding_registers(7, 2))
    await asyncio.sleep(0)
    await bus.async_wait_for_pause()
    assert reading.done()
    monkeypatch.setattr(bus_module, "LONGEST_WAIT", 0.02)
    async with bus.hold():
        began = seconds()
        await bus.async_wait_for_pause()
    assert 0.02 <= seconds() - began < 0.2


# -- the lock -----------------------------------------------------------------------


async def test_command_waits_for_one_transaction_of_the_poller(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    async def poll() -> None:
        for address in range(4):
            await unit.read_holding_registers(address, 2)

    async def command() -> None:
        await asyncio.sleep(0.005)
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


@pytest.mark.parametrize("outcome", [[], None])
async def test_broadcast_is_given_its_time(
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


async def test_delay_is_measured_and_predicts_a_read(client: Client) -> None:
    bus = Bus(baudrate=9600, response_timeout=TIMEOUT)
    unit = bus.unit(5, cast(ModbusUnit, client))
    frames = (8 + 5 + 2 * 14 + 3.5) * 11 / 9600
    assert bus.read_seconds(14) == pytest.approx(frames + 0.001)
    client.outcomes.append(frames + 0.02)
    await unit.read_holding_registers(7, 14)
    assert bus.delay == pytest.approx(0.001 + 0.1 * 0.02, abs=0.001)


async def test_response_timeout_follows_the_measured_delay(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    bus.delay = TIMEOUT
    client.outcomes.append(3.0 * TIMEOUT)
    assert await unit.read_holding_registers(7, 2) == [7, 7]
    assert client.log == [(7, 2)]


def test_gateway_has_a_longer_response_timeout() -> None:
    assert Bus(baudrate=9600).response_timeout == 0.25
    assert Bus(baudrate=9600, framing="tcp").response_timeout == 1
    assert Bus(baudrate=9600, response_timeout=0.5).response_timeout == 0.5


# -- the echo of an adapter ---------------------------------------------------------


async def test_echo_is_named_if_no_meter_ever_responded(
    bus: Bus, client: Client, unit: ModbusUnit
) -> None:
    bus.responded = False
    client.loopback = 0
    client.outcomes += [None, None]
    with pytest.raises(EchoError, match="echo"):
        await unit.read_holding_registers(7, 2)
    client.outcomes.append(None)
    with pytest.raises(EchoError, match="echo"):
        await unit.read_holding_registers(7, 2)
    assert client.log.count("loopback") == 1
    assert await unit.read_holding_registers(7, 2) == [7, 7]


@pytest.mark.parametrize("loopback", [None, 1])
async def test_loopback_is_tested_once(
    bus: Bus, client: Client, unit: ModbusUnit, loopback: int | None
) -> None:
    bus.responded = False
    client.loopback = loopback
    for _ in range(2):
        client.outcomes += [None, None]
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(7, 2)
        client.outcomes.clear()
    assert client.log.count("loopback") == 1


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_loopback_is_not_tested_without_need(
    bus: Bus, client: Client, unit: ModbusUnit, framing: Literal["rtu", "tcp"]
) -> None:
    bus.framing = framing
    bus.responded = framing == "rtu"
    client.outcomes += [None, None]
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(7, 2)
    assert "loopback" not in client.log


# -- the log ------------------------------------------------------------------------


def test_warnings_of_noise_are_logged_once(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger(NOISY_LOGGER)
    caplog.set_level(logging.WARNING, NOISY_LOGGER)
    for length in range(3):
        logger.warning("Discarding so many bytes of noise: %d", length)
        logger.error("broken")
    assert caplog.messages.count("broken") == 3
    assert len(caplog.messages) == 4
    caplog.set_level(logging.DEBUG, NOISY_LOGGER)
    logger.warning("Discarding so many bytes of noise: %d", 3)
    assert len(caplog.messages) == 5
