"""Registers and commands of a simulated meter."""

import asyncio
from itertools import pairwise

from modbus_connection import ModbusExceptionError
from modbus_connection.tmodbus import ModbusConnection, TmodbusUnit
import pytest

from simulator import Constant, Counters, Line, Meter, Phase
from simulator.table import (
    BLOCKS,
    CLOCK,
    CT_PRIMARY,
    CT_SECONDARY,
    INTEGRATION_PERIOD,
    Access,
    TableBlock,
)
from tests.common import Clock

READABLE = [block for block in BLOCKS if block.access is not Access.WRITE]
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3  # exception codes
# Register addresses. RESET resets the partial counters, and so does RESET_PARTIAL of an
# E1x or E2x. CONSUMED and TARIFF_1 are high-resolution counters (10 Wh).
SET_TARIFF, RESET_PARTIAL, RESET, RESET_TARIFFS = 40481, 40512, 57890, 57892
CONSUMED, TARIFF_1 = 50946, 51202


async def broadcast(connection: ModbusConnection, register: int, value: int) -> None:
    """Write a register of all meters."""
    await connection.for_unit(0).write_register(register, value)
    # A broadcast has no response. Wait until the meters have executed the write.
    await asyncio.sleep(0.2)


async def word(unit: TmodbusUnit, address: int) -> int:
    """Return the value of one register."""
    return (await unit.read_holding_registers(address, 1))[0]


async def unsigned(unit: TmodbusUnit, address: int) -> int:
    """Return the value of two registers."""
    high, low = await unit.read_holding_registers(address, 2)
    return high << 16 | low


async def signed(unit: TmodbusUnit, address: int) -> int:
    """Return the signed value of two registers."""
    return (await unsigned(unit, address) ^ 0x8000_0000) - 0x8000_0000


async def refused_read(unit: TmodbusUnit, address: int, count: int = 1) -> int | None:
    """Return the code of the exception with which the meter refuses a read."""
    with pytest.raises(ModbusExceptionError) as refusal:
        await unit.read_holding_registers(address, count)
    return refusal.value.exception_code


async def refused_write(unit: TmodbusUnit, address: int, *values: int) -> int | None:
    """Return the code of the exception with which the meter refuses a write."""
    with pytest.raises(ModbusExceptionError) as refusal:
        await unit.write_registers(address, list(values))
    return refusal.value.exception_code


def test_blocks_do_not_overlap() -> None:
    ordered = sorted(BLOCKS, key=lambda block: block.start)
    for block, following in pairwise(ordered):
        assert block.start + block.words <= following.start


@pytest.mark.parametrize("block", READABLE, ids=lambda block: str(block.start))
async def test_read_across_block_bound_is_refused(
    meter: Meter, unit: TmodbusUnit, block: TableBlock
) -> None:
    meter.has_partial_tariffs = True  # so all readable blocks exist
    end = block.start + block.words
    words = await unit.read_holding_registers(block.start, block.words)
    assert len(words) == block.words
    assert await refused_read(unit, end - 1, 2) == ILLEGAL_ADDRESS
    assert await refused_read(unit, block.start - 1, 2) == ILLEGAL_ADDRESS


async def test_read_outside_blocks_is_refused(unit: TmodbusUnit) -> None:
    # Before, between and after the blocks.
    for address in (0, 30000, 36875, 50066, 65535):
        assert await refused_read(unit, address) == ILLEGAL_ADDRESS


async def test_read_of_commands_is_refused(unit: TmodbusUnit) -> None:
    for address in (57856, RESET, SET_TARIFF, RESET_PARTIAL, 61440):
        assert await refused_read(unit, address) == ILLEGAL_ADDRESS


async def test_value_of_reserved_registers_is_not_available(unit: TmodbusUnit) -> None:
    assert await word(unit, 50512) == 0xFFFF
    assert await unit.read_holding_registers(50774, 2) == [0xFFFF, 0xFFFF]


async def test_functions_other_than_3_6_and_16_are_refused(unit: TmodbusUnit) -> None:
    for request in (
        unit.read_input_registers(50520, 2),
        unit.read_input_registers(0, 1),
        unit.read_coils(0, 1),
        unit.write_coil(RESET, True),  # noqa: FBT003
        unit.mask_write_register(RESET, 1, 1),
        unit.report_server_id(),
        unit.diagnostics(0, 1),
        unit.read_device_identification(),
    ):
        with pytest.raises(ModbusExceptionError) as refusal:
            await request
        assert refusal.value.exception_code == ILLEGAL_FUNCTION


async def test_identification_contains_model_and_serial_number(
    unit: TmodbusUnit, second_unit: TmodbusUnit
) -> None:
    words = await unit.read_holding_registers(50000, 66)
    assert words[:5] == [0x53, 0x4F, 0x43, 0x4F, 100]  # "SOCO", product order code
    assert words[42:50] == [0x534F, 0x434F, 0x4D45, 0x4300, 0, 0, 0, 0]  # "SOCOMEC"
    assert bytes.fromhex("".join(f"{each:04x}" for each in words[50:56])) == (
        b"Countis E33\0"
    )
    assert await word(unit, 40608) == 1  # product of the communication board
    # The serial number: year and week, site and line, order number.
    assert words[8:11] == [0x1438, 0x0120, 1]
    assert await second_unit.read_holding_registers(50008, 3) == [0x1438, 0x0120, 2]


async def test_measurements_follow_the_load(meter: Meter, unit: TmodbusUnit) -> None:
    meter.load = Constant(Phase(2300, 0, 230), Phase(0, 1150, 230), Phase(-690, -920))
    # The voltages in 0.01 V, the frequency in 0.01 Hz, and the currents in mA.
    assert [await unsigned(unit, 50520 + 2 * phase) for phase in range(3)] == [
        23000
    ] * 3
    assert await unsigned(unit, 50514) == 39837  # from phase to phase: 230 V * sqrt(3)
    assert await unsigned(unit, 50526) in (5000, 5001, 5002)
    assert [await unsigned(unit, 50528 + 2 * phase) for phase in range(3)] == [
        10_000,
        5_000,
        5_000,
    ]
    # The powers P, Q and S in 10 W, 10 var and 10 VA, then P and Q of each phase.
    assert [await signed(unit, 50536 + 2 * item) for item in range(3)] == [161, 23, 163]
    assert [await signed(unit, 50544 + 2 * phase) for phase in range(3)] == [
        230,
        0,
        -69,
    ]
    assert [await signed(unit, 50550 + 2 * phase) for phase in range(3)] == [
        0,
        115,
        -92,
    ]
    # The power factors in 0.001.
    assert [await signed(unit, 50562 + 2 * phase) for phase in range(3)] == [
        1000,
        0,
        -600,
    ]
    # Blocks 51280 and 40576 also contain some of these measurements.
    assert await unit.read_holding_registers(51281, 6) == [
        *[39837] * 3,
        *[23000] * 3,
    ]
    # P, Q, S, the power factor (1610 W / 1626 VA) in 0.001, and P of each phase.
    assert await unit.read_holding_registers(51292, 7) == [
        *(161, 23, 163, 990),
        *(230, 0, 0x10000 - 69),
    ]
    assert await unsigned(unit, 40576) == 10_000


async def test_equal_phases_have_no_neutral_current(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = Constant(Phase(1000), Phase(1000), Phase(1000))
    # The neutral current in mA.
    assert await unsigned(unit, 50534) == 0
    meter.load = Constant(Phase(2300), Phase(0), Phase(0))
    assert await unsigned(unit, 50534) == 10_000


async def test_counters_are_in_blocks_of_each_resolution(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.counters = Counters(
        consumed=12_345_678,
        reactive=2_345_678,
        produced=1_999,
        partial_consumed=45_678,
        partial_reactive=5_678,
        partial_produced=678,
    )
    # Offset in the blocks 50768 (1 kWh) and 50944 (10 Wh), and energy in Wh or varh.
    for offset, energy in (
        (2, 12_345_678),
        (4, 2_345_678),
        (8, 1_999),
        (12, 45_678),
        (14, 5_678),
        (18, 678),
    ):
        assert await unsigned(unit, 50768 + offset) == energy // 1000  # kWh
        assert await unsigned(unit, 50944 + offset) == energy // 10
    assert await unit.read_holding_registers(51311, 3) == [12, 2, 0]  # in MWh, Mvarh


async def test_counter_rolls_over_after_999_999_999_steps(
    meter: Meter, unit: TmodbusUnit
) -> None:
    # In Wh: the energy at which the counter rolls over, plus 123 steps of 10 Wh.
    meter.counters = Counters(consumed=9_999_999_990 + 1230)
    assert await unsigned(unit, 36864) == 999_999_999  # the overflow value
    # The number of rollovers of Ea+, Er+ and Ea-.
    assert await unit.read_holding_registers(36866, 3) == [1, 0, 0]
    assert await unsigned(unit, CONSUMED) == 123
    assert await unsigned(unit, 50770) == 1  # kWh


# `rest` is the partial Ea+, Er+ and Ea- after the reset, in 10 Wh or 10 varh.
@pytest.mark.parametrize(
    ("bits", "rest"),
    [
        (0x0001, [0, 20, 30]),
        (0x0002, [10, 0, 30]),
        (0x0008, [10, 20, 0]),
        (0x000B, [0, 0, 0]),
    ],
)
async def test_each_bit_resets_its_partial_counter(
    meter: Meter, unit: TmodbusUnit, bits: int, rest: list[int]
) -> None:
    meter.counters = Counters(
        consumed=990,
        partial_consumed=100,
        partial_reactive=200,
        partial_produced=300,
    )
    await unit.write_register(RESET, bits)
    assert [await unsigned(unit, 50944 + offset) for offset in (12, 14, 18)] == rest
    assert await unsigned(unit, CONSUMED) == 99
    assert meter.writes == [(RESET, [bits])]


@pytest.mark.parametrize("bits", [0, 0x0004, 0x0010, 0x0040, 0x0081, 0xFFFF])
async def test_reset_with_invalid_bits_is_refused(
    meter: Meter, unit: TmodbusUnit, bits: int
) -> None:
    assert await refused_write(unit, RESET, bits) == ILLEGAL_VALUE
    assert meter.writes == []


async def test_partial_energies_reset_is_refused_without_support(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.counters = Counters(partial_consumed=100)
    assert await refused_write(unit, RESET_PARTIAL, 0x20) == ILLEGAL_ADDRESS
    meter.has_partial_energies_reset = True
    assert await refused_write(unit, RESET_PARTIAL, 0x21) == ILLEGAL_VALUE
    await unit.write_register(RESET_PARTIAL, 0x20)
    assert meter.counters.partial_consumed == 0


async def test_energy_is_counted_in_tariff_in_progress(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    meter.load = Constant(Phase(36_000), Phase(0), Phase(0))  # 10 Wh per s
    clock.seconds += 10
    await unit.write_register(SET_TARIFF, 3)
    clock.seconds += 20
    # The number of tariffs, and the tariff in progress.
    assert await unit.read_holding_registers(51200, 2) == [4, 3]
    assert [await unsigned(unit, TARIFF_1 + 2 * tariff) for tariff in range(4)] == [
        *(10, 0, 20, 0)
    ]
    await unit.write_register(RESET_TARIFFS, 0x0001)
    assert [await unsigned(unit, TARIFF_1 + 2 * tariff) for tariff in range(4)] == [
        *(0, 0, 20, 0)
    ]
    await unit.write_register(RESET_TARIFFS, 0xFFFF)
    assert await unsigned(unit, 51206) == 0  # tariff 3
    assert await unsigned(unit, CONSUMED) == 30


@pytest.mark.parametrize(
    ("address", "values", "code"),
    [
        (SET_TARIFF, [9], ILLEGAL_VALUE),
        (SET_TARIFF, [0], ILLEGAL_VALUE),
        (RESET_TARIFFS, [0x0010], ILLEGAL_VALUE),
        (57888, [1], ILLEGAL_ADDRESS),  # no command register
        (57856, [1], ILLEGAL_VALUE),  # neither 0xA1 nor 0xB2
        (CLOCK, [1, 1, 2026], ILLEGAL_VALUE),
        (57603, [12], ILLEGAL_VALUE),  # only the hour
        (CLOCK, [31, 2, 2026, 0, 0, 0], ILLEGAL_VALUE),
        (CLOCK, [1, 1, 26, 0, 0, 0], ILLEGAL_VALUE),  # a year of two digits
        (CT_SECONDARY, [3], ILLEGAL_VALUE),  # neither 1 A nor 5 A
        (CT_PRIMARY, [5, 1], ILLEGAL_VALUE),  # the next register is not a setting
        (40480, [1], ILLEGAL_ADDRESS),  # no command register
        (50770, [0], ILLEGAL_ADDRESS),  # a counter
        (RESET, [1, 1], ILLEGAL_ADDRESS),  # more than one register
        (0, [0], ILLEGAL_ADDRESS),  # outside the blocks
    ],
)
async def test_invalid_write_is_refused(
    meter: Meter, unit: TmodbusUnit, address: int, values: list[int], code: int
) -> None:
    assert await refused_write(unit, address, *values) == code
    assert meter.writes == []


async def test_written_settings_are_read_back(unit: TmodbusUnit) -> None:
    await unit.write_register(INTEGRATION_PERIOD, 900)
    await unit.write_registers(CT_SECONDARY, [1, 100])
    # The network type, and the currents that were written.
    assert await unit.read_holding_registers(57344, 3) == [5, 1, 100]
    assert await word(unit, INTEGRATION_PERIOD) == 900


async def test_clock_continues_from_written_time(
    unit: TmodbusUnit, clock: Clock
) -> None:
    await unit.write_registers(CLOCK, [31, 12, 2026, 23, 59, 58])
    clock.seconds += 3
    assert await unit.read_holding_registers(CLOCK, 6) == [1, 1, 2027, 0, 0, 1]


async def test_days_weeks_and_months_follow_clock_of_meter(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    meter.load = Constant(Phase(1000), Phase(0), Phase(0))
    # Saturday. The next day, Sunday, is the last day of the month.
    await unit.write_registers(CLOCK, [30, 5, 2026, 22, 0, 0])
    meter.counters.periods = []  # forgets the periods of the previous date
    clock.seconds += 2 * 3600 + 86_400 + 3 * 3600  # until Monday, 03:00
    kwh = [await unsigned(unit, 36896 + 2 * position) for position in range(12)]
    # At 1 kW: Ea+ and Ea- of the previous day and of the present day, then the same of
    # the weeks and of the months. The previous week and month also contain the 2 hours
    # of Saturday.
    assert kwh == [24, 0, 3, 0, 26, 0, 3, 0, 26, 0, 3, 0]
    assert await unsigned(unit, 36928) == 2400  # Ea+ of the previous day in 10 Wh


async def test_broadcast_reaches_all_meters_without_response(
    line: Line, meter: Meter, second_meter: Meter, connection: ModbusConnection
) -> None:
    await broadcast(connection, SET_TARIFF, 2)
    assert await word(connection.for_unit(1), 51201) == 2
    assert await word(connection.for_unit(2), 51201) == 2
    # Only the two reads have a response, each of 7 bytes.
    assert line.response_bytes == 2 * 7


async def test_offline_meter_receives_no_broadcast(
    meter: Meter, second_meter: Meter, connection: ModbusConnection
) -> None:
    second_meter.offline = True
    await broadcast(connection, SET_TARIFF, 2)
    # The response shows that the line has already carried the broadcast.
    await word(connection.for_unit(1), 51201)
    assert (meter.counters.tariff, second_meter.counters.tariff) == (2, 1)


async def test_simulated_defects_take_effect(meter: Meter, unit: TmodbusUnit) -> None:
    meter.exception_code = 4
    assert await refused_read(unit, 50000) == 4
    assert await refused_write(unit, RESET, 1) == 4
    meter.exception_code = None
    meter.refused_blocks = {50944}
    assert await refused_read(unit, CONSUMED, 2) == ILLEGAL_ADDRESS
    meter.blank_blocks = {50512}
    assert await unsigned(unit, 50520) == 0xFFFF_FFFF
    meter.refuses_reserved = True
    assert await refused_read(unit, 50772, 6) == ILLEGAL_ADDRESS
    meter.override = {50004: 300}
    assert await word(unit, 50004) == 300
    meter.refused_writes = {RESET}
    assert await refused_write(unit, RESET, 1) == ILLEGAL_ADDRESS
    meter.ignored_writes = {SET_TARIFF}
    await unit.write_register(SET_TARIFF, 2)
    assert meter.counters.tariff == 1


async def test_counters_are_restored_from_dict(meter: Meter, clock: Clock) -> None:
    clock.seconds += 100_000  # s; longer than a day, so a new day begins
    saved = meter.count().as_dict()
    assert Counters.from_dict(saved) == meter.counters
    assert meter.counters.periods
