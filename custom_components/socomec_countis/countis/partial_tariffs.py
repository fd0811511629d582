"""The partial counters by tariff of a meter that has no registers for them.

The display of an E3x or E4x shows these counters (T1P to T4P in the manual), but its
table contains no registers for them. Each one is the tariff counter minus the value of
the tariff counter at the last reset of the partial counters. At a reset, the partial
total (50956) falls.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

from .block import Values
from .plausibility import CounterValue

# Steps by which the sum may differ from the partial total: the total and the rises of
# up to four tariff counters are each rounded or truncated to a step.
TOLERANCE = 5


@dataclass(frozen=True)
class PartialReset:
    """The last reset of the partial counters."""

    tariffs: Mapping[str, float]
    """The tariff counters at the reset, in kWh."""
    tolerance: float
    """In kWh; the largest difference between the sum and the partial total."""

    def as_dict(self) -> dict[str, Any]:
        """Return the reset as JSON content for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the reset from the content that `as_dict` returned.

        Raises `AttributeError`, `LookupError`, `TypeError` or `ValueError` if the
        content has another shape.
        """
        tariffs = {name: float(value) for name, value in stored["tariffs"].items()}
        return cls(tariffs, float(stored["tolerance"]))


@dataclass(frozen=True)
class _Tariffs:
    """The tariff counters at one moment, in kWh."""

    values: Mapping[str, float]
    at: float
    """In s of the event loop's clock, minus infinity before a restart."""
    step: float

    @classmethod
    def of(cls, counters: Mapping[str, CounterValue]) -> Self:
        """Return accepted counters with the moment at which they had these values.

        A counter that does not count may keep a value from the other resolution, whose
        moment does not count.
        """
        newest = max(counters.values(), key=lambda each: each.at.monotonic)
        return cls(
            {name: each.value for name, each in counters.items()},
            min(
                each.at.monotonic
                for each in counters.values()
                if each.step == newest.step
            ),
            max(each.step for each in counters.values()),
        )


class _Comparison(NamedTuple):
    """Tariff counters, and the partial total before and after them, in kWh."""

    tariffs: Mapping[str, float]
    lowest: float
    highest: float
    step: float

    @property
    def uncertainty(self) -> float:
        """Return the energy in kWh that was counted between both partial totals."""
        return self.highest - self.lowest

    def sum_since(self, reset: PartialReset) -> float:
        """Return the energy in kWh of all tariffs since a reset."""
        return sum(self.tariffs.values()) - sum(reset.tariffs.values())

    def agrees_with(self, reset: PartialReset) -> bool:
        """Return whether the energy since a reset is the partial total."""
        tolerance = max(reset.tolerance, TOLERANCE * self.step)
        energy = self.sum_since(reset)
        return self.lowest - tolerance <= energy <= self.highest + tolerance

    def reset_after(self, before: Mapping[str, float]) -> PartialReset | None:
        """Return the reset that was seen, None if the energy since then is ambiguous.

        `before` contains tariff counters before the reset, or nothing if unknown.
        """
        rises = {
            name: rise
            for name, value in self.tariffs.items()
            if (rise := value - before.get(name, value)) > 0
        }
        resets = dict(self.tariffs)
        if len(rises) == 1:
            # Only one tariff has counted, so all energy since the reset is in it.
            ((name, rise),) = rises.items()
            if self.lowest > rise + TOLERANCE * self.step:
                return None
            resets[name] = round(resets[name] - self.lowest, 2)
        elif self.lowest > self.step:
            return None
        return self._reset_at(resets)

    def reset_without_fall(self) -> PartialReset | None:
        """Return the last reset if the partial total shows it, else None.

        The partial total is 0, or it is the sum of the tariff counters because no
        counter was ever reset.
        """
        if self.highest <= self.step and not self.lowest:
            return self._reset_at(self.tariffs)
        never = self._reset_at(dict.fromkeys(self.tariffs, 0.0))
        is_close = self.uncertainty <= TOLERANCE * self.step
        return never if is_close and self.agrees_with(never) else None

    def _reset_at(self, tariffs: Mapping[str, float]) -> PartialReset:
        tolerance = TOLERANCE * self.step + self.uncertainty
        return PartialReset(tariffs, round(tolerance, 2))


@dataclass
class CalculatedCounters:
    """Calculates partial counters by tariff from the accepted values of a meter.

    The counters are unknown until a reset was seen, or until the partial total shows
    the reset, see `reset_without_fall`. They become unknown if their sum contradicts
    the partial total.
    """

    reset: PartialReset | None = None
    """The last reset, None while the counters are unknown."""
    _total: CounterValue | None = None
    _earlier_total: CounterValue | None = None
    _tariffs: _Tariffs | None = None
    _earlier_tariffs: _Tariffs | None = None
    """Tariff counters that are not newer than `_total`."""
    _before_reset: Mapping[str, float] | None = None
    """Tariff counters before a reset that was seen but not evaluated, else None."""
    _waiting: tuple[_Tariffs, float] | None = None
    """Tariff counters that wait for a newer partial total, and the total before."""

    def values(self, tariffs: Mapping[str, float]) -> Values:
        """Return the partial counter in kWh of each tariff counter, None if unknown."""
        if self.reset is None or self.reset.tariffs.keys() != tariffs.keys():
            return dict.fromkeys(tariffs)
        resets = self.reset.tariffs
        return {
            name: max(round(value - resets[name], 2), 0)
            for name, value in tariffs.items()
        }

    def take(
        self, total: CounterValue, counters: Mapping[str, CounterValue]
    ) -> str | None:
        """Take the accepted partial total and the accepted tariff counters.

        Returns why the partial counters by tariff, which were known, have become
        unknown. Returns None if this has not changed.
        """
        tariffs = _Tariffs.of(counters)
        if self._tariffs and self._tariffs.values.keys() != counters.keys():
            # The profile has other tariffs than before.
            self.reset = self._tariffs = self._earlier_tariffs = self._waiting = None
        if tariffs != self._tariffs:
            self._take_tariffs(tariffs)
        return None if total == self._total else self._take_total(total)

    def _take_tariffs(self, tariffs: _Tariffs) -> None:
        before = self._tariffs.values if self._tariffs else {}
        for name, value in tariffs.values.items():
            if (fall := before.get(name, value) - value) > 0:
                self._continue_after_tariff_reset(name, fall)
        self._tariffs = tariffs
        if self._waiting is None:
            for total in (self._total, self._earlier_total):
                if total is not None and total.at.monotonic <= tariffs.at:
                    self._waiting = tariffs, total.value
                    break

    def _continue_after_tariff_reset(self, name: str, fall: float) -> None:
        """Continue a partial counter whose tariff counter fell by kWh."""
        self._waiting = None
        if self.reset is not None:
            self.reset = replace(
                self.reset, tariffs=_lowered(self.reset.tariffs, name, fall)
            )
        if self._earlier_tariffs is not None:
            lowered = _lowered(self._earlier_tariffs.values, name, fall)
            self._earlier_tariffs = replace(self._earlier_tariffs, values=lowered)
        if self._before_reset:
            self._before_reset = _lowered(self._before_reset, name, fall)

    def _take_total(self, total: CounterValue) -> str | None:
        before, self._total = self._total, total
        self._earlier_total = before
        reason = None
        if before is not None and total.value < before.value:
            if self._before_reset is None:
                earlier = self._earlier_tariffs
                self._before_reset = earlier.values if earlier else {}
            self._waiting = self._earlier_total = None
        elif self._waiting is not None:
            tariffs, lowest = self._waiting
            if total.at.monotonic >= tariffs.at:
                self._waiting = None
                step = max(tariffs.step, total.step)
                reason = self._compare(
                    _Comparison(tariffs.values, lowest, total.value, step)
                )
        if self._tariffs is not None and self._tariffs.at <= total.at.monotonic:
            self._earlier_tariffs = self._tariffs
        return reason

    def _compare(self, found: _Comparison) -> str | None:
        """Evaluate a reset that was seen, or compare the sum with the partial total."""
        if self._before_reset is not None:
            return self._evaluate_reset(found, self._before_reset)
        if self.reset is None:
            self.reset = found.reset_without_fall()
            return None
        if found.agrees_with(self.reset):
            return None
        energy = found.sum_since(self.reset)
        self.reset = None
        return (
            f"their sum is {energy:.2f} kWh, but the partial total is"
            f" {found.highest:.2f} kWh, so a reset was not seen"
        )

    def _evaluate_reset(
        self, found: _Comparison, before: Mapping[str, float]
    ) -> str | None:
        if found.uncertainty > TOLERANCE * found.step:
            return None  # the next comparison is between two newer totals
        was_known = self.reset is not None
        self.reset = found.reset_after(before)
        self._before_reset = None
        if was_known and self.reset is None:
            return "their reset was seen late, after several tariffs had counted"
        return None


def _lowered(
    tariffs: Mapping[str, float], name: str, fall: float
) -> Mapping[str, float]:
    """Return tariff counters with one of them lowered by kWh."""
    return {**tariffs, name: round(tariffs[name] - fall, 2)}
