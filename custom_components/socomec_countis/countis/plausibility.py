"""Which measured values and which counter readings of a meter are plausible.

Home Assistant's statistics book what a counter rises by. If a counter falls by more
than a tenth, they book all of the new reading. So a reading is accepted only if the
meter can have counted up to it since the last accepted value.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
import logging
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
ROLLOVERS = (1_000_000, 9_999_999.99, 10_000_000)
REGISTER_STEPS = 2**32  # at which a register of 32 bits rolls over
# A register below this part of a rollover does not reach it from one reading to the
# next. Our choice: the last tenth of 1 000 000 kWh takes 52 days at 79.5 kW.
NEARLY_FULL = 0.9

# s; added to the time between two requests, because a meter may update its registers
# late and a response may be late. Our choice: 0.11 kWh more at 79.5 kW.
TIMING_TOLERANCE = 5
STEPS_OF_TOLERANCE = 2  # because each of two readings is rounded to a step

# s until an implausible level that lasts is accepted. Our choice: longer than a meter
# needs to start. So much of a pause counts, because two bad responses do not last.
ACCEPTED_AFTER = 60
LONGEST_COUNTED_PAUSE = 15

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
class Accepted:
    """The last accepted value of a counter, or a reading that may follow it."""

    value: float
    """In kWh or kvarh, with the rollover offset."""
    rollover_offset: float
    """The energy that the register lost by rollovers, in kWh or kvarh."""
    at: float
    """When the reading was requested, in s since 1970."""
    step: float
    """The resolution of the reading in kWh or kvarh."""

    def with_offset(self, offset: float) -> Accepted:
        """Return a reading of a register with this rollover offset."""
        value, offset = round(self.value + offset, 2), round(offset, 2)
        return Accepted(value, offset, self.at, self.step)

    def highest_rise(self, new: Accepted, limits: Limits) -> float:
        """Return what the meter can have counted until a new reading."""
        # A system clock that was put back does not say how much time has passed.
        seconds = max(new.at - self.at, 0) + TIMING_TOLERANCE
        tolerance = STEPS_OF_TOLERANCE * max(new.step, self.step)
        return limits.kilowatts * seconds / 3600 + tolerance

    def followed_by(self, new: Accepted, limits: Limits) -> Accepted | None:
        """Return what is accepted after a new reading, None if it is implausible."""
        highest = self.value + self.highest_rise(new, limits)
        # A counter that is lower by 10 Wh, or by up to 1 kWh because it is read in
        # another resolution, keeps its value until it has caught up.
        lower = HIGH_RESOLUTION if new.step == self.step else max(new.step, self.step)
        lowest = round(self.value - lower, 2)
        for rollover in (0, *ROLLOVERS, REGISTER_STEPS * new.step):
            if self.value - self.rollover_offset >= NEARLY_FULL * rollover:
                following = new.with_offset(self.rollover_offset + rollover)
                if lowest <= following.value <= highest:
                    return self if following.value < self.value else following
        return None

    def moved_to(self, new: Accepted) -> Accepted:
        """Return what is accepted if the counter stands at another level now."""
        moved = new.with_offset(self.rollover_offset)
        # A lower value would make Home Assistant book the rollover offset again.
        return new if moved.value < NEW_BEGINNING * self.value else moved


@dataclass(frozen=True)
class Correction:
    """A counter whose accepted value was replaced by the found one, in kWh or kvarh."""

    counter: str
    accepted: float
    found: float


@dataclass(frozen=True)
class _Level:
    """An implausible level: when it was last read and for how many s it has lasted."""

    at: float
    lasted: float
    counters: Mapping[str, Accepted]


@dataclass
class CounterCheck:
    """The counters of one meter: which readings are accepted, and the last values.

    All values are in kWh or kvarh by quantity, None is "not available". `step` is the
    resolution of readings, and `at` when they were requested, in s since 1970.
    """

    limits: Limits = field(default_factory=Limits)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    _levels: dict[str, _Level] = field(default_factory=dict, init=False)

    @property
    def values(self) -> dict[str, float]:
        """Return the last accepted values."""
        return {name: last.value for name, last in self.accepted.items()}

    @property
    def rollover_offsets(self) -> dict[str, float]:
        """Return what each counter lost by rollovers, in kWh or kvarh."""
        return {name: each.rollover_offset for name, each in self.accepted.items()}

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return the last accepted values as JSON content, to be read by `restore`."""
        return {name: asdict(last) for name, last in self.accepted.items()}

    def restore(self, saved: Mapping[str, Any]) -> Self:
        """Continue with what `as_dict` returned; start anew if it has another shape."""
        try:
            self.accepted = {
                name: Accepted(**{key: float(each) for key, each in last.items()})
                for name, last in saved.items()
            }
        except (AttributeError, TypeError, ValueError) as err:
            _LOGGER.warning("Stored counters are invalid and not used: %s", err)
            self.accepted = {}
        return self

    def reset_limit(self, seconds: float, step: float) -> float:
        """Return the highest value of a counter so many seconds after its reset."""
        return self.limits.kilowatts * seconds / 3600 + step  # it may keep part of one

    def accept_reset(self, readings: Values, step: float, at: float) -> None:
        """Accept what counters read after our own reset command."""
        self.accepted |= _readings(readings, step, at)

    def check(
        self,
        block: str,
        readings: Values,
        step: float,
        at: float,
        *,
        resettable: Collection[str] = (),
    ) -> dict[str, tuple[float, float]]:
        """Accept the readings of all counters of a block, or of none.

        Returns the rejected counters, each with its last accepted value and the
        reading. `resettable` are the counters that may have been reset.
        """
        accepted: dict[str, Accepted] = {}
        rejected: dict[str, tuple[float, float]] = {}
        for name, new in _readings(readings, step, at).items():
            last = self.accepted.get(name, new)
            rise = last.highest_rise(new, self.limits)
            if (following := last.followed_by(new, self.limits)) is not None:
                accepted[name] = following
            elif name in resettable and new.value <= rise:
                accepted[name] = new
            else:
                rejected[name] = (last.value, new.value)
        if not rejected:
            self._levels.pop(block, None)
            self.accepted |= accepted
        return rejected

    def accept_lasting(
        self, block: str, readings: Values, step: float, at: float
    ) -> tuple[Correction, ...]:
        """Accept an implausible level that has lasted, and return what it changed.

        Call it with every reading of a block that `check` rejected. A counter that
        fell to 0 is left out, except for tariff counters of which one counts again.
        """
        before = self._levels.get(block, _Level(at, 0, {}))
        lasted = before.lasted + min(max(at - before.at, 0), LONGEST_COUNTED_PAUSE)
        accepted: dict[str, Accepted] = {}
        corrections: list[Correction] = []
        for name, new in _readings(readings, step, at).items():
            last = self.accepted.get(name, new)
            plausible = last.followed_by(new, self.limits)
            is_reset = name in TARIFF_COUNTERS and any(readings.values())
            if plausible is None and new.value == 0 and not is_reset:
                continue  # a failed meter reads 0
            at_level = before.counters.get(name)
            following = at_level and at_level.followed_by(new, self.limits)
            if following is None:
                following = plausible or last.moved_to(new)
                if at_level is not None or plausible is None:
                    lasted = 0
            accepted[name] = following
            if plausible is None:
                corrections.append(Correction(name, last.value, following.value))
        if lasted < ACCEPTED_AFTER:
            self._levels[block] = _Level(at, lasted, accepted)
            return ()
        del self._levels[block]
        self.accepted |= accepted
        return tuple(corrections)


def _readings(values: Values, step: float, at: float) -> dict[str, Accepted]:
    """Return the available readings, without a rollover offset."""
    return {
        name: Accepted(value, 0, at, step)
        for name, value in values.items()
        if value is not None
    }
