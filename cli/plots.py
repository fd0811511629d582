"""The ticks of the power axis of a plot."""

from collections.abc import Iterable
import math

# The highest number of steps between the lowest and the highest value; our choice.
MAX_STEPS = 5
# W between two ticks; the largest steps are for a meter with current transformers.
STEPS = tuple(n * 10**power for power in range(1, 8) for n in (1, 2, 5))


def ticks_of(values: Iterable[float]) -> list[float]:
    """Return the ticks of the axis in W. The first and last tick enclose all values."""
    watts = list(values)
    if not watts:
        return []
    low, high = min(watts), max(watts)
    step = next(each for each in STEPS if high - low <= MAX_STEPS * each)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return [tick * step for tick in range(first, last + 1)]
