"""A simulated COUNTIS on a simulated RS485 line."""

from .counters import Counters
from .diagnostics import Diagnostics, NotDiagnosticsError
from .gateway import Gateway, RtuGateway, TcpGateway
from .line import (
    ANOTHER_ADDRESS,
    ANOTHER_FUNCTION,
    BUSY,
    DUPLICATED,
    ECHO,
    FLIPPED,
    LONGER,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    NOISE_WITHIN,
    ONES,
    SPLIT,
    TRUNCATED,
    ZEROS,
    Fault,
    Line,
    babble,
    late,
)
from .load import Constant, House, Inverter, Load, Phase
from .meter import Meter
from .playback import played
from .threads import gateway_in_thread, line_in_thread
from .wiring import ReversedCurrent, SwappedNeutral

__all__ = [
    "ANOTHER_ADDRESS",
    "ANOTHER_FUNCTION",
    "BUSY",
    "DUPLICATED",
    "ECHO",
    "FLIPPED",
    "LONGER",
    "LOST",
    "NOISE_AFTER",
    "NOISE_BEFORE",
    "NOISE_WITHIN",
    "ONES",
    "SPLIT",
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
    "babble",
    "gateway_in_thread",
    "late",
    "line_in_thread",
    "played",
]
