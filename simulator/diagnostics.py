"""The diagnostics file that a user downloads from the device page of a meter."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Self

from .line import DEFAULT_BAUDRATE
from .meter import UNIT_IDS
from .ports import BAUDRATES
from .table import NOT_AVAILABLE, RESERVED, SIGNED_NOT_AVAILABLE

REDACTED = "**REDACTED**"
IN_KWH = "InKwh"  # end of the class name of a block with steps of 1 kWh

WORDS = range(0x10000)  # the values that a register can have


class InvalidDiagnosticsError(Exception):
    """The file cannot be read, or does not describe a meter."""


@dataclass(frozen=True)
class Diagnostics:
    """The part of a diagnostics file that describes the meter."""

    unit_id: int
    baudrate: int
    blocks: Mapping[str, str]
    """The class name of each supported block, by block name."""
    refuses_reserved: bool
    """Whether the meter refuses reads that include reserved registers."""
    registers: Mapping[int, int]
    """The values of the registers by register address, without redacted registers."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a diagnostics file.

        Raises `InvalidDiagnosticsError` with the path and the reason.
        """
        try:
            return cls.from_content(json.loads(path.read_text(encoding="utf-8")))
        except OSError as err:
            msg = f"{path}: {err.strerror}"
        except ValueError:
            msg = f"{path}: the file is not JSON"
        except InvalidDiagnosticsError as err:
            msg = f"{path}: {err}"
        raise InvalidDiagnosticsError(msg)

    @classmethod
    def from_content(cls, content: Any) -> Self:
        """Return the diagnostics in the decoded content of a file.

        If the baud rate is missing or not in `BAUDRATES`, use the default baud rate.
        Raises `InvalidDiagnosticsError` with the reason.
        """
        data = _object(content, "data")
        entry = _object(data, "entry")
        if "setup_error" in data:
            msg = "the bus was not set up when the file was made"
            raise InvalidDiagnosticsError(msg)
        meter = _object(data, "meter")
        profile = _object(meter, "profile")
        blocks = _object(profile, "blocks")
        if not all(isinstance(each, str) for each in blocks.values()):
            msg = "a block of the profile is not a string"
            raise InvalidDiagnosticsError(msg)
        registers = _words(_object(meter, "registers"))
        if not registers:
            msg = "the meter did not respond when the file was made"
            raise InvalidDiagnosticsError(msg)
        unit_id, baudrate = meter.get("unit_id"), entry.get("baudrate")
        if not isinstance(unit_id, int) or unit_id not in UNIT_IDS:
            msg = f"{unit_id} is not a unit ID"
            raise InvalidDiagnosticsError(msg)
        if not isinstance(baudrate, int) or baudrate not in BAUDRATES.values():
            baudrate = DEFAULT_BAUDRATE
        # "split" lists the blocks whose reserved registers the meter refuses.
        refuses_reserved = bool(profile.get("split"))
        return cls(unit_id, baudrate, blocks, refuses_reserved, registers)

    def word(self, address: int) -> int | None:
        """Return the value of a register, or None if not available or missing."""
        word = self.registers.get(address, RESERVED)
        return None if word == RESERVED else word

    def unsigned(self, address: int) -> int | None:
        """Return a 32-bit value, or None if not available or missing."""
        raw = self._raw_32_bit(address)
        return None if raw == NOT_AVAILABLE else raw

    def signed(self, address: int) -> int | None:
        """Return a signed 32-bit value, or None if not available or missing."""
        raw = self._raw_32_bit(address)
        # If both registers are missing, `raw` is 0xFFFF_FFFF, which is also the valid
        # value -1. So check whether the file contains the first of them.
        if address not in self.registers or raw == SIGNED_NOT_AVAILABLE:
            return None
        return (raw ^ 0x8000_0000) - 0x8000_0000  # from two's complement

    def _raw_32_bit(self, address: int) -> int:
        """Return two registers as one number. A missing register counts as 0xFFFF."""
        high = self.registers.get(address, RESERVED)
        return high << 16 | self.registers.get(address + 1, RESERVED)

    def supports(self, name: str) -> bool:
        """Return whether the meter supports a block."""
        return name in self.blocks

    def is_in_kwh(self, name: str) -> bool:
        """Return whether a supported block has steps of 1 kWh instead of 10 Wh."""
        return self.blocks[name].endswith(IN_KWH)


def _object(parent: Any, name: str) -> dict[str, Any]:
    """Return the JSON object that `parent` contains under `name`.

    Raises `InvalidDiagnosticsError` if the object is missing.
    """
    found = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(found, dict):
        msg = f"the file is not the diagnostics of a COUNTIS: {name!r} is missing"
        raise InvalidDiagnosticsError(msg)
    return found


def _words(registers: Mapping[str, Any]) -> dict[int, int]:
    """Return the values of the registers by register address, without redacted ones.

    Raises `InvalidDiagnosticsError` if an address is not a number, or if a value is
    not a 16-bit number.
    """
    words: dict[int, int] = {}
    for address, word in registers.items():
        if word == REDACTED:
            continue
        if not address.isdecimal():
            msg = f"{address!r} is not a register address"
            raise InvalidDiagnosticsError(msg)
        if not isinstance(word, int) or word not in WORDS:
            msg = f"register {address} contains {word!r}, which is not a 16-bit value"
            raise InvalidDiagnosticsError(msg)
        words[int(address)] = word
    return words
