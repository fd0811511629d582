"""The values to which a block decodes its registers, and the requests of a block."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import batched

from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_connection.mock import MockModbusConnection, MockModbusUnit
import pytest

from custom_components.socomec_countis.countis.block import Block, CounterBlock
from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.registers import (
    BLOCK_OF,
    MEASURED_DETAILS,
    PHASES,
    Clock,
    CurrentTransformer,
    Energies,
    EnergiesInKwh,
    Identity,
    MainMeasurements,
    Measurements,
    Overflows,
    Periods,
    PeriodsInKwh,
    Power,
    Revision,
    Tariffs,
    TariffsInKwh,
)

# All blocks except `PartialTariffs`, which only E1x and E2x have.
BLOCKS: Sequence[Callable[..., Block]] = (
    Identity,
    Revision,
    Measurements,
    MainMeasurements,
    Power,
    Energies,
    EnergiesInKwh,
    Tariffs,
    TariffsInKwh,
    CurrentTransformer,
    Periods,
    PeriodsInKwh,
    Overflows,
    Clock,
)

# The lowest and highest values of a direct meter for 100 A, by unit. These values are
# independent of the limits of the library.
BOUNDS = {
    "V": (0, 600),
    "A": (0, 450),  # the neutral may carry three currents of 1.5 times 100 A
    "Hz": (40, 70),
    "W": (-300_000, 300_000),  # more than 3 x 150 A x 600 V = 270 kW
    "var": (-300_000, 300_000),
    "VA": (0, 300_000),
    "1": (-1, 1),
    "kWh": (0, 2**32),
    "kvarh": (0, 2**32),
}

EXTREME_WORDS = (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)


def drawn_words(drawn: bytes) -> list[int]:
    """Return a word for each 3 bytes: a selector, and the 2 bytes of a random word.

    An odd selector selects an extreme word in place of the random word, because random
    words are rarely extreme.
    """
    return [
        EXTREME_WORDS[selector // 2 % len(EXTREME_WORDS)]
        if selector % 2
        else high << 8 | low
        for selector, high, low in batched(drawn, 3, strict=True)
    ]


# The largest block, `Identity`, has 66 registers. All bytes are drawn at once. To draw
# a list of words would take ten times as long.
WORDS = st.binary(min_size=3 * 66, max_size=3 * 66).map(drawn_words)


def read(block: Block, unit: MockModbusUnit, words: Sequence[int]) -> Sequence[int]:
    """Read a block whose registers contain `words`.

    Returns the number of registers of each request.
    """
    first = min(field.address for field in block.resolved_fields.values())
    unit.holding.update(enumerate(words, first))
    unit.read_events.clear()
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    return [event.count for event in unit.read_events]


def new_block[B: Block](
    block_type: Callable[..., B], *, split: bool = False
) -> tuple[B, MockModbusUnit]:
    """Return a block, and the simulated Modbus unit from which the block is read."""
    unit = MockModbusConnection().for_unit(1)
    return block_type(unit, split=split), unit


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("block_type", BLOCKS)
@given(words=WORDS)
@settings(max_examples=40, deadline=None)
def test_any_words_decode_to_values_within_the_limits(
    words: list[int], block_type: Callable[..., Block], *, split: bool
) -> None:
    limits = Limits()
    block, unit = new_block(block_type, split=split)
    read(block, unit, words)
    measured = block.possible_values(limits.allow)
    assert measured.keys() == block.values.keys()
    for name, value in measured.items():
        unit_of_value = getattr(block.declared_fields.get(name), "unit", None)
        if value is None:
            continue
        if isinstance(value, str):
            assert value.isprintable()
            assert value.isascii()
        elif unit_of_value is None:
            assert 0 <= value < 0xFFFF  # 0xFFFF means "not available"
        else:
            lowest, highest = BOUNDS[unit_of_value]
            assert lowest <= value <= highest
            assert limits.allow(unit_of_value, value)


@pytest.mark.parametrize("block_type", [Energies, EnergiesInKwh, Tariffs, TariffsInKwh])
@given(words=WORDS)
@settings(max_examples=40, deadline=None)
def test_counters_are_multiples_of_their_step(
    words: list[int], block_type: type[CounterBlock]
) -> None:
    block, unit = new_block(block_type)
    read(block, unit, words)
    assert block.counters.keys() == block.values.keys() - {"tariff", "tariff_count"}
    for value in block.counters.values():
        if value is not None:
            steps = round(value / block_type.step)
            assert value == round(steps * block_type.step, 2)
            assert 0 <= steps < 2**32 - 1  # 0xFFFFFFFF means "not available"


@pytest.mark.parametrize("word", [0, 0xFFFF])
@pytest.mark.parametrize("block_type", [Power, Measurements, MainMeasurements])
def test_measurements_of_a_starting_meter_are_implausible(
    block_type: Callable[..., Block], word: int
) -> None:
    block, unit = new_block(block_type)
    read(block, unit, [word] * 66)
    assert block.implausible_reason


@pytest.mark.parametrize("block_type", BLOCKS)
def test_block_with_all_bits_1_is_implausible_and_has_no_values(
    block_type: Callable[..., Block],
) -> None:
    block, unit = new_block(block_type)
    read(block, unit, [0xFFFF] * 66)
    assert block.implausible_reason
    assert set(block.values.values()) == {None}


def measurements_with_frequency(raw: int) -> list[int]:
    """Return the words of measurements that are 0 except the frequency.

    `raw` is in steps of 0.01 Hz, or of 0.001 Hz if it is 10 000 or more. The frequency
    (50526) is 12 registers after the first measurement (50514).
    """
    return [0] * 12 + [0, raw] + [0] * 40


def test_measurements_with_a_mains_frequency_are_plausible() -> None:
    block, unit = new_block(Measurements)
    read(block, unit, measurements_with_frequency(5000))
    assert block.implausible_reason is None
    assert block.values["frequency"] == 50.0


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("block_type", BLOCKS)
def test_registers_per_request_match_the_sent_requests(
    block_type: Callable[..., Block], *, split: bool
) -> None:
    block, unit = new_block(block_type, split=split)
    assert list(block.registers_per_request) == read(block, unit, [1] * 66)


def test_each_block_has_a_response_length_of_its_own() -> None:
    requested: list[int] = []
    # Leave out low-resolution blocks: each has the length of its high-resolution block.
    for block_type in BLOCKS:
        if block_type not in (EnergiesInKwh, TariffsInKwh, PeriodsInKwh):
            block, unit = new_block(block_type)
            requested += read(block, unit, [1] * 66)
    assert sorted(requested) == [2, 5, 6, 9, 10, 14, 18, 24, 30, 54, 66]


@pytest.mark.parametrize("block_type", [EnergiesInKwh, TariffsInKwh, PeriodsInKwh])
def test_low_resolution_block_has_the_same_request_lengths_and_fields(
    block_type: type[Block],
) -> None:
    low, _ = new_block(block_type)
    high, _ = new_block(block_type.__bases__[0])
    assert list(low.registers_per_request) == list(high.registers_per_request)
    assert list(low.resolved_fields) == list(high.resolved_fields)


def test_main_measurements_are_all_measurements_but_the_details() -> None:
    block, _ = new_block(MainMeasurements)
    power, _ = new_block(Power)
    names = Measurements.declared_fields.keys()
    assert block.resolved_fields.keys() == names - MEASURED_DETAILS
    assert block.resolved_fields.keys() >= power.resolved_fields.keys()
    assert {BLOCK_OF[name] for name in names} == {"measurements"}


def test_power_of_minus_10_w_is_available() -> None:
    block, unit = new_block(Power)
    # The power is -1 step of 10 W: all its bits are 1. The apparent power is 1 step of
    # 10 VA.
    read(block, unit, [0xFFFF, 0xFFFF, 0, 0, 0, 1, *[0] * 8])
    assert block.values["power"] == -10
    assert block.implausible_reason is None


@pytest.mark.parametrize("phase", PHASES)
def test_absent_phase_has_no_values(phase: str) -> None:
    block, unit = new_block(Measurements)
    values: dict[int, int] = {}
    for quantity, field in Measurements.declared_fields.items():
        # The registers of voltages between two phases contain values in this test. The
        # block returns None for such a voltage if one of its two phases is absent.
        absent = quantity.endswith(f"_{phase}") and not quantity.startswith("voltage_l")
        absent |= quantity == f"voltage_{phase}"
        words = (0xFFFF, 0xFFFF) if absent else (0, 5000)
        values |= dict(zip((field.address, field.address + 1), words, strict=True))
    first, last = min(values), max(values)
    read(block, unit, [values.get(each, 0) for each in range(first, last + 1)])
    assert {name for name, value in block.values.items() if value is None} == {
        name for name in Measurements.declared_fields if phase in name.split("_")
    }
    present = "l1" if phase == "l2" else "l2"
    assert block.values[f"power_{present}"] == 50_000  # 5000 steps of 10 W


@pytest.mark.parametrize(
    ("raw", "hertz"), [(4_998, 49.98), (9_999, 99.99), (10_000, 10.0), (49_980, 49.98)]
)
def test_frequency_of_five_digits_is_in_steps_of_0_001_hz(
    raw: int, hertz: float
) -> None:
    block, unit = new_block(Measurements)
    read(block, unit, measurements_with_frequency(raw))
    assert block.frequency == hertz


@pytest.mark.parametrize(
    # The words are the secondary current (1 or 5 A) and the primary current in A.
    ("words", "ratio"),
    [
        ([5, 400], 80),
        ([1, 100], 100),
        ([5, 0], None),
        ([2, 400], None),
        ([0, 400], None),
        ([0xFFFF, 400], None),
        ([5, 0xFFFF], None),
    ],
)
def test_transformer_ratio_requires_valid_secondary_and_primary_currents(
    words: list[int], ratio: float | None
) -> None:
    block, unit = new_block(CurrentTransformer)
    read(block, unit, words)
    assert block.values == {"ct_ratio": ratio}


def test_texts_are_printable_characters_without_padding() -> None:
    block, unit = new_block(Identity)
    # The signature has one character in each register. The product name has two, and
    # begins 50 registers later.
    words = [0x1F, ord("S"), 0x7F, ord("~"), *[0] * 62]
    words[50:58] = [0x2020, 0x4161, 0x7E7F, 0x1F20, 0x2162, 0x2000, 0, 0]
    read(block, unit, words)
    assert block.signature == "S~"
    assert block.product_name == "Aa~ !b"
