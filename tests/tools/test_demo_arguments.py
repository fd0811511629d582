"""The arguments of the demo: a wrong argument is refused before the demo starts."""

from pathlib import Path

import pytest

from simulator import Line, line_in_thread
from tools.demo.arguments import parse_arguments


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the error with which the demo refuses these arguments."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_port_that_does_not_exist_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(capsys, "--port", "/dev/no-such-port", "--unit-id", "5") == (
        "./scripts/demo: error: /dev/no-such-port is not a serial port: check that the"
        " adapter is plugged in, and its name"
    )


def test_file_that_is_no_port_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert f"{file} is not a serial port" in refused(capsys, "--port", str(file))


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
    assert refused(capsys, option, value) == (
        f"./scripts/demo: error: {option} is for a real meter: add its port with --port"
    )


def test_port_that_exists_is_used() -> None:
    with line_in_thread(Line([])) as line:
        arguments = parse_arguments(["--port", line.port])
    assert (arguments.port, arguments.unit_id) == (line.port, 1)
    assert (arguments.baudrate, arguments.parity) == (9600, "none")
    assert arguments.stopbits == 1


def test_demo_without_arguments_is_simulated() -> None:
    assert parse_arguments([]).port is None
