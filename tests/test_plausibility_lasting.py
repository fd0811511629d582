"""Acceptance of an implausible counter level that lasts or is confirmed."""

import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import Correction

from .counter_watch import (
    HIGH_RESOLUTION,
    OTHER,
    PARTIAL,
    TOTAL,
    Watch,
    accepted_watch,
)


@pytest.fixture
def _custom_integrations() -> None:
    """Run without Home Assistant."""


@pytest.fixture
def watch() -> Watch:
    """Return a check with accepted counters: a total of 500, a partial of 50 kWh."""
    return accepted_watch()


def lasting(watch: Watch, **readings: float | None) -> tuple[Correction, ...]:
    """Return the corrections after a level was read every 10 s for 70 s."""
    corrections = watch.correct(10, HIGH_RESOLUTION, **readings)
    for _ in range(6):
        assert not corrections
        corrections = watch.correct(10, HIGH_RESOLUTION, **readings)
    return corrections


def confirmed(watch: Watch, **readings: float | None) -> tuple[Correction, ...]:
    """Return the corrections after two readings of a level that the user confirmed."""
    assert not watch.correct(1, HIGH_RESOLUTION, **readings)
    return watch.correct(1, HIGH_RESOLUTION, **readings)


# -- duration ----------------------------------------------------------------------


def test_rise_after_a_restart_is_accepted_after_ten_minutes(watch: Watch) -> None:
    watch.restart()
    corrections = watch.correct(energy_consumed=520.0)
    for _ in range(60):
        assert not corrections
        corrections = watch.correct(10, energy_consumed=520.0)
    assert corrections == (Correction(TOTAL, 500.0, 520.0),)


@pytest.mark.parametrize("pause", [1, 4, 14])
def test_implausible_level_is_accepted_after_a_minute(
    watch: Watch, pause: float
) -> None:
    seen = 0.0
    assert watch.correct(energy_consumed=900.0) == ()
    while seen + pause < 60:
        seen += pause
        assert watch.correct(pause, energy_consumed=900.0) == ()
        assert watch.value() == 500
    correction = Correction(TOTAL, accepted=500.0, found=900.01)
    assert watch.correct(pause, energy_consumed=900.01) == (correction,)
    assert watch.value() == 900.01
    assert not watch.rejected(60, energy_consumed=900.5)


def test_another_implausible_level_restarts_the_minute(watch: Watch) -> None:
    for level in (800.0, 900.0):
        assert not watch.correct(10, energy_consumed=level)
        for _ in range(5):
            assert not watch.correct(10, energy_consumed=level)
    assert watch.correct(10, energy_consumed=900.0)


def test_plausible_reading_restarts_the_minute(watch: Watch) -> None:
    for _ in range(6):
        assert not watch.correct(10, energy_consumed=900.0)
    assert not watch.rejected(1, energy_consumed=500.01)
    for _ in range(6):
        assert not watch.correct(10, energy_consumed=900.0)
    assert watch.value() == 500.01


@pytest.mark.parametrize("pause", [60, 300, 86_400])
def test_three_wrong_readings_with_long_pauses_are_not_accepted(
    watch: Watch, pause: float
) -> None:
    for _ in range(3):
        assert not watch.correct(pause, energy_consumed=90_000)
    assert watch.value() == 500


def test_level_read_every_62_s_is_accepted_within_six_readings(
    watch: Watch,
) -> None:
    corrections: tuple[Correction, ...] = ()
    for _ in range(6):
        corrections += watch.correct(62, energy_consumed=900.0)
        if corrections:
            break
    assert watch.value() == 900.0


# -- several counters --------------------------------------------------------------


def test_corrections_name_only_the_counters_that_changed() -> None:
    watch = Watch()
    watch.rejected(energy_consumed=999_999.99, energy_produced=50, energy_reactive=7)
    # One register rolls over. Then another one jumps to 90 kWh.
    watch.rejected(60, energy_consumed=0.5, energy_produced=50, energy_reactive=7)
    assert lasting(
        watch, energy_consumed=0.7, energy_produced=90, energy_reactive=7.01
    ) == (Correction(OTHER, accepted=50, found=90),)
    assert watch.counters.values == {
        TOTAL: 1_000_000.7,
        OTHER: 90,
        "energy_reactive": 7.01,
    }


def test_counter_that_becomes_available_restarts_the_minute(watch: Watch) -> None:
    for _ in range(6):
        assert not watch.correct(
            10, energy_consumed=900.0, partial_energy_consumed=None
        )
    assert not watch.correct(10, energy_consumed=900.0, partial_energy_consumed=999.0)
    assert watch.counters.values == {TOTAL: 500.0, PARTIAL: 50.0}


# -- rollover offset ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "value"),
    [(5.5, 1_000_005.5), (0.48, 1_000_000.48), (600_000, 1_600_000)],
)
def test_correction_keeps_the_rollover_offset(reading: float, value: float) -> None:
    watch = Watch()
    watch.rejected(energy_consumed=999_999.99)
    watch.rejected(60, energy_consumed=0.5)
    watch.counters.confirm("block")
    assert confirmed(watch, energy_consumed=reading) == (
        Correction(TOTAL, accepted=1_000_000.5, found=value),
    )
    assert watch.value() == value
    assert not watch.rejected(60, energy_consumed=reading + 0.5)
    assert watch.value() == value + 0.5


def test_confirmed_fall_below_nine_tenths_drops_the_rollover_offset() -> None:
    watch = Watch()
    watch.rejected(energy_consumed=999_999.99)
    watch.rejected(60, energy_consumed=0.5)
    watch.rejected(86_400 * 365, energy_consumed=200_000)
    assert watch.value() == 1_200_000
    watch.counters.confirm("block")
    assert confirmed(watch, energy_consumed=5.5) == (
        Correction(TOTAL, accepted=1_200_000, found=5.5),
    )


def test_rollover_that_the_meter_counts_is_accepted_at_any_level(watch: Watch) -> None:
    watch.counters.overflows = {TOTAL: 3}
    assert not watch.rejected(60, energy_consumed=501)
    # In 90 days at 4770 kW, the meter counts more than 10 000 000 kWh.
    watch.counters.limits = Limits.of_transformer(5000)
    watch.clock.seconds += 90 * 86_400
    assert watch.rejected(energy_consumed=400) == {TOTAL}
    watch.counters.overflows = {TOTAL: 4}
    assert not watch.rejected(energy_consumed=400)
    assert watch.value() == pytest.approx(10_000_400, abs=0.01)
    assert watch.rejected(60, energy_consumed=0.5) == {TOTAL}


# -- falls -------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 5.0, 499.0])
def test_total_that_fell_is_accepted_only_if_the_user_confirms_it(
    watch: Watch, level: float
) -> None:
    for _ in range(1000):
        assert not watch.correct(1, energy_consumed=level)
    assert watch.value() == 500
    assert watch.counters.rejected == {"block": {TOTAL: (500.0, level)}}
    watch.counters.confirm("block")
    assert watch.correct(1, energy_consumed=level) == (
        Correction(TOTAL, accepted=500, found=level),
    )
    assert watch.counters.rejected == {}


def test_partial_counter_beside_a_total_that_fell_is_held(watch: Watch) -> None:
    for _ in range(100):
        assert not watch.correct(1, energy_consumed=0, partial_energy_consumed=0)
    assert watch.counters.values == {TOTAL: 500, PARTIAL: 50}


def test_partial_counter_at_a_lower_level_is_accepted_if_it_lasts(
    watch: Watch,
) -> None:
    assert lasting(watch, energy_consumed=500, partial_energy_consumed=20) == (
        Correction(PARTIAL, accepted=50, found=20),
    )


def test_total_held_at_zero_does_not_hold_the_other_counters() -> None:
    watch = Watch()
    watch.rejected(energy_consumed=500, energy_produced=50, energy_reactive=0)
    for second in range(70):
        produced = round(50 + second / 100, 2)
        assert not watch.correct(
            1, energy_consumed=0, energy_produced=produced, energy_reactive=0
        )
    assert watch.counters.values == {
        TOTAL: 500,
        OTHER: 50.69,
        "energy_reactive": 0,
    }


def test_confirmation_ends_with_the_level_that_was_confirmed(watch: Watch) -> None:
    assert not watch.correct(1, energy_consumed=400)
    watch.counters.confirm("block")
    for _ in range(100):
        assert not watch.correct(1, energy_consumed=0)
    assert watch.value() == 500


def test_held_counter_that_changes_is_still_held_with_the_total() -> None:
    watch = Watch()
    watch.rejected(energy_consumed=500, energy_produced=7, partial_energy_consumed=50)
    for second in range(200):
        # The total reads 0, and the partial counter beside it begins to count.
        partial = 0 if second < 100 else second / 100 - 1
        watch.correct(
            1, energy_consumed=0, energy_produced=7, partial_energy_consumed=partial
        )
    assert watch.counters.values == {TOTAL: 500, OTHER: 7, PARTIAL: 50}


def test_tariff_at_zero_beside_another_one_is_held() -> None:
    watch = Watch()
    watch.rejected(tariff_1_energy=500, tariff_2_energy=50)
    for _ in range(100):
        assert not watch.correct(1, tariff_1_energy=0, tariff_2_energy=50)
    assert watch.counters.values == {"tariff_1_energy": 500, "tariff_2_energy": 50}


def test_counter_at_zero_is_accepted_after_lasting_zeros_of_all_counters() -> None:
    watch = Watch()
    watch.rejected(energy_consumed=500.0, energy_produced=0.0)
    for _ in range(100):
        watch.correct(1, energy_consumed=0.0, energy_produced=0.0)
    assert not watch.rejected(1, energy_consumed=500.0, energy_produced=1.0)
    assert watch.value(OTHER) == 1.0


def test_tariff_reset_after_a_rollover_drops_the_rollover_offset() -> None:
    watch = Watch()
    watch.rejected(tariff_1_energy=999_999.99)
    watch.rejected(60, tariff_1_energy=0.5)
    watch.rejected(86_400, tariff_1_energy=128)
    assert watch.value("tariff_1_energy") == 1_000_128
    for _ in range(100):
        assert not watch.correct(1, tariff_1_energy=0)
    assert watch.correct(1, tariff_1_energy=0.05) == (
        Correction("tariff_1_energy", accepted=1_000_128, found=0.05),
    )


def test_tariffs_at_zero_are_accepted_after_one_of_them_counts() -> None:
    watch = Watch()
    watch.rejected(tariff_1_energy=500, tariff_2_energy=50, tariff_3_energy=0)
    for _ in range(100):
        assert not watch.correct(
            1, tariff_1_energy=0, tariff_2_energy=0, tariff_3_energy=0
        )
    assert watch.correct(
        1, tariff_1_energy=0.01, tariff_2_energy=0, tariff_3_energy=0
    ) == (
        Correction("tariff_1_energy", accepted=500, found=0.01),
        Correction("tariff_2_energy", accepted=50, found=0),
    )
    assert not watch.rejected(
        60, tariff_1_energy=0.02, tariff_2_energy=0, tariff_3_energy=0
    )


def test_zeros_between_two_readings_of_a_level_restart_the_minute(
    watch: Watch,
) -> None:
    for _ in range(6):
        assert not watch.correct(10, energy_consumed=900.0)
    assert not watch.correct(10, energy_consumed=0)
    for _ in range(6):
        assert not watch.correct(10, energy_consumed=900.0)
    assert watch.correct(10, energy_consumed=900.0)
