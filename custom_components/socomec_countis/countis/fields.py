"""Field types of a COUNTIS: unit, scale and the raw value for "not available".

A 32-bit value takes two registers, high word first. If all bits of an unsigned value
are 1, the value is "not available". If all bits of a signed value are 1, the value is
decoded as -1. Only the largest positive signed value is decoded as "not available".
"""

from functools import partial
from typing import override

from modbus_connection.decode import decode_string
from modbus_connection.model import NumberField, StringField, integer

# The frequency of E3x and E4x is in steps of 0.01 Hz, that of E1x and E2x in steps of
# 0.001 Hz. A mains frequency is between 10 Hz and 100 Hz. So a raw value of 10 000 or
# more is in steps of 0.001 Hz: 10 000 means 10 Hz. In steps of 0.01 Hz, 10 000 would
# mean 100 Hz.
LOWEST_RAW_MILLIHERTZ = 10_000

# Number of steps of 0.1 Wh in 1 kWh. On E1x and E2x, a partial counter by tariff has a
# third register (such as 32770) for the residual. The residual is the energy beyond the
# full kWh, in steps of 0.1 Wh.
RESIDUAL_STEPS_PER_KWH = 10_000


def _hertz(raw: int) -> float:
    return raw / (1000 if raw >= LOWEST_RAW_MILLIHERTZ else 100)


def _with_residual(raw: int) -> float:
    """Return the energy in kWh, rounded down to a step of 10 Wh.

    The high 32 bits of `raw` are in kWh, and the low 16 bits (the residual) in 0.1 Wh.
    A residual of 1 kWh or more means "not available", and is taken as 0.
    """
    residual = raw & 0xFFFF
    if residual >= RESIDUAL_STEPS_PER_KWH:
        residual = 0
    return (raw >> 16) + residual // 100 / 100


word = partial(integer, signed=False, nan=0xFFFF)
unsigned = partial(NumberField[float], count=2, signed=False, nan=0xFFFF_FFFF)
signed = partial(NumberField[float], count=2, signed=True, nan=0x7FFF_FFFF)

volts = partial(unsigned, scale=0.01, unit="V")
amperes = partial(unsigned, scale=0.001, unit="A")
hertz = partial(unsigned, convert=_hertz, unit="Hz")
watts = partial(signed, scale=10, unit="W")  # produced power is negative
volt_amperes_reactive = partial(signed, scale=10, unit="var")
volt_amperes = partial(unsigned, scale=10, unit="VA")
ratio = partial(signed, scale=0.001, unit="1")  # a leading power factor is negative
kilowatt_hours = partial(unsigned, scale=0.01, unit="kWh")
kilovar_hours = partial(unsigned, scale=0.01, unit="kvarh")
kilowatt_hours_and_residual = partial(
    NumberField[float],
    count=3,
    signed=False,
    nan=0xFFFF_FFFF_FFFF,
    convert=_with_residual,
    unit="kWh",
)


class PackedText(StringField):
    """Text with two characters in each register ("STRING_NORM")."""

    @override
    def decode(self, words: list[int], scale_exponent: int | None = None) -> str:
        """Return the printable text without padding."""
        return _printable(decode_string(words))


class WideText(StringField):
    """Text with one character in each register ("STRING_16")."""

    @override
    def decode(self, words: list[int], scale_exponent: int | None = None) -> str:
        """Return the printable text without padding."""
        return _printable("".join(map(chr, words)))


def _printable(text: str) -> str:
    return "".join(char for char in text if " " <= char <= "~").strip()
