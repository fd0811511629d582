"""The range of values that a meter can measure."""

from dataclasses import dataclass

# The highest specified values of an E33 (manual): 230 V + 15 % from phase to neutral,
# and 100 A continuously on each of three phases. Together, the phases have at most 79.5
# kW, or 22 Wh per second.
PHASE_COUNT = 3
SPECIFIED_VOLTS = 265
DIRECT_AMPERES = 100  # of a meter without current transformers

# The bounds of measured values. Our choice: wider than the specified range, because a
# meter also measures values outside that range.
# From phase to neutral, more than 400 V are possible if the neutral is interrupted.
HIGHEST_VOLTS = 600
HERTZ_RANGE = (40, 70)  # specified: 50 Hz or 60 Hz, +/- 5 Hz (manual)
INRUSH = 1.5  # times the highest continuous current, for some seconds
OVERLOAD = 1.2  # times the primary current; a common rating of current transformers


@dataclass(frozen=True)
class Limits:
    """The range of values that one meter can measure."""

    amperes: float = DIRECT_AMPERES
    """The highest continuous current of a phase, in A."""

    @classmethod
    def of_transformer(cls, primary: float) -> Limits:
        """Return the limits of a meter with current transformers.

        `primary` is their primary current in A (register 57346). The limits are never
        lower than those of a meter without current transformers.
        """
        return cls(max(DIRECT_AMPERES, primary * OVERLOAD))

    @property
    def kilowatts(self) -> float:
        """Return the highest continuous power in kW, which limits the rise of counters.

        For a short time, the power can be higher (see `allow`).
        """
        return PHASE_COUNT * SPECIFIED_VOLTS * self.amperes / 1000

    def allow(self, unit: str | None, value: float) -> bool:
        """Return whether the meter can have measured a value in this unit.

        A value in a unit of energy, or without a unit, is always allowed.
        """
        if unit == "Hz":
            return HERTZ_RANGE[0] <= value <= HERTZ_RANGE[1]
        amperes = INRUSH * self.amperes
        power = PHASE_COUNT * HIGHEST_VOLTS * amperes
        # The neutral may carry the current of all phases. A power factor has unit "1".
        highest = {"V": HIGHEST_VOLTS, "A": PHASE_COUNT * amperes, "1": 1}
        highest |= {"W": power, "var": power, "VA": power}
        return unit not in highest or abs(value) <= highest[unit]
