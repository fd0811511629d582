"""Loads, and meters that count the energy of a load."""

import time

import pytest

from simulator import Constant, House, Inverter, Load, Meter, Phase
from tests.common import Clock

NOON = 1_750_000_000  # s since 1970; used as the solar noon
DAY = 86_400  # s
# The first argument is the seed of the load.
LOADS: list[Load] = [
    House(7),
    House(7, solar_peak=6000, noon=NOON),
    Inverter(7, noon=NOON),
]


def meter_after(load: Load, *steps: int) -> Meter:
    """Return a meter after some steps of time, each in s.

    At the end of each step, the meter counts the energy that the load has consumed.
    """
    clock = Clock(NOON)
    meter = Meter(load=load, true_time=clock)
    for step in steps:
        clock.seconds += step
        meter.count()
    return meter


@pytest.mark.parametrize("load", LOADS)
def test_counters_do_not_depend_on_when_they_are_read(load: Load) -> None:
    read_often = meter_after(load, *[7] * 1000)
    read_rarely = meter_after(load, 1, 6998, 1)  # also 7000 s in total
    assert read_often.counters == read_rarely.counters


def test_constant_load_is_counted_as_power_times_time() -> None:
    # 3600 W for 1000 s are 1000 Wh, and 360 var are 100 varh.
    meter = meter_after(Constant(Phase(3600, 360), Phase(0), Phase(0)), 1000)
    assert meter.counters.consumed == pytest.approx(1000)
    assert meter.counters.partial_consumed == pytest.approx(1000)
    assert meter.counters.reactive == pytest.approx(100)
    assert meter.counters.produced == 0


def test_negative_power_is_counted_as_produced() -> None:
    load = Constant(Phase(-3600), Phase(600), Phase(0, -500))
    meter = meter_after(load, 1000)
    # -3600 W + 600 W = -3000 W for 1000 s are 3000 / 3.6 Wh. Negative reactive power is
    # not counted.
    assert meter.counters.produced == pytest.approx(3000 / 3.6)
    assert (meter.counters.consumed, meter.counters.reactive) == (0, 0)


def test_inverter_produces_by_day_and_consumes_by_night() -> None:
    inverter = Inverter(noon=NOON)
    assert sum(phase.watts for phase in inverter.phases(NOON)) < -1000
    night = sum(phase.watts for phase in inverter.phases(NOON + DAY // 2))
    assert 0 < night < 50


def test_house_with_solar_roof_consumes_and_produces() -> None:
    counters = meter_after(House(7, solar_peak=6000, noon=NOON), DAY).counters
    assert counters.consumed > 10_000  # Wh
    assert counters.produced > 1_000  # Wh


@pytest.mark.parametrize("load", LOADS)
def test_voltage_is_near_230_v_and_current_is_below_100_a(load: Load) -> None:
    for second in range(NOON, NOON + DAY, 300):
        for phase in load.phases(second):
            assert 220 < phase.volts < 240
            assert abs(phase.watts) < 100 * phase.volts  # 100 A


def test_houses_with_different_seeds_differ() -> None:
    assert House(1).phases(NOON) != House(2).phases(NOON)


def test_one_day_is_counted_in_less_than_5_s_of_computing_time() -> None:
    started = time.process_time()
    meter_after(House(7, solar_peak=6000), DAY)
    assert time.process_time() - started < 5
