"""The connection test of the E33's manual, calculated from measurements.

The test needs voltage and current on each connected phase, a power factor between 0.6
and 1, and at least 20 A in total. The test is valid only while no power is produced,
because produced power is negative, and so is the power of a reversed current. The test
returns the codes of the manual, which has no codes 4 to 6:

0       no error
1 to 3  the current of L1, L2 or L3 is reversed (the terminals L and L' are swapped)
7 to 9  the voltage of L1, L2 or L3 is swapped with the neutral
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .block import Values
from .registers import PHASES

PRESENT_VOLTS = 150  # above this, the display shows the symbol of the phase (manual)
ABSENT_VOLTS = 50  # our choice: neighbouring conductors induce less than this
# Our choice: at 1 A, the power is several steps of 10 W, so its sign is certain.
PRESENT_AMPERES = 1
LOAD_AMPERES = 20  # sum of all phases (manual)
POWER_FACTORS = (0.6, 1)  # the lowest and the highest (manual)
# A voltage between two phases is 1.73 times the voltage to the neutral: about 400 V
# instead of 230 V. Our choice: a factor between 1 and 1.73, and a voltage between 230 V
# and 400 V.
PHASE_TO_PHASE_FACTOR = 1.5  # times the voltage to the neutral
PHASE_TO_PHASE_VOLTS = 300

NO_ERROR = 0
REVERSED_CURRENT = 1  # the code of L1; those of L2 and L3 follow
SWAPPED_NEUTRAL = 7  # the code of L1; those of L2 and L3 follow


class Condition(StrEnum):
    """A condition without which the test is inconclusive."""

    VOLTAGE = "voltage"
    CURRENT = "current"
    LOAD = "load"
    POWER_FACTOR = "power_factor"
    STEADY = "steady"  # the power of a phase has the same sign in all readings


@dataclass(frozen=True)
class UnmetCondition:
    """A condition that is not met, with the measured value."""

    condition: Condition
    phase: str
    """`l1`, `l2`, `l3`, or empty for all phases together."""
    value: float | None
    """In V, A or W, or a power factor."""


@dataclass(frozen=True)
class Wiring:
    """The result of the connection test."""

    codes: tuple[int, ...]
    """The codes of the manual; empty if a condition is not met."""
    unmet: tuple[UnmetCondition, ...]
    phases: tuple[str, ...]
    """The connected phases: all three, or `l1` alone."""
    values: Values
    """The means of the readings in V, A and W, and of the absolute power factors."""


def check_wiring(readings: Sequence[Mapping[str, float | None]]) -> Wiring:
    """Return the result of the test for several readings of all measurements."""
    values = {name: _mean(name, readings) for name in readings[0]}
    volts = {phase: values.get(f"voltage_{phase}") or 0 for phase in PHASES}
    is_single_phase = max(volts["l2"], volts["l3"]) < ABSENT_VOLTS
    phases = PHASES[:1] if is_single_phase else PHASES
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
    # A swapped phase has a negative power, too. So if a phase is swapped, the signs of
    # the powers are not used.
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
) -> list[UnmetCondition]:
    """Return the conditions that are not met."""
    unmet: list[UnmetCondition] = []
    total = 0.0
    for phase in phases:
        volts, amperes = values.get(f"voltage_{phase}"), values.get(f"current_{phase}")
        factor = values.get(f"power_factor_{phase}")
        total += amperes or 0
        if (volts or 0) <= PRESENT_VOLTS:
            unmet.append(UnmetCondition(Condition.VOLTAGE, phase, volts))
        if (amperes or 0) < PRESENT_AMPERES:
            unmet.append(UnmetCondition(Condition.CURRENT, phase, amperes))
            continue
        if factor is None or not POWER_FACTORS[0] <= abs(factor) <= POWER_FACTORS[1]:
            unmet.append(UnmetCondition(Condition.POWER_FACTOR, phase, factor))
        powers = [each[f"power_{phase}"] for each in readings]
        if None in powers or len({(power or 0) < 0 for power in powers}) > 1:
            unmet.append(
                UnmetCondition(Condition.STEADY, phase, values[f"power_{phase}"])
            )
    if total < LOAD_AMPERES:
        unmet.append(UnmetCondition(Condition.LOAD, "", total))
    return unmet


def _is_swapped(phase: str, volts: Mapping[str, float]) -> bool:
    """Return whether a phase is swapped with the neutral.

    If the phase is swapped, the meter measures the other phases against this phase. So
    the voltages of the other phases are those between two phases.
    """
    others = [value for name, value in volts.items() if name != phase]
    return min(others) > max(PHASE_TO_PHASE_FACTOR * volts[phase], PHASE_TO_PHASE_VOLTS)


def _mean(name: str, readings: Sequence[Mapping[str, float | None]]) -> float | None:
    """Return the mean of the readings, None if one of them is not available."""
    values = [value for each in readings if (value := each[name]) is not None]
    if len(values) < len(readings):
        return None
    if name.startswith("power_factor"):
        # The power factor is negative for a leading current. Near 1, its sign can
        # change between two readings, so the mean uses the absolute values.
        values = [abs(value) for value in values]
    return round(sum(values) / len(values), 3)
