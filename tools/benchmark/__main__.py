"""Runs the benchmark: `python -m tools.benchmark`."""

from .arguments import parse_arguments


def main() -> None:
    """Measure the selected rows, and print or write the report."""
    arguments = parse_arguments()
    # Imported after the arguments are parsed: --help then needs no packages, and is
    # fast.
    from .report import run_benchmark

    run_benchmark(arguments)


if __name__ == "__main__":
    main()
