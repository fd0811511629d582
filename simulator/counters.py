"""What a meter has counted."""

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Self

TARIFF_COUNT = 4
OVERFLOW_WH = 999_999_999 * 10


@dataclass
class Period:
    """A day, week or month; energies in Wh."""

    number: int
    consumed_at_start: float
    produced_at_start: float
    consumed_before: float = 0
    """Consumed in the period before this one."""
    produced_before: float = 0


@dataclass
class Counters:
    """The counters, in Wh and varh, as the meter keeps them without power."""

    consumed: float = 0
    reactive: float = 0
    produced: float = 0
    partial_consumed: float = 0
    partial_reactive: float = 0
    partial_produced: float = 0
    tariffs: list[float] = field(default_factory=lambda: [0.0] * TARIFF_COUNT)
    tariff: int = 1
    periods: list[Period] = field(default_factory=list)
    """The running day, week and month."""

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Self:
        """Return counters from what `asdict` made of them."""
        periods = [Period(**period) for period in saved.get("periods", [])]
        return cls(**saved | {"periods": periods})

    def saved(self) -> dict[str, Any]:
        """Return the counters as `restored` takes them."""
        return asdict(self)

    def add(self, consumed: float, produced: float, reactive: float) -> None:
        """Count this much more."""
        self.consumed += consumed
        self.partial_consumed += consumed
        # Of more tariffs than usual, one is first counted in here.
        missing = self.tariff - len(self.tariffs)
        self.tariffs += [0.0] * missing
        self.tariffs[self.tariff - 1] += consumed
        self.produced += produced
        self.partial_produced += produced
        self.reactive += reactive
        self.partial_reactive += reactive

    def in_tariff(self, tariff: int) -> float:
        """Return what was consumed in this tariff, 1 being the first."""
        return self.tariffs[tariff - 1] if tariff <= len(self.tariffs) else 0.0

    def turn_to(self, today: date) -> None:
        """Begin the day, week or month that this day is the first seen of."""
        day = today.toordinal()
        # Day 1 of the ordinals is a Monday.
        numbers = (day, (day - 1) // 7, today.year * 12 + today.month)
        if not self.periods:
            self.periods = [
                Period(number, self.consumed, self.produced) for number in numbers
            ]
        for index, number in enumerate(numbers):
            ended = self.periods[index]
            if number != ended.number:
                self.periods[index] = Period(
                    number,
                    self.consumed,
                    self.produced,
                    self.consumed - ended.consumed_at_start,
                    self.produced - ended.produced_at_start,
                )
