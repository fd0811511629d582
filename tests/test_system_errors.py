"""The errors of the operating system, as the dialogs show them."""

import errno
import socket

from modbus_connection import ModbusConnectionError
import pytest

from custom_components.socomec_countis.connection import describe_error

from .files import TEXTS

PORT = {
    "type": "serial",
    "device": "/dev/ttyUSB0",
    "baudrate": 9600,
    "parity": "none",
    "stopbits": 2,
}
GATEWAY = {"type": "tcp", "host": "gateway.local", "port": 502, "baudrate": 9600}


def shown_text(connection: dict[str, object], cause: BaseException) -> str:
    """Return the text for a connection that failed because of an error."""
    error = ModbusConnectionError("could not connect")
    error.__cause__ = cause
    key, placeholders = describe_error(connection, 1, error)
    text: str = TEXTS["config"]["error"][key]
    return text.format(**placeholders)


# The error number selects the text that is shown. The text of the error, here
# "[raw text]", is not shown.
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOENT, "The port /dev/ttyUSB0 does not exist."),
        # The adapter was unplugged while its port was open.
        (errno.EIO, "The port /dev/ttyUSB0 does not exist."),
        (errno.EACCES, "no permission to use the port /dev/ttyUSB0."),
        (errno.EAGAIN, "Another program uses the port /dev/ttyUSB0."),
        (errno.EBUSY, "Another program uses the port /dev/ttyUSB0."),
        (errno.ENOTTY, "/dev/ttyUSB0 is not a serial port"),
        (errno.ENOMEM, "cannot be opened (Cannot allocate memory)."),
    ],
)
def test_error_of_a_port_has_a_text(number: int, text: str) -> None:
    assert text in shown_text(PORT, OSError(number, "[raw text]"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "[raw text]"), "refuses or closes"),
        (ConnectionResetError(errno.ECONNRESET, "[raw text]"), "refuses or closes"),
        (
            OSError(errno.EHOSTUNREACH, "[raw text]"),
            "Nothing responds at gateway.local",
        ),
        (TimeoutError(), "Nothing responds at gateway.local:502."),
        (socket.gaierror(socket.EAI_NONAME, "[raw text]"), "is not known"),
        (
            OSError(errno.ENOMEM, "[raw text]"),
            "cannot be reached (Cannot allocate memory)",
        ),
        # This error number is not in `errno`, so the text of the error is shown.
        (
            socket.gaierror(socket.EAI_MEMORY, "no memory"),
            "cannot be reached (no memory)",
        ),
        # An error without a number: the gateway has closed the connection.
        (ModbusConnectionError("Connection lost"), "refuses or closes"),
    ],
)
def test_error_of_a_gateway_has_a_text(error: Exception, text: str) -> None:
    assert text in shown_text(GATEWAY, error)


def test_innermost_error_selects_the_text() -> None:
    error = OSError(errno.EBUSY, "locked")
    error.__cause__ = OSError(errno.EACCES, "[raw text]")
    assert "no permission" in shown_text(PORT, error)


def test_suppressed_context_of_an_error_does_not_select_the_text() -> None:
    error = OSError(errno.EBUSY, "locked")
    error.__context__ = OSError(errno.EACCES, "[raw text]")
    error.__suppress_context__ = True  # as after `raise ... from None`
    assert "Another program" in shown_text(PORT, error)


def test_error_without_a_number_shows_the_text_of_the_innermost_error() -> None:
    assert "(text of the cause)" in shown_text(PORT, OSError("text of the cause"))


def test_cause_without_a_text_shows_the_text_of_the_outer_error() -> None:
    assert "(could not connect)" in shown_text(PORT, OSError())
