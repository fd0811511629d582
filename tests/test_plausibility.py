"""The plausibility of counter readings and of measured values.

`CheckedCounters.read` checks a reading once, `CheckedCounters.rejected` checks it
twice. Both return the counters that are rejected.
"""

import json
import logging
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import (
    CounterCheck,
    CounterReading,
    Moment,
)

from .checked_counters import (
    HIGH_RESOLUTION,
    HIGHEST_KILOWATTS,
    LOW_RESOLUTION,
    PARTIAL,
    PRODUCED,
    ROLLOVERS,
    TOTAL,
    CheckedCounters,
    accepted_counters,
)


@pytest.fixture
def counters() -> CheckedCounters:
    """Return counters with the accepted values 500 kWh (total) and 50 kWh (partial)."""
    return accepted_counters()


# -- limits ------------------------------------------------------------------------


# The neutral may carry the inrush current of three phases: 3 * 1.5 * 100 A. The limits
# of the power are those of 450 A at 600 V.
@pytest.mark.parametrize(
    ("unit", "lowest", "highest"),
    [
        ("V", 0, 600),
        ("A", 0, 450),
        ("Hz", 40, 70),
        ("W", -270_000, 270_000),
        ("var", -270_000, 270_000),
        ("VA", 0, 270_000),
        ("1", -1, 1),
    ],
)
def test_value_outside_the_limits_of_its_unit_is_not_allowed(
    unit: str, lowest: float, highest: float
) -> None:
    limits = Limits()
    assert limits.allow(unit, lowest)
    assert limits.allow(unit, highest)
    assert not limits.allow(unit, highest + 0.001)
    # The registers of V, A and VA are unsigned, so values below 0 are not tested.
    if lowest:
        assert not limits.allow(unit, lowest - 0.001)


@pytest.mark.parametrize("unit", [None, "kWh"])
def test_value_of_a_unit_without_limits_is_allowed(unit: str | None) -> None:
    assert Limits().allow(unit, 1e9)


# The highest power is that of three phases at 265 V, each with 120 % of the primary
# current (in A), but at least 100 A.
@pytest.mark.parametrize(
    ("primary", "kilowatts"), [(5, 79.5), (100, 95.4), (600, 572.4), (5000, 4770)]
)
def test_current_transformer_allows_a_faster_rise_of_a_total(
    primary: float, kilowatts: float
) -> None:
    counters = CheckedCounters(Limits.of_transformer(primary))
    assert counters.check.limits.kilowatts == pytest.approx(kilowatts)
    assert not counters.rejected(energy_consumed=500.0)
    # Together, the tolerances of 5 s and two steps are less than 0.2 % of the highest
    # rise in 1 h.
    assert counters.rejected(3600, energy_consumed=500 + kilowatts * 1.002) == {TOTAL}
    assert not counters.rejected(energy_consumed=500 + kilowatts)


# -- rising and falling ------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 14, 60, 3600, 86_400, 30 * 86_400])
def test_total_that_rose_more_than_the_meter_can_count_is_rejected(
    counters: CheckedCounters, seconds: float
) -> None:
    highest = round(500 + HIGHEST_KILOWATTS * seconds / 3600, 2)
    # The tolerances for time and resolution are less than 0.5 kWh together.
    assert counters.rejected(seconds, energy_consumed=highest + 0.5) == {TOTAL}
    assert counters.value() == 500
    assert not counters.rejected(energy_consumed=highest)
    assert counters.value() == highest


@pytest.mark.parametrize("seconds", [0, 1, 86_400])
@pytest.mark.parametrize("reading", [499.98, 499.0, 50.0, 0.01, 0.0])
def test_total_below_last_value_is_rejected(
    counters: CheckedCounters, seconds: float, reading: float
) -> None:
    assert counters.rejected(seconds, energy_consumed=reading) == {TOTAL}
    assert counters.value() == 500


def test_total_lower_by_10_wh_keeps_its_value_until_the_register_rises(
    counters: CheckedCounters,
) -> None:
    for reading, value in ((499.99, 500), (499.99, 500), (500, 500), (500.01, 500.01)):
        assert not counters.rejected(60, energy_consumed=reading)
        assert counters.value() == value
    assert counters.rejected(energy_consumed=499.99) == {TOTAL}


def test_partial_counter_reset_at_1_kwh_falls_to_zero_in_low_resolution() -> None:
    counters = CheckedCounters()
    for reading in (1, 0, 1):
        assert not counters.rejected(
            60, LOW_RESOLUTION, partial_energy_consumed=reading
        )
        assert counters.value(PARTIAL) == reading


@pytest.mark.parametrize("change", [-86_400 * 365, 86_400 * 365])
def test_changed_system_clock_does_not_change_the_highest_rise(
    counters: CheckedCounters, change: float
) -> None:
    counters.wall_offset = change
    # In 60 s, the meter can count 1.3 kWh.
    assert counters.rejected(60, energy_consumed=505.0) == {TOTAL}
    assert not counters.rejected(energy_consumed=501.0)
    assert counters.value() == 501.0


def test_first_reading_is_accepted_when_the_next_reading_agrees() -> None:
    counters = CheckedCounters()
    assert counters.read(energy_consumed=500.0) == {TOTAL}
    assert counters.read(energy_consumed=900.0) == {TOTAL}
    assert counters.check.values == {}
    assert counters.read(energy_consumed=900.01) == set()
    assert counters.value() == 900.0


def test_counter_rises_to_the_lower_of_two_readings(
    counters: CheckedCounters,
) -> None:
    for reading, value in (
        (500.01, 500.0),
        (500.02, 500.01),
        (500.06, 500.02),
        (500.02, 500.02),
        (500.03, 500.02),
    ):
        assert not counters.read(energy_consumed=reading)
        assert counters.value() == value


def test_single_zero_does_not_reset_a_partial_counter(
    counters: CheckedCounters,
) -> None:
    for reading in (0.0, 50.0, 0.0, 50.01):
        counters.read(partial_energy_consumed=reading)
        assert counters.value(PARTIAL) == 50.0


def test_rise_limit_uses_the_time_since_the_last_accepted_reading() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=500.0, energy_produced=0.0)
    for _ in range(30):
        assert counters.rejected(1, energy_consumed=0.0, energy_produced=0.0)
    # In the 1 s since the last rejected reading, the meter can count only 0.15 kWh,
    # even with the tolerances. But the limit uses the time since the last accepted
    # reading.
    assert not counters.rejected(1, energy_consumed=500.0, energy_produced=0.2)
    assert counters.value(PRODUCED) == 0.2


def test_first_reading_of_0_is_rejected_if_the_counter_was_above_0_before() -> None:
    counters = CheckedCounters()
    counters.check.counted_before = {TOTAL}
    # Even a level of 0 that lasts for 1000 s is not accepted.
    for _ in range(1000):
        assert not counters.corrections(1, energy_consumed=0.0)
    assert counters.check.values == {}
    assert not counters.rejected(energy_consumed=500.0)


# In gaps.py, a gap ends only at a reading after which `may_rise` is True.
def test_first_reading_after_a_rejection_or_restart_cannot_confirm_a_rise(
    counters: CheckedCounters,
) -> None:
    assert counters.read(energy_consumed=900.0)
    assert not counters.read(energy_consumed=500.0)
    assert not counters.check.may_rise("block")
    assert not counters.read(energy_consumed=500.0)
    assert counters.check.may_rise("block")
    counters.restart()
    assert not counters.read(energy_consumed=500.0)
    assert not counters.check.may_rise("block")


def test_reading_with_which_a_level_is_accepted_can_confirm_a_rise(
    counters: CheckedCounters,
) -> None:
    while not counters.corrections(10, energy_consumed=900.0):
        assert not counters.check.may_rise("block")
    assert counters.check.may_rise("block")


# -- power -------------------------------------------------------------------------


# `rise` is in kWh. The limit is the energy of twice the power in 24 s (19 s and a
# tolerance of 5 s), plus two steps of 0.01 kWh. At 10 kW, the energy of 20 kW in 24 s
# is 0.13 kWh, so the limit is 0.15 kWh.
@pytest.mark.parametrize(
    ("kilowatts", "rise", "accepted"),
    [(0, 0.02, True), (0, 0.03, False), (10, 0.15, True), (10, 0.16, False)],
)
def test_rise_is_limited_to_twice_the_highest_power(
    counters: CheckedCounters, kilowatts: float, rise: float, *, accepted: bool
) -> None:
    for _ in range(18):
        counters.check.note_power(kilowatts, counters.clock())
        counters.clock.seconds += 1
        assert not counters.rejected(energy_consumed=500.0)
    # For 19 s, only the power is read, not the counters.
    for _ in range(19):
        counters.check.note_power(kilowatts, counters.clock())
        counters.clock.seconds += 1
    assert counters.rejected(energy_consumed=500 + rise) == (
        set() if accepted else {TOTAL}
    )


def test_rise_limit_uses_the_highest_power_since_the_last_reading(
    counters: CheckedCounters,
) -> None:
    counters.check.note_power(30, counters.clock())
    assert not counters.rejected(energy_consumed=500.0)
    for kilowatts in (0, 10, 0):
        counters.clock.seconds += 5
        counters.check.note_power(kilowatts, counters.clock())
    # The highest power is the 30 kW at the last reading. At twice 30 kW, the meter can
    # count 0.33 kWh in 15 s and the tolerance of 5 s. The tolerance of two steps is
    # 0.02 kWh.
    assert counters.rejected(energy_consumed=500.36) == {TOTAL}
    assert not counters.rejected(energy_consumed=500.35)


def test_power_limits_no_rise_after_a_pause_between_its_readings(
    counters: CheckedCounters,
) -> None:
    # If the power was not read for over 5 s, the highest power is unknown. If the check
    # took 0 kW for the highest power, it would reject the rises of 0.2 kWh.
    for seconds in (0, 1, 6, 1):
        counters.clock.seconds += seconds
        counters.check.note_power(0, counters.clock())
    assert not counters.rejected(energy_consumed=500.2)
    assert not counters.rejected(6, energy_consumed=500.4)


def test_lasting_rise_above_the_power_limit_is_accepted_without_correction(
    counters: CheckedCounters,
) -> None:
    counters.check.note_power(0, counters.clock())
    assert not counters.rejected(energy_consumed=500.0)
    # At a power of 0, a rise of over 0.02 kWh is rejected until the new level has
    # lasted for 60 s.
    for second in range(62):
        counters.check.note_power(0, counters.clock())
        assert not counters.corrections(1, energy_consumed=500.1 + second // 30 / 100)
        if counters.value() > 500:
            break
    assert counters.value() == 500.12  # the reading at 60 s
    assert second == 60


# -- restarts ----------------------------------------------------------------------


@pytest.mark.parametrize("off", [60, 3600, 86_400])
def test_rise_after_a_restart_is_limited_by_the_system_clock(
    counters: CheckedCounters, off: float
) -> None:
    counters.restart(off=off)
    highest = round(500 + HIGHEST_KILOWATTS * off / 3600, 2)
    assert counters.rejected(energy_consumed=highest + 0.5) == {TOTAL}
    assert not counters.rejected(energy_consumed=highest)


def test_rise_is_accepted_when_the_system_clock_is_set_after_a_restart(
    counters: CheckedCounters,
) -> None:
    counters.wall_offset = -1_000_000_000
    counters.restart(off=3600)
    for _ in range(30):
        assert not counters.corrections(10, energy_consumed=550.0)
    counters.wall_offset = 0
    assert not counters.rejected(energy_consumed=550.0)
    assert counters.value() == 550


def test_system_clock_in_the_future_allows_a_rise_of_90_days(
    counters: CheckedCounters,
) -> None:
    counters.wall_offset = 86_400 * 365 * 20
    counters.restart()
    highest = 500 + HIGHEST_KILOWATTS * 24 * 90
    assert counters.rejected(energy_consumed=highest + 1) == {TOTAL}
    assert not counters.rejected(energy_consumed=highest)


# -- rollovers ---------------------------------------------------------------------


@pytest.mark.parametrize("step", [HIGH_RESOLUTION, LOW_RESOLUTION])
@pytest.mark.parametrize("rollover", [*ROLLOVERS, 2**32])
def test_counter_continues_to_rise_after_rollovers_of_its_register(
    rollover: float, step: float
) -> None:
    # The values of `rollover` are in kWh, except 2**32, which is in steps of the
    # register. `rollover_hundredths` and `counted` are in hundredths of a kWh.
    rollover_hundredths = round(rollover * (step if rollover == 2**32 else 1) * 100)
    counters = CheckedCounters()
    counted = rollover_hundredths - 250
    accepted = 0.0
    for _ in range(3):
        for _ in range(10):
            shown = counted % rollover_hundredths / 100 // step * step
            assert not counters.rejected(60, step, energy_consumed=round(shown, 2))
            assert accepted <= counters.value() <= counted / 100
            accepted = counters.value()
            # Two of the possible rollovers differ by 10 Wh, and the check assumes the
            # lower one. So the value may lose 10 Wh at each rollover.
            assert accepted >= counted / 100 - step - 3 * 0.01
            counted += 51
        # The register counts up to just below its next rollover, at the highest power.
        rest = rollover_hundredths - 10 * 51
        counted += rest
        counters.clock.seconds += rest / 100 / HIGHEST_KILOWATTS * 3600


@pytest.mark.parametrize("rollover", [*ROLLOVERS, 2**32 * HIGH_RESOLUTION])
def test_each_rollover_to_zero_adds_a_rollover_offset(rollover: float) -> None:
    counters = CheckedCounters()
    for rollovers in range(1, 50):
        assert not counters.rejected(energy_consumed=round(rollover - 0.01, 2))
        assert not counters.rejected(60, energy_consumed=0)
        assert not counters.rejected(60, energy_consumed=0)
        # Even for a rollover at 10 000 000 kWh, the check adds only 9 999 999.99 kWh,
        # because a rollover at this lower value is plausible as well.
        expected = pytest.approx(rollovers * rollover, abs=0.011 * rollovers)
        assert counters.value() == expected
        counters.clock.seconds += rollover / HIGHEST_KILOWATTS * 3600


def test_counters_of_a_block_are_accepted_together_or_not_at_all(
    counters: CheckedCounters,
) -> None:
    rejected = counters.rejected(
        60, energy_consumed=500.5, partial_energy_consumed=99, energy_produced=1
    )
    assert rejected == {PARTIAL}
    assert counters.check.values == {TOTAL: 500.0, PARTIAL: 50.0}


def test_counter_that_is_not_available_keeps_its_value(
    counters: CheckedCounters,
) -> None:
    assert not counters.rejected(60, energy_consumed=None, partial_energy_consumed=50.5)
    assert counters.check.values == {TOTAL: 500.0, PARTIAL: 50.5}
    assert counters.rejected(60, energy_consumed=0.0) == {TOTAL}
    assert not counters.rejected(energy_consumed=501.0)


# -- resolution --------------------------------------------------------------------


def test_change_to_low_resolution_neither_lowers_nor_stops_a_counter() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=1234.56)
    for reading, value in (
        (1234, 1234.56),
        (1234, 1234.56),
        (1235, 1235),
        (1235, 1235),
        (1236, 1236),
    ):
        assert not counters.rejected(60, LOW_RESOLUTION, energy_consumed=reading)
        assert counters.value() == value


def test_change_to_high_resolution_neither_lowers_nor_stops_a_counter() -> None:
    counters = CheckedCounters()
    # A reading in low resolution differs by at most 1 kWh from the same reading in high
    # resolution, whether the meter rounds or truncates.
    assert not counters.rejected(energy_consumed=1235, step=LOW_RESOLUTION)
    for reading in (1234.56, 1234.57, 1234.99, 1235.01, 1235.5):
        assert not counters.rejected(60, energy_consumed=reading)
        assert counters.value() == max(1235, reading)


def test_rise_that_low_resolution_did_not_show_is_accepted_afterwards() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=1234.01)
    for _ in range(10):
        assert not counters.rejected(60, LOW_RESOLUTION, energy_consumed=1234)
    assert not counters.rejected(1, energy_consumed=1234.99)
    assert counters.value() == 1234.99


# -- resets ------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 3600])
def test_reset_is_accepted_if_the_meter_can_have_counted_the_new_value(
    counters: CheckedCounters, seconds: float
) -> None:
    # The highest value after a reset: the energy that the meter can count in `seconds`.
    highest = round(HIGHEST_KILOWATTS * seconds / 3600, 2)
    # In 1 h, the meter can count 79.5 kWh. So after 1 h, any fall from 50 kWh is
    # plausible.
    if highest + 0.5 < 50:
        rejected = counters.rejected(seconds, partial_energy_consumed=highest + 0.5)
        assert rejected == {PARTIAL}
    assert not counters.rejected(seconds, partial_energy_consumed=min(highest, 49))
    assert counters.value(PARTIAL) == min(highest, 49)


def test_counter_that_is_not_resettable_is_rejected_at_zero(
    counters: CheckedCounters,
) -> None:
    for _ in range(2):
        check = counters.check
        # This reading names no resettable counters.
        reading = CounterReading(
            "block", {PARTIAL: 0.0}, HIGH_RESOLUTION, counters.now()
        )
        assert not check.check(reading)
        assert check.rejected == {"block": {PARTIAL: (50.0, 0.0)}}
    assert counters.rejected(energy_consumed=0.0, partial_energy_consumed=0.0) == {
        TOTAL
    }
    assert counters.check.values == {TOTAL: 500.0, PARTIAL: 50.0}


def test_counters_read_back_after_a_reset_have_no_rollover_offset() -> None:
    counters = CheckedCounters()
    for energy in (999_999.99, 0.5):
        assert not counters.rejected(
            60, tariff_1_energy=energy, tariff_2_energy=7, tariff_3_energy=1
        )
    assert counters.value("tariff_1_energy") == 1_000_000.5
    reading = counters.reading(
        tariff_1_energy=0.01, tariff_2_energy=0, tariff_3_energy=None
    )
    counters.check.accept_reset(reading)
    assert counters.check.values == {
        "tariff_1_energy": 0.01,
        "tariff_2_energy": 0,
        "tariff_3_energy": 1,
    }
    assert not counters.rejected(60, tariff_1_energy=0.02, tariff_2_energy=0.01)


def test_expected_reset_is_accepted_after_two_readings() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(tariff_1_energy=500, tariff_2_energy=50)
    counters.check.expect_reset({"tariff_1_energy"})
    assert counters.rejected(1, tariff_1_energy=0, tariff_2_energy=0)
    assert not counters.rejected(1, tariff_1_energy=0, tariff_2_energy=50)
    assert counters.check.values == {"tariff_1_energy": 0, "tariff_2_energy": 50}
    assert not counters.rejected(60, tariff_1_energy=1, tariff_2_energy=50)
    # The expectation ended with the first accepted reading.
    assert counters.rejected(1, tariff_1_energy=0, tariff_2_energy=50)


# -- storage -----------------------------------------------------------------------


def test_accepted_counters_are_restored_from_json() -> None:
    counters = CheckedCounters()
    assert not counters.rejected(energy_consumed=999_999.99, energy_produced=12)
    assert not counters.rejected(1, energy_consumed=0.01, energy_produced=12)
    saved = json.loads(json.dumps(counters.check.as_dict()))
    restored = CounterCheck().restore(saved)
    assert restored.values == {TOTAL: 1_000_000.01, PRODUCED: 12}
    assert restored.as_dict() == counters.check.as_dict()
    counters.check = restored
    assert not counters.rejected(60, energy_consumed=1.0, energy_produced=12.5)
    assert restored.values == {TOTAL: 1_000_001.0, PRODUCED: 12.5}


@pytest.mark.parametrize(
    "saved",
    [
        None,
        [],
        "counters",
        {TOTAL: 500.0},
        {TOTAL: None},
        {TOTAL: {"value": 500.0}},
        {TOTAL: {"value": 500.0, "carried": 0, "at": 0, "step": 0.01}},
        {TOTAL: {"value": "much", "rollover_offset": 0, "at": 0, "step": 0.01}},
        {TOTAL: {"value": None, "rollover_offset": 0, "at": 0, "step": 0.01}},
    ],
)
def test_saved_content_of_another_shape_is_logged_and_not_used(
    caplog: pytest.LogCaptureFixture, saved: Any
) -> None:
    good = {"value": 50.0, "rollover_offset": 0.0, "at": 0.0, "step": 0.01}
    if isinstance(saved, dict):
        saved = {PARTIAL: good} | saved
    check = CounterCheck().restore({PARTIAL: good})
    assert not caplog.records
    assert check.restore(saved).values == {}
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for _ in range(2):
        reading = CounterReading("block", {TOTAL: 7.0}, HIGH_RESOLUTION, Moment(0, 0))
        check.check(reading)
    assert check.values == {TOTAL: 7.0}


# -- random readings ---------------------------------------------------------------


POLLS = st.lists(
    st.tuples(
        st.floats(0, HIGHEST_KILOWATTS),  # the mean power in kW since the last poll
        st.integers(0, 60) | st.integers(0, 86_400),  # s since the last poll
        st.sampled_from(["missing", "zeros", "lower", "huge", "flip"]),  # the fault
        st.integers(0, 31),  # the bit that is flipped, or the size of the fault
    ),
    max_size=40,
)


@given(start=st.integers(0, 90_000_000), polls=POLLS)
@settings(max_examples=150, deadline=None)
def test_single_wrong_reading_never_changes_a_total(
    start: int, polls: list[tuple[float, int, str, int]]
) -> None:
    counters = CheckedCounters()
    counted = float(start)  # in steps of 10 Wh
    assert not counters.rejected(energy_consumed=start / 100)
    read_at = counters.clock()
    for kilowatts, pause, fault, bit in polls:
        counters.clock.seconds += pause
        counted += kilowatts * pause / 36
        correct = int(counted)
        before = counters.value()
        # The wrong reading in steps of 10 Wh, None if the reading is missing.
        raw = {
            "zeros": 0,
            "lower": max(round(before * 100) - 1 - bit, 0),
            "huge": 2**32 - 2 - bit,
            "flip": correct ^ (1 << bit),
        }.get(fault)
        # The check cannot recognise a wrong reading up to this value: the last value
        # plus the energy at the highest power, with the tolerances of 5 s and of two
        # steps.
        elapsed = counters.clock() - read_at + 5
        possible = before + HIGHEST_KILOWATTS * elapsed / 3600 + 0.02
        if raw is None:
            assert not counters.rejected(energy_consumed=None)
            assert counters.value() == before
        elif raw == round(before * 100) - 1:
            assert not counters.rejected(energy_consumed=raw / 100)
            assert counters.value() == before
        elif not before <= raw / 100 <= possible + 0.01:
            assert not counters.corrections(energy_consumed=raw / 100)
            assert counters.value() == before
        assert not counters.rejected(energy_consumed=correct / 100)
        assert counters.value() == correct / 100
        read_at = counters.clock()
