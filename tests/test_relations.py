"""The exact limits of relations between registers, such as a total and its parts."""

import asyncio
import math

from modbus_connection.mock import MockModbusConnection
import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import CounterValue, Moment
from custom_components.socomec_countis.countis.registers import (
    Energies,
    EnergiesInKwh,
)
from custom_components.socomec_countis.countis.relations import (
    Relations,
    highest_power,
    power_sums_up,
    relations_of,
    same_counters,
)

type Values = dict[str, float | None]

HOUR = 3600  # s
HIGHEST_KILOWATTS = 79.5  # the highest power of `Limits()`: 3 phases * 265 V * 100 A
NOT_AVAILABLE = 0xFFFF_FFFF  # raw value of a counter


def powers(total: float | None, *phases: float | None) -> Values:
    """Return measured powers in W."""
    names = ("power_l1", "power_l2", "power_l3")
    return {"power": total, **dict(zip(names, phases, strict=True))}


def tariff_counters(*values: float | None) -> Values:
    """Return tariff counters in kWh."""
    return {f"tariff_{index}_energy": value for index, value in enumerate(values, 1)}


@pytest.mark.parametrize(
    ("values", "sums_up"),
    [
        (powers(600, 100, 200, 300), True),
        (powers(630, 100, 200, 300), True),
        (powers(570, 100, 200, 300), True),
        (powers(640, 100, 200, 300), False),
        (powers(560, 100, 200, 300), False),
        (powers(-200, 100, 0, -300), True),
        (powers(200, 100, 0, -300), False),
        (powers(0, 0, 0, 0), True),
        (powers(None, 100, 200, 300), True),
        (powers(5000, 100, None, 300), True),
        ({"power": 5000}, True),
        ({}, True),
    ],
)
def test_power_is_the_sum_of_the_phases_within_30_watts(
    values: Values, *, sums_up: bool
) -> None:
    assert power_sums_up(values) is sums_up


@pytest.mark.parametrize("contradictions", [9, 10])
def test_relation_of_the_power_ends_after_ten_contradictions_in_a_row(
    contradictions: int,
) -> None:
    relations = Relations({"power"})
    good, bad = powers(600, 100, 200, 300), powers(900, 100, 200, 300)
    for _ in range(9):
        assert (
            relations.power_contradiction(bad)
            == "the power is not the sum of its phases"
        )
    # A reading without a contradiction restarts the count.
    assert relations.power_contradiction(good) is None
    for _ in range(contradictions):
        assert relations.power_contradiction(bad)
    assert relations.contradicts_profile is (contradictions == 10)
    is_still_checked = relations.power_contradiction(bad) is not None
    assert is_still_checked is (contradictions == 9)


def test_relation_that_the_profile_does_not_contain_is_not_checked() -> None:
    relations = Relations(())
    assert relations.power_contradiction(powers(900, 100, 200, 300)) is None
    # 100 kWh without a rollover offset, read at 0 s in steps of 0.01 kWh.
    total = CounterValue(100, 0, Moment(0, 0), 0.01)
    assert not relations.tariffs_contradict_total(
        tariff_counters(1), total, Moment(0, 0), Limits()
    )
    assert not relations.contradicts_profile


# `seconds` is the time from the read of the total to the read of the tariff counters,
# and `step` the resolution of the total in kWh.
@pytest.mark.parametrize("seconds", [0, HOUR, -HOUR])
@pytest.mark.parametrize("step", [0.01, 1.0])
def test_tariffs_sum_up_to_the_total_within_five_steps_and_the_highest_rise(
    step: float, seconds: float
) -> None:
    # A `Moment` is a time by the system clock, and by the event loop's clock. The first
    # is used only after a restart, so it has no effect here.
    at = Moment(abs(seconds), 10_000 + seconds)
    total = CounterValue(1000, 0, Moment(0, 10_000), step)
    # The most that a counter can rise between the two reads, in kWh.
    rise = HIGHEST_KILOWATTS * abs(seconds) / HOUR

    def is_contradiction(tariff_sum: float) -> bool:
        relations = Relations({"tariffs"})
        # Values that are None are left out of the sum.
        readings = {**tariff_counters(tariff_sum - 400, 400, None), "other": None}
        return relations.tariffs_contradict_total(readings, total, at, Limits())

    # Test the exact border only with steps of 1 kWh, because of rounding errors.
    if step == 1:
        assert not is_contradiction(1000 - 5)
        assert not is_contradiction(1000 + rise + 5)
    assert not is_contradiction(1000 - 4.9 * step)
    assert is_contradiction(1000 - 5.1 * step)
    assert not is_contradiction(1000 + rise + 4.9 * step)
    assert is_contradiction(1000 + rise + 5.1 * step)


def test_two_contradictions_in_a_row_end_the_relation_of_the_tariffs() -> None:
    relations = Relations({"tariffs"})
    total = CounterValue(1000, 0, Moment(0, 0), 0.01)

    def is_contradiction(tariff_sum: float) -> bool:
        readings = tariff_counters(tariff_sum)
        return relations.tariffs_contradict_total(
            readings, total, Moment(0, 0), Limits()
        )

    contradictions = [is_contradiction(each) for each in (900, 1000, 900, 1000)]
    assert contradictions == [True, False, True, False]
    # A second sum of 900 kWh in a row ends the relation: no later reading is compared.
    contradictions = [is_contradiction(each) for each in (900, 900, 900, 1000, 900)]
    assert contradictions == [True, False, False, False, False]
    # Without an accepted total, there is nothing to compare.
    relations = Relations({"tariffs"})
    assert not relations.tariffs_contradict_total(
        tariff_counters(1), None, Moment(0, 0), Limits()
    )


@pytest.mark.parametrize("step", [0.01, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_relation_of_the_tariffs_is_found_within_five_steps(
    step: float, sign: int
) -> None:
    def found(distance: float) -> frozenset[str]:
        tariffs = tariff_counters(600, 400 + sign * distance)
        return relations_of({"energy_consumed": 1000, **tariffs}, step, ())

    if step == 1:
        assert found(5) == {"tariffs"}
    assert found(4.9 * step) == {"tariffs"}
    assert found(5.1 * step) == frozenset()
    # A total that is 0 or not available does not show the relation.
    assert relations_of({"energy_consumed": 0, **tariff_counters(0)}, step, ()) == set()
    assert relations_of({"energy_consumed": None}, step, ()) == frozenset()


@pytest.mark.parametrize("previous", [set(), {"power"}, {"tariffs"}])
def test_relation_of_the_power_is_found_with_a_load_and_kept_without_a_load(
    previous: set[str],
) -> None:
    assert relations_of(powers(600, 100, 200, 300), 0.01, previous) == {"power"}
    assert relations_of(powers(900, 100, 200, 300), 0.01, previous) == set()
    for values in (powers(0, 0, 0, 0), powers(0, 900, 0, 0), powers(None, 0, 0, 0)):
        assert relations_of(values, 0.01, previous) == previous & {"power"}


@pytest.mark.parametrize(
    ("values", "highest"),
    [
        (powers(600, 100, 200, 300), 600),
        (powers(-600, -100, -200, -300), 600),
        (powers(0, 1000, -2000, 1000), 4000),  # the sum of the absolute values
        ({**powers(600, 100, 200, 300), "reactive_power": -700}, 700),
        ({**powers(600, 100, 200, 300), "apparent_power": 800}, 800),
        ({"power": 600}, 600),
        (powers(0, 0, 0, 0), 0),
        (powers(None, 100, 200, 300), math.inf),
        ({}, math.inf),
    ],
)
def test_highest_power_is_a_total_or_the_sum_of_absolute_phase_powers(
    values: Values, highest: float
) -> None:
    assert highest_power(values) == highest


# `high` is a counter in steps of 10 Wh: 101_10 is 101.10 kWh. `low` is the same
# counter in steps of 1 kWh.
@pytest.mark.parametrize(
    ("high", "low", "same"),
    [
        (100_00, 100, True),
        (101_10, 100, True),
        (1_10, 0, True),
        (1_11, 0, False),
        (101_11, 100, False),
        (98_90, 100, True),
        (98_89, 100, False),
        (NOT_AVAILABLE, 100, True),
        (500_00, NOT_AVAILABLE, True),
    ],
)
def test_counter_may_differ_by_1_1_kwh_between_its_resolutions(
    high: int, low: int, *, same: bool
) -> None:
    unit = MockModbusConnection().for_unit(1)
    blocks = (Energies(unit), EnergiesInKwh(unit))
    with asyncio.Runner() as runner:
        for block, raw in zip(blocks, (high, low), strict=True):
            for name, number in {
                "energy_consumed": NOT_AVAILABLE,  # so this counter is not compared
                "energy_produced": raw,
            }.items():
                address = block.declared_fields[name].address
                unit.holding |= {address: number >> 16, address + 1: number & 0xFFFF}
            runner.run(block.async_update())
    assert same_counters(*blocks) is same
