"""The command line of the mutation test."""

import argparse
from pathlib import Path
import sys

from .targets import LIBRARY, ROOT, TESTS


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options in `arguments`. If None, parse the command line."""
    parser = argparse.ArgumentParser(
        prog="./scripts/mutate",
        description="Change the library in a temporary copy, one place at a time, and"
        " run the tests of the changed file. Print how many changes make a test fail,"
        " and each change that does not, unless survivors.toml explains it.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help=f"file of the library; all of them by default: {', '.join(TESTS)}",
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="use only N changes, chosen at random"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of the sample (default: 0)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes (default: 1)"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the changes, and run nothing"
    )
    options = parser.parse_args(arguments)
    names = [Path(file).name for file in options.files]
    unknown = [name for name in names if name not in TESTS]
    if unknown:
        parser.error(f"targets.py has no tests for {', '.join(unknown)}")
    options.names = names or [
        name for name in TESTS if (ROOT / LIBRARY / name).exists()
    ]
    return options


def main() -> int:
    """Run the command, and return its exit code."""
    options = parse_arguments()
    # Imported late, so that --help needs no packages.
    from .run import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
