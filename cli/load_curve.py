"""The command `load-curve`: the mean power of each period that a meter stores."""

from collections.abc import Sequence
import csv
from pathlib import Path
from typing import Any

from rich.text import Text

from socomec_countis import Meter
from socomec_countis.load_curve import LoadCurve, LoadRecord, async_read_load_curve

from .exit_codes import Exit
from .meters import async_for_each, heading, identity_of
from .options import Selection
from .output import number
from .plots import ticks_of

TIME = "%Y-%m-%d %H:%M"
CSV_COLUMNS = ("unit_id", "time", "watts", "complete")
PLOT_HEIGHT = 16  # lines; leaves room for other output on a terminal of 24 lines


async def async_load_curve(selection: Selection, path: Path | None) -> Exit:
    """Print or plot the load curve of each meter. With `path`, write a CSV file.

    If no load curve was read, the file is not changed.
    """
    output = selection.output
    curves: dict[int, LoadCurve] = {}

    async def read(meter: Meter) -> Exit:
        curve = await _async_read(selection, meter)
        output.write_json(_as_json(meter, curve))
        curves[meter.unit_id] = curve
        # Without a terminal, `_show` would print a table that repeats the CSV file.
        if path is None or output.console.is_terminal:
            _show(selection, meter, curve, shows_hint=path is None)
        return Exit.DONE

    exit_code = await async_for_each(selection, read)
    if path is not None and curves:
        rows = [
            (unit_id, record)
            for unit_id, curve in curves.items()
            for record in curve.records
        ]
        try:
            _write_csv(path, rows)
        except OSError as err:
            output.note(f"{path} cannot be written ({err.strerror}): check --csv.")
            return Exit.FAILED
        output.show(f"{len(rows)} records are in {path}.")
    elif path is not None:
        output.note(f"{path} was not written, because no load curve was read.")
    return exit_code


async def _async_read(selection: Selection, meter: Meter) -> LoadCurve:
    with selection.output.progress() as display:
        # The meter does not report how many records it stores, so the bar stays at 0 %.
        return await async_read_load_curve(
            meter,
            lambda count: display.show(0, f"unit ID {meter.unit_id}, {count} records"),
        )


def _show(
    selection: Selection, meter: Meter, curve: LoadCurve, *, shows_hint: bool
) -> None:
    """Print the records: on a terminal as a plot, which is shorter, else as a table.

    With `shows_hint`, a line below the plot says how to get each record as text.
    """
    output = selection.output
    if output.as_json:
        return
    minutes = curve.period.total_seconds() / 60
    records = curve.records
    output.show(
        Text(heading(meter), "bold"), f"{len(records)} records of {minutes:g} min"
    )
    if output.console.is_terminal and records:
        output.show(Text.from_ansi(plot(records, output.console.width)))
        if shows_hint:
            output.show(
                "To see each record, use --csv FILE, or pipe the output to get a table."
            )
    elif records:
        table = output.new_table("Time", "Power", "", "Period", numbers=[1])
        for record in records:
            note = "" if record.is_complete else "incomplete"
            watts = number(record.watts)
            table.add_row(record.time.strftime(TIME), watts, Text("W", "dim"), note)
        output.show(table)


def plot(records: Sequence[LoadRecord], width: int) -> str:
    """Return a plot of the power, with colours as escape sequences."""
    import plotext  # noqa: PLC0415 (plotext takes 0.2 s to import)

    available = [record for record in records if record.watts is not None]
    plotext.clear_figure()
    plotext.date_form("Y-m-d H:M")
    plotext.plot_size(min(width, 160), PLOT_HEIGHT)  # 160 characters: our choice
    plotext.theme("clear")
    plotext.plot(
        [record.time.strftime(TIME) for record in available],
        [record.watts for record in available],
        marker="braille",
    )
    plotext.title("Mean power in W")
    ticks = ticks_of(record.watts for record in available if record.watts is not None)
    plotext.yticks(ticks, [f"{tick:.0f}" for tick in ticks])
    if ticks:
        plotext.ylim(ticks[0], ticks[-1])
    return str(plotext.build())


def _write_csv(path: Path, rows: Sequence[tuple[int, LoadRecord]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for unit_id, record in rows:
            watts = "" if record.watts is None else round(record.watts, 1)
            complete = int(record.is_complete)
            writer.writerow([unit_id, record.time.isoformat(), watts, complete])


def _as_json(meter: Meter, curve: LoadCurve) -> dict[str, Any]:
    return {
        **identity_of(meter),
        "period": round(curve.period.total_seconds()),
        "records": [
            {
                "time": record.time.isoformat(),
                "watts": record.watts,
                "complete": record.is_complete,
            }
            for record in curve.records
        ],
    }
