"""Diagnostics files, from which the simulator makes meters."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator import Diagnostics
from simulator.diagnostics import InvalidDiagnosticsError

# "SOCO", product order code 100, a redacted serial number, then 230 V and 1000 W of L1,
# and 12,345.67 kWh.
REGISTERS: dict[str, Any] = {
    "50000": 0x53,
    "50001": 0x4F,
    "50002": 0x43,
    "50003": 0x4F,
    "50004": 100,
    "50008": "**REDACTED**",
    "50009": "**REDACTED**",
    "50010": "**REDACTED**",
    "50520": 0,
    "50521": 23_000,
    "50544": 0,
    "50545": 100,
    "50946": 18,
    "50947": 1_234_567 - (18 << 16),
}


def diagnostics_content(**changes: Any) -> dict[str, Any]:
    """Return the content of a small diagnostics file.

    Each change replaces a field of "meter". If "meter" has no such field, the change
    replaces or adds a field of "data".
    """
    meter: dict[str, Any] = {
        "unit_id": 17,
        "profile": {
            "blocks": {  # the class name of each block
                name: name.capitalize()
                for name in ("identity", "measurements", "energies")
            }
        },
        "registers": REGISTERS,
    }
    for name in meter.keys() & changes.keys():
        meter[name] = changes.pop(name)
    data = {"entry": {"baudrate": 19200}, "meter": meter}
    return {"home_assistant": {}, "data": data | changes}


@pytest.mark.parametrize("baudrate", [None, "fast", 300])
def test_invalid_baudrate_is_replaced_by_9600(baudrate: Any) -> None:
    content = diagnostics_content(entry={"baudrate": baudrate})
    assert Diagnostics.from_content(content).baudrate == 9600


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "the file is not the diagnostics of a COUNTIS: 'data' is missing"),
        (
            {"data": {}},
            "the file is not the diagnostics of a COUNTIS: 'entry' is missing",
        ),
        (
            diagnostics_content(meter={}),
            "the file is not the diagnostics of a COUNTIS: 'profile' is missing",
        ),
        (
            diagnostics_content(setup_error={}),
            "the bus was not set up when the file was made",
        ),
        (
            diagnostics_content(profile={"blocks": {"clock": {}}}),
            "a block of the profile is not a string",
        ),
        (
            diagnostics_content(registers={}),
            "the meter did not respond when the file was made",
        ),
        (
            diagnostics_content(registers={"50000": "x"}),
            "register 50000 contains 'x', which is not a 16-bit value",
        ),
        (
            diagnostics_content(registers={"50000": 65_536}),
            "register 50000 contains 65536, which is not a 16-bit value",
        ),
        (
            diagnostics_content(registers={"x": 1}),
            "'x' is not a register address",
        ),
        (diagnostics_content(unit_id=300), "300 is not a unit ID"),
        (diagnostics_content(unit_id=None), "None is not a unit ID"),
    ],
)
def test_invalid_content_is_refused_with_reason(
    tmp_path: Path, content: Any, reason: str
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidDiagnosticsError) as error:
        Diagnostics.load(path)
    assert str(error.value) == f"{path}: {reason}"


def test_file_without_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("")
    with pytest.raises(InvalidDiagnosticsError) as error:
        Diagnostics.load(path)
    assert str(error.value) == f"{path}: the file is not JSON"
