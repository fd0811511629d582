"""The exit codes, which scripts depend on."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NEGATIVE_RESULT = 3
    """The command ended without an error, but the user has to look at its result."""
    INTERRUPTED = 130
    """128 + SIGINT, as shells report it."""


MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "an error (its message says what to check), or a declined reset",
    Exit.USAGE: "wrong usage",
    Exit.NEGATIVE_RESULT: (
        "no meter was found; check-wiring found an error or is inconclusive"
    ),
    Exit.INTERRUPTED: "Ctrl-C",
}
"""The meaning of each code, for the help."""
