"""Field types of a COUNTIS, each with its unit, scale and "not available".

A 32-bit value takes two registers, high word first. All ones mean "not
available". A signed value uses the largest positive number instead, because all
ones are also -1. (Socomec's table for the E34 and E44, edition V 200.53.)
"""

from modbus_connection.decode import decode_string
from modbus_connection.model import NumberField, StringField, integer

WORD_NOT_AVAILABLE = 0xFFFF
UNSIGNED_NOT_AVAILABLE = 0xFFFF_FFFF
SIGNED_NOT_AVAILABLE = 0x7FFF_FFFF

# Raw value that separates a mains frequency in steps of 0.01 Hz (E3x and E4x, 100 Hz
# at most) from one in steps of 0.001 Hz (E1x and E2x, 10 Hz at least).
HERTZ_RESOLUTION_LIMIT = 10_000

type Number = NumberField[float]


def _unsigned(address: int, scale: float, unit: str) -> Number:
    return NumberField(
        address,
        count=2,
        signed=False,
        scale=scale,
        unit=unit,
        nan=UNSIGNED_NOT_AVAILABLE,
    )


def _signed(address: int, scale: float, unit: str) -> Number:
    return NumberField(
        address, count=2, scale=scale, unit=unit, nan=SIGNED_NOT_AVAILABLE
    )


def volts(address: int) -> Number:
    """Return a voltage in V, in steps of 0.01 V."""
    return _unsigned(address, 0.01, "V")


def amperes(address: int) -> Number:
    """Return a current in A, in steps of 1 mA."""
    return _unsigned(address, 0.001, "A")


def watts(address: int) -> Number:
    """Return an active power in W, in steps of 10 W; produced power is negative."""
    return _signed(address, 10, "W")


def volt_amperes_reactive(address: int) -> Number:
    """Return a reactive power in var, in steps of 10 var."""
    return _signed(address, 10, "var")


def volt_amperes(address: int) -> Number:
    """Return an apparent power in VA, in steps of 10 VA."""
    return _unsigned(address, 10, "VA")


def ratio(address: int) -> Number:
    """Return a power factor in steps of 0.001; leading is negative."""
    return _signed(address, 0.001, "1")


def hertz(address: int) -> Number:
    """Return a frequency in Hz, in steps of 0.01 (E3x, E4x) or 0.001 (E1x, E2x)."""
    return NumberField(
        address,
        count=2,
        signed=False,
        convert=lambda raw: raw / (1000 if raw >= HERTZ_RESOLUTION_LIMIT else 100),
        unit="Hz",
        nan=UNSIGNED_NOT_AVAILABLE,
    )


def kilowatt_hours(address: int, step: float) -> Number:
    """Return an active energy in kWh, in steps of 0.01 or 1 kWh."""
    return _unsigned(address, step, "kWh")


def kilovar_hours(address: int, step: float) -> Number:
    """Return a reactive energy in kvarh, in steps of 0.01 or 1 kvarh."""
    return _unsigned(address, step, "kvarh")


def word(address: int) -> NumberField[int]:
    """Return an unsigned integer of one register."""
    return integer(address, signed=False, nan=WORD_NOT_AVAILABLE)


class WideString(StringField):
    """Text with one character in each register (STRING_16)."""

    def decode(self, words: list[int], scale_exponent: int | None = None) -> str:
        """Return the printable text without padding."""
        del scale_exponent
        printable = (chr(word) for word in words if ord(" ") <= word <= ord("~"))
        return "".join(printable).strip()


class Text(StringField):
    """Text with two characters in each register (STRING_NORM)."""

    def decode(self, words: list[int], scale_exponent: int | None = None) -> str:
        """Return the printable text without padding."""
        del scale_exponent
        text = decode_string(words)
        return "".join(char for char in text if " " <= char <= "~").strip()
