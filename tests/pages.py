"""The pages of the documentation, and the parts of a page."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
import re

from .files import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    path for folder in (ROOT, DOCS, ROOT / "cli") for path in folder.glob("*.md")
)

type Row = dict[str, str]


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())


def unwrapped(page: Path) -> str:
    """Return the text of a page with one space in place of each run of whitespace."""
    return re.sub(r"\s+", " ", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub creates from the headings of a page."""
    uses: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        # GitHub adds a number to the anchor of a repeated heading.
        found.add(f"{anchor}-{uses[anchor]}" if uses[anchor] else anchor)
        uses[anchor] += 1
    return found


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links and pictures of a page."""
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def table_rows(text: str) -> Iterator[Row]:
    """Yield each row of each table: the cells by column heading."""
    headings: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            headings = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not headings:
            headings = cells
        elif not set(line) <= set("|-: "):  # not the line below the headings
            yield dict(zip(headings, cells, strict=True))
