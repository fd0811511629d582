"""The report's tables, and the aims with their results."""

from collections.abc import Iterable, Sequence
import sys

# A time may be up to this multiple of its limit, because repeated measurements differ.
NO_WORSE = 1.02

AIMS: list[tuple[str, ...]] = []
"""The rows that `aim` has added to the table of aims."""


def verdict(*, met: bool) -> str:
    """Return the text that says whether an aim was met."""
    return "met" if met else "**missed**"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def paragraphs(*texts: str) -> str:
    """Return paragraphs of Markdown."""
    return "\n\n".join(texts)


def aim(measurement: str, before: str, aimed: str, now: str, *, met: bool) -> None:
    """Add a row to the table of aims (`aims_section`), and print it."""
    AIMS.append((measurement, before, aimed, now, verdict(met=met)))
    print("  " + " | ".join(AIMS[-1]), file=sys.stderr, flush=True)


def aims_section() -> list[str]:
    """Return the paragraphs with the table of aims, or [] without an aim."""
    if not AIMS:
        return []
    return [
        "## Aims",
        (
            "*Before* is an earlier version of the integration, with one config entry"
            " for each meter. *Now* is the version with one config entry for each bus."
            " A semicolon separates two measurements."
        ),
        (
            "- **Restart:** the time from the first request on the bus until Home"
            " Assistant has the power of all meters.\n"
            "- **Age** of a value: the time since the meter received the request for"
            " this value.\n"
            "- **Poll:** one read of all values that are read each second."
        ),
        table(("measurement", "before", "aim", "now", "result"), AIMS),
    ]
