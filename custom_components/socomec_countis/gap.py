"""A gap in the readings of a meter, and the store of the gaps of a meter.

`gaps.py` finds and fills the gaps of a meter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
import math
from typing import Any, Self

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store

from .const import DOMAIN
from .countis.energy_curve import Source
from .countis.gap_evidence import Point
from .gap_statistics import HOUR, Row

STORAGE_VERSION = 1


@dataclass
class Gap:
    """A gap in the readings of a meter.

    A filled gap is kept for a week. In this time, the user can undo the filling.

    Each counter belongs to a total counter, which includes the energy of the counter:
    `tariff_1_energy` belongs to `energy_consumed`. A total counter belongs to itself
    (see `total_of` in countis/gap_evidence.py).
    """

    begin: float
    """The time of the last reading before the gap, in s since 1970."""
    end: float
    """The time at which the accepted values rise after the gap, in s since 1970.

    This is the time of the second reading after the gap, because the accepted values do
    not rise before the second reading confirms the first one.
    """
    readings: dict[str, list[Point]]
    """By counter: the readings before and after the gap, in kWh or kvarh.

    If two outages were merged into one gap, the readings between the outages are
    included.
    """
    left_out: list[str] = field(default_factory=list)
    """Counters that are not filled, because their accepted value was corrected."""
    sources: dict[str, Source] = field(default_factory=dict)
    """By total counter: the source of the distribution in `parts`.

    Empty until the evidence (countis/gap_evidence.py) is read from the meter.
    """
    parts: dict[str, Sequence[float]] = field(default_factory=dict)
    """By total counter: how its energy is distributed over `hours`.

    For each hour, the value is the fraction of the energy in `energies`, from 0 to 1,
    that was counted until the end of the hour.
    """
    energies: dict[str, float] = field(default_factory=dict)
    """By total counter: the energy to distribute, in kWh or kvarh.

    The energy was counted between the ends of two hours: the last hour before
    `hours[0]` that has a row in the statistics, and `end_hour`.
    """
    overwritten: dict[str, list[Row]] = field(default_factory=dict)
    """By statistic ID: the rows to write if the user undoes the filling."""
    filled_at: float | None = None
    """When the gap was filled, in s since 1970; None if it was not filled."""

    @property
    def end_hour(self) -> int:
        """Return the start of the hour that contains `end`, in s since 1970.

        If `end` is exactly 13:00, the result is 12:00, because that hour ends at `end`.
        """
        return (math.ceil(self.end / HOUR) - 1) * HOUR

    @property
    def hours(self) -> list[float]:
        """Return the start of each hour whose statistics are written, in s since 1970.

        The row of `end_hour` in the statistics is not written, because its sum already
        includes the energy of the gap.
        """
        return [*range(int(self.begin // HOUR) * HOUR, self.end_hour, HOUR)]

    def energy(self, counter: str) -> float:
        """Return the energy that a counter counted in the gap, in kWh or kvarh.

        If the counter is lower after the gap, the counter was reset. The energy is then
        the value after the gap.
        """
        before, after = (self.readings[counter][index][1] for index in (0, -1))
        return after - before if after >= before else after

    def merge(self, other: Gap) -> None:
        """Merge the gap of another block, or of the next outage, into this gap.

        The caller has to check that `other` begins in the hour in which this gap ends,
        or earlier.
        """
        self.begin = min(self.begin, other.begin)
        self.end = max(self.end, other.end)
        for name, points in other.readings.items():
            self.readings[name] = [*self.readings.get(name, ()), *points]
        self.leave_out(other.left_out)

    def leave_out(self, counters: Iterable[str]) -> None:
        """Do not fill `counters`, even if a gap with their readings is merged later."""
        self.left_out = sorted({*self.left_out, *counters})
        for name in self.left_out:
            self.readings.pop(name, None)

    def as_dict(self) -> dict[str, Any]:
        """Return the gap as JSON content for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the gap from the content that `as_dict` returned."""
        return cls(
            begin=stored["begin"],
            end=stored["end"],
            readings={
                name: [(time, value) for time, value in points]
                for name, points in stored["readings"].items()
            },
            left_out=stored["left_out"],
            sources={name: Source(each) for name, each in stored["sources"].items()},
            parts=stored["parts"],
            energies=stored["energies"],
            overwritten={
                statistic_id: [Row(**row) for row in rows]
                for statistic_id, rows in stored["overwritten"].items()
            },
            filled_at=stored["filled_at"],
        )


def gap_store(hass: HomeAssistant, subentry_id: str) -> Store[dict[str, Any]]:
    """Return the store of the gaps of a meter."""
    key = f"{DOMAIN}.gaps.{subentry_id}"
    return Store(hass, STORAGE_VERSION, key, atomic_writes=True)
