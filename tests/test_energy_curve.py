"""The distribution of energy over a gap, a time without readings."""

import pytest

from custom_components.socomec_countis.countis.energy_curve import EnergyCurve, Source


@pytest.fixture
def curve() -> EnergyCurve:
    """Return a curve of 1 kWh in 100 s, nothing in 100 s, and 3 kWh in 200 s."""
    points = [(1000, 50), (1100, 51), (1200, 51), (1400, 54)]
    return EnergyCurve.of_energies(Source.PERIODS, points)


def test_curve_has_its_source_and_the_times_and_fractions_of_its_points(
    curve: EnergyCurve,
) -> None:
    assert curve == EnergyCurve(
        Source.PERIODS, (1000, 1100, 1200, 1400), [0, 0.25, 0.25, 1]
    )


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (0, 0),
        (999, 0),
        (1000, 0),
        (1020, 0.05),
        (1100, 0.25),
        (1150, 0.25),
        (1200, 0.25),
        (1300, 0.625),
        (1399, 0.99625),
        (1400, 1),
        (1401, 1),
        (1e9, 1),
    ],
)
def test_fraction_of_the_energy_rises_evenly_between_two_points(
    curve: EnergyCurve, time: float, expected: float
) -> None:
    assert curve.fraction(time) == pytest.approx(expected, abs=1e-12)


def test_last_of_two_points_at_the_same_time_applies() -> None:
    # At 10 s, the energy jumps from 1 to 3 of 4 kWh.
    points = [(0, 0), (10, 1), (10, 3), (20, 4)]
    curve = EnergyCurve.of_energies(Source.LOAD_CURVE, points)
    assert [curve.fraction(time) for time in (9, 10, 11)] == pytest.approx(
        [0.225, 0.75, 0.775]
    )


def test_sources_are_in_the_order_of_their_quality() -> None:
    assert list(Source) == ["load_curve", "periods", "even"]
