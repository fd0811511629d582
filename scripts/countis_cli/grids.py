"""How the values of a meter are laid out for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .output import number, table

DECIMALS = {"V": 2, "A": 3, "Hz": 2, "1": 3, "kWh": 2, "kvarh": 2}
PHASES = ("l1", "l2", "l3")
PERIODS = ("today", "yesterday", "this week", "last week", "this month", "last month")

type Values = Mapping[str, float | None]
type Units = Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """A quantity, with the name of the value in each column, "" for none."""

    label: str
    names: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """Values that belong together."""

    columns: Sequence[str]
    rows: Sequence[Row]

    def lines(self, values: Values, units: Units) -> Iterator[list[str]]:
        """Return the rows of which there is something."""
        for row in self.rows:
            names = [name for name in row.names if name in values]
            if not names:
                continue
            unit = units.get(names[0], "")
            cells = [
                number(values[name], DECIMALS.get(unit, 0)) if name in values else ""
                for name in row.names
            ]
            yield [row.label, *cells, "" if unit == "1" else unit]

    def text(self, values: Values, units: Units) -> str:
        """Return the grid as a table, "" if there is nothing in it."""
        lines = list(self.lines(values, units))
        columns = [
            [head, *cells]
            for head, *cells in zip(["", *self.columns, ""], *lines, strict=True)
            if any(cells)
        ]
        rows = [list(row) for row in zip(*columns, strict=True) if any(row)]
        # Numbers to the right, what they are and their units to the left.
        has_units = any(line[-1] for line in lines)
        left = (0, len(columns) - 1) if has_units else (0,)
        return table(rows, left) if rows else ""


def _by_phase(label: str, quantity: str, *, total: bool = True) -> Row:
    names = [f"{quantity}_{phase}" for phase in PHASES]
    return Row(label, [quantity if total else "", *names, ""])


def _counter(label: str, quantity: str) -> Row:
    return Row(label, [quantity, f"partial_{quantity}"])


def _by_period(label: str, quantity: str) -> Row:
    return Row(label, [f"{quantity}_{each.replace(' ', '_')}" for each in PERIODS])


MEASURED = Grid(
    ["total", "L1", "L2", "L3", "N"],
    [
        _by_phase("Active power", "power"),
        _by_phase("Reactive power", "reactive_power"),
        _by_phase("Apparent power", "apparent_power"),
        _by_phase("Power factor", "power_factor"),
        _by_phase("Voltage", "voltage", total=False),
        Row("Current", ["", *(f"current_{at}" for at in PHASES), "current_neutral"]),
        Row("Frequency", ["frequency", "", "", "", ""]),
    ],
)
BETWEEN_PHASES = Grid(
    ["L1-L2", "L2-L3", "L3-L1"],
    [Row("Voltage", ["voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1"])],
)
COUNTERS = Grid(
    ["total", "partial"],
    [
        _counter("Consumed, Ea+", "energy_consumed"),
        _counter("Produced, Ea-", "energy_produced"),
        _counter("Reactive, Er+", "energy_reactive"),
    ],
)
TARIFFS = Grid(
    [""],
    [
        *(Row(f"Ea+ in tariff {n}", [f"tariff_{n}_energy"]) for n in range(1, 5)),
        Row("Tariff now", ["tariff"]),
        Row("Tariffs", ["tariff_count"]),
    ],
)
BY_PERIOD = Grid(
    PERIODS,
    [
        _by_period("Consumed", "energy_consumed"),
        _by_period("Produced", "energy_produced"),
    ],
)
OVERFLOWS = Grid(
    ["Ea+", "Ea-", "Er+", "tariff 1", "tariff 2", "tariff 3", "tariff 4"],
    [
        Row(
            "Began anew",
            [
                "overflows_consumed",
                "overflows_produced",
                "overflows_reactive",
                *(f"overflows_tariff_{n}" for n in range(1, 5)),
            ],
        )
    ],
)
DEVICE = Grid(
    [""],
    [
        Row("Clock ahead by", ["clock_offset"]),
        Row("Transformers' ratio", ["ct_ratio"]),
    ],
)
GRIDS = (
    MEASURED,
    BETWEEN_PHASES,
    COUNTERS,
    TARIFFS,
    BY_PERIOD,
    OVERFLOWS,
    DEVICE,
)
PLACED = {name for grid in GRIDS for row in grid.rows for name in row.names}


def text_of(values: Values, units: Units) -> str:
    """Return all values, laid out; those that have no place yet come last."""
    others = Grid([""], [Row(name, [name]) for name in values if name not in PLACED])
    texts = (grid.text(values, units) for grid in (*GRIDS, others))
    return "\n\n".join(text for text in texts if text)
