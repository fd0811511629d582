"""The exact limits of plausible counter readings and measured values.

The expected figures follow from the documented constants: 79.5 kW for a meter without
current transformers, a tolerance of 5 s and of two steps, and rollovers at 1 000 000
and 9 999 999.99 kWh.
"""

import math

import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import (
    CounterCheck,
    CounterValue,
    Moment,
)

from .checked_counters import (
    HIGH_RESOLUTION,
    HIGHEST_KILOWATTS,
    LOW_RESOLUTION,
    PARTIAL,
    PRODUCED,
    TOTAL,
    CheckedCounters,
    accepted_counters,
)

DAY = 86_400  # s


def at(seconds: float) -> Moment:
    """Return the moment at which the monotonic clock shows `seconds`."""
    return Moment(1e9 + seconds, seconds)


def counter(
    value: float,
    *,
    offset: float = 0,
    moment: Moment | None = None,
    step: float = HIGH_RESOLUTION,
) -> CounterValue:
    """Return a counter value with its rollover offset and step, all in kWh."""
    return CounterValue(value, offset, moment or at(0), step)


def highest_accepted(last: CounterValue, moment: Moment, step: float) -> float:
    """Return the highest value in kWh that is accepted at a moment."""
    first = math.floor(last.value / step)
    values = (
        round(steps * step, 2)
        for steps in range(first, first + 100 * 100)  # 100 kWh in high resolution
    )
    return max(
        value
        for value in values
        if last.value_after(CounterValue(value, 0, moment, step), HIGHEST_KILOWATTS)
    )


@pytest.mark.parametrize(
    ("seconds", "step", "expected"),
    [
        # The highest rise is the energy of 79.5 kW in the elapsed time plus 5 s, and
        # two steps, rounded down to a step.
        (0, 0.01, 500.13),
        (1, 0.01, 500.15),
        (60, 0.01, 501.45),
        (3600, 0.01, 579.63),
        (0, 1.0, 502.0),
        (40, 1.0, 502.0),
        (41, 1.0, 503.0),
    ],
)
def test_rise_has_a_tolerance_of_5_seconds_and_two_steps(
    seconds: float, step: float, expected: float
) -> None:
    last = counter(500, step=step)
    assert highest_accepted(last, at(seconds), step) == expected


def test_tolerance_is_two_steps_of_the_lower_resolution() -> None:
    low_resolution = counter(500, step=LOW_RESOLUTION)
    assert highest_accepted(low_resolution, at(0), HIGH_RESOLUTION) == 502.11
    # 79.5 kW for 5 s are 0.11 kWh, which a reading in steps of 1 kWh cannot show.
    high_resolution = counter(500, step=HIGH_RESOLUTION)
    assert highest_accepted(high_resolution, at(0), LOW_RESOLUTION) == 502


# The arguments of a moment are the times of the system clock and of the monotonic
# clock. A moment from before a restart has no monotonic time. Across a restart, the
# elapsed time is at least 0 and at most 90 days.
@pytest.mark.parametrize(
    ("last", "new", "seconds"),
    [
        (Moment(0, 10), Moment(0, 70), 60),
        (Moment(100, 10), Moment(0, 70), 60),
        (Moment(0, 70), Moment(100, 10), -60),
        (Moment(100), Moment(160, 5), 60),
        (Moment(100), Moment(160), 60),
        (Moment(100), Moment(100, 5), 0),
        (Moment(100), Moment(40, 5), 0),
        (Moment(100, 5), Moment(160), 60),
        (Moment(0), Moment(90 * DAY, 5), 90 * DAY),
        (Moment(0), Moment(90 * DAY + 1, 5), 90 * DAY),
    ],
)
def test_elapsed_time_uses_the_system_clock_only_across_a_restart(
    last: Moment, new: Moment, seconds: float
) -> None:
    assert last.seconds_until(new) == seconds


@pytest.mark.parametrize(
    ("reading", "value"),
    [(500, 500), (499.99, 500), (499.98, None), (500.01, 500.01)],
)
def test_reading_lower_by_one_step_does_not_change_the_value(
    reading: float, value: float | None
) -> None:
    following = counter(500).value_after(counter(reading), HIGHEST_KILOWATTS)
    assert (following and following.value) == value


@pytest.mark.parametrize(
    ("steps", "reading", "value"),
    [
        ((0.01, 1.0), 500, 500.99),
        ((0.01, 1.0), 499, None),
        ((1.0, 0.01), 500.0, 500.99),
        ((1.0, 0.01), 499.99, 500.99),
        ((1.0, 0.01), 499.98, None),
        # If the resolution does not change, a reading may be lower by only 10 Wh.
        ((1.0, 1.0), 500.98, 500.99),
        ((1.0, 1.0), 500.97, None),
    ],
)
def test_counter_in_another_resolution_may_be_lower_by_1_kwh(
    steps: tuple[float, float], reading: float, value: float | None
) -> None:
    last, new = (
        counter(each, step=step)
        for each, step in zip((500.99, reading), steps, strict=True)
    )
    following = last.value_after(new, HIGHEST_KILOWATTS)
    assert (following and following.value) == value


@pytest.mark.parametrize("offset", [0, 1_000_000])
@pytest.mark.parametrize(
    ("register", "is_accepted"),
    [(900_000, True), (899_999.99, False), (999_999.99, True)],
)
def test_rollover_is_accepted_only_if_the_register_was_nearly_full(
    register: float, offset: float, *, is_accepted: bool
) -> None:
    # 60 days at 79.5 kW are 114 480 kWh, more than from 899 999.99 kWh to the rollover.
    last = counter(offset + register, offset=offset)
    following = last.value_after(counter(0, moment=at(60 * DAY)), HIGHEST_KILOWATTS)
    assert (following is not None) is is_accepted
    if following is not None:
        assert following.value == offset + 1_000_000
        assert following.rollover_offset == offset + 1_000_000


@pytest.mark.parametrize(
    ("reading", "value", "offset"),
    [
        (449.99, 449.99, 0),
        (450.0, 1_000_450.0, 1_000_000),
        (0, 0, 0),
        (600, 1_000_600, 1_000_000),
    ],
)
def test_level_below_nine_tenths_of_the_last_reading_drops_the_offset(
    reading: float, value: float, offset: float
) -> None:
    # The last reading of the register was 500 kWh. Nine tenths are 450 kWh.
    last = counter(1_000_500, offset=1_000_000)
    moved = last.moved_to(counter(reading))
    assert (moved.value, moved.rollover_offset) == (value, offset)


@pytest.mark.parametrize(
    ("primary", "amperes"), [(5, 100), (83, 100), (84, 100.8), (1000, 1200)]
)
def test_current_limit_is_120_percent_of_the_primary_current(
    primary: float, amperes: float
) -> None:
    assert Limits.of_transformer(primary).amperes == pytest.approx(amperes)


@pytest.mark.parametrize("primary", [600, 1000])
def test_limits_of_measured_values_follow_from_the_primary_current(
    primary: float,
) -> None:
    limits = Limits.of_transformer(primary)
    # A; the neutral may carry three phases, each with inrush (1.5) and overload (1.2).
    neutral = 3 * 1.5 * 1.2 * primary
    volts = 600
    for unit, bound in {
        "A": neutral,
        "W": volts * neutral,
        "var": volts * neutral,
        "VA": volts * neutral,
        "V": volts,
        "1": 1,
    }.items():
        assert limits.allow(unit, bound * (1 - 1e-9))
        assert limits.allow(unit, -bound * (1 - 1e-9))
        assert not limits.allow(unit, bound * (1 + 1e-9))
        assert not limits.allow(unit, -bound * (1 + 1e-9))
    hertz = (39.99, 40, 70, 70.01)
    assert [each for each in hertz if limits.allow("Hz", each)] == [40, 70]


# -- the check of one meter -----------------------------------------------------------

TARIFF_1, TARIFF_2 = "tariff_1_energy", "tariff_2_energy"


@pytest.fixture
def counters() -> CheckedCounters:
    """Return counters with the accepted values 500 kWh (total) and 50 kWh (partial)."""
    return accepted_counters()


# `overflows` are the numbers of rollovers that the meter reports, before and after the
# restart.
@pytest.mark.parametrize(
    ("overflows", "is_accepted"), [((1, 2), True), ((1, 1), False), ((None, 2), False)]
)
def test_rollover_of_a_register_that_was_not_nearly_full_must_be_reported(
    overflows: tuple[float | None, float], *, is_accepted: bool
) -> None:
    # With transformers for 5000 A, the highest power is 4 770 kW. In 30 days, the meter
    # can count more than the 1 100 000 kWh until the rollover.
    counters = CheckedCounters(Limits.of_transformer(5000))
    before, after = overflows
    counters.check.overflows = {TOTAL: before}
    assert not counters.rejected(energy_consumed=8_900_000.0)
    counters.restart(off=30 * DAY)
    counters.check.overflows = {TOTAL: after}
    assert (not counters.rejected(energy_consumed=100.0)) is is_accepted
    # The register rolled over at 9 999 999.99 kWh.
    assert counters.value() == (10_000_099.99 if is_accepted else 8_900_000)


@pytest.mark.parametrize("pause", [5, 5.01])
def test_power_is_unknown_after_a_pause_of_more_than_5_seconds(
    counters: CheckedCounters, pause: float
) -> None:
    def measure() -> None:
        counters.check.note_power(1, counters.clock.seconds)

    measure()
    # From this reading on, the measured power limits the rise.
    assert not counters.rejected(energy_consumed=500.0)
    measure()
    assert not counters.rejected(energy_consumed=500.0)
    counters.clock.seconds += pause
    measure()
    # In 10 s and the tolerance of 5 s, the meter can count 0.01 kWh at 2 kW (twice the
    # measured power), or 0.33 kWh at 79.5 kW.
    counters.clock.seconds += 5
    assert counters.rejected(energy_consumed=500.3) == (
        {TOTAL} if pause == 5 else set()
    )
    # Now the last reading of the power is older than 5 s.
    counters.clock.seconds += 0.01
    assert not counters.rejected(energy_consumed=500.3)


def test_rejected_level_begins_with_its_first_reading(
    counters: CheckedCounters,
) -> None:
    check = counters.check
    assert check.rejected_since("block") is None
    assert counters.rejected(energy_consumed=900.0)
    # Only `extend_level` begins a level.
    assert check.rejected_since("block") is None
    first = counters.now()
    assert not check.extend_level(counters.reading(energy_consumed=900.0))
    for _ in range(3):
        assert not counters.corrections(10, energy_consumed=900.0)
        assert check.rejected_since("block") == first
    assert not counters.rejected(energy_consumed=500.0)
    assert check.rejected_since("block") is None


def test_expected_resets_of_two_commands_are_accepted() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(tariff_1_energy=50.0, tariff_2_energy=60.0)
    counters.check.expect_reset({TARIFF_1})
    counters.check.expect_reset({TARIFF_2})
    assert not counters.rejected(tariff_1_energy=0.0, tariff_2_energy=0.0)
    assert counters.value(TARIFF_1) == counters.value(TARIFF_2) == 0


def test_accepted_reset_leaves_the_resets_of_other_counters_expected() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(tariff_1_energy=50.0, tariff_2_energy=60.0)
    counters.check.expect_reset({TARIFF_1, TARIFF_2})
    counters.check.accept_reset(counters.reading(tariff_1_energy=0.0))
    assert not counters.rejected(3600, tariff_1_energy=5.0, tariff_2_energy=0.0)
    # `rejected` has checked two readings. The first one was rejected, so only this
    # third reading confirms 5 kWh.
    assert not counters.read(tariff_1_energy=5.0, tariff_2_energy=0.0)
    assert counters.value(TARIFF_1) == 5
    assert counters.value(TARIFF_2) == 0
    assert counters.rejected(tariff_1_energy=0.0) == {TARIFF_1}


def test_accepted_reset_keeps_the_previous_reading_of_other_counters() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, partial_energy_consumed=50.0)
    # A single reading does not raise the accepted value.
    assert not counters.read(energy_consumed=500.05, partial_energy_consumed=50.05)
    assert counters.value() == 500
    counters.check.expect_reset({PARTIAL})
    counters.check.accept_reset(counters.reading(partial_energy_consumed=0.0))
    assert not counters.read(energy_consumed=500.05, partial_energy_consumed=0.0)
    assert counters.value() == 500.05


@pytest.mark.parametrize(
    ("limits", "kilowatts"),
    # 120 % of 2400 A are 28.8 times the 100 A without current transformers.
    [
        (Limits(), HIGHEST_KILOWATTS),
        (Limits.of_transformer(2400), 28.8 * HIGHEST_KILOWATTS),
    ],
)
@pytest.mark.parametrize("seconds", [0, 1, 25, 3600, 7200])
@pytest.mark.parametrize("step", [HIGH_RESOLUTION, LOW_RESOLUTION])
def test_reset_limit_is_the_energy_since_the_reset_and_one_step(
    limits: Limits, kilowatts: float, seconds: float, step: float
) -> None:
    limit = CounterCheck(limits).reset_limit(seconds, step)
    assert limit == pytest.approx(kilowatts * seconds / 3600 + step, abs=1e-9)


@pytest.mark.parametrize(
    ("counter_name", "is_rejected"), [(PARTIAL, False), (TOTAL, True)]
)
def test_first_reading_of_0_is_accepted_if_the_counter_can_be_reset(
    counter_name: str, *, is_rejected: bool
) -> None:
    counters = CheckedCounters()
    counters.check.counted_before = {PARTIAL, TOTAL}
    expected = {counter_name} if is_rejected else set()
    assert counters.rejected(**{counter_name: 0.0}) == expected


def test_pause_between_two_readings_counts_as_15_seconds_at_most(
    counters: CheckedCounters,
) -> None:
    assert counters.corrections(energy_consumed=900.0) == ()
    # Counted as 15 + 15 + 15 + 14.9 s. A level is accepted after 60 s.
    for pause in (1000, 16, 15, 14.9):
        assert counters.corrections(pause, energy_consumed=900.0) == ()
    assert counters.corrections(0.1, energy_consumed=900.0)


def test_level_that_was_read_only_at_one_moment_is_not_accepted(
    counters: CheckedCounters,
) -> None:
    for _ in range(100):
        assert counters.corrections(energy_consumed=900.0) == ()


@pytest.mark.parametrize("off", [0, 3600])
def test_level_with_a_restored_counter_is_accepted_after_ten_minutes(
    off: float,
) -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, energy_produced=50.0)
    counters.restart(off=off)
    assert not counters.rejected(energy_consumed=None, energy_produced=50.0)
    assert counters.corrections(energy_consumed=5000.0, energy_produced=50.0) == ()
    for _ in range(39):  # 39 * 15 s = 585 s
        assert (
            counters.corrections(15, energy_consumed=5000.0, energy_produced=50.0) == ()
        )
    assert counters.corrections(15, energy_consumed=5000.0, energy_produced=50.0)


def test_total_that_fell_stays_rejected_while_another_counter_is_accepted() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, energy_produced=50.0)
    assert counters.corrections(energy_consumed=400.0, energy_produced=60.0) == ()
    for _ in range(3):  # 3 * 15 s = 45 s; a level is accepted after 60 s
        assert (
            counters.corrections(15, energy_consumed=400.0, energy_produced=60.0) == ()
        )
    corrections = counters.corrections(15, energy_consumed=400.0, energy_produced=60.0)
    assert [each.counter for each in corrections] == [PRODUCED]
    assert counters.check.values == {TOTAL: 500, PRODUCED: 60}
    assert counters.check.rejected == {"block": {TOTAL: (500, 400)}}


@pytest.mark.parametrize(("reading", "rejected"), [(79.52, set()), (79.53, {PARTIAL})])
def test_reset_to_more_than_the_energy_since_the_last_reading_is_rejected(
    reading: float, rejected: set[str]
) -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, partial_energy_consumed=500.0)
    # 79.5 kW for 3595 s and the tolerance of 5 s, plus two steps, are 79.52 kWh.
    readings = {TOTAL: 500.0, PARTIAL: reading}
    assert counters.rejected(3595, HIGH_RESOLUTION, **readings) == rejected
