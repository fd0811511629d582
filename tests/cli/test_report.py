"""Tests of the command `report`."""

import json
from pathlib import Path

from cli.exit_codes import Exit
from simulator import Diagnostics, Line, Meter, meter_from_diagnostics
from tests.common import SERIAL, registers_of

from .common import countis, countis_json


def test_report_of_each_meter_is_written_into_the_folder(
    line: Line, tmp_path: Path
) -> None:
    arguments = ("--port", line.port, "-u", "1-2")
    code, output, _ = countis("report", *arguments, "--folder", str(tmp_path))
    assert code == Exit.DONE
    names = ["countis-unit-id-1.json", "countis-unit-id-2.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert name in output


def test_report_can_be_used_by_the_simulator(line: Line, tmp_path: Path) -> None:
    countis("report", "--port", line.port, "-u", "1", "--folder", str(tmp_path))
    diagnostics = Diagnostics.load(tmp_path / "countis-unit-id-1.json")
    assert meter_from_diagnostics(diagnostics).unit_id == 1


def test_report_contains_no_serial_number(line: Line) -> None:
    code, result = countis_json("report", "--port", line.port, "-u", "1")
    assert code == Exit.DONE
    assert SERIAL not in json.dumps(result)
    meter = result["data"]["meter"]
    assert meter["values"]["power"] == 1300  # W: 1000 + 500 - 200
    assert meter["registers"]["50004"] == 100  # product order code of a COUNTIS
    assert meter["registers"]["50008"] == "**REDACTED**"  # serial number
    assert result["data"]["bus"]["traffic"]["1"]["requests"] > 10
    assert result["packages"]["modbus-connection"]


def test_report_is_written_after_a_failed_read_but_the_command_fails(
    line: Line, meter: Meter, tmp_path: Path
) -> None:
    meter.override = registers_of("frequency", 0)
    arguments = ("--port", line.port, "-u", "1-2")
    code, output, errors = countis("report", *arguments, "--folder", str(tmp_path))
    assert code == Exit.FAILED
    assert "countis-unit-id-1.json describes the meter at unit ID 1." in output
    message = "The response at unit ID 1 is not valid (no mains frequency): check"
    assert errors.startswith(message)
    content = json.loads((tmp_path / "countis-unit-id-1.json").read_text())
    assert content["data"]["meter"]["read_error"] == "no mains frequency"
    assert content["data"]["meter"]["registers"]["50526"] == 0
    assert (tmp_path / "countis-unit-id-2.json").exists()
    code, result = countis_json("report", "--port", line.port, "-u", "1")
    assert code == Exit.FAILED
    assert result["data"]["meter"]["read_error"] == "no mains frequency"


def test_file_that_cannot_be_written_is_an_error(line: Line, tmp_path: Path) -> None:
    (tmp_path / "countis-unit-id-1.json").mkdir()
    arguments = ("--port", line.port, "-u", "1")
    code, _, errors = countis("report", *arguments, "--folder", str(tmp_path))
    assert code == Exit.FAILED
    assert "cannot be written (Is a directory): check --folder" in errors
