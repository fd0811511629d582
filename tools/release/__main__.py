"""Releases a version, or checks a released one: `python -m tools.release`."""

import argparse

from .release import check, release

DESCRIPTION = """\
Writes a version into the manifest and the changelog, commits both and tags the commit.
Needs only git, and Python 3.11 or newer.
"""


def main() -> None:
    """Release a version, or check it."""
    parser = argparse.ArgumentParser(
        prog="./scripts/release",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("version", help="such as 1.2.3")
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; check that the manifest has this version, and print its"
        " section of the changelog",
    )
    arguments = parser.parse_args()
    (check if arguments.check else release)(arguments.version)


if __name__ == "__main__":
    main()
