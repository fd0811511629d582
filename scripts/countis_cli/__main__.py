"""Runs the command line: `python -m scripts.countis_cli`."""

import sys

from .cli import main

sys.exit(main())
