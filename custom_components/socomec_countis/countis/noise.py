"""Limit the warnings that noise on the bus causes in the log.

tmodbus logs a warning for each noise byte. Some adapters put one before each response.
"""

import logging

LOGGER = "tmodbus.transport.async_rtu"
REPEATED_SECONDS = 3600

_logged_at: dict[str, float] = {}
"""When each warning was logged, in s since 1970."""


def limit_warnings() -> None:
    """Log each warning of tmodbus about serial ports at most once an hour.

    At debug level, all of them are logged.
    """
    logging.getLogger(LOGGER).addFilter(_is_new)


def _is_new(record: logging.LogRecord) -> bool:
    """Return whether a record is no warning, or was not logged for an hour."""
    is_debug = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    if record.levelno != logging.WARNING or is_debug:
        return True
    text = str(record.msg)
    if record.created - _logged_at.get(text, 0) < REPEATED_SECONDS:
        return False
    _logged_at[text] = record.created
    return True
