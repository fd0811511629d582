"""The base of all blocks of registers: requests, values and their plausibility."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from modbus_connection import ModbusUnit
from modbus_connection.model import Component, NumberField

type Values = dict[str, float | None]
"""Values by quantity, in the unit of the field; None if unknown or impossible."""


class Block(Component):
    """One block of a register table, usually read in one request.

    The request includes reserved registers between two fields, because a second request
    takes as much bus time as 17 registers (9600 baud, 20 ms until the response begins).
    If a meter refuses requests with reserved registers, its block is `split`: several
    requests read only the fields.
    """

    part: ClassVar[tuple[int, int]] = (0, 0xFFFF)
    """First and last register address of the fields that are read."""

    def __init__(self, unit: ModbusUnit, *, split: bool = False) -> None:
        """Initialize the block, without a request."""
        super().__init__(unit)
        self.split = split
        if split:
            self.register_ranges = None
            self.max_gap = 1  # address difference; only adjacent fields share a request
        first, last = self.part
        self.restrict_fields(
            name
            for name, field in self.resolved_fields.items()
            if first <= field.address <= last
        )

    @property
    def registers_per_request(self) -> Collection[int]:
        """Return the number of registers in each request that reads the block."""
        fields = self.resolved_fields.values()
        addresses = sorted(
            each.address + word for each in fields for word in range(each.count)
        )
        if not self.split:
            return [addresses[-1] - addresses[0] + 1]
        # Only fields at adjacent register addresses share a request. In the sorted
        # list, address minus index is the same for all addresses of one request.
        indexed = enumerate(addresses)
        return Counter(address - index for index, address in indexed).values()

    @cached_property
    def _number_fields(self) -> Mapping[str, NumberField[float]]:
        """Return the fields that hold a number."""
        return {
            name: each.field
            for name, each in self.resolved_fields.items()
            if isinstance(each.field, NumberField)
        }

    @cached_property
    def _unsigned_names(self) -> Collection[str]:
        """Return the names of the text fields and of the unsigned fields."""
        signed = {name for name, field in self._number_fields.items() if field.signed}
        return self.resolved_fields.keys() - signed

    @property
    def available(self) -> bool:
        """Return whether any text or unsigned field is available.

        If a block is not available, all bits of its registers may be 1. For a signed
        field, this is a valid value (-1 step). So signed fields are ignored.
        """
        return any(
            getattr(self, name) not in (None, "") for name in self._unsigned_names
        )

    @property
    def values(self) -> Values:
        """Return the last read values, all None if the block is not available."""
        if not self.available:
            return dict.fromkeys(self.resolved_fields)
        return {name: getattr(self, name) for name in self.resolved_fields}

    def possible_values(self, allow: Callable[[str | None, float], bool]) -> Values:
        """Return the last read values, None for each that the meter cannot measure.

        `allow` returns whether the meter can measure a value. Its arguments are the
        unit of the field and the value.
        """
        values = self.values
        for name, field in self._number_fields.items():
            value = values.get(name)
            if value is not None and not allow(field.unit, value):
                values[name] = None
        return values

    @property
    def implausible_reason(self) -> str | None:
        """Return why the last response is implausible, or None."""
        return None if self.available else "nothing is available"


class CounterBlock(Block):
    """A block of counters, which are usually accepted or rejected together."""

    step: ClassVar[float] = 0.01
    """The resolution in kWh or kvarh."""
    resettable: ClassVar[Sequence[str]] = ()
    """Counters that a user can set to zero at the meter."""

    @property
    def counters(self) -> Values:
        """Return the last read counters in kWh or kvarh.

        Other fields of the block, such as the tariff, have no unit and are left out.
        """
        values = self.values
        return {
            name: values[name]
            for name, each in self._number_fields.items()
            if each.unit
        }
