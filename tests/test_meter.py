"""The class `Meter` of the library: identity, readings and counters."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import modbus_connection
from modbus_connection import (
    IllegalDataAddressError,
    ModbusConnectionError,
    ModbusProtocolError,
    ModbusSerialParams,
    ModbusTimeoutError,
)
import modbus_connection.pymodbus
import modbus_connection.tmodbus
import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    Bus,
    Correction,
    ImplausibleError,
    Meter,
    Reading,
    Values,
    async_reset_partial_counters,
    async_take_profile,
)
from custom_components.socomec_countis.countis.block import Block
from simulator import FLIPPED as SERIAL_FLIPPED
from simulator import LOST as SERIAL_LOST
from simulator import TRUNCATED as SERIAL_TRUNCATED
from simulator import Constant, Phase, line_in_thread, table
from simulator import Fault as SerialFault
from simulator import Line as SerialLine
from simulator import Meter as SimulatedMeter

from .common import SERIAL, registers_of
from .memory_bus import (
    DAMAGED,
    LOST,
    NO_FAULT,
    ZEROS,
    Fault,
    MemoryBus,
    async_meter,
    async_polled_meter,
    exception,
)

# Reads of these blocks have 14, 30, 18, 10, 24, 9 and 6 registers. The read that
# verifies the identity has 5, and a read of the measurements with details has 54.
BLOCKS = "power", "measurements", "energies", "tariffs", "periods", "overflows", "clock"
POWER_REGISTERS = range(50536, 50550)
ZERO_TOTAL = registers_of("energy_consumed", 0)


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


async def test_creating_a_meter_from_a_profile_sends_no_request(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus, accepted={})
    assert library_meter.profile.serial_number == SERIAL
    assert [name for name in BLOCKS if library_meter.block(name) is None] == []
    assert library_meter.block("transformer") is None
    assert memory_bus.requests == []


async def test_each_block_is_read_in_one_request(memory_bus: MemoryBus) -> None:
    library_meter = await async_polled_meter(memory_bus)
    values: Values = {}
    for name in BLOCKS:
        reading = await library_meter.async_read(name)
        assert reading.block == name
        assert reading.corrections == ()
        values |= reading.values
    assert memory_bus.reads == [14, 30, 18, 10, 24, 9, 6]
    assert values["power"] == 1300
    assert values["power_l3"] == -200
    assert values["voltage_l1"] == 230.0
    assert values["energy_consumed"] == 1234.56
    assert values["tariff"] == 1
    assert values["overflows_consumed"] == 0
    assert values["clock_offset"] == 0
    assert "energy_consumed_today" in values
    assert "voltage_l1_l2" not in values
    assert not library_meter.contradicts_profile


async def test_details_are_read_with_the_measurements_if_selected(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus)
    library_meter.reads_details = True
    reading = await library_meter.async_read("measurements")
    assert memory_bus.reads == [54]
    assert reading.values["voltage_l1_l2"] == pytest.approx(398, abs=1)
    assert (
        reading.values.keys()
        == library_meter.blocks["measurements"].resolved_fields.keys()
    )


# A gateway reports a lost response by exception 10 or 11.
@pytest.mark.parametrize("fault", [LOST, DAMAGED, exception(10), exception(11)])
@pytest.mark.parametrize("good_responses", range(len(BLOCKS)))
async def test_read_with_a_lost_or_damaged_response_is_retried(
    memory_bus: MemoryBus, fault: Fault, good_responses: int
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    memory_bus.faults.extend([NO_FAULT] * good_responses + [fault])
    for name in BLOCKS:
        await library_meter.async_read(name)
    assert len(memory_bus.reads) == len(BLOCKS) + 1
    assert not library_meter.contradicts_profile


async def test_read_on_an_unplugged_port_raises_connection_error(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus)
    memory_bus.plugged = memory_bus.connected = False
    for name in BLOCKS:
        with pytest.raises(ModbusConnectionError):
            await library_meter.async_read(name)
    with pytest.raises(ModbusConnectionError):
        await library_meter.async_verify_identity()


async def test_reading_has_the_time_of_its_last_request(memory_bus: MemoryBus) -> None:
    library_meter = await async_meter(memory_bus)
    began = asyncio.get_running_loop().time()
    memory_bus.faults.append(ZEROS)
    reading = await library_meter.async_read("measurements")
    # Zeros are implausible, so the library sends the request again.
    assert [each.at for each in memory_bus.requests] == [began, reading.requested_at]


# -- the identity -----------------------------------------------------------------


async def test_identity_is_verified_by_one_read_of_5_registers(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus)
    await library_meter.async_verify_identity()
    assert memory_bus.reads == [5]
    assert not library_meter.contradicts_profile


@pytest.mark.parametrize("fault", [LOST, DAMAGED, exception(11)])
async def test_verification_with_a_lost_or_damaged_response_is_retried(
    memory_bus: MemoryBus, fault: Fault
) -> None:
    library_meter = await async_meter(memory_bus)
    memory_bus.faults.append(fault)
    await library_meter.async_verify_identity()
    assert memory_bus.reads == [5, 5]


async def test_other_serial_number_in_two_responses_is_reported(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(AnotherMeterError) as raised:
        await library_meter.async_verify_identity()
    assert raised.value.found == "2025000100007"
    assert "2025000100007" not in str(raised.value)
    assert memory_bus.reads == [5, 5]
    meter.serial = None  # so the meter has the expected serial number again
    await library_meter.async_verify_identity()


def other_serial_number(order: int) -> Fault:
    """Return a fault that replaces the order number at the end of the serial number."""
    return Fault(lambda words: [*words[:4], order])


async def test_other_serial_number_in_one_response_is_not_reported(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus)
    memory_bus.faults.append(other_serial_number(7))
    await library_meter.async_verify_identity()
    # Two responses with unexpected serial numbers that differ from each other do not
    # mean that this is another meter.
    memory_bus.faults.extend([other_serial_number(7), other_serial_number(8)])
    with pytest.raises(ModbusProtocolError):
        await library_meter.async_verify_identity()


@pytest.mark.parametrize("word", [0xFFFF, 0])
async def test_unavailable_serial_number_is_not_taken_for_another_meter(
    memory_bus: MemoryBus, meter: SimulatedMeter, word: int
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = dict.fromkeys(range(50006, 50011), word)
    with pytest.raises(ModbusProtocolError, match="the serial number is not available"):
        await library_meter.async_verify_identity()
    meter.override = {}
    await library_meter.async_verify_identity()
    assert not library_meter.contradicts_profile


async def test_meter_without_serial_number_is_verified_by_any_response(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    library_meter = await async_meter(memory_bus)
    await library_meter.async_verify_identity()
    assert memory_bus.reads == [14]
    meter.offline = True
    # Only the first timeout is retried.
    for requests in (2, 1):
        memory_bus.requests.clear()
        with pytest.raises(ModbusTimeoutError):
            await library_meter.async_verify_identity()
        assert memory_bus.reads == [14] * requests
    meter.offline = False
    await library_meter.async_verify_identity()


# 50006 is the version of the register table, 50007 that of the firmware.
@pytest.mark.parametrize("register", [50006, 50007])
async def test_new_firmware_or_table_contradicts_the_profile(
    memory_bus: MemoryBus, meter: SimulatedMeter, register: int
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = {register: 103}  # a version that the profile does not have
    await library_meter.async_verify_identity()
    assert library_meter.contradicts_profile


# -- measurements -----------------------------------------------------------------


async def test_negative_power_is_measured(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.load = Constant(Phase(-10), Phase(0), Phase(0))
    values = (await library_meter.async_read("power")).values
    assert values["power"] == values["power_l1"] == -10


async def test_only_the_first_of_several_zero_powers_is_read_again(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = dict.fromkeys(POWER_REGISTERS, 0)
    first = await library_meter.async_read("power")
    assert memory_bus.reads == [14, 30]
    assert first.block == "measurements"
    assert first.values["power"] == 0
    memory_bus.requests.clear()
    for _ in range(10):
        reading = await library_meter.async_read("power")
        assert reading.block == "power"
        assert reading.values["power"] == 0
    assert memory_bus.reads == [14] * 10
    # After a power other than 0, the next power of 0 is confirmed again.
    for override, reads in (({}, [14]), (meter.override, [14, 30])):
        meter.override = override
        memory_bus.requests.clear()
        await library_meter.async_read("power")
        assert memory_bus.reads == reads


async def test_zero_power_that_the_measurements_showed_is_not_confirmed_again(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = dict.fromkeys(POWER_REGISTERS, 0)
    await library_meter.async_read("measurements")
    await library_meter.async_read("power")
    assert memory_bus.reads == [30, 14]


async def test_zero_power_after_an_unavailable_power_is_confirmed(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    # In a signed field, 0x7FFF_FFFF means "not available". In the unsigned field of the
    # apparent power, 0x7FFF_FFFF is a number. So not all values of the block are 0, and
    # the library accepts the block without a read of the measurements. But this number
    # is beyond the limits, so the apparent power is not available, either.
    meter.override = {each: 0xFFFF if each % 2 else 0x7FFF for each in POWER_REGISTERS}
    reading = await library_meter.async_read("power")
    assert set(reading.values.values()) == {None}
    meter.override = dict.fromkeys(POWER_REGISTERS, 0)
    await library_meter.async_read("power")
    assert memory_bus.reads == [14, 14, 30]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("starting", True), ("blank_blocks", {table.METROLOGY})],
)
async def test_power_of_a_starting_meter_is_implausible(
    memory_bus: MemoryBus, meter: SimulatedMeter, attribute: str, value: object
) -> None:
    library_meter = await async_meter(memory_bus)
    normal = getattr(meter, attribute)
    setattr(meter, attribute, value)
    with pytest.raises(ImplausibleError, match="no mains frequency"):
        await library_meter.async_read("power")
    assert memory_bus.reads == [14, 30, 30]
    setattr(meter, attribute, normal)
    assert (await library_meter.async_read("power")).values["power"] == 1300


async def test_value_beyond_the_limits_is_not_available(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = registers_of("voltage_l1", 0x7FFF_0000)
    values = (await library_meter.async_read("measurements")).values
    assert values["voltage_l1"] is None
    assert values["voltage_l2"] == 230.0


async def test_all_measurements_are_read_after_the_identity_is_verified(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    values = await library_meter.async_measure()
    assert memory_bus.reads == [5, 54]
    assert values["power"] == 1300
    assert values.keys() == library_meter.blocks["measurements"].resolved_fields.keys()
    meter.starting = True
    with pytest.raises(ModbusProtocolError):
        await library_meter.async_measure()
    meter.starting = False
    meter.override = registers_of("frequency", 0)
    with pytest.raises(ImplausibleError, match="no mains frequency"):
        await library_meter.async_measure()
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(AnotherMeterError):
        await library_meter.async_measure()


# -- counters ---------------------------------------------------------------------


async def test_split_block_is_read_around_the_reserved_registers(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refuses_reserved = True
    library_meter = await async_polled_meter(memory_bus)
    values = (await library_meter.async_read("energies")).values
    assert values["partial_energy_produced"] == 0.89
    assert values["energy_consumed"] == 1234.56
    assert memory_bus.reads == [4, 2, 4, 2]  # from 50946, 50952, 50956 and 50962


async def test_low_resolution_counters_are_read_in_whole_kwh(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refused_blocks = {
        table.ENERGIES_UNIT_100,
        table.TARIFFS_UNIT_100,
        table.PERIODS_UNIT_100,
    }
    library_meter = await async_meter(memory_bus)
    values = (await library_meter.async_read("energies")).values
    values |= (await library_meter.async_read("tariffs")).values
    values |= (await library_meter.async_read("periods")).values
    assert values["energy_consumed"] == 1234
    assert values["partial_energy_consumed"] == 45
    assert values["tariff_2_energy"] == 234
    assert values["tariff"] == 1
    assert values["energy_consumed_today"] == 0


async def test_total_that_falls_in_one_response_is_read_again(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    await library_meter.async_read("energies")
    # A meter that is starting responds with zeros and a correct CRC.
    memory_bus.faults.append(ZEROS)
    reading = await library_meter.async_read("energies")
    assert reading.values["energy_consumed"] == 1234.56
    assert memory_bus.reads == [18] * 3  # the zeros cause the last read


async def test_total_that_fell_is_rejected_until_a_plausible_reading(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    await library_meter.async_read("energies")
    meter.override = ZERO_TOTAL
    # After the first rejected reading, the library reads the counters again, then the
    # identity and the number of rollovers. Each later poll is one read.
    for reads in ([18, 18, 5, 9], [18], [18]):
        memory_bus.requests.clear()
        with pytest.raises(ImplausibleError, match="energy_consumed"):
            await library_meter.async_read("energies")
        assert memory_bus.reads == reads
        assert library_meter.counter_check.values["energy_consumed"] == 1234.56
        assert (await library_meter.async_read("power")).values["power"] == 1300
    meter.override = {}
    reading = await library_meter.async_read("energies")
    assert reading.values["energy_consumed"] == 1234.56
    meter.override = ZERO_TOTAL
    memory_bus.requests.clear()
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("energies")
    assert memory_bus.reads == [18, 18, 5, 9]


async def test_total_that_is_not_available_keeps_its_last_value(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    await library_meter.async_read("energies")
    meter.override = registers_of("energy_consumed", table.NOT_AVAILABLE)
    reading = await library_meter.async_read("energies")
    assert reading.values["energy_consumed"] == 1234.56
    meter.override = ZERO_TOTAL
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("energies")
    meter.override = {}
    await library_meter.async_read("energies")


async def test_stored_counters_are_restored_as_accepted_values(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    await library_meter.async_read("energies")
    restored = await async_meter(
        memory_bus, accepted=library_meter.counter_check.as_dict()
    )
    assert restored.counter_check.values == library_meter.counter_check.values
    meter.override = ZERO_TOTAL
    with pytest.raises(ImplausibleError):
        await restored.async_read("energies")


async def test_partial_counter_reset_at_the_meter_is_accepted_when_read_twice(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    await library_meter.async_read("energies")
    meter.counters.partial_consumed = 0
    reading = await library_meter.async_read("energies")
    assert memory_bus.reads == [18] * 3
    assert reading.values["partial_energy_consumed"] == 0
    assert reading.values["energy_consumed"] == 1234.56
    assert reading.corrections == ()


async def test_counter_that_stays_at_an_implausible_value_is_accepted(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    meter.counters.consumed = 5_000_000
    # A level is accepted if it lasts for 60 s.
    for _ in range(6):
        with pytest.raises(ImplausibleError):
            await library_meter.async_read("energies")
        await asyncio.sleep(10)
    reading = await library_meter.async_read("energies")
    (correction,) = reading.corrections
    assert correction == Correction(
        "energy_consumed", 1234.56, reading.values["energy_consumed"] or 0
    )
    assert reading.values["energy_consumed"] == pytest.approx(5000, abs=0.5)
    # The next reading agrees with the accepted level, so there is no correction.
    assert (await library_meter.async_read("energies")).corrections == ()


# -- contradictions -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["power", "measurements", "energies", "periods", "overflows", "clock"]
)
async def test_refused_block_contradicts_the_profile(
    memory_bus: MemoryBus, meter: SimulatedMeter, name: str
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    # Exception 4 means a failure of the meter, not that the block is not supported.
    memory_bus.faults.append(exception(4))
    with pytest.raises(modbus_connection.ModbusExceptionError):
        await library_meter.async_read(name)
    assert not library_meter.contradicts_profile
    meter.refused_blocks = {
        table.METROLOGY,
        table.ENERGIES_UNIT_100,
        table.PERIODS_UNIT_100,
        table.OVERFLOW,
        table.CLOCK,
    }
    with pytest.raises(IllegalDataAddressError):
        await library_meter.async_read(name)
    assert library_meter.contradicts_profile


# The settings of the current transformer are its secondary (57345) and its primary
# (57346) current in A: at first 5 A and 400 A. The profile contains only the primary
# current. If the secondary current is 0, no transformer is configured.
@pytest.mark.parametrize(
    ("settings", "ratio", "contradicts"),
    [
        ({}, 80, False),
        ({57346: 200}, 40, True),
        ({57345: 1}, 400, False),
        ({57345: 0}, None, True),
    ],
)
async def test_changed_transformer_contradicts_the_profile(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    settings: dict[int, int],
    ratio: float | None,
    *,
    contradicts: bool,
) -> None:
    meter.model = "Countis E43"
    meter.settings |= {57345: 5, 57346: 400}
    library_meter = await async_meter(memory_bus)
    meter.settings |= settings
    reading = await library_meter.async_read("transformer")
    assert reading.values == {"ct_ratio": ratio}
    assert library_meter.contradicts_profile == contradicts


async def test_transformer_set_after_the_profile_was_taken_contradicts_it(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    meter.settings |= {57345: 0}
    library_meter = await async_meter(memory_bus)
    await library_meter.async_read("transformer")
    assert not library_meter.contradicts_profile
    meter.settings |= {57345: 5, 57346: 400}
    await library_meter.async_read("transformer")
    assert library_meter.contradicts_profile


async def test_block_with_the_type_of_another_block_is_not_supported(
    memory_bus: MemoryBus,
) -> None:
    profile = (await async_meter(memory_bus)).profile
    blocks = {**profile.blocks, "energies": profile.blocks["clock"]}
    library_meter = Meter(
        memory_bus.bus, 1, memory_bus.client(), replace(profile, blocks=blocks)
    )
    assert library_meter.block("energies") is None
    assert isinstance(library_meter.block("tariffs"), Block)


# -- diagnostics ------------------------------------------------------------------


async def test_registers_are_returned_as_read(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    registers = await library_meter.async_read_registers()
    assert registers[50000] == ord("S")
    assert (registers[50946] << 16) + registers[50947] == 123_456
    assert registers[50514] == 0  # the high word of `voltage_l1_l2`
    assert list(registers) == sorted(registers)
    # The block "identity" has 66 registers.
    assert memory_bus.reads == [66, 54, 18, 10, 24, 9, 6]
    meter.refused_blocks = {table.CLOCK}
    with pytest.raises(IllegalDataAddressError):
        await library_meter.async_read_registers()


# -- a serial port, with both client backends -----------------------------------------


@pytest.fixture
def serial_line(meter: SimulatedMeter) -> Any:
    """Run a fast line with the meter on a pseudo-terminal."""
    with line_in_thread(
        SerialLine([meter], baudrate=921_600, response_delay=0.001)
    ) as running:
        yield running


@pytest.fixture(params=["tmodbus", "pymodbus"])
async def connection(
    request: pytest.FixtureRequest, serial_line: SerialLine
) -> AsyncGenerator[Any]:
    """Return a connection to the line, once for each client backend."""
    backend: Any = getattr(modbus_connection, request.param)
    opened = backend.ModbusConnection(
        ModbusSerialParams(device=serial_line.port, baudrate=9600), timeout=3
    )
    yield opened
    await opened.close()


@pytest.mark.real_time
@pytest.mark.parametrize("fault", [SERIAL_LOST, SERIAL_TRUNCATED, SERIAL_FLIPPED])
async def test_reads_and_a_partial_reset_work_on_a_serial_port(
    connection: Any, serial_line: SerialLine, meter: SimulatedMeter, fault: SerialFault
) -> None:
    bus = Bus(baudrate=9600)
    client = connection.for_unit(1)
    profile = await async_take_profile(bus.unit(1, client, slow=True))
    assert profile.serial_number == SERIAL
    library_meter = Meter(
        bus, 1, client, profile, clock=meter.true_time, monotonic=meter.true_time
    )
    readings: list[Reading] = []
    await async_reset_partial_counters(library_meter, readings.append)
    assert meter.writes == [(57890, [0x000B])]
    assert readings[-1].values["partial_energy_consumed"] == 0
    # The response to the verification has no fault, the next response has one.
    serial_line.faults.extend([SerialFault(), fault])
    await library_meter.async_verify_identity()
    values: Values = {}
    for name in BLOCKS:
        values |= (await library_meter.async_read(name)).values
    assert values["power"] == 1300
    assert values["energy_consumed"] == 1234.56


@pytest.mark.real_time
@pytest.mark.parametrize("backend", ["tmodbus", "pymodbus"])
async def test_missing_port_raises_connection_error(backend: str) -> None:
    connection = getattr(modbus_connection, backend).ModbusConnection(
        ModbusSerialParams(device="/dev/no-such-port")
    )
    with pytest.raises(ModbusConnectionError):
        await async_take_profile(Bus(baudrate=9600).unit(1, connection.for_unit(1)))
    await connection.close()
