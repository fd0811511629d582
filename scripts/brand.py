"""Draws the pictures in custom_components/socomec_countis/brand, all of them.

The icon is the front of a three-phase meter in its simplest form: a display with
the numbers of the phases, and below it the phases as waves, a third of a period
apart. The logo adds the word that stands on the meters, in letters that
are drawn here. Neither is, or resembles, a trademark of the maker of the meters.

    .venv/bin/python scripts/brand.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
import math
from pathlib import Path

from PIL import Image, ImageDraw

BRAND = Path(__file__).parent.parent / "custom_components/socomec_countis/brand"
# Everything is measured in pixels of an icon of the normal size.
SIZE = 256
# Drawn larger and made smaller, edges are smooth.
OVERSAMPLING = 4

type Point = tuple[float, float]
type Stroke = list[Point]


@dataclass(frozen=True)
class Colours:
    """What is drawn on a light background, or on a dark one."""

    body: str
    display: str
    digits: str
    word: str
    phases: tuple[str, str, str]


LIGHT = Colours(
    "#17344f", "#d3ecd8", "#17344f", "#17344f", ("#ff6b5e", "#ffd23f", "#5fb4ff")
)
DARK = Colours(
    "#e4edf5", "#17344f", "#a8f0b8", "#e4edf5", ("#d8392b", "#e39a00", "#1c78d0")
)


def arc(centre: Point, radii: Point, start: float, end: float) -> Stroke:
    """Return a part of an ellipse; degrees go clockwise from the right."""
    angles = (math.radians(start + (end - start) * step / 48) for step in range(49))
    return [
        (centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle))
        for angle in angles
    ]


# In a box that is 1 high, from the top left.
DIGITS: dict[str, list[Stroke]] = {
    "1": [[(0.6, 0), (0.6, 1)]],
    "2": [[(0, 0), (0.6, 0), (0.6, 0.5), (0, 0.5), (0, 1), (0.6, 1)]],
    "3": [[(0, 0), (0.6, 0), (0.6, 1), (0, 1)], [(0.12, 0.5), (0.6, 0.5)]],
}
LETTERS: dict[str, list[Stroke]] = {
    "C": [arc((0.48, 0.5), (0.48, 0.5), -45, -315)],
    "O": [arc((0.5, 0.5), (0.5, 0.5), 0, 360)],
    "U": [[(0, 0), *arc((0.39, 0.61), (0.39, 0.39), 180, 0), (0.78, 0)]],
    "N": [[(0, 1), (0, 0), (0.78, 1), (0.78, 0)]],
    "T": [[(0, 0), (0.8, 0)], [(0.4, 0), (0.4, 1)]],
    "I": [[(0, 0), (0, 1)]],
    "S": [
        [
            *arc((0.35, 0.26), (0.33, 0.26), -30, -270),
            *arc((0.35, 0.76), (0.35, 0.24), -90, 150),
        ]
    ],
}


class Canvas:
    """A transparent picture to draw on in pixels of the normal size."""

    def __init__(self, width: float, scale: int) -> None:
        """Start with nothing."""
        self._factor = scale * OVERSAMPLING
        width = math.ceil(width * scale) * OVERSAMPLING
        self._image = Image.new("RGBA", (width, SIZE * self._factor))
        self._draw = ImageDraw.Draw(self._image)

    def box(self, start: Point, end: Point, radius: float, fill: str) -> None:
        """Draw a box with round corners."""
        left, top, right, bottom = (value * self._factor for value in (*start, *end))
        # The last pixel that is named is drawn, too.
        self._draw.rounded_rectangle(
            (left, top, right - 1, bottom - 1), radius * self._factor, fill
        )

    def stroke(self, points: Stroke, width: float, fill: str) -> None:
        """Draw a line with round ends and corners."""
        scaled = [(x * self._factor, y * self._factor) for x, y in points]
        radius = width * self._factor / 2
        self._draw.line(scaled, fill, round(2 * radius))
        for point in scaled:
            self._draw.circle(point, radius, fill)

    def glyph(
        self, strokes: list[Stroke], at: Point, height: float, width: float, fill: str
    ) -> None:
        """Draw a digit or a letter."""
        for points in strokes:
            moved = [(at[0] + x * height, at[1] + y * height) for x, y in points]
            self.stroke(moved, width, fill)

    def finish(self) -> Image.Image:
        """Return the picture at its size."""
        return self._image.reduce(OVERSAMPLING)


def draw_meter(canvas: Canvas, colours: Colours) -> None:
    """Draw the meter, as large as an icon."""
    canvas.box((0, 0), (SIZE, SIZE), 44, colours.body)
    canvas.box((26, 26), (230, 132), 18, colours.display)
    for digit, left in zip("123", (24, 89, 154), strict=True):
        canvas.glyph(DIGITS[digit], (left, 46), 66, 14, colours.digits)
    for phase, colour in enumerate(colours.phases):
        canvas.stroke(wave(phase / 3), 14, colour)


def wave(shift: float) -> Stroke:
    """Return a wave of one period below the display."""
    return [
        (36 + x, 190 - 33 * math.sin(math.tau * (x / 184 - shift)))
        for x in range(0, 185, 2)
    ]


def letters(word: str, height: float, spacing: float) -> Iterator[tuple[str, float]]:
    """Yield each letter with where it begins, and at last the end of the word."""
    left = 0.0
    for letter in word:
        yield letter, left
        widest = max(x for stroke in LETTERS[letter] for x, _ in stroke)
        left += widest * height + spacing
    yield "", left - spacing


def icon(colours: Colours, scale: int) -> Image.Image:
    """Return the icon."""
    canvas = Canvas(SIZE, scale)
    draw_meter(canvas, colours)
    return canvas.finish()


def logo(colours: Colours, scale: int) -> Image.Image:
    """Return the icon with the word beside it."""
    height, width = 128.0, 28.0
    begin = SIZE + 44 + width / 2
    *placed, (_, end) = letters("COUNTIS", height, width + 24)
    canvas = Canvas(begin + end + width / 2, scale)
    draw_meter(canvas, colours)
    for letter, left in placed:
        at = (begin + left, (SIZE - height) / 2)
        canvas.glyph(LETTERS[letter], at, height, width, colours.word)
    return canvas.finish()


def pictures() -> dict[str, Image.Image]:
    """Return every picture by the name of its file."""
    return {
        f"{theme}{kind.__name__}{suffix}.png": kind(colours, scale)
        for kind in (icon, logo)
        for theme, colours in (("", LIGHT), ("dark_", DARK))
        for suffix, scale in (("", 1), ("@2x", 2))
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        picture.save(BRAND / name, optimize=True)
