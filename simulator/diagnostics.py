"""The diagnostics file of a meter, downloaded from its device page."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Self

from .line import BAUDRATES
from .table import NOT_AVAILABLE, RESERVED, SIGNED_NOT_AVAILABLE

REDACTED = "**REDACTED**"
IN_KWH = "InKwh"

ADDRESSES = range(1, 256)
WORDS = range(0x10000)
USUAL_BAUDRATE = 9600


class NotDiagnosticsError(Exception):
    """The file is not one that a meter can be played from."""


@dataclass(frozen=True)
class Diagnostics:
    """The content of a diagnostics file, as far as it describes the meter."""

    address: int
    baudrate: int
    blocks: Mapping[str, Mapping[str, Any]]
    """The supported blocks by name: the class that reads each, and whether split."""
    registers: Mapping[int, int]
    """Those that the meter answered and the file does not hide."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; raises `NotDiagnosticsError`."""
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except OSError as err:
            msg = f"{path}: {err.strerror}"
        except ValueError:
            msg = f"{path}: this is no JSON"
        except NotDiagnosticsError as err:
            msg = f"{path}: {err}"
        raise NotDiagnosticsError(msg)

    @classmethod
    def of(cls, content: Any) -> Self:
        """Take what stands in a file; raises `NotDiagnosticsError`."""
        data = _table(content, "data")
        entry = _table(data, "entry")
        if "setup_error" in data:
            msg = "the bus was not set up when this was made"
            raise NotDiagnosticsError(msg)
        meter = _table(data, "meter")
        blocks = _table(_table(meter, "profile"), "blocks")
        if not all(isinstance(each, dict) for each in blocks.values()):
            msg = "a block is no table"
            raise NotDiagnosticsError(msg)
        registers = _words(_table(meter, "registers"))
        if not registers:
            msg = "the meter did not respond when this was made"
            raise NotDiagnosticsError(msg)
        address, baudrate = meter.get("unit_id"), entry.get("baudrate")
        if not isinstance(address, int) or address not in ADDRESSES:
            msg = f"no meter has the unit ID {address}"
            raise NotDiagnosticsError(msg)
        if not isinstance(baudrate, int) or baudrate not in BAUDRATES.values():
            baudrate = USUAL_BAUDRATE
        return cls(address, baudrate, blocks, registers)

    def word(self, address: int) -> int | None:
        """Return a register, None if it is "not available"."""
        word = self.registers.get(address, RESERVED)
        return None if word == RESERVED else word

    def unsigned(self, address: int) -> int | None:
        """Return a 32-bit value, None if it is "not available"."""
        raw = self._double(address)
        return None if raw == NOT_AVAILABLE else raw

    def signed(self, address: int) -> int | None:
        """Return a signed 32-bit value, None if it is "not available"."""
        raw = self._double(address)
        if address not in self.registers or raw == SIGNED_NOT_AVAILABLE:
            return None
        return (raw ^ 0x8000_0000) - 0x8000_0000

    def _double(self, address: int) -> int:
        high = self.registers.get(address, RESERVED)
        return high << 16 | self.registers.get(address + 1, RESERVED)

    def is_served(self, name: str) -> bool:
        """Whether the meter supports a block at all."""
        return name in self.blocks

    def is_in_kwh(self, name: str) -> bool:
        """Whether the meter supports a block in steps of 1 kWh only."""
        return str(self.blocks[name].get("type")).endswith(IN_KWH)

    @property
    def is_split(self) -> bool:
        """Whether the meter refuses to read reserved registers."""
        return any(block.get("split") for block in self.blocks.values())


def _table(parent: Any, name: str) -> dict[str, Any]:
    table = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(table, dict):
        msg = f"these are no diagnostics of a COUNTIS: no {name!r}"
        raise NotDiagnosticsError(msg)
    return table


def _words(registers: Mapping[str, Any]) -> dict[int, int]:
    words: dict[int, int] = {}
    for address, word in registers.items():
        if word == REDACTED:
            continue
        if not address.isdecimal() or not isinstance(word, int) or word not in WORDS:
            msg = f"register {address} reads {word!r}"
            raise NotDiagnosticsError(msg)
        words[int(address)] = word
    return words
