"""Acceptance of an implausible counter level that lasts or is confirmed.

If a test calls `rejected` without `assert`, the check accepts the reading.
"""

import pytest

from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.plausibility import Correction

from .checked_counters import (
    HIGH_RESOLUTION,
    PARTIAL,
    PRODUCED,
    TOTAL,
    CheckedCounters,
    accepted_counters,
)


@pytest.fixture
def counters() -> CheckedCounters:
    """Return counters with accepted values: total 500 kWh, partial counter 50 kWh."""
    return accepted_counters()


def corrections_after_a_minute(
    counters: CheckedCounters, **readings: float | None
) -> tuple[Correction, ...]:
    """Return the corrections after a level has lasted for 60 s.

    The level is read seven times, every 10 s. Only the last reading has corrections.
    """
    corrections = counters.corrections(10, HIGH_RESOLUTION, **readings)
    for _ in range(6):
        assert not corrections
        corrections = counters.corrections(10, HIGH_RESOLUTION, **readings)
    return corrections


def confirmed_corrections(
    counters: CheckedCounters, **readings: float | None
) -> tuple[Correction, ...]:
    """Return the corrections after two readings of a level that the user confirmed."""
    assert not counters.corrections(1, HIGH_RESOLUTION, **readings)
    return counters.corrections(1, HIGH_RESOLUTION, **readings)


# -- duration ----------------------------------------------------------------------


def test_rise_after_a_restart_is_accepted_after_ten_minutes(
    counters: CheckedCounters,
) -> None:
    counters.restart()
    # At its highest power of 79.5 kW, the meter counts only 13 kWh in ten minutes.
    corrections = counters.corrections(energy_consumed=520.0)
    for _ in range(60):
        assert not corrections
        corrections = counters.corrections(10, energy_consumed=520.0)
    assert corrections == (Correction(TOTAL, 500.0, 520.0),)


@pytest.mark.parametrize("pause", [1, 4, 14])
def test_implausible_level_is_accepted_after_a_minute(
    counters: CheckedCounters, pause: float
) -> None:
    lasted = 0.0  # s
    assert counters.corrections(energy_consumed=900.0) == ()
    while lasted + pause < 60:
        lasted += pause
        assert counters.corrections(pause, energy_consumed=900.0) == ()
        assert counters.value() == 500
    correction = Correction(TOTAL, accepted=500.0, found=900.01)
    assert counters.corrections(pause, energy_consumed=900.01) == (correction,)
    assert counters.value() == 900.01
    assert not counters.rejected(60, energy_consumed=900.5)


def test_another_implausible_level_restarts_the_minute(
    counters: CheckedCounters,
) -> None:
    for level in (800.0, 900.0):
        assert not counters.corrections(10, energy_consumed=level)
        for _ in range(5):
            assert not counters.corrections(10, energy_consumed=level)
    assert counters.corrections(10, energy_consumed=900.0)


def test_held_counter_at_a_new_level_is_accepted_after_a_minute() -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=500.0, energy_produced=50.0)
    # The total fell, so it is held: it keeps its value while `PRODUCED` is accepted.
    level = {"energy_consumed": 0.0, "energy_produced": 900.0}
    corrections = corrections_after_a_minute(counters, **level)
    assert corrections == (Correction(PRODUCED, 50.0, 900.0),)
    assert counters.value() == 500
    level["energy_consumed"] = 700.0
    assert corrections_after_a_minute(counters, **level) == (
        Correction(TOTAL, 500.0, 700.0),
    )


def test_plausible_reading_restarts_the_minute(counters: CheckedCounters) -> None:
    for _ in range(6):
        assert not counters.corrections(10, energy_consumed=900.0)
    assert not counters.rejected(1, energy_consumed=500.01)
    for _ in range(6):
        assert not counters.corrections(10, energy_consumed=900.0)
    assert counters.value() == 500.01


@pytest.mark.parametrize("pause", [60, 300, 86_400])
def test_three_wrong_readings_with_long_pauses_are_not_accepted(
    counters: CheckedCounters, pause: float
) -> None:
    # Each pause counts as 15 s. So at the third reading, the level has lasted for 30 s.
    for _ in range(3):
        assert not counters.corrections(pause, energy_consumed=90_000)
    assert counters.value() == 500


def test_level_read_every_62_s_is_accepted_within_six_readings(
    counters: CheckedCounters,
) -> None:
    corrections: tuple[Correction, ...] = ()
    # Each pause counts as 15 s. So at the fifth reading, the level has lasted for 60 s.
    # One more reading is allowed.
    for _ in range(6):
        corrections += counters.corrections(62, energy_consumed=900.0)
        if corrections:
            break
    assert counters.value() == 900.0


# -- several counters --------------------------------------------------------------


def test_corrections_name_only_the_counters_with_an_implausible_reading() -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=999_999.99, energy_produced=50, energy_reactive=7)
    # One register rolls over. Then another register jumps to 90 kWh.
    counters.rejected(60, energy_consumed=0.5, energy_produced=50, energy_reactive=7)
    assert corrections_after_a_minute(
        counters, energy_consumed=0.7, energy_produced=90, energy_reactive=7.01
    ) == (Correction(PRODUCED, accepted=50, found=90),)
    assert counters.check.values == {
        TOTAL: 1_000_000.7,
        PRODUCED: 90,
        "energy_reactive": 7.01,
    }


def test_counter_that_becomes_available_restarts_the_minute(
    counters: CheckedCounters,
) -> None:
    for _ in range(6):
        assert not counters.corrections(
            10, energy_consumed=900.0, partial_energy_consumed=None
        )
    assert not counters.corrections(
        10, energy_consumed=900.0, partial_energy_consumed=999.0
    )
    assert counters.check.values == {TOTAL: 500.0, PARTIAL: 50.0}


# -- rollover offset ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("reading", "value"),
    [(5.5, 1_000_005.5), (0.48, 1_000_000.48), (600_000, 1_600_000)],
)
def test_correction_keeps_the_rollover_offset(reading: float, value: float) -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=999_999.99)
    counters.rejected(60, energy_consumed=0.5)
    counters.check.confirm("block")
    assert confirmed_corrections(counters, energy_consumed=reading) == (
        Correction(TOTAL, accepted=1_000_000.5, found=value),
    )
    assert counters.value() == value
    assert not counters.rejected(60, energy_consumed=reading + 0.5)
    assert counters.value() == value + 0.5


def test_confirmed_fall_of_the_register_by_over_10_percent_drops_the_offset() -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=999_999.99)
    counters.rejected(60, energy_consumed=0.5)
    counters.rejected(86_400 * 365, energy_consumed=200_000)
    # The offset is 1 000 000 kWh, so the register is at 200 000 kWh.
    assert counters.value() == 1_200_000
    counters.check.confirm("block")
    assert confirmed_corrections(counters, energy_consumed=5.5) == (
        Correction(TOTAL, accepted=1_200_000, found=5.5),
    )


def test_reported_rollover_is_accepted_if_register_was_not_nearly_full(
    counters: CheckedCounters,
) -> None:
    counters.check.overflows = {TOTAL: 3}  # rollovers that the meter reports
    assert not counters.rejected(60, energy_consumed=501)
    # In 90 days at 4770 kW, the meter counts more than 10 000 000 kWh.
    counters.check.limits = Limits.of_transformer(5000)
    counters.clock.seconds += 90 * 86_400
    assert counters.rejected(energy_consumed=400) == {TOTAL}
    counters.check.overflows = {TOTAL: 4}
    assert not counters.rejected(energy_consumed=400)
    # The register rolls over at 9 999 999.99 or 10 000 000 kWh.
    assert counters.value() == pytest.approx(10_000_400, abs=0.01)
    # The meter reports no further rollover.
    assert counters.rejected(60, energy_consumed=0.5) == {TOTAL}


# -- falls -------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 5.0, 499.0])
def test_total_that_fell_is_accepted_only_after_a_confirmation(
    counters: CheckedCounters, level: float
) -> None:
    for _ in range(1000):
        assert not counters.corrections(1, energy_consumed=level)
    assert counters.value() == 500
    assert counters.check.rejected == {"block": {TOTAL: (500.0, level)}}
    counters.check.confirm("block")
    assert counters.corrections(1, energy_consumed=level) == (
        Correction(TOTAL, accepted=500, found=level),
    )
    assert counters.check.rejected == {}


def test_partial_counter_that_fell_with_the_total_is_rejected(
    counters: CheckedCounters,
) -> None:
    for _ in range(100):
        assert not counters.corrections(1, energy_consumed=0, partial_energy_consumed=0)
    assert counters.check.values == {TOTAL: 500, PARTIAL: 50}


def test_lower_level_of_a_partial_counter_is_accepted_if_the_level_lasts(
    counters: CheckedCounters,
) -> None:
    assert corrections_after_a_minute(
        counters, energy_consumed=500, partial_energy_consumed=20
    ) == (Correction(PARTIAL, accepted=50, found=20),)


def test_other_counters_rise_while_a_total_at_zero_is_rejected() -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=500, energy_produced=50, energy_reactive=0)
    for second in range(70):
        produced = round(50 + second / 100, 2)
        assert not counters.corrections(
            1, energy_consumed=0, energy_produced=produced, energy_reactive=0
        )
    assert counters.check.values == {
        TOTAL: 500,
        PRODUCED: 50.69,
        "energy_reactive": 0,
    }


def test_confirmation_applies_only_to_the_confirmed_level(
    counters: CheckedCounters,
) -> None:
    assert not counters.corrections(1, energy_consumed=400)
    counters.check.confirm("block")
    for _ in range(100):
        assert not counters.corrections(1, energy_consumed=0)
    assert counters.value() == 500


def test_rise_of_a_partial_counter_that_fell_with_the_total_is_rejected() -> None:
    counters = CheckedCounters()
    counters.rejected(
        energy_consumed=500, energy_produced=7, partial_energy_consumed=50
    )
    for second in range(200):
        # The total stays at 0. After 100 s, the partial counter rises each second.
        partial = 0 if second < 100 else second / 100 - 1
        counters.corrections(
            1, energy_consumed=0, energy_produced=7, partial_energy_consumed=partial
        )
    assert counters.check.values == {TOTAL: 500, PRODUCED: 7, PARTIAL: 50}


def test_tariff_counter_that_fell_to_0_is_rejected_even_if_another_is_not_0() -> None:
    counters = CheckedCounters()
    counters.rejected(tariff_1_energy=500, tariff_2_energy=50)
    for _ in range(100):
        assert not counters.corrections(1, tariff_1_energy=0, tariff_2_energy=50)
    assert counters.check.values == {"tariff_1_energy": 500, "tariff_2_energy": 50}


def test_rise_from_0_is_accepted_after_all_counters_read_0_for_100_s() -> None:
    counters = CheckedCounters()
    counters.rejected(energy_consumed=500.0, energy_produced=0.0)
    for _ in range(100):
        counters.corrections(1, energy_consumed=0.0, energy_produced=0.0)
    assert not counters.rejected(1, energy_consumed=500.0, energy_produced=1.0)
    assert counters.value(PRODUCED) == 1.0


def test_tariff_reset_after_a_rollover_drops_the_rollover_offset() -> None:
    counters = CheckedCounters()
    counters.rejected(tariff_1_energy=999_999.99)
    counters.rejected(60, tariff_1_energy=0.5)
    counters.rejected(86_400, tariff_1_energy=128)
    assert counters.value("tariff_1_energy") == 1_000_128
    for _ in range(100):
        assert not counters.corrections(1, tariff_1_energy=0)
    assert counters.corrections(1, tariff_1_energy=0.05) == (
        Correction("tariff_1_energy", accepted=1_000_128, found=0.05),
    )


def test_tariffs_at_zero_are_accepted_after_one_of_them_counts() -> None:
    counters = CheckedCounters()
    counters.rejected(tariff_1_energy=500, tariff_2_energy=50, tariff_3_energy=0)
    for _ in range(100):
        assert not counters.corrections(
            1, tariff_1_energy=0, tariff_2_energy=0, tariff_3_energy=0
        )
    assert counters.corrections(
        1, tariff_1_energy=0.01, tariff_2_energy=0, tariff_3_energy=0
    ) == (
        Correction("tariff_1_energy", accepted=500, found=0.01),
        Correction("tariff_2_energy", accepted=50, found=0),
    )
    assert not counters.rejected(
        60, tariff_1_energy=0.02, tariff_2_energy=0, tariff_3_energy=0
    )


def test_zeros_between_two_readings_of_a_level_restart_the_minute(
    counters: CheckedCounters,
) -> None:
    for _ in range(6):
        assert not counters.corrections(10, energy_consumed=900.0)
    assert not counters.corrections(10, energy_consumed=0)
    for _ in range(6):
        assert not counters.corrections(10, energy_consumed=900.0)
    assert counters.corrections(10, energy_consumed=900.0)
