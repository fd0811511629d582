"""The partial counters by tariff of a meter that has no registers for them.

The display of an E3x or E4x shows these counters (T1P to T4P in the manual), but no
register contains them. So each is calculated: the present tariff counter minus the
tariff counter at the last reset of the partial counters. The partial total (50956) is
the partial counter of all tariffs together. A fall of the partial total shows a reset.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

from .block import Values
from .plausibility import CounterValue

# Steps by which the sum of the partial counters may differ from the partial total. The
# partial total and the rises of up to four tariff counters are each rounded or
# truncated to a step.
TOLERANCE = 5


@dataclass(frozen=True)
class PartialReset:
    """The last reset of the partial counters."""

    tariffs: Mapping[str, float]
    """The tariff counters at the reset, in kWh."""
    tolerance: float
    """In kWh; how much the sum of the partial counters by tariff may differ from the
    partial total."""

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
    """When the oldest value was read, in s of the event loop's clock.

    Minus infinity for a value from before a restart.
    """
    step: float
    """The resolution in kWh."""

    @classmethod
    def of(cls, counters: Mapping[str, CounterValue]) -> Self:
        """Return accepted tariff counters, with the moment of the oldest value.

        After a change of the resolution (10 Wh or 1 kWh), the readings may be lower
        than an accepted value. The value then keeps its moment and resolution until the
        readings reach the value. If the tariff is not in use, the readings do not rise,
        and the value keeps an old moment. So if the resolution of a value differs from
        that of the newest value, the moment of the value is ignored.
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
    """Tariff counters, and the partial totals read before and after them, in kWh."""

    tariffs: Mapping[str, float]
    total_before: float
    total_after: float
    step: float

    @property
    def uncertainty(self) -> float:
        """Return how uncertain the partial total at `tariffs` is, in kWh.

        This is the energy that was counted between the two partial totals.
        """
        return self.total_after - self.total_before

    def sum_since(self, reset: PartialReset) -> float:
        """Return the energy in kWh of all tariffs since a reset."""
        return sum(self.tariffs.values()) - sum(reset.tariffs.values())

    def agrees_with(self, reset: PartialReset) -> bool:
        """Return whether the energy since a reset agrees with the partial totals."""
        tolerance = max(reset.tolerance, TOLERANCE * self.step)
        energy = self.sum_since(reset)
        return self.total_before - tolerance <= energy <= self.total_after + tolerance

    def reset_after_fall(self, before: Mapping[str, float]) -> PartialReset | None:
        """Return the last reset, None if the tariff counters at the reset are unknown.

        `before` contains tariff counters that were read before the reset. If no such
        counters are known, `before` is empty. The partial total is the energy that was
        counted since the reset.
        """
        rises = {
            name: rise
            for name, value in self.tariffs.items()
            if (rise := value - before.get(name, value)) > 0
        }
        at_reset = dict(self.tariffs)
        if len(rises) == 1:
            # Only this tariff has counted, so all energy since the reset is in it.
            ((name, rise),) = rises.items()
            if self.total_before > rise + TOLERANCE * self.step:
                return None  # because the energy since the reset is more than the rise
            at_reset[name] = round(at_reset[name] - self.total_before, 2)
        elif self.total_before > self.step:
            return None  # because it is unknown which tariffs have counted
        return self._reset_at(at_reset)

    def reset_without_fall(self) -> PartialReset | None:
        """Return the last reset if the present values show it, else None.

        The partial total need not have fallen. If the partial total is 0, no energy
        was counted since the reset, so the tariff counters at the reset were the
        present ones. If the partial total equals the sum of the tariff counters, the
        tariff counters at the reset are taken as 0, as if no counter was ever reset.
        """
        if self.total_after <= self.step and not self.total_before:
            return self._reset_at(self.tariffs)
        never_reset = self._reset_at(dict.fromkeys(self.tariffs, 0.0))
        is_certain = self.uncertainty <= TOLERANCE * self.step
        return never_reset if is_certain and self.agrees_with(never_reset) else None

    def _reset_at(self, tariffs: Mapping[str, float]) -> PartialReset:
        tolerance = TOLERANCE * self.step + self.uncertainty
        return PartialReset(tariffs, round(tolerance, 2))


@dataclass
class CalculatedCounters:
    """Calculates the partial counters by tariff from the accepted values of a meter.

    The partial counters by tariff are unknown until `reset_after_fall` or
    `reset_without_fall` returns the last reset. They become unknown again if their sum
    contradicts the partial total.
    """

    reset: PartialReset | None = None
    """The last reset, None while the partial counters by tariff are unknown."""
    _total: CounterValue | None = None
    """The last partial total."""
    _earlier_total: CounterValue | None = None
    """The partial total before `_total`.

    None if `_total` is the first one, or if a reset was seen between the two totals.
    """
    _tariffs: _Tariffs | None = None
    """The last tariff counters."""
    _earlier_tariffs: _Tariffs | None = None
    """Tariff counters that are not newer than `_total`."""
    _before_reset: Mapping[str, float] | None = None
    """Tariff counters before a reset that is not evaluated yet, empty if unknown.

    None if there is no such reset.
    """
    _waiting: tuple[_Tariffs, float] | None = None
    """Tariff counters and the partial total before them, for the next comparison.

    The comparison waits for the partial total after these tariff counters.
    """

    def values(self, tariffs: Mapping[str, float]) -> Values:
        """Return the partial counter in kWh of each tariff counter, None if unknown."""
        is_reset_pending = self._before_reset is not None
        if (
            self.reset is None
            or is_reset_pending
            or self.reset.tariffs.keys() != tariffs.keys()
        ):
            return dict.fromkeys(tariffs)
        at_reset = self.reset.tariffs
        return {
            name: max(round(value - at_reset[name], 2), 0)
            for name, value in tariffs.items()
        }

    def take(
        self, total: CounterValue, counters: Mapping[str, CounterValue]
    ) -> str | None:
        """Take the accepted partial total and the accepted tariff counters.

        If the partial counters by tariff were known and have become unknown, the reason
        is returned, else None. If the tariffs in the profile have changed, the partial
        counters by tariff become unknown, but no reason is returned.
        """
        tariffs = _Tariffs.of(counters)
        if self._tariffs and self._tariffs.values.keys() != counters.keys():
            # The profile has other tariffs than before.
            self.reset = self._tariffs = self._earlier_tariffs = self._waiting = None
            if self._before_reset is not None:
                self._before_reset = {}
        if tariffs != self._tariffs:
            self._take_tariffs(tariffs)
        return None if total == self._total else self._take_total(total, tariffs)

    def _take_tariffs(self, tariffs: _Tariffs) -> None:
        """Take newer tariff counters, and begin a comparison if none is waiting."""
        before = self._tariffs.values if self._tariffs else {}
        for name, value in tariffs.values.items():
            if (fall := before.get(name, value) - value) > 0:
                self._continue_after_tariff_reset(name, fall)
        self._tariffs = tariffs
        if self._waiting is None:
            # Use the latest partial total that is not newer than the tariff counters.
            for total in (self._total, self._earlier_total):
                if total is not None and total.at.monotonic <= tariffs.at:
                    self._waiting = tariffs, total.value
                    break

    def _continue_after_tariff_reset(self, name: str, fall: float) -> None:
        """Keep the value of a partial counter whose tariff counter fell by `fall` kWh.

        To keep the value, lower the stored values of the tariff counter by `fall`, too.
        """
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

    def _take_total(self, total: CounterValue, tariffs: _Tariffs) -> str | None:
        """Take a newer partial total, and end the comparison that is waiting."""
        before, self._total = self._total, total
        self._earlier_total = before
        reason = None
        if before is not None and total.value < before.value:
            if self._before_reset is None:
                earlier = self._earlier_tariffs
                self._before_reset = earlier.values if earlier else {}
            self._waiting = self._earlier_total = None
        elif self._waiting is not None:
            waiting, total_before = self._waiting
            if total.at.monotonic >= waiting.at:
                self._waiting = None
                step = max(waiting.step, total.step)
                reason = self._compare(
                    _Comparison(waiting.values, total_before, total.value, step)
                )
        if tariffs.at <= total.at.monotonic:
            self._earlier_tariffs = tariffs
        return reason

    def _compare(self, comparison: _Comparison) -> str | None:
        """Evaluate a reset that was seen, else check the partial counters by tariff.

        Returns why these counters have become unknown, or None.
        """
        if self._before_reset is not None:
            return self._evaluate_reset(comparison, self._before_reset)
        if self.reset is None:
            self.reset = comparison.reset_without_fall()
            return None
        if comparison.agrees_with(self.reset):
            return None
        energy = comparison.sum_since(self.reset)
        self.reset = None
        return (
            f"their sum is {energy:.2f} kWh, but the partial total is"
            f" {comparison.total_after:.2f} kWh, so a reset was missed"
        )

    def _evaluate_reset(
        self, comparison: _Comparison, before: Mapping[str, float]
    ) -> str | None:
        """Set `reset` after a fall of the partial total.

        `before` contains tariff counters from before the reset.
        """
        if comparison.uncertainty > TOLERANCE * comparison.step:
            return None  # too uncertain, so a later comparison evaluates the reset
        was_known = self.reset is not None
        self.reset = comparison.reset_after_fall(before)
        self._before_reset = None
        if was_known and self.reset is None:
            return (
                "their reset was seen late, so it is unknown which tariffs had counted"
            )
        return None


def _lowered(
    tariffs: Mapping[str, float], name: str, fall: float
) -> Mapping[str, float]:
    """Return tariff counters with the counter `name` lowered by `fall` kWh."""
    return {**tariffs, name: round(tariffs[name] - fall, 2)}
