"""What a command says: tables for people, JSON for programs, problems for both."""

from collections.abc import Iterable, Mapping, Sequence
import json
import os
import sys
from typing import Any

from .exits import Exit
from .problems import Problem

GAP = "  "


def table(rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Return rows as aligned columns; to the right, but for these."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        GAP.join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def number(value: float | None, decimals: int) -> str:
    """Return a value as it is shown; "-" is not available."""
    return "-" if value is None else f"{value:.{decimals}f}"


def rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return values without the digits that only their binary form has."""
    return {
        name: value if value is None else round(value, 3)
        for name, value in values.items()
    }


class Output:
    """Where the results go: text, or one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        """Take the form."""
        self.as_json = as_json

    def show(self, text: str, result: Mapping[str, Any]) -> None:
        """Print a result in the form that is wanted."""
        try:
            print(json.dumps(result) if self.as_json else text, flush=True)
        except BrokenPipeError:
            # Who reads it has seen enough, as `head` has. Python would complain
            # once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(Exit.OK)

    def tell(self, found: Problem) -> None:
        """Tell people of a problem."""
        print(found, file=sys.stderr, flush=True)

    def fail(self, found: Problem) -> None:
        """Tell of what kept the whole command from being done."""
        self.tell(found)
        if self.as_json:
            print(json.dumps({"error": found.as_json()}), flush=True)
