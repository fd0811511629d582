"""The gap in the history of the demo."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from custom_components.socomec_countis.gap import Gap
from simulator import Meter
from tests.common import Clock
from tools.demo.bus import LOAD_CURVE_RECORDS
from tools.demo.gap import gap_of, gap_text, outage_yesterday
from tools.demo.history import COUNTERS, HOUR_SECONDS, Past, missing_hours

from .conftest import NOW, OUTAGE

STATE = 12_345.67  # kWh; the present state of each counter
# The entity IDs of the meter by their keys, and the states of these entities.
ENTITY_IDS = {key: f"sensor.{key}" for key in (*COUNTERS, "power")}
STATES = dict.fromkeys(ENTITY_IDS.values(), str(STATE))
MIDNIGHT = datetime(2026, 11, 20).astimezone()  # local time


@pytest.mark.parametrize(
    "since_midnight", [timedelta(), timedelta(hours=23, minutes=59)]
)
def test_outage_is_in_the_early_morning_of_yesterday(since_midnight: timedelta) -> None:
    outage = outage_yesterday((MIDNIGHT + since_midnight).timestamp())
    begin, end = (
        datetime.fromtimestamp(at, UTC).astimezone()
        for at in (outage.start, outage.stop)
    )
    assert f"{begin:%d %H:%M}" == "19 00:40"
    assert f"{end:%d %H:%M}" == "19 06:20"
    # The missing hours are the 5 hours from 01:00 to 06:00 local time. In a time zone
    # such as UTC+05:30, only 4 full hours of UTC are within the outage.
    assert len(missing_hours(outage)) >= 4


def test_only_the_meter_of_the_house_has_an_outage(histories: list[Past]) -> None:
    house, roof = histories
    assert house.outage == outage_yesterday(NOW)
    assert not roof.outage


def test_readings_of_the_gap_agree_with_the_statistics(house_with_outage: Past) -> None:
    gap = gap_of(house_with_outage, ENTITY_IDS, STATES, NOW)
    assert (gap.begin, gap.end) == (OUTAGE.start, OUTAGE.stop)
    assert gap.readings.keys() == COUNTERS.keys()
    # Each reading is a time in s since 1970, and a counter value in kWh.
    for key, ((begin, before), (end, after)) in gap.readings.items():
        rows = house_with_outage.counted(key, STATE, NOW)
        starts = [datetime.fromisoformat(row["start"]).timestamp() for row in rows]
        index = starts.index(begin // HOUR_SECONDS * HOUR_SECONDS)
        assert before == rows[index]["state"]
        # The full hours of the outage have no rows. So the next row is that of the hour
        # in which the outage ends. This row also contains the energy that is counted
        # after the outage.
        energy_since_end = house_with_outage.energy(
            key, OUTAGE.stop, int(starts[index + 1]) + HOUR_SECONDS
        )
        # Both values are rounded to 0.01 kWh.
        assert after == pytest.approx(
            rows[index + 1]["state"] - energy_since_end, abs=0.011
        )
        assert end == OUTAGE.stop


def test_counter_that_did_not_rise_is_not_in_the_gap(house: Past) -> None:
    # Two hours of a night, in which the house only consumes, in tariff 2.
    by_night = replace(house, outage=range(OUTAGE.start, OUTAGE.start + 7200))
    readings = gap_of(by_night, ENTITY_IDS, STATES, NOW).readings
    assert readings.keys() == {"energy_consumed", "tariff_2_energy"}


def test_load_curve_agrees_with_the_history(house_with_outage: Past) -> None:
    meter = Meter(load=house_with_outage.load, true_time=Clock(NOW))
    meter.record_past_periods(LOAD_CURVE_RECORDS)
    assert meter.load_curve is not None
    for hour in missing_hours(OUTAGE):
        recorded = sum(
            record.watt_hours
            for record in meter.load_curve.records
            if hour <= record.start < hour + HOUR_SECONDS
        )
        energy = house_with_outage.energy("energy_consumed", hour, hour + HOUR_SECONDS)
        assert recorded / 1000 == pytest.approx(energy)
        assert energy > 0.3  # kWh, so that the line above does not compare 0 with 0


def test_text_of_a_gap_has_local_times() -> None:
    outage = outage_yesterday(MIDNIGHT.timestamp())
    gap = Gap(outage.start, outage.stop, {})
    assert gap_text(gap) == "2026-11-19 00:40 to 06:20"
