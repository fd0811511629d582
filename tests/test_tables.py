"""The registers that the library uses, compared with the tables of Socomec.

The files in `tests/data` contain facts of three tables: V 200.53 for the E34 and E44,
V 103.8 for the E23 and E24, and V 103.4 for the E14. Each row is one value, in one or
more registers. The class `Row` describes the columns. Reserved registers have no row.
The files contain all blocks that the library uses.

These tests do not take expected values from the register table of the simulator.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
import inspect
from pathlib import Path
from typing import Any, cast

from modbus_connection.mock import MockModbusConnection, MockModbusUnit
import pytest

from custom_components.socomec_countis.countis import registers
from custom_components.socomec_countis.countis.block import Block, CounterBlock
from custom_components.socomec_countis.countis.commands import (
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
    async_set_tariff,
)
from custom_components.socomec_countis.countis.errors import CommandError
from custom_components.socomec_countis.countis.load_curve import async_read_load_curve
from custom_components.socomec_countis.countis.meter import Meter
from custom_components.socomec_countis.countis.profile import BLOCK_TYPES
from simulator import Meter as SimulatedMeter

from .memory_bus import (
    NO_FAULT,
    READ,
    WRITE,
    WRITE_SEVERAL,
    Fault,
    MemoryBus,
    Request,
    async_meter,
    exception,
    virtual_clock,
)

# The editions: the names of the files in `tests/data`, one file for each table.
E3X_E4X = "e3x_e4x_v200_53"
E2X = "e2x_v103_8"
E1X = "e1x_v103_4"
EDITIONS = (E3X_E4X, E2X, E1X)

HIGHEST_WORD = 0xFFFF  # in reserved registers


@dataclass(frozen=True)
class Row:
    """One value of a table, in one or more registers."""

    block: int
    """The first register address of the block."""
    block_words: int
    """The number of registers of the block."""
    access: str
    address: int
    """The first register address of the value."""
    words: int
    """The number of registers of the value."""
    type: str
    symbol: str
    unit: str
    raw_per_unit: float
    """The value in `unit` is the raw number divided by `raw_per_unit`."""
    codes: Mapping[str, int]
    """The code of each meaning."""

    @property
    def block_end(self) -> int:
        """Return the register address after the block."""
        return self.block + self.block_words

    def raw_words(self, raw: int) -> list[int]:
        """Return the words that contain a raw number, the high word first."""
        return [raw >> 16 * each & 0xFFFF for each in reversed(range(self.words))]

    def value(self, raw: int) -> float:
        """Return the value of a raw number in the unit that the library uses."""
        value = raw / self.raw_per_unit
        return value / 1000 if self.unit in {"Wh", "varh"} else value


@cache
def table(edition: str) -> Sequence[Row]:
    """Return the rows of one edition."""
    path = Path(__file__).parent / "data" / f"{edition}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                int(row["block"]),
                int(row["block_words"]),
                row["access"],
                int(row["address"]),
                int(row["words"]),
                row["type"],
                row["symbol"],
                row["unit"],
                float(row["raw_per_unit"]),
                {
                    meaning: int(code, 0)
                    for each in row["codes"].split(";")
                    if each
                    for code, meaning in [each.split("=")]
                },
            )
            for row in csv.DictReader(file)
        ]


def block_of(edition: str, start: int) -> Mapping[str, Row]:
    """Return the rows of one block by symbol."""
    return {row.symbol: row for row in table(edition) if row.block == start}


def row_of(edition: str, symbol: str) -> Row:
    """Return the only row with a symbol."""
    (found,) = (row for row in table(edition) if row.symbol == symbol)
    return found


PHASES = (1, 2, 3)
# By suffix of the field name: the suffix of the symbol.
PERIODS = {
    "yesterday": "day n-1",
    "today": "day n",
    "last_week": "week n-1",
    "this_week": "week n",
    "last_month": "month n-1",
    "this_month": "month n",
}

# By the name of the field in the library: the symbol in the table.
IDENTITY = {
    "signature": "signature",
    "product_order_id": "product order",
    "product_id": "product",
    "table_version": "table version",
    "software_version": "software version",
    "serial_year_week": "serial year week",
    "serial_site_line": "serial site line",
    "serial_order": "serial order",
    "product_version_major": "version major",
    "product_version_minor": "version minor",
    "vendor_name": "vendor name",
    "product_name": "product name",
    "extended_name": "extended name",
}
MEASUREMENTS = {
    "voltage_l1_l2": "U12",
    "voltage_l2_l3": "U23",
    "voltage_l3_l1": "U31",
    "frequency": "F",
    "current_neutral": "In",
    "power": "P",
    "reactive_power": "Q",
    "apparent_power": "S",
    "power_factor": "PF",
} | {
    f"{quantity}_l{phase}": f"{symbol}{phase}"
    for quantity, symbol in {
        "voltage": "V",
        "current": "I",
        "power": "P",
        "reactive_power": "Q",
        "apparent_power": "S",
        "power_factor": "PF",
    }.items()
    for phase in PHASES
}
ENERGIES = {
    f"{partial}energy_{quantity}": f"{partial.replace('_', ' ')}{symbol}"
    for partial in ("", "partial_")
    for quantity, symbol in {
        "consumed": "Ea+",
        "reactive": "Er+",
        "produced": "Ea-",
    }.items()
}
TARIFFS = {"tariff_count": "tariffs", "tariff": "tariff"} | {
    f"tariff_{number}_energy": f"Ea+ T{number}" for number in (1, 2, 3, 4)
}
PERIOD_ENERGIES = {
    f"energy_{quantity}_{period}": f"{symbol} {period_symbol}"
    for quantity, symbol in {"consumed": "Ea+", "produced": "Ea-"}.items()
    for period, period_symbol in PERIODS.items()
}

# By class: the first register address of the block that the class reads, and the symbol
# of each field.
SYMBOLS: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "Revision": (50000, IDENTITY),
    "Identity": (50000, IDENTITY),
    "Measurements": (50512, MEASUREMENTS),
    "MainMeasurements": (50512, MEASUREMENTS),
    "Power": (50512, MEASUREMENTS),
    "Energies": (50944, ENERGIES),
    "EnergiesInKwh": (50768, ENERGIES),
    "Tariffs": (51200, TARIFFS),
    "TariffsInKwh": (50848, TARIFFS),
    "Periods": (36928, PERIOD_ENERGIES),
    "PeriodsInKwh": (36896, PERIOD_ENERGIES),
    "Overflows": (
        36864,
        {
            "overflows_consumed": "overflows Ea+",
            "overflows_reactive": "overflows Er+",
            "overflows_produced": "overflows Ea-",
        }
        | {
            f"overflows_tariff_{number}": f"overflows Ea+ T{number}"
            for number in (1, 2, 3, 4)
        },
    ),
    "CurrentTransformer": (
        57344,
        {"secondary_current": "CT secondary", "primary_current": "CT primary"},
    ),
    "Clock": (
        57600,
        {each: each for each in ("day", "month", "year", "hour", "minute", "second")},
    ),
}


# The class of the only block that the table of the E3x and E4x does not contain.
NOT_IN_E3X_E4X = "PartialTariffs"

# For each class that reads only a part of its block: the first and the last symbol.
PARTS = {
    "Revision": ("table version", "serial order"),
    "MainMeasurements": ("V1", "P3"),
    "Power": ("P", "P3"),
}

CLASSES: Mapping[str, Callable[..., Block]] = {
    name: getattr(registers, name) for name in SYMBOLS
}


def rows_of(class_name: str, edition: str = E3X_E4X) -> Mapping[str, Row]:
    """Return the rows of the fields that a block class reads, by field name.

    A field whose symbol the edition does not contain is left out.
    """
    start, symbols = SYMBOLS[class_name]
    rows = block_of(edition, start)
    found = {name: rows[symbol] for name, symbol in symbols.items() if symbol in rows}
    if part := PARTS.get(class_name):
        first, last = (block_of(E3X_E4X, start)[symbol].address for symbol in part)
        found = {
            name: row for name, row in found.items() if first <= row.address <= last
        }
    return found


def is_text(row: Row) -> bool:
    """Return whether a row contains characters."""
    return row.type.startswith("STRING")


def is_signed(row: Row) -> bool:
    """Return whether a row contains a signed number."""
    return row.type.startswith("S") and not is_text(row)


def not_available(row: Row) -> int:
    """Return the raw number that means "not available".

    This is the largest number that the registers of the row can contain.
    """
    return (1 << 16 * row.words - is_signed(row)) - 1


def raw_numbers(rows: Mapping[str, Row]) -> Mapping[str, int]:
    """Return a different raw number for each field that is not a text, by field name.

    The frequency is 50 Hz in the scale of the table.
    """
    return {
        name: round(50 * row.raw_per_unit)
        if row.unit == "Hz"
        else 1000 + 7 * (row.address - row.block)
        for name, row in rows.items()
        if not is_text(row)
    }


def unit_with(rows: Mapping[str, Row], raw: Mapping[str, int]) -> MockModbusUnit:
    """Return a unit with raw numbers, and with "A" in each register of a text.

    A negative number is in two's complement. Reserved registers contain all ones.
    """
    unit = MockModbusConnection().for_unit(1)
    for row in rows.values():
        unit.holding |= dict.fromkeys(range(row.block, row.block_end), HIGHEST_WORD)
    for name, row in rows.items():
        words = row.raw_words(raw[name]) if name in raw else [ord("A")] * row.words
        unit.holding |= dict(enumerate(words, row.address))
    unit.read_events.clear()
    return unit


def read_block(class_name: str, unit: MockModbusUnit, *, split: bool = False) -> Block:
    """Return a block after it is read from the unit."""
    block = CLASSES[class_name](unit, split=split)
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    return block


def block_types() -> Iterator[type[Block]]:
    """Yield the block classes that are defined in the register map."""
    for _, member in inspect.getmembers(registers, inspect.isclass):
        if issubclass(member, Block) and member not in {Block, CounterBlock}:
            yield member


def test_every_block_of_the_register_map_is_compared() -> None:
    compared = {*SYMBOLS, NOT_IN_E3X_E4X}
    assert {each.__name__ for each in block_types()} == compared
    for types in BLOCK_TYPES.values():
        assert {each.__name__ for each in types} <= compared


def test_every_quantity_is_computed_or_a_field_of_its_block() -> None:
    # By computed quantity: its block.
    computed = {"ct_ratio": "transformer", "clock_offset": "clock"} | {
        f"partial_tariff_{number}_energy": "partial_tariffs" for number in (3, 4)
    }
    assert computed.items() <= registers.BLOCK_OF.items()
    for quantity, name in registers.BLOCK_OF.items():
        (block, *_) = BLOCK_TYPES[name]
        assert quantity in computed or quantity in block.declared_fields


@pytest.mark.parametrize("name", SYMBOLS)
def test_every_field_is_in_the_table(name: str) -> None:
    start, symbols = SYMBOLS[name]
    fields = getattr(registers, name).declared_fields
    assert fields.keys() == symbols.keys()
    rows = block_of(E3X_E4X, start)
    for field, symbol in symbols.items():
        row = rows[symbol]
        assert (fields[field].address, fields[field].count) == (row.address, row.words)
        assert "read" in row.access
        unit = {"Wh": "kWh", "varh": "kvarh", "": "1"}.get(row.unit, row.unit)
        # Numbers of one register have no unit in the library.
        if row.words == 2:
            assert fields[field].unit == unit
            assert fields[field].signed == is_signed(row)


@pytest.mark.parametrize("name", SYMBOLS)
def test_register_range_is_the_table_block_or_the_extent_of_the_fields(
    name: str,
) -> None:
    block_type = getattr(registers, name)
    rows = block_of(E3X_E4X, SYMBOLS[name][0]).values()
    fields = block_type.declared_fields.values()
    block = {(row.block, row.block_end - 1) for row in rows}
    extent = {
        (
            min(field.address for field in fields),
            max(field.address + field.count - 1 for field in fields),
        )
    }
    assert {*block_type.register_ranges} in (block, extent)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("class_name", CLASSES)
def test_each_request_stays_within_its_block(class_name: str, *, split: bool) -> None:
    rows = rows_of(class_name)
    unit = unit_with(rows, raw_numbers(rows))
    read_block(class_name, unit, split=split)
    (start, end), *others = {(row.block, row.block_end) for row in rows.values()}
    assert not others
    requested: set[int] = set()
    for event in unit.read_events:
        assert start <= event.address < event.address + event.count <= end
        requested |= set(range(event.address, event.address + event.count))
    used = {row.address + word for row in rows.values() for word in range(row.words)}
    assert requested >= used
    if split:
        assert requested == used
    else:
        assert len(unit.read_events) == 1
        assert {min(requested), max(requested)} == {min(used), max(used)}


@pytest.mark.parametrize("class_name", CLASSES)
def test_block_is_read_in_one_request_by_default(class_name: str) -> None:
    rows = rows_of(class_name)
    unit = unit_with(rows, raw_numbers(rows))
    block = CLASSES[class_name](unit)
    assert not block.split
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    assert len(unit.read_events) == 1


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("class_name", CLASSES)
def test_values_match_the_table(class_name: str, *, split: bool) -> None:
    rows = rows_of(class_name)
    raw = raw_numbers(rows)
    block = read_block(class_name, unit_with(rows, raw), split=split)
    assert block.resolved_fields.keys() == rows.keys()
    for name, row in rows.items():
        found = getattr(block, name)
        if name in raw:
            assert found == pytest.approx(row.value(raw[name]), abs=1e-9)
        else:
            assert found
    # The only value of `CurrentTransformer` is the ratio of its fields.
    if class_name != "CurrentTransformer":
        assert block.values == {name: getattr(block, name) for name in rows}


@pytest.mark.parametrize("edition", [E2X, E1X])
@pytest.mark.parametrize(
    "class_name", ["Identity", "Measurements", "MainMeasurements", "Power", "Energies",
             "EnergiesInKwh", "Tariffs", "TariffsInKwh", "Overflows"]
)  # fmt: skip
def test_other_families_have_the_same_registers(class_name: str, edition: str) -> None:
    rows = rows_of(class_name, edition)
    raw = raw_numbers(rows)
    block = read_block(class_name, unit_with(rows, raw))
    values = block.values
    for name, row in rows.items():
        if name in raw:
            assert values[name] == pytest.approx(row.value(raw[name]), abs=1e-9)
    # Each field that the edition lacks is None, such as tariff 3, or L2 of an E14. A
    # signed field of L2 is None only if the voltage and the current of L2 are None. But
    # "Power" contains no voltages and no currents.
    if class_name != "Power":
        assert {values[name] for name in values.keys() - rows.keys()} <= {None}


# `Revision` is left out, because `Identity` decodes the same fields and more.
NUMBERS = [
    (class_name, name)
    for class_name in CLASSES
    for name, row in rows_of(class_name).items()
    if class_name != "Revision" and not is_text(row)
]


@pytest.mark.parametrize(("class_name", "name"), NUMBERS)
def test_borders_of_each_number_are_decoded(class_name: str, name: str) -> None:
    rows = rows_of(class_name)
    row = rows[name]
    raw = dict(raw_numbers(rows))
    last = not_available(row) - 1
    numbers = [0, 1, last]
    if is_signed(row):
        numbers += [-1, -2, -last - 2]  # `last` is 2**31 - 2, so the lowest is -2**31
    if row.unit == "Hz":
        numbers = [0, 1, 9_999]  # the library takes 10 000 or more as steps of 0.001 Hz
    for number in numbers:
        raw[name] = number
        value = getattr(read_block(class_name, unit_with(rows, raw)), name)
        assert value == pytest.approx(row.value(number), rel=1e-12)
        # A value with decimals has at most three.
        assert isinstance(value, int) or round(value, 3) == value
    raw[name] = not_available(row)
    assert getattr(read_block(class_name, unit_with(rows, raw)), name) is None
    if is_signed(row):
        # All ones are -1 in a signed number, not "not available".
        raw[name] = (1 << 32) - 1
        value = getattr(read_block(class_name, unit_with(rows, raw)), name)
        assert value == pytest.approx(row.value(-1))


@pytest.mark.parametrize("class_name", ["Measurements", "MainMeasurements"])
@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("hertz", [45, 49.98, 50, 60, 65])
def test_frequency_has_the_scale_of_each_table(
    hertz: float, edition: str, class_name: str
) -> None:
    rows = rows_of(class_name, edition)
    raw = {
        **raw_numbers(rows),
        "frequency": round(hertz * rows["frequency"].raw_per_unit),
    }
    assert read_block(class_name, unit_with(rows, raw)).values["frequency"] == hertz


def test_each_number_of_rollovers_belongs_to_its_counter() -> None:
    rows = rows_of("Overflows")
    raw = {name: number for number, name in enumerate(rows, 1)}
    block = read_block("Overflows", unit_with(rows, raw))
    assert isinstance(block, registers.Overflows)
    counters = {symbol: name for name, symbol in (ENERGIES | TARIFFS).items()}
    assert block.by_counter == {
        counters[row.symbol.removeprefix("overflows ")]: raw[name]
        for name, row in rows.items()
    }


# The register address of the block. Each counter is a number of kWh, and a residual of
# less than 1 kWh in steps of 0.1 Wh.
PARTIAL_TARIFFS = 32768


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("edition", [E2X, E1X])
def test_partial_tariff_counters_match_the_table(edition: str, *, split: bool) -> None:
    rows = block_of(edition, PARTIAL_TARIFFS)
    unit = unit_with(rows, dict.fromkeys(rows, 12_345))
    for number, kwh, residual in ((1, 70_000, 9_999), (2, 2**32 - 2, 0)):
        for symbol, raw in (("partial", kwh), ("partial residual", residual)):
            row = rows[f"{symbol} Ea+ T{number}"]
            unit.holding |= dict(enumerate(row.raw_words(raw), row.address))
    block = registers.PartialTariffs(unit, split=split)
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    first, last = rows["partial Ea+ T1"], rows["partial residual Ea+ T2"]
    assert [(event.address, event.count) for event in unit.read_events] == [
        (first.address, last.address + last.words - first.address)
    ]
    assert registers.PartialTariffs.register_ranges == (
        (first.block, first.block_end - 1),
    )
    assert block.values == {
        # The residual of 9999 * 0.1 Wh is rounded down to 0.99 kWh.
        "partial_tariff_1_energy": 70_000.99,
        "partial_tariff_2_energy": 2**32 - 2,
    }


# The high and the low word of the counter in kWh, and the residual in 0.1 Wh.
@pytest.mark.parametrize(
    ("words", "kwh"),
    [
        ((0, 0, 0), 0),
        ((0, 0, 99), 0),
        ((0, 0, 100), 0.01),
        ((0, 1, 1234), 1.12),
        ((1, 0, 9_999), 65_536.99),
        ((0, 5, 10_000), 5),  # a residual of 1 kWh or more is not available
        ((0, 5, 0xFFFF), 5),
        ((0xFFFF, 0xFFFF, 0xFFFF), None),
    ],
)
def test_residual_is_added_to_the_partial_tariff_counter(
    words: Sequence[int], kwh: float | None
) -> None:
    rows = block_of(E1X, PARTIAL_TARIFFS)
    unit = unit_with(rows, dict.fromkeys(rows, 0))
    unit.holding |= dict(enumerate(words, PARTIAL_TARIFFS))
    block = registers.PartialTariffs(unit)
    with asyncio.Runner() as runner:
        runner.run(block.async_update())
    assert block.partial_tariff_1_energy == kwh


TEXTS = ("vendor_name", "product_name", "extended_name")
# The written characters, and the text that the library shows: printable ASCII
# characters, without spaces at the ends.
CHARACTERS = [
    ("A", "A"),
    ("Countis E33", "Countis E33"),
    ("0123456789ABCDEF", "0123456789ABCDEF"),
    ("  padded  ", "padded"),
    ("two  spaces", "two  spaces"),
    ("\0end", "end"),
    ("\x1f!~\x7f", "!~"),
    ("\x80\xff", ""),
    ("", ""),
]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("written", "shown"), CHARACTERS)
def test_text_has_two_characters_in_each_register(
    written: str, shown: str, name: str
) -> None:
    rows = rows_of("Identity")
    row = rows[name]
    assert row.type == "STRING_NORM"
    unit = unit_with(rows, raw_numbers(rows))
    content = written.encode("latin-1").ljust(2 * row.words, b"\0")
    words = [
        content[each] << 8 | content[each + 1] for each in range(0, len(content), 2)
    ]
    unit.holding |= dict(enumerate(words, row.address))
    block = read_block("Identity", unit)
    assert getattr(block, name) == shown
    # In the other texts, `unit_with` writes "A" into each register.
    others = {each: getattr(block, each) for each in TEXTS if each != name}
    assert set(others.values()) == {"A" * rows[name].words}


@pytest.mark.parametrize(
    ("written", "shown"),
    [("SOCO", "SOCO"), (" A~ ", "A~"), ("A B\0", "A B"), ("\x1fS\x7f\xff", "S")],
)
def test_signature_has_one_character_in_each_register(written: str, shown: str) -> None:
    rows = rows_of("Identity")
    row = rows["signature"]
    assert (row.type, row.words) == ("STRING_16", 4)
    unit = unit_with(rows, raw_numbers(rows))
    unit.holding |= dict(enumerate(map(ord, written), row.address))
    block = read_block("Identity", unit)
    assert isinstance(block, registers.Identity)
    assert block.signature == shown


def test_serial_number_registers_match_the_table() -> None:
    rows = block_of(E3X_E4X, 50000)
    # The library also takes "code" (50013 to 50016) as a part of the serial number.
    serial = {
        row.address + word
        for symbol, row in rows.items()
        if symbol.startswith("serial") or symbol == "code"
        for word in range(row.words)
    }
    assert set(registers.SERIAL_NUMBER_REGISTERS) == serial


def test_secondary_currents_match_the_table() -> None:
    codes = row_of(E3X_E4X, "CT secondary").codes
    assert codes == {f"{each} A": each for each in registers.SECONDARY_CURRENTS}


# -- writes ---------------------------------------------------------------------------


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    meter.true_time = virtual_clock
    return MemoryBus({1: meter})


type Command = Callable[[Meter], Coroutine[Any, Any, None]]


def ignore(_: object) -> None:
    """Ignore a reading that a command publishes."""


async def async_written_registers(
    memory_bus: MemoryBus, command: Command
) -> list[tuple[int, Row, int]]:
    """Return function code, row and value of each register that a command writes."""
    meter = await async_meter(memory_bus)
    for name in ("measurements", "energies", "tariffs"):
        await meter.async_read(name)
    memory_bus.requests.clear()
    with suppress(CommandError):  # if the test refuses the write
        await command(meter)
    edition = {1: E1X, 2: E2X}.get(meter.profile.family or 3, E3X_E4X)
    rows = {row.address: row for row in table(edition)}
    return [
        (request.function, rows[request.address + offset], value)
        for request in memory_bus.requests
        if not isinstance(request.content, int)  # not a read
        for offset, value in enumerate(request.content)
    ]


def refuse_writes(request: Request) -> Fault:
    """Return an exception in place of the response to a write."""
    return exception(4) if request.function == WRITE else NO_FAULT


def bits(row: Row, *meanings: str) -> int:
    """Return the value in which only the bits of some meanings are set."""
    return sum(row.codes[each] for each in meanings)


PARTIAL_BITS = ("Ea+", "Er+", "Ea-")


@pytest.mark.parametrize(
    ("model", "edition"),
    [("Countis E33", E3X_E4X), ("Countis E23", E2X), ("Countis E14", E1X)],
)
async def test_partial_counters_are_reset_by_their_bits(
    memory_bus: MemoryBus, meter: SimulatedMeter, model: str, edition: str
) -> None:
    meter.model = model
    row = row_of(edition, "reset values")
    written = await async_written_registers(
        memory_bus, lambda meter: async_reset_partial_counters(meter, ignore)
    )
    assert written == [(WRITE, row, bits(row, *PARTIAL_BITS))]
    assert "write" in row.access


@pytest.mark.parametrize(
    ("model", "edition"), [("Countis E23", E2X), ("Countis E14", E1X)]
)
async def test_e1x_and_e2x_that_refuse_a_reset_get_a_write_to_reset_partial(
    memory_bus: MemoryBus, meter: SimulatedMeter, model: str, edition: str
) -> None:
    meter.model = model
    memory_bus.default_fault = refuse_writes
    row = row_of(edition, "reset partial")
    written = await async_written_registers(
        memory_bus, lambda meter: async_reset_partial_counters(meter, ignore)
    )
    # `written[0]` is the write to the register "reset values".
    assert written[1:] == [(WRITE, row, bits(row, "partial"))]
    assert "write" in row.access


@pytest.mark.parametrize("model", ["Countis E33", "Countis E34", "Countis E44"])
async def test_e3x_and_e4x_that_refuse_a_reset_get_no_other_write(
    memory_bus: MemoryBus, meter: SimulatedMeter, model: str
) -> None:
    meter.model = model
    memory_bus.default_fault = refuse_writes
    row = row_of(E3X_E4X, "reset values")
    written = await async_written_registers(
        memory_bus, lambda meter: async_reset_partial_counters(meter, ignore)
    )
    assert [each for _, each, _ in written] == [row]
    assert all(each.symbol != "reset partial" for each in table(E3X_E4X))


async def test_tariff_counters_are_reset_by_their_bits(memory_bus: MemoryBus) -> None:
    row = row_of(E3X_E4X, "reset tariffs")
    written = await async_written_registers(
        memory_bus, lambda meter: async_reset_tariff_counters(meter, ignore)
    )
    assert written == [(WRITE, row, bits(row, "T1", "T2", "T3", "T4"))]
    assert "write" in row.access


@pytest.mark.parametrize("tariff", [1, 2, 3, 4])
async def test_tariff_is_set_in_the_register_of_the_table(
    memory_bus: MemoryBus, tariff: int
) -> None:
    row = row_of(E3X_E4X, "set tariff")
    written = await async_written_registers(
        memory_bus, lambda meter: async_set_tariff(meter, ignore, tariff=tariff)
    )
    assert written == [(WRITE, row, tariff)]
    assert "write" in row.access


async def test_clock_is_set_by_one_request_in_the_order_of_the_table(
    memory_bus: MemoryBus,
) -> None:
    written = await async_written_registers(
        memory_bus, lambda meter: async_set_clock(meter, ignore)
    )
    rows = [row for _, row, _ in written]
    assert [row.symbol for row in rows] == [
        *("day", "month", "year", "hour", "minute", "second")
    ]
    assert {function for function, _, _ in written} == {WRITE_SEVERAL}
    assert len(memory_bus.writes) == 1
    assert all("write" in row.access for row in rows)
    day, month, year, hour, minute, second = (value for _, _, value in written)
    set_to = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    assert abs(set_to.timestamp() - virtual_clock()) < 2  # s


# -- the load curve -------------------------------------------------------------------

HEADER, RECORD = 61456, 61462  # register addresses
FULL_PAGE = 29  # records


def load_curve_page(count: int, record: Mapping[str, int]) -> list[int]:
    """Return the words of a page with `count` copies of a record, 600 s apart."""
    header = block_of(E3X_E4X, HEADER)
    fields = block_of(E3X_E4X, RECORD)
    record_words = fields["time"].block_words
    end = RECORD + FULL_PAGE * record_words
    words = dict.fromkeys(range(HEADER, end), HIGHEST_WORD)
    content = {
        "records": count,
        "record words": record_words,
        "period": 60,  # s; the library uses this only if there is a single record
        "physical unit": header["physical unit"].codes["kW"],
        "numerator": 3,
        "denominator": 2,
    }
    for symbol, raw in content.items():
        words |= dict(enumerate(header[symbol].raw_words(raw), header[symbol].address))
    for index in range(count):
        for symbol, raw in record.items():
            row = fields[symbol]
            address = row.address + index * record_words
            value = raw + 600 * index if symbol == "time" else raw
            words |= dict(enumerate(row.raw_words(value), address))
    return list(words.values())


@pytest.mark.parametrize("incomplete", [False, True])
async def test_load_curve_is_read_from_the_registers_of_the_table(
    memory_bus: MemoryBus, *, incomplete: bool
) -> None:
    command = row_of(E3X_E4X, "load curve command")
    codes = block_of(E3X_E4X, RECORD)["incomplete"].codes
    record = {
        "time": 3600,  # s since 2000-01-01
        "incomplete": codes["incomplete" if incomplete else "full"],
        "value": 100,
    }
    pages = [load_curve_page(1, record)]
    if not incomplete:
        # The record of the last page is also on the full page, and counts once.
        pages.insert(0, load_curve_page(FULL_PAGE, record))
    selected = -1  # the page to which the read pointer points

    def respond(request: Request) -> Fault:
        nonlocal selected
        if request.address == command.address:
            (code,) = cast(tuple[int], request.content)
            first = code == command.codes["first"]
            assert first or code == command.codes["next"]
            selected = 0 if first else selected + 1
        page = pages[selected]
        return Fault(lambda words: page if request.address == HEADER else words)

    meter = await async_meter(memory_bus)
    memory_bus.default_fault = respond
    memory_bus.requests.clear()
    curve = await async_read_load_curve(meter)
    assert len(curve.records) == (1 if incomplete else FULL_PAGE)
    assert curve.period == timedelta(seconds=60 if incomplete else 600)
    for index, found in enumerate(curve.records):
        assert found.time == datetime(2000, 1, 1, 1) + timedelta(minutes=10 * index)  # noqa: DTZ001
        assert found.watts == 100 * 1000 * 3 / 2  # 100 kW * numerator / denominator
        assert found.is_complete is not incomplete
    requests = [
        (request.function, request.address, request.content)
        for request in memory_bus.requests
        if request.address >= command.address
    ]
    read = (READ, HEADER, RECORD + 4 * FULL_PAGE - HEADER)  # 4 words in each record
    first, following = (
        (WRITE, command.address, (command.codes[each],)) for each in ("first", "next")
    )
    assert requests == [first, read, following, read][: 2 * len(pages)]
