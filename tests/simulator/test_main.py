"""The command line of the simulator."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from modbus_connection import (
    ModbusExceptionError,
    ModbusSerialParams,
    ModbusTcpParams,
    ModbusTimeoutError,
)
from modbus_connection.tmodbus import ModbusConnection
import pytest

from .conftest import TIMEOUT
from .test_diagnostics import diagnostics_content

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def running(
    *arguments: str, label: str = "Port"
) -> AsyncGenerator[tuple[Process, str]]:
    """Run the simulator. Yield the process, and the printed port or address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", *arguments), stdout=PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        printed_label, _, port = line.partition(": ")
        assert printed_label == label
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def client_of(
    port: str, baudrate: int = 9600, response_timeout: float = TIMEOUT
) -> AsyncGenerator[ModbusConnection]:
    """Yield a client of a serial port. At the end, wait until the port is released."""
    client = ModbusConnection(
        ModbusSerialParams(device=port, baudrate=baudrate), timeout=response_timeout
    )
    yield client
    await client.close()
    # The client releases the port some time after `close` has returned.
    async with asyncio.timeout(10):
        while is_open(port):
            await asyncio.sleep(0.01)


def is_open(port: str) -> bool:
    """Return whether a port is still open in the process that runs the test."""
    files = Path("/proc/self/fd").iterdir()
    return os.path.realpath(port) in [os.path.realpath(each) for each in files]


async def read_unsigned(client: ModbusConnection, unit_id: int, address: int) -> int:
    """Return the unsigned 32-bit value of two registers."""
    high, low = await client.for_unit(unit_id).read_holding_registers(address, 2)
    return high << 16 | low


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
async def test_meters_respond_until_signal(
    tmp_path: Path, stop_signal: signal.Signals
) -> None:
    link = tmp_path / "line"
    async with running("--unit-id", "1", "2", "--link", str(link)) as (process, port):
        assert port == str(link)
        async with client_of(port) as client:
            assert await read_unsigned(client, 1, 50770) >= 12_345  # Ea+ in kWh
            # The meter at unit ID 2 measures a solar inverter. By default, the
            # simulator starts at solar noon. So the measured power is negative.
            assert await read_unsigned(client, 2, 50536) > 0x8000_0000
        process.send_signal(stop_signal)
        assert await process.wait() == 0
    assert not link.is_symlink()


async def test_tariff_is_kept_in_state_file(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    # The first process sets tariff 3, with which the second process starts.
    for initial_tariff, new_tariff in ((1, 3), (3, 4)):
        arguments = ("--unit-id", "5", "--state", str(state))
        async with running(*arguments) as (process, port):
            async with client_of(port) as client:
                unit = client.for_unit(5)
                assert await unit.read_holding_registers(51201, 1) == [initial_tariff]
                await unit.write_register(40481, new_tariff)
            process.terminate()
            await process.wait()
    assert json.loads(state.read_text())["5"]["tariff"] == 4


async def test_meter_has_unit_id_and_baudrate_of_its_diagnostics(
    tmp_path: Path,
) -> None:
    path = tmp_path / "diagnostics.json"
    path.write_text(json.dumps(diagnostics_content()))  # unit ID 17, 19200 baud
    async with running("--diagnostics", str(path)) as (_, port):
        async with client_of(port, 9600, response_timeout=0.5) as client:
            with pytest.raises(ModbusTimeoutError):
                await read_unsigned(client, 17, 50946)
        async with client_of(port, 19200) as client:
            words = await client.for_unit(17).read_holding_registers(50000, 11)
            assert words[:4] == [0x53, 0x4F, 0x43, 0x4F]  # "SOCO"
            # The file redacts the serial number. The simulator uses its own.
            assert words[8:] == [0x1438, 0x0120, 17]
            # Ea+ in steps of 10 Wh starts at the value in the file, and rises.
            assert 1_234_567 <= await read_unsigned(client, 17, 50946) < 1_234_569
            assert await read_unsigned(client, 17, 50770) == 12_345
            # The profile in the file has no tariff counters.
            with pytest.raises(ModbusExceptionError):
                await read_unsigned(client, 17, 51200)


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    ("option", "label"), [("--tcp", "Modbus TCP"), ("--rtu-over-tcp", "RTU over TCP")]
)
async def test_meters_respond_behind_gateway(option: str, label: str) -> None:
    arguments = ("--unit-id", "1", "2", option, "0")
    async with running(*arguments, label=label) as (process, address):
        host, _, port = address.partition(":")
        params: ModbusTcpParams | ModbusSerialParams
        params = ModbusTcpParams(host=host, port=int(port))
        if option == "--rtu-over-tcp":
            params = ModbusSerialParams(device=f"socket://{address}", baudrate=115_200)
        client = ModbusConnection(params)
        for unit_id in (1, 2):
            unit = client.for_unit(unit_id)
            assert await unit.read_holding_registers(50010, 1) == [unit_id]
        await client.close()
        process.terminate()
        assert await process.wait() == 0


async def test_swapped_neutral_changes_voltages() -> None:
    async with (
        running("--wiring", "swapped-l1") as (_, port),
        client_of(port) as client,
    ):
        volts = [
            await read_unsigned(client, 1, 50520 + 2 * index) for index in range(3)
        ]
    # In 0.01 V. L1 and the neutral are swapped, so L2 and L3 have phase-to-phase
    # voltages.
    assert volts == pytest.approx([23_000, 39_800, 39_800], abs=600)


async def test_reversed_currents_change_the_sign_of_their_powers() -> None:
    # Solar noon was 12 hours ago, so the roof produces nothing.
    noon = int(time.time()) - 12 * 3600
    async with (
        running("--wiring", "reversed-l2", "reversed-l3", "--noon", str(noon)) as (
            _,
            port,
        ),
        client_of(port) as client,
    ):
        raw = [await read_unsigned(client, 1, 50544 + 2 * index) for index in range(3)]
    # The highest bit is the sign.
    assert [power >> 31 for power in raw] == [0, 1, 1]


@pytest.mark.parametrize("records", [0, 5])
async def test_load_curve_has_given_number_of_past_records(records: int) -> None:
    async with (
        running("--load-curve", str(records)) as (_, port),
        client_of(port) as client,
    ):
        unit = client.for_unit(1)
        if records == 0:  # the meter has no load curve
            with pytest.raises(ModbusExceptionError):
                await unit.read_holding_registers(61456, 122)
            return
        # Select the first block. Its first word is the number of its records.
        await unit.write_register(61440, 0x0001)
        found = (await unit.read_holding_registers(61456, 122))[0]
        # A period of 600 s may have ended since the start of the simulator.
        assert found in (records, records + 1)


def test_simulator_imports_no_large_package() -> None:
    code = "import sys, simulator.__main__; print(*sys.modules)"
    modules = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not {"aiohttp", "homeassistant", "pymodbus.server"} & set(modules.split())
