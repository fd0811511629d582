"""Tests of the command `load-curve`."""

import csv
from datetime import datetime, timedelta
from pathlib import Path
import re

import pytest

from cli.exit_codes import Exit
from cli.load_curve import plot
from simulator import Constant, Meter, Phase
from socomec_countis.load_curve import LoadRecord

from .common import countis, countis_json, countis_on_terminal, line_of

RECORDS = 40  # more than 29: the meter returns its records in pages of 29


def meter_with_records(unit_id: int = 1) -> Meter:
    """Return a meter that has recorded a constant load."""
    meter = Meter(unit_id=unit_id, load=Constant(Phase(1200), Phase(), Phase()))
    meter.record_past_periods(RECORDS)
    return meter


def test_records_are_printed_as_a_table() -> None:
    with line_of(meter_with_records()) as running:
        code, output, errors = countis("load-curve", "--port", running.port, "-u", "1")
    assert code == Exit.DONE
    _, summary, columns, *rows = output.splitlines()
    assert summary == f"{RECORDS} records of 10 min"
    assert columns.split() == ["Time", "Power", "Period"]
    assert len(rows) == RECORDS
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d0\s+1200\s+W\s*", rows[0])
    assert "29 records" in errors  # the progress after the first page


def test_records_are_printed_as_json() -> None:
    with line_of(meter_with_records()) as running:
        code, result = countis_json("load-curve", "--port", running.port, "-u", "1")
    # The period is in s.
    assert (code, result["unit_id"], result["period"]) == (Exit.DONE, 1, 600)
    times = [datetime.fromisoformat(each["time"]) for each in result["records"]]
    assert times == sorted(times)
    assert {each["watts"] for each in result["records"]} == {1200}


def test_records_are_written_to_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    with line_of(meter_with_records(1), meter_with_records(2)) as running:
        options = ("--port", running.port, "-u", "1,2")
        code, output, _ = countis("load-curve", *options, "--csv", str(path))
    assert code == Exit.DONE
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} records are in {path}." in output
    assert {row["unit_id"] for row in rows} == {"1", "2"}
    assert rows[0].keys() == {"unit_id", "time", "watts", "complete"}


def test_csv_file_of_a_meter_without_records_has_only_its_columns(
    tmp_path: Path,
) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("an older file")
    with line_of(Meter()) as running:
        options = ("--port", running.port, "-u", "1")
        code, output, _ = countis("load-curve", *options, "--csv", str(path))
    assert code == Exit.DONE
    assert path.read_text().splitlines() == ["unit_id,time,watts,complete"]
    assert output == f"0 records are in {path}.\n"


def test_csv_file_is_not_changed_if_no_load_curve_was_read(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("an older file")
    with line_of(Meter(load_curve=None)) as running:
        options = ("--port", running.port, "-u", "1")
        code, output, errors = countis("load-curve", *options, "--csv", str(path))
    assert (code, output) == (Exit.FAILED, "")
    assert path.read_text() == "an older file"
    message = f"{path} was not written, because no load curve was read.\n"
    assert errors.endswith(message)


def test_csv_file_contains_only_meters_whose_load_curve_was_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "curve.csv"
    meters = (meter_with_records(1), Meter(unit_id=2, load_curve=None))
    with line_of(*meters) as running:
        arguments = ("--port", running.port, "-u", "1,2", "--csv", str(path))
        code, _, errors = countis("load-curve", *arguments)
    assert code == Exit.FAILED
    assert "was not written" not in errors
    with path.open() as file:
        assert {row["unit_id"] for row in csv.DictReader(file)} == {"1"}


def test_file_in_a_missing_folder_is_refused_before_the_first_request(
    tmp_path: Path,
) -> None:
    path = tmp_path / "missing" / "curve.csv"
    with line_of(meter_with_records()) as running:
        options = ("--port", running.port, "-u", "1")
        code, output, errors = countis("load-curve", *options, "--csv", str(path))
    assert (code, output) == (Exit.USAGE, "")
    assert "cannot be written" in errors
    assert not running.requests


def test_file_that_cannot_be_written_is_an_error() -> None:
    with line_of(meter_with_records()) as running:
        options = ("--port", running.port, "-u", "1")
        # Linux reports for each write to this device that the disk is full.
        code, _, errors = countis("load-curve", *options, "--csv", "/dev/full")
    assert code == Exit.FAILED
    assert "cannot be written (No space left on device): check --csv" in errors


@pytest.mark.parametrize("with_csv", [False, True])
def test_csv_hint_is_shown_only_without_the_csv_option(
    with_csv: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    with line_of(meter_with_records()) as running:
        arguments = ("load-curve", "--port", running.port, "-u", "1")
        csv_option = ("--csv", str(tmp_path / "curve.csv")) if with_csv else ()
        code, shown = countis_on_terminal(*arguments, *csv_option)
    assert code == Exit.DONE
    assert "Mean power in W" in shown
    assert ("To see each record, use --csv FILE" in shown) is not with_csv


def test_number_of_records_is_printed_even_if_it_is_0() -> None:
    with line_of(Meter()) as running:
        code, output, _ = countis("load-curve", "--port", running.port, "-u", "1")
    assert code == Exit.DONE
    assert "\n0 records of" in output


def test_meter_without_a_load_curve_is_reported() -> None:
    with line_of(Meter(load_curve=None)) as running:
        code, result = countis_json("load-curve", "--port", running.port, "-u", "1")
    assert (code, result["error"]["kind"]) == (Exit.FAILED, "no_load_curve")


def test_plot_has_the_given_width() -> None:
    begin = datetime(2026, 11, 20)  # noqa: DTZ001 (by the clock of the meter)
    records = [
        LoadRecord(begin + timedelta(hours=n), n * 100.0, is_complete=True)
        for n in range(24)
    ]
    # Remove the codes of the colours.
    text = re.sub(r"\x1b\[[\d;]*m", "", plot(records, 80))
    assert max(map(len, text.splitlines())) == 80
    assert "2026-11-20" in text
