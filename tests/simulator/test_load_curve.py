"""The load curve of a simulated meter, read with the commands of Socomec's table."""

from datetime import UTC, datetime
from typing import Any

from modbus_connection import ModbusExceptionError
from modbus_connection.tmodbus import TmodbusUnit
import pytest

from simulator import Constant, LoadCurve, Meter, Phase
from simulator.load_curve import KILOWATTS
from tests.common import Clock

COMMAND, BLOCK = 61440, 61456  # register addresses
RESET_POINTER, NEXT_BLOCK = 0x0001, 0xFFFE  # commands
BLOCK_WORDS = 122
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3  # exception codes
PERIOD = 600  # s
YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
# An integration period starts at noon.
START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
START_DATE = int(START - YEAR_2000)

type Row = tuple[int, int, int]
"""Date in s since 2000-01-01; 1 if the period is incomplete, else 0; mean power.

By default, the mean power is in W.
"""


@pytest.fixture
def clock(clock: Clock) -> Clock:
    """Return a clock at the start of an integration period."""
    clock.seconds = START
    return clock


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Return a meter with 1300 W and an empty load curve."""
    return Meter(true_time=clock, load=Constant())


def meter_with_records(clock: Clock, count: int, **options: Any) -> Meter:
    """Return a meter that has recorded `count` periods of 1300 W, 1301 W, ..."""
    meter = Meter(true_time=clock, load_curve=LoadCurve(**options))
    for index in range(count):
        meter.load = Constant(Phase(1300 + index), Phase(0), Phase(0))
        clock.seconds += PERIOD
        meter.count()
    return meter


def read(meter: Meter, count: int = BLOCK_WORDS) -> list[int]:
    """Return the first registers of the selected block."""
    words = meter.read(BLOCK, count)
    assert isinstance(words, list)
    return words


def header_of(meter: Meter) -> list[int]:
    """Return the header of the selected block: six registers."""
    return read(meter, 6)


def rows_of(words: list[int]) -> list[Row]:
    """Return the records of a block, whose first word is the number of records."""
    records = [words[start : start + 4] for start in range(6, len(words), 4)]
    return [
        (record[0] << 16 | record[1], record[2], record[3])
        for record in records[: words[0]]
    ]


def curve_of(meter: Meter) -> list[Row]:
    """Return all records, read from the first block to the last."""
    rows: list[Row] = []
    command = RESET_POINTER
    while True:
        assert meter.write(COMMAND, [command]) is None
        words = read(meter)
        rows += rows_of(words)
        if words[0] < 29:  # a block that is not full is the last one
            return rows
        command = NEXT_BLOCK


async def test_client_reads_block_of_122_registers(
    meter: Meter, unit: TmodbusUnit, clock: Clock
) -> None:
    clock.seconds += 2 * PERIOD
    await unit.write_register(COMMAND, RESET_POINTER)
    words = await unit.read_holding_registers(BLOCK, BLOCK_WORDS)
    # Number of records, registers per record, period in s, unit (0 is W), numerator,
    # denominator.
    assert words[:6] == [2, 4, 600, 0, 1, 1]
    assert rows_of(words) == [
        (START_DATE + PERIOD, 0, 1300),
        (START_DATE + 2 * PERIOD, 0, 1300),
    ]
    # After the header and two records of four registers, the block is empty.
    assert words[14:] == [0xFFFF] * 108


async def test_unknown_command_is_refused(unit: TmodbusUnit) -> None:
    for value in (0, 2, 0xFFFF):
        with pytest.raises(ModbusExceptionError) as error:
            await unit.write_register(COMMAND, value)
        assert error.value.exception_code == ILLEGAL_VALUE


async def test_meter_without_load_curve_refuses_reads_and_commands(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load_curve = None
    with pytest.raises(ModbusExceptionError) as error:
        await unit.read_holding_registers(BLOCK, BLOCK_WORDS)
    assert error.value.exception_code == ILLEGAL_ADDRESS
    with pytest.raises(ModbusExceptionError) as error:
        await unit.write_register(COMMAND, RESET_POINTER)
    assert error.value.exception_code == ILLEGAL_ADDRESS


def test_load_curve_of_new_meter_is_empty(meter: Meter) -> None:
    assert curve_of(meter) == []


def test_period_in_progress_is_not_recorded(meter: Meter, clock: Clock) -> None:
    clock.seconds += PERIOD - 1
    assert curve_of(meter) == []
    clock.seconds += 1
    assert len(curve_of(meter)) == 1


@pytest.mark.parametrize("count", [28, 29, 30, 58, 70])
def test_next_block_continues_after_29_records(clock: Clock, count: int) -> None:
    curve = curve_of(meter_with_records(clock, count))
    assert curve == [
        (START_DATE + (index + 1) * PERIOD, 0, 1300 + index) for index in range(count)
    ]


def test_block_after_the_last_is_empty(clock: Clock) -> None:
    meter = meter_with_records(clock, 3)
    for _ in range(2):
        assert meter.write(COMMAND, [NEXT_BLOCK]) is None
        assert header_of(meter)[0] == 0


def test_period_that_ends_during_a_readout_does_not_move_blocks(clock: Clock) -> None:
    meter = meter_with_records(clock, 40, order="newest first")
    meter.write(COMMAND, [RESET_POINTER])
    clock.seconds += PERIOD
    meter.write(COMMAND, [NEXT_BLOCK])
    words = read(meter)
    # The first block has the newest 29 of 40 records, the second block the other 11.
    assert [value for _, _, value in rows_of(words)] == [*range(1310, 1299, -1)]


def test_oldest_records_are_dropped_beyond_depth(clock: Clock) -> None:
    curve = curve_of(meter_with_records(clock, 12, depth=5))
    assert [value for _, _, value in curve] == [1307, 1308, 1309, 1310, 1311]


def test_mean_power_includes_consumed_energy_only(meter: Meter, clock: Clock) -> None:
    meter.load = Constant(Phase(3000), Phase(0), Phase(0))
    clock.seconds += PERIOD // 4
    meter.count()
    meter.load = Constant(Phase(-9000), Phase(0), Phase(0))
    clock.seconds += 3 * PERIOD // 4
    assert [value for _, _, value in curve_of(meter)] == [750]  # a quarter of 3000 W


def test_record_of_meter_that_starts_within_period_is_incomplete() -> None:
    clock = Clock(START + 200)
    meter = Meter(true_time=clock, load=Constant())
    clock.seconds += PERIOD
    assert curve_of(meter) == [(START_DATE + PERIOD, 1, 1300)]
    clock.seconds += PERIOD
    assert curve_of(meter)[1:] == [(START_DATE + 2 * PERIOD, 0, 1300)]


def test_clock_change_to_another_period_makes_both_records_incomplete(
    meter: Meter, clock: Clock
) -> None:
    clock.seconds += 200
    # The clock moves from 12:03:20 to 13:11:40. So 400 s of the period from 12:00 are
    # missing, and 100 s of the period from 13:10.
    meter.write(57600, [1, 3, 2026, 13, 11, 40])
    clock.seconds += 500
    hour = 3600
    assert curve_of(meter) == [
        (START_DATE + PERIOD, 1, 1300),
        (START_DATE + hour + 2 * PERIOD, 1, 1300),
    ]


def test_energy_before_a_clock_change_is_recorded_at_the_old_time(
    meter: Meter, clock: Clock
) -> None:
    clock.seconds += PERIOD  # the meter has not counted this period yet
    meter.set_clock([1, 3, 2026, 13, 10, 0])  # the clock was at 12:10
    assert curve_of(meter) == [(START_DATE + PERIOD, 0, 1300)]


def test_clock_change_within_a_period_makes_its_record_incomplete(
    meter: Meter, clock: Clock
) -> None:
    clock.seconds += 200
    # The clock moves from 12:03:20 to 12:03:22, so 2 s of the period are missing.
    meter.write(57600, [1, 3, 2026, 12, 3, 22])
    clock.seconds += 398
    assert curve_of(meter) == [(START_DATE + PERIOD, 1, 1300)]


def test_period_follows_its_setting(meter: Meter, clock: Clock) -> None:
    meter.write(57355, [900])  # the integration period in s
    clock.seconds += 1800
    assert header_of(meter)[2] == 900
    assert curve_of(meter) == [
        (START_DATE + 900, 0, 1300),
        (START_DATE + 1800, 0, 1300),
    ]


def test_period_in_minutes_is_in_header(clock: Clock) -> None:
    meter = meter_with_records(clock, 2, period_unit="min")
    assert header_of(meter)[2] == 10
    assert curve_of(meter)[0][0] == START_DATE + PERIOD


def test_date_is_start_of_period_if_selected(clock: Clock) -> None:
    dates = [
        date for date, _, _ in curve_of(meter_with_records(clock, 2, stamp="start"))
    ]
    assert dates == [START_DATE, START_DATE + PERIOD]


def test_newest_record_is_first_if_selected(clock: Clock) -> None:
    curve = curve_of(meter_with_records(clock, 31, order="newest first"))
    assert [value for _, _, value in curve] == [*range(1330, 1299, -1)]


@pytest.mark.parametrize(("time_base", "hours"), [("local", 2), ("utc", 0)])
def test_date_is_local_time_or_utc(clock: Clock, time_base: Any, hours: int) -> None:
    meter = meter_with_records(clock, 0, time_base=time_base)
    meter.load = Constant()
    # Set the meter's clock to two hours and 30 s ahead of UTC. So the first 30 s of the
    # first period are missing.
    meter.write(57600, [1, 3, 2026, 14, 0, 30])
    clock.seconds += 2 * PERIOD
    date = START_DATE + hours * 3600
    assert curve_of(meter) == [(date + PERIOD, 1, 1300), (date + 2 * PERIOD, 0, 1300)]


@pytest.mark.parametrize(
    ("options", "value"),
    [
        # 60 kW in the unit of the header, times denominator / numerator.
        ({}, 60_000),
        ({"denominator": 10}, 0xFFFE),  # the highest value, in place of 600 000
        ({"numerator": 10}, 6000),
        ({"numerator": 3, "denominator": 2}, 40_000),
        ({"unit": KILOWATTS}, 60),
        ({"unit": KILOWATTS, "denominator": 100}, 6000),
    ],
)
def test_value_follows_unit_and_fraction_in_header(
    clock: Clock, options: dict[str, Any], value: int
) -> None:
    meter = Meter(
        true_time=clock,
        load=Constant(Phase(60_000), Phase(0), Phase(0)),
        load_curve=LoadCurve(**options),
    )
    clock.seconds += PERIOD
    assert [row[2] for row in curve_of(meter)] == [value]
    assert header_of(meter)[3:] == [
        options.get("unit", 0),
        options.get("numerator", 1),
        options.get("denominator", 1),
    ]


def test_value_excludes_transformer_ratio(meter: Meter, clock: Clock) -> None:
    meter.load = Constant(Phase(100_000), Phase(0), Phase(0))
    meter.write(57345, [5, 250])  # 250 A / 5 A is a ratio of 50
    clock.seconds += PERIOD
    assert [value for _, _, value in curve_of(meter)] == [2000]


def test_recorded_past_of_a_load_equals_measured_records() -> None:
    load = Constant(Phase(900), Phase(300), Phase(-100))
    clock = Clock(START)
    measuring_meter = Meter(true_time=clock, load=load)
    clock.seconds += 3 * PERIOD + 5
    new_meter = Meter(true_time=clock, load=load)
    new_meter.record_past_periods(3)
    assert curve_of(new_meter) == curve_of(measuring_meter)


def test_period_in_which_meter_starts_is_complete_after_recorded_past() -> None:
    load = Constant(Phase(900), Phase(300), Phase(-100))
    clock = Clock(START + 3 * PERIOD + 95)  # 95 s after the start of period 4
    meter = Meter(true_time=clock, load=load)
    meter.record_past_periods(3)
    clock.seconds = START + 4 * PERIOD
    # Each record is complete, with 900 W + 300 W - 100 W.
    assert [row[1:] for row in curve_of(meter)] == 4 * [(0, 1100)]
