"""The bus on a pseudo-terminal and behind gateways: no disturbance lasts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
import logging
from pathlib import Path
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

from custom_components.socomec_countis.countis import unit as unit_module
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

from .virtual_time import is_in_real_time

type Connection = (
    modbus_connection.tmodbus.ModbusConnection
    | modbus_connection.pymodbus.ModbusConnection
)

SERIAL_NUMBER = (50008, 3)
ENERGIES = (50946, 18)
ENERGIES_IN_KWH = (50770, 18)
BACKENDS = {
    "tmodbus": modbus_connection.tmodbus,
    "pymodbus": modbus_connection.pymodbus,
}
FAULTS = {
    "lost": LOST,
    "flipped": FLIPPED,
    "truncated": TRUNCATED,
    "noise before": NOISE_BEFORE,
    "noise after": NOISE_AFTER,
    "noise within": NOISE_WITHIN,
    "longer": WRONG_BYTE_COUNT,
    "another address": ANOTHER_UNIT_ID,
    "another function": ANOTHER_FUNCTION,
    "late": late(0.3),
    "very late": late(0.7),
    "split": SPLIT,
    "split in two": Fault(pause=0.35),
    "duplicated": DUPLICATED,
    "echo": ECHO,
    "busy": BUSY,
    "babble": random_bytes(1),
}


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@pytest.fixture
async def line(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Line]:
    """Run a fast line with two meters that stand still.

    Its port has a name of its own: another test may get the number of a
    pseudo-terminal that is closed.
    """
    meters = [
        Meter(
            unit_id=address,
            clock=lambda: 1_750_000_000,
            counters=Counters(consumed=address * 1e6),
        )
        for address in (1, 2)
    ]
    async with Line(
        meters,
        baudrate=115_200,
        response_delay=0.005,
        link=tmp_path / "port",
        port_type=TerminalPort if is_in_real_time(request.node) else MemoryPort,
    ) as running:
        yield running


@pytest.fixture(params=BACKENDS)
async def connection(
    request: pytest.FixtureRequest, line: Line
) -> AsyncGenerator[Connection]:
    """Return a client of the line, with each of the backends."""
    client = BACKENDS[request.param].ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=9600)
    )
    yield client
    await client.close()


@pytest.fixture
def bus() -> Bus:
    """Return the bus."""
    return Bus(baudrate=115_200, response_timeout=0.25)


def words(line: Line, unit_id: int, request: tuple[int, int]) -> list[int]:
    """Return what a meter responds to a read."""
    found = line.meters[unit_id].read(*request)
    assert isinstance(found, list)
    return found


async def assert_clean(line: Line, *units: ModbusUnit) -> None:
    """Make sure that each unit responds to its first request with its own words."""
    sent = len(line.requests)
    for _ in range(2):
        for unit_id, unit in enumerate(units, 1):
            for request in (SERIAL_NUMBER, ENERGIES):
                found = await unit.read_holding_registers(*request)
                assert found == words(line, unit_id, request)
    assert len(line.requests) - sent == 4 * len(units)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_disturbance_never_reaches_the_next_request(
    line: Line, bus: Bus, connection: Connection, fault: Fault
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    line.faults += [fault] * 2
    with suppress(ModbusError):
        found = await units[0].read_holding_registers(*SERIAL_NUMBER)
        assert found == words(line, 1, SERIAL_NUMBER)
    line.faults.clear()
    # Until then, the rest of the response occupies the line.
    await asyncio.sleep(fault.delay + fault.pause)
    # A machine that is busy with other tests responds late.
    bus.response_timeout = 1
    await assert_clean(line, *units)


async def test_echo_once_does_not_keep_an_offline_meter_offline(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    await unit.read_holding_registers(*SERIAL_NUMBER)
    line.faults += [LOST] * 3 + [ECHO]
    for _ in range(3):
        with pytest.raises(ModbusTimeoutError):
            await unit.read_holding_registers(*SERIAL_NUMBER)
    assert not line.faults
    await assert_clean(line, unit)


async def test_late_response_is_not_taken_for_another_of_its_length(
    line: Line,
    bus: Bus,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit_module, "LATE_SECONDS", 1)
    unit = bus.unit(1, connection.for_unit(1))
    # The first response arrives as that to the second request, and so on.
    line.faults += [late(0.4), late(0.2)]
    first = await unit.read_holding_registers(*ENERGIES)
    second = await unit.read_holding_registers(*ENERGIES_IN_KWH)
    assert first == words(line, 1, ENERGIES)
    assert second == words(line, 1, ENERGIES_IN_KWH)


async def test_bytes_after_a_valid_response_cost_one_request_at_most(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    # They look like the beginning of a response of 200 bytes.
    line.faults.append(Fault(lambda frame: frame + frame[:2] + b"\xc3"))
    await unit.read_holding_registers(*SERIAL_NUMBER)
    await asyncio.sleep(0.05)
    await unit.read_holding_registers(*ENERGIES)
    assert bus.traffic[1].retries <= 1
    await assert_clean(line, unit)


async def test_cancelled_request_does_not_reach_the_next_one(
    line: Line, bus: Bus, connection: Connection
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    await assert_clean(line, *units)
    for milliseconds in range(0, 20, 2):
        reading = asyncio.create_task(units[0].read_holding_registers(*ENERGIES))
        await asyncio.sleep(milliseconds / 1000)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await asyncio.sleep(0.02)
        await assert_clean(line, *units)


async def test_echo_of_every_request_is_named(
    line: Line, bus: Bus, connection: Connection
) -> None:
    line.echoes = True
    unit = bus.unit(1, connection.for_unit(1))
    for _ in range(2):
        with pytest.raises(EchoError):
            await unit.read_holding_registers(*SERIAL_NUMBER)
    line.echoes = False
    await assert_clean(line, unit)


async def test_loopback_test_is_harmless(
    line: Line, bus: Bus, connection: Connection
) -> None:
    units = [bus.unit(unit_id, connection.for_unit(unit_id)) for unit_id in (1, 2)]
    line.faults += [LOST] * 2
    with pytest.raises(ModbusTimeoutError):
        await units[0].read_holding_registers(*SERIAL_NUMBER)
    await assert_clean(line, *units)


@pytest.mark.parametrize("prefix", [b"\x00", b"\xff"])
async def test_byte_before_each_response_is_logged_once(
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
async def test_unplugged_adapter_is_a_connection_error(
    line: Line, bus: Bus, connection: Connection
) -> None:
    unit = bus.unit(1, connection.for_unit(1))
    await assert_clean(line, unit)
    line.unplug()
    for _ in range(2):
        with pytest.raises(ModbusConnectionError):
            await unit.read_holding_registers(*SERIAL_NUMBER)


@pytest.mark.real_time
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_disturbance_behind_a_gateway_never_reaches_the_next_request(
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
        line.faults += [fault] * 2
        with suppress(ModbusError):
            found = await units[0].read_holding_registers(*SERIAL_NUMBER)
            assert found == words(line, 1, SERIAL_NUMBER)
        line.faults.clear()
        await asyncio.sleep(fault.delay + fault.pause)
        bus.response_timeout = 1.5
        if isinstance(gateway, TcpGateway):
            gateway.timeout = 1
        await assert_clean(line, *units)
        await connection.close()


@pytest.mark.real_time
@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("cancels", [False, True])
async def test_gateway_that_drops_packets_leaves_no_traceback(
    bus: Bus, caplog: pytest.LogCaptureFixture, *, cancels: bool
) -> None:
    with (
        socket.socket() as listener,
        socket.socket() as first,
        socket.socket() as second,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # The kernel drops the packets of what does not fit into its queue.
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        connection = modbus_connection.tmodbus.ModbusConnection(
            ModbusSerialParams(device=f"socket://{host}:{port}"), timeout=0.5
        )
        unit = bus.unit(1, connection.for_unit(1))
        reading = asyncio.create_task(unit.read_holding_registers(*SERIAL_NUMBER))
        if cancels:
            await asyncio.sleep(0.2)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        else:
            with pytest.raises(ModbusConnectionError, match="could not open"):
                await reading
        await connection.close()
        await asyncio.sleep(0.05)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
