"""Errors of a meter, beyond those of the connection to it."""

from modbus_connection import ModbusProtocolError


class CountisError(Exception):
    """Base of the errors that the meter causes, not the connection."""


class NotACountisError(CountisError):
    """Another device than a COUNTIS responds at the unit ID."""


class AnotherMeterError(CountisError):
    """Another COUNTIS responds at the unit ID; `found` is its serial number."""

    def __init__(self, found: str) -> None:
        """Keep the serial number of the meter that responds."""
        super().__init__(f"the serial number is {found}")
        self.found = found


class ImplausibleError(ModbusProtocolError):
    """A response arrived intact, but the meter cannot have measured its content."""


class EchoError(ModbusProtocolError):
    """The adapter returns every request, which hides the responses behind it."""


class CommandError(CountisError):
    """The meter did not carry out a command."""


class ResetError(CommandError):
    """The partial counters did not fall to zero."""


class ResetTariffsError(CommandError):
    """The tariff counters did not fall to zero."""


class SetTariffError(CommandError):
    """The meter counts in another tariff than the one that was set."""


class SetClockError(CommandError):
    """The clock does not show the time that it was set to."""
