"""The demand of a meter: its periods, forecast and highest demands."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
import json
import logging
import math
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from custom_components.socomec_countis.countis.demand import (
    LONGEST_PAUSE,
    PERIODS,
    Demand,
    Peak,
    PowerIntegral,
)
from custom_components.socomec_countis.countis.plausibility import Moment

BRUSSELS = ZoneInfo("Europe/Brussels")
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
STEP = 0.01  # kWh


@pytest.fixture
def _custom_integrations() -> None:
    """Run without Home Assistant."""


def in_zone(zone: tzinfo) -> Callable[[float], datetime]:
    """Return a function that returns the local time of a zone."""
    return lambda at: datetime.fromtimestamp(at, zone)


class Watched:
    """A demand that reads a counter in steps of 10 Wh.

    Time passes in `pass_time`, while a load consumes power.
    """

    def __init__(self, at: float = NOON, zone: tzinfo = UTC) -> None:
        """Begin at this time, in s since 1970, with a first reading."""
        self.zone = zone
        self.demand = Demand(in_zone(zone))
        self.wall = at
        self.monotonic = 1000.0
        self.energy = 1234.567  # kWh, not rounded
        self.read()

    @property
    def counter(self) -> float:
        """Return the counter of the meter in kWh, as its register shows it."""
        return math.floor(self.energy / STEP + 1e-6) * STEP

    def read(self) -> bool:
        """Read the counter. Return whether a period began."""
        return self.demand.add(Moment(self.wall, self.monotonic), self.counter)

    def advance(self, seconds: float, watts: float) -> None:
        """Let time pass without a reading."""
        self.wall += seconds
        self.monotonic += seconds
        self.energy += watts * seconds / 3_600_000

    def pass_time(self, seconds: float, watts: float, every: float = 1) -> None:
        """Let time pass, and read the counter every second."""
        while seconds > 0:
            self.advance(min(every, seconds), watts)
            self.read()
            seconds -= every

    def restart(self) -> None:
        """Continue with the stored demand, and another monotonic clock."""
        stored = json.loads(json.dumps(self.demand.as_dict()))
        self.demand = Demand(in_zone(self.zone)).restore(stored)
        self.monotonic = 5.0

    @property
    def watts(self) -> float | None:
        """Return the demand of the running period in W."""
        return self.demand.watts(self.wall)

    @property
    def forecast(self) -> float | None:
        """Return the forecast of the demand in W."""
        return self.demand.forecast(self.wall)

    def peak(self, months_ago: int = 0) -> Peak | None:
        """Return the highest demand of a month."""
        return self.demand.highest(self.wall, months_ago=months_ago)

    def peak_watts(self, months_ago: int = 0) -> float | None:
        """Return the highest demand of a month in W."""
        peak = self.peak(months_ago)
        return None if peak is None else peak.watts


# -- the running period ------------------------------------------------------------


def test_demand_without_a_reading_is_unknown() -> None:
    demand = Demand(in_zone(UTC))
    assert (demand.begin, demand.watts(NOON), demand.forecast(NOON)) == (None,) * 3


def test_demand_is_unknown_until_a_period_begins() -> None:
    watched = Watched(NOON - 100)
    watched.pass_time(99, watts=3000)
    assert watched.watts is None
    assert watched.forecast is None
    assert watched.demand.begin == NOON - 900
    watched.pass_time(2, watts=3000)
    assert watched.demand.begin == NOON
    assert watched.watts == pytest.approx(0, abs=40)
    assert watched.forecast == pytest.approx(3000, abs=100)


def test_demand_rises_to_the_mean_power_of_the_period() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 300, watts=6000)
    assert watched.watts == pytest.approx(2000, abs=40)
    watched.pass_time(599, watts=0)
    assert watched.watts == pytest.approx(2000, abs=40)
    assert watched.peak() is None
    watched.pass_time(1, watts=0)
    assert watched.watts == 0
    assert watched.peak_watts() == pytest.approx(2000, abs=40)


@pytest.mark.parametrize("minutes", PERIODS)
def test_period_begins_at_a_multiple_of_its_length(minutes: int) -> None:
    watched = Watched(NOON - 1)
    watched.demand.minutes = minutes
    watched.read()
    begins: list[float] = []
    for _ in range(7201):
        watched.advance(1, watts=1000)
        if watched.read():
            begins.append((watched.wall - NOON) / 60)
    # The change of the length begins the rest of a period.
    assert begins[-120 // minutes - 1 :] == [*range(0, 121, minutes)]


@pytest.mark.parametrize(
    ("zone", "past_hour"),
    [(BRUSSELS, 0), (ZoneInfo("Asia/Kathmandu"), 15), (ZoneInfo("Asia/Kolkata"), 30)],
)
def test_hour_begins_by_the_local_clock(zone: tzinfo, past_hour: int) -> None:
    watched = Watched(NOON + 30, zone)
    watched.demand.minutes = 60
    watched.pass_time(2 * 3600, watts=2000, every=10)
    peak = watched.peak()
    assert peak is not None
    assert (peak.begin - NOON) / 60 % 60 == past_hour


def test_reading_that_is_not_later_is_ignored() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(61, watts=36_000)
    before = watched.watts
    at = Moment(watched.wall - 5, watched.monotonic - 5)
    assert not watched.demand.add(at, watched.counter - 0.05)
    assert not watched.demand.add(Moment(watched.wall + 5), watched.counter + 5)
    at = Moment(watched.wall, watched.monotonic)
    assert not watched.demand.add(at, watched.counter + 0.05)
    assert watched.watts == before


@pytest.mark.parametrize("every", [1, 7, 26])
def test_slow_readings_measure_the_same_energy(every: float) -> None:
    watched = Watched(NOON - 13)
    watched.pass_time(13 + 5 * 900 + 13, watts=4000, every=every)
    assert watched.peak_watts() == pytest.approx(4000, abs=45)


def test_demand_is_unknown_without_a_reading_for_30_seconds() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(61, watts=1000)
    watched.advance(30, watts=1000)
    assert None not in (watched.watts, watched.forecast)
    watched.advance(1, watts=1000)
    assert (watched.watts, watched.forecast) == (None, None)
    watched.read()
    assert watched.watts == pytest.approx(102, abs=40)


# -- the forecast ------------------------------------------------------------------


def test_forecast_assumes_that_the_present_power_continues() -> None:
    watched = Watched(NOON - 600)
    watched.pass_time(600 + 300, watts=1000)
    assert watched.forecast == pytest.approx(1000, abs=60)
    watched.pass_time(60, watts=9000)
    passed = (300 * 1000 + 60 * 9000) / 900
    assert watched.forecast == pytest.approx(passed + 9000 * 0.6, rel=0.05)
    watched.pass_time(539, watts=9000)
    assert watched.forecast == pytest.approx((300 * 1000 + 600 * 9000) / 900, abs=50)


def test_forecast_falls_soon_after_a_load_is_off() -> None:
    watched = Watched(NOON - 600)
    watched.pass_time(600 + 300, watts=9000)
    watched.pass_time(60, watts=0)
    assert watched.forecast == pytest.approx(3000 + 600 * 0.6, abs=50)
    watched.pass_time(120, watts=0)
    assert watched.forecast == pytest.approx(3000 + 200 * 0.47, abs=50)


def test_forecast_of_a_small_load_is_exact() -> None:
    watched = Watched(NOON - 1800)
    watched.pass_time(1800 + 60, watts=120)
    assert watched.forecast == pytest.approx(120, abs=45)


def test_forecast_without_a_load_is_zero() -> None:
    watched = Watched(NOON - 61)
    watched.pass_time(62, watts=0)
    assert watched.forecast == 0


def test_forecast_after_a_restart_is_unknown_until_the_power_is_known() -> None:
    watched = Watched(NOON - 60)
    watched.pass_time(60 + 300, watts=3000)
    watched.restart()
    watched.advance(60, watts=3000)
    forecasts = []
    for _ in range(30):
        watched.pass_time(1, watts=3000)
        forecasts.append(watched.forecast)
    unknown = sum(each is None for each in forecasts)
    assert 12 <= unknown <= 25
    assert all(each == pytest.approx(3000, rel=0.07) for each in forecasts[unknown:])


def test_forecast_uses_the_mean_power_of_a_minute() -> None:
    watched = Watched(NOON - 600)
    watched.pass_time(600 + 300, watts=3600)
    for _ in range(4):
        watched.pass_time(10, watts=7200)
        watched.pass_time(10, watts=3600)
    left = (900 - 380) / 900
    so_far = (340 * 3600 + 40 * 7200) / 900
    assert watched.forecast == pytest.approx(so_far + 5400 * left, rel=0.05)


def test_forecast_after_a_long_pause_ignores_the_power_before() -> None:
    watched = Watched(NOON - 600)
    watched.pass_time(600 + 60, watts=9000)
    watched.advance(31, watts=0)
    watched.read()
    assert watched.forecast is None
    watched.pass_time(60, watts=0)
    assert watched.forecast == pytest.approx(600, abs=40)


def test_forecast_with_a_reading_every_30_seconds_is_known() -> None:
    watched = Watched(NOON - 600)
    watched.pass_time(600 + 300, watts=3000, every=30)
    assert watched.forecast == pytest.approx(3000, rel=0.05)


def test_forecast_is_known_again_after_a_short_restart() -> None:
    watched = Watched(NOON - 60)
    watched.pass_time(60 + 300, watts=3000)
    watched.restart()
    watched.pass_time(70, watts=3000, every=10)
    assert watched.forecast == pytest.approx(3000, rel=0.05)


# -- periods that are not complete ---------------------------------------------------


def test_energy_of_a_gap_is_in_no_peak() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 1800, watts=500)
    watched.advance(3 * 3600, watts=500)
    watched.pass_time(600, watts=500)
    assert watched.watts is None
    watched.pass_time(1801, watts=500)
    assert watched.peak_watts() == pytest.approx(500, abs=40)


def test_gap_within_a_period_does_not_lose_its_demand() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 60, watts=500)
    watched.advance(780, watts=2000)
    watched.pass_time(60, watts=500)
    expected = (120 * 500 + 780 * 2000) / 900
    assert watched.peak_watts() == pytest.approx(expected, abs=40)


@pytest.mark.parametrize(("pause", "is_known"), [(30, True), (31, False)])
def test_period_counts_if_the_pause_at_its_begin_is_short(
    pause: float, *, is_known: bool
) -> None:
    watched = Watched(NOON - pause + 5)
    watched.advance(pause, watts=1000)
    watched.read()
    assert (watched.watts is not None) == is_known
    watched.pass_time(900, watts=1000)
    assert (watched.peak() is not None) == is_known


@pytest.mark.parametrize("seconds", [-3600, -600, -3, 3, 600, 3600, 86_400])
def test_period_in_which_the_clock_was_set_is_no_peak(seconds: float) -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 900, watts=500)
    watched.pass_time(300, watts=9000)
    watched.wall += seconds
    watched.pass_time(900 - (watched.wall - NOON) % 900, watts=9000)
    watched.pass_time(900, watts=700)
    assert watched.peak_watts() == pytest.approx(700, abs=40)


def test_clock_that_drifts_slowly_keeps_the_period() -> None:
    watched = Watched(NOON - 1)
    for _ in range(901):
        watched.pass_time(1, watts=1000)
        watched.wall += 0.0005
    assert watched.peak_watts() == pytest.approx(1000, abs=40)


def test_period_with_a_corrected_counter_is_no_peak() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 300, watts=1000)
    watched.energy += 500
    watched.demand.interrupt()
    assert watched.watts is None
    assert watched.forecast is None
    watched.pass_time(600, watts=1000)
    assert watched.peak() is None
    watched.pass_time(900, watts=1000)
    assert watched.peak_watts() == pytest.approx(1000, abs=40)


def test_period_in_which_the_counter_falls_is_no_peak() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 300, watts=1000)
    watched.energy -= 500
    watched.pass_time(600, watts=1000)
    assert watched.peak() is None
    assert watched.watts == pytest.approx(0, abs=40)


@pytest.mark.parametrize(
    "day",
    [datetime(2026, 3, 29, tzinfo=BRUSSELS), datetime(2026, 10, 25, tzinfo=BRUSSELS)],
)
@pytest.mark.parametrize("minutes", [15, 60])
def test_change_of_daylight_saving_time_invents_no_peak(
    day: datetime, minutes: int
) -> None:
    watched = Watched(day.timestamp() - 5, BRUSSELS)
    watched.demand.minutes = minutes
    begins = 0
    for _ in range(5 * 360):
        watched.advance(10, watts=2000)
        begins += watched.read()
    assert begins == 5 * 60 / minutes
    assert watched.peak_watts() == pytest.approx(2000, abs=40)


def test_time_zone_that_shifts_by_half_an_hour_invents_no_peak() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    day = datetime(2026, 4, 5, tzinfo=zone)
    watched = Watched(day.timestamp() - 5, zone)
    watched.demand.minutes = 60
    watched.pass_time(5 * 3600, watts=2000, every=10)
    assert watched.peak_watts() == pytest.approx(2000, abs=10)


# -- the highest demands -----------------------------------------------------------


def test_highest_demand_keeps_the_time_of_its_period() -> None:
    watched = Watched(NOON - 1)
    for watts in (1000, 3000, 2000, 3000):
        watched.pass_time(900, watts=watts)
    watched.pass_time(1, watts=0)
    peak = watched.peak()
    assert peak is not None
    assert peak.watts == pytest.approx(3000, abs=50)
    assert peak.begin in (NOON + 900, NOON + 2700)


def test_period_belongs_to_the_month_in_which_it_begins() -> None:
    month = datetime(2026, 7, 1, tzinfo=BRUSSELS).timestamp()
    watched = Watched(month - 901, BRUSSELS)
    watched.pass_time(901, watts=5000)
    watched.pass_time(1, watts=1000)
    assert watched.peak_watts() is None
    assert watched.peak_watts(months_ago=1) == pytest.approx(5000, abs=50)
    watched.pass_time(900, watts=1000)
    assert watched.peak_watts() == pytest.approx(1000, abs=50)
    assert watched.peak_watts(months_ago=1) == pytest.approx(5000, abs=50)


def test_highest_demand_of_two_months_ago_is_forgotten() -> None:
    watched = Watched(datetime(2025, 12, 31, 22, tzinfo=UTC).timestamp() - 1)
    watched.pass_time(901, watts=5000)
    for month, before in ((1, 5000), (2, 1000)):
        watched.wall = datetime(2026, month, 20, tzinfo=UTC).timestamp() - 2
        watched.demand.interrupt()
        watched.pass_time(903, watts=month * 1000)
        assert watched.peak_watts() == pytest.approx(month * 1000, abs=50)
        assert watched.peak_watts(months_ago=1) == pytest.approx(before, abs=50)
    assert watched.peak_watts(months_ago=2) is None


def test_highest_demand_of_a_month_without_readings_is_unknown() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(901, watts=5000)
    watched.advance(62 * 86_400, watts=0)
    watched.pass_time(2000, watts=1000)
    assert watched.peak_watts() == pytest.approx(1000, abs=50)
    assert watched.peak_watts(months_ago=1) is None


def test_highest_demands_of_different_lengths_are_separate() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 900, watts=3000)
    watched.demand.minutes = 5
    assert watched.watts is None
    assert watched.peak() is None
    watched.pass_time(600, watts=1000)
    assert watched.peak_watts() == pytest.approx(1000, abs=120)
    watched.demand.minutes = 15
    assert watched.peak_watts() == pytest.approx(3000, abs=50)


def test_length_that_is_set_at_the_begin_of_a_period_begins_one() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1, watts=3600)
    watched.demand.minutes = 5
    watched.pass_time(100, watts=3600)
    assert watched.watts == pytest.approx(1200, abs=120)


def test_length_that_is_set_again_does_not_end_the_period() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(301, watts=3000)
    before = watched.watts
    watched.demand.minutes = 15
    assert before is not None
    assert watched.watts == before


def test_first_one_of_equal_demands_is_the_highest() -> None:
    demand = Demand(in_zone(UTC))
    # The counter rises by 2 ** -7 kWh with each reading: exactly 2812.5 W.
    for step in range(-1, 271):
        demand.add(Moment(NOON + 10 * step, 10 * step), 512 + step / 128)
    assert demand.highest(NOON) == Peak(15, NOON, 2812.5)
    assert demand.forecast(NOON + 2700) == 2812.5


# -- restarts ----------------------------------------------------------------------


def test_restart_within_a_period_continues_it() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 200, watts=3000)
    watched.restart()
    watched.advance(400, watts=1000)
    watched.pass_time(300, watts=3000)
    expected = (500 * 3000 + 400 * 1000) / 900
    assert watched.peak_watts() == pytest.approx(expected, abs=40)


def test_restart_at_the_end_of_a_period_loses_two_periods() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 890, watts=3000)
    watched.restart()
    watched.advance(60, watts=9000)
    watched.pass_time(850, watts=9000)
    assert watched.peak() is None
    watched.pass_time(900, watts=1000)
    assert watched.peak_watts() == pytest.approx(1000, abs=40)


def test_clock_that_was_set_back_during_a_restart_ends_the_period() -> None:
    watched = Watched(NOON - 1)
    watched.pass_time(1 + 890, watts=3000)
    watched.restart()
    watched.wall -= 600
    watched.pass_time(700, watts=3000)
    assert watched.peak() is None


def test_highest_demands_are_kept_over_a_restart() -> None:
    watched = Watched(datetime(2026, 7, 1, tzinfo=UTC).timestamp() - 901)
    watched.demand.minutes = 15
    watched.pass_time(900, watts=5000)
    watched.pass_time(902, watts=2000)
    before = (watched.peak(), watched.peak(months_ago=1))
    watched.restart()
    assert (watched.peak(), watched.peak(months_ago=1)) == before
    assert None not in before


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_length_of_the_periods_is_kept_over_a_restart(minutes: int) -> None:
    watched = Watched()
    watched.demand.minutes = minutes
    watched.restart()
    assert watched.demand.minutes == minutes


def test_demand_without_a_reading_can_be_stored() -> None:
    stored = Demand(in_zone(UTC)).as_dict()
    assert Demand(in_zone(UTC)).restore(stored).as_dict() == stored


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"minutes": 7, "last": None, "period": None, "peaks": []},
        {"minutes": 5, "last": [1], "period": None, "peaks": []},
        {"minutes": 5, "last": ["x", 1], "period": None, "peaks": []},
        {"minutes": 5, "last": None, "period": {"x": 1}, "peaks": []},
        {"minutes": 5, "last": None, "period": None, "peaks": [{"x": 1}]},
        [],
    ],
)
def test_invalid_stored_demand_is_not_used(
    stored: Any, caplog: pytest.LogCaptureFixture
) -> None:
    demand = Demand(in_zone(UTC)).restore(stored)
    assert demand.as_dict() == Demand(in_zone(UTC)).as_dict()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "The stored demand is invalid and not used" in caplog.text


# -- the integral of the power ------------------------------------------------------


def test_integral_of_the_power_is_the_consumed_energy() -> None:
    integral = PowerIntegral()
    assert not integral.add(100, 9000)
    for at in range(101, 3701):
        assert integral.add(at, 3600)
    assert integral.kilowatt_hours == pytest.approx(3.6, abs=0.001)


def test_produced_power_consumes_no_energy() -> None:
    integral = PowerIntegral()
    for at in range(0, 3600, 10):
        integral.add(at, -3600)
    assert integral.kilowatt_hours == 0


def test_integral_uses_the_mean_of_two_readings() -> None:
    integral = PowerIntegral()
    integral.add(0, 3600)
    integral.add(10, 7200)
    integral.add(20, -7200)
    assert integral.kilowatt_hours == pytest.approx((54_000 + 36_000) / 3_600_000)


@pytest.mark.parametrize(("pause", "is_known"), [(10, True), (10.1, False)])
def test_energy_of_a_pause_is_known_if_the_pause_is_short(
    pause: float, *, is_known: bool
) -> None:
    integral = PowerIntegral()
    integral.add(0, 3600)
    assert integral.add(pause, 3600) is is_known
    assert (integral.kilowatt_hours > 0) is is_known


# -- any course of events ----------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["read", "read", "read", "gap", "restart", "clock"]),
        st.integers(1, 2400),  # s
        st.integers(0, 12_000),  # W
    ),
    min_size=3,
    max_size=25,
)


def periods_of(trace: Iterable[tuple[float, float]], length: int) -> dict[float, float]:
    """Return the true mean power of each period, from the time and power of each s."""
    energies: dict[float, float] = {}
    for at, watts in trace:
        begin = at // length * length
        energies[begin] = energies.get(begin, 0) + watts / length
    return energies


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from(PERIODS), st.integers(1, 26))
def test_no_course_of_events_invents_a_peak(
    events: list[tuple[str, int, int]], minutes: int, every: int
) -> None:
    watched = Watched(NOON + 77)
    watched.demand.minutes = minutes
    trace: list[tuple[float, float]] = []
    for event, seconds, watts in events:
        if event == "restart":
            watched.restart()
        if event == "clock":
            # Later times only, so that each time has one true power.
            watched.wall += seconds
            watched.demand.add(
                Moment(watched.wall, watched.monotonic + 1e-3), watched.counter
            )
            watched.monotonic += 1e-3
            continue
        is_read = event == "read"
        for second in range(seconds):
            trace.append((watched.wall, watts))
            watched.advance(1, watts)
            if is_read and second % every == 0:
                watched.read()
        watched.read()
    truth = periods_of(trace, 60 * minutes)
    peak = watched.peak()
    if peak is not None:
        resolution = STEP * 60_000 / minutes
        # Between two readings at the begin or end of a period, the power may change.
        interpolation = 2 * 12_000 * LONGEST_PAUSE / 4 / (60 * minutes)
        assert peak.watts == pytest.approx(
            truth[peak.begin], abs=1.01 * (resolution + interpolation)
        )
    demand = watched.watts
    assert demand is None or demand >= 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9000), min_size=2, max_size=6),
    st.sampled_from(PERIODS),
    st.integers(1, 26),
)
def test_highest_demand_of_whole_periods_is_exact(
    powers: list[int], minutes: int, every: int
) -> None:
    watched = Watched(NOON - 1)
    watched.demand.minutes = minutes
    watched.pass_time(1, watts=0)
    for watts in powers:
        # The load changes with the periods, and a reading follows at once.
        watched.pass_time(60 * minutes, watts, every)
    watched.pass_time(1, watts=0)
    assert watched.peak_watts() == pytest.approx(
        max(powers), abs=1.01 * STEP * 60_000 / minutes + 0.6 * max(powers) / 60
    )


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_stored_demand_is_restored_unchanged(
    events: list[tuple[str, int, int]],
) -> None:
    watched = Watched(NOON + 77)
    for _, seconds, watts in events:
        watched.pass_time(seconds, watts, every=20)
        before = watched.demand
        watched.restart()
        assert watched.demand.as_dict() == before.as_dict()
        assert watched.watts == before.watts(watched.wall)
