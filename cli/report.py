"""The command `report`: a file about a meter, for the developers of this project."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
import json
from pathlib import Path
import platform
from typing import Any

from socomec_countis import SERIAL_NUMBER_REGISTERS, Meter, Values

from .exit_codes import Exit
from .failures import ERRORS, failure
from .meters import async_for_each, now
from .options import Selection
from .output import rounded
from .read import async_values

DISTRIBUTION = "socomec-countis"
PACKAGES = (DISTRIBUTION, "modbus-connection", "tmodbus", "pymodbus")
REDACTED = "**REDACTED**"
# Names and register addresses of the serial number and its parts.
TO_REDACT = {
    "serial_number",
    "serial_year_week",
    "serial_site_line",
    "serial_order",
    *map(str, SERIAL_NUMBER_REGISTERS),
}


async def async_report(selection: Selection, folder: Path) -> Exit:
    """Write a JSON file about each meter into a folder.

    With --json, print the content, and write no file. The content has the form of the
    diagnostics of Home Assistant, with `REDACTED` in place of the serial number. If a
    read fails, the content has the error, and the meter counts as failed.
    """
    output = selection.output

    async def report(meter: Meter) -> Exit:
        content, error = await _async_content(selection, meter)
        output.write_json(content)
        exit_code = Exit.DONE
        if error is not None:
            output.fail(failure(error, selection.connection, meter.unit_id))
            exit_code = Exit.FAILED
        if output.as_json:
            return exit_code
        path = folder / f"countis-unit-id-{meter.unit_id}.json"
        try:
            path.write_text(json.dumps(content, indent=2), encoding="utf-8")
        except OSError as err:
            output.note(
                f"The file {path} cannot be written ({err.strerror}): check --folder."
            )
            return Exit.FAILED
        output.show(f"{path} describes the meter at unit ID {meter.unit_id}.")
        return exit_code

    return await async_for_each(selection, report)


async def _async_content(
    selection: Selection, meter: Meter
) -> tuple[dict[str, Any], Exception | None]:
    """Return the report as JSON content, and the error of a failed read or None.

    The report describes the versions, the bus and the meter.
    """
    registers: Mapping[int, int] = {}
    values: Values = {}
    error: Exception | None = None
    try:
        registers = await meter.async_read_registers()
        values = await async_values(meter)
    except ERRORS as err:
        error = err
    bus, settings = meter.bus, selection.settings
    is_serial = selection.connection.is_serial
    data = {
        "entry": {
            "type": selection.connection.kind,
            "baudrate": settings.baudrate,
            "parity": settings.parity if is_serial else None,
            "stopbits": settings.stopbits if is_serial else None,
        },
        "bus": {
            "seconds": round(bus.seconds_since_creation),
            "response_delay": round(bus.delay, 4),
            "traffic": {
                str(unit_id): asdict(traffic)
                for unit_id, traffic in sorted(bus.traffic.items())
            },
        },
        "meter": {
            "unit_id": meter.unit_id,
            "model": meter.profile.model,
            "software_version": meter.profile.software_version,
            "profile": meter.profile.as_dict(),
            "values": rounded(values),
            "registers": {str(address): word for address, word in registers.items()},
            "read_error": None if error is None else str(error),
        },
    }
    content = {
        "time": now(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": {name: version_of(name) for name in PACKAGES},
        "data": _redacted(data),
    }
    return content, error


def version_of(distribution: str) -> str | None:
    """Return the version of a distribution, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _redacted(content: Any) -> Any:
    """Return JSON content without serial numbers."""
    if isinstance(content, dict):
        return {
            key: REDACTED if key in TO_REDACT and value else _redacted(value)
            for key, value in content.items()
        }
    return content
