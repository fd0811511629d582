"""What went wrong, in words that say what to check."""

from collections.abc import Mapping
from dataclasses import dataclass
import errno
import textwrap

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusTimeoutError,
)

from .library import countis
from .link import CannotOpenError, Link

# An adapter that is unplugged during a request is an error of the operating
# system's, not always told as one of the connection.
ERRORS = (ModbusError, countis.CountisError, OSError)

WIDTH = 79
INDENT = "  "

GATEWAY = "the gateway's host, port and network"
PORT = "the adapter, and that no other program uses it"
BY_REASON: Mapping[int | None, str] = {
    errno.ENOENT: "that the adapter is plugged in, and its name"
    " (/dev/serial/by-id has names that stay)",
    errno.EACCES: "that you may use the port: on most systems the group dialout may",
    errno.EAGAIN: "that no other program uses the port, Home Assistant included",
    errno.EBUSY: "that no other program uses the port, Home Assistant included",
    errno.ECONNREFUSED: "the gateway's port, and that it takes another client",
}


@dataclass(frozen=True)
class Problem:
    """What went wrong."""

    kind: str
    """For scripts; stays as it is."""
    message: str
    check: str
    """What to check, in the order of likelihood."""

    def as_json(self) -> dict[str, str]:
        """Return it as it is documented."""
        return {"kind": self.kind, "message": self.message, "check": self.check}

    def __str__(self) -> str:
        """Return it as a sentence, and one below it."""
        check = textwrap.fill(
            f"Check {self.check}.",
            WIDTH,
            initial_indent=INDENT,
            subsequent_indent=INDENT,
        )
        return f"{self.message}.\n{check}"


@dataclass(frozen=True)
class _Kind:
    errors: tuple[type[Exception], ...]
    kind: str
    message: str
    """With `{where}`, where the meter is, and `{error}`, what the error says."""
    check: str


# The first one that fits.
KINDS = (
    _Kind(
        (countis.NotACountisError,),
        "not_a_countis",
        "What answers {where} is not a COUNTIS: {error}",
        "the address",
    ),
    _Kind(
        (countis.AnotherMeterError,),
        "another_meter",
        "Another meter answers {where} now: {error}",
        "that each address is there only once",
    ),
    _Kind(
        (countis.CommandError,),
        "not_done",
        "The meter {where} did not do it: {error}",
        "the meter's display; it may refuse, or be slow",
    ),
    _Kind(
        (countis.errors.EchoError,),
        "adapter_echoes",
        "The adapter or gateway returns every request (echo), which hides the responses"
        " of the meters",
        "its settings, and switch off the echo, or use another adapter",
    ),
    _Kind(
        (ModbusTimeoutError,),
        "no_answer",
        "No meter answers {where}",
        "address, speed, parity and stop bits in the meter's menu (scan finds them);"
        " the two wires, which may be swapped; that the display is lit;"
        " 120 ohms at both ends of the line",
    ),
    _Kind(
        (ModbusConnectionError, OSError),
        "line_lost",
        "The line was lost while in use: {error}",
        "the adapter or the gateway",
    ),
    _Kind(
        (Exception,),
        "unusable_answer",
        "Something answers {where}, but not usably: {error}",
        "that each address is there only once; parity and stop bits;"
        " the line's shield and resistors",
    ),
)


def problem(error: Exception, link: Link, address: int | None = None) -> Problem:
    """Return what to tell of an error."""
    if isinstance(error, CannotOpenError):
        return Problem(
            "cannot_open",
            f"The {link.what} {link.place} cannot be opened: {error}",
            BY_REASON.get(error.number, PORT if link.has_settings else GATEWAY),
        )
    where = "there" if address is None else f"at address {address}"
    found = next(each for each in KINDS if isinstance(error, each.errors))
    return Problem(
        found.kind, found.message.format(where=where, error=error), found.check
    )
