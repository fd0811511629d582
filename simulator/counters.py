"""The counters of a meter."""

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Self

TABLE_TARIFF_COUNT = 4  # the number of tariff counters in Socomec's Modbus table
# Wh or varh; at this energy, the register of a counter rolls over to 0. Register 36864
# contains this energy in steps of 10 Wh.
COUNTER_RANGE_WH = 999_999_999 * 10


def _sum(counter: float, energy: float, seconds: int) -> float:
    """Return a counter after it has counted `energy` in each of `seconds` s.

    The energies are added one by one, because a multiplication rounds differently. The
    counter would then depend on how many seconds are counted at a time.
    """
    if energy == 0:
        seconds = min(seconds, 1)  # adding 0 again does not change the counter
    for _ in range(seconds):
        counter += energy
    return counter


def _energy_in(tariffs: list[float], tariff: int) -> float:
    """Return the energy of a tariff, or 0 if the list does not contain it yet."""
    return tariffs[tariff - 1] if tariff <= len(tariffs) else 0.0


@dataclass
class Period:
    """The current day, week or month. All energies are in Wh."""

    number: int
    """Number of the day, week or month. A different number means another period."""
    consumed_at_start: float
    """The value of the counter `consumed` at the start of the period."""
    produced_at_start: float
    """The value of the counter `produced` at the start of the period."""
    consumed_before: float = 0
    """Energy that was consumed in the previous period."""
    produced_before: float = 0
    """Energy that was produced in the previous period."""


@dataclass
class Counters:
    """The counters of a meter in Wh and varh.

    The registers of the counters roll over, but these values do not.
    """

    consumed: float = 0
    reactive: float = 0
    produced: float = 0
    partial_consumed: float = 0
    partial_reactive: float = 0
    partial_produced: float = 0
    tariffs: list[float] = field(default_factory=lambda: [0.0] * TABLE_TARIFF_COUNT)
    """Consumed energy by tariff. Tariff 1 is the first."""
    partial_tariffs: list[float] = field(
        default_factory=lambda: [0.0] * TABLE_TARIFF_COUNT
    )
    """Consumed energy by tariff since the last reset of the partial counters."""
    tariff: int = 1
    """The tariff in which the meter counts now."""
    periods: list[Period] = field(default_factory=list)
    """The current day, week and month. Empty until the first `start_periods`."""

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Self:
        """Return the counters from a result of `as_dict`."""
        periods = [Period(**period) for period in saved.get("periods", [])]
        return cls(**saved | {"periods": periods})

    def as_dict(self) -> dict[str, Any]:
        """Return the counters in a form that JSON can contain."""
        return asdict(self)

    def add(
        self, consumed: float, produced: float, reactive: float, seconds: int = 1
    ) -> None:
        """Count these energies in Wh and varh in each of `seconds` s."""
        self.consumed = _sum(self.consumed, consumed, seconds)
        self.partial_consumed = _sum(self.partial_consumed, consumed, seconds)
        for tariffs in (self.tariffs, self.partial_tariffs):
            # The lists grow if the meter has more than TABLE_TARIFF_COUNT tariffs.
            tariffs.extend([0.0] * (self.tariff - len(tariffs)))
            index = self.tariff - 1
            tariffs[index] = _sum(tariffs[index], consumed, seconds)
        self.produced = _sum(self.produced, produced, seconds)
        self.partial_produced = _sum(self.partial_produced, produced, seconds)
        self.reactive = _sum(self.reactive, reactive, seconds)
        self.partial_reactive = _sum(self.partial_reactive, reactive, seconds)

    def in_tariff(self, tariff: int) -> float:
        """Return the consumed energy of a tariff in Wh. The first tariff is 1."""
        return _energy_in(self.tariffs, tariff)

    def in_partial_tariff(self, tariff: int) -> float:
        """Return the energy of a tariff in Wh since the last reset of partial counters.

        The first tariff is 1.
        """
        return _energy_in(self.partial_tariffs, tariff)

    def start_periods(self, today: date) -> None:
        """Start a new day, week or month if `today` is not in the current one."""
        day = today.toordinal()
        # Weeks start on Monday, and ordinal 1 is a Monday.
        numbers = (day, (day - 1) // 7, today.year * 12 + today.month)
        if not self.periods:
            self.periods = [
                Period(number, self.consumed, self.produced) for number in numbers
            ]
        for index, number in enumerate(numbers):
            current = self.periods[index]
            if number != current.number:
                self.periods[index] = Period(
                    number,
                    self.consumed,
                    self.produced,
                    self.consumed - current.consumed_at_start,
                    self.produced - current.produced_at_start,
                )
