"""Decide which counter readings of a meter are plausible.

The statistics of Home Assistant add each rise of a counter. If a counter falls by more
than a tenth, the statistics add the whole new reading. So a single wrong reading can
add the energy of years. To prevent this, a reading is accepted only if the meter can
have counted the difference since the last accepted value. If consecutive readings of a
block agree with each other, but not with the accepted values, the block is at another
level. docs/counters.md has the reasons.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
import logging
import math
from operator import attrgetter
from typing import Any, Self

from .block import Values
from .limits import Limits
from .registers import TARIFF_COUNTERS

_LOGGER = logging.getLogger(__name__)

# kWh or kvarh at which a register may roll over. The display has six digits (manual).
DISPLAY_ROLLOVER = 1_000_000
# kWh or kvarh at which a register may roll over. The meter counts these rollovers
# (block 36864). Socomec's table gives 999 999 999 steps of 10 Wh as the overflow value,
# but leaves open whether the register rolls over at this value or one step later.
COUNTED_ROLLOVERS = (9_999_999.99, 10_000_000)
ROLLOVERS = (DISPLAY_ROLLOVER, *COUNTED_ROLLOVERS)
REGISTER_STEPS = 2**32  # steps at which a register of 32 bits rolls over
# Fraction of a rollover value. If a register was below this fraction before it fell,
# the fall is not taken for a rollover, unless the meter reports a rollover. Our choice:
# at 79.5 kW, a register needs 52 days for the last tenth of 1 000 000 kWh. So at least
# one reading is above 900 000 kWh before the register rolls over, unless no reading
# succeeds for 52 days.
NEARLY_FULL = 0.9

# In s; added to the time between two requests, because a meter may update its registers
# late and a response may be late. Our choice: at 79.5 kW, it adds only 0.11 kWh to the
# limit of a rise.
TIMING_TOLERANCE = 5
STEPS_OF_TOLERANCE = 2  # because each of two readings is rounded to a step

# Between two readings, a counter may rise at this multiple of the highest power that
# was read, because the reads of the power can miss a short load. Our choice.
POWER_MARGIN = 2
# In s; after a longer pause between two readings of the power, the highest power is
# unknown. Our choice: five times the period with which the power is read (1 s).
LONGEST_POWER_PAUSE = 5

# In s; an implausible level is accepted if it lasts for this time. Our choice: longer
# than a meter needs to start.
ACCEPTED_AFTER = 60
# In s; replaces `ACCEPTED_AFTER` if an accepted value is from before a restart. Our
# choice: without a real-time clock, the system clock is wrong for minutes after a
# restart.
ACCEPTED_AFTER_RESTART = 600
# In s; a longer pause between two readings adds only this time to the duration of a
# level, because two damaged responses far apart in time are not a level that lasts.
LONGEST_PAUSE_OF_LEVEL = 15
# In s; a pause across a restart counts as at most this time, because the system clock
# may be wrong. Our choice: in 90 days at full power, a meter counts 172 MWh, more than
# most meters count in years.
LONGEST_UNCERTAIN_PAUSE = 90 * 86_400

# If a reading is below this fraction of the last value, Home Assistant assumes a reset,
# and adds the whole reading.
RESET_RATIO = 0.9
HIGH_RESOLUTION = 0.01  # kWh or kvarh


@dataclass(frozen=True)
class Moment:
    """The time of a request, by two clocks."""

    wall: float
    """In s since 1970."""
    monotonic: float = -math.inf
    """In s of the event loop's clock, minus infinity for a time before a restart."""

    def seconds_until(self, later: Moment) -> float:
        """Return the time from this moment to a later one, in s.

        If a restart is between the moments, their times by the event loop's clock
        cannot be compared. Then the result is the time by the system clock, but at most
        `LONGEST_UNCERTAIN_PAUSE`.
        """
        if math.isfinite(later.monotonic - self.monotonic):
            return later.monotonic - self.monotonic
        return min(max(later.wall - self.wall, 0), LONGEST_UNCERTAIN_PAUSE)


@dataclass(frozen=True)
class CounterReading:
    """The counters of one block, read in one request."""

    block: str
    values: Values
    """In kWh or kvarh by counter."""
    step: float
    """The resolution in kWh or kvarh."""
    at: Moment
    resettable: Collection[str] = ()
    """Counters that a user can set to zero at the meter."""


@dataclass(frozen=True)
class CounterValue:
    """The last accepted value of a counter, or a reading that may follow it."""

    value: float
    """In kWh or kvarh, including the rollover offset."""
    rollover_offset: float
    """The energy that the register lost by rollovers, in kWh or kvarh."""
    at: Moment
    step: float
    """The resolution of the reading in kWh or kvarh."""
    overflows: float | None = None
    """The number of rollovers that the meter reports (36864), None if unknown."""

    def with_offset(self, offset: float) -> CounterValue:
        """Return this register reading plus a rollover offset in kWh or kvarh."""
        return CounterValue(
            value=round(self.value + offset, 2),
            rollover_offset=round(offset, 2),
            at=self.at,
            step=self.step,
            overflows=self.overflows,
        )

    def highest_rise(self, new: CounterValue, kilowatts: float) -> float:
        """Return the highest possible rise until `new`, in kWh or kvarh."""
        seconds = self.at.seconds_until(new.at) + TIMING_TOLERANCE
        tolerance = STEPS_OF_TOLERANCE * max(new.step, self.step)
        return kilowatts * seconds / 3600 + tolerance

    def value_after(self, new: CounterValue, kilowatts: float) -> CounterValue | None:
        """Return the value after a new reading, None if the reading is implausible.

        `kilowatts` is the highest power since this value. A register may have rolled
        over if it was nearly full, or if the meter reports more rollovers than before.
        """
        highest = self.value + self.highest_rise(new, kilowatts)
        # If a reading is up to 10 Wh below the value (up to 1 kWh after a change of the
        # resolution), the counter keeps its value until a reading reaches it.
        allowed_fall = (
            HIGH_RESOLUTION if new.step == self.step else max(new.step, self.step)
        )
        lowest = round(self.value - allowed_fall, 2)
        rolled_over = (
            self.overflows is not None and (new.overflows or 0) > self.overflows
        )
        for rollover in (0, *ROLLOVERS, REGISTER_STEPS * new.step):
            nearly_full = self.value - self.rollover_offset >= NEARLY_FULL * rollover
            if nearly_full or (rolled_over and rollover in COUNTED_ROLLOVERS):
                following = new.with_offset(self.rollover_offset + rollover)
                if lowest <= following.value <= highest:
                    return self if following.value < self.value else following
        return None

    def moved_to(self, new: CounterValue) -> CounterValue:
        """Return the value after a reading `new` of another level.

        If the register fell by more than a tenth, the fall is taken for a reset. Then
        the value has no rollover offset, and Home Assistant adds the whole new reading.
        """
        if new.value < RESET_RATIO * (self.value - self.rollover_offset):
            return new
        return new.with_offset(self.rollover_offset)


@dataclass(frozen=True)
class Correction:
    """The replacement of an accepted value by an implausible reading."""

    counter: str
    accepted: float
    """The value before, in kWh or kvarh."""
    found: float
    """The value after, in kWh or kvarh."""


type Rejected = dict[str, tuple[float | None, float]]
"""The last accepted value and the rejected reading, by counter."""


@dataclass(frozen=True)
class _Level:
    """The implausible level of a block: values with which several readings agree."""

    at: Moment
    """When the level was last read."""
    began: Moment
    """When the level was first read."""
    duration: float = 0
    """In s; each pause between readings adds at most `LONGEST_PAUSE_OF_LEVEL`."""
    counters: Mapping[str, CounterValue] = field(default_factory=dict)
    """The values to accept if the level lasts."""
    held: frozenset[str] = frozenset()
    """Counters that keep their accepted value, even if the level lasts."""


@dataclass
class _BlockState:
    """The rejected counters and level of one block, and the power of the meter."""

    rejected: Rejected = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    """Counters that stayed rejected when the other counters were accepted."""
    level: _Level | None = None
    is_confirmed: bool = False
    """Whether the user confirmed the level."""
    may_rise: bool = False
    """Whether the latest reading could confirm a rise."""
    power_until_last: float = math.inf
    """The highest power in kW between the last two accepted readings."""
    power_since_last: float = math.inf
    """The highest power in kW since the last accepted reading."""


@dataclass
class CounterCheck:
    """Accepts or rejects the counter readings of one meter.

    Values are in kWh or kvarh. An accepted value rises to the lower one of two
    consecutive readings, so that a single wrong reading never raises the value.
    """

    limits: Limits = field(default_factory=Limits)
    counted_before: Collection[str] = ()
    """The counters that were above 0 when the profile was taken."""
    accepted: dict[str, CounterValue] = field(default_factory=dict)
    """The last accepted values by counter."""
    overflows: Values = field(default_factory=dict, init=False)
    """The number of rollovers that the meter reports, by counter (36864)."""
    _previous: dict[str, CounterValue] = field(default_factory=dict, init=False)
    """The previous reading of each counter, accepted or rejected."""
    _expected_resets: set[str] = field(default_factory=set, init=False)
    """The counters for which a reset command was sent."""
    _states: defaultdict[str, _BlockState] = field(
        default_factory=lambda: defaultdict(_BlockState), init=False
    )
    """The state of each block by name."""
    _power: float = field(default=math.inf, init=False)
    """The last read power in kW."""
    _power_at: float = field(default=-math.inf, init=False)
    """When the power was read, in s of the event loop's clock."""

    @property
    def values(self) -> dict[str, float]:
        """Return the last accepted values."""
        return {name: last.value for name, last in self.accepted.items()}

    @property
    def rollover_offsets(self) -> dict[str, float]:
        """Return the energy that each register lost by rollovers."""
        return {name: each.rollover_offset for name, each in self.accepted.items()}

    @property
    def rejected(self) -> dict[str, Rejected]:
        """Return the rejected counters by block."""
        return {
            block: state.rejected
            for block, state in self._states.items()
            if state.rejected
        }

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        """Return the last accepted values as JSON content for `restore`."""
        return {
            name: {**asdict(last), "at": last.at.wall}
            for name, last in self.accepted.items()
        }

    def restore(self, saved: Mapping[str, Any]) -> Self:
        """Continue with the content that `as_dict` returned.

        If the content is invalid, a warning is logged and nothing is restored.
        """
        try:
            self.accepted = {
                name: CounterValue(
                    value=float(last["value"]),
                    rollover_offset=float(last["rollover_offset"]),
                    at=Moment(float(last["at"])),
                    step=float(last["step"]),
                    overflows=last.get("overflows"),
                )
                for name, last in saved.items()
            }
        except (AttributeError, LookupError, TypeError, ValueError) as err:
            _LOGGER.warning("Stored counters are invalid and not used: %r", err)
            self.accepted = {}
        return self

    # -- evidence ------------------------------------------------------------

    def note_power(self, kilowatts: float, at: float) -> None:
        """Note the measured power in kW. `at` is in s of the event loop's clock."""
        is_continuous = at - self._power_at <= LONGEST_POWER_PAUSE
        for state in self._states.values():
            highest = max(state.power_since_last, kilowatts)
            state.power_since_last = highest if is_continuous else math.inf
        self._power, self._power_at = kilowatts, at

    def _highest_power(self, state: _BlockState, at: Moment) -> float:
        """Return the power in kW that limits the rise of a block's counters."""
        if at.monotonic - self._power_at > LONGEST_POWER_PAUSE:
            return self.limits.kilowatts
        highest = max(state.power_until_last, state.power_since_last)
        return min(self.limits.kilowatts, POWER_MARGIN * highest)

    def confirm(self, block: str) -> None:
        """Accept the rejected level of a block as soon as the next reading agrees.

        Call this when the user has confirmed the level.
        """
        self._states[block].is_confirmed = True

    def is_confirmed(self, block: str) -> bool:
        """Return whether the user confirmed the level of a block."""
        return self._states[block].is_confirmed

    def may_rise(self, block: str) -> bool:
        """Return whether the latest reading of a block could confirm a rise.

        The first reading after a restart cannot confirm a rise. Neither can the first
        reading after a rejected one.
        """
        return self._states[block].may_rise

    def rejected_since(self, block: str) -> Moment | None:
        """Return when the rejected level of a block began, None without a level."""
        state = self._states[block]
        return state.level.began if state.level and state.rejected else None

    def expect_reset(self, counters: Collection[str]) -> None:
        """Let two consecutive readings confirm a fall of these counters.

        Call this after a reset command was sent.
        """
        self._expected_resets |= set(counters)

    def accept_reset(self, reading: CounterReading) -> None:
        """Accept a reading that confirms a reset command."""
        reset = self._counters(reading)
        self._expected_resets -= reset.keys()
        self._previous |= reset
        self.accepted |= reset

    def reset_limit(self, seconds: float, step: float) -> float:
        """Return the highest possible value of a counter after its reset.

        The reset was `seconds` ago. A reset may leave a remainder of less than one
        `step` (in kWh or kvarh) in the counter.
        """
        return self.limits.kilowatts * seconds / 3600 + step

    # -- readings ------------------------------------------------------------

    def check(self, reading: CounterReading) -> bool:
        """Accept all counters of a reading or none. Return whether they are accepted.

        There is one exception: held counters (see `extend_level`) stay rejected, while
        the others are accepted. Afterwards, `rejected` contains the held counters and,
        if no counter was accepted, the counters that failed the check.
        """
        state = self._states[reading.block]
        kilowatts = self._highest_power(state, reading.at)
        state.held = held = self._still_held(state, reading)
        was_rejected = bool(state.rejected) and not held
        counters = self._counters(reading)
        was_read = not counters.keys().isdisjoint(self._previous)
        state.may_rise = was_read and not was_rejected
        accepted: dict[str, CounterValue] = {}
        rejected: Rejected = {}
        for name, new in counters.items():
            last, previous = self.accepted.get(name), self._previous.get(name)
            self._previous[name] = new
            may_fall = name in reading.resettable or name in self._expected_resets
            if was_rejected and last is not None and last.value_after(new, kilowatts):
                # The previous reading was rejected, so it cannot confirm a rise.
                previous = None
            confirmed = _confirmed_value(
                last, previous, new, kilowatts, may_fall=may_fall
            )
            is_lost = self._is_lost(name, new, may_fall=may_fall)
            if confirmed is None or is_lost or name in held:
                rejected[name] = self._last_and_new_value(name, new)
            else:
                accepted[name] = confirmed
        if rejected.keys() <= held:
            self._accept(state, accepted, rejected)
            return True
        state.rejected = rejected
        return False

    def _still_held(
        self, state: _BlockState, reading: CounterReading
    ) -> frozenset[str]:
        """Return the counters that are still held.

        If the user confirmed the level, no counter is held any more. If the reading of
        a held counter has changed, no counter is held any more either, because the
        block is at another level.
        """
        changed = any(
            name not in state.rejected
            or reading.values[name] != state.rejected[name][1]
            for name in state.held
        )
        return frozenset() if changed or state.is_confirmed else state.held

    def extend_level(self, reading: CounterReading) -> bool:
        """Add a rejected reading to the level of its block.

        Returns whether the level may be accepted. A level that has lasted long enough
        may be accepted unless all of its counters are held. A confirmed level may be
        accepted as soon as a second reading agrees with it. The caller passes each
        reading that `check` rejected, unless the block is read again at once.

        Held counters keep their accepted values. If the user confirmed the level, no
        counter is held. Otherwise, if all counters that fell may have been reset, no
        counter is held either. In all other cases, each counter that fell is held, and
        so is each counter that reads 0.

        The resettable counters may have been reset. The tariff counters may have been
        reset if at least one of the tariff counters that fell is above 0. If all of the
        tariff counters that fell are 0, the measurement of the meter may have failed.
        """
        state = self._states[reading.block]
        before = state.level or _Level(reading.at, reading.at)
        pause = before.at.seconds_until(reading.at)
        duration = before.duration + min(max(pause, 0), LONGEST_PAUSE_OF_LEVEL)
        counters: dict[str, CounterValue] = {}
        fell: set[str] = set()
        any_from_before_restart = False
        for name, new in self._counters(reading).items():
            last, at_level = self.accepted.get(name), before.counters.get(name)
            following = at_level and at_level.value_after(new, self.limits.kilowatts)
            if following is None:  # a new level begins with this reading
                duration = 0
                following = self._plausible_value(name, new)
            if following is None:
                following = self.accepted[name].moved_to(new)
            counters[name] = following
            may_fall = name in reading.resettable
            is_lower = last is not None and following.value < last.value
            if is_lower or self._is_lost(name, following, may_fall=may_fall):
                fell.add(name)
            if last is not None and math.isinf(last.at.monotonic):
                any_from_before_restart = True
        if before.counters and not duration:
            # A confirmation was for the previous level, not for this one.
            state.is_confirmed = False
        fallen_tariffs = fell & TARIFF_COUNTERS.keys()
        may_be_reset = set(reading.resettable)
        if any(reading.values[name] for name in fallen_tariffs):
            may_be_reset |= fallen_tariffs
        held: set[str] = set()
        if not state.is_confirmed and not fell <= may_be_reset:
            # A total cannot be reset. So a partial counter that fell together with a
            # total was probably not reset. A counter that reads 0 may be wrong as well,
            # even if it did not fall.
            held = fell | {name for name in counters if reading.values[name] == 0}
        began = before.began if duration else reading.at
        state.level = _Level(reading.at, began, duration, counters, frozenset(held))
        if state.is_confirmed:
            return duration > 0
        enough = ACCEPTED_AFTER_RESTART if any_from_before_restart else ACCEPTED_AFTER
        return duration >= enough and len(held) < len(counters)

    def accept_level(self, block: str) -> tuple[Correction, ...]:
        """Accept the level of a block, and return the corrections.

        Call this only after `extend_level` has returned True.
        """
        state = self._states[block]
        assert state.level is not None  # noqa: S101
        level, held = state.level, state.level.held
        accepted = {
            name: following
            for name, following in level.counters.items()
            if name not in held
        }
        corrections = tuple(
            Correction(name, self.accepted[name].value, following.value)
            for name, following in accepted.items()
            if self._plausible_value(name, self._previous[name]) is None
        )
        rejected = {
            name: self._last_and_new_value(name, self._previous[name]) for name in held
        }
        state.may_rise = True
        self._accept(state, accepted, rejected)
        return corrections

    def _accept(
        self,
        state: _BlockState,
        accepted: Mapping[str, CounterValue],
        held: Rejected,
    ) -> None:
        """Accept the counters of a block, except those that are held."""
        self._expected_resets -= accepted.keys()
        self.accepted |= accepted
        state.rejected, state.held = held, frozenset(held)
        if not held:
            state.level = None
        state.is_confirmed = False
        # The accepted value may be that of the previous reading. So the next check also
        # needs the highest power between the previous reading and this one.
        state.power_until_last, state.power_since_last = (
            state.power_since_last,
            self._power,
        )

    def _last_and_new_value(
        self, name: str, new: CounterValue
    ) -> tuple[float | None, float]:
        """Return the last accepted value (None if there is none) and the reading."""
        last = self.accepted.get(name)
        return last.value if last else None, new.value

    def _is_lost(self, name: str, new: CounterValue, *, may_fall: bool) -> bool:
        """Return whether a counter that was above 0 is 0 in its first reading.

        `counted_before` contains the counters that were above 0 when the profile was
        taken. If `may_fall` is True, the counter may have been reset. Then the result
        is False.
        """
        is_first = name not in self.accepted
        was_above_0 = name in self.counted_before
        return is_first and was_above_0 and new.value == 0 and not may_fall

    def _plausible_value(self, name: str, new: CounterValue) -> CounterValue | None:
        """Return the value after a reading, None if implausible even at full power."""
        last = self.accepted.get(name)
        return last.value_after(new, self.limits.kilowatts) if last else new

    def _counters(self, reading: CounterReading) -> dict[str, CounterValue]:
        """Return the available counters of a reading, without a rollover offset."""
        return {
            name: CounterValue(
                value, 0, reading.at, reading.step, self.overflows.get(name)
            )
            for name, value in reading.values.items()
            if value is not None
        }


def _confirmed_value(
    last: CounterValue | None,
    previous: CounterValue | None,
    new: CounterValue,
    kilowatts: float,
    *,
    may_fall: bool,
) -> CounterValue | None:
    """Return the value that two consecutive readings, `previous` and `new`, confirm.

    `last` is the last accepted value, None if no value was accepted yet. The two
    readings confirm the lower one of them. If `new` can follow `last`, but `previous`
    is None or cannot follow `last`, the result is `last`: a rise is not confirmed.
    If `new` cannot follow `last`, the readings can only confirm a reset, and only if
    `may_fall` is True. Returns None if the readings confirm no value.
    """
    following = last and last.value_after(new, kilowatts)
    if last is not None and following is not None:
        earlier = (previous and last.value_after(previous, kilowatts)) or last
        return min(following, earlier, key=attrgetter("value"))
    if previous is None or previous.value_after(new, kilowatts) is None:
        return None
    lower = min(new, previous, key=attrgetter("value"))
    # After a reset, a counter contains at most the energy counted since `last`.
    if last is None or (may_fall and lower.value <= last.highest_rise(new, kilowatts)):
        return lower
    return None
