"""The rows that are planned for a gap: energy, resets, refused sums, and costs."""

from collections.abc import Iterable

import pytest

from custom_components.socomec_countis.gap_statistics import (
    HOUR,
    SUM_TOLERANCE,
    Plan,
    Row,
    Statistic,
    plan_costs,
    plan_counter,
)
from homeassistant.components.recorder.models import (
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.exceptions import HomeAssistantError

# The gap is in hours 1 to 3. `HOURS` contains the starts of hours 1 and 2. Hour 3 is
# the end hour, whose row is not changed.
HOURS = [1 * HOUR, 2 * HOUR]
# Cumulative fractions of the energy, at the end of hours 1 and 2. The rest (0.25) is
# the energy of hour 3.
PARTS = [0.25, 0.75]


def statistic(rows: Iterable[tuple[float, float | None, float]]) -> Statistic:
    """Return a statistic from the hour, the state and the sum of each row."""
    metadata = StatisticMetaData(
        mean_type=StatisticMeanType.NONE,
        has_sum=True,
        name=None,
        source="recorder",
        statistic_id="sensor.energy",
        unit_class="energy",
        unit_of_measurement="kWh",
    )
    return Statistic(
        metadata,
        {hour * HOUR: Row(hour * HOUR, state, total) for hour, state, total in rows},
    )


def planned(*rows: tuple[float, float | None, float], before: float = 100) -> Plan:
    """Return the plan for a counter that has `before` kWh when the gap begins.

    The total counter to which this counter belongs (see `Gap`) counts 4 kWh in hours 1
    to 3.
    """
    plan = plan_counter(statistic(rows), HOURS, before, PARTS, 4)
    assert plan is not None
    return plan


def test_energy_rises_from_the_row_before_the_gap_to_the_end_hour() -> None:
    plan = planned((0, 100, 10), (3, 104, 14))
    # 0.25 and 0.75 of 4 kWh are added to the state 100 and the sum 10 before the gap.
    assert plan.rows == [Row(HOUR, 101, 11), Row(2 * HOUR, 103, 13)]
    # Hours 1 and 2 have no rows. For these hours, `present` contains copies of the row
    # before the gap, so their present energy is 0.
    assert plan.present == [Row(HOUR, 100, 10), Row(2 * HOUR, 100, 10)]
    # The start of each hour, its present energy, and its proposed energy in kWh.
    assert plan.energies == [
        (HOUR, 0, 1),
        (2 * HOUR, 0, 2),
        (3 * HOUR, 4, 1),
    ]


def test_energy_before_the_gap_stays_in_its_hour() -> None:
    plan = planned((0, 100, 10), (1, 102, 12), (3, 104, 14), before=102)
    # 2 kWh of hour 1 were counted before the gap. With `PARTS` alone, the sums would be
    # 11 and 13.
    assert [row.sum for row in plan.rows] == [12, 13]


def test_reset_counter_rises_after_its_reset() -> None:
    plan = planned((0, 100, 10), (1, 102, 12), (3, 2, 14), before=102)
    # `PARTS` gives 1, 2 and 1 kWh to hours 1 to 3. The counter shows 2 kWh after its
    # reset: the 1 kWh of hour 3, and the last 1 kWh of hour 2.
    assert plan.rows == [Row(HOUR, 102, 12), Row(2 * HOUR, 1, 13)]


@pytest.mark.parametrize(
    "rows",
    [
        [(3, 104, 14)],  # no row before the gap
        [(0, None, 10), (3, 104, 14)],  # no state before the gap
        [(0, 100, 10)],  # no row of the end hour
        [(0, 100, 10), (3, None, 14)],  # no state in the end hour
        # Several resets: the sum rose by 20 kWh, but the counter shows only 2 kWh.
        [(0, 100, 10), (3, 2, 30)],
    ],
)
def test_counter_with_missing_rows_or_several_resets_has_no_plan(
    rows: list[tuple[float, float | None, float]],
) -> None:
    assert plan_counter(statistic(rows), HOURS, 100, PARTS, 4) is None


@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_that_contradict_the_counter_are_refused(sign: int) -> None:
    excess = sign * (SUM_TOLERANCE + 0.001)
    # A sum within the tolerance is not refused.
    planned((0, 100, 10), (3, 104, 14 + 0.99 * sign * SUM_TOLERANCE))
    with pytest.raises(HomeAssistantError):
        planned((0, 100, 10), (3, 104, 14 + excess))


# The energy of the gap is 4 kWh. The energy until the end of hour 2 is below 0 or above
# 4 kWh, by more than `SUM_TOLERANCE` (0.02 kWh).
@pytest.mark.parametrize("energy", [-0.021, 4.021])
def test_sum_in_the_gap_that_is_not_between_the_sums_around_it_is_refused(
    energy: float,
) -> None:
    with pytest.raises(HomeAssistantError):
        planned((0, 100, 10), (2, 100, 10 + energy), (3, 104, 14))


def test_costs_are_distributed_as_the_energy() -> None:
    counter = planned((0, 100, 10), (3, 104, 14))
    costs = plan_costs(statistic([(0, None, 1), (3, None, 3)]), counter)
    assert costs is not None
    assert [row.sum for row in costs.rows] == [1.5, 2.5]  # 1 + 0.25 * 2, 1 + 0.75 * 2


@pytest.mark.parametrize("rows", [[(3, None, 3)], [(0, None, 1)]])
def test_costs_without_rows_around_the_gap_have_no_plan(
    rows: list[tuple[float, float | None, float]],
) -> None:
    counter = planned((0, 100, 10), (3, 104, 14))
    assert plan_costs(statistic(rows), counter) is None


def test_costs_of_a_counter_that_did_not_rise_have_no_plan() -> None:
    counter = planned((0, 100, 10), (3, 100, 10))
    assert plan_costs(statistic([(0, None, 1), (3, None, 3)]), counter) is None
