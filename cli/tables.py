"""The tables of the values of a meter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from socomec_countis import Values

from .output import Output, number

# Decimals by unit. "1" is the unit of a power factor. Other units have no decimals.
DECIMALS = {"V": 2, "A": 3, "Hz": 2, "1": 3, "kWh": 2, "kvarh": 2}
PHASES = ("l1", "l2", "l3")
PERIODS = ("today", "yesterday", "this week", "last week", "this month", "last month")

type Units = Mapping[str, str]
"""The unit of each quantity that has a unit."""


@dataclass(frozen=True)
class Line:
    """A line of a table."""

    label: str
    quantities: Sequence[str]
    """The quantity in each column, "" for an empty cell."""


@dataclass(frozen=True)
class Layout:
    """The columns and lines of a table."""

    columns: Sequence[str]
    lines: Sequence[Line]

    def table(self, output: Output, values: Values, units: Units) -> Table | None:
        """Return a table without empty lines and columns, None if no line remains."""
        lines = [
            (line.label, cells, units.get(line.quantities[0], ""))
            for line in self.lines
            if any(cells := [_cell(values, units, each) for each in line.quantities])
        ]
        used = [
            index
            for index in range(len(self.columns))
            if any(cells[index] for _, cells, _ in lines)
        ]
        if not lines:
            return None
        headings = [self.columns[index] for index in used]
        table = output.new_table("", *headings, "", numbers=range(1, len(used) + 1))
        table.show_header = any(headings)
        for label, cells, unit in lines:
            shown = [cells[index] for index in used]
            table.add_row(label, *shown, Text("" if unit == "1" else unit, "dim"))
        return table


def _cell(values: Values, units: Units, quantity: str) -> Text:
    if quantity not in values:
        return Text()
    value = values[quantity]
    text = number(value, DECIMALS.get(units.get(quantity, ""), 0))
    if value is None:
        return Text(text, "dim")
    is_produced = value < 0 and units.get(quantity) == "W"
    return Text(text, "cyan" if is_produced else "")


def _by_phase(label: str, quantity: str, *, total: bool = True) -> Line:
    """Return a line of `MEASURED` for a quantity without a value of the neutral."""
    names = [f"{quantity}_{phase}" for phase in PHASES]
    return Line(label, [*names, "", quantity if total else ""])


def _counter(label: str, kind: str) -> Line:
    energy = f"energy_{kind}"
    return Line(label, [energy, f"partial_{energy}", f"overflows_{kind}"])


def _period(period: str) -> Line:
    suffix = period.replace(" ", "_")
    return Line(
        period.capitalize(),
        [f"energy_consumed_{suffix}", f"energy_produced_{suffix}"],
    )


MEASURED = Layout(
    ["L1", "L2", "L3", "N", "total"],
    [
        _by_phase("Active power", "power"),
        _by_phase("Reactive power", "reactive_power"),
        _by_phase("Apparent power", "apparent_power"),
        _by_phase("Power factor", "power_factor"),
        _by_phase("Voltage", "voltage", total=False),
        Line(
            "Current",
            [*(f"current_{phase}" for phase in PHASES), "current_neutral", ""],
        ),
    ],
)
BETWEEN_PHASES = Layout(
    ["L1-L2", "L2-L3", "L3-L1"],
    [Line("Voltage", ["voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1"])],
)
COUNTERS = Layout(
    ["total", "partial", "rollovers"],
    [
        _counter("Consumed, Ea+", "consumed"),
        _counter("Produced, Ea-", "produced"),
        _counter("Reactive, Er+", "reactive"),
        *(
            Line(
                f"Ea+ in tariff {n}",
                [
                    f"tariff_{n}_energy",
                    f"partial_tariff_{n}_energy",
                    f"overflows_tariff_{n}",
                ],
            )
            for n in range(1, 5)
        ),
    ],
)
BY_PERIOD = Layout(["consumed", "produced"], [_period(each) for each in PERIODS])
DEVICE = Layout(
    [""],
    [
        Line("Frequency", ["frequency"]),
        Line("Present tariff", ["tariff"]),
        Line("Number of tariffs", ["tariff_count"]),
        Line("Clock is ahead by", ["clock_offset"]),
        Line("Ratio of the current transformers", ["ct_ratio"]),
    ],
)
LAYOUTS = (MEASURED, BETWEEN_PHASES, COUNTERS, BY_PERIOD, DEVICE)
LAID_OUT = {
    quantity
    for layout in LAYOUTS
    for line in layout.lines
    for quantity in line.quantities
}


def tables_of(output: Output, values: Values, units: Units) -> Iterator[Table]:
    """Yield the tables of all values. Values without a layout are in the last table."""
    others = [Line(name, [name]) for name in values if name not in LAID_OUT]
    for layout in (*LAYOUTS, Layout([""], others)):
        if (table := layout.table(output, values, units)) is not None:
            yield table
