"""Replaces the package that detects voices, which needs a compiler to install.

Home Assistant imports the package at each start, also without a microphone.
"""


class MicroVad:
    """A class that is imported but never used."""
