"""Runs the demo: `python -m tools.demo`."""

import sys

from .arguments import parse_arguments


def main() -> int:
    """Run the demo, and return its exit code."""
    arguments = parse_arguments()
    # Imported late, so that --help needs no packages and no time.
    from .run import run_demo

    return run_demo(arguments)


if __name__ == "__main__":
    sys.exit(main())
