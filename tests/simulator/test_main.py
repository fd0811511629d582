"""The simulation on its own, as the demo runs it."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import signal
import sys

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
import pytest


@asynccontextmanager
async def running(
    *arguments: str, label: str = "Port"
) -> AsyncGenerator[tuple[Process, str]]:
    """Run the simulation and return it with the place that it says it is at."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", *arguments), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        said, _, place = line.partition(": ")
        assert said == label
        yield process, place
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_simulation_serves_meters_until_it_is_told_to_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    link = tmp_path / "line"
    async with running("--address", "1", "2", "--link", str(link)) as (process, port):
        assert port == str(link)
        client = ModbusConnection(ModbusSerialParams(device=port, baudrate=9600))
        assert await client.for_unit(1).read_holding_registers(50004, 1) == [100]
        high, low = await client.for_unit(1).read_holding_registers(50770, 2)
        assert high << 16 | low >= 12_345
        # By its first light, the inverter produces.
        high, low = await client.for_unit(2).read_holding_registers(50536, 2)
        assert high == 0xFFFF
        await client.close()
        process.send_signal(number)
        assert await process.wait() == 0
    assert not link.is_symlink()


async def test_counters_outlast_the_simulation(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    for tariff in (3, 4):
        async with running("--address", "5", "--state", str(state)) as (process, port):
            client = ModbusConnection(ModbusSerialParams(device=port, baudrate=9600))
            unit = client.for_unit(5)
            before = await unit.read_holding_registers(51201, 1)
            assert before == [3 if tariff == 4 else 1]
            await unit.write_register(40481, tariff)
            await client.close()
            process.terminate()
            await process.wait()
    assert json.loads(state.read_text())["5"]["tariff"] == 4
