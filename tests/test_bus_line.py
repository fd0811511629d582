"""The bus with both client backends: no disturbance affects the next request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
import logging
import socket

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
    ModbusUnit,
)
import modbus_connection.pymodbus
import modbus_connection.tmodbus
import pytest

from custom_components.socomec_countis.countis.bus import Bus
from custom_components.socomec_countis.countis.errors import EchoError
from simulator import (
    ANOTHER_FUNCTION,
    ANOTHER_UNIT_ID,
    BUSY,
    DUPLICATED,
    ECHO,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    NOISE_WITHIN,
    SPLIT,
    TRUNCATED,
    WRONG_BYTE_COUNT,
    Counters,
    Fault,
    Line,
    Meter,
    RtuGateway,
    TcpGateway,
    late,
    random_bytes,
)
from simulator.ports import MemoryPort, TerminalPort

from .common import until
from .virtual_time import is_in_real_time

type Connection = (
    modbus_connection.tmodbus.ModbusConnection
    | modbus_connection.pymodbus.ModbusConnection
)

# The register address and the number of registers of each read.
SERIAL_NUMBER = (50008, 3)
ENERGIES = (50946, 18)
LOW_RESOLUTION_ENERGIES = (50770, 18)
BACKENDS = {
    "tmodbus": modbus_connection.tmodbus,
    "pymodbus": modbus_connection.pymodbus,
}
# On a serial port, the response timeout is 0.25 s, and the timeout of the retry ends
# 0.5 s after the first request. So a response with a delay or pause of 0.25 s to 0.5 s
# arrives during the retry. A response with a longer delay arrives after the retry.
FAULTS = {
    "lost": LOST,
    "flipped": FLIPPED,
    "truncated": TRUNCATED,
    "noise before": NOISE_BEFORE,
    "noise after": NOISE_AFTER,
    "noise within": NOISE_WITHIN,
    "wrong byte count": WRONG_BYTE_COUNT,
    "another unit ID": ANOTHER_UNIT_ID,
    "another function": ANOTHER_FUNCTION,
    "late": late(0.3),
    "very late": late(0.7),
    "split": SPLIT,
    "late second half": Fault(pause=0.35),
    "duplicated": DUPLICATED,
    "echo": ECHO,
    "busy": BUSY,
    "random bytes": random_bytes(1),  # the seed
}


@pytest.fixture
async def line(request: pytest.FixtureRequest) -> AsyncGenerator[Line]:
    """Run a line with two meters whose counters do not change."""
    meters = [
        Meter(
            unit_id=unit_id,
            true_time=lambda: 1_750_000_000,
            counters=Counters(consumed=unit_id * 1e6),
        )
        for unit_id in (1, 2)
    ]
    async with Line(
        meters,
        baudrate=115_200,
        response_delay=0.005,
        port_type=TerminalPort if is_in_real_time(request.node) else MemoryPort,
    ) as running:
        yield running


@pytest.fixture(params=BACKENDS)
async def connection(
    request: pytest.FixtureRequest, line: Line
) -> AsyncGenerator[Connection]:
    """Return a client of one backend, which opens the port of the line.

    A test runs with both backends, unless it selects one.

    The simulated meters receive at any speed, so 9600 baud need not match the line.
    """
    client = BACKENDS[request.param].ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=9600)
    )
    yield client
    await client.close()


@pytest.fixture
def bus() -> Bus:
    """Return a bus on which no meter has responded yet."""
    return Bus(baudrate=115_200)


def words(line: Line, unit_id: int, request: tuple[int, int]) -> list[int]:
    """Return the correct words for a read (register address, count) of a unit ID."""
    found = line.meters[unit_id].read(*request)
    assert isinstance(found, list)
    return found


async def disturb(line: Line, unit: ModbusUnit, fault: Fault) -> None:
    """Disturb a read of unit ID 1 and its retry, and wait until the line is idle."""
    line.faults += [fault] * 2
    with suppress(ModbusError):
        found = await unit.read_holding_registers(*SERIAL_NUMBER)
        assert found == words(line, 1, SERIAL_NUMBER)
    line.faults.clear()
    await until(lambda: line.is_idle)
    # A gateway transfers the last bytes within a few steps of the event loop.
    for _ in range(20):
        await asyncio.sleep(0.01)


async def assert_undisturbed(line: Line, *units: ModbusUnit) -> None:
    """Assert that reads of all units return the right words without a retry."""
    sent = len(line.requests)
    for _ in range(2):
        for unit_id, unit in enumerate(units, 1):
            for request in (SERIAL_NUMBER, ENERGIES):
                found = await unit.read_holding_registers(*request)
                assert found == words(line, unit_id, request)
    assert len(line.requests) - sent == 4 * len(units)  # two rounds of two reads


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_disturbance_does_not_affect_the_next_request(
    line: Line, bus: Bus, connection: Connection, fault: Fault
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    await disturb(line, units[0], fault)
    await assert_undisturbed(line, *units)


async def test_single_echo_after_a_valid_response_is_reported_as_a_timeout(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    await unit.read_holding_registers(*SERIAL_NUMBER)
    # Only the first timeout is retried, so three reads send four requests. The last one
    # is returned as an echo.
    line.faults += [LOST] * 3 + [ECHO]
    for _ in range(3):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(*SERIAL_NUMBER)
    assert not line.faults
    await assert_undisturbed(line, unit)


async def test_late_response_is_not_accepted_for_another_read(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    # The late response to the first read arrives during its retry. If the bus did not
    # wait before the second read, the late response to the retry would arrive during
    # the second read.
    line.faults += [late(0.4), late(0.2)]
    first = await unit.read_holding_registers(*ENERGIES)
    second = await unit.read_holding_registers(*LOW_RESOLUTION_ENERGIES)
    assert first == words(line, 1, ENERGIES)
    assert second == words(line, 1, LOW_RESOLUTION_ENERGIES)


async def test_bytes_after_a_valid_response_cause_at_most_one_retry(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    # The added bytes are the valid beginning of a response with 195 data bytes.
    line.faults.append(Fault(lambda frame: frame + frame[:2] + b"\xc3"))
    await unit.read_holding_registers(*SERIAL_NUMBER)
    await asyncio.sleep(0.05)
    await unit.read_holding_registers(*ENERGIES)
    assert bus.traffic[1].retries <= 1
    await assert_undisturbed(line, unit)


async def test_response_to_a_cancelled_request_does_not_affect_the_next(
    line: Line, bus: Bus, connection: Connection
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    await assert_undisturbed(line, *units)
    for milliseconds in range(0, 20, 2):  # a transaction takes about 10 ms
        read_task = asyncio.create_task(units[0].read_holding_registers(*ENERGIES))
        await asyncio.sleep(milliseconds / 1000)
        read_task.cancel()
        with suppress(asyncio.CancelledError):
            await read_task
        await asyncio.sleep(0.02)
        await assert_undisturbed(line, *units)


async def test_echo_of_every_request_is_reported(
    line: Line, bus: Bus, connection: Connection
) -> None:
    line.echoes = True
    unit = bus.unit(1, connection.for_unit(1))
    for _ in range(2):
        with pytest.raises(EchoError):
            await unit.read_holding_registers(*SERIAL_NUMBER)
    line.echoes = False
    await assert_undisturbed(line, unit)


async def test_loopback_test_does_not_disturb_the_next_request(
    line: Line, bus: Bus, connection: Connection
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    # No meter has responded yet, so the bus sends a loopback test after the timeouts.
    line.faults += [LOST] * 2
    with pytest.raises(ModbusTimeoutError):
        await units[0].read_holding_registers(*SERIAL_NUMBER)
    await assert_undisturbed(line, *units)


@pytest.mark.parametrize("prefix", [b"\x00", b"\xff"])
async def test_byte_before_each_response_is_logged_at_most_once(
    line: Line, bus: Bus, prefix: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tmodbus")
    line.response_prefix = prefix
    connection = modbus_connection.tmodbus.ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=9600)
    )
    unit = bus.unit(1, connection.for_unit(1))
    for _ in range(20):
        await unit.read_holding_registers(*SERIAL_NUMBER)
    await connection.close()
    assert bus.traffic[1].requests == 20
    assert len([each for each in caplog.records if each.levelno > logging.INFO]) <= 1


@pytest.mark.parametrize("connection", ["tmodbus"], indirect=True)
async def test_unplugged_adapter_raises_a_connection_error(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    await assert_undisturbed(line, unit)
    line.unplug()
    for _ in range(2):
        with pytest.raises(ModbusConnectionError):
            await unit.read_holding_registers(*SERIAL_NUMBER)


@pytest.mark.real_time
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_disturbance_behind_a_gateway_does_not_affect_the_next_request(
    line: Line, bus: Bus, fault: Fault, kind: type[RtuGateway | TcpGateway]
) -> None:
    async with kind(line) as gateway:
        params: ModbusSerialParams | ModbusTcpParams = ModbusSerialParams(
            device=f"socket://{gateway.host}:{gateway.port}", baudrate=115_200
        )
        if isinstance(gateway, TcpGateway):
            params = ModbusTcpParams(host=gateway.host, port=gateway.port)
            gateway.timeout = 0.1
            bus.framing = "tcp"
            bus.response_timeout = 0.5
        connection = modbus_connection.tmodbus.ModbusConnection(params)
        units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
        await disturb(line, units[0], fault)
        # Use longer timeouts from here on, because a busy machine may stop the test for
        # some seconds.
        bus.response_timeout = 15
        if isinstance(gateway, TcpGateway):
            gateway.timeout = 10
        await assert_undisturbed(line, *units)
        await connection.close()


@pytest.mark.real_time
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_gateway_that_drops_packets_causes_no_warning(
    bus: Bus, caplog: pytest.LogCaptureFixture, *, is_cancelled: bool
) -> None:
    with (
        socket.socket() as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # These two connections fill the queue of `listener`. After that, the kernel
        # drops the packets of any further connection.
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        connection = modbus_connection.tmodbus.ModbusConnection(
            ModbusSerialParams(device=f"socket://{host}:{port}"), timeout=0.5
        )
        unit = bus.unit(1, connection.for_unit(1))
        read_task = asyncio.create_task(unit.read_holding_registers(*SERIAL_NUMBER))
        if is_cancelled:
            await asyncio.sleep(0.2)
            read_task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read_task
        else:
            with pytest.raises(ModbusConnectionError, match="could not open"):
                await read_task
        await connection.close()
        await asyncio.sleep(0.05)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
