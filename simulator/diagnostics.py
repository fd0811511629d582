"""A diagnostics file, as Home Assistant makes it of a meter."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Self

from .line import BAUDRATES
from .table import NOT_AVAILABLE, RESERVED, SIGNED_NOT_AVAILABLE

REDACTED = "**REDACTED**"
READ_APART = ", read apart"
IN_KWH = "InKwh"

ADDRESSES = range(1, 256)
WORDS = range(0x10000)
USUAL_BAUDRATE = 9600


class NotDiagnosticsError(Exception):
    """The file is not one that a meter can be played from."""


@dataclass(frozen=True)
class Diagnostics:
    """What a diagnostics file tells of a meter."""

    address: int
    baudrate: int
    variants: Mapping[str, str | None]
    """Which blocks the meter serves, and how they were read."""
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
            msg = "the meter was not set up when this was made"
            raise NotDiagnosticsError(msg)
        variants = _table(_table(data, "meter"), "variants")
        registers = _words(_table(data, "registers"))
        if not registers:
            msg = "the meter did not answer when this was made"
            raise NotDiagnosticsError(msg)
        address, baudrate = entry.get("address"), entry.get("baudrate")
        if not isinstance(address, int) or address not in ADDRESSES:
            msg = f"no meter has the address {address}"
            raise NotDiagnosticsError(msg)
        if not isinstance(baudrate, int) or baudrate not in BAUDRATES.values():
            # Who asks a gateway need not know.
            baudrate = USUAL_BAUDRATE
        return cls(address, baudrate, variants, registers)

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
        """Whether the meter serves a block at all."""
        return self.variants.get(name) is not None

    def is_in_kwh(self, name: str) -> bool:
        """Whether the meter serves a block in whole kWh only."""
        return IN_KWH in (self.variants.get(name) or "")

    @property
    def is_read_apart(self) -> bool:
        """Whether the meter refuses to read reserved registers."""
        return any(
            variant is not None and variant.endswith(READ_APART)
            for variant in self.variants.values()
        )


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
