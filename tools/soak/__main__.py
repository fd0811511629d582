"""Runs the soak, a long test with faults: `python -m tools.soak`."""

import sys

from .arguments import parse_arguments


def main() -> int:
    """Run the soak, and return its exit code."""
    arguments = parse_arguments()
    # Imported late, so that --help needs no packages and no time.
    from .run import run_soak

    return run_soak(arguments)


if __name__ == "__main__":
    sys.exit(main())
