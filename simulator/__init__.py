"""A simulated COUNTIS on a simulated RS485 line."""

from .counters import Counters
from .line import (
    ANOTHER_ADDRESS,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    TRUNCATED,
    ZEROS,
    Fault,
    Line,
    late,
    line_in_thread,
)
from .load import Constant, House, Inverter, Load, Phase
from .meter import Meter
from .wiring import ReversedCurrent, SwappedNeutral

__all__ = [
    "ANOTHER_ADDRESS",
    "FLIPPED",
    "LOST",
    "NOISE_AFTER",
    "NOISE_BEFORE",
    "TRUNCATED",
    "ZEROS",
    "Constant",
    "Counters",
    "Fault",
    "House",
    "Inverter",
    "Line",
    "Load",
    "Meter",
    "Phase",
    "ReversedCurrent",
    "SwappedNeutral",
    "late",
    "line_in_thread",
]
