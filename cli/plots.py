"""The axis of the power in a plot."""

from collections.abc import Iterable
import math

# Most steps from the lowest to the highest value; our choice.
MAX_STEPS = 5
# W between two ticks; the largest steps are for a meter with current transformers.
STEPS = tuple(n * 10**power for power in range(1, 8) for n in (1, 2, 5))


def ticks_of(values: Iterable[float]) -> list[float]:
    """Return the ticks of the axis in W. All values are between the first and last."""
    watts = list(values)
    if not watts:
        return []
    low, high = min(watts), max(watts)
    step = next(each for each in STEPS if high - low <= MAX_STEPS * each)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return [tick * step for tick in range(first, last + 1)]
