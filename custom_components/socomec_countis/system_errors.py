"""The errors of the operating system for which the integration has a text."""

from collections.abc import Iterator, Mapping
import errno
import os
import socket

PORT_NOT_FOUND = "port_not_found"
PORT_IN_USE = "port_in_use"
PORT_NOT_PERMITTED = "port_not_permitted"
PORT_NOT_USABLE = "port_not_usable"
GATEWAY_REFUSES = "gateway_refuses"
GATEWAY_UNREACHABLE = "gateway_unreachable"
HOST_NOT_FOUND = "host_not_found"

# The translation keys by error number, for a serial port.
PORT_KEYS: Mapping[int | None, str] = {
    **dict.fromkeys((errno.ENOENT, errno.ENODEV, errno.ENXIO), PORT_NOT_FOUND),
    # An adapter that is unplugged while its port is open causes EIO.
    errno.EIO: PORT_NOT_FOUND,
    **dict.fromkeys((errno.EBUSY, errno.EAGAIN), PORT_IN_USE),
    **dict.fromkeys((errno.EACCES, errno.EPERM), PORT_NOT_PERMITTED),
    **dict.fromkeys((errno.EINVAL, errno.ENOTTY, errno.EISDIR), PORT_NOT_USABLE),
}
# The translation keys by error number, for a gateway. The error numbers of
# `getaddrinfo` are negative on Linux, so they differ from those of other errors.
GATEWAY_KEYS: Mapping[int | None, str] = {
    # A gateway with too many connections refuses a new connection, or accepts and then
    # closes it. The error of a connection that was closed has no error number.
    None: GATEWAY_REFUSES,
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE), GATEWAY_REFUSES
    ),
    **dict.fromkeys(
        (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT),
        GATEWAY_UNREACHABLE,
    ),
    **dict.fromkeys(
        (socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_NODATA),
        HOST_NOT_FOUND,
    ),
}
KEYS = {*PORT_KEYS.values(), *GATEWAY_KEYS.values()}


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. An error raised `from None` has no cause."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (
            None if cause.__suppress_context__ else cause.__context__
        )


def error_number(error: BaseException) -> int | None:
    """Return the number of the innermost error of the operating system, or None.

    For a `TimeoutError` without a number, the number is `ETIMEDOUT`.
    """
    numbers = [
        each.errno or errno.ETIMEDOUT
        for each in causes(error)
        if isinstance(each, OSError) and (each.errno or isinstance(each, TimeoutError))
    ]
    return numbers[-1] if numbers else None


def reason(error: BaseException) -> str:
    """Return the text of the innermost error that has a text, or an empty text."""
    texts = (_text(each) for each in reversed([*causes(error)]))
    return next((text for text in texts if text), "")


def _text(error: BaseException) -> str:
    """Return the text of an error, without the error number that `OSError` adds."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    # For a standard error number, take the text of the system, because `asyncio` may
    # have replaced it with "Connect call failed".
    is_standard = error.errno in errno.errorcode
    return os.strerror(error.errno) if is_standard else str(error.strerror)
