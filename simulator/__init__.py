"""A simulated COUNTIS on a simulated RS485 line."""

from .counters import Counters
from .diagnostics import Diagnostics, NotDiagnosticsError
from .gateway import Gateway, RtuGateway, TcpGateway
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
)
from .load import Constant, House, Inverter, Load, Phase
from .meter import Meter
from .playback import played
from .threads import gateway_in_thread, line_in_thread
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
    "Diagnostics",
    "Fault",
    "Gateway",
    "House",
    "Inverter",
    "Line",
    "Load",
    "Meter",
    "NotDiagnosticsError",
    "Phase",
    "ReversedCurrent",
    "RtuGateway",
    "SwappedNeutral",
    "TcpGateway",
    "gateway_in_thread",
    "late",
    "line_in_thread",
    "played",
]
