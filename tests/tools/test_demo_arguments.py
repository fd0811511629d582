"""The arguments of the demo: a wrong argument is refused before the demo starts."""

from pathlib import Path

import pytest

from custom_components.socomec_countis.countis.line_settings import BAUDRATES
from simulator import Line, line_in_thread
from tools.demo.arguments import parse_arguments


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error with which the demo refuses these arguments."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_port_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refusal(capsys, "--port", "/dev/no-such-port", "--unit-id", "5") == (
        "./scripts/demo: error: /dev/no-such-port is not a serial port: check the name"
        " of the port, and that the adapter is plugged in"
    )


def test_file_that_is_no_port_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert f"{file} is not a serial port" in refusal(capsys, "--port", str(file))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--unit-id", "5"),
        ("--baudrate", "19200"),
        ("--parity", "even"),
        ("--stopbits", "2"),
    ],
)
def test_option_of_a_real_meter_without_a_port_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, option, value) == (
        f"./scripts/demo: error: {option} is for a real meter: add its port with --port"
    )


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--web-port", "99999", "a TCP port from 0 to 65535"),
        ("--web-port", "-5", "a TCP port from 0 to 65535"),
        ("--web-port", "http", "a TCP port from 0 to 65535"),
        ("--unit-id", "0", "a unit ID from 1 to 255"),
        ("--unit-id", "300", "a unit ID from 1 to 255"),
    ],
)
def test_value_outside_its_range_is_refused(
    option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, option, value) == (
        f"./scripts/demo: error: argument {option}: {value} is not {expected}"
    )


def test_baudrate_that_no_meter_has_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refusal(capsys, "--baudrate", "77")
    assert "argument --baudrate: invalid choice" in error
    assert all(str(each) in error for each in BAUDRATES)


def test_smallest_and_greatest_numbers_are_accepted() -> None:
    assert parse_arguments(["--web-port", "0"]).web_port == 0
    assert parse_arguments(["--web-port", "65535"]).web_port == 65535
    with line_in_thread(Line([])) as line:
        arguments = parse_arguments(["--port", line.port, "--unit-id", "255"])
    assert arguments.unit_id == 255


def test_port_that_exists_is_used() -> None:
    with line_in_thread(Line([])) as line:
        arguments = parse_arguments(["--port", line.port])
        assert (arguments.port, arguments.unit_id) == (line.port, 1)
    assert (arguments.baudrate, arguments.parity) == (9600, "none")
    assert arguments.stopbits == 1


def test_demo_without_arguments_uses_no_port() -> None:
    assert parse_arguments([]).port is None
