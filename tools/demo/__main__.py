"""Runs the demo: `python -m tools.demo`."""

import sys

from .arguments import parse_arguments
from .progress import INTERRUPTED, Progress


def main() -> int:
    """Run the demo, and return its exit code."""
    try:
        arguments = parse_arguments()
        progress = Progress()
        progress.report("Loading the packages of Home Assistant")
        # Imported after the arguments are parsed: --help then needs no packages, and
        # is fast.
        from .run import run_demo
    except KeyboardInterrupt:
        print("\nStopped before Home Assistant has started.")
        return INTERRUPTED
    return run_demo(arguments, progress)


if __name__ == "__main__":
    sys.exit(main())
