"""Stands in for the voice assistant's audio library in the demo; see pymicro_vad."""


class AudioProcessor:
    """Never used."""
