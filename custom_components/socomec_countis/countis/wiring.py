"""The connection test of the E33's manual, done from what the meter measures.

Its conditions first: voltage and current on every phase that is connected, a power
factor between 0.6 and 1, at least 20 A. Then its codes: 0 no error, 1 to 3 the
current of phase n is reversed (L and L' swapped), 7 to 9 the voltage of phase n is
swapped with the neutral. The test is valid only while no power is produced, because
produced power and a reversed current look alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .block import Values

PHASES = ("l1", "l2", "l3")

# The phase symbol on the meter's display is lit above this.
PRESENT_VOLTS = 150
# A phase that is not connected picks up less than this from its neighbours.
ABSENT_VOLTS = 50
# Above this, the sign of a power in steps of 10 W is certain.
PRESENT_AMPERES = 1
LOAD_AMPERES = 20
POWER_FACTORS = (0.6, 1)
# The voltage between two phases is 1.73 times that to the neutral.
PHASE_TO_PHASE = 1.5
PHASE_TO_PHASE_VOLTS = 300

NO_ERROR = 0
REVERSED_CURRENT = 1  # of phase L1, and so on
SWAPPED_NEUTRAL = 7


class Condition(StrEnum):
    """A condition without which the test is inconclusive."""

    VOLTAGE = "voltage"
    CURRENT = "current"
    LOAD = "load"
    POWER_FACTOR = "power_factor"
    STEADY = "steady"


@dataclass(frozen=True)
class Unmet:
    """A condition that is not met, with what was measured instead."""

    condition: Condition
    phase: str
    """`l1`, `l2`, `l3`, empty for all of them together."""
    value: float | None


@dataclass(frozen=True)
class Wiring:
    """The result of the test."""

    codes: tuple[int, ...]
    """The manual's codes, (0,) for no error; empty if a condition is not met."""
    unmet: tuple[Unmet, ...]
    phases: tuple[str, ...]
    """Those that are connected: all of them, or `l1` alone."""
    values: Values
    """Means of the readings, in V, A and W."""


def check_wiring(readings: Sequence[Mapping[str, float | None]]) -> Wiring:
    """Test the wiring by some readings of all measurements, a second apart."""
    values = {name: _mean(name, readings) for name in readings[0]}
    volts = {phase: values.get(f"voltage_{phase}") or 0 for phase in PHASES}
    alone = max(volts["l2"], volts["l3"]) < ABSENT_VOLTS
    phases = PHASES[:1] if alone else PHASES
    unmet = _unmet(phases, values, readings)
    swapped = [
        SWAPPED_NEUTRAL + index
        for index, phase in enumerate(phases)
        if _is_swapped(phase, volts)
    ]
    negative = [
        REVERSED_CURRENT + index
        for index, phase in enumerate(phases)
        if (values.get(f"power_{phase}") or 0) < 0
    ]
    return Wiring(
        codes=() if unmet else tuple(swapped or negative or [NO_ERROR]),
        unmet=tuple(unmet),
        phases=phases,
        values={
            name: values[name]
            for quantity in ("voltage", "current", "power", "power_factor")
            for phase in phases
            if (name := f"{quantity}_{phase}") in values
        },
    )


def _unmet(
    phases: Sequence[str],
    values: Values,
    readings: Sequence[Mapping[str, float | None]],
) -> list[Unmet]:
    """Return the conditions that are not met."""
    unmet: list[Unmet] = []
    total = 0.0
    for phase in phases:
        volts, amperes = values.get(f"voltage_{phase}"), values.get(f"current_{phase}")
        factor = values.get(f"power_factor_{phase}")
        total += amperes or 0
        if (volts or 0) <= PRESENT_VOLTS:
            unmet.append(Unmet(Condition.VOLTAGE, phase, volts))
        if (amperes or 0) < PRESENT_AMPERES:
            unmet.append(Unmet(Condition.CURRENT, phase, amperes))
            continue
        if factor is None or not POWER_FACTORS[0] <= abs(factor) <= POWER_FACTORS[1]:
            unmet.append(Unmet(Condition.POWER_FACTOR, phase, factor))
        if len({(each[f"power_{phase}"] or 0) < 0 for each in readings}) > 1:
            unmet.append(Unmet(Condition.STEADY, phase, values[f"power_{phase}"]))
    if total < LOAD_AMPERES:
        unmet.append(Unmet(Condition.LOAD, "", total))
    return unmet


def _is_swapped(phase: str, volts: Mapping[str, float]) -> bool:
    """Whether all the others are as far from this phase as from one another.

    Where phase and neutral are swapped, the others are measured against the phase.
    """
    others = [value for name, value in volts.items() if name != phase]
    return min(others) > max(PHASE_TO_PHASE * volts[phase], PHASE_TO_PHASE_VOLTS)


def _mean(name: str, readings: Sequence[Mapping[str, float | None]]) -> float | None:
    values = [value for each in readings if (value := each[name]) is not None]
    if len(values) < len(readings):
        return None
    if name.startswith("power_factor"):
        # Around 1, leading (negative) and lagging differ only a little.
        values = [abs(value) for value in values]
    return round(sum(values) / len(values), 3)
