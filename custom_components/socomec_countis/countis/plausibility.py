"""Which measured values and which counter readings of a meter are plausible.

Home Assistant's statistics book what a counter rises by. If a counter falls by more
than a tenth, they book all of the new reading. So a reading is accepted only if the
meter can have counted up to it since the last accepted value.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
import logging
import math
from typing import Any, Self

from .block import Values
from .registers import TARIFF_COUNTERS

_LOGGER = logging.getLogger(__name__)

# The range of an E33 (manual): 230 V + 15 % from phase to neutral, 100 A on each of
# three phases continuously. Together 79.5 kW, or 22 Wh in a second.
PHASES = 3
VOLTS = 265
DIRECT_AMPERES = 100

# Bounds of measured values. Our choice: wider than what the meter is specified for.
HIGHEST_VOLTS = 600  # a phase carries more than 400 V when its neutral is lost
HERTZ = (40, 70)  # the manual says 50 Hz or 60 Hz, +/- 5 Hz
INRUSH = 1.5  # times the highest continuous current, for some seconds
OVERLOAD = 1.2  # times the primary current, the usual limit of a transformer

# kWh or kvarh at which a register may roll over: after the six digits of the display
# (manual), or with or after 999 999 999 steps of 10 Wh ("meter overflow", 36864).
DISPLAY_ROLLOVER = 1_000_000
COUNTED_ROLLOVERS = (9_999_999.99, 10_000_000)
ROLLOVERS = (DISPLAY_ROLLOVER, *COUNTED_ROLLOVERS)
REGISTER_STEPS = 2**32  # at which a register of 32 bits rolls over
# A register below this part of a rollover does not reach it from one reading to the
# next. Our choice: the last tenth of 1 000 000 kWh takes 52 days at 79.5 kW.
NEARLY_FULL = 0.9

# s; added to the time between two requests, because a meter may update its registers
# late and a response may be late. Our choice: 0.11 kWh more at 79.5 kW.
TIMING_TOLERANCE = 5
STEPS_OF_TOLERANCE = 2  # because each of two readings is rounded to a step

# A counter rises by no more than this times the highest power that was read meanwhile.
# Our choice: a load that is on for less than a second may be missed.
POWER_MARGIN = 2
# s between two readings of the power, above which the highest power is unknown.
LONGEST_POWER_PAUSE = 5

# s until an implausible level that lasts is accepted. Our choice: longer than a meter
# needs to start. Of the time between two readings, at most the second figure counts,
# because two bad responses far apart are no level that lasts.
ACCEPTED_AFTER = 60
LONGEST_COUNTED_PAUSE = 15
# The same after a restart, when the system clock may have been wrong: a machine without
# a clock of its own takes minutes to set it.
ACCEPTED_AFTER_RESTART = 600
# s that count at most of a pause which only the system clock knows. Our choice: 90 days
# at full power are 172 MWh, more than most meters count in years.
LONGEST_UNCERTAIN_PAUSE = 90 * 86_400

NEW_BEGINNING = 0.9  # of a value; Home Assistant books all of a reading below it
HIGH_RESOLUTION = 0.01  # kWh or kvarh, so values are rounded to two decimals


@dataclass(frozen=True)
class Limits:
    """The range of a meter with this continuous current in A on each phase."""

    amperes: float = DIRECT_AMPERES

    @classmethod
    def of_transformer(cls, primary: float) -> Limits:
        """Return the limits with transformers of this primary current in A (57346)."""
        return cls(max(DIRECT_AMPERES, primary * OVERLOAD))

    @property
    def kilowatts(self) -> float:
        """Return the highest power in kW that the meter counts."""
        return PHASES * VOLTS * self.amperes / 1000

    def allow(self, unit: str | None, value: float) -> bool:
        """Return whether the meter can have measured a value in this unit."""
        if unit == "Hz":
            return HERTZ[0] <= value <= HERTZ[1]
        amperes = INRUSH * self.amperes
        highest = {"V": HIGHEST_VOLTS, "A": PHASES * amperes, "1": 1}  # A: neutral
        highest |= dict.fromkeys(("W", "var", "VA"), PHASES * HIGHEST_VOLTS * amperes)
        return unit not in highest or abs(value) <= highest[unit]


@dataclass(frozen=True)
class Moment:
    """When a reading was requested."""

    wall: float
    """In s since 1970."""
    monotonic: float | None = None
    """In s of the event loop's clock, None if it was before a restart."""

    def seconds_until(self, later: Moment) -> float:
        """Return how many s have passed between two moments, as far as is certain."""
        if self.monotonic is not None and later.monotonic is not None:
            return later.monotonic - self.monotonic
        return min(max(later.wall - self.wall, 0), LONGEST_UNCERTAIN_PAUSE)


@dataclass(frozen=True)
class CounterValue:
    """The last accepted value of a counter, or a reading that may follow it."""

    value: float
    """In kWh or kvarh, with the rollover offset."""
    rollover_offset: float
    """The energy that the register lost by rollovers, in kWh or kvarh."""
    at: Moment
    step: float
    """The resolution of the reading in kWh or kvarh."""
    overflows: float | None = None
    """The meter's own number of rollovers (block 36864), None if unknown."""

    def with_offset(self, offset: float) -> CounterValue:
        """Return a reading of a register with this rollover offset."""
        return replace(
            self,
            value=round(self.value + offset, 2),
            rollover_offset=round(offset, 2),
        )

    def highest_rise(self, new: CounterValue, kilowatts: float) -> float:
        """Return what the meter can have counted until a new reading."""
        seconds = self.at.seconds_until(new.at) + TIMING_TOLERANCE
        tolerance = STEPS_OF_TOLERANCE * max(new.step, self.step)
        return kilowatts * seconds / 3600 + tolerance

    def followed_by(self, new: CounterValue, kilowatts: float) -> CounterValue | None:
        """Return what is accepted after a new reading, None if it is implausible.

        `kilowatts` is the highest power since. A register rolls over if it was nearly
        full, or if the meter counts one rollover more.
        """
        highest = self.value + self.highest_rise(new, kilowatts)
        # A counter that is lower by 10 Wh, or by up to 1 kWh because it is read in
        # another resolution, keeps its value until it has caught up.
        lower = HIGH_RESOLUTION if new.step == self.step else max(new.step, self.step)
        lowest = round(self.value - lower, 2)
        rolled_over = (new.overflows or 0) > (
            math.inf if self.overflows is None else self.overflows
        )
        for rollover in (0, *ROLLOVERS, REGISTER_STEPS * new.step):
            nearly_full = self.value - self.rollover_offset >= NEARLY_FULL * rollover
            if nearly_full or (rolled_over and rollover in COUNTED_ROLLOVERS):
                following = new.with_offset(self.rollover_offset + rollover)
                if lowest <= following.value <= highest:
                    return self if following.value < self.value else following
        return None

    def moved_to(self, new: CounterValue) -> CounterValue:
        """Return what is accepted if the counter stands at another level now."""
        # The register was reset, so Home Assistant has to see a new beginning.
        if new.value < NEW_BEGINNING * (self.value - self.rollover_offset):
            return new
        return new.with_offset(self.rollover_offset)


@dataclass(frozen=True)
class Correction:
    """A counter whose accepted value was replaced by the found one, in kWh or kvarh."""

    counter: str
    accepted: float
    found: float


@dataclass(frozen=True)
class _Level:
    """An implausible level of a block: since when it is read, and its counters."""

    at: Moment
    began: Moment
    lasted: float = 0
    """s; of each pause, `LONGEST_COUNTED_PAUSE` counts at most."""
    counters: Mapping[str, CounterValue] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    """The counters that are not accepted by lasting."""


@dataclass
class CounterCheck:
    """The counters of one meter: which readings are accepted, and the last values.

    All values are in kWh or kvarh by quantity, None is "not available". `step` is the
    resolution of readings, and `at` when they were requested. Two readings in a row
    have to agree: a counter rises to the lower one of them.
    """

    limits: Limits = field(default_factory=Limits)
    counted: Collection[str] = ()
    """The counters that were above 0 when the profile was taken."""
    accepted: dict[str, CounterValue] = field(default_factory=dict)
    rejected: dict[str, dict[str, tuple[float | None, float]]] = field(
        default_factory=dict, init=False
    )
    """By block, the last accepted value and the reading of each rejected counter."""
    overflows: Values = field(default_factory=dict, init=False)
    """The meter's own number of rollovers by counter (block 36864)."""
    _before: dict[str, CounterValue] = field(default_factory=dict, init=False)
    """The previous reading of each counter, accepted or rejected."""
    _levels: dict[str, _Level] = field(default_factory=dict, init=False)
    _held: dict[str, frozenset[str]] = field(default_factory=dict, init=False)
    """By block, the counters without which the others are accepted."""
    _confirmed: set[str] = field(default_factory=set, init=False)
    _reset: set[str] = field(default_factory=set, init=False)
    _power: tuple[float, float] = field(default=(math.inf, -math.inf), init=False)
    """The last power in kW, and when it was read."""
    _highest_power: dict[str, tuple[float, float]] = field(
        default_factory=dict, init=False
    )
    """By block, in kW before and since its last reading."""

    @property
    def values(self) -> dict[str, float]:
        """Return the last accepted values."""
        return {name: last.value for name, last in self.accepted.items()}

    @property
    def rollover_offsets(self) -> dict[str, float]:
        """Return what each counter lost by rollovers, in kWh or kvarh."""
        return {name: each.rollover_offset for name, each in self.accepted.items()}

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        """Return the last accepted values as JSON content, to be read by `restore`."""
        return {
            name: {**asdict(last), "at": last.at.wall}
            for name, last in self.accepted.items()
        }

    def restore(self, saved: Mapping[str, Any]) -> Self:
        """Continue with what `as_dict` returned; start anew if it has another shape."""
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

    # -- what else is known of the meter -------------------------------------

    def note_power(self, kilowatts: float, at: float) -> None:
        """Note the power that the meter measures, at s of the event loop's clock."""
        is_known = at - self._power[1] <= LONGEST_POWER_PAUSE
        for block, (before, since) in self._highest_power.items():
            highest = max(since, kilowatts) if is_known else math.inf
            self._highest_power[block] = (before, highest)
        self._power = (kilowatts, at)

    def _kilowatts(self, block: str, at: Moment) -> float:
        """Return the highest power since the last accepted values of a block."""
        now = math.inf if at.monotonic is None else at.monotonic
        if now - self._power[1] > LONGEST_POWER_PAUSE:
            return self.limits.kilowatts
        highest = self._highest_power.get(block, (math.inf, math.inf))
        return min(self.limits.kilowatts, POWER_MARGIN * max(highest))

    def confirm(self, block: str) -> None:
        """Let the counters of a block continue at the level that was just rejected."""
        self._confirmed.add(block)

    def began(self, block: str) -> Moment | None:
        """Return since when a block reads its rejected level, None if it does not."""
        level = self._levels.get(block)
        return level.began if level and block in self.rejected else None

    def is_confirmed(self, block: str) -> bool:
        """Return whether the user confirmed the level of a block."""
        return block in self._confirmed

    def expect_reset(self, counters: Collection[str]) -> None:
        """Let the next readings of counters be those after a reset command."""
        self._reset |= set(counters)

    def reset_limit(self, seconds: float, step: float) -> float:
        """Return the highest value of a counter so many seconds after its reset."""
        return self.limits.kilowatts * seconds / 3600 + step  # it may keep part of one

    def accept_reset(self, readings: Values, step: float, at: Moment) -> None:
        """Accept what counters read after our own reset command."""
        reset = self._readings(readings, step, at)
        self._reset -= reset.keys()
        self._before |= reset
        self.accepted |= reset

    # -- readings ------------------------------------------------------------

    def check(
        self,
        block: str,
        readings: Values,
        step: float,
        at: Moment,
        *,
        resettable: Collection[str] = (),
    ) -> bool:
        """Accept the readings of all counters of a block, or of none.

        Returns whether they are accepted; `rejected` says which ones are not.
        `resettable` are the counters that may be reset at the meter.
        """
        kilowatts = self._kilowatts(block, at)
        held = self._still_held(block, readings)
        was_rejected = block in self.rejected and not held
        accepted: dict[str, CounterValue] = {}
        rejected: dict[str, tuple[float | None, float]] = {}
        for name, new in self._readings(readings, step, at).items():
            last, before = self.accepted.get(name), self._before.get(name)
            self._before[name] = new
            may_fall = name in resettable or name in self._reset
            if last is not None and last.followed_by(new, kilowatts):
                # A reading of a block that was rejected confirms no rise.
                before = None if was_rejected else before
            confirmed = _confirmed(last, before, new, kilowatts, may_fall=may_fall)
            is_lost = self._is_lost(name, new, may_fall=may_fall)
            if confirmed is None or is_lost or name in held:
                rejected[name] = self._compared(name, new)
            else:
                accepted[name] = confirmed
        if rejected.keys() <= held:
            self._accept(block, accepted, rejected)
            return True
        self.rejected[block] = rejected
        return False

    def _still_held(self, block: str, readings: Values) -> frozenset[str]:
        """Return the counters without which the others of a block are accepted.

        If one of them reads something else, the block has another level.
        """
        held = self._held.get(block, frozenset())
        rejected = self.rejected.get(block, {})
        changed = any(
            name not in rejected or readings[name] != rejected[name][1] for name in held
        )
        return frozenset() if changed or block in self._confirmed else held

    def lasts(
        self,
        block: str,
        readings: Values,
        step: float,
        at: Moment,
        *,
        resettable: Collection[str] = (),
    ) -> bool:
        """Return whether a rejected level has lasted, so that it may be accepted.

        Call it with every reading of a block that `check` rejected. A counter that
        fell is held, unless it can be reset, or the user confirmed its level. Tariff
        counters may have been reset if one of those that fell counts on.
        """
        before = self._levels.get(block, _Level(at, at))
        pause = before.at.seconds_until(at)
        lasted = before.lasted + min(max(pause, 0), LONGEST_COUNTED_PAUSE)
        counters: dict[str, CounterValue] = {}
        for name, new in self._readings(readings, step, at).items():
            at_level = before.counters.get(name)
            following = at_level and at_level.followed_by(new, self.limits.kilowatts)
            if following is None:
                following = self._plausible(name, new) or self._moved(name, new)
                lasted = 0
            counters[name] = following
        if before.counters and not lasted:
            self._confirmed.discard(block)  # at another level
        known = {name: self.accepted[name] for name in counters.keys() & self.accepted}
        # A partial counter beside a total that fell is held: it was not reset.
        fell = {
            name
            for name, new in counters.items()
            if (name in known and new.value < known[name].value)
            or self._is_lost(name, new, may_fall=name in resettable)
        }
        counts_on = any(readings[name] for name in fell & TARIFF_COUNTERS.keys())
        may_fall = {*resettable, *(TARIFF_COUNTERS if counts_on else ())}
        is_confirmed = block in self._confirmed
        held: set[str] = set()
        if not is_confirmed and not fell <= may_fall:
            # Beside them, a counter that had not counted yet is not known to read 0.
            held = fell | {name for name in counters if readings[name] == 0}
        began = before.began if lasted else at
        self._levels[block] = _Level(at, began, lasted, counters, frozenset(held))
        if is_confirmed:
            return lasted > 0
        is_restored = any(last.at.monotonic is None for last in known.values())
        enough = ACCEPTED_AFTER_RESTART if is_restored else ACCEPTED_AFTER
        return lasted >= enough and len(held) < len(counters)

    def accept_level(self, block: str) -> tuple[Correction, ...]:
        """Accept the level of a block that lasts, and return what it changed."""
        level = self._levels[block]
        accepted = {
            name: following
            for name, following in level.counters.items()
            if name not in level.held
        }
        corrections = tuple(
            Correction(name, self.accepted[name].value, following.value)
            for name, following in accepted.items()
            if name in self.accepted
            and self._plausible(name, self._before[name]) is None
        )
        held = {name: self._compared(name, self._before[name]) for name in level.held}
        self._accept(block, accepted, held)
        return corrections

    def _accept(
        self,
        block: str,
        accepted: Mapping[str, CounterValue],
        held: dict[str, tuple[float | None, float]],
    ) -> None:
        """Accept the counters of a block, except those that are held."""
        self._reset -= accepted.keys()
        self.accepted |= accepted
        if held:
            self.rejected[block] = held
            self._held[block] = frozenset(held)
        else:
            self.rejected.pop(block, None)
            self._levels.pop(block, None)
            self._held.pop(block, None)
        self._confirmed.discard(block)
        # The accepted value may be that of the previous reading, so the highest power
        # before that reading counts as well.
        _, since = self._highest_power.get(block, (math.inf, math.inf))
        self._highest_power[block] = (since, self._power[0])

    def _compared(self, name: str, new: CounterValue) -> tuple[float | None, float]:
        """Return the last accepted value, if there is one, and a reading."""
        last = self.accepted.get(name)
        return last.value if last else None, new.value

    def _is_lost(self, name: str, new: CounterValue, *, may_fall: bool) -> bool:
        """Return whether a counter reads 0 that had counted before."""
        first = name not in self.accepted and name in self.counted
        return first and new.value == 0 and not may_fall

    def _plausible(self, name: str, new: CounterValue) -> CounterValue | None:
        """Return what follows the last accepted value at any power of the meter."""
        last = self.accepted.get(name)
        return last.followed_by(new, self.limits.kilowatts) if last else new

    def _moved(self, name: str, new: CounterValue) -> CounterValue:
        last = self.accepted.get(name)
        return last.moved_to(new) if last else new

    def _readings(
        self, values: Values, step: float, at: Moment
    ) -> dict[str, CounterValue]:
        """Return the available readings, without a rollover offset."""
        return {
            name: CounterValue(value, 0, at, step, self.overflows.get(name))
            for name, value in values.items()
            if value is not None
        }


def _confirmed(
    last: CounterValue | None,
    before: CounterValue | None,
    new: CounterValue,
    kilowatts: float,
    *,
    may_fall: bool,
) -> CounterValue | None:
    """Return what two readings in a row, `before` and `new`, confirm.

    Returns None if a reading cannot follow the last accepted value, or if it is the
    first one of a counter or of a reset.
    """
    following = last and last.followed_by(new, kilowatts)
    if last is not None and following is not None:
        earlier = (before and last.followed_by(before, kilowatts)) or last
        return _lower(earlier, following)
    if before is None or before.followed_by(new, kilowatts) is None:
        return None
    lower = _lower(before, new)
    if last is None or (may_fall and lower.value <= last.highest_rise(new, kilowatts)):
        return lower
    return None


def _lower(before: CounterValue, new: CounterValue) -> CounterValue:
    """Return the lower value, the newer one if they are the same."""
    return before if before.value < new.value else new
