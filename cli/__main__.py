"""The entry point of the command `countis`, and of `python -m countis_cli`."""

import sys

from .exit_codes import Exit

MISSING = """\
The command line needs {name}: install "socomec-countis[cli]".
"""


def main() -> None:
    """Run the command line, or name the package that it lacks."""
    try:
        from .app import app  # noqa: PLC0415
    except ModuleNotFoundError as err:
        sys.stderr.write(MISSING.format(name=err.name))
        sys.exit(Exit.USAGE)
    app(prog_name="countis")


if __name__ == "__main__":
    main()
