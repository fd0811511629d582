"""The line between a client and the meters."""

import asyncio
from contextlib import suppress
import os
from pathlib import Path
import time

from modbus_connection import (
    ModbusConnectionError,
    ModbusProtocolError,
    ModbusSerialParams,
    ModbusTimeoutError,
)
from modbus_connection.tmodbus import ModbusConnection, TmodbusUnit
import pytest

from simulator import (
    FLIPPED,
    LOST,
    TRUNCATED,
    Fault,
    Line,
    Meter,
    late,
    line_in_thread,
)
from simulator.modbus import with_crc
from simulator.ports import MemoryPort
from tests.common import memory_line, until

from .conftest import TIMEOUT

# A read of register 50004, the product order code, whose value is 100.
READ_PRODUCT = with_crc(bytes.fromhex("01 03 c3 54 00 01"))


def receive_from_client(line: Line, data: bytes) -> None:
    """Let a line in memory receive bytes, as if a client had sent them."""
    port = MemoryPort.named(line.port)
    assert port is not None
    port.on_data(data)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (LOST, ModbusTimeoutError),
        (FLIPPED, ModbusProtocolError),
        (TRUNCATED, ModbusTimeoutError),
        (late(2 * TIMEOUT), ModbusTimeoutError),
    ],
)
async def test_fault_changes_one_response(
    line: Line, unit: TmodbusUnit, fault: Fault, error: type[Exception]
) -> None:
    line.faults.append(fault)
    with pytest.raises(error):
        await unit.read_holding_registers(50000, 8)
    await asyncio.sleep(2 * TIMEOUT)  # until a late response has arrived
    assert len(await unit.read_holding_registers(50000, 8)) == 8


async def test_line_is_idle_after_a_late_response(
    line: Line, unit: TmodbusUnit
) -> None:
    line.faults.append(late(2 * TIMEOUT))
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 8)
    assert line.response_bytes == 0
    assert not line.is_idle
    await until(lambda: line.is_idle)
    assert line.response_bytes == 21  # 5 bytes, and 2 for each register


@pytest.mark.parametrize("fault", [LOST, FLIPPED, TRUNCATED])
async def test_meter_does_not_execute_damaged_request(
    line: Line, meter: Meter, unit: TmodbusUnit, fault: Fault
) -> None:
    line.request_faults.append(fault)
    with pytest.raises(ModbusTimeoutError):
        await unit.write_register(40481, 2)  # selects tariff 2
    assert meter.counters.tariff == 1
    await unit.write_register(40481, 2)
    assert meter.counters.tariff == 2


async def test_cut_line_carries_no_frames(line: Line, unit: TmodbusUnit) -> None:
    line.cut = True
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 8)
    line.cut = False
    assert len(await unit.read_holding_registers(50000, 8)) == 8


async def test_line_records_requests_and_counts_response_bytes(
    line: Line, unit: TmodbusUnit
) -> None:
    await unit.read_holding_registers(50004, 1)
    assert line.requests == [READ_PRODUCT]
    assert line.response_bytes == 7  # 2 of them are data


async def test_speed_of_the_line_sets_the_time_of_a_byte() -> None:
    async with memory_line([Meter()], baudrate=9600, response_delay=0.05) as line:
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=9600))
        unit = client.for_unit(1)
        await client.connect()
        started = time.monotonic()
        await unit.read_holding_registers(50000, 66)
        took = time.monotonic() - started
        await client.close()
    # Request; response without data; data; silence of the client before its request.
    characters = 8 + 5 + 2 * 66 + 3.5
    # Each character has 11 bits.
    assert took == pytest.approx(characters * 11 / 9600 + 0.05, abs=0.001)


async def test_meter_does_not_respond_at_another_speed(
    line: Line, unit: TmodbusUnit
) -> None:
    line.meter_baudrate = 9600
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 8)
    line.meter_baudrate = 38400  # the speed of the client
    assert len(await unit.read_holding_registers(50000, 8)) == 8


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00",
        b"\xff" * 40,
        READ_PRODUCT[:5],
        READ_PRODUCT[:-1] + b"\x00",  # wrong CRC
        with_crc(b"\x01\x41\x10\xff\xff\xff"),  # unknown function 0x41
        # A write of 1 register with a byte count of 250.
        with_crc(b"\x01\x10\xe2\x22\x00\x01\xfa\x00\x01"),
    ],
)
async def test_meter_responds_after_noise(
    line: Line, unit: TmodbusUnit, noise: bytes
) -> None:
    await unit.read_holding_registers(50000, 8)
    receive_from_client(line, noise)
    await asyncio.sleep(0.05)  # s; separates the noise from the next request
    assert len(await unit.read_holding_registers(50000, 8)) == 8


async def test_request_during_response_damages_both(
    meter: Meter, second_meter: Meter
) -> None:
    meters = [meter, second_meter]
    async with memory_line(meters, baudrate=9600, response_delay=0) as line:
        # A read of 64 (0x40) registers. At 9600 baud, its response of 133 bytes takes
        # 0.15 s.
        receive_from_client(line, with_crc(bytes.fromhex("01 03 c3 50 00 40")))
        await asyncio.sleep(0.06)
        receive_from_client(line, READ_PRODUCT)
        await asyncio.sleep(0.3)
        assert len(line.requests) == 2
        # The first response is incomplete, and the second request gets no response.
        assert 0 < line.response_bytes < 5 + 2 * 0x40


async def test_port_accepts_clients_one_after_another(line: Line) -> None:
    for _ in range(3):
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=9600))
        assert await read_when_free(client.for_unit(1)) == [100]
        await client.close()


async def read_when_free(unit: TmodbusUnit) -> list[int]:
    """Read a register as soon as the previous client has released the port.

    A client releases the port some time after `close` has returned.
    """
    async with asyncio.timeout(10):
        while True:
            with suppress(ModbusConnectionError):
                return await unit.read_holding_registers(50004, 1)
            await asyncio.sleep(0.01)


@pytest.mark.real_time
async def test_unread_responses_do_not_block_line(
    line: Line, unit: TmodbusUnit
) -> None:
    port = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    # A read of 66 (0x42) registers, whose response has 137 bytes.
    request = with_crc(bytes.fromhex("01 03 c3 50 00 42"))
    # Fill the read buffer of the terminal, which has 4096 bytes. `response_bytes` only
    # counts bytes that fit, so it may never reach 5000. Therefore, send at most 50
    # requests, whose responses have 6850 bytes.
    sent = 0

    def is_transferred() -> bool:
        return len(line.requests) == sent and line.is_idle

    while line.response_bytes < 5000 and sent < 50:
        os.write(port, request)
        sent += 1
        await until(is_transferred)
    os.close(port)
    assert await unit.read_holding_registers(50004, 1) == [100]


async def test_64_meters_respond_on_one_line() -> None:
    meters = [Meter(unit_id=unit_id) for unit_id in (*range(1, 64), 255)]
    async with memory_line(meters) as line:
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=38400))
        serials = {
            tuple(await client.for_unit(meter.unit_id).read_holding_registers(50008, 3))
            for meter in meters
        }
        await client.close()
    assert len(serials) == 64


@pytest.mark.real_time
async def test_client_reconnects_after_replug(meter: Meter, tmp_path: Path) -> None:
    link = tmp_path / "adapter"
    with line_in_thread(Line([meter], link=link)) as line:
        client = ModbusConnection(
            ModbusSerialParams(device=str(link), baudrate=9600), timeout=TIMEOUT
        )
        unit = client.for_unit(1)
        assert await unit.read_holding_registers(50004, 1) == [100]
        line.unplug()
        assert not link.is_symlink()
        # The error depends on whether the client has noticed the missing port.
        with pytest.raises((ModbusConnectionError, OSError)):
            await unit.read_holding_registers(50004, 1)
        line.replug()
        words: list[int] = []
        while not words:
            # The client may still use the old port.
            await asyncio.sleep(0.05)
            with suppress(ModbusConnectionError, OSError):
                words = await unit.read_holding_registers(50004, 1)
        assert words == [100]
        await client.close()
    assert not link.is_symlink()


def test_file_at_path_of_link_is_not_replaced(meter: Meter, tmp_path: Path) -> None:
    link = tmp_path / "adapter"
    link.write_text("precious")
    with pytest.raises(FileExistsError), line_in_thread(Line([meter], link=link)):
        pass
    assert link.read_text() == "precious"
