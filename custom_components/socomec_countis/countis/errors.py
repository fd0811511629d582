"""The library's errors, in addition to those of `modbus_connection`."""

from modbus_connection import ModbusProtocolError


class CountisError(Exception):
    """Base of the library's errors that are not errors of the Modbus protocol."""


class NotACountisError(CountisError):
    """A device that is not a COUNTIS responds at the unit ID."""


class AnotherMeterError(CountisError):
    """A COUNTIS other than the expected one responds at the unit ID."""

    def __init__(self, found: str) -> None:
        """Keep the serial number of the meter that responds."""
        # Diagnostics and reports contain the text of the error. So the text has no
        # serial number.
        super().__init__("a meter with another serial number responds")
        self.found = found


class ImplausibleError(ModbusProtocolError):
    """A response is undamaged, but has values that the meter cannot have measured."""


class EchoError(ModbusProtocolError):
    """The adapter echoes every request, so the client receives no valid response."""


class CommandError(CountisError):
    """A meter did not carry out a command."""

    def __init__(self, key: str) -> None:
        """Keep `key`, the translation key of the error's text.

        The keys are reset_failed, tariff_reset_failed, tariff_not_set and
        clock_not_set.
        """
        super().__init__(key.replace("_", " "))
        self.key = key
