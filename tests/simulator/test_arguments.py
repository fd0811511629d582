"""The help of the simulator, and arguments that it refuses."""

from collections.abc import Callable
from pathlib import Path
import socket
import sys

import pytest

from simulator.__main__ import main

# All options except --help, in the order of the help.
OPTIONS = [
    *("--unit-id", "--diagnostics", "--wiring", "--lifelike", "--noon"),  # meters
    *("--load-curve", "--state"),  # meters
    *("--baudrate", "--response-delay", "--link"),  # line
    *("--tcp", "--rtu-over-tcp", "--host"),  # gateway
]


@pytest.fixture
def error_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that runs the simulator with arguments that it refuses.

    The function returns the error text.
    """

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["simulator", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        output, error = capsys.readouterr()
        assert output == ""
        assert error.endswith("\n")
        assert error.count("\n") == 1
        return error.strip()

    return run


def test_help_lists_all_options_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulator", "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    options = [line.split()[0] for line in lines if line.startswith("  --")]
    assert options == OPTIONS


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--unit-id 300", "--unit-id: 300 is not a unit ID from 1 to 255"),
        ("--unit-id 1 0", "--unit-id: 0 is not a unit ID from 1 to 255"),
        ("--unit-id one", "--unit-id: one is not a unit ID from 1 to 255"),
        ("--unit-id 4 4", "--unit-id: two meters cannot have the same unit ID"),
        ("--tcp 65536", "--tcp: 65536 is not a TCP port from 0 to 65535"),
        ("--rtu-over-tcp -1", "--rtu-over-tcp: -1 is not a TCP port from 0 to 65535"),
        ("--tcp 1 --rtu-over-tcp 2", "--rtu-over-tcp: not allowed with argument --tcp"),
        (
            "--baudrate 300",
            "--baudrate: invalid choice: '300' (choose from '4800'",
        ),
        (
            "--response-delay -1",
            "--response-delay: -1 is not a number of seconds from 0.0 to 10.0",
        ),
        (
            "--response-delay nan",
            "--response-delay: nan is not a number of seconds from 0.0 to 10.0",
        ),
        ("--wiring reversed-l4", "--wiring: invalid choice: 'reversed-l4'"),
        (
            "--load-curve 5000",
            "--load-curve: 5000 is not a number of records from 0 to 4320",
        ),
    ],
)
def test_invalid_argument_is_refused(
    error_of: Callable[..., str], arguments: str, error: str
) -> None:
    assert error_of(*arguments.split()).startswith(f"argument {error}")


def test_option_wiring_with_option_diagnostics_is_refused(
    error_of: Callable[..., str],
) -> None:
    assert error_of("--diagnostics", "file", "--wiring", "reversed-l1") == (
        "--wiring, --lifelike and --noon do not apply to --diagnostics"
    )


def test_missing_diagnostics_file_is_refused(
    error_of: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    assert error_of("--diagnostics", path) == f"{path}: No such file or directory"


def test_link_in_missing_folder_is_refused(
    error_of: Callable[..., str], tmp_path: Path
) -> None:
    link = tmp_path / "missing" / "link"
    assert error_of("--link", link) == (
        f"{link} cannot be created: No such file or directory"
    )


def test_link_at_path_of_file_is_refused(
    error_of: Callable[..., str], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.write_text("content")
    assert error_of("--link", link) == f"{link} cannot be created: File exists"
    assert link.read_text() == "content"


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize("option", ["--tcp", "--rtu-over-tcp"])
def test_busy_tcp_port_is_refused(error_of: Callable[..., str], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert error_of(option, str(port)) == (
            f"127.0.0.1:{port} is not available: Address already in use"
        )


@pytest.mark.usefixtures("socket_enabled")
def test_address_of_another_host_is_refused(error_of: Callable[..., str]) -> None:
    # 192.0.2.1 is reserved for documentation, so no computer has this address.
    assert error_of("--tcp", "5020", "--host", "192.0.2.1").startswith(
        "192.0.2.1:5020 is not available: "
    )


@pytest.mark.parametrize("content", ["", "[]", '{"1": {"unknown": 1}}', '{"1": 5}'])
def test_invalid_state_file_is_refused(
    error_of: Callable[..., str], tmp_path: Path, content: str
) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    assert error_of("--state", state) == f"{state} does not contain counters"


def test_unreadable_state_file_is_refused(
    error_of: Callable[..., str], tmp_path: Path
) -> None:
    assert error_of("--state", tmp_path) == f"{tmp_path} cannot be read: Is a directory"


def test_state_file_in_missing_folder_is_refused(
    error_of: Callable[..., str], tmp_path: Path
) -> None:
    state = tmp_path / "missing" / "state.json"
    assert error_of("--state", state) == (
        f"{state} cannot be written: No such file or directory"
    )
