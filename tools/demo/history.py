"""Two weeks of statistics before the start of the demo, imported into the recorder.

The recorder continues a sum from its own rows of five minutes, which cannot be
imported. Without such rows, the sum of the recorder begins at 0. The imported sum also
begins at 0, not at the value of the counter, so that the first hour contains only its
own energy. As soon as the recorder has rows of its own, `async_join` adds the imported
sum to these rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, count, pairwise
from typing import Any, Protocol, Self

from simulator import Load
from simulator.days import Moment, tariff

DAYS = 14
HOUR_SECONDS = 3600
SAMPLE_SECONDS = 60  # s between two samples
HOURS = DAYS * 24
MOST_KWH = 30  # in an hour; neither the house nor its solar roof reaches it
ROUNDING_KWH = 0.005  # half of the last digit that a sensor shows

# How the recorder describes statistics of energy and of power.
ENERGY = {
    "unit_of_measurement": "kWh",
    "unit_class": "energy",
    "has_sum": True,
    "mean_type": 0,  # no mean
}
POWER = {
    "unit_of_measurement": "W",
    "unit_class": "power",
    "has_sum": False,
    "mean_type": 1,  # the arithmetic mean
}

type Row = dict[str, Any]
"""The statistics of a sensor for one hour or five minutes."""


class WebSocketClient(Protocol):
    """A client of Home Assistant's WebSocket API."""

    async def command(self, **message: Any) -> Any:
        """Return the result of a WebSocket command."""


@dataclass(frozen=True)
class Sample:
    """The power and the tariff at a meter at one time."""

    watts: tuple[float, float, float]
    """The power of each phase; negative if it is exported."""
    tariff: int
    seconds: int = SAMPLE_SECONDS
    """The time that the sample represents."""

    @property
    def power(self) -> float:
        """Return the sum of the phases in W, from which a meter counts its energy."""
        return sum(self.watts)


def _consumed(sample: Sample) -> float:
    return max(sample.power, 0)


def _produced(sample: Sample) -> float:
    return max(-sample.power, 0)


def _consumed_in(tariff_number: int) -> Callable[[Sample], float]:
    return lambda sample: _consumed(sample) if sample.tariff == tariff_number else 0


# By the key of each counter: a function that returns the part of a sample's power, in
# W, that the counter counts.
COUNTERS: dict[str, Callable[[Sample], float]] = {
    "energy_consumed": _consumed,
    "energy_produced": _produced,
    "tariff_1_energy": _consumed_in(1),
    "tariff_2_energy": _consumed_in(2),
}
# By the key of each measurement: a function that returns the power, in W, that the
# sensor shows for a sample.
MEASUREMENTS: dict[str, Callable[[Sample], float]] = {
    "power": lambda sample: sample.power,
    "power_l1": lambda sample: sample.watts[0],
    "power_l2": lambda sample: sample.watts[1],
    "power_l3": lambda sample: sample.watts[2],
    "power_produced": _produced,
}


def sampled(load: Load, noon: int, start: int, end: int) -> list[Sample]:
    """Return a sample for each minute from `start` to `end`.

    All times are in s since 1970. `noon` is a solar noon.
    """
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


def counted_energy(
    samples: Iterable[Sample], counted_power: Callable[[Sample], float]
) -> float:
    """Return the energy in kWh that a counter counts in the time of these samples."""
    joules = sum(counted_power(sample) * sample.seconds for sample in samples)
    return joules / HOUR_SECONDS / 1000


def counter_rows(
    start: int, energies: Sequence[float], energy_since: float, state: float
) -> list[Row]:
    """Return the rows of a counter, one for each hour from `start`, in s since 1970.

    `energies` has one energy per hour. `energy_since` is the energy from the end of the
    last hour until now, and the counter shows `state` now. All energies are in kWh.
    """
    state_at_start = state - energy_since - sum(energies)
    return [
        {
            "start": _isoformat(start + index * HOUR_SECONDS),
            # The sensor shows two decimals.
            "state": round(state_at_start + total, 2),
            "sum": round(
                round(state_at_start + total, 2) - round(state_at_start, 2), 2
            ),
        }
        for index, total in enumerate(accumulate(energies))
    ]


def power_rows(start: int, hours: Sequence[Sequence[float]]) -> list[Row]:
    """Return the rows of a power sensor, one for each hour from `start`.

    `start` is in s since 1970. `hours` has the samples of each hour in W. An hour
    without a sample has no row.
    """
    return [
        {
            "start": _isoformat(start + index * HOUR_SECONDS),
            "mean": round(sum(watts) / len(watts), 1),
            "min": round(min(watts)),
            "max": round(max(watts)),
        }
        for index, watts in enumerate(hours)
        if watts
    ]


def missing_hours(outage: range) -> range:
    """Return the starts of the hours that have no row: the full hours of an outage.

    All times are in s since 1970.
    """
    # `first` is rounded up to a full hour, `end` is rounded down.
    first, end = -(-outage.start // HOUR_SECONDS), outage.stop // HOUR_SECONDS
    return range(first * HOUR_SECONDS, end * HOUR_SECONDS, HOUR_SECONDS)


def _isoformat(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


@dataclass(frozen=True)
class Past:
    """The samples of one meter in the two weeks before the demo."""

    load: Load
    noon: int
    """A solar noon in s since 1970."""
    start: int
    """The start of the first hour in s since 1970."""
    hours: list[list[Sample]]
    """The samples of each hour."""
    outage: range = range(0)
    """The time in which the meter was not read, in s since 1970.

    It begins and ends at a full minute. The range is empty if there was no outage.
    """
    _samples: dict[range, list[Sample]] = field(init=False, default_factory=dict)
    """The samples of other times, because all counters count the same samples."""

    @classmethod
    def before(
        cls, moment: float, load: Load, noon: int, outage: range = range(0)
    ) -> Self:
        """Return the past in the two weeks before `moment`.

        The past ends with the last full hour. `moment` is in s since 1970.
        """
        end = int(moment) // HOUR_SECONDS * HOUR_SECONDS
        start = end - HOURS * HOUR_SECONDS
        hours = [
            sampled(load, noon, hour, hour + HOUR_SECONDS)
            for hour in range(start, end, HOUR_SECONDS)
        ]
        return cls(load, noon, start, hours, outage)

    @property
    def samples_without_outage(self) -> list[list[Sample]]:
        """Return the samples of each hour without those of the outage."""
        return [
            [
                sample
                for minute, sample in enumerate(samples)
                if start + minute * SAMPLE_SECONDS not in self.outage
            ]
            for start, samples in zip(
                count(self.start, HOUR_SECONDS), self.hours, strict=False
            )
        ]

    def measured(self, key: str) -> list[Row]:
        """Return the rows of the measurement with this key."""
        shown_power = MEASUREMENTS[key]
        return power_rows(
            self.start,
            [
                [shown_power(sample) for sample in hour]
                for hour in self.samples_without_outage
            ],
        )

    def counted(self, key: str, state: float, now: float) -> list[Row]:
        """Return the rows of the counter `key`, which shows `state` kWh now.

        `now` is the present time in s since 1970. The hour in which the outage ended
        contains the energy of the whole outage.
        """
        end = self.start + len(self.hours) * HOUR_SECONDS
        energies = [
            counted_energy(hour, COUNTERS[key]) for hour in self.samples_without_outage
        ]
        if self.outage:
            index_of_end = (self.outage.stop - self.start) // HOUR_SECONDS
            energies[index_of_end] += self.energy(
                key, self.outage.start, self.outage.stop
            )
        missing = set(map(_isoformat, missing_hours(self.outage)))
        return [
            row
            for row in counter_rows(
                self.start, energies, self.energy(key, end, int(now)), state
            )
            if row["start"] not in missing
        ]

    def energy(self, key: str, start: int, end: int) -> float:
        """Return the energy in kWh that a counter counts from `start` to `end`.

        Both times are in s since 1970.
        """
        times = range(start, end)
        if times not in self._samples:
            self._samples[times] = sampled(self.load, self.noon, start, end)
        return counted_energy(self._samples[times], COUNTERS[key])


async def async_import(
    hass: WebSocketClient, statistic_id: str, rows: list[Row]
) -> None:
    """Import rows into the statistics of a sensor."""
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
    hass: WebSocketClient,
    past: Past,
    entity_ids: dict[str, str],
    states: Mapping[str, str],
    now: float,
) -> None:
    """Import the past of a meter.

    `entity_ids` are those of the meter, by their keys. `states` are its present states,
    at the time `now` in s since 1970.
    """
    for key in entity_ids.keys() & COUNTERS.keys():
        state = float(states[entity_ids[key]])
        await async_import(hass, entity_ids[key], past.counted(key, state, now))
    for key in entity_ids.keys() & MEASUREMENTS.keys():
        await async_import(hass, entity_ids[key], past.measured(key))


async def _async_rows(
    hass: WebSocketClient, statistic_id: str, period: str, *types: str
) -> list[Row]:
    """Return all rows of a sensor, the oldest first.

    Their `start` and `end` are in ms since 1970.
    """
    result = await hass.command(
        type="recorder/statistics_during_period",
        start_time=_isoformat(0),
        statistic_ids=[statistic_id],
        period=period,
        types=types,
    )
    rows: list[Row] = result.get(statistic_id, [])
    return rows


async def async_join(hass: WebSocketClient, statistic_id: str) -> bool:
    """Continue the imported sum of a counter in the rows of the recorder.

    Return False, and change nothing, as long as the recorder has no rows of its own.
    As soon as the recorder has applied the change, another call changes nothing.
    """
    recorded = await _async_rows(hass, statistic_id, "5minute", "state", "sum")
    if not recorded:
        return False
    first = recorded[0]
    imported = [
        row
        for row in await _async_rows(hass, statistic_id, "hour", "state", "sum")
        if row["end"] <= first["start"]
    ]
    if not imported:
        return True
    last = imported[-1]
    # Since the last imported hour, the sum has to rise by as much as the state.
    missing_kwh = last["sum"] + first["state"] - last["state"] - first["sum"]
    if abs(missing_kwh) > ROUNDING_KWH:
        await hass.command(
            type="recorder/adjust_sum_statistics",
            statistic_id=statistic_id,
            start_time=_isoformat(first["start"] // 1000),
            adjustment=round(missing_kwh, 2),
            adjustment_unit_of_measurement="kWh",
        )
    return True


async def async_problems(
    hass: WebSocketClient, statistic_id: str, state: float, outage: range = range(0)
) -> list[str]:
    """Return what is wrong with the statistics of a counter that shows `state` kWh.

    `outage` is the past time in which the meter was not read, in s since 1970.
    """
    rows = await async_hours(hass, statistic_id)
    missing = missing_hours(outage)
    expected_hours = HOURS - len(missing)
    if len(rows) < expected_hours:
        return [f"{statistic_id} has {len(rows)} of {expected_hours} hours"]
    # The gaps, each from its beginning to its end, in ms since 1970.
    gaps = [
        (before["end"], row["start"])
        for before, row in pairwise(rows)
        if row["start"] != before["end"]
    ]
    expected_gaps = [(missing.start * 1000, missing.stop * 1000)] if missing else []
    # The change is a difference of two floats, so it may be slightly below 0.
    problems = [
        f"{statistic_id} has {row['change']} kWh in the hour {row['start']}"
        for row in rows
        if not 0 <= row["change"] + 0.001 <= MOST_KWH
    ]
    if gaps != expected_gaps:
        problems.append(f"{statistic_id} has the gaps {gaps}, not {expected_gaps}")
    if not 0 <= state - rows[-1]["state"] <= MOST_KWH:
        problems.append(
            f"{statistic_id} shows {state} kWh, but {rows[-1]['state']} kWh at the end"
            " of its last hour"
        )
    return problems


async def async_hours(hass: WebSocketClient, statistic_id: str) -> list[Row]:
    """Return the rows of all hours of a counter, the oldest first.

    Their `start` and `end` are in ms since 1970. Their `change` is the energy in kWh.
    """
    return await _async_rows(hass, statistic_id, "hour", "state", "change")
