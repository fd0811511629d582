"""Stands in for the voice assistant's audio library in the demo.

Home Assistant imports it whether anyone speaks or not, and it comes as source
only: without this, a machine would need a compiler for a demo of a meter.
"""


class MicroVad:
    """Never used."""
