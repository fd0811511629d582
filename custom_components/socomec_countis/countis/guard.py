"""Which reading of a counter is believed.

Home Assistant books what a counter rises by, and takes a lower reading for a new
beginning. So a reading is only passed on if the meter can have counted up to it
since the last one that was believed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from .limits import Limits

# Where the registers of a counter begin anew: after six digits of the display,
# after 999 999 999 steps of 10 Wh (36864), or when 32 bits are full.
DISPLAY_KWH = (1_000_000, 9_999_999.99, 10_000_000)
REGISTER_STEPS = 2**32
NEARLY_FULL = 0.9

# A meter updates its registers when it likes, and an answer takes its time.
UNPUNCTUAL_SECONDS = 5
STEPS_OF_ROOM = 2

# A level that stays is no glitch, however implausible it is.
BELIEVED_AFTER_SECONDS = 60
# Two glitches with a silence in between, or a clock that was set, are no such
# level: more than this is not counted from one reading to the next.
COUNTED_AT_ONCE_SECONDS = 15

DIGITS = 2  # of a kWh


@dataclass(frozen=True)
class Belief:
    """A counter as it was last believed, in kWh or kvarh."""

    value: float
    """Goes on where the meter's own registers begin anew."""
    carried: float
    """What of it the registers no longer hold."""
    at: float
    """When it was asked for, in seconds since 1970."""
    step: float
    """The resolution it was read in."""

    def followed_by(
        self, reading: float, step: float, at: float, limits: Limits
    ) -> Belief | None:
        """Return the belief that this reading makes, None if it is implausible."""
        most = self.value + self._rise(step, at, limits)
        # A counter in whole kWh lags behind the same one in steps of 10 Wh.
        least = self.value - (0 if step == self.step else max(step, self.step))
        for begun_anew in (0, *DISPLAY_KWH, REGISTER_STEPS * step):
            if self.value - self.carried < NEARLY_FULL * begun_anew:
                continue
            carried = self.carried + begun_anew
            value = round(reading + carried, DIGITS)
            if least <= value <= most:
                # A coarser reading tells nothing that a finer one did not.
                known = value < self.value
                return self if known else Belief(value, carried, at, step)
        return None

    def reset_to(
        self, reading: float, step: float, at: float, limits: Limits
    ) -> Belief | None:
        """Return the belief in a counter that was reset in between, or None."""
        if reading <= self._rise(step, at, limits):
            return Belief(reading, 0, at, step)
        return None

    def _rise(self, step: float, at: float, limits: Limits) -> float:
        """How much the meter can have counted since, at most."""
        # A clock that was put back tells nothing.
        seconds = max(at - self.at, 0) + UNPUNCTUAL_SECONDS
        room = STEPS_OF_ROOM * max(step, self.step)
        return limits.kilowatts * seconds / 3600 + room


@dataclass(frozen=True)
class Correction:
    """A counter that is believed at another level than it was."""

    counter: str
    believed: float
    found: float


@dataclass(frozen=True)
class _Suspicion:
    """An implausible level, and for how many seconds it has been seen."""

    at: float
    lasted: float
    beliefs: Mapping[str, Belief]


@dataclass
class CounterGuard:
    """The counters of one meter as they are believed."""

    limits: Limits = field(default_factory=Limits)
    beliefs: dict[str, Belief] = field(default_factory=dict)
    _suspicions: dict[str, _Suspicion] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        """The believed counters, in kWh or kvarh."""
        return {name: belief.value for name, belief in self.beliefs.items()}

    def saved(self) -> dict[str, dict[str, float]]:
        """Return the beliefs as `restore` takes them."""
        return {name: asdict(belief) for name, belief in self.beliefs.items()}

    def restore(self, saved: Mapping[str, Any]) -> Self:
        """Take up what was believed before."""
        self.beliefs = {name: Belief(**belief) for name, belief in saved.items()}
        return self

    def forget(self, counters: Iterable[str]) -> None:
        """Believe whatever comes next, of counters that were just reset."""
        for counter in counters:
            self.beliefs.pop(counter, None)

    def doubts(
        self,
        block: str,
        readings: Mapping[str, float | None],
        step: float,
        at: float,
        *,
        resettable: Iterable[str] = (),
    ) -> dict[str, tuple[float, float]]:
        """Believe all counters of a block, or none.

        Returns those that cannot be believed: counter to what was believed and
        what was found. `at` is when they were asked for, in seconds since 1970;
        `resettable` are the counters that may have been reset.
        """
        resets = set(resettable)
        beliefs: dict[str, Belief] = {}
        doubts: dict[str, tuple[float, float]] = {}
        for name, reading in readings.items():
            if reading is None:
                continue
            before = self.beliefs.get(name)
            after = self._follow(before, reading, step, at)
            if before is not None and after is None:
                if name in resets:
                    after = before.reset_to(reading, step, at, self.limits)
                if after is None:
                    doubts[name] = (before.value, reading)
            if after is not None:
                beliefs[name] = after
        if not doubts:
            self._suspicions.pop(block, None)
            self.beliefs |= beliefs
        return doubts

    def accept_lasting(
        self, block: str, readings: Mapping[str, float | None], step: float, at: float
    ) -> tuple[Correction, ...]:
        """Believe an implausible level that has lasted, and return what it changes.

        To be told every doubted reading of a block, as `doubts` was.
        """
        before = self._suspicions.get(block, _Suspicion(at, 0, {}))
        lasted = before.lasted + min(max(at - before.at, 0), COUNTED_AT_ONCE_SECONDS)
        beliefs: dict[str, Belief] = {}
        corrections: list[Correction] = []
        for name, reading in readings.items():
            if reading is None:
                continue
            believed = self.beliefs.get(name)
            suspected = before.beliefs.get(name)
            sensible = self._follow(believed, reading, step, at)
            after = suspected and self._follow(suspected, reading, step, at)
            if after is None:
                after = sensible or Belief(reading, 0, at, step)
                if suspected is not None or sensible is None:
                    lasted = 0
            beliefs[name] = after
            if believed is not None and sensible is None:
                corrections.append(Correction(name, believed.value, after.value))
        if lasted < BELIEVED_AFTER_SECONDS:
            self._suspicions[block] = _Suspicion(at, lasted, beliefs)
            return ()
        del self._suspicions[block]
        self.beliefs |= beliefs
        return tuple(corrections)

    def _follow(
        self, before: Belief | None, reading: float, step: float, at: float
    ) -> Belief | None:
        if before is None:
            return Belief(reading, 0, at, step)
        return before.followed_by(reading, step, at, self.limits)
