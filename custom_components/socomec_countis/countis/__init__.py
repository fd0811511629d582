"""The meter: a library for Socomec COUNTIS over Modbus, without Home Assistant."""

from .errors import AnotherMeterError, CountisError, NotACountisError, ResetError
from .guard import Correction
from .line import Line
from .meter import Countis
from .registers import (
    BLOCK_OF,
    PARTIAL_COUNTERS,
    SERIAL_NUMBER_REGISTERS,
    Values,
)
from .schedule import PERIOD, POWER

__all__ = [
    "BLOCK_OF",
    "PARTIAL_COUNTERS",
    "PERIOD",
    "POWER",
    "SERIAL_NUMBER_REGISTERS",
    "AnotherMeterError",
    "Correction",
    "Countis",
    "CountisError",
    "Line",
    "NotACountisError",
    "ResetError",
    "Values",
]
