"""The errors of a meter or bus as sentences that name what to check."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import errno
import re

from modbus_connection import (
    ModbusConnectionError,
    ModbusError,
    ModbusTimeoutError,
)

from socomec_countis import (
    AnotherMeterError,
    CommandError,
    CountisError,
    EchoError,
    NotACountisError,
)
from socomec_countis.load_curve import NoLoadCurveError

from .connection import CannotOpenError, Connection

# The errors of a bus or a meter. A client may also raise an `OSError` in a request.
ERRORS = (ModbusError, CountisError, OSError)

NO_RESPONSE = "no_response"
# The likely causes on the bus if no meter responds, as words after "check".
BUS_CAUSES = (
    "the two wires (they may be swapped), the display (it has to be lit), and 120 ohms"
    " at both ends of the bus"
)
COMMAND_FAILED = "command_failed"
CONNECTION_LOST = "connection_lost"
# Parts that are removed from the text of an error: the number of a system error, and
# the sentence of the client about a lost connection. The message of the failure already
# says that the connection was lost.
REMOVED = re.compile(
    r"^\S+\(.*\): Connection lost before response was received\.|\[Errno -?\d+\] "
)
PORT_IN_USE = "that no other program uses the port, Home Assistant included"
# The checks if a port or gateway cannot be opened, by error number, as words after
# "check".
CHECK_BY_NUMBER: Mapping[int | None, str] = {
    errno.ENOENT: "that the adapter is plugged in, and that the port has this name"
    " (names in /dev/serial/by-id stay the same)",
    errno.EACCES: "that you may use the port (usually, you have to be in the group"
    " dialout)",
    errno.EAGAIN: PORT_IN_USE,
    errno.EBUSY: PORT_IN_USE,
    errno.EINVAL: "the parity and the stop bits, which the port may not support",
    errno.ENOTTY: "its name (names in /dev/serial/by-id stay the same)",
    errno.ECONNREFUSED: "the port of the gateway, and that it accepts another client",
}


class NoSuchTariffError(CountisError):
    """The meter has fewer tariffs than the command needs.

    The text of the error is what the meter has, such as "4 tariffs".
    """


@dataclass(frozen=True)
class Failure:
    """A failure of the bus or of a meter, and its likely causes."""

    kind: str
    """A name for scripts, which never changes."""
    message: str
    check: str
    """The checks, the most likely cause first, as words after "check"."""

    def as_json(self) -> dict[str, str]:
        """Return the failure as JSON content."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the failure as one sentence."""
        return f"{self.message}: check {self.check}."


# The first class that matches an error selects the failure, so the order matters.
# `{place}` is "at unit ID 5" or "on the bus". `{error}` is the text of the error
# without the parts that match `REMOVED`. `{reason}` is this text in parentheses, or
# empty.
FAILURES: Mapping[type[Exception], Failure] = {
    NotACountisError: Failure(
        "not_a_countis",
        "The device {place} is not a COUNTIS{reason}",
        "the unit ID",
    ),
    AnotherMeterError: Failure(
        "another_meter",
        "Another meter responds {place} now{reason}",
        "that no two meters have the same unit ID",
    ),
    NoLoadCurveError: Failure(
        "no_load_curve",
        "The meter {place} has no load curve{reason}",
        "the model: only an E3x or E4x stores one",
    ),
    NoSuchTariffError: Failure(
        COMMAND_FAILED,
        "The meter {place} has {error}",
        "the tariff that you entered",
    ),
    CommandError: Failure(
        COMMAND_FAILED,
        "The meter {place} did not carry out the command{reason}",
        "the display of the meter, and repeat the command",
    ),
    EchoError: Failure(
        "adapter_echoes",
        "The adapter or gateway returns every request (echo), which hides responses",
        "its settings, and switch off the echo, or use another adapter",
    ),
    ModbusTimeoutError: Failure(
        NO_RESPONSE,
        "No meter responds {place}",
        "the unit ID, speed, parity and stop bits in the menu of the meter (scan finds"
        f" them), {BUS_CAUSES}",
    ),
    ModbusConnectionError: Failure(
        CONNECTION_LOST,
        "The connection to the bus was lost{reason}",
        "the adapter",
    ),
    OSError: Failure(
        CONNECTION_LOST,
        "The connection to the bus was lost{reason}",
        "the adapter",
    ),
    Exception: Failure(
        "invalid_response",
        "The response {place} is not valid{reason}",
        "parity and stop bits, that no two meters have the same unit ID, and the shield"
        " and the resistors of the bus",
    ),
}
KINDS = ("cannot_open", *dict.fromkeys(each.kind for each in FAILURES.values()))


def failure(
    error: Exception, connection: Connection, unit_id: int | None = None
) -> Failure:
    """Return the failure that describes an error.

    `unit_id` is that of the meter, or None for an error of the whole bus.
    """
    if isinstance(error, CannotOpenError):
        device = "port" if connection.is_serial else "gateway"
        default_check = (
            "the adapter, and that no other program uses it"
            if connection.is_serial
            else "the host, the port and the network of the gateway"
        )
        reason = f" ({error})" if str(error) else ""
        return Failure(
            "cannot_open",
            f"The {device} {connection} cannot be opened{reason}",
            CHECK_BY_NUMBER.get(error.number, default_check),
        )
    found = next(each for class_, each in FAILURES.items() if isinstance(error, class_))
    place = "on the bus" if unit_id is None else f"at unit ID {unit_id}"
    text = REMOVED.sub("", str(error))
    reason = f" ({text})" if text else ""
    message = found.message.format(place=place, error=text, reason=reason)
    check = found.check
    if found.kind == NO_RESPONSE and not connection.is_serial:
        check = (
            f"{gateway_causes(connection)}, the unit ID (scan finds it), {BUS_CAUSES}"
        )
    elif found.kind == CONNECTION_LOST and not connection.is_serial:
        check = f"{_gateway_kind(connection)}, and its network"
    return Failure(found.kind, message, check)


def gateway_causes(connection: Connection) -> str:
    """Return what to check at a gateway if no meter responds."""
    return (
        f"{_gateway_kind(connection)}, its speed, parity and stop bits (the same as in"
        " the meters)"
    )


def _gateway_kind(connection: Connection) -> str:
    """Return the kind of the gateway as words after "check"."""
    other = "--rtu-over-tcp" if connection.kind == "tcp" else "--tcp"
    return f"the kind of the gateway {connection} (try {other})"
