"""The log of a serial line with noise.

tmodbus warns of each noise byte, and an adapter may put one before every response.
"""

import logging

LOGGER = "tmodbus.transport.async_rtu"
REPEATED_SECONDS = 3600

_warned: dict[str, float] = {}


def limit_warnings() -> None:
    """Let tmodbus log each of its warnings about serial lines once an hour.

    At debug level, all of them are logged.
    """
    logging.getLogger(LOGGER).addFilter(_is_new)


def _is_new(record: logging.LogRecord) -> bool:
    """Return whether a record is no warning or was not logged for an hour."""
    is_debug = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    if record.levelno != logging.WARNING or is_debug:
        return True
    text = str(record.msg)
    if record.created - _warned.get(text, 0) < REPEATED_SECONDS:
        return False
    _warned[text] = record.created
    return True
