"""What a meter can have measured, and what it can not."""

from dataclasses import dataclass

PHASES = 3
VOLTS = 265  # 230 V + 15 %, phase to neutral
DIRECT_AMPERES = 100  # through each phase for ever, without current transformers
OVERLOAD = 1.2  # of a current transformer's primary
UNKNOWN_TRANSFORMER_AMPERES = 10_000

# Wider than what a class 1 meter promises to measure right: a phase carries more
# than 400 V when its neutral is lost, and for a moment more than 100 A.
MOST_VOLTS = 600
HERTZ = (40, 70)
MOMENTARILY = 1.5


@dataclass(frozen=True)
class Limits:
    """The bounds of one meter: 100 A, or what its current transformers carry."""

    amperes: float = DIRECT_AMPERES

    @classmethod
    def of_transformer(cls, primary: float) -> Limits:
        """Return the bounds behind transformers with this primary current in A."""
        return cls(max(DIRECT_AMPERES, primary * OVERLOAD))

    @property
    def kilowatts(self) -> float:
        """The power beyond which the meter cannot have counted."""
        return PHASES * VOLTS * self.amperes / 1000

    def allow(self, unit: str | None, value: float) -> bool:
        """Whether the meter can have measured this value of a field's unit."""
        amperes = MOMENTARILY * self.amperes
        power = PHASES * MOST_VOLTS * amperes
        match unit:
            case "V":
                return value <= MOST_VOLTS
            case "A":
                return value <= PHASES * amperes
            case "Hz":
                return HERTZ[0] <= value <= HERTZ[1]
            case "W" | "var" | "VA":
                return abs(value) <= power
            case "1":
                return abs(value) <= 1
            case _:
                return True
