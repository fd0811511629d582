"""A gap in the readings of a meter, and the store of a meter's gaps."""

from collections.abc import Mapping, Sequence
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
    """A gap in the readings of a meter, with all that is known about it."""

    begin: float
    """In s since 1970; the time of the last reading before the gap."""
    end: float
    """In s since 1970; the time of the first reading after the gap."""
    readings: dict[str, list[Point]]
    """The readings before and after the gap by counter, in kWh or kvarh.

    A gap of two outages also has the readings between them.
    """
    sources: dict[str, Source] = field(default_factory=dict)
    """The origin of `parts`, by total counter. Empty until the meter was asked."""
    parts: dict[str, Sequence[float]] = field(default_factory=dict)
    """The part of the energy until the end of each hour, by total counter.

    The energy is that from the begin of the first hour to the end of the last one.
    """
    energies: dict[str, float] = field(default_factory=dict)
    """This energy in kWh or kvarh, by total counter."""
    overwritten: dict[str, list[Row]] = field(default_factory=dict)
    """The rows before the gap was filled, by the ID of their statistic."""
    filled_at: float | None = None
    """In s since 1970, None if the gap was not filled."""

    @property
    def hours(self) -> list[float]:
        """Return the start of each hour to be written, in s since 1970.

        The hour in which the meter came back is not one of them.
        """
        last = math.ceil(self.end / HOUR) - 1
        return [hour * HOUR for hour in range(int(self.begin // HOUR), last)]

    def energy(self, counter: str) -> float:
        """Return what a counter counted, in kWh or kvarh; after a reset, its value."""
        before, after = (self.readings[counter][index][1] for index in (0, -1))
        return after - before if after >= before else after

    def add(self, other: Gap) -> None:
        """Add the counters of another block, or an outage that follows at once."""
        self.begin = min(self.begin, other.begin)
        self.end = max(self.end, other.end)
        for name, points in other.readings.items():
            self.readings[name] = [*self.readings.get(name, ()), *points]

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
            sources={name: Source(each) for name, each in stored["sources"].items()},
            parts=stored["parts"],
            energies=stored["energies"],
            overwritten={
                statistic_id: [Row(**row) for row in rows]
                for statistic_id, rows in stored["overwritten"].items()
            },
            filled_at=stored["filled_at"],
        )


def gap_store(hass: HomeAssistant, subentry_id: str) -> Store[list[dict[str, Any]]]:
    """Return the store of a meter's gaps."""
    key = f"{DOMAIN}.gaps.{subentry_id}"
    return Store(hass, STORAGE_VERSION, key, atomic_writes=True)
