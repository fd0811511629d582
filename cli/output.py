"""The output of a command: tables for people, JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import json
import os
import sys
from typing import Any, NamedTuple, NoReturn, override

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from .exit_codes import Exit
from .failures import Failure

# Characters in a line of a pipe or a file. Tables are narrower, so no line is wrapped.
PIPE_WIDTH = 1000
BAR_WIDTH = 16  # characters; the bar and the text beside it fit into 80 characters
PERCENT_BETWEEN_LINES = 10  # progress from one line to the next in a pipe or a file


class _Console(Console):
    """A console that ends the program if the reader of a pipe has closed the pipe."""

    def __init__(self, *, stderr: bool = False) -> None:
        is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
        super().__init__(
            stderr=stderr,
            highlight=False,
            markup=False,
            emoji=False,
            width=None if is_terminal else PIPE_WIDTH,
        )

    @override
    def on_broken_pipe(self) -> NoReturn:
        """End without an error: a reader such as `head` needs no more output."""
        # Python flushes standard output again at exit. On the null device, the flush
        # cannot fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)


class Column(NamedTuple):
    """A column of a table whose rows are printed one by one."""

    heading: str
    width: int = 0
    """Lowest width in characters; a longer heading widens the column."""
    is_number: bool = False


class Output:
    """Prints the results of a command on standard output, errors on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        """Initialize the output as tables or as JSON."""
        self.as_json = as_json
        self.console = _Console()
        self.errors = _Console(stderr=True)
        self._bar_console: Console | None = None
        """The terminal on which a bar is shown at present, or None."""

    def show(self, *parts: RenderableType) -> None:
        """Print tables or texts for people. With --json, print nothing."""
        if not self.as_json:
            for part in parts:
                self.console.print(part)

    def write_json(self, content: Mapping[str, Any]) -> None:
        """With --json, print an object on one line. Without --json, print nothing."""
        if self.as_json:
            self.console.print(json.dumps(content), soft_wrap=True)

    def fail(self, failure: Failure) -> None:
        """Print a failure as one sentence on standard error."""
        self._print_error(str(failure), "red")

    def note(self, text: str) -> None:
        """Print on standard error a sentence that is not a `Failure`."""
        self._print_error(text, "yellow")

    def _print_error(self, text: str, style: str) -> None:
        # If standard error and the bar are on the same terminal, only the console of
        # the bar can print above the bar.
        is_terminal = self.errors.is_terminal
        console = (is_terminal and self._bar_console) or self.errors
        console.print(Text(text, style=style))

    def new_table(self, *headings: str, numbers: Sequence[int] = ()) -> Table:
        """Return an empty table. `numbers`: indices of the columns to align right."""
        is_terminal = self.console.is_terminal
        table = Table(
            box=box.SIMPLE_HEAD if is_terminal else None,
            pad_edge=False,
            show_edge=False,
            header_style="bold",
        )
        for index, heading in enumerate(headings):
            table.add_column(
                heading,
                justify="right" if index in numbers else "left",
                no_wrap=not is_terminal,
            )
        return table

    @contextmanager
    def progress(self) -> Iterator[ProgressDisplay]:
        """Show the progress of a command while the context is open."""
        # Only the console of the bar can print rows above the bar. So if the rows go to
        # a terminal, the bar uses the console of the rows.
        rows_on_terminal = self.console.is_terminal and not self.as_json
        console = self.console if rows_on_terminal else self.errors
        display = ProgressDisplay(console)
        self._bar_console = console if console.is_terminal else None
        try:
            with display.bar:
                yield display
        finally:
            self._bar_console = None


class Rows:
    """A table that prints each row as soon as the row is added."""

    def __init__(self, output: Output, *columns: Column) -> None:
        """Initialize the table. The headings are printed before the first row."""
        self._output = output
        self._columns = columns
        self._has_heading = False

    def add(self, *cells: str, style: str = "") -> None:
        """Print a row."""
        if not self._has_heading:
            self._print([each.heading for each in self._columns], "bold")
        self._has_heading = True
        self._print(cells, style)

    def _print(self, cells: Sequence[str], style: str) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        for column in self._columns:
            row.add_column(
                min_width=max(column.width, len(column.heading)),
                justify="right" if column.is_number else "left",
                no_wrap=True,
            )
        row.add_row(*cells, style=style)
        self._output.show(row)


@dataclass
class ProgressDisplay:
    """The progress of a command: a bar on a terminal, or a line for each 10 %."""

    console: Console

    def __post_init__(self) -> None:
        """Initialize the bar without progress."""
        self.bar = Progress(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.description}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self.bar.add_task("", total=1)
        self._printed_step = -1  # last printed progress in steps of 10 %; -1 if none

    def show(self, part: float, text: str, seconds_left: float | None = None) -> None:
        """Show the part that is done (0 to 1), a text and the remaining time in s."""
        if seconds_left is not None:
            text = f"{text}, {duration(seconds_left)} left"
        self.bar.update(self._task, completed=part, description=text)
        done = int(100 * part)
        step = done // PERCENT_BETWEEN_LINES
        if not self.console.is_terminal and step != self._printed_step:
            self._printed_step = step
            self.console.print(f"{done:3} %  {text}", soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a duration in s as text in minutes and seconds."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def number(value: float | None, decimals: int = 0) -> str:
    """Return a value as text, or "-" if the value is not available."""
    return "-" if value is None else f"{value:.{decimals}f}"


def percent(part: float, decimals: int = 0) -> str:
    """Return a part, from 0 to 1, as text in percent."""
    return f"{100 * part:.{decimals}f} %"


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return values rounded to 3 decimals, which removes errors of binary fractions."""
    return {
        name: None if value is None else round(value, 3)
        for name, value in values.items()
    }
