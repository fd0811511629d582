"""The command `read`: all values of meters."""

from collections.abc import Iterable, Mapping
from typing import Any

from modbus_connection.model import NumberField
from rich.text import Text

from socomec_countis import Meter, Values
from socomec_countis.registers import (
    Energies,
    Measurements,
    PartialTariffs,
    Periods,
    Tariffs,
)

from .exit_codes import Exit
from .meters import async_for_each, heading, identity_of, now
from .options import Selection
from .output import rounded
from .tables import tables_of

# The clock is read last, so that its offset is valid at the time of the output.
BLOCKS = (
    "measurements",
    "energies",
    "tariffs",
    "partial_tariffs",
    "periods",
    "overflows",
    "transformer",
    "clock",
)

UNITS: Mapping[str, str] = {
    quantity: field.unit
    for block in (Measurements, Energies, Tariffs, PartialTariffs, Periods)
    for quantity, field in block.declared_fields.items()
    if isinstance(field, NumberField) and field.unit
} | {"clock_offset": "s"}


async def async_read(selection: Selection) -> Exit:
    """Print all values of each meter."""
    output = selection.output

    async def read(meter: Meter) -> Exit:
        values = await async_values(meter)
        output.show(Text(heading(meter), "bold"), "")
        for table in tables_of(output, values, UNITS):
            output.show(table, "")
        output.write_json(_as_json(meter, values))
        return Exit.DONE

    return await async_for_each(selection, read)


async def async_values(meter: Meter, blocks: Iterable[str] = BLOCKS) -> Values:
    """Return the values of those blocks that the meter supports.

    Raises the errors of `Meter.async_read`.
    """
    meter.reads_details = True  # read all measurements, not only the main ones
    values: Values = {}
    for name in blocks:
        if meter.block(name) is not None:
            values |= (await meter.async_read(name)).values
    return values


def _as_json(meter: Meter, values: Values) -> dict[str, Any]:
    profile = meter.profile.as_dict()
    return {
        "time": now(),
        **identity_of(meter),
        "software_version": meter.profile.software_version,
        "identity": profile["identity"],
        "blocks": profile["blocks"],
        "split": profile["split"],
        "values": rounded(values),
        "units": {name: UNITS[name] for name in values if name in UNITS},
    }
