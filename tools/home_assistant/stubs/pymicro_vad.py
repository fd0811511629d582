"""Replaces a package that detects voices, because its installation needs a compiler.

Home Assistant imports the package at each start, even without a microphone.
"""


class MicroVad:
    """A class that is imported but never used."""
