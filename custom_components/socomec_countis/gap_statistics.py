"""The rows of a gap (see gap.py) in the long-term statistics: read, plan, write.

A row of the statistics contains the sum of all energy until the end of its hour. In the
end hour of a gap, the counters rise at once by the energy of the whole gap. So the row
of the end hour already includes this energy. The rows of the earlier hours are
written with sums that rise from the row before the gap to the row of the end hour. So
energy moves from the end hour to the earlier hours. Neither the total energy nor a row
after the gap changes.

In this file, `hours` are the starts of the hours of a gap, without the end hour, in s
since 1970.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    StatisticsRow,
    async_import_statistics,
    get_metadata,
    statistics_during_period,
)
from homeassistant.const import UnitOfEnergy, UnitOfReactiveEnergy
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from homeassistant.util.unit_conversion import EnergyConverter, ReactiveEnergyConverter

from .texts import translated_error

HOUR = 3600  # s

# In s; rows from up to this time before a gap are read, because a plan begins with the
# last row before the gap. Hours without a valid state have no row, so the last row
# may be some hours older than the gap. Our choice: a day.
BEFORE_GAP = 24 * HOUR

# In kWh or kvarh; for sums of costs, in their currency. If two sums differ by at most
# this value, they are treated as equal. Our choice: a step of a high-resolution counter
# (0.01), plus the rounding of a statistic in MWh.
SUM_TOLERANCE = 0.02

# For an energy entity with costs, the Energy dashboard creates an entity whose ID has
# one of these suffixes.
COST_SUFFIXES = ("cost", "compensation")

# By the unit class of a statistic: its converter, and the unit of its `Row` objects.
CONVERTERS = {
    EnergyConverter.UNIT_CLASS: (EnergyConverter, UnitOfEnergy.KILO_WATT_HOUR),
    ReactiveEnergyConverter.UNIT_CLASS: (
        ReactiveEnergyConverter,
        UnitOfReactiveEnergy.KILO_VOLT_AMPERE_REACTIVE_HOUR,
    ),
}


@dataclass(frozen=True)
class Row:
    """One hour of a statistic."""

    start: float
    """In s since 1970."""
    state: float | None
    """At the end of the hour: the counter in kWh or kvarh, or the state of a cost."""
    sum: float
    """The energy until the end of the hour, in kWh or kvarh; or the costs."""
    last_reset: float | None = None
    """In s since 1970; costs only."""


@dataclass(frozen=True)
class Statistic:
    """A statistic with its rows before, within and after a gap."""

    metadata: StatisticMetaData
    rows: Mapping[float, Row]
    """By start of the hour, in s since 1970."""
    factor: float = 1
    """One unit of the statistic, in kWh or kvarh: 1000 for a statistic in MWh."""

    def with_rows(self, rows: Iterable[Row]) -> Statistic:
        """Return the statistic with `rows` instead of its rows of the same hours.

        A new row is left out if the statistic has no row of the same hour.
        """
        new = {row.start: row for row in rows if row.start in self.rows}
        return replace(self, rows={**self.rows, **new})

    def base(self, hours: Sequence[float]) -> Row | None:
        """Return the last row before `hours`, None if there is none."""
        starts = [start for start in self.rows if start < hours[0]]
        return self.rows[max(starts)] if starts else None

    def end_row(self, hours: Sequence[float]) -> Row | None:
        """Return the row of the end hour, None if the recorder has not written it."""
        return self.rows.get(hours[-1] + HOUR)


@dataclass(frozen=True)
class Plan:
    """The rows of one statistic for the hours of a gap."""

    statistic: Statistic
    rows: Sequence[Row]
    """The proposed rows."""
    present: Sequence[Row]
    """The stored rows of the same hours.

    An hour without a stored row gets a copy of the previous row, so its present energy
    is 0.
    """
    base: Row
    """The last row before the gap."""
    end_row: Row
    """The row of the end hour."""

    @property
    def statistic_id(self) -> str:
        """Return the ID of the statistic."""
        return self.statistic.metadata["statistic_id"]

    @property
    def energies(self) -> list[tuple[float, float, float]]:
        """Return the start of each hour, with the present and the proposed energy.

        The end hour is included.
        """
        present = [self.base, *self.present, self.end_row]
        proposed = [self.base, *self.rows, self.end_row]
        return [
            (old.start, old.sum - old_before.sum, new.sum - new_before.sum)
            for (old_before, old), (new_before, new) in zip(
                pairwise(present), pairwise(proposed), strict=True
            )
        ]


async def async_read_statistic(
    hass: HomeAssistant, statistic_id: str, first: float, last: float
) -> Statistic | None:
    """Return a statistic with its rows from `first - BEFORE_GAP` to `last`.

    `first` and `last` are starts of hours in s since 1970. The row of the hour `last`
    is included. Returns None if the statistic does not exist.
    """
    return await get_instance(hass).async_add_executor_job(
        _read_statistic, hass, statistic_id, first, last
    )


def _read_statistic(
    hass: HomeAssistant, statistic_id: str, first: float, last: float
) -> Statistic | None:
    stored = get_metadata(hass, statistic_ids={statistic_id})
    if statistic_id not in stored:
        return None
    metadata = stored[statistic_id][1]
    unit_class, unit = metadata["unit_class"], metadata["unit_of_measurement"]
    factor = 1.0
    if unit_class in CONVERTERS:
        converter, row_unit = CONVERTERS[unit_class]
        factor = converter.convert(1, unit, row_unit)
    rows = statistics_during_period(
        hass,
        dt_util.utc_from_timestamp(first - BEFORE_GAP),
        dt_util.utc_from_timestamp(last + HOUR),
        {statistic_id},
        "hour",
        # By default, the rows would be in the unit that the entity shows.
        {unit_class: unit} if unit_class and unit else None,
        {"last_reset", "state", "sum"},
    ).get(statistic_id, [])
    return Statistic(
        metadata,
        {row["start"]: _row(row, factor) for row in rows if row.get("sum") is not None},
        factor,
    )


def _row(row: StatisticsRow, factor: float) -> Row:
    state = row.get("state")
    return Row(
        row["start"],
        None if state is None else state * factor,
        (row.get("sum") or 0) * factor,
        row.get("last_reset"),
    )


def plan_counter(
    statistic: Statistic,
    hours: Sequence[float],
    before: float,
    counted_parts: Sequence[float],
    total_energy: float,
) -> Plan | None:
    """Return the plan of a counter, None if the gap cannot be filled.

    `before` is the last reading of the counter before the gap. `total_energy` is what
    the total counter (see `Gap`) counted in the hours after the last row before the
    gap, including the end hour. Both are in kWh or kvarh. For each of `hours`,
    `counted_parts` contains the fraction of `total_energy`, from 0 to 1, that was
    counted until the end of the hour.

    The row before the gap and the row of the end hour are needed, each with a state.
    Without them, the gap cannot be filled. If the sums of these rows do not agree with
    the counter, the result depends on whether the counter was reset. After a reset, the
    gap cannot be filled, because the counter was probably reset more than once. Without
    a reset, the function raises `HomeAssistantError`. It also raises the errors of
    `_checked_plan`.
    """
    base, end_row = statistic.base(hours), statistic.end_row(hours)
    if base is None or base.state is None or end_row is None or end_row.state is None:
        return None
    is_reset = end_row.state < before
    # `begin_value` is the value from which the rise of the sum is calculated. `energy`
    # is this rise, until the end of the end hour. At a reset, the recorder adds the
    # whole new value of the counter to the sum.
    begin_value = before if is_reset else base.state
    energy = end_row.state if is_reset else end_row.state - begin_value
    # `begin_sum` is the sum at the time at which the counter was `begin_value`.
    begin_sum = base.sum + begin_value - base.state
    if abs(end_row.sum - begin_sum - energy) > SUM_TOLERANCE:
        if is_reset:
            return None
        raise _unexpected_sums(statistic)
    rows: list[Row] = []
    present = base
    for hour, part in zip(hours, counted_parts, strict=True):
        present = statistic.rows.get(hour, present)
        if is_reset:
            # Assume that since the reset, this counter has risen as much as the total
            # counter. (A tariff counter may have risen less.) Then this counter counted
            # `total_energy * (1 - part)` after this hour, as the total counter did.
            # `counted` is the energy from the reset to the end of this hour. In the
            # hours before the reset, `counted` is 0.
            counted = max(energy - total_energy * (1 - part), 0)
            rows.append(Row(hour, counted or begin_value, begin_sum + counted))
        else:
            # The new sum must not be lower than the stored sum of this hour, because
            # the meter had counted the stored sum by the end of this hour.
            counted = max(energy * part, present.sum - begin_sum)
            rows.append(Row(hour, begin_value + counted, begin_sum + counted))
    return _checked_plan(statistic, rows, base, end_row)


def plan_costs(statistic: Statistic, counter_plan: Plan) -> Plan | None:
    """Return the plan of costs, in proportion to the energy in `counter_plan`.

    `statistic` contains the costs. Its row before the gap and its row of the end hour
    are needed. Returns None without these rows, or if the counter did not rise. Raises
    the same errors as `_checked_plan`.
    """
    hours = [row.start for row in counter_plan.rows]
    base, end_row = statistic.base(hours), statistic.end_row(hours)
    energy = counter_plan.end_row.sum - counter_plan.base.sum
    if base is None or end_row is None or energy <= 0:
        return None
    rows = [
        replace(
            statistic.rows.get(row.start, base),
            start=row.start,
            sum=base.sum
            + (end_row.sum - base.sum) * (row.sum - counter_plan.base.sum) / energy,
        )
        for row in counter_plan.rows
    ]
    return _checked_plan(statistic, rows, base, end_row)


def _checked_plan(
    statistic: Statistic, rows: Sequence[Row], base: Row, end_row: Row
) -> Plan:
    """Return the plan for the proposed `rows`, with the present rows of their hours.

    Raises `HomeAssistantError` if the sum of a present row is not between the sums of
    `base` and `end_row`.
    """
    present: list[Row] = []
    previous = base
    for row in rows:
        previous = replace(statistic.rows.get(row.start, previous), start=row.start)
        present.append(previous)
    sums = [base.sum, *(row.sum for row in present), end_row.sum]
    low, high = sorted((base.sum, end_row.sum))
    if not all(low - SUM_TOLERANCE <= each <= high + SUM_TOLERANCE for each in sums):
        raise _unexpected_sums(statistic)
    return Plan(statistic, rows, present, base, end_row)


def _unexpected_sums(statistic: Statistic) -> HomeAssistantError:
    return translated_error(
        HomeAssistantError,
        "unexpected_sums",
        entity=statistic.metadata["statistic_id"],
    )


async def async_write(hass: HomeAssistant, rows: Mapping[str, Sequence[Row]]) -> None:
    """Write the rows of each statistic ID, and wait until they are stored.

    A statistic that does not exist any more is left out.
    """
    for statistic_id, new in rows.items():
        first = new[0].start
        statistic = await async_read_statistic(hass, statistic_id, first, first)
        if statistic is None:
            continue
        async_import_statistics(
            hass,
            statistic.metadata,
            [_statistic_data(row, statistic.factor) for row in new],
        )
    await get_instance(hass).async_block_till_done()


def _statistic_data(row: Row, factor: float) -> StatisticData:
    """Return a row in the unit of the statistic."""
    return StatisticData(
        start=_time(row.start),
        # The recorder writes a state to each row with a sum, so `or 0` is only for the
        # type checker.
        state=(row.state or 0) / factor,
        sum=row.sum / factor,
        last_reset=None if row.last_reset is None else _time(row.last_reset),
    )


def _time(seconds: float) -> datetime:
    return dt_util.utc_from_timestamp(seconds)
