"""The shapes of the digits and letters in the pictures."""

from collections.abc import Iterator
import math

type Point = tuple[float, float]
type Stroke = list[Point]

ARC_STEPS = 48  # straight lines in an arc; more lines would look the same


def arc(centre: Point, radii: Point, start: float, end: float) -> Stroke:
    """Return an arc of an ellipse; angles are in degrees clockwise from the right."""
    step = (end - start) / ARC_STEPS
    angles = (math.radians(start + index * step) for index in range(ARC_STEPS + 1))
    return [
        (centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle))
        for angle in angles
    ]


# Points are x and y from the top left of the digit or letter, whose height is 1.
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


def letters(word: str, height: float, spacing: float) -> Iterator[tuple[str, float]]:
    """Yield each letter and its left edge, and then "" and the right edge of the word.

    All lengths are in the same unit.
    """
    left = 0.0
    for letter in word:
        yield letter, left
        width = max(x for stroke in LETTERS[letter] for x, _ in stroke)
        left += width * height + spacing
    yield "", left - spacing
