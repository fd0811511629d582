"""Shows what a meter tells."""

from argparse import Namespace
from collections.abc import Mapping
from datetime import datetime
import time
from typing import Any

from modbus_connection.model import NumberField

from .exits import Exit
from .grids import text_of
from .library import countis
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

# What is read for it; the counters are in its JSON.
POLLED = [
    name
    for name, block in countis.BLOCK_OF.items()
    if block in ("power", "measurements", "energies", "tariffs")
]

# What is no field of a block, but made of some.
UNITS = {"clock_offset": "s"}


async def async_read(entered: Namespace, output: Output) -> Exit:
    """Show everything once, or the most important values every second."""
    link, address = entered.link, entered.address
    try:
        async with (
            link.open(entered.settings) as line,
            line.unit(address) as unit,
        ):
            meter = countis.Countis(unit, line.line, address=address)
            if entered.watch:
                return await _async_watch(meter, entered, output)
            values = await async_read_all(meter)
    except ERRORS as err:
        output.fail(problem(err, link, address))
        return Exit.FAILED
    output.show(_as_text(meter, values), _as_json(meter, values))
    return Exit.OK


async def async_read_all(meter: countis.Countis) -> countis.Values:
    """Read everything there is."""
    values = await meter.async_measure()
    values |= await meter.async_count()
    for block in (meter.tariffs, meter.periods, meter.overflows, meter.transformer):
        if block is not None:
            values = block.values | values
    async with meter.exclusively():
        if meter.clock is not None:
            # At last, as its offset is to the time at which it is looked at.
            await meter.async_reread(meter.clock)
            values |= meter.clock.values
    return values


def units_of(meter: countis.Countis) -> dict[str, str]:
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


def _as_text(meter: countis.Countis, values: countis.Values) -> str:
    head = f"{meter.model} at address {meter.address}"
    if meter.serial_number is not None:
        head += f", serial number {meter.serial_number}"
    if meter.software_version is not None:
        head += f", firmware {meter.software_version}"
    return f"{head}\n\n{text_of(values, units_of(meter))}"


def _as_json(meter: countis.Countis, values: countis.Values) -> dict[str, Any]:
    units = units_of(meter)
    return {
        "time": _now(),
        "address": meter.address,
        "model": meter.model,
        "serial_number": meter.serial_number,
        "software_version": meter.software_version,
        "identity": dict(meter.identity),
        "blocks": dict(meter.variants),
        "values": rounded(values),
        "units": {name: units[name] for name in values if name in units},
    }


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


async def _async_watch(
    meter: countis.Countis, entered: Namespace, output: Output
) -> Exit:
    """Poll once a second, on the clock; Ctrl-C is how this ends well."""
    rows = 0
    # So that a wrong address ends it, and a moment's silence later does not.
    await meter.async_ensure_identity()
    due = time.monotonic()
    with Stop() as stop:
        while not stop.requested:
            try:
                report = await meter.async_update(POLLED)
            except countis.CountisError:
                raise
            except ERRORS as err:
                output.tell(problem(err, entered.link, meter.address))
            else:
                values = meter.values(report)
                result = {
                    "time": _now(),
                    "values": rounded(values),
                    "failed": sorted(report.failed),
                }
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
