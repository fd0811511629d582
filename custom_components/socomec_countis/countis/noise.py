"""Limit how often warnings about noise on the bus are logged.

A client may use the Modbus library tmodbus, which logs a warning when it discards
noise. Some adapters add a noise byte before each response.
"""

import logging

LOGGER = "tmodbus.transport.async_rtu"
REPEAT_SECONDS = 3600  # s between two logs of the same warning; our choice

_logged_at: dict[str, float] = {}
"""When each warning was logged last, in s since 1970, by its unformatted text."""


def limit_warnings() -> None:
    """Log each warning of the RTU transport of tmodbus at most once an hour.

    If the logger has the debug level, all warnings are logged.
    """
    logging.getLogger(LOGGER).addFilter(_may_be_logged)


def _may_be_logged(record: logging.LogRecord) -> bool:
    """Return False for a warning that was already logged in the last hour."""
    is_debug = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    if record.levelno != logging.WARNING or is_debug:
        return True
    text = str(record.msg)
    if record.created - _logged_at.get(text, 0) < REPEAT_SECONDS:
        return False
    _logged_at[text] = record.created
    return True
