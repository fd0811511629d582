"""Runs an action for each meter of a command, one meter after the other."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from socomec_countis import Meter

from .connection import async_find_meter
from .exit_codes import Exit
from .failures import ERRORS, failure
from .options import Selection


async def async_for_each(
    selection: Selection, action: Callable[[Meter], Awaitable[Exit]]
) -> Exit:
    """Run the action for each meter, also after a failure of another meter.

    Prints each failure. Returns `FAILED` if an action, a meter or the bus failed.
    Otherwise, returns the last exit code that is not `DONE`, or `DONE` if there is
    none.
    """
    output = selection.output
    exit_code = Exit.DONE
    try:
        async with selection.connection.open(selection.settings) as opened:
            for unit_id in selection.unit_ids:
                try:
                    meter = await async_find_meter(opened, unit_id)
                    result = await action(meter)
                except ERRORS as err:
                    failed = failure(err, selection.connection, unit_id)
                    output.fail(failed)
                    output.write_json({"unit_id": unit_id, "error": failed.as_json()})
                    result = Exit.FAILED
                if exit_code is not Exit.FAILED and result is not Exit.DONE:
                    exit_code = result
    except ERRORS as err:
        return print_error(selection, err)
    return exit_code


def print_error(
    selection: Selection, error: Exception, unit_id: int | None = None
) -> Exit:
    """Print an error that ends the whole command, and return `FAILED`.

    `unit_id` is that of the meter, or None for an error of the whole bus.
    """
    failed = failure(error, selection.connection, unit_id)
    selection.output.fail(failed)
    selection.output.write_json({"error": failed.as_json()})
    return Exit.FAILED


def heading(meter: Meter) -> str:
    """Return the model, unit ID, serial number and firmware of a meter."""
    profile = meter.profile
    parts = [profile.model, f"unit ID {meter.unit_id}"]
    if profile.serial_number is not None:
        parts.append(f"serial number {profile.serial_number}")
    if profile.software_version is not None:
        parts.append(f"firmware {profile.software_version}")
    return ", ".join(parts)


def identity_of(meter: Meter) -> dict[str, Any]:
    """Return the unit ID, model and serial number of a meter as JSON content."""
    return {
        "unit_id": meter.unit_id,
        "model": meter.profile.model,
        "serial_number": meter.profile.serial_number,
    }


def now() -> str:
    """Return the local time in ISO format, with milliseconds and the offset to UTC."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
