"""The screen of `watch`: all meters, and the power and details of one of them."""

from collections.abc import Iterable
import time
from typing import ClassVar, override

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.events import Resize
from textual.widgets import DataTable, Static
from textual_plotext import PlotextPlot

from .monitor import Monitor, Watched
from .output import number, percent
from .plots import ticks_of
from .tables import DECIMALS, PHASES

PERIOD = 1.0  # s between two updates; a meter measures once in this time
WIDE = 120  # characters; a terminal of at least this width shows `WIDE_COLUMNS`

# Each column: its heading, its quantity, and the unit that decides its decimals.
COLUMNS = (
    ("W", "power", "W"),
    ("L1 W", "power_l1", "W"),
    ("L2 W", "power_l2", "W"),
    ("L3 W", "power_l3", "W"),
    ("Ea+ kWh", "energy_consumed", "kWh"),
    ("Ea- kWh", "energy_produced", "kWh"),
)
WIDE_COLUMNS = (
    *COLUMNS,
    ("partial Ea+", "partial_energy_consumed", "kWh"),
    ("L1 V", "voltage_l1", "V"),
    ("L2 V", "voltage_l2", "V"),
    ("L3 V", "voltage_l3", "V"),
    ("L1 A", "current_l1", "A"),
    ("L2 A", "current_l2", "A"),
    ("L3 A", "current_l3", "A"),
)
COLOURS = ("red", "green", "blue")
# Each line below the phases: its label, its quantity and its unit.
OTHERS = (
    ("power", "power", "W"),
    ("frequency", "frequency", "Hz"),
    ("Ea+", "energy_consumed", "kWh"),
    ("Ea-", "energy_produced", "kWh"),
    ("Er+", "energy_reactive", "kvarh"),
    ("Ea+ partial", "partial_energy_consumed", "kWh"),
    ("Ea- partial", "partial_energy_produced", "kWh"),
    ("Er+ partial", "partial_energy_reactive", "kvarh"),
    *((f"Ea+ tariff {n}", f"tariff_{n}_energy", "kWh") for n in range(1, 5)),
)
# Length of the time axis at the start. Later, the axis grows with the points. If the
# axis had its full length from the start, the plot would be almost empty at first.
SHORTEST_MINUTES = 1
# Share of requests without an error; a lower share is yellow. Our choice.
POOR_QUALITY = 0.98


class WatchApp(App[None]):
    """The live screen of the meters of a bus."""

    CSS = """
    #meters { height: auto; max-height: 40%; }
    #bus, #keys { height: 1; padding: 0 1; background: $panel; }
    #plot { width: 1fr; }
    #details { width: 38; padding: 0 1; border-left: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q,ctrl+c", "quit", "Quit")]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, monitor: Monitor, bus_name: str, minutes: int) -> None:
        """Initialize the screen. The plot shows the power of the last `minutes`."""
        super().__init__()
        self._monitor = monitor
        self._bus_name = bus_name
        self._minutes = minutes
        self._selected = 0
        self._headings: list[str] = []
        self._width = 0

    @override
    def compose(self) -> ComposeResult:
        """Arrange the table above the plot and the details."""
        yield Static(id="bus")
        yield DataTable[Text](id="meters", cursor_type="row")
        with Horizontal():
            yield PlotextPlot(id="plot")
            with VerticalScroll(id="details", can_focus=False):
                yield Static(id="values")
        yield Static("q: quit   ↑ ↓: select a meter", id="keys")

    def on_mount(self) -> None:
        """Update the screen each second."""
        self._update()
        self.set_interval(PERIOD, self._update)

    def on_resize(self, event: Resize) -> None:
        """Choose the columns for the new width."""
        self._width = event.size.width
        self._update()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the meter that the user selects in the table."""
        self._selected = max(event.cursor_row, 0)
        self._update_details()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#meters", DataTable)

    def _update(self) -> None:
        self._update_bus()
        self._update_table()
        self._update_details()

    def _update_bus(self) -> None:
        monitor = self._monitor
        online = sum(each.online for each in monitor.meters)
        self.query_one("#bus", Static).update(
            f"{self._bus_name}   {online} of {len(monitor.meters)} online"
            f"   bus {percent(monitor.bus_used)} used"
            f"   delay {1000 * monitor.delay:.0f} ms"
        )

    def _update_table(self) -> None:
        """Fill the table, with more columns on a wide terminal."""
        columns = WIDE_COLUMNS if self._width >= WIDE else COLUMNS
        headings = ["ID", *(heading for heading, _, _ in columns), "Valid"]
        rows = [self._row(each, columns) for each in self._monitor.meters]
        table = self._table
        if headings != self._headings:
            self._headings = headings
            table.clear(columns=True)
            for heading in headings:
                table.add_column(Text(heading, justify="right"), key=heading)
            for watched, row in zip(self._monitor.meters, rows, strict=True):
                table.add_row(*row, key=str(watched.unit_id))
            table.move_cursor(row=self._selected)
        for watched, row in zip(self._monitor.meters, rows, strict=True):
            for heading, cell in zip(headings, row, strict=True):
                table.update_cell(
                    str(watched.unit_id), heading, cell, update_width=True
                )

    def _row(
        self, watched: Watched, columns: Iterable[tuple[str, str, str]]
    ) -> list[Text]:
        cells = [Text(str(watched.unit_id), "bold", justify="right")]
        for _, quantity, unit in columns:
            is_produced = unit == "W" and (watched.values.get(quantity) or 0) < 0
            style = "cyan" if is_produced else ""
            cells.append(
                Text(
                    _value(watched, quantity, unit),
                    style if watched.online else "dim",
                    justify="right",
                )
            )
        return [*cells, self._quality(watched)]

    def _quality(self, watched: Watched) -> Text:
        """Return "starting", "offline" or the share of requests without an error."""
        if not watched.online:
            is_new = watched.failure is None
            return Text(
                "starting" if is_new else "offline", "yellow" if is_new else "red"
            )
        traffic = self._monitor.traffic(watched)
        valid = 1 - traffic.errors / max(traffic.requests, 1)
        return Text(
            percent(valid, 1),
            "yellow" if valid < POOR_QUALITY else "green",
            justify="right",
        )

    def _update_details(self) -> None:
        watched = self._monitor.meters[self._selected]
        self._plot(watched)
        parts: list[Text | Table] = [_heading(watched)]
        if watched.failure is not None:
            parts.append(Text(str(watched.failure), "red"))
        if watched.values:
            parts += [_phases(watched), _others(watched)]
        traffic = self._monitor.traffic(watched)
        parts.append(
            Text(
                f"{traffic.requests} requests, {traffic.retries} retries,"
                f" {traffic.timeouts} timeouts, {traffic.damaged} damaged,"
                f" {traffic.refused} refused",
                "dim",
            )
        )
        self.query_one("#values", Static).update(Group(*parts))

    def _plot(self, watched: Watched) -> None:
        widget = self.query_one("#plot", PlotextPlot)
        plot = widget.plt
        plot.clear_data()
        plot.title(f"Power by phase in W, unit ID {watched.unit_id}")
        plot.xlabel("minutes")
        now = time.time()
        seconds = now - watched.powers[0].at if watched.powers else 0
        plot.xlim(-min(max(seconds / 60, SHORTEST_MINUTES), self._minutes), 0)
        ticks = ticks_of(
            each for power in watched.powers for each in power.watts if each is not None
        )
        plot.yticks(ticks, [f"{tick:.0f}" for tick in ticks])
        if ticks:
            plot.ylim(ticks[0], ticks[-1])
        for index, phase in enumerate(PHASES):
            points = [
                ((power.at - now) / 60, power.watts[index])
                for power in watched.powers
                if power.watts[index] is not None
            ]
            if points:
                plot.plot(
                    *zip(*points, strict=True),
                    label=phase.upper(),
                    color=COLOURS[index],
                    marker="braille",
                )
        widget.refresh()


def _value(watched: Watched, quantity: str, unit: str) -> str:
    return number(watched.values.get(quantity), DECIMALS.get(unit, 0))


def _heading(watched: Watched) -> Text:
    """Return the unit ID, the model and the serial number of a meter.

    Until the meter is found, return only the unit ID.
    """
    parts = [f"Unit ID {watched.unit_id}"]
    if watched.meter is not None:
        profile = watched.meter.profile
        parts += [profile.model, profile.serial_number or ""]
    return Text("  ".join(parts), "bold")


def _phases(watched: Watched) -> Table:
    """Return the measurements of the three phases."""
    table = Table.grid(padding=(0, 1), expand=True)
    for justify in ("left", "right", "right", "right", "left"):
        table.add_column(justify=justify)
    table.add_row(
        "", *(Text(f"L{n}", colour) for n, colour in enumerate(COLOURS, 1)), ""
    )
    for quantity, unit in (
        ("voltage", "V"),
        ("current", "A"),
        ("power", "W"),
        ("reactive_power", "var"),
        ("power_factor", "1"),
    ):
        cells = [_value(watched, f"{quantity}_{phase}", unit) for phase in PHASES]
        label = quantity.replace("_", " ").replace("reactive power", "reactive")
        table.add_row(
            label.replace("power factor", "factor"), *cells, "" if unit == "1" else unit
        )
    return table


def _others(watched: Watched) -> Table:
    """Return the total power, the frequency, the counters and the present tariff."""
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for label, quantity, unit in OTHERS:
        if quantity in watched.values:
            table.add_row(label, _value(watched, quantity, unit), unit)
    if "tariff" in watched.values:
        table.add_row("tariff", _value(watched, "tariff", ""), "")
    return table
