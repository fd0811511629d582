"""The meter: a library for Socomec COUNTIS over Modbus, without Home Assistant."""

from .commands import (
    async_broadcast_tariff,
    async_confirm_tariff,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
    async_set_tariff,
    tariffs,
)
from .errors import (
    AnotherMeterError,
    CommandError,
    CountisError,
    NotACountisError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
)
from .guard import Correction
from .line import Line, Traffic
from .meter import Countis
from .registers import (
    BLOCK_OF,
    PARTIAL_COUNTERS,
    SERIAL_NUMBER_REGISTERS,
    TARIFF_COUNTERS,
    Values,
)
from .schedule import PERIOD
from .search import (
    ADDRESSES,
    ALL_SETTINGS,
    GATEWAY_WAIT,
    LINE_WAIT,
    FoundMeter,
    LineSettings,
    OpenLine,
    Search,
)
from .wiring import Unmet, Wiring, check_wiring

__all__ = [
    "ADDRESSES",
    "ALL_SETTINGS",
    "BLOCK_OF",
    "GATEWAY_WAIT",
    "LINE_WAIT",
    "PARTIAL_COUNTERS",
    "PERIOD",
    "SERIAL_NUMBER_REGISTERS",
    "TARIFF_COUNTERS",
    "AnotherMeterError",
    "CommandError",
    "Correction",
    "Countis",
    "CountisError",
    "FoundMeter",
    "Line",
    "LineSettings",
    "NotACountisError",
    "OpenLine",
    "ResetError",
    "ResetTariffsError",
    "Search",
    "SetClockError",
    "SetTariffError",
    "Traffic",
    "Unmet",
    "Values",
    "Wiring",
    "async_broadcast_tariff",
    "async_confirm_tariff",
    "async_reset_partial_counters",
    "async_reset_tariff_counters",
    "async_set_clock",
    "async_set_tariff",
    "check_wiring",
    "tariffs",
]
