"""The distribution of energy over a gap.

A gap is a time without readings, such as an outage. The counters of a meter give the
energy of the whole gap. An energy curve gives the fraction of this energy that was
counted until each moment.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """The source of an energy curve, the best source first."""

    LOAD_CURVE = "load_curve"
    """The load curve of the meter."""
    PERIODS = "periods"
    """The energies of days and weeks in the meter (block 36928 or 36896)."""
    EVEN = "even"
    """Neither of them: the energy is distributed evenly from reading to reading.

    A gap has a reading at its beginning and at its end. Merged gaps also have readings
    between their outages.
    """


@dataclass(frozen=True)
class EnergyCurve:
    """The fractions of a gap's energy that were counted until several moments."""

    source: Source
    times: Sequence[float]
    """In s since 1970, rising, from the beginning to the end of the gap."""
    fractions: Sequence[float]
    """The fraction at each of `times`, from 0 to 1."""

    @classmethod
    def of_energies(
        cls, source: Source, points: Iterable[tuple[float, float]]
    ) -> EnergyCurve:
        """Return the curve through `points`, each a time and a counted energy.

        All energies are in the same unit. The last energy has to be larger than the
        first one.
        """
        times, energies = zip(*points, strict=True)
        first, last = energies[0], energies[-1]
        fractions = [(energy - first) / (last - first) for energy in energies]
        return cls(source, times, fractions)

    def fraction(self, time: float) -> float:
        """Return the fraction of the energy that was counted until `time`.

        `time` is in s since 1970. Between two `times`, the power is taken as constant.
        """
        after = bisect_right(self.times, time)
        if after == 0:
            return 0
        if after == len(self.times):
            return 1
        begin, end = self.times[after - 1 : after + 1]
        low, high = self.fractions[after - 1 : after + 1]
        return low + (high - low) * (time - begin) / (end - begin)
