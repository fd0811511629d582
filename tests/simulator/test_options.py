"""What the simulation on its own can be told to be."""

from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
import json
from pathlib import Path
import sys
from typing import Any

from modbus_connection import (
    ModbusExceptionError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
)
from modbus_connection.tmodbus import ModbusConnection
import pytest

from .test_main import running

# 230 V, 1000 W and 12,345.67 kWh, by whom the file does not say.
REGISTERS: dict[str, Any] = {
    "50000": 0x53,
    "50001": 0x4F,
    "50002": 0x43,
    "50003": 0x4F,
    "50004": 100,
    "50008": "**REDACTED**",
    "50009": "**REDACTED**",
    "50010": "**REDACTED**",
    "50520": 0,
    "50521": 23_000,
    "50544": 0,
    "50545": 100,
    "50946": 18,
    "50947": 1_234_567 - (18 << 16),
}


def file_with(**changes: Any) -> dict[str, Any]:
    """Return the content of a small diagnostics file."""
    meter: dict[str, Any] = {
        "unit_id": 17,
        "profile": {
            "blocks": {
                name: {"type": name.capitalize(), "split": False}
                for name in ("identity", "measurements", "energies")
            }
        },
        "registers": REGISTERS,
    }
    for name in meter.keys() & changes.keys():
        meter[name] = changes.pop(name)
    data = {"entry": {"baudrate": 19200}, "meter": meter}
    return {"home_assistant": {}, "data": data | changes}


async def test_the_meter_of_a_file_is_played_at_its_address_and_speed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "diagnostics.json"
    path.write_text(json.dumps(file_with()))
    async with running("--load", str(path)) as (_, port):
        client = ModbusConnection(
            ModbusSerialParams(device=port, baudrate=9600), timeout=0.3
        )
        with pytest.raises(ModbusTimeoutError):
            await client.for_unit(17).read_holding_registers(50000, 5)
        await client.close()
        client = ModbusConnection(ModbusSerialParams(device=port, baudrate=19200))
        unit = client.for_unit(17)
        name = await unit.read_holding_registers(50000, 11)
        assert name[:4] == [0x53, 0x4F, 0x43, 0x4F]
        assert name[8:] == [0x1438, 0x0120, 17]
        high, low = await unit.read_holding_registers(50946, 2)
        assert 1_234_567 <= high << 16 | low < 1_234_569
        assert await unit.read_holding_registers(50770, 2) == [0, 12_345]
        with pytest.raises(ModbusExceptionError):
            await unit.read_holding_registers(51200, 2)
        await client.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "this is no JSON"),
        ("[]", "these are no diagnostics of a COUNTIS: no 'data'"),
        ('{"data": {}}', "these are no diagnostics of a COUNTIS: no 'entry'"),
        (file_with(setup_error={}), "the bus was not set up when this was made"),
        (file_with(meter={}), "these are no diagnostics of a COUNTIS: no 'profile'"),
        (file_with(profile={"blocks": {"clock": ""}}), "a block is no table"),
        (file_with(registers={}), "the meter did not respond when this was made"),
        (file_with(registers={"50000": "x"}), "register 50000 reads 'x'"),
        (file_with(registers={"50000": 65_536}), "register 50000 reads 65536"),
        (file_with(registers={"x": 1}), "register x reads 1"),
        (file_with(unit_id=300), "no meter has the unit ID 300"),
        (file_with(unit_id=None), "no meter has the unit ID None"),
    ],
)
async def test_a_file_that_no_meter_can_be_played_from_is_told_in_one_line(
    tmp_path: Path, content: str | dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "file.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert await ended("--load", str(path)) == (2, f"{path}: {complaint}\n")


async def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    complaint = f"{path}: No such file or directory\n"
    assert await ended("--load", str(path)) == (2, complaint)


async def ended(*arguments: str) -> tuple[int | None, str]:
    """Run the simulation to its end; return its exit code and its complaint."""
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "simulator", *arguments), stdout=PIPE, stderr=PIPE
    )
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


@pytest.mark.usefixtures("socket_enabled")
async def test_meters_are_behind_a_modbus_tcp_gateway() -> None:
    arguments = ("--address", "1", "2", "--tcp", "0")
    async with running(*arguments, label="Modbus TCP") as (process, place):
        host, _, port = place.partition(":")
        client = ModbusConnection(ModbusTcpParams(host=host, port=int(port)))
        for address in (1, 2):
            words = await client.for_unit(address).read_holding_registers(50010, 1)
            assert words == [address]
        await client.close()
        process.terminate()
        assert await process.wait() == 0


@pytest.mark.usefixtures("socket_enabled")
async def test_meters_are_behind_a_gateway_for_rtu_frames() -> None:
    arguments = ("--address", "1", "2", "--rtu-over-tcp", "0")
    async with running(*arguments, label="RTU over TCP") as (process, place):
        client = ModbusConnection(
            ModbusSerialParams(device=f"socket://{place}", baudrate=115_200)
        )
        for address in (1, 2):
            words = await client.for_unit(address).read_holding_registers(50010, 1)
            assert words == [address]
        await client.close()
        process.terminate()
        assert await process.wait() == 0


async def test_meters_are_wired_wrong() -> None:
    async with running("--wiring", "reversed-l2", "swapped-l1") as (_, port):
        client = ModbusConnection(ModbusSerialParams(device=port, baudrate=9600))
        words = await client.for_unit(1).read_holding_registers(50520, 6)
        volts = [low / 100 for low in words[1::2]]
        assert volts == pytest.approx([230, 398, 398], abs=6)
        await client.close()


async def test_a_mistake_in_the_wiring_has_a_name() -> None:
    code, errors = await ended("--wiring", "reversed-l4")
    assert code == 2
    assert "reversed-l3" in errors
