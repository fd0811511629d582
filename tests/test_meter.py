"""The meter library alone, over a real serial line, on both client backends."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import modbus_connection
from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusProtocolError,
    ModbusSerialParams,
    ModbusTimeoutError,
    ModbusUnit,
)
import modbus_connection.pymodbus
import modbus_connection.tmodbus
from pymodbus.framer.rtu import FramerRTU
import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    Countis,
    CountisError,
    NotACountisError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
    async_set_tariff,
)
from custom_components.socomec_countis.countis import (
    Line as SharedLine,
)
from custom_components.socomec_countis.countis import meter as countis_meter
from custom_components.socomec_countis.countis.registers import Measurements
from simulator import LOST, TRUNCATED, ZEROS, Constant, Fault, Line, Meter, Phase, late
from simulator.meter import WRITE

from .common import SERIAL, Clock

PARTIAL = (
    "partial_energy_consumed",
    "partial_energy_reactive",
    "partial_energy_produced",
)
RESET = b"\x01\x06\xe2\x22\x00\x0b"


@pytest.fixture(params=["tmodbus", "pymodbus"])
async def connection(request: pytest.FixtureRequest, line: Line) -> AsyncGenerator[Any]:
    """Open the line by each of the backends."""
    backend: Any = getattr(modbus_connection, request.param)
    opened = backend.ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=9600), timeout=0.4
    )
    yield opened
    await opened.close()


@pytest.fixture
def unit(connection: Any) -> ModbusUnit:
    """Return the unit at address 1."""
    found: ModbusUnit = connection.for_unit(1)
    return found


@pytest.fixture
def countis(unit: ModbusUnit) -> Countis:
    """Return the library's meter at address 1."""
    return Countis(unit, SharedLine(9600))


def words_asked_for(line: Line) -> list[int]:
    """Return how many registers each request asked for."""
    return [int.from_bytes(frame[4:6]) for frame in line.requests]


async def test_a_meter_says_who_it_is(countis: Countis) -> None:
    await countis.async_ensure_setup()
    assert (countis.model, countis.serial_number, countis.software_version) == (
        "COUNTIS E33",
        SERIAL,
        "1.02",
    )
    assert countis.variants == {
        "identity": "Identity",
        "measurements": "Measurements",
        "energies": "Energies",
        "tariffs": "Tariffs",
        "periods": "Periods",
        "overflows": "Overflows",
        "transformer": None,
        "clock": "Clock",
    }


async def test_setting_up_happens_once(countis: Countis, line: Line) -> None:
    await countis.async_ensure_setup()
    asked = len(line.requests)
    await countis.async_ensure_setup()
    assert len(line.requests) == asked


async def test_a_poll_reports_what_it_refreshed(countis: Countis) -> None:
    report = await countis.async_update()
    assert report.complete
    assert report.updated == {
        *("power", "measurements", "energies", "tariffs"),
        *("periods", "overflows", "clock"),
    }
    values = countis.values(report)
    assert values["power"] == 1300
    assert values["power_l3"] == -200
    assert values["voltage_l1"] == 230.0
    assert values["energy_consumed"] == 1234.56
    assert values["tariff"] == 1


@pytest.mark.parametrize("fault", [LOST, TRUNCATED, late(0.6)])
@pytest.mark.parametrize("good_answers", [0, 1, 2])
async def test_a_disturbed_answer_is_asked_for_again(
    countis: Countis, line: Line, fault: Fault, good_answers: int
) -> None:
    await countis.async_ensure_setup()
    line.faults.extend([Fault()] * good_answers + [fault])
    report = await countis.async_update()
    assert report.complete
    assert countis.values(report)["power"] == 1300


async def test_a_meter_known_to_be_silent_costs_its_line_one_short_read(
    countis: Countis, line: Line, meter: Meter
) -> None:
    await countis.async_update()
    meter.silent = True
    for asked in (2, 1, 1):
        line.requests.clear()
        with pytest.raises(ModbusTimeoutError):
            await countis.async_update()
        assert len(line.requests) == asked
    assert words_asked_for(line) == [3]


async def test_a_port_that_is_not_there_is_a_connection_error() -> None:
    connection = modbus_connection.tmodbus.ModbusConnection(
        ModbusSerialParams(device="/dev/no-such-port")
    )
    countis = Countis(connection.for_unit(1), SharedLine(9600))
    with pytest.raises(ModbusConnectionError):
        await countis.async_update()
    await connection.close()


async def test_a_line_that_is_lost_after_setting_up_is_a_connection_error(
    countis: Countis, connection: Any
) -> None:
    await countis.async_ensure_setup()
    await connection.close()
    with pytest.raises(ModbusConnectionError):
        await countis.async_update()


@pytest.mark.parametrize(
    ("registers", "why"),
    [
        ({50000: ord("X")}, "another signature"),
        ({50004: 200}, "another kind of product"),
    ],
)
async def test_another_device_is_not_a_countis(
    countis: Countis, meter: Meter, registers: dict[int, int], why: str
) -> None:
    meter.override = registers
    with pytest.raises(NotACountisError):
        await countis.async_ensure_setup()


@pytest.mark.parametrize("how", ["refuses", "blank"])
async def test_a_meter_without_identification_is_taken_for_its_measurements(
    countis: Countis, meter: Meter, how: str
) -> None:
    getattr(meter, how).add(50000)
    await countis.async_ensure_setup()
    assert countis.model == "COUNTIS"
    assert countis.serial_number is None
    assert countis.software_version is None
    assert countis.variants["identity"] is None


@pytest.mark.parametrize(
    "registers",
    [
        {50526: 0, 50527: 0},
        {50527: 100},
        {50526: 0xFFFF, 50527: 0xFFFF},
        {50520 + word: 0xFFFF for word in range(6)},
        {50520 + word: 1 for word in range(6)},
    ],
)
async def test_without_identification_no_mains_is_no_countis(
    countis: Countis, meter: Meter, registers: dict[int, int]
) -> None:
    meter.refuses = {50000}
    meter.override = registers
    with pytest.raises(NotACountisError):
        await countis.async_ensure_setup()


async def test_a_device_that_serves_nothing_is_no_countis(
    countis: Countis, meter: Meter
) -> None:
    meter.refuses = {50000, 50512}
    with pytest.raises(CountisError):
        await countis.async_ensure_setup()


async def test_a_broken_meter_is_an_error_of_the_line(
    countis: Countis, meter: Meter
) -> None:
    meter.exception = 4
    with pytest.raises(ModbusError):
        await countis.async_ensure_setup()


@pytest.mark.parametrize(
    ("name", "extended", "model"),
    [
        ("", "", "COUNTIS"),
        ("", "countis e43", "COUNTIS E43"),
        ("DIRIS", "", "COUNTIS"),
        ("Countis E34", "", "COUNTIS E34"),
    ],
)
async def test_a_model_is_named_as_on_the_meter(
    countis: Countis, meter: Meter, name: str, extended: str, model: str
) -> None:
    from simulator.table import text  # noqa: PLC0415

    meter.override = text(50050, name, 8) | text(50058, extended, 8)
    await countis.async_ensure_setup()
    assert countis.model == model
    assert countis.serial_number == SERIAL


@pytest.mark.parametrize("word", [0, 0xFFFF])
async def test_a_serial_number_that_is_not_set_is_none(
    countis: Countis, meter: Meter, word: int
) -> None:
    meter.override = dict.fromkeys(range(50007, 50011), word)
    await countis.async_ensure_setup()
    assert countis.serial_number is None
    assert countis.model == "COUNTIS E33"


async def test_a_meter_that_refuses_reserved_registers_is_read_around_them(
    countis: Countis, meter: Meter, line: Line
) -> None:
    meter.refuses_reserved = True
    report = await countis.async_update()
    assert report.complete
    assert countis.values(report)["partial_energy_produced"] == 0.89
    assert countis.variants == {
        "identity": "Identity, read apart",
        "measurements": "Measurements",
        "energies": "Energies, read apart",
        "tariffs": "Tariffs",
        "periods": "Periods",
        "overflows": "Overflows, read apart",
        "transformer": None,
        "clock": "Clock",
    }


@pytest.mark.parametrize("how", ["refuses", "blank"])
async def test_counters_in_kwh_take_the_place_of_those_a_meter_lacks(
    countis: Countis, meter: Meter, how: str
) -> None:
    setattr(meter, how, {50944, 51200})
    values = countis.values(await countis.async_update())
    assert values["energy_consumed"] == 1234
    assert values["partial_energy_consumed"] == 45
    assert values["tariff_2_energy"] == 234
    assert countis.variants["energies"] == "EnergiesInKwh"
    assert countis.variants["tariffs"] == "TariffsInKwh"


async def test_counters_in_10_wh_that_tell_something_else_are_not_believed(
    countis: Countis, meter: Meter
) -> None:
    meter.override = {50946: 0, 50947: 0}
    values = countis.values(await countis.async_update())
    assert values["energy_consumed"] == 1234
    assert countis.variants["energies"] == "EnergiesInKwh"


async def test_a_counter_that_only_one_block_has_is_no_contradiction(
    countis: Countis, meter: Meter
) -> None:
    meter.override = {50772: 0xFFFF, 50773: 0xFFFF}
    values = countis.values(await countis.async_update())
    assert values["energy_reactive"] == 300.01


async def test_a_meter_without_counters_has_none(
    countis: Countis, meter: Meter
) -> None:
    meter.refuses = {50768, 50848, 50944, 51200, 36864, 36896, 36928, 57600}
    report = await countis.async_update()
    assert report.updated == {"power", "measurements"}
    assert countis.variants["energies"] is None
    with pytest.raises(ResetError):
        await async_reset_partial_counters(countis)


async def test_a_frequency_is_told_apart_by_its_resolution(
    countis: Countis, meter: Meter
) -> None:
    meter.override = {50526: 0, 50527: 49_980}
    values = countis.values(await countis.async_update())
    assert values["frequency"] == 49.98


async def test_a_total_that_falls_for_one_answer_is_read_again(
    countis: Countis, line: Line
) -> None:
    await countis.async_update()
    # A meter that starts up may answer like this, with a valid CRC.
    line.faults.extend([Fault(), ZEROS])
    report = await countis.async_update()
    assert report.complete
    assert countis.values(report)["energy_consumed"] == 1234.56


async def test_totals_that_fell_are_withheld_until_they_make_sense(
    countis: Countis, meter: Meter
) -> None:
    await countis.async_update()
    meter.override = {50946: 0, 50947: 0}
    for _ in range(2):
        report = await countis.async_update()
        assert set(report.failed) == {"energies"}
        values = countis.values(report)
        assert values["energy_consumed"] == 1234.56
        assert values["power"] == 1300
    meter.override = {}
    report = await countis.async_update()
    assert countis.values(report)["energy_consumed"] == 1234.56


async def test_a_total_that_is_not_available_for_a_while_is_not_forgotten(
    countis: Countis, meter: Meter
) -> None:
    await countis.async_update()
    meter.override = {50946: 0xFFFF, 50947: 0xFFFF}
    report = await countis.async_update()
    assert countis.values(report)["energy_consumed"] == 1234.56
    meter.override = {50946: 0, 50947: 0}
    assert not (await countis.async_update()).complete
    meter.override = {}
    assert (await countis.async_update()).complete


async def test_minus_ten_watts_are_not_taken_for_not_available(
    countis: Countis, meter: Meter
) -> None:
    meter.load = Constant(Phase(-10), Phase(0), Phase(0))
    values = countis.values(await countis.async_update())
    assert values["power"] == values["power_l1"] == -10


async def test_a_block_of_nothing_but_ones_has_no_value_at_all(
    unit: ModbusUnit, meter: Meter
) -> None:
    meter.blank = {50512}
    measurements = Measurements(unit)
    await measurements.async_update()
    assert set(measurements.values.values()) == {None}


async def test_a_reset_writes_the_meters_own_bits_and_reads_back(
    countis: Countis, meter: Meter, line: Line
) -> None:
    await countis.async_update()
    line.requests.clear()
    values = await async_reset_partial_counters(countis)
    assert values == dict.fromkeys(PARTIAL, 0)
    assert meter.writes == [(57890, [0x000B])]
    assert [frame[:6] for frame in line.requests] == [
        RESET,
        b"\x01\x03\xc7\x02\x00\x12",
    ]


async def test_a_reset_leaves_out_counters_that_the_meter_lacks(
    countis: Countis, meter: Meter
) -> None:
    meter.override = dict.fromkeys((50958, 50959, 50782, 50783), 0xFFFF)
    await countis.async_update()
    await async_reset_partial_counters(countis)
    assert meter.writes == [(57890, [0x0009])]


async def test_a_meter_without_partial_counters_is_written_nothing(
    countis: Countis, meter: Meter, line: Line
) -> None:
    partial = [*range(50956, 50964), *range(50780, 50788)]
    meter.override = dict.fromkeys(partial, 0xFFFF)
    await countis.async_update()
    line.requests.clear()
    with pytest.raises(ResetError):
        await async_reset_partial_counters(countis)
    assert line.requests == []


async def test_a_counter_that_is_not_available_after_a_reset_is_not_taken_for_zero(
    countis: Countis, meter: Meter
) -> None:
    await countis.async_update()
    meter.ignores_commands = {57890}
    meter.override = dict.fromkeys(range(50956, 50964), 0xFFFF)
    with pytest.raises(ResetError):
        await async_reset_partial_counters(countis)


async def test_a_reset_whose_answer_is_lost_is_seen_in_the_counters(
    countis: Countis, meter: Meter, line: Line
) -> None:
    await countis.async_update()
    line.faults.append(LOST)
    values = await async_reset_partial_counters(countis)
    assert [values[name] for name in PARTIAL] == [0, 0, 0]
    assert meter.writes == [(57890, [0x000B])]


async def test_a_meter_that_knows_function_16_only_is_reset_by_it(
    countis: Countis, meter: Meter, line: Line
) -> None:
    await countis.async_update()
    meter.refuses_functions = {WRITE}
    values = await async_reset_partial_counters(countis)
    assert [values[name] for name in PARTIAL] == [0, 0, 0]
    assert line.requests[-2][:2] == b"\x01\x10"


async def test_an_acknowledged_reset_is_an_accepted_one(
    countis: Countis, meter: Meter, line: Line
) -> None:
    """Exception 5 says that the command is accepted and takes its time."""
    await countis.async_update()

    def acknowledge(frame: bytes) -> bytes:
        answer = bytes([frame[0], frame[1] | 0x80, 5])
        return answer + FramerRTU.compute_CRC(answer).to_bytes(2)

    line.faults.append(Fault(acknowledge))
    values = await async_reset_partial_counters(countis)
    assert [values[name] for name in PARTIAL] == [0, 0, 0]


async def test_a_refused_reset_is_asked_for_by_the_other_command(
    countis: Countis, meter: Meter
) -> None:
    meter.refuses_commands = {57890}
    meter.has_partial_energies_reset = True
    await countis.async_update()
    values = await async_reset_partial_counters(countis)
    assert [values[name] for name in PARTIAL] == [0, 0, 0]
    assert meter.writes == [(40512, [0x20])]


async def test_an_ignored_reset_is_asked_for_by_the_other_command_of_an_e1x_or_e2x(
    countis: Countis, meter: Meter
) -> None:
    meter.model = "Countis E23"
    meter.ignores_commands = {57890}
    meter.has_partial_energies_reset = True
    await countis.async_update()
    values = await async_reset_partial_counters(countis)
    assert [values[name] for name in PARTIAL] == [0, 0, 0]
    assert meter.writes == [(57890, [0x000B]), (40512, [0x20])]


async def test_an_ignored_reset_of_an_e3x_is_an_error_and_writes_nothing_else(
    countis: Countis, meter: Meter
) -> None:
    meter.ignores_commands = {57890}
    meter.has_partial_energies_reset = True
    await countis.async_update()
    with pytest.raises(ResetError):
        await async_reset_partial_counters(countis)
    assert meter.writes == [(57890, [0x000B])]


@pytest.mark.parametrize("everything_refused", [True, False])
async def test_a_reset_that_is_refused_altogether_is_an_error(
    countis: Countis, meter: Meter, *, everything_refused: bool
) -> None:
    await countis.async_update()
    if everything_refused:
        meter.refuses_functions = {6, 16}
    else:
        meter.refuses_commands = {57890, 40512}
    with pytest.raises(ResetError):
        await async_reset_partial_counters(countis)
    assert meter.writes == []


async def test_a_reset_without_a_line_is_an_error_of_the_line(
    countis: Countis, meter: Meter, line: Line
) -> None:
    await countis.async_update()
    line.cut = True
    with pytest.raises(ModbusTimeoutError):
        await async_reset_partial_counters(countis)


async def test_the_registers_are_returned_as_read(
    countis: Countis, clock: Clock
) -> None:
    registers = await countis.async_read_registers()
    assert registers[50000] == ord("S")
    assert (registers[50946] << 16) + registers[50947] == 123_456
    assert list(registers) == sorted(registers)


@pytest.fixture
async def known(countis: Countis, unit: ModbusUnit) -> Countis:
    """Return the meter as it is known after a restart."""
    await countis.async_update()
    return Countis(unit, SharedLine(9600), serial_number=SERIAL, saved=countis.saved())


async def test_a_meter_that_is_starting_up_is_not_set_up(
    countis: Countis, meter: Meter
) -> None:
    meter.starting = True
    with pytest.raises(ModbusProtocolError, match="the identification is empty"):
        await countis.async_ensure_setup()
    meter.starting = False
    await countis.async_ensure_setup()
    assert countis.serial_number == SERIAL


async def test_a_known_meter_is_known_before_it_answers(known: Countis) -> None:
    assert (known.model, known.serial_number) == ("COUNTIS E33", SERIAL)
    assert known.variants["energies"] == "Energies"
    assert known.guard.values["energy_consumed"] == 1234.56
    assert "power" in known.quantities


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ({50000}, "the identification"),
        ({50512}, "the measurements"),
        ({50944, 50768}, "the energies"),
        ({51200, 50848}, "the tariffs"),
    ],
)
async def test_a_known_meter_has_what_it_had_before(
    known: Countis, meter: Meter, blocks: set[int], why: str
) -> None:
    meter.blank = blocks
    with pytest.raises(ModbusProtocolError, match=f"{why} (is|are) not available"):
        await known.async_ensure_setup()
    meter.blank = set()
    assert (await known.async_update()).complete


async def test_another_meter_in_the_place_of_a_known_one_is_told(
    known: Countis, meter: Meter
) -> None:
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(AnotherMeterError) as told:
        await known.async_update()
    assert told.value.found == "2025000100007"
    with pytest.raises(AnotherMeterError):
        await known.async_ensure_setup()


async def test_a_known_meter_whose_serial_number_is_not_there_yet_is_not_another(
    known: Countis, meter: Meter
) -> None:
    meter.override = {50008: 0xFFFF}
    with pytest.raises(ModbusProtocolError):
        await known.async_update()


@pytest.mark.parametrize(
    ("model", "settings", "amperes"),
    [
        ("Countis E33", {57345: 5, 57346: 5}, 100),
        ("Countis E43", {57345: 5, 57346: 400}, 480),
        ("Countis E43", {}, 10_000),
        ("Countis E33", {}, 100),
    ],
)
async def test_current_transformers_tell_what_can_be_counted(
    countis: Countis,
    meter: Meter,
    model: str,
    settings: dict[int, int],
    amperes: float,
) -> None:
    meter.model = model
    meter.settings |= settings
    if not settings:
        meter.refuses = {57344}
    await countis.async_ensure_setup()
    assert countis.guard.limits.amperes == amperes


async def test_a_silent_meter_without_a_serial_number_is_asked_for_its_power(
    countis: Countis, line: Line, meter: Meter
) -> None:
    meter.refuses = {50000}
    await countis.async_update()
    meter.silent = True
    for _ in range(2):
        line.requests.clear()
        with pytest.raises(ModbusTimeoutError):
            await countis.async_update()
    assert words_asked_for(line) == [14]
    meter.silent = False
    assert (await countis.async_update()).complete


async def test_a_lost_answer_about_the_serial_number_is_asked_for_again(
    countis: Countis, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(countis_meter, "IDENTIFIED_FOR_SECONDS", 0)
    await countis.async_update()
    line.faults.extend([LOST])
    assert (await countis.async_update()).complete


async def test_an_exchange_that_takes_too_long_is_a_timeout_of_the_line() -> None:
    with pytest.raises(ModbusTimeoutError, match="no whole answer within"):
        await SharedLine(9600).async_take_turn([2], asyncio.sleep(5), wait=0.01)


async def test_who_is_cancelled_while_waiting_for_a_turn_asks_nothing() -> None:
    line = SharedLine(9600)
    asked: list[int] = []

    async def ask() -> None:
        asked.append(1)

    async with line.turn:
        waiting = asyncio.create_task(line.async_take_turn([2], ask()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert asked == []


async def test_on_a_crowded_line_power_alone_is_read_and_its_zeros_looked_at_closer(
    countis: Countis, line: Line, meter: Meter
) -> None:
    await countis.async_update()
    countis.line.meters |= {object() for _ in range(60)}
    line.requests.clear()
    report = await countis.async_update()
    assert report.updated == {"power"}
    assert words_asked_for(line) == [14]

    # A house at rest.
    meter.override = dict.fromkeys(range(50536, 50550), 0)
    line.requests.clear()
    report = await countis.async_update()
    assert words_asked_for(line) == [14, 54]
    assert countis.values(report)["power"] == 0

    # Neither is more read of them than is wanted.
    line.requests.clear()
    report = await countis.async_update(["power_l1", "energy_consumed"])
    assert words_asked_for(line) == [14, 30]

    meter.starting = True
    report = await countis.async_update()
    assert report.failed.keys() == {"power", "measurements"}


async def test_settings_that_are_refused_for_any_reason_leave_the_meter_usable(
    countis: Countis, line: Line
) -> None:
    def server_device_failure(frame: bytes) -> bytes:
        answer = frame[:1] + b"\x83\x04"
        return answer + FramerRTU.compute_CRC(answer).to_bytes(2)

    # After six answers that settle what the meter serves.
    line.faults.extend([Fault()] * 6 + [Fault(server_device_failure)])
    assert (await countis.async_update()).complete
    assert countis.guard.limits.amperes == 100


async def test_what_failed_on_a_crowded_line_is_read_again_in_the_next_poll(
    countis: Countis, line: Line
) -> None:
    await countis.async_update()
    line.faults.extend([Fault(), LOST, LOST])
    report = await countis.async_update()
    assert report.failed.keys() == {"energies"}
    countis.line.meters |= {object() for _ in range(60)}
    # It is not the meter's turn.
    countis.line.polls = 2 * len(countis.line.meters)
    report = await countis.async_update()
    assert report.updated >= {"power", "energies"}
    assert (await countis.async_update()).updated == {"power"}


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (async_reset_tariff_counters, ResetTariffsError),
        (async_set_clock, SetClockError),
        (partial(async_set_tariff, tariff=2), SetTariffError),
    ],
)
async def test_a_command_that_a_meter_has_nothing_for_is_an_error(
    countis: Countis, meter: Meter, command: Any, error: type[Exception]
) -> None:
    meter.refuses = {50848, 51200, 57600}
    await countis.async_update()
    with pytest.raises(error):
        await command(countis)


async def test_noise_while_a_meter_is_set_up_shows_nowhere(
    countis: Countis, line: Line
) -> None:
    line.faults.extend([Fault(), LOST, Fault(), TRUNCATED, Fault(), Fault(), LOST])
    await countis.async_ensure_setup()
    assert countis.serial_number == SERIAL
    assert countis.variants["tariffs"] == "Tariffs"


async def test_what_a_meter_keeps_beside_is_left_out_when_it_cannot_be_read(
    countis: Countis, line: Line
) -> None:
    # Seven answers tell who it is and what it counts.
    line.faults.extend([Fault()] * 7 + [LOST] * 4)
    await countis.async_ensure_setup()
    assert countis.periods is None
    assert countis.clock is not None


async def test_counters_are_read_before_they_are_reset_or_not_at_all(
    countis: Countis, meter: Meter, line: Line
) -> None:
    await countis.async_update()
    meter.counters.partial_consumed += 10
    assert (await countis.async_count())["partial_energy_consumed"] == 45.68
    meter.blank = {50944}
    assert (await countis.async_count())["partial_energy_consumed"] == 45.68
    line.faults.extend([LOST, LOST])
    with pytest.raises(ModbusTimeoutError):
        await countis.async_count()
    meter.blank = set()
    line.faults.extend([Fault(), LOST, LOST])
    with pytest.raises(ModbusTimeoutError):
        await countis.async_count()


async def test_a_meter_without_tariffs_can_be_counted(
    countis: Countis, meter: Meter
) -> None:
    meter.refuses = {50848, 51200}
    await countis.async_update()
    assert (await countis.async_count())["energy_consumed"] == 1234.56


async def test_a_command_survives_a_lost_answer_when_it_is_read_back(
    countis: Countis, line: Line
) -> None:
    await countis.async_update()
    line.faults.extend([Fault(), LOST])
    assert await async_set_tariff(countis, 2) == {"tariff": 2}
