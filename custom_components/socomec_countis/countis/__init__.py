"""The meter: a library for Socomec COUNTIS over Modbus, without Home Assistant."""

from .errors import CountisError, NotACountisError, ResetError
from .meter import Countis
from .registers import SERIAL_NUMBER_REGISTERS, Values

__all__ = [
    "SERIAL_NUMBER_REGISTERS",
    "Countis",
    "CountisError",
    "NotACountisError",
    "ResetError",
    "Values",
]
