"""Simulated gateways, with one or more clients."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
import gc
import socket
import struct
import time

from modbus_connection import (
    GatewayTargetError,
    ModbusExceptionError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
)
from modbus_connection.tmodbus import ModbusConnection
import pytest

from simulator import (
    ANOTHER_UNIT_ID,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    TRUNCATED,
    Fault,
    Gateway,
    Line,
    Meter,
    RtuGateway,
    TcpGateway,
    gateway_in_thread,
    late,
)
from tests.common import until

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("socket_enabled")]

# The register of the order number, which is the last part of the serial number. In a
# simulated meter, the order number is the unit ID.
UNIT_ID_REGISTER = 50010
TARIFF_REGISTER = 40481
GATEWAY_TIMEOUT = 0.5  # s; a meter must begin its response in this time
CLIENT_TIMEOUT = 2.0  # s, longer than the timeout of the gateway


@pytest.fixture
def line(meter: Meter, second_meter: Meter) -> Line:
    """Return a fast line with both meters. The line does not run yet."""
    return Line([meter, second_meter], baudrate=115_200, response_delay=0.001)


@pytest.fixture
def tcp_gateway(line: Line) -> Generator[TcpGateway]:
    """Run a Modbus TCP gateway with the response timeout GATEWAY_TIMEOUT."""
    with gateway_in_thread(
        line, partial(TcpGateway, timeout=GATEWAY_TIMEOUT)
    ) as gateway:
        yield gateway


@pytest.fixture
def rtu_gateway(line: Line) -> Generator[RtuGateway]:
    """Run a gateway for RTU over TCP."""
    with gateway_in_thread(line, RtuGateway) as gateway:
        yield gateway


@asynccontextmanager
async def client_of(gateway: Gateway) -> AsyncGenerator[ModbusConnection]:
    """Connect a client with the framing of the gateway."""
    params: ModbusTcpParams | ModbusSerialParams
    params = ModbusTcpParams(host=gateway.host, port=gateway.port)
    if isinstance(gateway, RtuGateway):
        device = f"socket://{gateway.host}:{gateway.port}"
        params = ModbusSerialParams(device=device, baudrate=115_200)
    client = ModbusConnection(params, timeout=CLIENT_TIMEOUT)
    yield client
    await client.close()


async def read_unit_id(client: ModbusConnection, unit_id: int) -> int:
    """Return the unit ID that a meter has in its serial number."""
    unit = client.for_unit(unit_id)
    (word,) = await unit.read_holding_registers(UNIT_ID_REGISTER, 1)
    return word


@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_gateway_transfers_requests_to_each_unit_id(
    line: Line, kind: type[Gateway]
) -> None:
    with gateway_in_thread(line, kind) as gateway:
        async with client_of(gateway) as client:
            assert [await read_unit_id(client, unit_id) for unit_id in (1, 2, 1)] == [
                1,
                2,
                1,
            ]
            words = await client.for_unit(2).read_holding_registers(50000, 66)
            # "SOCO", and the product order code.
            assert words[:5] == [0x53, 0x4F, 0x43, 0x4F, 100]
            await client.for_unit(2).write_register(TARIFF_REGISTER, 3)
            # The secondary and the primary current of the transformers, in A.
            await client.for_unit(1).write_registers(57345, [1, 100])
    assert line.meters[2].writes == [(TARIFF_REGISTER, [3])]
    assert line.meters[1].writes == [(57345, [1, 100])]


@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_gateway_transfers_exception_of_meter(
    line: Line, kind: type[Gateway]
) -> None:
    with gateway_in_thread(line, kind) as gateway:
        async with client_of(gateway) as client:
            with pytest.raises(ModbusExceptionError) as refusal:
                await client.for_unit(1).read_holding_registers(0, 1)
            assert refusal.value.exception_code == 2  # illegal data address


@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_gateway_accepts_clients_one_after_another(
    line: Line, kind: type[Gateway]
) -> None:
    with gateway_in_thread(line, kind) as gateway:
        for unit_id in (1, 2, 1):
            async with client_of(gateway) as client:
                assert await read_unit_id(client, unit_id) == unit_id


@pytest.mark.parametrize("kind", [RtuGateway, TcpGateway])
async def test_gateway_reopens_line_that_was_unplugged(
    line: Line, kind: type[Gateway]
) -> None:
    with gateway_in_thread(line, kind) as gateway:
        async with client_of(gateway) as client:
            assert await read_unit_id(client, 1) == 1
            line.unplug()
            # The RTU client times out; the TCP gateway responds with exception 11.
            with pytest.raises((ModbusTimeoutError, GatewayTargetError)):
                await read_unit_id(client, 1)
            line.replug()
        async with client_of(gateway) as client:
            assert await read_unit_id(client, 1) == 1


# A gateway that does not stop may block the event loop. Then a timeout of asyncio has
# no effect, so pytest limits the time.
@pytest.mark.timeout(20)
@pytest.mark.parametrize("steps", range(8))
async def test_gateway_stops_although_a_client_has_just_disconnected(
    line: Line, steps: int
) -> None:
    async with line, TcpGateway(line) as gateway:
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        # A read of the serial number. Its response shows that the gateway has accepted
        # the client.
        writer.write(bytes.fromhex("0001 0000 0006 01 03 c358 0003"))
        # The header (7 bytes), the function and the byte count (1 byte each), and 3
        # registers.
        await reader.readexactly(9 + 2 * 3)
        writer.close()
        # The gateway notices the end of the connection within some steps of the event
        # loop. Each test stops the gateway after a different number of steps.
        for _ in range(steps):
            await asyncio.sleep(0)


# In one of these tests, asyncio closes its server while the server accepts the client.
# Python then ignores an error in the deletion of the connection, and pytest warns about
# this error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("steps", range(8))
async def test_gateway_stops_although_a_client_has_just_connected(
    line: Line, steps: int
) -> None:
    with socket.socket() as client:
        async with asyncio.timeout(20), line, TcpGateway(line) as gateway:
            client.connect((gateway.host, gateway.port))
            # The gateway accepts the client within some steps of the event loop. Each
            # test stops the gateway after a different number of steps.
            for _ in range(steps):
                await asyncio.sleep(0)
    gc.collect()  # deletes the connection in this test, not in a later one


async def test_tcp_gateway_reports_offline_meter_as_exception_11(
    second_meter: Meter, tcp_gateway: TcpGateway
) -> None:
    second_meter.offline = True
    async with client_of(tcp_gateway) as client:
        for unit_id in (2, 200):  # no meter has unit ID 200
            began = time.monotonic()
            with pytest.raises(GatewayTargetError) as error:
                await read_unit_id(client, unit_id)
            assert time.monotonic() - began >= GATEWAY_TIMEOUT
            assert error.value.exception_code == 0x0B
        assert await read_unit_id(client, 1) == 1


@pytest.mark.parametrize(
    "fault", [LOST, FLIPPED, TRUNCATED, NOISE_BEFORE, ANOTHER_UNIT_ID]
)
async def test_tcp_gateway_discards_invalid_response(
    line: Line, tcp_gateway: TcpGateway, fault: Fault
) -> None:
    line.faults.append(fault)
    async with client_of(tcp_gateway) as client:
        with pytest.raises(GatewayTargetError):
            await read_unit_id(client, 1)
        assert await read_unit_id(client, 2) == 2


async def test_tcp_gateway_discards_late_response(
    line: Line, tcp_gateway: TcpGateway
) -> None:
    line.faults.append(late(2 * GATEWAY_TIMEOUT))
    async with client_of(tcp_gateway) as client:
        with pytest.raises(GatewayTargetError):
            await read_unit_id(client, 1)
        # The response has 7 bytes: unit ID, function code, byte count, a word and CRC.
        await until(lambda: tcp_gateway.discarded == 7)
        assert await read_unit_id(client, 2) == 2


async def test_tcp_gateway_ignores_noise_after_response(
    line: Line, tcp_gateway: TcpGateway
) -> None:
    line.faults.append(NOISE_AFTER)
    async with client_of(tcp_gateway) as client:
        assert [await read_unit_id(client, unit_id) for unit_id in (1, 2)] == [1, 2]


async def test_tcp_gateway_interleaves_requests_of_two_clients(
    line: Line, tcp_gateway: TcpGateway
) -> None:
    async def read(client: ModbusConnection, unit_id: int) -> list[int]:
        return [await read_unit_id(client, unit_id) for _ in range(20)]

    async with client_of(tcp_gateway) as one, client_of(tcp_gateway) as other:
        unit_ids = tuple(await asyncio.gather(read(one, 1), read(other, 2)))
    assert unit_ids == ([1] * 20, [2] * 20)
    assert len(line.requests) == 40
    # The first 20 requests come from both clients.
    assert {frame[0] for frame in line.requests[:20]} == {1, 2}


async def test_tcp_gateway_returns_transaction_id_of_each_request(
    tcp_gateway: TcpGateway,
) -> None:
    reader, writer = await asyncio.open_connection(tcp_gateway.host, tcp_gateway.port)
    # No meter has unit ID 99.
    for transaction_id, unit_id in ((700, 2), (3, 1), (3, 99)):
        header = struct.pack(">HHHB", transaction_id, 0, 6, unit_id)
        writer.write(header + struct.pack(">BHH", 3, UNIT_ID_REGISTER, 1))
    responses = [await reader.readexactly(11), await reader.readexactly(11)]
    exception_response = await reader.readexactly(9)
    writer.close()
    # Transaction ID (700 is 02 bc), protocol, length, unit ID, function and content.
    # The last response is exception 11 (0b).
    assert [each.hex(" ") for each in (*responses, exception_response)] == [
        "02 bc 00 00 00 05 02 03 02 00 02",
        "00 03 00 00 00 05 01 03 02 00 01",
        "00 03 00 00 00 03 63 83 0b",
    ]


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        bytes(7),  # length 0
        bytes.fromhex("0001 0000 ffff 01"),  # length 65 535
    ],
)
async def test_tcp_gateway_disconnects_client_that_sends_invalid_header(
    line: Line, tcp_gateway: TcpGateway, header: bytes
) -> None:
    reader, writer = await asyncio.open_connection(tcp_gateway.host, tcp_gateway.port)
    writer.write(header)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    assert line.requests == []


async def test_rtu_gateway_transfers_broadcast_to_all_meters(
    meter: Meter, second_meter: Meter, rtu_gateway: RtuGateway
) -> None:
    async with client_of(rtu_gateway) as client:
        await client.for_unit(0).write_register(TARIFF_REGISTER, 2)
        # A broadcast has no response. Wait until the meters have executed the write.
        await until(
            lambda: (meter.counters.tariff, second_meter.counters.tariff) == (2, 2)
        )
        assert [await read_unit_id(client, unit_id) for unit_id in (1, 2)] == [1, 2]


async def test_tcp_gateway_transfers_broadcast_without_response(
    line: Line, tcp_gateway: TcpGateway
) -> None:
    async with client_of(tcp_gateway) as client:
        # A Modbus TCP client waits for a response even after a broadcast.
        with pytest.raises(ModbusTimeoutError):
            await client.for_unit(0).write_register(TARIFF_REGISTER, 2)
        assert [await read_unit_id(client, unit_id) for unit_id in (1, 2)] == [1, 2]
    for meter in line.meters.values():
        assert meter.writes == [(TARIFF_REGISTER, [2])]
    assert len(line.requests) == 3  # the broadcast and two reads


async def test_gateway_disconnects_its_clients_when_it_stops(line: Line) -> None:
    with gateway_in_thread(line, TcpGateway) as gateway:
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        # The response shows that the gateway has accepted the connection.
        writer.write(bytes.fromhex("0001 0000 0006 01 03 c35a 0001"))
        await reader.readexactly(11)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_gateway_listens_at_given_port(line: Line) -> None:
    with gateway_in_thread(line, RtuGateway) as gateway:
        port = gateway.port
    with gateway_in_thread(line, partial(RtuGateway, port=port)) as gateway:
        assert gateway.port == port
        async with client_of(gateway) as client:
            assert await read_unit_id(client, 1) == 1
