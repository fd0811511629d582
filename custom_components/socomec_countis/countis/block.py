"""The base of all blocks: how a block of a register table is read."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from modbus_connection import ModbusUnit
from modbus_connection.model import Component, NumberField

type Values = dict[str, float | None]
"""Quantity to value, in the unit of its field; None is "not available"."""


class Block(Component):
    """One block of a register table, read in one request.

    A second request costs as much time of the bus as 17 registers, so reserved
    registers between two fields are read along. A `split` block is read around
    them, for a meter that refuses a request which touches a reserved register.
    """

    def __init__(self, unit: ModbusUnit, *, split: bool = False) -> None:
        """Initialize the block of the meter that answers at this unit."""
        super().__init__(unit)
        self.split = split
        if split:
            self.register_ranges = None
            self.max_gap = 1  # registers; only adjacent fields share a request

    def restrict_to(self, first: int, last: int) -> None:
        """Read only the fields between two register addresses, both included."""
        self.restrict_fields(
            name
            for name, field in self.resolved_fields.items()
            if first <= field.address <= last
        )

    @property
    def request_words(self) -> Sequence[int]:
        """Return how many registers each request of a read asks for."""
        words: list[int] = []
        end = 0
        for field in sorted(
            self.resolved_fields.values(), key=lambda each: each.address
        ):
            if words and (field.address == end or not self.split):
                words[-1] += field.address + field.count - end
            else:
                words.append(field.count)
            end = field.address + field.count
        return words

    @property
    def available(self) -> bool:
        """Whether any field holds something else than "not available".

        Signed fields do not count: all ones in one of them reads -1.
        """
        return any(
            getattr(self, name) not in (None, "")
            for name, resolved in self.resolved_fields.items()
            if not (isinstance(resolved.field, NumberField) and resolved.field.signed)
        )

    @property
    def values(self) -> Values:
        """Return the quantities as last read."""
        if not self.available:
            return dict.fromkeys(self.resolved_fields)
        return {name: getattr(self, name) for name in self.resolved_fields}

    def measured(self, allow: Callable[[str | None, float], bool]) -> Values:
        """Return the values; None replaces those that `allow` refuses.

        `allow` is called with the unit of the field and the value.
        """

        def is_measured(name: str, value: float | None) -> bool:
            resolved = self.resolved_fields.get(name)
            return (
                value is None
                or resolved is None
                or not isinstance(resolved.field, NumberField)
                or allow(resolved.field.unit, value)
            )

        return {
            name: value if is_measured(name, value) else None
            for name, value in self.values.items()
        }

    @property
    def implausible(self) -> str | None:
        """Return why the block cannot hold what the meter measures, or None."""
        return None if self.available else "nothing is available"


class Counters(Block):
    """A block of counters: a reading of it is accepted or rejected as a whole."""

    step: ClassVar[float] = 0.01
    """The resolution in kWh or kvarh."""
    resettable: ClassVar[Sequence[str]] = ()
    """Counters that can be set to zero at the meter at any time."""

    @property
    def counters(self) -> Values:
        """Return the counters as last read, without the tariff and their number."""
        values = self.values
        return {
            name: values[name]
            for name, resolved in self.resolved_fields.items()
            if isinstance(resolved.field, NumberField) and resolved.field.unit
        }
