"""Replaces the package that removes noise from voices; see `pymicro_vad`."""


class AudioProcessor:
    """A class that is imported but never used."""
