"""The simulated meter and line, by which everything else is judged."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
import signal
import sys

from modbus_connection import (
    IllegalDataAddressError,
    IllegalDataValueError,
    IllegalFunctionError,
    ModbusError,
    ModbusSerialParams,
    ModbusTimeoutError,
)
from modbus_connection.tmodbus import ModbusConnection
import pytest

from simulator import (
    FLIPPED,
    LOST,
    Constant,
    House,
    Inverter,
    Line,
    Meter,
    Phase,
    line_in_thread,
)

from .common import Clock

DAY = 86_400


@pytest.fixture
async def connection(line: Line) -> AsyncGenerator[ModbusConnection]:
    """Open the line."""
    opened = ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=9600), timeout=0.4
    )
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("address", "count"),
    [
        (49_999, 2),  # before a block
        (50_065, 2),  # out of a block
        (50_567, 100),  # into nowhere
        (57_890, 1),  # a command
        (40_512, 1),  # what an E33 does not have
    ],
)
async def test_a_read_stays_inside_one_block(
    connection: ModbusConnection, address: int, count: int
) -> None:
    with pytest.raises(IllegalDataAddressError):
        await connection.for_unit(1).read_holding_registers(address, count)


async def test_reserved_registers_read_ones(connection: ModbusConnection) -> None:
    words = await connection.for_unit(1).read_holding_registers(50_950, 2)
    assert words == [0xFFFF, 0xFFFF]


async def test_other_functions_are_refused(connection: ModbusConnection) -> None:
    with pytest.raises(IllegalFunctionError):
        await connection.for_unit(1).read_input_registers(50_514, 2)
    with pytest.raises(ModbusError):
        await connection.for_unit(1).read_coils(50_514, 2)


@pytest.mark.parametrize(
    ("register", "value", "error"),
    [
        (50_946, 0, IllegalDataAddressError),  # a total is no setting
        (57_889, 1, IllegalDataAddressError),  # not simulated, so not to be written
        (57_890, 0x0040, IllegalDataValueError),  # would clear averages
        (57_890, 0, IllegalDataValueError),
        (57_892, 0x0010, IllegalDataValueError),
        (40_481, 5, IllegalDataValueError),
        (40_512, 0x20, IllegalDataAddressError),
    ],
)
async def test_only_what_the_table_names_is_written(
    connection: ModbusConnection,
    meter: Meter,
    register: int,
    value: int,
    error: type[ModbusError],
) -> None:
    with pytest.raises(error):
        await connection.for_unit(1).write_register(register, value)
    assert meter.writes == []


async def test_a_broadcast_reaches_every_meter_and_has_no_answer(
    connection: ModbusConnection, meter: Meter, second_meter: Meter
) -> None:
    await connection.for_unit(0).write_register(40_481, 3)
    words = await connection.for_unit(1).read_holding_registers(51_201, 1)
    assert words == [3]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (3, 3)


async def test_energy_is_counted_in_the_tariff_of_its_time(
    connection: ModbusConnection, second_meter: Meter, clock: Clock
) -> None:
    second_meter.load = Constant(Phase(3000), Phase(), Phase())
    unit = connection.for_unit(2)
    clock.seconds += 3600
    await unit.write_register(40_481, 2)
    clock.seconds += 7200
    words = await unit.read_holding_registers(51_200, 6)
    assert words == [4, 2, 0, 300, 0, 600]
    await unit.write_register(57_892, 0x0001)
    assert await unit.read_holding_registers(51_202, 4) == [0, 0, 0, 600]


async def test_the_clock_is_set_by_six_words_at_once(
    connection: ModbusConnection,
) -> None:
    unit = connection.for_unit(1)
    wanted = [24, 12, 2026, 18, 30, 0]
    await unit.write_registers(57_600, wanted)
    assert await unit.read_holding_registers(57_600, 6) == wanted
    with pytest.raises(IllegalDataValueError):
        await unit.write_registers(57_600, [31, 2, 2026, 0, 0, 0])
    with pytest.raises(IllegalDataValueError):
        await unit.write_register(57_600, 1)


async def test_counters_wrap_at_their_overflow(
    connection: ModbusConnection, meter: Meter
) -> None:
    meter.counters.consumed = 999_999_999 * 10 + 120
    unit = connection.for_unit(1)
    assert await unit.read_holding_registers(50_946, 2) == [0, 12]
    assert await unit.read_holding_registers(36_864, 3) == [0x3B9A, 0xC9FF, 1]


async def test_a_broken_meter_answers_everything_with_its_exception(
    connection: ModbusConnection, meter: Meter
) -> None:
    meter.exception = 4
    with pytest.raises(ModbusError, match="4"):
        await connection.for_unit(1).read_holding_registers(50_000, 1)
    assert len(await connection.for_unit(2).read_holding_registers(50_000, 1)) == 1


@pytest.mark.parametrize("fault", [LOST, FLIPPED])
async def test_a_fault_disturbs_one_answer(
    connection: ModbusConnection, line: Line, fault: object
) -> None:
    unit = connection.for_unit(1)
    line.faults.append(fault)  # type: ignore[arg-type]
    with pytest.raises(ModbusError):
        await unit.read_holding_registers(50_000, 4)
    assert len(await unit.read_holding_registers(50_000, 4)) == 4


async def test_a_cut_line_is_silent(connection: ModbusConnection, line: Line) -> None:
    line.cut = True
    with pytest.raises(ModbusTimeoutError):
        await connection.for_unit(1).read_holding_registers(50_000, 4)


async def test_bytes_take_the_time_they_take(meter: Meter) -> None:
    with line_in_thread(Line([meter], baudrate=4800, answer_delay=0.05)) as slow:
        connection = ModbusConnection(
            ModbusSerialParams(device=slow.port, baudrate=4800), timeout=5
        )
        await connection.connect()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await connection.for_unit(1).read_holding_registers(50_514, 54)
        # 8 bytes there and 113 back, of 11 bits each, and the meter's own time.
        assert loop.time() - start >= 121 * 11 / 4800 + 0.05
        await connection.close()


@pytest.mark.parametrize(
    "load", [House(1), House(2, solar_peak=6000), Inverter(3)], ids=type
)
def test_a_meter_counts_the_same_whenever_it_is_read(
    load: House | Inverter,
) -> None:
    clock = Clock()
    often, once = (Meter(load=load, clock=clock) for _ in range(2))
    for _ in range(24):
        clock.seconds += 3600.5
        often.count()
    assert often.count() == once.count()
    assert once.counters.consumed > 0


def test_a_house_with_a_roof_consumes_and_produces_in_a_day() -> None:
    clock = Clock(0)
    meter = Meter(load=House(1, solar_peak=6000), clock=clock)
    clock.seconds = DAY
    counters = meter.count()
    assert 5_000 < counters.consumed < 100_000
    assert 5_000 < counters.produced < 100_000
    assert counters.partial_consumed == counters.consumed == counters.tariffs[0]


async def test_the_simulator_runs_on_its_own_and_keeps_its_counters(
    tmp_path: Path,
) -> None:
    link, state = tmp_path / "line", tmp_path / "state.json"
    readings = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "--address", "1", "2"),
            *("--baudrate", "38400", "--link", link, "--state", state),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == f"Port: {link}\n".encode()
        connection = ModbusConnection(
            ModbusSerialParams(device=str(link), baudrate=38_400)
        )
        high, low = await connection.for_unit(2).read_holding_registers(50_952, 2)
        readings.append((high << 16) + low)
        await connection.close()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert not link.is_symlink()
    assert readings[0] >= 2_345_678
    assert readings[0] <= readings[1] < readings[0] + 100
