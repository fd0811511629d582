"""When a level of a counter is believed that was doubted at first."""

import pytest

from custom_components.socomec_countis.countis.guard import Correction

from .guarded import OTHER, PARTIAL, TOTAL, Watch, believing


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@pytest.fixture
def watch() -> Watch:
    """Return a guard that has believed a total and a partial counter."""
    return believing()


def test_a_rise_unseen_while_the_clock_was_put_back_is_believed_when_it_lasts(
    watch: Watch,
) -> None:
    corrections: tuple[Correction, ...] = watch.suspects(-86_400, energy_consumed=520.0)
    for _ in range(60):
        assert not corrections
        corrections = watch.suspects(1, energy_consumed=520.0)
    assert corrections == (Correction(TOTAL, 500.0, 520.0),)


def test_a_clock_put_back_does_not_prolong_a_suspicion(watch: Watch) -> None:
    assert not watch.suspects(energy_consumed=5.0)
    assert not watch.suspects(-86_400, energy_consumed=5.0)
    for _ in range(59):
        assert not watch.suspects(1, energy_consumed=5.0)
    assert watch.suspects(1, energy_consumed=5.0)


@pytest.mark.parametrize("pause", [1, 4, 14])
def test_an_implausible_level_is_believed_after_it_was_seen_for_a_minute(
    watch: Watch, pause: float
) -> None:
    seen = 0.0
    assert watch.suspects(energy_consumed=5.0) == ()
    while seen + pause < 60:
        seen += pause
        assert watch.suspects(pause, energy_consumed=5.0) == ()
        assert watch.value() == 500
    correction = Correction(TOTAL, believed=500.0, found=5.01)
    assert watch.suspects(pause, energy_consumed=5.01) == (correction,)
    assert watch.value() == 5.01
    assert not watch.sees(60, energy_consumed=5.5)


def test_a_contradiction_starts_the_minute_anew(watch: Watch) -> None:
    for level in (5.0, 900.0):
        assert not watch.suspects(10, energy_consumed=level)
        for _ in range(5):
            assert not watch.suspects(10, energy_consumed=level)
    assert watch.suspects(10, energy_consumed=900.0)


def test_a_sensible_reading_ends_a_suspicion(watch: Watch) -> None:
    for _ in range(6):
        assert not watch.suspects(10, energy_consumed=5.0)
    assert not watch.sees(1, energy_consumed=500.01)
    for _ in range(6):
        assert not watch.suspects(10, energy_consumed=5.0)
    assert watch.value() == 500.01


@pytest.mark.parametrize("silence", [60, 300, 86_400])
def test_two_glitches_with_a_silence_in_between_are_no_level_that_lasts(
    watch: Watch, silence: float
) -> None:
    assert not watch.suspects(energy_consumed=0.0)
    assert not watch.suspects(silence, energy_consumed=0.0)
    assert not watch.suspects(silence, energy_consumed=0.0)
    assert watch.value() == 500


def test_a_level_that_is_seen_rarely_is_believed_in_the_end(watch: Watch) -> None:
    corrections: tuple[Correction, ...] = ()
    for _ in range(6):
        corrections += watch.suspects(62, energy_consumed=5.0)
        if corrections:
            break
    assert watch.value() == 5.0


def test_corrections_name_the_counters_that_changed_and_no_others() -> None:
    watch = Watch()
    watch.sees(energy_consumed=999_999.99, energy_produced=50, energy_reactive=7)
    # The one goes on after a round of its register, the other was exchanged.
    watch.sees(60, energy_consumed=0.5, energy_produced=50, energy_reactive=7)
    corrections: tuple[Correction, ...] = ()
    for _ in range(7):
        assert not corrections
        corrections = watch.suspects(
            10, energy_consumed=0.7, energy_produced=3, energy_reactive=7.01
        )
    assert corrections == (Correction(OTHER, believed=50, found=3),)
    assert watch.guard.values == {
        TOTAL: 1_000_000.7,
        OTHER: 3,
        "energy_reactive": 7.01,
    }


def test_a_counter_seen_once_is_not_believed_with_others_that_lasted(
    watch: Watch,
) -> None:
    for _ in range(6):
        assert not watch.suspects(10, energy_consumed=5.0, partial_energy_consumed=None)
    assert not watch.suspects(10, energy_consumed=5.0, partial_energy_consumed=999.0)
    assert watch.guard.values == {TOTAL: 500.0, PARTIAL: 50.0}
