"""Any sixteen-bit words at all: what becomes of them, and what is asked for."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_connection.mock import MockModbusConnection, MockModbusUnit
import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.registers import (
    Block,
    Counters,
    CurrentTransformer,
    Energies,
    EnergiesInKwh,
    Identity,
    Measurements,
    Overflows,
    Periods,
    PeriodsInKwh,
    Power,
    SerialNumber,
    Tariffs,
    TariffsInKwh,
)

BLOCKS: Sequence[type[Block]] = (
    Identity,
    SerialNumber,
    Measurements,
    Power,
    Energies,
    EnergiesInKwh,
    Tariffs,
    TariffsInKwh,
    CurrentTransformer,
    Periods,
    PeriodsInKwh,
    Overflows,
)
POLLED: Sequence[type[Block]] = (SerialNumber, Power, Measurements, Energies, Tariffs)

# What a direct meter for 100 A can have measured, whatever the code says.
BOUNDS = {
    "V": (0, 600),
    "A": (0, 450),
    "Hz": (40, 70),
    "W": (-300_000, 300_000),
    "var": (-300_000, 300_000),
    "VA": (0, 300_000),
    "1": (-1, 1),
    "kWh": (0, 2**32),
    "kvarh": (0, 2**32),
}

# Mostly what is special, or a word would hardly ever meet its neighbour's limits.
WORD = st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF]) | st.integers(0, 0xFFFF)


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


def read(block: Block, unit: MockModbusUnit, words: Sequence[int]) -> Sequence[int]:
    """Read the block from these words; return how many each request asked for."""
    first = min(field.address for field in block.declared_fields.values())
    unit.holding.update(enumerate(words, first))
    unit.read_events.clear()
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    return [event.count for event in unit.read_events]


def made(block_type: type[Block], *, apart: bool) -> tuple[Block, MockModbusUnit]:
    """Return a block, and the unit that it is read from."""
    unit = MockModbusConnection().for_unit(1)
    block = block_type(unit)
    return (block.apart() if apart else block), unit


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("block_type", BLOCKS)
@given(words=st.lists(WORD, min_size=66, max_size=66))
@settings(max_examples=40, deadline=None)
def test_no_words_make_a_value_that_a_meter_cannot_measure(
    words: list[int], block_type: type[Block], *, apart: bool
) -> None:
    limits = Limits()
    block, unit = made(block_type, apart=apart)
    read(block, unit, words)
    measured = block.measured(limits)
    assert measured.keys() == block.values.keys()
    for name, value in measured.items():
        unit_of = getattr(block.declared_fields.get(name), "unit", None)
        if value is None:
            continue
        if isinstance(value, str):
            assert value.isprintable()
            assert value.isascii()
        elif unit_of is None:
            assert 0 <= value < 0xFFFF
        else:
            least, most = BOUNDS[unit_of]
            assert least <= value <= most
            assert limits.allow(unit_of, value)


@pytest.mark.parametrize("block_type", [Energies, EnergiesInKwh, Tariffs, TariffsInKwh])
@given(words=st.lists(WORD, min_size=66, max_size=66))
@settings(max_examples=40, deadline=None)
def test_counters_are_whole_steps_and_what_has_a_unit(
    words: list[int], block_type: type[Counters]
) -> None:
    unit = MockModbusConnection().for_unit(1)
    block = block_type(unit)
    read(block, unit, words)
    assert "tariff" not in block.counters
    for value in block.counters.values():
        if value is not None:
            steps = round(value / block_type.step)
            assert value == round(steps * block_type.step, 2)
            assert 0 <= steps < 2**32 - 1


@pytest.mark.parametrize("word", [0, 0xFFFF])
@pytest.mark.parametrize("block_type", [Power, Measurements])
def test_a_meter_that_is_starting_up_has_a_problem(
    block_type: type[Block], word: int
) -> None:
    block, unit = made(block_type, apart=False)
    read(block, unit, [word] * 66)
    assert block.problem


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("block_type", BLOCKS)
def test_a_block_knows_what_it_asks_for(
    block_type: type[Block], *, apart: bool
) -> None:
    block, unit = made(block_type, apart=apart)
    assert list(block.reads) == read(block, unit, [1] * 66)


def test_no_answer_can_be_taken_for_that_of_another_block() -> None:
    asked: list[int] = []
    for block_type in (*POLLED, Identity):
        block, unit = made(block_type, apart=False)
        asked += read(block, unit, [1] * 66)
    assert sorted(asked) == [3, 10, 14, 18, 54, 66]


@pytest.mark.parametrize("block_type", [EnergiesInKwh, TariffsInKwh])
def test_counters_in_kwh_are_asked_for_like_those_that_they_replace(
    block_type: type[Block],
) -> None:
    block, _ = made(block_type, apart=False)
    finer, _ = made(block_type.__bases__[0], apart=False)
    assert list(block.reads) == list(finer.reads)
