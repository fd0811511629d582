"""The base of all blocks: how a block of a register table is read."""

import collections
from collections.abc import Callable, Collection, Mapping, Sequence
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
    def request_words(self) -> Collection[int]:
        """Return how many registers each request of a read asks for."""
        fields = self.resolved_fields.values()
        read = sorted(
            each.address + word for each in fields for word in range(each.count)
        )
        if not self.split:
            return [read[-1] - read[0] + 1]
        # Register addresses without a gap have the same distance to their position.
        return collections.Counter(
            address - position for position, address in enumerate(read)
        ).values()

    @property
    def _numbers(self) -> Mapping[str, NumberField[float]]:
        """Return the fields that hold a number."""
        return {
            name: each.field
            for name, each in self.resolved_fields.items()
            if isinstance(each.field, NumberField)
        }

    @property
    def available(self) -> bool:
        """Whether any field holds something else than "not available".

        Signed fields do not count: all ones in one of them reads -1.
        """
        signed = {name for name, field in self._numbers.items() if field.signed}
        return any(
            getattr(self, name) not in (None, "")
            for name in self.resolved_fields.keys() - signed
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
        values = self.values
        for name, field in self._numbers.items():
            value = values.get(name)
            if value is not None and not allow(field.unit, value):
                values[name] = None
        return values

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
        return {name: values[name] for name, each in self._numbers.items() if each.unit}
