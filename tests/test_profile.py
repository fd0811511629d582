"""The profile of a meter: its identity, blocks and quantities."""

from dataclasses import replace
import json
from typing import Any, Literal

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ServerDeviceFailureError,
)
import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    NotACountisError,
    Profile,
    async_take_profile,
)
from custom_components.socomec_countis.countis.profile import PROFILE_VERSION
from custom_components.socomec_countis.countis.relations import POWER, TARIFFS
from simulator import Meter as SimulatedMeter
from simulator import table
from simulator.table import text

from .common import SERIAL, registers_of
from .memory_bus import (
    DAMAGED,
    LOST,
    NO_FAULT,
    Fault,
    MemoryBus,
    exception,
)

# The number of registers of each request for the profile of an E33: identity,
# measurements, energies and tariffs (each in 10 Wh and in 1 kWh), periods, overflows,
# clock.
PROFILE_WORDS = [66, 54, 18, 18, 10, 10, 24, 9, 6]
E33_BLOCKS = {
    "identity": "Identity",
    "measurements": "Measurements",
    "energies": "Energies",
    "tariffs": "Tariffs",
    "periods": "Periods",
    "overflows": "Overflows",
    "clock": "Clock",
}


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


async def test_profile_contains_the_identity_blocks_and_quantities(
    memory_bus: MemoryBus,
) -> None:
    profile = await async_take_profile(memory_bus.unit())
    assert (profile.model, profile.serial_number, profile.software_version) == (
        "COUNTIS E33",
        SERIAL,
        "1.02",
    )
    assert profile.blocks == E33_BLOCKS
    assert profile.quantities >= {
        *("power", "power_l3", "voltage_l1", "energy_consumed", "tariff"),
        *("partial_energy_produced", "energy_consumed_today", "clock_offset"),
    }
    assert profile.quantities.isdisjoint({"ct_ratio", "day", "signature"})
    assert profile.unused == {"tariff_3_energy", "tariff_4_energy"}
    assert profile.calculated_counters == {
        f"partial_tariff_{number}_energy": f"tariff_{number}_energy"
        for number in (1, 2, 3, 4)
    }
    assert profile.tariff_count == 4
    assert profile.primary_current is None
    assert not profile.undecided
    assert not profile.outdated
    assert memory_bus.reads == PROFILE_WORDS


async def test_profile_is_restored_from_json(memory_bus: MemoryBus) -> None:
    profile = await async_take_profile(memory_bus.unit())
    assert Profile.from_dict(json.loads(json.dumps(profile.as_dict()))) == profile


async def test_profile_of_another_version_is_outdated(memory_bus: MemoryBus) -> None:
    profile = await async_take_profile(memory_bus.unit())
    assert replace(profile, version=PROFILE_VERSION - 1).outdated
    assert replace(profile, version=PROFILE_VERSION + 1).outdated


@pytest.mark.parametrize("key", Profile().as_dict())
async def test_stored_profile_without_a_key_is_outdated(
    memory_bus: MemoryBus, key: str
) -> None:
    stored = (await async_take_profile(memory_bus.unit())).as_dict()
    reduced = Profile.from_dict({name: stored[name] for name in stored if name != key})
    assert reduced.outdated
    default = Profile().as_dict()[key]
    assert reduced.as_dict() == stored | {key: default, "version": reduced.version}


async def test_unknown_content_of_a_stored_profile_is_ignored(
    memory_bus: MemoryBus,
) -> None:
    profile = await async_take_profile(memory_bus.unit())
    stored = profile.as_dict() | {"version": PROFILE_VERSION + 1, "new": [1]}
    stored["blocks"]["clock"] = "Calendar"
    newer = Profile.from_dict(stored)
    assert newer.quantities == profile.quantities
    assert newer.outdated
    assert newer.block("clock", memory_bus.unit()) is None


@pytest.mark.parametrize(
    ("framing", "fault"),
    [
        ("rtu", LOST),
        ("rtu", DAMAGED),
        # A gateway reports a lost response by one of these exceptions.
        ("tcp", exception(10)),
        ("tcp", exception(11)),
    ],
)
@pytest.mark.parametrize("good_responses", range(len(PROFILE_WORDS)))
async def test_lost_or_damaged_response_does_not_change_the_profile(
    meter: SimulatedMeter,
    framing: Literal["rtu", "tcp"],
    fault: Fault,
    good_responses: int,
) -> None:
    memory_bus = MemoryBus({1: meter}, framing=framing)
    undisturbed = await async_take_profile(memory_bus.unit())
    memory_bus.faults.extend([NO_FAULT] * good_responses + [fault])
    assert await async_take_profile(memory_bus.unit()) == undisturbed


async def test_several_lost_responses_do_not_change_the_profile(
    memory_bus: MemoryBus,
) -> None:
    undisturbed = await async_take_profile(memory_bus.unit())
    memory_bus.faults.extend(
        [NO_FAULT, LOST, NO_FAULT, DAMAGED, NO_FAULT, NO_FAULT, LOST]
    )
    assert await async_take_profile(memory_bus.unit()) == undisturbed


@pytest.mark.parametrize("fault", [LOST, DAMAGED, exception(10), exception(11)])
# The first six requests read the blocks that are not optional.
@pytest.mark.parametrize("good_responses", range(6))
async def test_response_lost_twice_raises_an_error_unless_its_block_is_optional(
    memory_bus: MemoryBus, fault: Fault, good_responses: int
) -> None:
    memory_bus.faults.extend([NO_FAULT] * good_responses + [fault] * 2)
    with pytest.raises((ModbusTimeoutError, ModbusProtocolError)):
        await async_take_profile(memory_bus.unit())


@pytest.mark.parametrize("fault", [LOST, DAMAGED, exception(10), exception(11)])
@pytest.mark.parametrize(
    ("good_responses", "block"), [(6, "periods"), (7, "overflows"), (8, "clock")]
)
async def test_optional_block_that_cannot_be_read_is_undecided(
    memory_bus: MemoryBus, fault: Fault, good_responses: int, block: str
) -> None:
    memory_bus.faults.extend([NO_FAULT] * good_responses + [fault] * 2)
    profile = await async_take_profile(memory_bus.unit())
    assert profile.undecided == {block}
    assert block not in profile.blocks
    assert profile.outdated
    assert not (await async_take_profile(memory_bus.unit())).outdated


async def test_port_that_is_lost_at_any_block_raises_an_error(
    memory_bus: MemoryBus,
) -> None:
    for good_responses in range(len(PROFILE_WORDS)):
        lost = Fault(error=ModbusConnectionError())
        memory_bus.faults.extend([NO_FAULT] * good_responses + [lost])
        with pytest.raises(ModbusConnectionError):
            await async_take_profile(memory_bus.unit())
        assert not memory_bus.faults
    memory_bus.plugged = memory_bus.connected = False
    with pytest.raises(ModbusConnectionError):
        await async_take_profile(memory_bus.unit())


async def test_offline_meter_raises_timeout(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.offline = True
    with pytest.raises(ModbusTimeoutError):
        await async_take_profile(memory_bus.unit())


async def test_meter_that_refuses_everything_raises_its_exception(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.exception_code = 4  # server device failure
    with pytest.raises(ServerDeviceFailureError):
        await async_take_profile(memory_bus.unit())


# -- the identity -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("registers", "reason"),
    [
        ({50000: ord("X")}, "the signature is 'XOCO' and the product order 100"),
        ({50004: 200}, "the signature is 'SOCO' and the product order 200"),
    ],
)
async def test_device_with_another_signature_or_product_is_not_a_countis(
    memory_bus: MemoryBus, meter: SimulatedMeter, registers: dict[int, int], reason: str
) -> None:
    meter.override = registers
    with pytest.raises(NotACountisError, match=reason):
        await async_take_profile(memory_bus.unit())


@pytest.mark.parametrize("attribute", ["refused_blocks", "blank_blocks"])
async def test_meter_without_identification_is_accepted_by_its_measurements(
    memory_bus: MemoryBus, meter: SimulatedMeter, attribute: str
) -> None:
    getattr(meter, attribute).add(table.IDENTIFICATION)
    profile = await async_take_profile(memory_bus.unit())
    assert profile.model == "COUNTIS"
    assert profile.serial_number is None
    assert profile.software_version is None
    assert "identity" not in profile.blocks
    assert profile.identity == {}
    assert profile.limits.amperes == 100


# The registers 50520 to 50525 contain the voltages of the phases in 0.01 V. 50526 and
# 50527 contain the frequency in 0.01 Hz. 45 to 65 Hz and 100 to 300 V are accepted.
@pytest.mark.parametrize(
    "registers",
    [
        {50526: 0, 50527: 0},
        {50527: 100},  # 1 Hz
        {50526: 0xFFFF, 50527: 0xFFFF},
        dict.fromkeys(range(50520, 50526), 0xFFFF),
        dict(enumerate([1] * 6, 50520)),  # 655.37 V
        {50527: 4499},
        {50527: 6501},
        dict(enumerate([0, 9_999] * 3, 50520)),
        dict(enumerate([0, 30_001] * 3, 50520)),
    ],
)
async def test_device_without_identification_or_mains_is_not_a_countis(
    memory_bus: MemoryBus, meter: SimulatedMeter, registers: dict[int, int]
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    meter.override = registers
    with pytest.raises(NotACountisError):
        await async_take_profile(memory_bus.unit())


@pytest.mark.parametrize(
    "registers",
    [
        {50527: 4500},
        {50527: 6500},
        dict(enumerate([0, 0, 0, 0, 0, 10_000], 50520)),
        dict(enumerate([0, 0, 0, 30_000, 0, 0], 50520)),
    ],
)
async def test_device_without_identification_that_measures_mains_is_accepted(
    memory_bus: MemoryBus, meter: SimulatedMeter, registers: dict[int, int]
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    meter.override = registers
    assert (await async_take_profile(memory_bus.unit())).model == "COUNTIS"


@pytest.mark.parametrize("attribute", ["refused_blocks", "blank_blocks"])
async def test_device_without_identification_or_measurements_is_not_a_countis(
    memory_bus: MemoryBus, meter: SimulatedMeter, attribute: str
) -> None:
    setattr(meter, attribute, {table.IDENTIFICATION, table.METROLOGY})
    with pytest.raises(NotACountisError):
        await async_take_profile(memory_bus.unit())


@pytest.mark.parametrize(
    ("name", "extended", "model"),
    [
        ("", "", "COUNTIS"),
        ("", "countis e43", "COUNTIS E43"),
        ("DIRIS", "", "COUNTIS"),
        ("Countis E34", "", "COUNTIS E34"),
        ("Countis", "Countis E34", "COUNTIS E34"),
        ("Countis", "", "COUNTIS"),
    ],
)
async def test_model_is_taken_from_the_names_of_the_meter(
    memory_bus: MemoryBus, meter: SimulatedMeter, name: str, extended: str, model: str
) -> None:
    meter.override = text(50050, name, 8) | text(50058, extended, 8)
    profile = await async_take_profile(memory_bus.unit())
    assert profile.model == model
    assert profile.serial_number == SERIAL


@pytest.mark.parametrize("word", [0, 0xFFFF])
async def test_serial_number_that_is_not_set_is_none(
    memory_bus: MemoryBus, meter: SimulatedMeter, word: int
) -> None:
    meter.override = dict.fromkeys(range(50008, 50011), word)
    profile = await async_take_profile(memory_bus.unit())
    assert profile.serial_number is None
    assert profile.model == "COUNTIS E33"


@pytest.mark.parametrize("address", [50008, 50009, 50010])
async def test_serial_number_needs_all_of_its_registers(
    memory_bus: MemoryBus, meter: SimulatedMeter, address: int
) -> None:
    # Some registers of the serial number may be 0, but none may be "not available"
    # (0xFFFF).
    meter.override = dict.fromkeys({50008, 50009, 50010} - {address}, 0)
    assert (await async_take_profile(memory_bus.unit())).serial_number is not None
    meter.override = {address: 0xFFFF}
    assert (await async_take_profile(memory_bus.unit())).serial_number is None


async def test_other_serial_number_than_expected_is_reported(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    assert (await async_take_profile(memory_bus.unit(), expected=SERIAL)).blocks
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(AnotherMeterError) as raised:
        await async_take_profile(memory_bus.unit(), expected=SERIAL)
    assert raised.value.found == "2025000100007"


# -- the blocks -------------------------------------------------------------------


async def test_blocks_with_refused_reserved_registers_have_split_reads(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refuses_reserved = True
    profile = await async_take_profile(memory_bus.unit())
    assert profile.split == {"identity", "energies", "overflows"}
    assert profile.blocks == E33_BLOCKS


@pytest.mark.parametrize("attribute", ["refused_blocks", "blank_blocks"])
async def test_low_resolution_counters_replace_unsupported_high_resolution(
    memory_bus: MemoryBus, meter: SimulatedMeter, attribute: str
) -> None:
    setattr(
        meter,
        attribute,
        {table.ENERGIES_UNIT_100, table.TARIFFS_UNIT_100, table.PERIODS_UNIT_100},
    )
    profile = await async_take_profile(memory_bus.unit())
    assert profile.blocks["energies"] == "EnergiesInKwh"
    assert profile.blocks["tariffs"] == "TariffsInKwh"
    assert profile.blocks["periods"] == "PeriodsInKwh"


@pytest.mark.parametrize("attribute", ["refused_blocks", "blank_blocks"])
async def test_high_resolution_counters_are_used_without_low_resolution(
    memory_bus: MemoryBus, meter: SimulatedMeter, attribute: str
) -> None:
    setattr(meter, attribute, {table.ENERGIES, table.TARIFFS, table.PERIODS})
    profile = await async_take_profile(memory_bus.unit())
    assert profile.blocks["energies"] == "Energies"
    assert profile.blocks["tariffs"] == "Tariffs"
    assert profile.blocks["periods"] == "Periods"


@pytest.mark.parametrize(
    ("kwh", "block"),
    [
        (0, "EnergiesInKwh"),
        (1235.09, "Energies"),
        (1235.11, "EnergiesInKwh"),
        (1232.91, "Energies"),
        (1232.89, "EnergiesInKwh"),
    ],
)
async def test_high_resolution_counters_that_differ_by_over_1100_wh_are_not_used(
    memory_bus: MemoryBus, meter: SimulatedMeter, kwh: float, block: str
) -> None:
    high_word, low_word = divmod(round(kwh * 100), 0x1_0000)
    # The total in steps of 10 Wh (50946) and of 1 kWh (50770). The difference may be
    # up to 1.1 kWh.
    meter.override = {50946: high_word, 50947: low_word, 50770: 0, 50771: 1234}
    assert (await async_take_profile(memory_bus.unit())).blocks["energies"] == block


# The first register of the reactive energy in 1 kvarh, and in 10 varh.
@pytest.mark.parametrize(("missing", "has_reactive"), [(50772, True), (50948, False)])
async def test_counter_in_only_one_resolution_is_no_contradiction(
    memory_bus: MemoryBus, meter: SimulatedMeter, missing: int, *, has_reactive: bool
) -> None:
    meter.override = {missing: 0xFFFF, missing + 1: 0xFFFF}
    profile = await async_take_profile(memory_bus.unit())
    assert profile.blocks["energies"] == "Energies"
    assert ("energy_reactive" in profile.quantities) is has_reactive


async def test_tariff_of_0_is_not_an_unused_counter(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.override = {51200: 0, 51201: 0}  # the number of tariffs, and the tariff
    profile = await async_take_profile(memory_bus.unit())
    assert profile.tariff_count == 0
    assert profile.quantities >= {"tariff", "tariff_count"}
    assert profile.unused == {"tariff_3_energy", "tariff_4_energy"}


async def test_profile_of_a_meter_without_counters_contains_no_counters(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refused_blocks = {
        table.ENERGIES,
        table.TARIFFS,
        table.ENERGIES_UNIT_100,
        table.TARIFFS_UNIT_100,
        table.OVERFLOW,
        table.PERIODS,
        table.PERIODS_UNIT_100,
        table.CLOCK,
    }
    profile = await async_take_profile(memory_bus.unit())
    assert profile.blocks == {"identity": "Identity", "measurements": "Measurements"}
    assert profile.quantities.isdisjoint({"energy_consumed", "clock_offset"})
    assert profile.unused == set()
    assert profile.tariff_count is None
    assert not profile.outdated


@pytest.mark.parametrize(
    ("consumed", "produced", "is_producer"),
    [(0, 0, False), (10_000, 10_000, False), (10_000, 10_010, True)],
)
async def test_meter_with_more_produced_than_consumed_energy_is_a_producer(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    consumed: float,
    produced: float,
    *,
    is_producer: bool,
) -> None:
    meter.counters.consumed, meter.counters.produced = consumed, produced
    profile = await async_take_profile(memory_bus.unit())
    assert profile.is_producer is is_producer


@pytest.mark.parametrize(
    ("missing", "is_producer"), [("consumed", True), ("produced", False)]
)
async def test_missing_counter_is_taken_as_0_when_a_producer_is_recognised(
    memory_bus: MemoryBus, meter: SimulatedMeter, missing: str, *, is_producer: bool
) -> None:
    # The first register of the counter in 10 Wh, and in 1 kWh.
    starts = {"consumed": (50946, 50770), "produced": (50952, 50776)}[missing]
    meter.override = {start + word: 0xFFFF for start in starts for word in (0, 1)}
    profile = await async_take_profile(memory_bus.unit())
    assert profile.is_producer is is_producer


async def test_transformer_refused_with_exception_4_is_not_supported(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    # The transformer is read after the identity, the measurements and four blocks of
    # counters.
    memory_bus.faults.extend([NO_FAULT] * 6 + [exception(4)])
    profile = await async_take_profile(memory_bus.unit())
    assert "transformer" not in profile.blocks
    assert "periods" in profile.blocks


# The settings are the secondary (57345) and the primary (57346) current in A, None if
# the meter refuses their block. If the secondary current is not 1 or 5 A, the primary
# current is unknown. `amperes` is 1.2 * primary, but at least 100. For an E4x with an
# unknown primary current, it is 10 000.
@pytest.mark.parametrize(
    ("model", "settings", "primary", "amperes"),
    [
        ("Countis E33", {57345: 5, 57346: 5}, None, 100),
        ("Countis E33", None, None, 100),
        ("Countis E43", {57345: 5, 57346: 400}, 400, 480),
        ("Countis E43", {57345: 5, 57346: 5}, 5, 100),
        ("Countis E43", {57345: 2, 57346: 400}, None, 10_000),
        ("Countis E43", None, None, 10_000),
        ("Countis", {57345: 1, 57346: 200}, 200, 240),
        ("Countis", None, None, 100),
    ],
)
async def test_current_transformers_set_the_limits(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    model: str,
    settings: dict[int, int] | None,
    primary: float | None,
    amperes: float,
) -> None:
    meter.model = model
    if settings is None:
        meter.refused_blocks = {table.NETWORK}
    meter.settings |= settings or {}
    profile = await async_take_profile(memory_bus.unit())
    assert profile.primary_current == primary
    assert profile.limits.amperes == amperes
    assert ("ct_ratio" in profile.quantities) == (primary is not None)


@pytest.mark.parametrize("code", [10, 11])
async def test_transformer_with_a_lost_response_is_read_again(
    memory_bus: MemoryBus, meter: SimulatedMeter, code: int
) -> None:
    meter.model = "Countis E44"
    meter.settings |= {57345: 5, 57346: 400}
    # A gateway reports a lost response by exception 10 or 11. The transformer is read
    # after six other requests.
    memory_bus.faults.extend([NO_FAULT] * 6 + [exception(code)])
    assert (await async_take_profile(memory_bus.unit())).limits.amperes == 480
    memory_bus.faults.extend([NO_FAULT] * 6 + [exception(code)] * 2)
    with pytest.raises(ModbusTimeoutError):
        await async_take_profile(memory_bus.unit())


async def test_quantity_with_a_value_beyond_the_limits_is_not_in_the_profile(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.override = registers_of("voltage_l1", 0x7FFF_FFFF)
    profile = await async_take_profile(memory_bus.unit())
    assert "voltage_l1" not in profile.quantities
    assert "voltage_l2" in profile.quantities


# -- a meter that is starting -------------------------------------------------------


async def test_starting_meter_has_no_profile_yet(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.starting = True
    with pytest.raises(ModbusProtocolError, match="the identification is empty"):
        await async_take_profile(memory_bus.unit())
    meter.starting = False
    assert (await async_take_profile(memory_bus.unit())).serial_number == SERIAL


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ({table.IDENTIFICATION}, "the serial number is not available"),
        ({table.METROLOGY}, "the measurements are not available"),
        ({table.ENERGIES_UNIT_100, table.ENERGIES}, "the energies are not available"),
        ({table.TARIFFS_UNIT_100, table.TARIFFS}, "the tariffs are not available"),
    ],
)
@pytest.mark.parametrize("attribute", ["refused_blocks", "blank_blocks"])
async def test_profile_is_not_taken_again_while_a_required_block_is_not_available(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    blocks: set[int],
    reason: str,
    attribute: str,
) -> None:
    previous = await async_take_profile(memory_bus.unit())
    setattr(meter, attribute, blocks)
    arguments: dict[str, Any] = {"expected": SERIAL, "previous": previous}
    with pytest.raises(ModbusProtocolError, match=reason):
        await async_take_profile(memory_bus.unit(), **arguments)
    setattr(meter, attribute, set())
    assert await async_take_profile(memory_bus.unit(), **arguments) == previous


async def test_partial_counters_by_tariff_are_read_if_the_meter_has_their_block(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E23"
    meter.has_partial_tariffs = True
    meter.tariff_count = 2
    meter.counters.partial_tariffs[0] = 45_670
    profile = await async_take_profile(memory_bus.unit())
    assert profile.blocks["partial_tariffs"] == "PartialTariffs"
    assert profile.quantities >= {"partial_tariff_1_energy", "partial_tariff_2_energy"}
    assert "partial_tariff_2_energy" in profile.unused
    assert profile.calculated_counters == {}


@pytest.mark.parametrize("fault", [LOST, exception(2)])
async def test_partial_counters_by_tariff_that_were_read_before_are_required(
    memory_bus: MemoryBus, meter: SimulatedMeter, fault: Fault
) -> None:
    meter.model = "Countis E14"
    meter.has_partial_tariffs = True
    previous = await async_take_profile(memory_bus.unit())
    # The partial counters by tariff are read after all blocks of `PROFILE_WORDS`.
    memory_bus.faults.extend([NO_FAULT] * len(PROFILE_WORDS) + [fault] * 2)
    with pytest.raises(ModbusError):
        await async_take_profile(memory_bus.unit(), previous=previous)


async def test_partial_counters_by_tariff_with_a_lost_response_are_undecided(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E14"
    meter.has_partial_tariffs = True
    memory_bus.faults.extend([NO_FAULT] * len(PROFILE_WORDS) + [LOST] * 2)
    profile = await async_take_profile(memory_bus.unit())
    assert profile.undecided == {"partial_tariffs"}


@pytest.mark.parametrize(
    "refused",
    [
        {table.ENERGIES_UNIT_100, table.ENERGIES},
        {table.TARIFFS_UNIT_100, table.TARIFFS},
    ],
)
async def test_partial_tariff_counters_are_not_calculated_without_their_sources(
    memory_bus: MemoryBus, meter: SimulatedMeter, refused: set[int]
) -> None:
    meter.refused_blocks = refused
    assert (await async_take_profile(memory_bus.unit())).calculated_counters == {}


async def test_counter_block_that_was_not_supported_before_is_not_required(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refused_blocks = {
        table.ENERGIES_UNIT_100,
        table.ENERGIES,
        table.TARIFFS_UNIT_100,
        table.TARIFFS,
    }
    previous = await async_take_profile(memory_bus.unit())
    taken = await async_take_profile(
        memory_bus.unit(), expected=SERIAL, previous=previous
    )
    assert taken == previous
    meter.refused_blocks = set()
    taken = await async_take_profile(
        memory_bus.unit(), expected=SERIAL, previous=previous
    )
    assert taken.blocks["energies"] == "Energies"


async def test_profile_that_is_taken_again_keeps_quantities_without_a_value(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    previous = await async_take_profile(memory_bus.unit())
    assert previous.relations == {POWER, TARIFFS}
    # Now the meter has no load and an absent phase, and its tariff counters do not add
    # up to the total.
    meter.override = dict.fromkeys(range(50536, 50567), 0)
    meter.override |= dict.fromkeys((50524, 50525, 50532, 50533), 0xFFFF)
    meter.counters.tariffs[0] += 5000
    taken = await async_take_profile(memory_bus.unit(), previous=previous)
    assert taken.quantities == previous.quantities
    assert taken.relations == {POWER}
    without_previous = await async_take_profile(memory_bus.unit())
    assert without_previous.quantities < previous.quantities
    assert without_previous.relations == set()


async def test_unavailable_serial_number_does_not_mean_another_meter(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.override = {50008: 0xFFFF}
    with pytest.raises(ModbusError, match="the serial number is not available"):
        await async_take_profile(memory_bus.unit(), expected=SERIAL)


async def test_unsupported_block_of_a_profile_is_none(memory_bus: MemoryBus) -> None:
    profile = await async_take_profile(memory_bus.unit())
    assert profile.block("transformer", memory_bus.unit()) is None
    block = profile.block("energies", memory_bus.unit())
    assert block is not None
    assert type(block).__name__ == "Energies"
    assert not block.split
