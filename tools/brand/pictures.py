"""The icon and the logo, for light and dark backgrounds, in two sizes.

The icon is the front of a three-phase meter: a display with the numbers of the phases,
and below it the phases as waves, a third of a period apart. The logo adds the word
COUNTIS, which is on the front of the meters. Neither picture contains or resembles the
logo of Socomec, the maker of the meters.
"""

from dataclasses import dataclass
import math

from PIL import Image

from tools.paths import DOMAIN, ROOT

from .canvas import SIZE, Canvas
from .strokes import DIGITS, LETTERS, Stroke, letters

BRAND_FOLDER = ROOT / "custom_components" / DOMAIN / "brand"


@dataclass(frozen=True)
class Colours:
    """The colours of a picture for a light or a dark background."""

    body: str
    display: str
    digits: str
    word: str
    phases: tuple[str, str, str]


ON_LIGHT = Colours(
    "#17344f", "#d3ecd8", "#17344f", "#17344f", ("#ff6b5e", "#ffd23f", "#5fb4ff")
)
ON_DARK = Colours(
    "#e4edf5", "#17344f", "#a8f0b8", "#e4edf5", ("#d8392b", "#e39a00", "#1c78d0")
)


def draw_meter(canvas: Canvas, colours: Colours) -> None:
    """Draw the meter in the size of an icon."""
    canvas.box((0, 0), (SIZE, SIZE), 44, colours.body)
    canvas.box((26, 26), (230, 132), 18, colours.display)
    for digit, left in zip("123", (24, 89, 154), strict=True):
        canvas.glyph(DIGITS[digit], (left, 46), 66, 14, colours.digits)
    for phase, colour in enumerate(colours.phases):
        canvas.stroke(wave(phase / 3), 14, colour)


def wave(shift: float) -> Stroke:
    """Return a wave of one period below the display.

    `shift` is the delay of the wave as a part of the period.
    """
    # From x = 36 to x = 220, around y = 190, with an amplitude of 33 pixels.
    return [
        (36 + x, 190 - 33 * math.sin(math.tau * (x / 184 - shift)))
        for x in range(0, 185, 2)
    ]


def icon(colours: Colours, scale: int) -> Image.Image:
    """Return the icon."""
    canvas = Canvas(SIZE, scale)
    draw_meter(canvas, colours)
    return canvas.finish()


def logo(colours: Colours, scale: int) -> Image.Image:
    """Return the icon with the word COUNTIS on its right."""
    # The gaps are 44 pixels before the word, and 24 between two letters. `letters`
    # ignores the stroke width, so half of it is added on each side of a letter.
    letter_height, stroke_width = 128.0, 28.0
    left_edge = SIZE + 44 + stroke_width / 2
    *placed, (_, end) = letters("COUNTIS", letter_height, stroke_width + 24)
    canvas = Canvas(left_edge + end + stroke_width / 2, scale)
    draw_meter(canvas, colours)
    for letter, left in placed:
        at = (left_edge + left, (SIZE - letter_height) / 2)
        canvas.glyph(LETTERS[letter], at, letter_height, stroke_width, colours.word)
    return canvas.finish()


def pictures() -> dict[str, Image.Image]:
    """Return every picture, by the name of its file."""
    return {
        f"{theme}{kind.__name__}{suffix}.png": kind(colours, scale)
        for kind in (icon, logo)
        for theme, colours in (("", ON_LIGHT), ("dark_", ON_DARK))
        for suffix, scale in (("", 1), ("@2x", 2))
    }
