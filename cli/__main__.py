"""The entry point of the command `countis`, and of `python -m countis_cli`.

The wheel contains this folder as the package `countis_cli`.
"""

import sys

from .exit_codes import Exit

MISSING_PACKAGE = """\
The command line needs {name}: install "socomec-countis[cli]".
"""


def main() -> None:
    """Run the command line, or print the name of the package that is not installed."""
    try:
        from .app import app  # noqa: PLC0415
    except ModuleNotFoundError as err:
        sys.stderr.write(MISSING_PACKAGE.format(name=err.name))
        sys.exit(Exit.USAGE)
    app(prog_name="countis")


if __name__ == "__main__":
    main()
