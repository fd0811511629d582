"""Two weeks that the demo's meters might have measured before it began.

The recorder continues a sum from its own five-minute rows only, which nobody can
import, and begins with 0 where it has none. What is imported counts up from 0, so
that no hour shows more than it had; `async_join` lifts what the recorder has begun
by what was imported, as soon as it has begun.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any, Protocol, Self

from simulator import Load
from simulator.days import Moment, tariff

DAYS = 14
HOUR_SECONDS = 3600
SAMPLE_SECONDS = 60
HOURS = DAYS * 24
# More than this no house counts in an hour, nor its solar roof.
MOST_KWH = 30

# How Home Assistant files the sensors.
ENERGY = {
    "unit_of_measurement": "kWh",
    "unit_class": "energy",
    "has_sum": True,
    "mean_type": 0,
}
POWER = {
    "unit_of_measurement": "W",
    "unit_class": "power",
    "has_sum": False,
    "mean_type": 1,
}

type Row = dict[str, Any]


class Commands(Protocol):
    """Home Assistant's WebSocket API."""

    async def command(self, **message: Any) -> Any:
        """Send a command and return its result."""


@dataclass(frozen=True)
class Sample:
    """What a meter measures in one moment."""

    watts: tuple[float, float, float]
    """Of each phase."""
    tariff: int
    seconds: int = SAMPLE_SECONDS
    """For how long."""

    @property
    def power(self) -> float:
        """The power of all phases together, by which a meter counts."""
        return sum(self.watts)


def _consumed(sample: Sample) -> float:
    return max(sample.power, 0)


def _produced(sample: Sample) -> float:
    return max(-sample.power, 0)


def _consumed_in(number: int) -> Callable[[Sample], float]:
    return lambda sample: _consumed(sample) if sample.tariff == number else 0


# What each counter counts, in W, and what each measurement is.
COUNTERS: dict[str, Callable[[Sample], float]] = {
    "energy_consumed": _consumed,
    "energy_produced": _produced,
    "tariff_1_energy": _consumed_in(1),
    "tariff_2_energy": _consumed_in(2),
}
MEASUREMENTS: dict[str, Callable[[Sample], float]] = {
    "power": lambda sample: sample.power,
    "power_l1": lambda sample: sample.watts[0],
    "power_l2": lambda sample: sample.watts[1],
    "power_l3": lambda sample: sample.watts[2],
    "solar_power": lambda sample: -sample.power,
}


def sampled(load: Load, noon: int, start: int, end: int) -> list[Sample]:
    """Return what flows from one second to another."""
    samples = []
    for second in range(start, end, SAMPLE_SECONDS):
        l1, l2, l3 = load.phases(second)
        samples.append(
            Sample(
                (l1.watts, l2.watts, l3.watts),
                tariff(Moment.of(second, noon)),
                min(SAMPLE_SECONDS, end - second),
            )
        )
    return samples


def counted(samples: Iterable[Sample], counts: Callable[[Sample], float]) -> float:
    """Return what a counter counts meanwhile, in kWh."""
    joules = sum(counts(sample) * sample.seconds for sample in samples)
    return joules / HOUR_SECONDS / 1000


def counter_rows(
    start: int, energies: Sequence[float], since: float, state: float
) -> list[Row]:
    """Return an hour a row, as the recorder would have it.

    They lead to the state that the counter shows now, with what it has counted
    since the last of these hours.
    """
    first = state - since - sum(energies)
    return [
        {
            "start": _isoformat(start + index * HOUR_SECONDS),
            # A sensor shows two decimals.
            "state": round(first + total, 2),
            "sum": round(round(first + total, 2) - round(first, 2), 2),
        }
        for index, total in enumerate(accumulate(energies))
    ]


def power_rows(start: int, hours: Sequence[Sequence[float]]) -> list[Row]:
    """Return an hour a row, as the recorder would have it."""
    return [
        {
            "start": _isoformat(start + index * HOUR_SECONDS),
            "mean": round(sum(watts) / len(watts), 1),
            "min": round(min(watts)),
            "max": round(max(watts)),
        }
        for index, watts in enumerate(hours)
    ]


def _isoformat(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


@dataclass(frozen=True)
class Past:
    """The hours before a demo, as one of its meters would have seen them."""

    load: Load
    noon: int
    start: int
    hours: list[list[Sample]]

    @classmethod
    def before(cls, moment: float, load: Load, noon: int) -> Self:
        """Return the full hours before a moment, in which the recorder had none."""
        end = int(moment) // HOUR_SECONDS * HOUR_SECONDS
        start = end - HOURS * HOUR_SECONDS
        hours = [
            sampled(load, noon, hour, hour + HOUR_SECONDS)
            for hour in range(start, end, HOUR_SECONDS)
        ]
        return cls(load, noon, start, hours)

    def measured(self, key: str) -> list[Row]:
        """Return the rows of a measurement."""
        measures = MEASUREMENTS[key]
        return power_rows(
            self.start, [[measures(one) for one in hour] for hour in self.hours]
        )

    def counted(self, key: str, state: float, now: float) -> list[Row]:
        """Return the rows of a counter that has this state now."""
        counts = COUNTERS[key]
        end = self.start + len(self.hours) * HOUR_SECONDS
        return counter_rows(
            self.start,
            [counted(hour, counts) for hour in self.hours],
            counted(sampled(self.load, self.noon, end, int(now)), counts),
            state,
        )


async def async_import(hass: Commands, statistic_id: str, rows: list[Row]) -> None:
    """Import the rows of a sensor."""
    await hass.command(
        type="recorder/import_statistics",
        metadata={
            "statistic_id": statistic_id,
            "source": "recorder",
            "name": None,
            **(ENERGY if "sum" in rows[0] else POWER),
        },
        stats=rows,
    )


async def async_import_past(
    hass: Commands,
    past: Past,
    meter: dict[str, str],
    states: dict[str, str],
    now: float,
) -> None:
    """Import what a meter has seen; `meter` are its entities by their key."""
    for key in meter.keys() & COUNTERS.keys():
        state = float(states[meter[key]])
        await async_import(hass, meter[key], past.counted(key, state, now))
    for key in meter.keys() & MEASUREMENTS.keys():
        await async_import(hass, meter[key], past.measured(key))


async def _async_rows(
    hass: Commands, statistic_id: str, period: str, *types: str
) -> list[Row]:
    """Return all rows of a sensor."""
    result = await hass.command(
        type="recorder/statistics_during_period",
        start_time=_isoformat(0),
        statistic_ids=[statistic_id],
        period=period,
        types=types,
    )
    rows: list[Row] = result.get(statistic_id, [])
    return rows


async def async_join(hass: Commands, statistic_id: str) -> bool:
    """Let a counter's sum go on where the imported one ends, once it has begun.

    Whether it does, this time or an earlier one. It takes nothing but what the
    recorder holds, and so can be done again at any time.
    """
    begun = await _async_rows(hass, statistic_id, "5minute", "state", "sum")
    if not begun:
        return False
    first = begun[0]
    earlier = [
        row
        for row in await _async_rows(hass, statistic_id, "hour", "state", "sum")
        if row["end"] <= first["start"]
    ]
    if not earlier:
        return True
    last = earlier[-1]
    missing = last["sum"] + first["state"] - last["state"] - first["sum"]
    # A sensor shows two decimals; anything less is the computer's.
    if abs(missing) > 0.005:
        await hass.command(
            type="recorder/adjust_sum_statistics",
            statistic_id=statistic_id,
            start_time=_isoformat(first["start"] // 1000),
            adjustment=round(missing, 2),
            adjustment_unit_of_measurement="kWh",
        )
    return True


async def async_problems(hass: Commands, statistic_id: str, state: float) -> list[str]:
    """Return what is wrong with the hours of a counter that has this state now."""
    rows = await _async_rows(hass, statistic_id, "hour", "state", "change")
    if len(rows) < HOURS:
        return [f"{statistic_id} has {len(rows)} hours of {HOURS}"]
    problems = [
        f"{statistic_id} has no hour before {row['start']}"
        for before, row in pairwise(rows)
        if row["start"] != before["end"]
    ] + [
        f"{statistic_id} has {row['change']} kWh in the hour {row['start']}"
        for row in rows
        if not 0 <= row["change"] + 0.001 <= MOST_KWH
    ]
    if not 0 <= state - rows[-1]["state"] <= MOST_KWH:
        problems.append(f"{statistic_id} is {state} after {rows[-1]['state']} kWh")
    return problems
