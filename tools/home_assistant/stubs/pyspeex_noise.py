"""Replaces the package that removes noise from voices; see `pymicro_vad`."""


class AudioProcessor:
    """Is imported and never used."""
