"""Calculated partial counters by tariff, compared with the display of a meter."""

from collections.abc import Mapping
import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from custom_components.socomec_countis.countis import (
    PARTIAL_CONSUMED,
    TARIFF_COUNTERS,
    CalculatedCounters,
    PartialReset,
)
from custom_components.socomec_countis.countis.plausibility import (
    CounterCheck,
    CounterReading,
    CounterValue,
    Moment,
)
from simulator import Counters

from .common import Clock

HIGH_RESOLUTION = 0.01  # kWh
LOW_RESOLUTION = 1.0  # kWh
TARIFFS = tuple(TARIFF_COUNTERS)


class PolledMeter:
    """A meter whose display shows partial counters by tariff, and its client."""

    def __init__(self, step: float = HIGH_RESOLUTION, partial: float = 45.67) -> None:
        """Start with a partial total of `partial` kWh since an unknown reset.

        `step` is the resolution of the registers in kWh.
        """
        self.step = step
        self.clock = Clock()
        self.counters = Counters(
            consumed=1_234_560,
            partial_consumed=partial * 1000,
            tariffs=[1_000_000.0, 234_560.0, 0.0, 0.0],
        )
        self.check = CounterCheck()
        self.calculated = CalculatedCounters()
        self.reasons: list[str] = []
        self.shown: dict[str, float] = {}
        """The partial counters that the display shows after the first reset, in kWh."""

    def read(self, block: str) -> None:
        """Read the block "energies" or "tariffs"."""
        readings: Mapping[str, float] = {
            PARTIAL_CONSUMED: self.counters.partial_consumed
        }
        if block == "tariffs":
            readings = dict(zip(TARIFFS, self.counters.tariffs, strict=True))
        reading = CounterReading(
            block,
            {  # in kWh, truncated to a step; 1e-6 Wh allow for rounding errors
                name: round((energy + 1e-6) // (1000 * self.step) * self.step, 2)
                for name, energy in readings.items()
            },
            self.step,
            Moment(self.clock.seconds, self.clock.seconds),
            {PARTIAL_CONSUMED},
        )
        if not self.check.check(reading) and self.check.extend_level(reading):
            self.check.accept_level(block)
        self.take()

    def take(self) -> None:
        """Pass the accepted values to the calculation."""
        accepted = self.check.accepted
        if accepted.keys() >= {PARTIAL_CONSUMED, *TARIFFS}:
            tariffs = {name: accepted[name] for name in TARIFFS}
            reason = self.calculated.take(accepted[PARTIAL_CONSUMED], tariffs)
            if reason is not None:
                self.reasons.append(reason)

    def count(self, kilowatts: float, seconds: float, tariff: int = 1) -> None:
        """Count energy in a tariff, without a read."""
        self.counters.tariff = tariff
        self.clock.seconds += seconds
        self.counters.add(kilowatts * seconds / 3.6, 0, 0)  # Wh
        if self.shown:
            self.shown[TARIFFS[tariff - 1]] += kilowatts * seconds / 3600

    def poll(self, kilowatts: float = 0, polls: int = 4, tariff: int = 1) -> None:
        """Read both blocks `polls` times, one block every 0.5 s."""
        for _ in range(polls):
            for block in ("energies", "tariffs"):
                self.count(kilowatts, 0.5, tariff)
                self.read(block)

    def reset(self) -> None:
        """Reset the partial counters by the buttons of the meter."""
        self.counters.partial_consumed = 0
        self.shown = dict.fromkeys(TARIFFS, 0.0)

    def reset_and_poll(self) -> None:
        """Reset the partial counters, and poll until the client has seen the reset."""
        self.reset()
        self.poll()

    def restart(self) -> None:
        """Restart the client with the stored counters and the stored reset."""
        counters = json.loads(json.dumps(self.check.as_dict()))
        self.check = CounterCheck().restore(counters)
        reset = self.calculated.reset
        if reset is not None:
            reset = PartialReset.from_dict(json.loads(json.dumps(reset.as_dict())))
        self.calculated = CalculatedCounters(reset)
        self.take()

    @property
    def values(self) -> dict[str, float | None]:
        """Return the calculated counters in kWh by tariff counter."""
        accepted = self.check.values
        return self.calculated.values({name: accepted[name] for name in TARIFFS})

    def value_list(self) -> list[float | None]:
        """Return the calculated counters in kWh, in the order of the tariffs."""
        return list(self.values.values())


@pytest.fixture
def polled() -> PolledMeter:
    """Return a meter whose counters were read for some seconds."""
    polled = PolledMeter()
    polled.poll(kilowatts=3.6)
    return polled


UNKNOWN = [None] * 4


def test_counters_are_unknown_before_a_reset(polled: PolledMeter) -> None:
    polled.poll(kilowatts=10, polls=60)
    assert polled.value_list() == UNKNOWN
    assert polled.reasons == []


def test_counters_count_from_a_reset_at_the_meter(polled: PolledMeter) -> None:
    polled.reset_and_poll()
    assert polled.value_list() == [0, 0, 0, 0]
    polled.count(10, 3600, tariff=2)
    polled.count(5, 3600, tariff=1)
    polled.poll()
    assert polled.value_list() == [5, 10, 0, 0]
    polled.reset_and_poll()
    assert polled.value_list() == [0, 0, 0, 0]
    assert polled.reasons == []


# The loads before and after the reset, in kW. Each lasts for one hour, so the numbers
# are also the energies in kWh.
@pytest.mark.parametrize(("before", "after"), [(10, 5), (0.5, 0.25)])
def test_energy_since_a_reset_seen_late_is_in_the_tariff_that_rose(
    polled: PolledMeter, before: float, after: float
) -> None:
    polled.count(before, 3600, tariff=2)
    polled.reset()
    polled.count(after, 3600, tariff=2)
    polled.poll()
    assert polled.value_list() == [0, after, 0, 0]


def test_counters_are_unknown_if_two_tariffs_rose_since_the_reset(
    polled: PolledMeter,
) -> None:
    polled.reset_and_poll()
    polled.count(10, 3600, tariff=1)
    polled.poll()
    polled.reset()
    polled.count(2, 3600, tariff=1)
    polled.count(3, 3600, tariff=2)
    polled.poll()
    assert polled.value_list() == UNKNOWN
    assert polled.reasons == [
        "their reset was seen late, so it is unknown which tariffs had counted"
    ]
    polled.reset_and_poll()
    assert polled.value_list() == [0, 0, 0, 0]


def test_missed_reset_makes_counters_unknown_until_the_next_reset(
    polled: PolledMeter,
) -> None:
    polled.reset_and_poll()
    polled.count(10, 3600)
    polled.poll()
    # The partial total is read only after 15 kWh are counted. It is then higher than
    # before the reset, so no fall shows the reset.
    polled.reset()
    polled.count(15, 3600)
    polled.poll(polls=60)
    assert polled.value_list() == UNKNOWN
    (reason,) = polled.reasons
    assert reason == (
        "their sum is 25.00 kWh, but the partial total is 15.00 kWh, so a reset was"
        " missed"
    )
    polled.reset_and_poll()
    assert polled.value_list() == [0, 0, 0, 0]
    assert polled.reasons == [reason]


def test_counters_that_were_never_reset_equal_the_tariff_counters() -> None:
    polled = PolledMeter(partial=1234.56)  # the sum of the tariff counters
    polled.poll()
    assert polled.value_list() == [1000, 234.56, 0, 0]


def test_counters_are_0_if_the_partial_total_is_0() -> None:
    polled = PolledMeter(partial=0)
    polled.poll()
    assert polled.value_list() == [0, 0, 0, 0]


def test_counters_continue_after_a_restart(polled: PolledMeter) -> None:
    polled.reset_and_poll()
    polled.count(10, 3600, tariff=2)
    polled.poll()
    polled.restart()
    assert polled.value_list() == [0, 10, 0, 0]
    polled.count(10, 3600, tariff=1)
    polled.poll()
    assert polled.value_list() == [10, 10, 0, 0]


def test_restart_on_a_busy_bus_keeps_the_counters(polled: PolledMeter) -> None:
    polled.reset_and_poll()
    # The partial total is read for a minute before the tariff counters are read again.
    for _ in range(6):
        polled.count(20, 10)
        polled.read("energies")
    polled.restart()
    polled.poll(kilowatts=20)
    assert polled.reasons == []
    # 20 kW for 60 s before the restart, and for 4 s after the restart.
    assert polled.value_list()[0] == pytest.approx(0.35, abs=0.02)


def test_reset_during_a_restart_is_seen(polled: PolledMeter) -> None:
    polled.restart()
    polled.count(10, 3600)
    polled.reset()
    polled.count(1, 3600)
    polled.poll()
    assert polled.value_list() == [1, 0, 0, 0]


def test_second_reset_is_seen_before_the_first_is_evaluated(
    polled: PolledMeter,
) -> None:
    polled.reset()
    # No tariff counter is read, so the first reset cannot be evaluated.
    for _ in range(3):
        polled.count(3.6, 1)
        polled.read("energies")
    # Count 0.1 kWh, so that the partial total falls at the second reset.
    polled.count(36, 10)
    for _ in range(3):
        polled.read("energies")
    polled.reset_and_poll()
    assert polled.value_list() == [0, 0, 0, 0]


def test_reset_is_evaluated_later_if_the_total_is_too_uncertain(
    polled: PolledMeter,
) -> None:
    polled.reset()
    # The total is read before the tariff counters, and again an hour after them. These
    # two totals differ by 50 kWh. So the total at the time of the tariff counters is
    # too uncertain.
    for _ in range(2):
        polled.count(3.6, 1)
        polled.read("energies")
    for _ in range(3):
        polled.count(3.6, 1)
        polled.read("tariffs")
    polled.count(50, 3600)
    polled.read("energies")
    polled.count(0, 1)
    polled.read("energies")
    assert polled.value_list() == UNKNOWN
    polled.poll()
    assert polled.value_list() == [pytest.approx(50, abs=0.02), 0, 0, 0]


def test_reset_to_an_impossible_value_makes_counters_unknown(
    polled: PolledMeter,
) -> None:
    polled.reset_and_poll()
    polled.count(40, 3600)
    polled.poll()
    # The partial total falls from 40 to 30 kWh, although a reset sets the total to 0.
    # After a minute, the check accepts the fall.
    polled.counters.partial_consumed -= 10_000
    polled.poll(kilowatts=3.6, polls=80)
    assert polled.value_list() == UNKNOWN
    assert len(polled.reasons) == 1


@pytest.mark.parametrize("counted", [10, 0.5])  # kWh
def test_partial_counter_continues_after_its_tariff_counter_is_reset(
    polled: PolledMeter, counted: float
) -> None:
    polled.reset_and_poll()
    polled.count(counted, 3600, tariff=3)
    polled.poll()
    polled.check.expect_reset(TARIFFS)
    polled.counters.tariffs = [0.0] * 4
    polled.poll()
    assert polled.value_list() == [0, 0, counted, 0]
    polled.count(10, 3600, tariff=3)
    polled.poll()
    assert polled.value_list() == [0, 0, counted + 10, 0]
    assert polled.reasons == []


def test_partial_and_tariff_counters_can_be_reset_together(polled: PolledMeter) -> None:
    polled.check.expect_reset(TARIFFS)
    polled.reset()
    polled.counters.tariffs = [0.0] * 4
    polled.poll()
    assert polled.value_list() == [0, 0, 0, 0]
    polled.count(10, 3600, tariff=3)
    polled.poll()
    assert polled.value_list() == [0, 0, 10, 0]


def test_counters_are_unknown_for_other_tariffs_than_before(
    polled: PolledMeter,
) -> None:
    polled.reset_and_poll()
    accepted = polled.check.accepted
    two = {name: accepted[name] for name in TARIFFS[:2]}
    assert polled.calculated.take(accepted[PARTIAL_CONSUMED], two) is None
    assert polled.calculated.values(dict.fromkeys(two, 1)) == dict.fromkeys(two)
    # A stored reset with only one of these two tariffs.
    assert CalculatedCounters(PartialReset({"tariff_1_energy": 1}, 0)).values(
        dict.fromkeys(two, 2)
    ) == dict.fromkeys(two)


def test_old_value_of_an_idle_tariff_delays_no_evaluation(polled: PolledMeter) -> None:
    polled.counters.tariffs[2] = 500  # Wh
    polled.counters.consumed += 500
    polled.poll(kilowatts=3.6)
    # In low resolution, the register of tariff 3 contains 0 kWh. So the accepted value
    # remains 0.5 kWh, with the time at which 0.5 kWh was read.
    polled.step = LOW_RESOLUTION
    polled.poll(kilowatts=3.6)
    polled.count(30, 3600)
    polled.poll(kilowatts=3.6)
    polled.reset()
    polled.poll(kilowatts=3.6)
    assert polled.value_list() == [0, 0, 0, 0]


def accepted(kwh: float, at: float, step: float = HIGH_RESOLUTION) -> CounterValue:
    """Return an accepted value that was read at a time in s."""
    return CounterValue(kwh, 0, Moment(at, at), step)


def test_resets_between_the_first_two_totals_are_seen() -> None:
    calculated = CalculatedCounters()
    for total, total_at, tariff, tariff_at in (
        (45, 1, 1000, 2),  # the tariff counter is newer than the total
        (45, 1, 0, 3),  # the tariff counter is reset
        (0, 4, 0, 3),  # the partial counters are reset
        (0, 4, 0, 5),
        (0, 6, 0, 5),
    ):
        counters = {"tariff_1_energy": accepted(tariff, tariff_at)}
        assert calculated.take(accepted(total, total_at), counters) is None
    # The tariff counter was 0 at the reset of the partial counters.
    assert calculated.values({"tariff_1_energy": 5}) == {"tariff_1_energy": 5}


def test_counters_are_unknown_until_a_reset_is_evaluated(polled: PolledMeter) -> None:
    polled.reset_and_poll()
    polled.count(10, 3600)
    polled.poll()
    assert polled.value_list() == [10, 0, 0, 0]
    polled.reset()
    # Two readings confirm that the partial total fell. The tariff counters are not read
    # yet, so it is unknown which tariffs have counted since the reset.
    for _ in range(2):
        polled.count(36, 1)
        polled.read("energies")
    # The 0.02 kWh of these 2 s were counted after the reset, so they must not be added
    # to the 10 kWh.
    assert polled.value_list() == UNKNOWN
    polled.poll()
    assert polled.value_list() == [0.02, 0, 0, 0]


def test_tariffs_may_change_before_a_reset_is_evaluated() -> None:
    calculated = CalculatedCounters()
    for total, total_at, tariffs, tariffs_at in (
        (45, 1, (100,), 2),
        (45, 3, (100,), 2),
        (0, 4, (100,), 2),  # the partial counters are reset
        (0, 4, (100, 50), 5),  # the profile has one more tariff
        (0, 4, (100, 0), 6),  # the added tariff counter is reset
        (0, 7, (100, 0), 6),
    ):
        counters = {
            name: accepted(kwh, tariffs_at)
            for name, kwh in zip(TARIFFS, tariffs, strict=False)
        }
        assert calculated.take(accepted(total, total_at), counters) is None
    values = calculated.values(dict(zip(TARIFFS, (101, 2), strict=False)))
    assert list(values.values()) == [1, 2]


type TimedCounters = tuple[float, float, float, float]
"""The partial total in kWh, its time in s, tariff counter 1 in kWh, its time in s."""


def calculated_after(
    *moments: TimedCounters, step: float = HIGH_RESOLUTION
) -> CalculatedCounters:
    """Return the calculation after it has taken the counters of each moment."""
    calculated = CalculatedCounters()
    for total, total_at, tariff, tariff_at in moments:
        counters = {"tariff_1_energy": accepted(tariff, tariff_at, step)}
        calculated.take(accepted(total, total_at, step), counters)
    return calculated


def value_after(*moments: TimedCounters, step: float = HIGH_RESOLUTION) -> float | None:
    """Return the calculated counter in kWh after the last moment."""
    tariffs = {"tariff_1_energy": moments[-1][2]}
    (value,) = calculated_after(*moments, step=step).values(tariffs).values()
    return value


# The partial total falls from 45 kWh to 0 at 2 s. The tariff counter stays at 1000 kWh.
RESET = (45, 1, 1000, 1), (0, 2, 1000, 1), (0, 2, 1000, 3)


def test_reset_is_evaluated_if_the_total_is_as_new_as_the_tariff_counter() -> None:
    assert value_after(*RESET, (0, 2.9, 1000, 3)) is None
    assert value_after(*RESET, (0, 3, 1000, 3)) == 0
    assert value_after(*RESET[:2], (0, 2, 1000, 2), (0, 4, 1000, 2)) == 0


def test_newer_tariff_counters_delay_no_evaluation() -> None:
    assert value_after(*RESET, (0, 2, 1000, 9), (0, 4, 1000, 9)) == 0


def test_tariff_counters_that_are_older_than_the_total_are_compared() -> None:
    """The comparison uses the total at 1 s, not the newer total at 3 s.

    The total at 3 s was read after the tariff counters at 2 s.
    """
    moments = (0, 1, 1000, 1), (0, 3, 1000, 1), (0, 3, 1000, 2), (0, 4, 1000, 2)
    assert value_after(*moments) == 0


@pytest.mark.parametrize(("total", "expected"), [(0.05, 0), (0.06, None)])
def test_reset_is_evaluated_if_the_uncertainty_is_at_most_five_steps(
    total: float, expected: float | None
) -> None:
    assert value_after(*RESET, (total, 4, 1000, 3)) == expected


@pytest.mark.parametrize(
    ("total", "tariff", "expected"),
    [
        (15, 1010, 15),  # five steps more than the tariff has counted
        (16, 1010, None),
        (1, 1000, 0),  # one step, although no tariff has counted
        (2, 1000, None),
    ],
)
def test_total_after_a_reset_is_compared_with_the_rise_of_the_tariff(
    total: float, tariff: float, expected: float | None
) -> None:
    moments = (
        (45, 1, 1000, 1),
        (total, 2, 1000, 1),
        (total, 2, tariff, 3),
        (total, 4, tariff, 3),
    )
    assert value_after(*moments, step=LOW_RESOLUTION) == expected


@pytest.mark.parametrize(
    ("uncertainty", "counted", "is_known"),
    [
        (0, 14, False),
        (0, 15, True),
        (0, 25, True),
        (0, 26, False),
        (5, 9, False),
        (5, 10, True),
        (5, 30, True),
        (5, 31, False),
    ],
)
def test_counter_that_contradicts_the_total_by_over_five_steps_is_unknown(
    uncertainty: float,
    counted: float,
    is_known: bool,  # noqa: FBT001
) -> None:
    """The counter may differ from the total of 20 kWh by five steps of 1 kWh.

    The uncertainty of the total at the reset is added to these 5 kWh.
    """
    tariff = 1000 + counted
    moments = (
        *RESET,
        (uncertainty, 4, 1000, 3),
        (20, 5, 1000, 3),
        (20, 5, tariff, 6),
        (20, 7, tariff, 6),
    )
    value = value_after(*moments, step=LOW_RESOLUTION)
    assert value == (counted if is_known else None)


def test_stored_tolerance_includes_the_uncertainty_of_the_total() -> None:
    reset = calculated_after(*RESET, (0.05, 4, 1000, 3)).reset
    # Five steps of 0.01 kWh, and the uncertainty of 0.05 kWh.
    assert reset == PartialReset({"tariff_1_energy": 1000}, 0.1)


@pytest.mark.parametrize(("total", "expected"), [(0.01, 0), (0.02, None)])
def test_counter_is_known_if_the_total_has_risen_from_0_by_one_step(
    total: float, expected: float | None
) -> None:
    moments = (0, 1, 1000, 1), (0, 1, 1000, 2), (total, 3, 1000, 2)
    assert value_after(*moments) == expected


@pytest.mark.parametrize(
    ("step", "rise", "expected"),
    [
        (LOW_RESOLUTION, 5, 1000),
        (LOW_RESOLUTION, 6, None),
        (HIGH_RESOLUTION, 0.04, 1000),
        (HIGH_RESOLUTION, 0.06, None),
    ],
)
def test_never_reset_counter_is_known_if_total_rose_by_at_most_five_steps(
    step: float, rise: float, expected: float | None
) -> None:
    moments = (1000, 1, 1000, 1), (1000, 1, 1000, 2), (1000 + rise, 3, 1000, 2)
    assert value_after(*moments, step=step) == expected


def test_tariff_counter_reset_before_the_partial_counters_loses_no_energy() -> None:
    # The tariff counter is reset. It counts 20 kWh before the partial counters are
    # reset, and 10 kWh afterwards.
    moments = (45, 1, 1000, 1), (45, 1, 0, 3), (10, 4, 0, 3), (10, 4, 30, 5)
    assert value_after(*moments, (10, 6, 30, 5)) == 10


def test_tariff_counter_reset_before_the_evaluation_loses_no_energy() -> None:
    moments = (45, 1, 1000, 1), (5.25, 2, 1000, 1), (5.25, 2, 1005.25, 3)
    assert value_after(*moments, (5.25, 2, 0, 4), (5.25, 5, 0, 4)) == 5.25


# The action "count" counts energy while the meter is polled. All other actions count
# energy without a read. "reset offline" counts energy before and after the reset.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ("count", "count", "offline", "reset", "reset offline", "restart")
        ),
        st.sampled_from((0, 0.05, 1.5, 11, 70)),  # kW
        st.sampled_from((1, 3, 20, 3600, 86_400)),  # s
        st.integers(1, 4),  # tariff
    ),
    min_size=3,
    max_size=25,
)


@given(actions=ACTIONS, step=st.sampled_from((HIGH_RESOLUTION, LOW_RESOLUTION)))
@settings(max_examples=150, deadline=None)
def test_known_counters_match_the_display(
    actions: list[tuple[str, float, int, int]], step: float
) -> None:
    polled = PolledMeter(step)
    polled.poll()
    for action, kilowatts, seconds, tariff in actions:
        if action == "restart":
            polled.restart()
        if action == "reset offline":
            polled.count(kilowatts, seconds, tariff)
        if action.startswith("reset"):
            polled.reset()
        if action == "count":
            polled.poll(kilowatts, 5, tariff)
        else:
            polled.count(kilowatts, seconds, tariff)
        # If the partial total fell by only 10 Wh, the client keeps the value before the
        # fall until the register exceeds this value. So count 24 Wh in 12 s.
        polled.poll(7.2, 12, tariff)
        reset = polled.calculated.reset
        if reset is not None:
            for name, value in polled.values.items():
                assert value is not None
                if polled.shown:
                    error = abs(value - polled.shown[name])
                    assert error <= reset.tolerance + 2 * step
