"""Replaces the package that detects voices, which needs a compiler to install.

Home Assistant imports the package at each start, also without a microphone.
"""


class MicroVad:
    """Is imported and never used."""
