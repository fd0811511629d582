"""The meter: a library for Socomec COUNTIS over Modbus, without Home Assistant."""

from .block import Values
from .bus import Bus
from .commands import (
    Publish,
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
    ImplausibleError,
    NotACountisError,
    ResetError,
    ResetTariffsError,
    SetClockError,
    SetTariffError,
)
from .line_settings import SCAN_SETTINGS, LineSettings, settings_to_try
from .meter import Meter, Reading
from .plausibility import Correction
from .poller import Polled, Poller, PollError
from .probe import UNIT_IDS
from .profile import COUNTERS, Profile, async_read_serial_number, async_take_profile
from .registers import (
    BLOCK_OF,
    PARTIAL_COUNTERS,
    SERIAL_NUMBER_REGISTERS,
    SET_TARIFF,
    TARIFF_COUNTERS,
)
from .scan import FoundMeter, OpenBus, Scan
from .traffic import Traffic
from .wiring import Unmet, Wiring, check_wiring

__all__ = [
    "BLOCK_OF",
    "COUNTERS",
    "PARTIAL_COUNTERS",
    "SCAN_SETTINGS",
    "SERIAL_NUMBER_REGISTERS",
    "SET_TARIFF",
    "TARIFF_COUNTERS",
    "UNIT_IDS",
    "AnotherMeterError",
    "Bus",
    "CommandError",
    "Correction",
    "CountisError",
    "FoundMeter",
    "ImplausibleError",
    "LineSettings",
    "Meter",
    "NotACountisError",
    "OpenBus",
    "PollError",
    "Polled",
    "Poller",
    "Profile",
    "Publish",
    "Reading",
    "ResetError",
    "ResetTariffsError",
    "Scan",
    "SetClockError",
    "SetTariffError",
    "Traffic",
    "Unmet",
    "Values",
    "Wiring",
    "async_confirm_tariff",
    "async_read_serial_number",
    "async_reset_partial_counters",
    "async_reset_tariff_counters",
    "async_set_clock",
    "async_set_tariff",
    "async_take_profile",
    "check_wiring",
    "settings_to_try",
    "tariffs",
]
