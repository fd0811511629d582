"""The command line of the soak.

Python 3.10 or newer can run this file without any package, so --help needs no
environment (`scripts/run-tool`).
"""

import argparse

DESCRIPTION = """\
Runs Home Assistant with eight simulated meters on one bus, and causes mishaps: faults
on the bus, offline meters, resets, restarts, power cuts and changes of the clock. At
the end, every statistic of the recorder is compared with the energy that its meter has
counted. The exit code is 1 if a difference is larger than 0.01 kWh, or after another
error.
"""
# For --check. In this number of simulated hours, each mishap can happen once.
CHECK_HOURS = 0.75
# Simulated s in each real s. So the check takes a few real minutes.
CHECK_SPEED = 40.0


def parse_arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="./scripts/soak",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--hours",
        type=float,
        default=24,
        help="simulated time in hours (default: 24)",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=20,
        help="simulated s in each real s, if the computer is fast enough (default: 20)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="selects loads and mishaps (default: 1)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the data even without errors"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="a short soak in which each mishap happens once",
    )
    arguments = parser.parse_args()
    if arguments.check:
        arguments.hours, arguments.speed = CHECK_HOURS, CHECK_SPEED
    return arguments
