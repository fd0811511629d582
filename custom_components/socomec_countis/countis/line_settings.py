"""The line settings of a COUNTIS: speed, parity and stop bits."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from typing import Literal

type Parity = Literal["N", "E", "O"]
type StopBits = Literal[1, 2]


@dataclass(frozen=True)
class LineSettings:
    """The speed in baud and the character format of a bus."""

    baudrate: int
    parity: Parity
    stopbits: StopBits

    def __str__(self) -> str:
        """Return the settings in the common notation, such as "9600 baud, 8N1"."""
        return f"{self.baudrate} baud, 8{self.parity}{self.stopbits}"


# The most likely settings are first. The user manual names no factory setting, but it
# describes two modes. In AUTO mode, a meter adapts to any speed from 9600 to 38400
# baud, with 8N2, 8E1 or 8O1. So it responds to 9600 baud and 8N2, the first of
# `SCAN_SETTINGS`. In MANUAL mode, 4800 baud and 8N1 are the first settings in the menu.
# A meter with 8N1 accepts 8N2 as well (see `settings_to_try`). So it responds to 4800
# baud and 8N2, the second of `SCAN_SETTINGS`.
BAUDRATES = (9600, 4800, 38400, 19200)
PARITIES: tuple[Parity, ...] = ("N", "E", "O")
STOPBITS: tuple[StopBits, ...] = (2, 1)

ALL_SETTINGS = tuple(
    LineSettings(baudrate, parity, stopbits)
    for parity, baudrate, stopbits in product(PARITIES, BAUDRATES, STOPBITS)
)


def settings_to_try(
    baudrate: int | None = None,
    parity: Parity | None = None,
    stopbits: StopBits | None = None,
    *,
    usable: Collection[LineSettings] = ALL_SETTINGS,
) -> tuple[LineSettings, ...]:
    """Return the settings that a scan tries: one for each possible speed and parity.

    Each of `baudrate`, `parity` and `stopbits` is None if it is unknown. `usable`
    contains the settings that the port supports. If `stopbits` is None and the port
    supports two stop bits, the scan sends two, because each meter accepts two. For a
    meter that expects one stop bit, the second stop bit is the same as an idle line.
    The response of such a meter has only one stop bit. The client's port accepts the
    response, because the UART of the port checks only the first stop bit.
    """
    tried: dict[tuple[int, Parity], LineSettings] = {}
    for each in ALL_SETTINGS:
        if (
            each in usable
            and baudrate in {None, each.baudrate}
            and parity in {None, each.parity}
            and stopbits in {None, each.stopbits}
        ):
            tried.setdefault((each.baudrate, each.parity), each)
    return tuple(tried.values())


SCAN_SETTINGS = settings_to_try()
