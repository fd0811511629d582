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
    LONGEST_COUNTER_PAUSE,
    PERIODS,
    Demand,
    Peak,
    PowerIntegral,
)
from custom_components.socomec_countis.countis.plausibility import Moment

BRUSSELS = ZoneInfo("Europe/Brussels")
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp()
# In kWh; one step in a period of 15 min is a mean power of 40 W. So most expected
# demands have a tolerance of 40 W.
STEP = 0.01


def in_zone(zone: tzinfo) -> Callable[[float], datetime]:
    """Return a function that converts s since 1970 to the local time of a zone."""
    return lambda at: datetime.fromtimestamp(at, zone)


class Simulation:
    """A `Demand`, and a load whose counter is read in steps of 10 Wh.

    Time passes only in `pass_time` and `advance`.
    """

    def __init__(self, at: float = NOON, zone: tzinfo = UTC) -> None:
        """Begin at `at`, in s since 1970, with a first reading."""
        self.zone = zone
        self.demand = Demand(in_zone(zone))
        self.wall = at
        self.monotonic = 1000.0  # s
        self.energy = 1234.567  # kWh, not rounded
        self.read()

    @property
    def counter(self) -> float:
        """Return the counter in kWh, rounded down to steps of the register."""
        # Without 1e-6, a rounding error could lower the counter by one step.
        return math.floor(self.energy / STEP + 1e-6) * STEP

    def read(self) -> bool:
        """Read the counter. Return whether a period began."""
        return self.demand.add(Moment(self.wall, self.monotonic), self.counter)

    def advance(self, seconds: float, watts: float) -> None:
        """Let time pass without a reading, while the load consumes `watts`."""
        self.wall += seconds
        self.monotonic += seconds
        self.energy += watts * seconds / 3_600_000

    def pass_time(self, seconds: float, watts: float, every: float = 1) -> None:
        """Let time pass, and read the counter every `every` seconds."""
        while seconds > 0:
            self.advance(min(every, seconds), watts)
            self.read()
            seconds -= every

    def restart(self) -> None:
        """Restore the stored demand. The monotonic clock begins again."""
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
        """Return the highest demand of this month or of an earlier month."""
        return self.demand.highest(self.wall, months_ago=months_ago)

    def peak_watts(self, months_ago: int = 0) -> float | None:
        """Return the highest demand of this month or of an earlier month in W."""
        peak = self.peak(months_ago)
        return None if peak is None else peak.watts


@pytest.fixture
def simulation() -> Simulation:
    """Return a simulation that starts one second before a period begins."""
    return Simulation(NOON - 1)


# -- the running period ------------------------------------------------------------


def test_demand_without_a_reading_is_unknown() -> None:
    demand = Demand(in_zone(UTC))
    assert (demand.begin, demand.watts(NOON), demand.forecast(NOON)) == (None,) * 3


def test_demand_is_unknown_until_a_period_begins() -> None:
    simulation = Simulation(NOON - 100)
    simulation.pass_time(99, watts=3000)
    assert simulation.watts is None
    assert simulation.forecast is None
    assert simulation.demand.begin == NOON - 900
    simulation.pass_time(2, watts=3000)
    assert simulation.demand.begin == NOON
    assert simulation.watts == pytest.approx(0, abs=40)
    assert simulation.forecast == pytest.approx(3000, abs=100)


def test_demand_rises_to_the_mean_power_of_the_period(simulation: Simulation) -> None:
    simulation.pass_time(1 + 300, watts=6000)
    # 6000 W in 300 s of the 900 s
    assert simulation.watts == pytest.approx(2000, abs=40)
    simulation.pass_time(599, watts=0)
    assert simulation.watts == pytest.approx(2000, abs=40)
    assert simulation.peak() is None
    simulation.pass_time(1, watts=0)
    assert simulation.watts == 0
    assert simulation.peak_watts() == pytest.approx(2000, abs=40)


@pytest.mark.parametrize("minutes", PERIODS)
def test_period_begins_at_a_multiple_of_its_length(
    simulation: Simulation, minutes: int
) -> None:
    simulation.demand.minutes = minutes
    begins: list[float] = []
    for _ in range(7201):  # s; one second until NOON, and 2 h
        simulation.advance(1, watts=1000)
        if simulation.read():
            begins.append((simulation.wall - NOON) / 60)
    assert begins == [*range(0, 121, minutes)]


@pytest.mark.parametrize(
    ("zone", "utc_minute"),  # the minute of UTC at which a local hour begins
    [(BRUSSELS, 0), (ZoneInfo("Asia/Kathmandu"), 15), (ZoneInfo("Asia/Kolkata"), 30)],
)
def test_period_of_an_hour_begins_with_an_hour_of_the_local_clock(
    zone: tzinfo, utc_minute: int
) -> None:
    simulation = Simulation(NOON + 30, zone)
    simulation.demand.minutes = 60
    simulation.pass_time(2 * 3600, watts=2000, every=10)
    peak = simulation.peak()
    assert peak is not None
    assert (peak.begin - NOON) / 60 % 60 == utc_minute


def test_reading_that_is_not_later_by_the_monotonic_clock_is_ignored(
    simulation: Simulation,
) -> None:
    simulation.pass_time(61, watts=36_000)
    before = simulation.watts
    # An earlier monotonic time
    at = Moment(simulation.wall - 5, simulation.monotonic - 5)
    assert not simulation.demand.add(at, simulation.counter - 0.05)
    # No monotonic time, as in a reading from before a restart
    at = Moment(simulation.wall + 5)
    assert not simulation.demand.add(at, simulation.counter + 5)
    # The same monotonic time
    at = Moment(simulation.wall, simulation.monotonic)
    assert not simulation.demand.add(at, simulation.counter + 0.05)
    assert simulation.watts == before


# In s; with 64 meters on a bus at 38400 baud, up to 26 s pass between two readings of a
# counter.
@pytest.mark.parametrize("every", [1, 7, 26])
def test_demand_does_not_depend_on_the_interval_of_the_readings(every: float) -> None:
    # With an interval of 26 s, the first period begins between two readings.
    simulation = Simulation(NOON - 13)
    simulation.pass_time(13 + 5 * 900 + 13, watts=4000, every=every)
    assert simulation.peak_watts() == pytest.approx(4000, abs=45)


def test_demand_is_unknown_without_a_reading_for_more_than_30_s(
    simulation: Simulation,
) -> None:
    simulation.pass_time(61, watts=1000)
    simulation.advance(30, watts=1000)
    assert None not in (simulation.watts, simulation.forecast)
    simulation.advance(1, watts=1000)
    assert (simulation.watts, simulation.forecast) == (None, None)
    simulation.read()
    # 1000 W in 91 s of the 900 s
    assert simulation.watts == pytest.approx(101, abs=40)


# -- the forecast ------------------------------------------------------------------


def test_forecast_assumes_that_the_present_power_continues() -> None:
    simulation = Simulation(NOON - 600)
    simulation.pass_time(600 + 300, watts=1000)
    assert simulation.forecast == pytest.approx(1000, abs=60)
    simulation.pass_time(60, watts=9000)
    # 360 s of the period are over. The power of 9000 W continues for 540 s.
    until_now = (300 * 1000 + 60 * 9000) / 900
    assert simulation.forecast == pytest.approx(until_now + 9000 * 540 / 900, rel=0.05)
    simulation.pass_time(539, watts=9000)
    assert simulation.forecast == pytest.approx((300 * 1000 + 600 * 9000) / 900, abs=50)


def test_forecast_falls_soon_after_a_load_is_off() -> None:
    simulation = Simulation(NOON - 600)
    simulation.pass_time(600 + 300, watts=9000)
    simulation.pass_time(60, watts=0)
    # 9000 W in the first 300 s are a demand of 3000 W. Without a load, the counter does
    # not rise. So the forecast assumes that one step was consumed since the last rise:
    # 10 Wh in 60 s (600 W) or in 180 s (200 W).
    assert simulation.forecast == pytest.approx(3000 + 600 * 540 / 900, abs=50)
    simulation.pass_time(120, watts=0)
    assert simulation.forecast == pytest.approx(3000 + 200 * 420 / 900, abs=50)


def test_forecast_of_a_constant_small_load_is_the_power_of_the_load() -> None:
    simulation = Simulation(NOON - 1800)
    simulation.pass_time(1800 + 60, watts=120)
    assert simulation.forecast == pytest.approx(120, abs=45)


def test_forecast_of_a_small_load_follows_the_last_two_rises() -> None:
    simulation = Simulation(NOON - 2299)
    simulation.pass_time(1500, watts=120)
    # The counter rises by 10 Wh every 300 s at 120 W, and every 600 s at 60 W. In the
    # 800 s with 60 W, it rises after 180 s and after 780 s. At the end, a new period
    # has just begun, so the forecast is the present power.
    simulation.pass_time(800, watts=60)
    assert simulation.forecast == pytest.approx(60, abs=2)


def test_forecast_without_a_load_is_zero() -> None:
    simulation = Simulation(NOON - 61)
    simulation.pass_time(62, watts=0)  # s; without a rise, 60 s are enough
    assert simulation.forecast == 0


def test_forecast_after_a_restart_is_known_once_the_counter_has_risen_twice() -> None:
    simulation = Simulation(NOON - 60)
    simulation.pass_time(60 + 300, watts=3000)
    simulation.restart()
    simulation.advance(60, watts=3000)
    forecasts = []
    for _ in range(30):
        simulation.pass_time(1, watts=3000)
        forecasts.append(simulation.forecast)
    unknown = sum(each is None for each in forecasts)
    # At 3000 W, the counter rises every 12 s. The power is known after two rises.
    assert 12 <= unknown <= 25
    assert all(each == pytest.approx(3000, rel=0.07) for each in forecasts[unknown:])


def test_forecast_after_a_short_restart_is_unknown_at_first(
    simulation: Simulation,
) -> None:
    simulation.pass_time(300, watts=3000)
    simulation.restart()
    simulation.pass_time(1, watts=3000)
    assert simulation.watts is not None
    assert simulation.forecast is None


def test_forecast_uses_the_mean_power_of_a_minute() -> None:
    simulation = Simulation(NOON - 600)
    simulation.pass_time(600 + 300, watts=3600)
    for _ in range(4):
        simulation.pass_time(10, watts=7200)
        simulation.pass_time(10, watts=3600)
    # The mean power of the last minute is 5400 W. In 40 of the 380 s that have passed,
    # the power was 7200 W. 520 s of the period remain.
    until_now = (340 * 3600 + 40 * 7200) / 900
    assert simulation.forecast == pytest.approx(until_now + 5400 * 520 / 900, rel=0.05)


def test_forecast_ignores_the_power_before_a_long_pause() -> None:
    simulation = Simulation(NOON - 600)
    simulation.pass_time(600 + 60, watts=9000)
    simulation.advance(31, watts=0)
    simulation.read()
    assert simulation.forecast is None
    simulation.pass_time(60, watts=0)
    # 9000 W in 60 s of the 900 s, and 0 W for the rest of the period
    assert simulation.forecast == pytest.approx(600, abs=40)


def test_forecast_with_a_reading_every_30_seconds_is_known() -> None:
    simulation = Simulation(NOON - 600)
    simulation.pass_time(600 + 300, watts=3000, every=30)
    assert simulation.forecast == pytest.approx(3000, rel=0.05)


def test_forecast_is_known_again_after_a_short_restart() -> None:
    simulation = Simulation(NOON - 60)
    simulation.pass_time(60 + 300, watts=3000)
    simulation.restart()
    simulation.pass_time(70, watts=3000, every=10)
    assert simulation.forecast == pytest.approx(3000, rel=0.05)


# -- gaps, and changes of the clock or of the counter --------------------------------


def test_energy_of_a_gap_over_several_periods_is_in_no_peak(
    simulation: Simulation,
) -> None:
    simulation.pass_time(1 + 1800, watts=500)
    # If one period contained all energy of this gap, its demand would be 6000 W.
    simulation.advance(3 * 3600, watts=500)
    simulation.pass_time(600, watts=500)
    assert simulation.watts is None
    simulation.pass_time(1801, watts=500)
    assert simulation.peak_watts() == pytest.approx(500, abs=40)


def test_demand_is_known_if_a_gap_is_within_the_period(simulation: Simulation) -> None:
    simulation.pass_time(1 + 60, watts=500)
    simulation.advance(780, watts=2000)
    simulation.pass_time(60, watts=500)
    expected = (120 * 500 + 780 * 2000) / 900
    assert simulation.peak_watts() == pytest.approx(expected, abs=40)


@pytest.mark.parametrize(("pause", "is_known"), [(30, True), (31, False)])
def test_demand_is_known_if_the_period_begins_in_a_short_pause(
    pause: float, *, is_known: bool
) -> None:
    # The period begins 5 s before the end of the pause.
    simulation = Simulation(NOON - pause + 5)
    simulation.advance(pause, watts=1000)
    simulation.read()
    assert (simulation.watts is not None) == is_known
    simulation.pass_time(900, watts=1000)
    assert (simulation.peak() is not None) == is_known


@pytest.mark.parametrize("seconds", [-3600, -600, -3, 3, 600, 3600, 86_400])
def test_period_in_which_the_clock_was_set_is_no_peak(
    simulation: Simulation, seconds: float
) -> None:
    simulation.pass_time(1 + 900, watts=500)
    simulation.pass_time(300, watts=9000)
    simulation.wall += seconds
    # Until the end of the period in which the new time is
    simulation.pass_time(900 - (simulation.wall - NOON) % 900, watts=9000)
    simulation.pass_time(900, watts=700)
    assert simulation.peak_watts() == pytest.approx(700, abs=40)


@pytest.mark.parametrize("seconds", [-2, 2])
def test_correction_of_the_clock_by_2_seconds_keeps_the_period(
    simulation: Simulation, seconds: float
) -> None:
    simulation.pass_time(1 + 300, watts=1000)
    simulation.wall += seconds
    simulation.pass_time(10, watts=1000)
    assert simulation.watts is not None


def test_slow_drift_of_the_clock_does_not_interrupt_the_period(
    simulation: Simulation,
) -> None:
    for _ in range(901):
        simulation.pass_time(1, watts=1000)
        simulation.wall += 0.0005  # s in each second: 0.45 s in the period
    assert simulation.peak_watts() == pytest.approx(1000, abs=40)


def test_period_with_a_corrected_counter_is_no_peak(simulation: Simulation) -> None:
    simulation.pass_time(1 + 300, watts=1000)
    simulation.energy += 500  # kWh
    simulation.demand.interrupt()
    assert simulation.watts is None
    assert simulation.forecast is None
    simulation.pass_time(600, watts=1000)
    assert simulation.peak() is None
    simulation.pass_time(900, watts=1000)
    assert simulation.peak_watts() == pytest.approx(1000, abs=40)


def test_period_in_which_the_counter_falls_is_no_peak(simulation: Simulation) -> None:
    simulation.pass_time(1 + 300, watts=1000)
    simulation.energy -= 500  # kWh
    simulation.pass_time(600, watts=1000)
    assert simulation.peak() is None
    # The next period has just begun.
    assert simulation.watts == pytest.approx(0, abs=40)


@pytest.mark.parametrize(
    "day",
    [datetime(2026, 3, 29, tzinfo=BRUSSELS), datetime(2026, 10, 25, tzinfo=BRUSSELS)],
)
@pytest.mark.parametrize("minutes", [15, 60])
def test_change_of_daylight_saving_time_does_not_change_the_peak(
    day: datetime, minutes: int
) -> None:
    simulation = Simulation(day.timestamp() - 5, BRUSSELS)
    simulation.demand.minutes = minutes
    begins = 0
    for _ in range(5 * 360):  # 5 h
        simulation.advance(10, watts=2000)
        begins += simulation.read()
    assert begins == 5 * 60 / minutes
    assert simulation.peak_watts() == pytest.approx(2000, abs=40)


def test_clock_change_by_half_an_hour_does_not_change_the_peak() -> None:
    # In this zone, daylight saving time adds half an hour. It ends on this day.
    zone = ZoneInfo("Australia/Lord_Howe")
    day = datetime(2026, 4, 5, tzinfo=zone)
    simulation = Simulation(day.timestamp() - 5, zone)
    simulation.demand.minutes = 60
    simulation.pass_time(5 * 3600, watts=2000, every=10)
    assert simulation.peak_watts() == pytest.approx(2000, abs=10)


# -- the highest demands -----------------------------------------------------------


def test_highest_demand_keeps_the_time_of_its_period(simulation: Simulation) -> None:
    for watts in (1000, 3000, 2000, 3000):
        simulation.pass_time(900, watts=watts)
    simulation.pass_time(1, watts=0)
    peak = simulation.peak()
    assert peak is not None
    assert peak.watts == pytest.approx(3000, abs=50)
    # The second or the fourth period, which have the same load
    assert peak.begin in (NOON + 900, NOON + 2700)


def test_period_belongs_to_the_month_of_its_beginning() -> None:
    month_begin = datetime(2026, 7, 1, tzinfo=BRUSSELS).timestamp()
    simulation = Simulation(month_begin - 901, BRUSSELS)
    simulation.pass_time(901, watts=5000)
    simulation.pass_time(1, watts=1000)
    assert simulation.peak_watts() is None
    assert simulation.peak_watts(months_ago=1) == pytest.approx(5000, abs=50)
    simulation.pass_time(900, watts=1000)
    assert simulation.peak_watts() == pytest.approx(1000, abs=50)
    assert simulation.peak_watts(months_ago=1) == pytest.approx(5000, abs=50)


def test_highest_demand_of_two_months_ago_is_forgotten() -> None:
    simulation = Simulation(datetime(2025, 12, 31, 22, tzinfo=UTC).timestamp() - 1)
    simulation.pass_time(901, watts=5000)
    for month, last_month_watts in ((1, 5000), (2, 1000)):
        simulation.wall = datetime(2026, month, 20, tzinfo=UTC).timestamp() - 2
        simulation.demand.interrupt()
        simulation.pass_time(903, watts=month * 1000)
        assert simulation.peak_watts() == pytest.approx(month * 1000, abs=50)
        last_month = simulation.peak_watts(months_ago=1)
        assert last_month == pytest.approx(last_month_watts, abs=50)
    assert simulation.peak_watts(months_ago=2) is None


def test_highest_demand_of_a_month_without_readings_is_unknown(
    simulation: Simulation,
) -> None:
    simulation.pass_time(901, watts=5000)
    simulation.advance(62 * 86_400, watts=0)  # s; from June to August
    simulation.pass_time(2000, watts=1000)
    assert simulation.peak_watts() == pytest.approx(1000, abs=50)
    assert simulation.peak_watts(months_ago=1) is None


def test_each_period_length_has_its_own_highest_demand(simulation: Simulation) -> None:
    simulation.pass_time(1 + 900, watts=3000)
    simulation.demand.minutes = 5
    assert simulation.watts is None
    assert simulation.peak() is None
    simulation.pass_time(600, watts=1000)
    # A step of 10 Wh is 120 W in 5 min.
    assert simulation.peak_watts() == pytest.approx(1000, abs=120)
    simulation.demand.minutes = 15
    assert simulation.peak_watts() == pytest.approx(3000, abs=50)


def test_demand_is_known_if_the_length_is_set_when_the_period_begins(
    simulation: Simulation,
) -> None:
    simulation.pass_time(1, watts=3600)
    simulation.demand.minutes = 5
    simulation.pass_time(100, watts=3600)
    # 3600 W in 100 s of the 300 s
    assert simulation.watts == pytest.approx(1200, abs=120)


def test_same_length_that_is_set_again_does_not_end_the_period(
    simulation: Simulation,
) -> None:
    simulation.pass_time(301, watts=3000)
    before = simulation.watts
    simulation.demand.minutes = 15
    assert before is not None
    assert simulation.watts == before


def test_first_of_equal_demands_is_kept_as_the_highest() -> None:
    demand = Demand(in_zone(UTC))
    # The counter rises by 2 ** -7 kWh every 10 s: exactly 2812.5 W.
    for step in range(-1, 271):
        demand.add(Moment(NOON + 10 * step, 10 * step), 512 + step / 128)
    assert demand.highest(NOON) == Peak(15, NOON, 2812.5)
    assert demand.forecast(NOON + 2700) == 2812.5


# -- restarts ----------------------------------------------------------------------


def test_restart_within_a_period_does_not_interrupt_the_period(
    simulation: Simulation,
) -> None:
    simulation.pass_time(1 + 200, watts=3000)
    simulation.restart()
    simulation.advance(400, watts=1000)
    simulation.pass_time(300, watts=3000)
    expected = (500 * 3000 + 400 * 1000) / 900
    assert simulation.peak_watts() == pytest.approx(expected, abs=40)


def test_restart_at_the_end_of_a_period_loses_two_periods(
    simulation: Simulation,
) -> None:
    simulation.pass_time(1 + 890, watts=3000)
    simulation.restart()
    # The end of the period is in this pause, which is longer than 30 s.
    simulation.advance(60, watts=9000)
    simulation.pass_time(850, watts=9000)
    assert simulation.peak() is None
    simulation.pass_time(900, watts=1000)
    assert simulation.peak_watts() == pytest.approx(1000, abs=40)


def test_clock_that_was_set_back_during_a_restart_ends_the_period(
    simulation: Simulation,
) -> None:
    simulation.pass_time(1 + 890, watts=3000)
    simulation.restart()
    simulation.wall -= 600
    simulation.pass_time(700, watts=3000)
    assert simulation.peak() is None


def test_highest_demands_are_kept_over_a_restart() -> None:
    simulation = Simulation(datetime(2026, 7, 1, tzinfo=UTC).timestamp() - 901)
    simulation.pass_time(900, watts=5000)
    simulation.pass_time(902, watts=2000)
    before = (simulation.peak(), simulation.peak(months_ago=1))
    simulation.restart()
    assert (simulation.peak(), simulation.peak(months_ago=1)) == before
    assert None not in before


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_length_of_the_periods_is_kept_over_a_restart(minutes: int) -> None:
    simulation = Simulation()
    simulation.demand.minutes = minutes
    simulation.restart()
    assert simulation.demand.minutes == minutes


NO_DEMAND: dict[str, Any] = {"minutes": 5, "last": None, "period": None, "peaks": []}
STORED_PEAK = {"minutes": 15, "begin": 0.0, "watts": 1000.0}


def test_demand_without_a_reading_can_be_stored() -> None:
    stored = Demand(in_zone(UTC)).as_dict()
    assert Demand(in_zone(UTC)).restore(stored).as_dict() == stored


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {**NO_DEMAND, "minutes": 7},
        {**NO_DEMAND, "last": [1]},
        {**NO_DEMAND, "last": ["x", 1]},
        {**NO_DEMAND, "period": {"x": 1}},
        {**NO_DEMAND, "peaks": [{"x": 1}]},
        {**NO_DEMAND, "last": []},
        {**NO_DEMAND, "period": {}},
        {**NO_DEMAND, "period": {"begin": "x", "kilowatt_hours": 1.0}},
        {**NO_DEMAND, "period": {"begin": 0.0, "kilowatt_hours": "x"}},
        {**NO_DEMAND, "period": {"begin": None, "kilowatt_hours": None}},
        {**NO_DEMAND, "peaks": [{**STORED_PEAK, "minutes": "x"}]},
        {**NO_DEMAND, "peaks": [{**STORED_PEAK, "begin": "x"}]},
        {**NO_DEMAND, "peaks": [{**STORED_PEAK, "watts": "x"}]},
        {**NO_DEMAND, "peaks": [STORED_PEAK, None]},
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
    # In J: 5400 W for 10 s, and then (7200 W + 0 W) / 2 for 10 s. A negative power
    # counts as 0 W.
    assert integral.kilowatt_hours == pytest.approx((54_000 + 36_000) / 3_600_000)


@pytest.mark.parametrize(("pause", "is_known"), [(10, True), (10.1, False)])
def test_energy_of_a_pause_is_known_if_the_pause_is_short(
    pause: float, *, is_known: bool
) -> None:
    integral = PowerIntegral()
    integral.add(0, 3600)
    assert integral.add(pause, 3600) is is_known
    assert (integral.kilowatt_hours > 0) is is_known


# -- any sequence of events ----------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        # "read" is half of the choices, because only a period with readings has a
        # demand.
        st.sampled_from(["read", "read", "read", "gap", "restart", "clock"]),
        st.integers(1, 2400),  # s
        st.integers(0, 12_000),  # W
    ),
    min_size=3,
    max_size=25,
)


def mean_powers(
    trace: Iterable[tuple[float, float]], length: int
) -> dict[float, float]:
    """Return the mean power in W of each period, by the beginning of the period.

    `trace` has the time and the power of each second. `length` is in s.
    """
    powers: dict[float, float] = {}
    for at, watts in trace:
        begin = at // length * length
        powers[begin] = powers.get(begin, 0) + watts / length
    return powers


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from(PERIODS), st.integers(1, 26))
def test_highest_demand_is_the_mean_power_of_its_period(
    events: list[tuple[str, int, int]], minutes: int, every: int
) -> None:
    simulation = Simulation(NOON + 77)
    simulation.demand.minutes = minutes
    trace: list[tuple[float, float]] = []
    for event, seconds, watts in events:
        if event == "restart":
            simulation.restart()
        if event == "clock":
            # The clock is not set back, because a time would then have two powers.
            simulation.wall += seconds
            simulation.demand.add(
                Moment(simulation.wall, simulation.monotonic + 1e-3), simulation.counter
            )
            simulation.monotonic += 1e-3
            continue
        is_read = event == "read"
        for second in range(seconds):
            trace.append((simulation.wall, watts))
            simulation.advance(1, watts)
            if is_read and second % every == 0:
                simulation.read()
        simulation.read()
    truth = mean_powers(trace, 60 * minutes)
    peak = simulation.peak()
    if peak is not None:
        resolution = STEP * 60_000 / minutes
        # The counter at the beginning and at the end of the period is interpolated
        # between two readings. If the power changes by 12 000 W between these readings,
        # the error is at most 12 000 W times a quarter of the time between them.
        interpolation = 2 * 12_000 * LONGEST_COUNTER_PAUSE / 4 / (60 * minutes)
        assert peak.watts == pytest.approx(
            truth[peak.begin], abs=1.01 * (resolution + interpolation)
        )
    demand = simulation.watts
    assert demand is None or demand >= 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9000), min_size=2, max_size=6),
    st.sampled_from(PERIODS),
    st.integers(1, 26),
)
def test_highest_demand_of_periods_with_constant_power_is_the_highest_power(
    powers: list[int], minutes: int, every: int
) -> None:
    simulation = Simulation(NOON - 1)
    simulation.demand.minutes = minutes
    simulation.pass_time(1, watts=0)
    for watts in powers:
        # The load changes when a period begins. The counter is read at the same time.
        simulation.pass_time(60 * minutes, watts, every)
    simulation.pass_time(1, watts=0)
    # The tolerance is about one step of the counter, and 1 % of the power.
    assert simulation.peak_watts() == pytest.approx(
        max(powers), abs=1.01 * STEP * 60_000 / minutes + 0.01 * max(powers)
    )


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_stored_demand_is_restored_unchanged(
    events: list[tuple[str, int, int]],
) -> None:
    simulation = Simulation(NOON + 77)
    for _, seconds, watts in events:
        simulation.pass_time(seconds, watts, every=20)
        before = simulation.demand
        simulation.restart()
        assert simulation.demand.as_dict() == before.as_dict()
        assert simulation.watts == before.watts(simulation.wall)
