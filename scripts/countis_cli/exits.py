"""How a command ends, for whoever started it from a script."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2  # argparse ends with it
    FINDING = 3


EXPLAINED = """\
exit codes:
  0  done
  1  the meter or the line did not do it; what to check is on standard error
  2  wrong usage
  3  scan found no meter; check-wiring found an error, or could not test
"""
