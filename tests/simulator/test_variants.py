"""Simulated meters that differ from the default: clock, tariffs, partial counters."""

from datetime import datetime

from modbus_connection import ModbusExceptionError
from modbus_connection.tmodbus import TmodbusUnit
import pytest

from custom_components.socomec_countis import countis
from simulator import Constant, Counters, Meter, Phase
from simulator.table import CLOCK, PARTIAL_TARIFFS
from tests.common import Clock

NOT_AVAILABLE = [0xFFFF, 0xFFFF]
ILLEGAL_VALUE = 3  # exception code
SET_TARIFF, RESET, RESET_TARIFFS = 40481, 57890, 57892  # register addresses


async def refused_write(unit: TmodbusUnit, address: int, *values: int) -> int | None:
    """Return the code of the exception with which the meter refuses a write."""
    with pytest.raises(ModbusExceptionError) as refusal:
        await unit.write_registers(address, list(values))
    return refusal.value.exception_code


async def test_clock_with_short_year_has_years_of_two_digits(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    meter.clock_has_short_year = True
    assert await unit.read_holding_registers(CLOCK, 3) == [15, 6, 25]  # 2025-06-15
    assert await refused_write(unit, CLOCK, 31, 12, 2026, 23, 59, 58) == ILLEGAL_VALUE
    await unit.write_registers(CLOCK, [31, 12, 99, 23, 59, 58])
    clock.seconds += 1
    assert await unit.read_holding_registers(CLOCK, 6) == [31, 12, 99, 23, 59, 59]
    assert await refused_write(unit, CLOCK, 1, 1, 100, 0, 0, 0) == ILLEGAL_VALUE


@pytest.mark.parametrize(("short", "year"), [(False, 2026), (True, 26)])
async def test_library_sets_clock_with_short_and_long_year(
    meter: Meter, unit: TmodbusUnit, *, short: bool, year: int
) -> None:
    meter.clock_has_short_year = short
    # The command sets the clock at the next full second, 10 ms later.
    now = datetime(2026, 11, 23, 8, 59, 59, 990_000)  # noqa: DTZ001
    bus = countis.Bus(baudrate=38400)
    profile = await countis.async_take_profile(bus.unit(1, unit))
    library_meter = countis.Meter(bus, 1, unit, profile, local_time=lambda: now)
    await countis.async_set_clock(library_meter, lambda _: None)
    assert await unit.read_holding_registers(CLOCK, 6) == [23, 11, year, 9, 0, 0]


async def test_meter_with_two_tariffs_refuses_tariff_3(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.tariff_count = 2
    meter.counters = Counters(tariffs=[1_000_000.0, 234_560.0, 0.0, 0.0])
    # The meter refuses a read of reserved registers. The registers of tariffs 3 and 4
    # are not reserved. They contain "not available".
    meter.refuses_reserved = True
    # The number of tariffs, the tariff in progress, and the counters in 10 Wh.
    assert await unit.read_holding_registers(51200, 10) == [
        *(2, 1),
        *(1, 100_000 & 0xFFFF),
        *(0, 23_456),
        *(NOT_AVAILABLE * 2),
    ]
    # The same with the counters in kWh.
    assert await unit.read_holding_registers(50848, 10) == [
        *(2, 1, 0, 1000, 0, 234),
        *(NOT_AVAILABLE * 2),
    ]
    # The number of rollovers of each tariff counter.
    assert await unit.read_holding_registers(36871, 4) == [0, 0, *NOT_AVAILABLE]
    assert await refused_write(unit, SET_TARIFF, 3) == ILLEGAL_VALUE
    # Bit 2 (0x0004) is that of tariff 3.
    assert await refused_write(unit, RESET_TARIFFS, 0x0004) == ILLEGAL_VALUE
    await unit.write_register(SET_TARIFF, 2)
    await unit.write_register(RESET_TARIFFS, 0x0003)
    assert await unit.read_holding_registers(51201, 5) == [2, 0, 0, 0, 0]


async def test_meter_with_eight_tariffs_counts_in_tariff_8(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    meter.tariff_count = 8
    meter.load = Constant(Phase(36_000), Phase(0), Phase(0))  # 10 Wh per s
    await unit.write_register(SET_TARIFF, 8)
    clock.seconds += 10
    assert await unit.read_holding_registers(51200, 2) == [8, 8]
    assert await unit.read_holding_registers(51214, 4) == [0, 0, 0, 10]  # tariffs 7, 8
    assert await refused_write(unit, SET_TARIFF, 9) == ILLEGAL_VALUE
    await unit.write_register(RESET_TARIFFS, 0x0080)
    assert await unit.read_holding_registers(51216, 2) == [0, 0]


async def test_partial_counters_of_eight_tariffs_read_0_at_first(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.has_partial_tariffs = True
    meter.tariff_count = 8
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 24) == [0] * 24


async def test_partial_counters_by_tariff_are_counted_and_reset(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    with pytest.raises(ModbusExceptionError):
        await unit.read_holding_registers(PARTIAL_TARIFFS, 6)
    meter.has_partial_tariffs = True
    meter.tariff_count = 2
    meter.load = Constant(Phase(36_000), Phase(0), Phase(0))  # 10 Wh per s
    clock.seconds += 101
    await unit.write_register(SET_TARIFF, 2)
    clock.seconds += 1
    reserved = [0xFFFF] * 2
    # 1.010 kWh in tariff 1, and 0.010 kWh in tariff 2. Each tariff has two registers
    # for the whole kWh, and one register for the rest in 0.1 Wh. Tariff 3 does not
    # exist, so its registers are reserved.
    counted = [0, 1, 100, 0, 0, 100, *reserved]
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 8) == counted
    await unit.write_register(RESET, 0x0002)  # only the partial reactive energy
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 8) == counted
    meter.press_reset()
    assert meter.counters.partial_consumed == 0
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 8) == [
        *[0] * 6,
        *reserved,
    ]
    clock.seconds += 1
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 6) == [0, 0, 0, 0, 0, 100]
    await unit.write_register(RESET, 0x0001)  # the partial consumed energy
    assert await unit.read_holding_registers(PARTIAL_TARIFFS, 6) == [0] * 6
