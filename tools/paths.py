"""Paths and names that the tools and the browser tests share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOMAIN = "socomec_countis"
