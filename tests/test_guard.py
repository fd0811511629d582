"""Which readings of a counter are believed."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from custom_components.socomec_countis.countis.guard import CounterGuard
from custom_components.socomec_countis.countis.limits import Limits

from .guarded import (
    COARSE,
    DISPLAYS,
    FINE,
    KILOWATTS,
    OTHER,
    PARTIAL,
    TOTAL,
    Watch,
    believing,
)


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@pytest.fixture
def watch() -> Watch:
    """Return a guard that has believed a total and a partial counter."""
    return believing()


@pytest.mark.parametrize("seconds", [1, 14, 60, 3600, 86_400, 30 * 86_400])
def test_a_total_may_rise_by_what_the_meter_can_have_counted(
    watch: Watch, seconds: float
) -> None:
    most = round(500 + KILOWATTS * seconds / 3600, 2)
    assert watch.sees(seconds, energy_consumed=most + 0.5) == {TOTAL}
    assert watch.value() == 500
    assert not watch.sees(energy_consumed=most)
    assert watch.value() == most


@pytest.mark.parametrize("seconds", [0, 1, 86_400])
@pytest.mark.parametrize("reading", [499.99, 499.0, 50.0, 0.01, 0.0])
def test_a_total_never_falls_not_even_by_one_step(
    watch: Watch, seconds: float, reading: float
) -> None:
    assert watch.sees(seconds, energy_consumed=reading) == {TOTAL}
    assert watch.value() == 500


@pytest.mark.parametrize(
    ("primary", "kilowatts"), [(5, 79.5), (100, 95.4), (600, 572.4), (5000, 4770)]
)
def test_a_current_transformer_lets_a_total_rise_faster(
    primary: float, kilowatts: float
) -> None:
    watch = Watch(Limits.of_transformer(primary))
    watch.sees(energy_consumed=500.0)
    # Five seconds more than elapsed are left as room.
    assert watch.sees(3600, energy_consumed=500 + kilowatts * 1.002) == {TOTAL}
    assert not watch.sees(energy_consumed=500 + kilowatts)


def test_a_clock_put_back_does_not_block_a_counter(watch: Watch) -> None:
    assert not watch.sees(-86_400, energy_consumed=500.05)
    assert not watch.sees(60, energy_consumed=501.0)
    assert watch.value() == 501.0


@pytest.mark.parametrize("step", [FINE, COARSE])
@pytest.mark.parametrize("wrap", [*DISPLAYS, 2**32])
def test_a_register_that_begins_anew_does_not_stop_the_counting(
    wrap: float, step: float
) -> None:
    hundredths = round(wrap * (step if wrap == 2**32 else 1) * 100)
    watch = Watch()
    counted = hundredths - 250
    believed = 0.0
    for _ in range(3):
        for _ in range(10):
            shown = counted % hundredths / 100 // step * step
            assert not watch.sees(60, step, energy_consumed=round(shown, 2))
            assert believed <= watch.value() <= counted / 100
            believed = watch.value()
            # Two kinds of display differ in 10 Wh, once a round.
            assert believed >= counted / 100 - step - 3 * 0.01
            counted += 51
        # The rest of a round, as fast as a meter can count.
        rest = hundredths - 10 * 51
        counted += rest
        watch.clock.seconds += rest / 100 / KILOWATTS * 3600


@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_partial_counter_may_fall_to_what_was_counted_since(
    watch: Watch, seconds: float
) -> None:
    counted = round(KILOWATTS * seconds / 3600, 2)
    if counted + 0.5 < 50:
        doubts = watch.sees(seconds, partial_energy_consumed=counted + 0.5)
        assert doubts == {PARTIAL}
    assert not watch.sees(seconds, partial_energy_consumed=min(counted, 49))
    assert watch.value(PARTIAL) == min(counted, 49)


def test_only_a_resettable_counter_may_fall(watch: Watch) -> None:
    readings = {PARTIAL: 0.0}
    assert watch.guard.doubts("block", readings, FINE, watch.clock()) == {
        PARTIAL: (50.0, 0.0)
    }
    assert watch.sees(energy_consumed=0.0, partial_energy_consumed=0.0) == {TOTAL}
    assert watch.guard.values == {TOTAL: 500.0, PARTIAL: 50.0}


def test_counters_that_were_just_reset_are_believed_anew(watch: Watch) -> None:
    watch.guard.forget([PARTIAL, "of another meter"])
    assert not watch.sees(partial_energy_consumed=3.0)
    assert watch.guard.values == {TOTAL: 500.0, PARTIAL: 3.0}


def test_all_counters_of_a_block_are_believed_together_or_none(watch: Watch) -> None:
    doubts = watch.sees(
        60, energy_consumed=500.5, partial_energy_consumed=99, energy_produced=1
    )
    assert doubts == {PARTIAL}
    assert watch.guard.values == {TOTAL: 500.0, PARTIAL: 50.0}


def test_a_counter_that_is_not_available_keeps_its_value(watch: Watch) -> None:
    assert not watch.sees(60, energy_consumed=None, partial_energy_consumed=50.5)
    assert watch.guard.values == {TOTAL: 500.0, PARTIAL: 50.5}
    assert watch.sees(60, energy_consumed=0.0) == {TOTAL}
    assert not watch.sees(energy_consumed=501.0)


def test_whole_kwh_after_steps_of_10_wh_neither_lower_nor_stop_a_counter() -> None:
    watch = Watch()
    watch.sees(energy_consumed=1234.56)
    for reading, believed in (
        (1234, 1234.56),
        (1234, 1234.56),
        (1235, 1235),
        (1235, 1235),
        (1236, 1236),
    ):
        assert not watch.sees(60, COARSE, energy_consumed=reading)
        assert watch.value() == believed


def test_steps_of_10_wh_after_whole_kwh_neither_lower_nor_stop_a_counter() -> None:
    watch = Watch()
    # A meter that rounds, as one that cuts off, is no more than one kWh away.
    watch.sees(energy_consumed=1235, step=COARSE)
    for reading in (1234.56, 1234.57, 1234.99, 1235.01, 1235.5):
        assert not watch.sees(60, energy_consumed=reading)
        assert watch.value() == max(1235, reading)


def test_steps_of_10_wh_go_on_where_whole_kwh_hid_a_rise() -> None:
    watch = Watch()
    watch.sees(energy_consumed=1234.01)
    for _ in range(10):
        assert not watch.sees(60, COARSE, energy_consumed=1234)
    assert not watch.sees(1, energy_consumed=1234.99)
    assert watch.value() == 1234.99


def test_what_is_believed_survives_being_saved_as_json() -> None:
    watch = Watch()
    watch.sees(energy_consumed=999_999.99, energy_produced=12)
    watch.sees(1, energy_consumed=0.01, energy_produced=12)
    saved = json.loads(json.dumps(watch.guard.saved()))
    restored = CounterGuard().restore(saved)
    assert restored.values == {TOTAL: 1_000_000.01, OTHER: 12}
    assert restored.saved() == watch.guard.saved()
    watch.guard = restored
    assert not watch.sees(60, energy_consumed=1.0, energy_produced=12.5)
    assert restored.values == {TOTAL: 1_000_001.0, OTHER: 12.5}


POLLS = st.lists(
    st.tuples(
        st.floats(0, KILOWATTS),
        st.integers(0, 60) | st.integers(0, 86_400),
        st.sampled_from(["missing", "zeros", "lower", "huge", "flip"]),
        st.integers(0, 31),
    ),
    max_size=40,
)


@given(start=st.integers(0, 90_000_000), polls=POLLS)
@settings(max_examples=150, deadline=None)
def test_no_glitch_of_one_reading_ever_shows_in_a_total(
    start: int, polls: list[tuple[float, int, str, int]]
) -> None:
    watch = Watch()
    counted = float(start)  # in steps of 10 Wh
    assert not watch.sees(energy_consumed=start / 100)
    read_at = watch.clock()
    for kilowatts, gap, glitch, bit in polls:
        watch.clock.seconds += gap
        counted += kilowatts * gap / 36
        truth = int(counted)
        before = watch.value()
        raw = {
            "zeros": 0,
            "lower": max(round(before * 100) - 1 - bit, 0),
            "huge": 2**32 - 2 - bit,
            "flip": truth ^ (1 << bit),
        }.get(glitch)
        # What the meter can have counted is no glitch that anyone could tell.
        elapsed = watch.clock() - read_at + 5
        possible = before + KILOWATTS * elapsed / 3600 + 0.02
        if raw is None or not before <= raw / 100 <= possible + 0.01:
            if raw is None:
                assert not watch.sees(energy_consumed=None)
            else:
                assert not watch.suspects(energy_consumed=raw / 100)
            assert watch.value() == before
        assert not watch.sees(energy_consumed=truth / 100)
        assert watch.value() == truth / 100
        read_at = watch.clock()
