"""The blocks of Socomec's Modbus table for the E34 and E44, V 200.53."""

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum

RESERVED = 0xFFFF
NOT_AVAILABLE = 0xFFFF_FFFF
SIGNED_NOT_AVAILABLE = 0x7FFF_FFFF

IDENTIFICATION = 50000
COMMUNICATION_BOARD = 38912
NETWORK = 57344
CLOCK = 57600
ACTION = 57856
VALUE_RESET = 57888
METROLOGY = 50512
METROLOGY_16_BIT = 51280
CURRENTS = 40576
ENERGIES = 50768
TARIFFS = 50848
ENERGIES_UNIT_100 = 50944
TARIFFS_UNIT_100 = 51200
OVERFLOW = 36864
PERIODS = 36896
PERIODS_UNIT_100 = 36928
SET_TARIFF = 40480
PARTIAL_ENERGIES_RESET = 40512
MID_STATUS = 40544
COM_BOARD_PRODUCT = 40608


class Kind(Enum):
    """What may be done with a block."""

    INFO = "read"
    SETTINGS = "read and write"
    COMMANDS = "write"


@dataclass(frozen=True)
class TableBlock:
    """A run of registers; a read stays inside one block."""

    start: int
    words: int
    kind: Kind = Kind.INFO

    def holds(self, address: int, count: int) -> bool:
        """Whether all of these registers stand in this block."""
        return self.start <= address and address + count <= self.start + self.words


BLOCKS = (
    TableBlock(IDENTIFICATION, 66),
    TableBlock(COMMUNICATION_BOARD, 11),
    TableBlock(NETWORK, 12, Kind.SETTINGS),
    TableBlock(CLOCK, 6, Kind.SETTINGS),
    TableBlock(ACTION, 1, Kind.COMMANDS),
    TableBlock(VALUE_RESET, 5, Kind.COMMANDS),
    TableBlock(METROLOGY, 62),
    TableBlock(METROLOGY_16_BIT, 35),
    TableBlock(CURRENTS, 6),
    TableBlock(ENERGIES, 65),
    TableBlock(TARIFFS, 50),
    TableBlock(ENERGIES_UNIT_100, 65),
    TableBlock(TARIFFS_UNIT_100, 50),
    TableBlock(OVERFLOW, 11),
    TableBlock(PERIODS, 24),
    TableBlock(PERIODS_UNIT_100, 24),
    TableBlock(SET_TARIFF, 2, Kind.COMMANDS),
    TableBlock(PARTIAL_ENERGIES_RESET, 1, Kind.COMMANDS),
    TableBlock(MID_STATUS, 2),
    TableBlock(COM_BOARD_PRODUCT, 1),
)


# What a setting may be, by its register in block 57344: type of network,
# secondary and primary of the transformers in A, seconds of an average.
NETWORK_SETTINGS: dict[int, Container[int]] = {
    57344: range(6),
    57345: (1, 5),
    57346: range(1, 10_000),
    57355: (60, 300, 480, 600, 900, 1200, 1800, 3600),
}


def unsigned(address: int, value: float) -> dict[int, int]:
    """Return a 32-bit value as registers, high word first."""
    raw = int(value) & 0xFFFF_FFFF
    return {address: raw >> 16, address + 1: raw & 0xFFFF}


def signed(address: int, value: float) -> dict[int, int]:
    """Return a signed 32-bit value as registers, rounded to the nearest step."""
    return unsigned(address, round(value))


def unsigned_16(address: int, value: float) -> dict[int, int]:
    """Return an unsigned 16-bit value as a register."""
    return {address: int(value) & 0xFFFF}


def signed_16(address: int, value: float) -> dict[int, int]:
    """Return a signed 16-bit value as a register, rounded to the nearest step."""
    return {address: round(value) & 0xFFFF}


def wide_text(address: int, text: str) -> dict[int, int]:
    """Return text as registers of one character each (STRING_16)."""
    return {address + index: ord(char) for index, char in enumerate(text)}


def text(address: int, value: str, words: int) -> dict[int, int]:
    """Return text as registers of two characters each (STRING_NORM)."""
    raw = value.encode("ascii").ljust(2 * words, b"\0")
    return {
        address + index: int.from_bytes(raw[2 * index : 2 * index + 2])
        for index in range(words)
    }
