"""The blocks of a COUNTIS, their register addresses and their encodings.

Unless another source is named, all facts about the meter in this package are from
Socomec's Modbus table for the COUNTIS E34 and E44, edition V 200.53. The comments call
it "the table". Requests contain these register addresses without an offset.
"""

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

# The values that mean "not available".
RESERVED = 0xFFFF  # in one register; reserved registers also read this value
NOT_AVAILABLE = 0xFFFF_FFFF  # in two registers, unsigned
SIGNED_NOT_AVAILABLE = 0x7FFF_FFFF  # in two registers, signed

# The first register address of each block. If a name ends with UNIT_100, the energies
# have steps of 1/100 kWh. The block of the same name without UNIT_100 has steps of
# 1 kWh.
PARTIAL_TARIFFS = 32768  # from the tables of E14 (V 103.4), E23 and E24 (V 103.8)
OVERFLOW = 36864
PERIODS = 36896  # energies of days, weeks and months
PERIODS_UNIT_100 = 36928
COMMUNICATION_BOARD = 38912
SET_TARIFF = 40480
PARTIAL_ENERGIES_RESET = 40512  # from the same tables as PARTIAL_TARIFFS
MID_STATUS = 40544
CURRENTS = 40576
COM_BOARD_PRODUCT = 40608
IDENTIFICATION = 50000
METROLOGY = 50512
ENERGIES = 50768
TARIFFS = 50848
ENERGIES_UNIT_100 = 50944
TARIFFS_UNIT_100 = 51200
METROLOGY_16_BIT = 51280
NETWORK = 57344
CLOCK = 57600
ACTION = 57856
VALUE_RESET = 57888
LOAD_CURVE_COMMAND = 61440
LOAD_CURVE = 61456


class Access(Enum):
    """How a client may access a block."""

    READ = "read"
    READ_AND_WRITE = "read and write"
    WRITE = "write"


@dataclass(frozen=True)
class TableBlock:
    """A block of consecutive registers. The meter refuses a read across its bounds."""

    start: int
    """Register address of the first register."""
    words: int
    """Number of registers."""
    access: Access = Access.READ

    def contains(self, address: int, count: int) -> bool:
        """Return whether the block contains all `count` registers from `address` on."""
        return self.start <= address and address + count <= self.start + self.words


BLOCKS = (
    TableBlock(PARTIAL_TARIFFS, 48),
    TableBlock(OVERFLOW, 11),
    TableBlock(PERIODS, 24),
    TableBlock(PERIODS_UNIT_100, 24),
    TableBlock(COMMUNICATION_BOARD, 11),
    TableBlock(SET_TARIFF, 2, Access.WRITE),
    TableBlock(PARTIAL_ENERGIES_RESET, 1, Access.WRITE),
    TableBlock(MID_STATUS, 2),
    TableBlock(CURRENTS, 6),
    TableBlock(COM_BOARD_PRODUCT, 1),
    TableBlock(IDENTIFICATION, 66),
    TableBlock(METROLOGY, 62),
    TableBlock(ENERGIES, 65),
    TableBlock(TARIFFS, 50),
    TableBlock(ENERGIES_UNIT_100, 65),
    TableBlock(TARIFFS_UNIT_100, 50),
    TableBlock(METROLOGY_16_BIT, 35),
    TableBlock(NETWORK, 12, Access.READ_AND_WRITE),
    TableBlock(CLOCK, 6, Access.READ_AND_WRITE),
    TableBlock(ACTION, 1, Access.WRITE),
    TableBlock(VALUE_RESET, 5, Access.WRITE),
    TableBlock(LOAD_CURVE_COMMAND, 1, Access.WRITE),
    # A header of 6 words, and up to 29 records of 4 words each. The header contains the
    # number of records. The table lists the registers of only one record.
    TableBlock(LOAD_CURVE, 6 + 29 * 4),
)

NETWORK_TYPE = 57344
CT_SECONDARY = 57345
CT_PRIMARY = 57346
INTEGRATION_PERIOD = 57355

# The values that the meter accepts in the block NETWORK, by register address. The
# meter refuses writes to the other registers of this block. The table does not limit
# CT_PRIMARY. 9999 A is our choice.
NETWORK_SETTINGS: dict[int, Container[int]] = {
    NETWORK_TYPE: range(6),  # codes, such as 5: three phases and neutral
    CT_SECONDARY: (1, 5),  # A
    CT_PRIMARY: range(1, 10_000),  # A
    INTEGRATION_PERIOD: (60, 300, 480, 600, 900, 1200, 1800, 3600),  # s
}


@lru_cache
def block_of(address: int, count: int) -> TableBlock | None:
    """Return the block with all `count` registers from `address` on, or None."""
    for block in BLOCKS:
        if block.contains(address, count):
            return block
    return None


def unsigned(address: int, value: float) -> dict[int, int]:
    """Return a 32-bit value as two registers, high word first, rounded down."""
    raw = int(value) & 0xFFFF_FFFF
    return {address: raw >> 16, address + 1: raw & 0xFFFF}


def signed(address: int, value: float) -> dict[int, int]:
    """Return a signed 32-bit value as two registers, rounded to the nearest step."""
    return unsigned(address, round(value))


def unsigned_16(address: int, value: float) -> dict[int, int]:
    """Return a 16-bit value as one register, rounded down."""
    return {address: int(value) & 0xFFFF}


def signed_16(address: int, value: float) -> dict[int, int]:
    """Return a signed 16-bit value as one register, rounded to the nearest step."""
    return {address: round(value) & 0xFFFF}


def wide_text(address: int, text: str) -> dict[int, int]:
    """Return text as registers of one character each (STRING_16 in the table)."""
    return {address + index: ord(char) for index, char in enumerate(text)}


def text(address: int, value: str, words: int) -> dict[int, int]:
    """Return text as registers of two characters each (STRING_NORM in the table).

    NUL characters fill the rest of the `words` registers.
    """
    raw = value.encode("ascii").ljust(2 * words, b"\0")
    return {
        address + index: int.from_bytes(raw[2 * index : 2 * index + 2])
        for index in range(words)
    }
