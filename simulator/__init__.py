"""A simulated COUNTIS on a simulated RS485 line."""

from .counters import Counters
from .line import FLIPPED, LOST, TRUNCATED, Fault, Line, late, line_in_thread
from .load import Constant, House, Inverter, Load, Phase
from .meter import Meter

__all__ = [
    "FLIPPED",
    "LOST",
    "TRUNCATED",
    "Constant",
    "Counters",
    "Fault",
    "House",
    "Inverter",
    "Line",
    "Load",
    "Meter",
    "Phase",
    "late",
    "line_in_thread",
]
