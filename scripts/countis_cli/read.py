"""Shows what a meter tells."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import datetime
import time
from typing import Any

from modbus_connection import ModbusExceptionError, ModbusProtocolError
from modbus_connection.model import NumberField

from .exits import Exit
from .grids import text_of
from .library import countis
from .link import async_find_meter
from .output import Output, number, rounded
from .problems import ERRORS, problem
from .stop import Stop

PERIOD = 1.0
ROWS_BETWEEN_HEADS = 20
COLUMN = 7

# What watching shows: the head of each column, the value, its decimals.
WATCHED = (
    ("W", "power", 0),
    ("W L1", "power_l1", 0),
    ("W L2", "power_l2", 0),
    ("W L3", "power_l3", 0),
    ("V L1", "voltage_l1", 1),
    ("V L2", "voltage_l2", 1),
    ("V L3", "voltage_l3", 1),
    ("A L1", "current_l1", 2),
    ("A L2", "current_l2", 2),
    ("A L3", "current_l3", 2),
)

# The blocks that are read for it; the counters are in its JSON.
POLLED = ("measurements", "energies", "tariffs")
# The clock comes last, so that its offset is as recent as the output.
ALL = (*POLLED, "periods", "overflows", "transformer", "clock")

# What is no field of a block, but made of some.
UNITS = {"clock_offset": "s"}


async def async_read(entered: Namespace, output: Output) -> Exit:
    """Show everything once, or the most important values every second."""
    link, address = entered.link, entered.address
    try:
        async with link.open(entered.settings) as opened:
            meter = await async_find_meter(opened, address)
            meter.reads_details = True
            if entered.watch:
                return await _async_watch(meter, entered, output)
            values = await _async_values(meter, ALL)
    except ERRORS as err:
        output.fail(problem(err, link, address))
        return Exit.FAILED
    output.show(_as_text(meter, values), _as_json(meter, values))
    return Exit.OK


async def _async_values(
    meter: countis.Meter, blocks: Sequence[str], failed: list[str] | None = None
) -> countis.Values:
    """Read these blocks; `failed` takes those without a usable response."""
    values: countis.Values = {}
    for name in blocks:
        try:
            if meter.block(name) is not None:
                values |= (await meter.async_read(name)).values
        except ModbusProtocolError, ModbusExceptionError:
            if failed is None:
                raise
            failed.append(name)
    return values


def units_of(meter: countis.Meter) -> dict[str, str]:
    """Return the unit of each value that has one."""
    units = dict(UNITS)
    for block in (meter.measurements, meter.energies, meter.tariffs, meter.periods):
        fields: Mapping[str, Any] = {} if block is None else block.declared_fields
        units |= {
            name: field.unit
            for name, field in fields.items()
            if isinstance(field, NumberField) and field.unit
        }
    return units


def identity_of(meter: countis.Meter) -> dict[str, Any]:
    """Return which meter it is, as JSON content."""
    return {
        "address": meter.unit_id,
        "model": meter.profile.model,
        "serial_number": meter.profile.serial_number,
    }


def _as_text(meter: countis.Meter, values: countis.Values) -> str:
    profile = meter.profile
    head = f"{profile.model} at address {meter.unit_id}"
    if profile.serial_number is not None:
        head += f", serial number {profile.serial_number}"
    if profile.software_version is not None:
        head += f", firmware {profile.software_version}"
    return f"{head}\n\n{text_of(values, units_of(meter))}"


def _as_json(meter: countis.Meter, values: countis.Values) -> dict[str, Any]:
    units = units_of(meter)
    profile = meter.profile.as_dict()
    return {
        "time": _now(),
        **identity_of(meter),
        "software_version": meter.profile.software_version,
        "identity": profile["identity"],
        "blocks": profile["blocks"],
        "values": rounded(values),
        "units": {name: units[name] for name in values if name in units},
    }


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


async def _async_watch(
    meter: countis.Meter, entered: Namespace, output: Output
) -> Exit:
    """Poll once a second until Ctrl-C, also while the meter is offline."""
    rows = 0
    online = True
    due = time.monotonic()
    with Stop() as stop:
        while not stop.requested:
            try:
                if not online:
                    await meter.async_verify_identity()
                online = False
                failed: list[str] = []
                values = await _async_values(meter, POLLED, failed)
                online = True
            except countis.CountisError:
                raise
            except ERRORS as err:
                output.tell(problem(err, entered.link, meter.unit_id))
            else:
                result = {"time": _now(), "values": rounded(values), "failed": failed}
                head = rows % ROWS_BETWEEN_HEADS == 0
                output.show(_watched(values, head=head), result)
                rows += 1
            # A second that was missed is not made up for.
            due = max(due + PERIOD, time.monotonic())
            await stop.async_wait(due - time.monotonic())
    return Exit.OK if rows else Exit.FAILED


def _watched(values: countis.Values, *, head: bool) -> str:
    def line(first: str, cells: list[str]) -> str:
        return first.ljust(8) + "".join(cell.rjust(COLUMN) for cell in cells)

    lines = [line("", [title for title, _, _ in WATCHED])] if head else []
    cells = [number(values.get(name), digits) for _, name, digits in WATCHED]
    return "\n".join([*lines, line(f"{datetime.now().astimezone():%H:%M:%S}", cells)])
