"""The connection test of the meter's manual: its conditions and its codes."""

from collections.abc import Mapping, Sequence

import pytest

from custom_components.socomec_countis.countis.wiring import (
    Condition,
    UnmetCondition,
    Wiring,
    check_wiring,
)

PHASES = ("l1", "l2", "l3")

type Reading = dict[str, float | None]


def reading(
    *phases: tuple[float | None, float | None, float | None, float | None],
) -> Reading:
    """Return a reading: V, A, W and power factor of each phase."""
    values: Reading = {"frequency": 50.0}
    for phase, (volts, amperes, watts, factor) in zip(PHASES, phases, strict=True):
        values |= {
            f"voltage_{phase}": volts,
            f"current_{phase}": amperes,
            f"power_{phase}": watts,
            f"power_factor_{phase}": factor,
        }
    return values


def three_phases(**changes: float | None) -> Reading:
    """Return a reading of a meter with three phases that is connected correctly."""
    phase = (230.0, 10.0, 2200.0, 0.96)
    return reading(phase, phase, phase) | changes


def single_phase(**changes: float | None) -> Reading:
    """Return a reading of one phase. The other phases have only a stray voltage."""
    stray = (12.0, 0.0, 0.0, 1.0)
    return reading((230.0, 25.0, 5500.0, 0.96), stray, stray) | changes


def check(*readings: Mapping[str, float | None]) -> Wiring:
    """Return the result of several readings, or of three copies of a single reading."""
    given: Sequence[Mapping[str, float | None]] = readings
    return check_wiring(given if len(readings) > 1 else list(readings) * 3)


def test_correctly_connected_meter_has_no_error() -> None:
    wiring = check(three_phases())
    assert (wiring.codes, wiring.unmet, wiring.phases) == ((0,), (), PHASES)


@pytest.mark.parametrize(("phase", "code"), [("l1", 1), ("l2", 2), ("l3", 3)])
def test_phase_with_negative_power_is_reversed(phase: str, code: int) -> None:
    assert check(three_phases(**{f"power_{phase}": -2200.0})).codes == (code,)


def test_every_reversed_phase_has_its_code() -> None:
    wiring = check(three_phases(power_l1=-2200.0, power_l3=-2200.0))
    assert wiring.codes == (1, 3)


@pytest.mark.parametrize(("phase", "code"), [("l1", 7), ("l2", 8), ("l3", 9)])
def test_phase_is_swapped_with_the_neutral_if_both_others_have_400_v(
    phase: str, code: int
) -> None:
    volts = {f"voltage_{each}": 400.0 for each in PHASES if each != phase}
    assert check(three_phases(**volts)).codes == (code,)


def test_swapped_neutral_hides_reversed_currents() -> None:
    wiring = check(three_phases(voltage_l2=400.0, voltage_l3=400.0, power_l2=-2200.0))
    assert wiring.codes == (7,)


def test_one_phase_of_400_v_is_no_swapped_neutral() -> None:
    assert check(three_phases(voltage_l2=400.0)).codes == (0,)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("quantity", "value", "condition"),
    [
        ("voltage", 150.0, Condition.VOLTAGE),
        ("voltage", None, Condition.VOLTAGE),
        ("current", 0.99, Condition.CURRENT),
        ("current", None, Condition.CURRENT),
        ("power_factor", 0.59, Condition.POWER_FACTOR),
        ("power_factor", -0.59, Condition.POWER_FACTOR),
        ("power_factor", None, Condition.POWER_FACTOR),
        ("power", None, Condition.STEADY),
    ],
)
def test_unmet_condition_of_a_phase_gives_no_code(
    phase: str, quantity: str, value: float | None, condition: Condition
) -> None:
    # With 20 A in each phase, two phases are a sufficient load, even if the current of
    # the third is too low.
    changes: Reading = {f"current_{each}": 20.0 for each in PHASES}
    wiring = check(three_phases(**changes | {f"{quantity}_{phase}": value}))
    assert wiring.codes == ()
    [unmet] = wiring.unmet
    assert (unmet.condition, unmet.phase) == (condition, phase)
    # The reported power factor has no sign.
    assert unmet.value == (value if value is None else abs(value))


@pytest.mark.parametrize(
    "at_the_limit",
    [
        {f"voltage_{phase}": 150.1 for phase in PHASES},
        {"current_l1": 1.0},
        {"power_factor_l1": 0.6},
        {"power_factor_l1": -0.6},
        {"power_factor_l1": 1.0},
        {"current_l1": 6.0, "current_l2": 7.0, "current_l3": 7.0},  # 20 A in total
    ],
)
def test_phase_that_just_meets_a_condition_is_tested(at_the_limit: Reading) -> None:
    assert check(three_phases(**at_the_limit)).codes == (0,)


def test_less_than_20_a_in_all_phases_together_is_too_little_load() -> None:
    wiring = check(three_phases(current_l1=5.0, current_l2=5.0, current_l3=9.9))
    assert wiring.codes == ()
    assert wiring.unmet == (UnmetCondition(Condition.LOAD, "", 19.9),)


def test_power_that_changes_its_sign_is_not_steady() -> None:
    wiring = check(three_phases(), three_phases(power_l2=-2200.0), three_phases())
    assert wiring.codes == ()
    # The mean of 2200, -2200 and 2200 W.
    assert wiring.unmet == (UnmetCondition(Condition.STEADY, "l2", round(2200 / 3, 3)),)


def test_value_that_is_missing_in_one_reading_is_not_available() -> None:
    wiring = check(three_phases(), three_phases(voltage_l3=None), three_phases())
    assert wiring.unmet == (UnmetCondition(Condition.VOLTAGE, "l3", None),)


def test_all_unmet_conditions_are_reported() -> None:
    dead = (0.0, 0.0, 0.0, 1.0)
    wiring = check(reading((230.0, 3.0, 200.0, 0.3), (230.0, 0.2, 40.0, 1.0), dead))
    assert [(unmet.condition, unmet.phase) for unmet in wiring.unmet] == [
        (Condition.POWER_FACTOR, "l1"),
        (Condition.CURRENT, "l2"),
        (Condition.VOLTAGE, "l3"),
        (Condition.CURRENT, "l3"),
        (Condition.LOAD, ""),
    ]


def test_power_factors_of_both_signs_do_not_cancel_out() -> None:
    wiring = check(
        three_phases(power_factor_l1=0.99), three_phases(power_factor_l1=-0.99)
    )
    assert wiring.codes == (0,)
    assert wiring.values["power_factor_l1"] == 0.99


def test_single_phase_is_tested_alone() -> None:
    wiring = check(single_phase())
    assert (wiring.codes, wiring.phases) == ((0,), ("l1",))
    assert wiring.values.keys() == {
        "voltage_l1",
        "current_l1",
        "power_l1",
        "power_factor_l1",
    }


def test_reversed_single_phase_has_its_code() -> None:
    assert check(single_phase(power_l1=-5500.0)).codes == (1,)


def test_single_phase_with_less_than_20_a_has_too_little_load() -> None:
    wiring = check(single_phase(current_l1=19.0))
    assert wiring.unmet == (UnmetCondition(Condition.LOAD, "", 19.0),)


def test_phases_that_the_meter_does_not_have_are_not_tested() -> None:
    missing = (None, None, None, None)
    wiring = check(reading((230.0, 25.0, 5500.0, 0.96), missing, missing))
    assert (wiring.codes, wiring.phases) == ((0,), ("l1",))


def test_unconnected_phase_of_three_is_reported() -> None:
    wiring = check(three_phases(voltage_l2=10.0, current_l2=0.0, power_l2=0.0))
    assert wiring.phases == PHASES
    assert [(unmet.condition, unmet.phase) for unmet in wiring.unmet] == [
        (Condition.VOLTAGE, "l2"),
        (Condition.CURRENT, "l2"),
    ]


def test_values_are_means_of_the_readings() -> None:
    wiring = check(three_phases(power_l1=2000.0), three_phases(power_l1=2400.0))
    assert wiring.values["power_l1"] == 2200
