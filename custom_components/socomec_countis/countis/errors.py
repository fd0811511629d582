"""What can go wrong with a meter, beyond the line it is reached over."""

from modbus_connection import ModbusProtocolError


class CountisError(Exception):
    """Base of the errors that a meter, not its line, is the reason for."""


class NotACountisError(CountisError):
    """Something answers at the address, but it is not a COUNTIS."""


class AnotherMeterError(CountisError):
    """Another COUNTIS answers at the address; `found` is its serial number."""

    def __init__(self, found: str) -> None:
        """Keep the serial number."""
        super().__init__(f"the serial number is {found}")
        self.found = found


class DoubtfulError(ModbusProtocolError):
    """An answer arrived intact, but cannot be what the meter measures."""


class CommandError(CountisError):
    """The meter did not do what it was told."""


class ResetError(CommandError):
    """The partial counters did not fall to zero."""


class ResetTariffsError(CommandError):
    """The tariff counters did not fall to zero."""


class SetTariffError(CommandError):
    """The meter counts in another tariff than it was told to."""


class SetClockError(CommandError):
    """The clock does not show the time that it was set to."""
