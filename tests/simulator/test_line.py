"""The simulated line between a client and the meters."""

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
from pymodbus.framer.rtu import FramerRTU
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

from .conftest import TIMEOUT

READ_NAME = bytes.fromhex("01 03 c3 54 00 01")


def frame(content: bytes) -> bytes:
    """Return a request with its check sum."""
    return content + FramerRTU.compute_CRC(content).to_bytes(2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (LOST, ModbusTimeoutError),
        (FLIPPED, ModbusProtocolError),
        (TRUNCATED, ModbusTimeoutError),
        (late(2 * TIMEOUT), ModbusTimeoutError),
    ],
)
async def test_a_fault_happens_to_as_many_answers_as_it_is_told_to(
    line: Line, unit: TmodbusUnit, fault: Fault, error: type[Exception]
) -> None:
    line.faults.append(fault)
    with pytest.raises(error):
        await unit.read_holding_registers(50000, 8)
    await asyncio.sleep(2 * TIMEOUT)
    assert len(await unit.read_holding_registers(50000, 8)) == 8


@pytest.mark.parametrize("fault", [LOST, FLIPPED, TRUNCATED])
async def test_a_meter_does_not_act_on_a_broken_request(
    line: Line, meter: Meter, unit: TmodbusUnit, fault: Fault
) -> None:
    line.request_faults.append(fault)
    with pytest.raises(ModbusTimeoutError):
        await unit.write_register(40481, 2)
    assert meter.counters.tariff == 1
    await unit.write_register(40481, 2)
    assert meter.counters.tariff == 2


async def test_a_cut_line_carries_nothing_until_it_is_mended(
    line: Line, unit: TmodbusUnit
) -> None:
    line.cut = True
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 8)
    line.cut = False
    assert len(await unit.read_holding_registers(50000, 8)) == 8


async def test_the_line_tells_what_was_asked(line: Line, unit: TmodbusUnit) -> None:
    await unit.read_holding_registers(50004, 1)
    assert line.requests == [frame(READ_NAME)]
    assert (line.bytes_sent, line.bytes_answered) == (8, 7)


async def test_bytes_take_their_time() -> None:
    line = Line([Meter()], baudrate=9600, answer_delay=0.05)
    async with line:
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=9600))
        unit = client.for_unit(1)
        await client.connect()
        started = time.monotonic()
        await unit.read_holding_registers(50000, 66)
        took = time.monotonic() - started
        await client.close()
    characters = 8 + 5 + 2 * 66
    assert took >= characters * 11 / 9600 + 0.05


async def test_a_meter_answers_nobody_at_another_speed(
    line: Line, unit: TmodbusUnit
) -> None:
    line.understood_baudrate = 9600
    with pytest.raises(ModbusTimeoutError):
        await unit.read_holding_registers(50000, 8)
    line.understood_baudrate = 38400
    assert len(await unit.read_holding_registers(50000, 8)) == 8


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00",
        b"\xff" * 40,
        frame(READ_NAME)[:5],
        frame(READ_NAME)[:-1] + b"\x00",
        frame(b"\x01\x41\x10\xff\xff\xff"),
        frame(b"\x01\x10\xe2\x22\x00\x01\xfa\x00\x01"),
    ],
)
async def test_noise_does_not_hold_up_the_next_request(
    line: Line, unit: TmodbusUnit, noise: bytes
) -> None:
    await unit.read_holding_registers(50000, 8)
    port = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    os.write(port, noise)
    os.close(port)
    await asyncio.sleep(0.05)
    assert len(await unit.read_holding_registers(50000, 8)) == 8


async def test_who_talks_into_an_answer_is_not_understood(
    meter: Meter, second_meter: Meter
) -> None:
    async with Line([meter, second_meter], answer_delay=0) as line:
        port = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
        os.write(port, frame(bytes.fromhex("01 03 c3 50 00 40")))
        await asyncio.sleep(0.06)
        os.write(port, frame(READ_NAME))
        await asyncio.sleep(0.3)
        assert len(line.requests) == 2
        assert line.bytes_answered < 5 + 2 * 0x40
        os.close(port)


async def test_the_port_outlives_its_clients(line: Line) -> None:
    for _ in range(3):
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=9600))
        assert await client.for_unit(1).read_holding_registers(50004, 1) == [100]
        await client.close()


async def test_nobody_has_to_read_the_answers(line: Line, unit: TmodbusUnit) -> None:
    port = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    request = frame(bytes.fromhex("01 03 c3 50 00 42"))
    while line.bytes_answered < 5000 and len(line.requests) < 50:
        os.write(port, request)
        await asyncio.sleep(0.03)
    os.close(port)
    assert await unit.read_holding_registers(50004, 1) == [100]


async def test_sixty_four_meters_share_a_line() -> None:
    meters = [Meter(address=address) for address in (*range(1, 64), 255)]
    async with Line(meters, baudrate=115_200, answer_delay=0) as line:
        client = ModbusConnection(ModbusSerialParams(device=line.port, baudrate=38400))
        serials = {
            tuple(await client.for_unit(meter.address).read_holding_registers(50008, 3))
            for meter in meters
        }
        await client.close()
    assert len(serials) == 64


async def test_an_adapter_can_be_pulled_and_plugged_in_again(
    meter: Meter, tmp_path: Path
) -> None:
    link = tmp_path / "adapter"
    with line_in_thread(Line([meter], link=link)) as line:
        client = ModbusConnection(
            ModbusSerialParams(device=str(link), baudrate=9600), timeout=TIMEOUT
        )
        unit = client.for_unit(1)
        assert await unit.read_holding_registers(50004, 1) == [100]
        line.unplug()
        assert not link.is_symlink()
        # Which of them depends on whether the client has noticed already.
        with pytest.raises((ModbusConnectionError, OSError)):
            await unit.read_holding_registers(50004, 1)
        line.replug()
        answer: list[int] = []
        while not answer:
            # The client may not have noticed yet.
            await asyncio.sleep(0.05)
            with suppress(ModbusConnectionError, OSError):
                answer = await unit.read_holding_registers(50004, 1)
        assert answer == [100]
        await client.close()
    assert not link.is_symlink()


def test_a_file_in_place_of_the_link_is_left_alone(
    meter: Meter, tmp_path: Path
) -> None:
    link = tmp_path / "adapter"
    link.write_text("precious")
    with pytest.raises(FileExistsError), line_in_thread(Line([meter], link=link)):
        pass
    assert link.read_text() == "precious"
