"""Tests of the options of the command line, and of its help."""

from pathlib import Path
import re
import sys

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cli.app import app
from cli.exit_codes import Exit
from cli.failures import KINDS
from cli.options import Options, UsageError, parse_options

from .common import ROOT, countis, countis_process


def options(**changes: object) -> Options:
    """Return options of a serial port and unit ID 1, with changes."""
    values: dict[str, object] = {"port": "p", "unit_id": ["1"]}
    return Options(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": None}, "Enter the bus (--port, --tcp or --rtu-over-tcp)."),
        ({"unit_id": None}, "Enter the meter (--unit-id)."),
        (
            {"port": None, "unit_id": None},
            "--rtu-over-tcp) and the meter (--unit-id).",
        ),
        ({"tcp": "h"}, "Enter only one of --port, --tcp and --rtu-over-tcp."),
        ({"unit_id": ["0"]}, "--unit-id 0 is not possible"),
        ({"unit_id": ["256"]}, "--unit-id 256 is not possible"),
        ({"unit_id": ["5-3"]}, "--unit-id 5-3 is not possible"),
        ({"unit_id": ["x"]}, "--unit-id x is not possible"),
        ({"unit_id": ["1,,2"]}, "--unit-id 1,,2 is not possible"),
        ({"unit_id": [""]}, "--unit-id '' is not possible"),
        ({"baudrate": 2400}, "enter one of 4800, 9600, 19200, 38400."),
        ({"parity": "M"}, "--parity M is not possible: enter one of N, E, O."),
        ({"stopbits": 3}, "--stopbits 3 is not possible: enter one of 1, 2."),
        ({"port": None, "tcp": "h:x"}, "--tcp h:x is not a host"),
        (
            {"port": None, "tcp": "h:0"},
            "--tcp h:0 is not a host: enter HOST or HOST:PORT.",
        ),
        (
            {"port": None, "rtu_over_tcp": "h:0"},
            "--rtu-over-tcp h:0 is not a host: enter HOST:PORT.",
        ),
        ({"port": None, "tcp": "user@h"}, "--tcp user@h is not a host"),
        (
            {"port": None, "rtu_over_tcp": "h"},
            "--rtu-over-tcp h has no TCP port: enter HOST:PORT, with the TCP port from",
        ),
        ({"port": None, "tcp": "h", "parity": "E"}, "omit --parity"),
        ({"port": None, "rtu_over_tcp": "h:1", "stopbits": 2}, "omit --stopbits"),
    ],
)
def test_wrong_option_is_refused_with_a_hint(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        parse_options(options(**changes))
    assert message in refused.value.format_message()


def test_omitted_line_settings_have_default_values() -> None:
    assert str(parse_options(options()).settings) == "9600 baud, 8N2"
    changed = parse_options(options(stopbits=1, parity="e"))
    assert str(changed.settings) == "9600 baud, 8E1"
    assert {each.parity for each in changed.scan_settings} == {"E"}


@pytest.mark.parametrize(
    ("unit_id", "expected"),
    [
        (["5"], [5]),
        (["1-3,7"], [1, 2, 3, 7]),
        (["1", "1", "2-3,1"], [1, 2, 3]),
        (["255"], [255]),
    ],
)
def test_unit_ids_are_expanded_without_duplicates(
    unit_id: list[str], expected: list[int]
) -> None:
    assert parse_options(options(unit_id=unit_id)).unit_ids == expected


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tcp": "h"}, "h:502"),
        ({"tcp": "h:503"}, "h:503"),
        ({"tcp": "[fe80::1]:503"}, "[fe80::1]:503"),
        ({"rtu_over_tcp": "h:2000"}, "h:2000"),
    ],
)
def test_gateway_is_split_into_host_and_port(
    changes: dict[str, object], name: str
) -> None:
    assert str(parse_options(options(port=None, **changes)).connection) == name


def test_bus_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTIS_PORT", "/dev/no-such-port")
    code, _, errors = countis("read", "--unit-id", "1")
    assert code == Exit.FAILED
    assert "/dev/no-such-port" in errors


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ("COUNTIS_TCP", "--port"),
        ("COUNTIS_RTU_OVER_TCP", "--port"),
        ("COUNTIS_PORT", "--tcp"),
        ("COUNTIS_RTU_OVER_TCP", "--tcp"),
        ("COUNTIS_PORT", "--rtu-over-tcp"),
        ("COUNTIS_TCP", "--rtu-over-tcp"),
    ],
)
@pytest.mark.usefixtures("socket_enabled")
def test_option_of_the_bus_replaces_the_environment(
    variable: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "127.0.0.1:2")
    code, _, errors = countis("read", option, "127.0.0.1:1", "--unit-id", "1")
    assert code == Exit.FAILED
    assert " 127.0.0.1:1 cannot be opened" in errors


def test_two_buses_in_the_environment_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COUNTIS_PORT", "p")
    monkeypatch.setenv("COUNTIS_TCP", "h")
    code, _, errors = countis("read", "--unit-id", "1")
    assert code == Exit.USAGE
    assert "Enter only one of --port, --tcp and --rtu-over-tcp" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("set-tariff",),
            "--rtu-over-tcp), the meter (--unit-id) and the tariff (1 to 8).",
        ),
        (("set-tariff", "--port", "p", "-u", "1"), "Enter the tariff (1 to 8)."),
        (
            ("set-tariff", "9", "--port", "p", "-u", "1"),
            "Tariff 9 is not possible: enter one of 1, 2, 3, 4, 5, 6, 7, 8.",
        ),
    ],
)
def test_missing_or_impossible_tariff_is_refused(
    arguments: tuple[str, ...], message: str
) -> None:
    code, output, errors = countis(*arguments)
    assert (code, output) == (Exit.USAGE, "")
    # typer wraps the message, and draws a frame around it.
    assert message in " ".join(errors.replace("│", " ").split())


def test_wrong_usage_ends_with_exit_code_2_and_without_output() -> None:
    code, output, errors = countis("read", "--port", "p", "--unit-id", "256")
    assert (code, output) == (Exit.USAGE, "")
    assert "--unit-id 256 is not possible" in errors


@pytest.mark.parametrize("command", [(), ("scan",), ("read",)])
def test_help_explains_the_exit_codes(command: tuple[str, ...]) -> None:
    code, output, _ = countis(*command, "--help")
    assert code == Exit.DONE
    for number in Exit:
        assert re.search(rf"^ *{number.value}  \w", output, re.MULTILINE), number


def test_version_is_printed() -> None:
    code, output, _ = countis("--version")
    assert code == Exit.DONE
    assert output.startswith("countis ")


def test_process_ends_with_the_exit_code_of_its_command() -> None:
    with countis_process("read") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == Exit.USAGE
    assert "Enter the bus" in errors


def test_every_kind_of_error_is_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    for kind in KINDS:
        assert f"| `{kind}` |" in text, kind


def commands() -> list[str]:
    """Return the names of all commands."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return list(group.commands)


@pytest.mark.parametrize("name", commands())
def test_every_command_is_documented_and_has_shared_options(name: str) -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    assert f"### {name}\n" in text
    _, output, _ = countis(name, "--help")
    for option in ("--port", "--tcp", "--rtu-over-tcp", "--unit-id", "--json"):
        assert option in output, option


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_offered(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    arguments = ("--show-completion", shell)
    result = CliRunner().invoke(app, arguments, prog_name="countis")
    assert result.exit_code == Exit.DONE
    # The printed script sets the variable that lets `countis` print completions, and
    # registers the completion of the command `countis`.
    assert f"_COUNTIS_COMPLETE=complete_{shell} " in result.stdout
    assert re.search(r"(complete|compdef) .*\bcountis\b", result.stdout)


@pytest.mark.parametrize(
    ("entered_text", "completed"),
    [
        ("countis re", ["read", "reset-partial", "report"]),
        ("countis read --parity ", ["N", "E", "O"]),
        ("countis read --baudrate ", ["4800", "9600", "19200", "38400"]),
    ],
)
def test_shell_completes_commands_and_values(
    entered_text: str, completed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_COUNTIS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", entered_text)
    monkeypatch.setenv("COMP_CWORD", str(entered_text.count(" ")))
    output = CliRunner().invoke(app, prog_name="countis").stdout
    assert sorted(output.split()) == sorted(completed)


def test_command_line_imports_no_module_of_home_assistant() -> None:
    for path in (ROOT / "cli").glob("*.py"):
        source = path.read_text()
        assert "homeassistant" not in source, path
        assert "custom_components" not in source, path


def test_missing_package_is_reported_with_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli import __main__ as entry_point  # noqa: PLC0415

    # Python refuses to import a module that is None in `sys.modules`.
    monkeypatch.setitem(sys.modules, "cli.app", None)
    with pytest.raises(SystemExit) as ended:
        entry_point.main()
    assert ended.value.code == Exit.USAGE
    assert 'install "socomec-countis[cli]"' in capsys.readouterr().err


def test_library_is_a_link_to_the_integration_and_is_typed() -> None:
    library = ROOT / "socomec_countis"
    assert library.is_symlink()
    assert library.resolve() == (
        ROOT / "custom_components" / "socomec_countis" / "countis"
    )
    assert (library / "py.typed").exists()
    assert Path(ROOT / "cli" / "py.typed").exists()
