"""A picture on which boxes and lines are drawn."""

import math

from PIL import Image, ImageDraw

from .strokes import Point, Stroke

# Pixels at scale 1: the height of each picture, and the width of the icon. Home
# Assistant requires this size of the icon.
SIZE = 256
# The picture is drawn larger by this factor and then reduced, so that edges are smooth.
OVERSAMPLING = 4


class Canvas:
    """A transparent picture. All lengths are in pixels at scale 1."""

    def __init__(self, width: float, scale: int) -> None:
        """Create a picture. `scale` is 1, or 2 for screens with more pixels."""
        self._factor = scale * OVERSAMPLING
        # Round up to whole pixels of the final picture.
        width = math.ceil(width * scale) * OVERSAMPLING
        self._image = Image.new("RGBA", (width, SIZE * self._factor))
        self._draw = ImageDraw.Draw(self._image)

    def box(self, start: Point, end: Point, radius: float, fill: str) -> None:
        """Draw a box with round corners.

        `start` is its top left, and `end` is its bottom right.
        """
        left, top, right, bottom = (value * self._factor for value in (*start, *end))
        # Pillow also fills the row and the column of the second point, so subtract 1.
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
        """Draw a digit or a letter.

        `strokes` are its lines if its height is 1. `at` is the place of its top left,
        and `width` is the width of the lines.
        """
        for points in strokes:
            moved = [(at[0] + x * height, at[1] + y * height) for x, y in points]
            self.stroke(moved, width, fill)

    def finish(self) -> Image.Image:
        """Return the picture in its final size."""
        return self._image.reduce(OVERSAMPLING)
