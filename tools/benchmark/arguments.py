"""The command line of the benchmark.

Python 3.6 or newer can run this file without any package, so --help needs no
environment (`scripts/run-tool`).
"""

import argparse

# A "row" is one measurement of the benchmark. The keys are the names for --only. The
# values are the texts of --help.
LIBRARY_ROWS = {
    "one": "a poll of one meter at each speed",
    "reads": "one read of a block, and four reads that skip its reserved registers",
    "many-meters": "how old the values of 1 to 64 meters become",
    "rest": "how often power is read while half of the meters measure 0 W",
    "offline": "how often meters are read while others are offline",
    "flapping": "how often meters are read while others go offline again and again",
}
HOME_ASSISTANT_ROWS = {
    "yaml": "the modbus platform of Home Assistant, compared with the integration",
    "load": "the processor time and memory of Home Assistant, and its restart time",
    "dialogs": "adding meters by the dialogs",
    "commands": "a command on a bus that is always busy",
    "database": "how many states the database stores, with and without deadbands",
}
ROWS = {**LIBRARY_ROWS, **HOME_ASSISTANT_ROWS}


def row_help() -> str:
    """Return the text of --help that describes each row."""
    groups = (
        ("With the library alone", LIBRARY_ROWS),
        ("With Home Assistant", HOME_ASSISTANT_ROWS),
    )
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {row:10}{text}" for row, text in rows.items())])
        for title, rows in groups
    )


def parse_arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="./scripts/benchmark",
        description=(
            "Measures polling on a simulated bus, in about 15 minutes, and writes"
            " docs/benchmark.md."
        ),
        epilog=row_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        choices=list(ROWS),
        nargs="+",
        metavar="ROW",
        help="measure only these rows, and print them",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=15,
        help="time in s for which most rows measure each bus (default: 15)",
    )
    return parser.parse_args()
