"""The state of a soak that remains between two sessions, with the result at the end."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
from typing import Any, Self, override

from pymodbus.constants import ExcCodes

from simulator import Constant, Counters, Meter, Phase

METERS = 8
# In kWh; a statistic begins and ends with a state that is truncated to 0.01 kWh. The
# difference of these two errors is below 0.01 kWh. 0.0001 kWh are for rounding errors.
TOLERANCE = 0.0101

# By the key of the sensor: the attribute of `Counters`, or the number of the tariff.
TOTALS = {"energy_consumed": "consumed", "energy_produced": "produced"}
PARTIALS = {f"partial_{key}": f"partial_{name}" for key, name in TOTALS.items()}
TARIFFS = {f"tariff_{number}_energy": number for number in range(1, 5)}
KEYS = (*TOTALS, *PARTIALS, *TARIFFS)
NO_LOAD = Constant(Phase(0), Phase(0), Phase(0))

type StatisticName = str
"""The unit ID and the key of a sensor, with a space between them."""


@dataclass(kw_only=True)
class SoakMeter(Meter):
    """A simulated meter that reports each reset of a partial counter."""

    on_reset: Callable[[int, str, float], None]
    """Called with the unit ID, the key, and the counter in kWh before the reset."""

    def kilowatt_hours(self, key: str) -> float:
        """Return a counter in kWh, with all decimals."""
        counters = self.count()
        if key in TARIFFS:
            return counters.tariffs[TARIFFS[key] - 1] / 1000
        value: float = getattr(counters, (TOTALS | PARTIALS)[key])
        return value / 1000

    @override
    def write(self, address: int, values: list[int]) -> ExcCodes | None:
        """Carry out a command, and report the counters that it reset."""
        before = {key: self.kilowatt_hours(key) for key in PARTIALS}
        result = super().write(address, values)
        for key, kwh in before.items():
            if self.kilowatt_hours(key) < kwh:
                self.on_reset(self.unit_id, key, kwh)
        return result

    def reset(self, keys: Iterable[str]) -> None:
        """Reset partial counters by the buttons of the meter."""
        for key in keys:
            self.on_reset(self.unit_id, key, self.kilowatt_hours(key))
            setattr(self.counters, PARTIALS[key], 0.0)


def new_counters(unit_id: int) -> dict[str, Any]:
    """Return the counters of a meter at the start of a soak, in Wh and varh.

    No counter of `KEYS` is 0: the sensor of a tariff whose counter is 0 is disabled.
    """
    return Counters(
        consumed=unit_id * 1_234_567.0,
        reactive=unit_id * 300_010.0,
        produced=unit_id * 765_432.0,
        partial_consumed=unit_id * 45_678.0,
        partial_reactive=unit_id * 1_230.0,
        partial_produced=unit_id * 34_567.0,
        tariffs=[unit_id * 600_000.0, unit_id * 400_000.0, 150_000.0, 50_000.0],
    ).as_dict()


@dataclass
class World:
    """The state of a soak that remains between two sessions."""

    seed: int
    speed: float
    """Simulated s in each real s."""
    true_time: float
    """The simulated time when the world was saved, in s since 1970."""
    end: float
    """When the soak ends, in s since 1970."""
    pause: float
    """Mean time between two mishaps in s."""
    longest_mishap: float
    """In s; limits the time of offline meters, a cut bus, a restart and a power cut."""
    most_mishaps: int
    """The soak ends after this number."""
    mishaps: int = 0
    """The number of mishaps until now."""
    sessions: int = 0
    """How often Home Assistant was started."""
    counters: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            str(unit_id): new_counters(unit_id) for unit_id in range(1, METERS + 1)
        }
    )
    """The counters of each meter, by its unit ID."""
    lost: dict[StatisticName, float] = field(default_factory=dict)
    """kWh counted between the last state before a reset and the reset itself.

    The statistics cannot contain this energy.
    """
    recorded: dict[StatisticName, float] = field(default_factory=dict)
    """kWh in the statistics at the end."""
    errors: list[str] = field(default_factory=list)
    is_finished: bool = False

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the world that `save` wrote."""
        return cls(**json.loads((folder / "world.json").read_text()))

    def save(self, folder: Path) -> None:
        """Write the world into a file."""
        (folder / "world.json").write_text(json.dumps(asdict(self), indent=1))

    def expected(self) -> dict[StatisticName, float]:
        """Return the energy in kWh that each statistic has to contain."""
        energies: dict[StatisticName, float] = {}
        for unit_id in range(1, METERS + 1):
            first = Counters.from_dict(new_counters(unit_id))
            last = Counters.from_dict(self.counters[str(unit_id)])
            for key in KEYS:
                name = f"{unit_id} {key}"
                # Statistics continue over resets. So the statistic of a partial counter
                # rises as the total counter does.
                total = key.removeprefix("partial_")
                if key in TARIFFS:
                    index = TARIFFS[key] - 1
                    wh = last.tariffs[index] - first.tariffs[index]
                else:
                    wh = getattr(last, TOTALS[total]) - getattr(first, TOTALS[total])
                energies[name] = wh / 1000 - self.lost.get(name, 0)
        return energies

    def differences(self) -> dict[StatisticName, float]:
        """Return the statistics that differ from the meters by `TOLERANCE` or more.

        The differences are in kWh, and positive if a statistic is too high.
        """
        return {
            name: self.recorded.get(name, 0.0) - kwh
            for name, kwh in self.expected().items()
            if not abs(self.recorded.get(name, 0.0) - kwh) < TOLERANCE
        }
