"""The meters of a site: a house with a solar roof, its inverter, and more houses."""

from collections.abc import Sequence
from dataclasses import replace
import time

from .counters import Counters
from .days import Moment, tariff
from .load import House, Inverter, Load
from .meter import Meter
from .wiring import with_wiring_errors

SOLAR_PEAK = 6000  # W; our choice

# The counters after some years of use, in Wh and varh. The values are our choice.
HOUSE_COUNTERS = Counters(
    consumed=12_345_678,
    reactive=2_345_678,
    produced=8_765_432,
    partial_consumed=345_678,
    partial_reactive=45_678,
    partial_produced=234_567,
    tariffs=[8_212_345.0, 4_133_333.0, 0.0, 0.0],
)
INVERTER_COUNTERS = Counters(
    consumed=45_678,
    reactive=12_345,
    produced=23_456_789,
    partial_consumed=1_234,
    partial_reactive=567,
    partial_produced=456_789,
    tariffs=[45_678.0, 0.0, 0.0, 0.0],
)


def load_at(unit_ids: Sequence[int], index: int, noon: int, *, lifelike: bool) -> Load:
    """Return the load of the meter at `unit_ids[index]`.

    The first load is a house with a solar roof, the second is the inverter of this
    roof, and all others are houses. `noon` is the solar noon of any day, in s since
    1970. With `lifelike`, consumption depends on hour and weekday, and solar power on
    weather.
    """
    # The unit ID of a house is its seed. The inverter has the seed of the first house,
    # because the same seed gives the same weather.
    if index == 1:
        return Inverter(unit_ids[0], SOLAR_PEAK, noon=noon, lifelike=lifelike)
    peak = SOLAR_PEAK if index == 0 else 0
    return House(unit_ids[index], solar_peak=peak, noon=noon, lifelike=lifelike)


def meters_at(
    unit_ids: Sequence[int],
    wiring_errors: Sequence[str] = (),
    *,
    noon: int | None = None,
    lifelike: bool = False,
) -> list[Meter]:
    """Return a meter for each unit ID, all with the same wiring errors.

    `noon` is the solar noon of any day, in s since 1970. The default is the current
    time, so that the roof produces at once. `load_at` explains how `lifelike` changes
    the loads. With `lifelike`, the current hour in solar time also selects the tariff.
    Without `lifelike`, the tariff is 1.
    """
    now = int(time.time())
    if noon is None:
        noon = now
    tariff_now = tariff(Moment.of(now, noon)) if lifelike else 1
    meters = []
    for index, unit_id in enumerate(unit_ids):
        counters = replace(
            INVERTER_COUNTERS if index == 1 else HOUSE_COUNTERS, tariff=tariff_now
        )
        load = load_at(unit_ids, index, noon, lifelike=lifelike)
        meters.append(
            Meter(
                unit_id=unit_id,
                load=with_wiring_errors(load, wiring_errors),
                # A copy, because two meters must not share the lists of tariffs.
                counters=Counters.from_dict(counters.as_dict()),
            )
        )
    return meters
