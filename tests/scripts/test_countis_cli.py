"""The command line, run as a user runs it, on a simulated line."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from pymodbus.server import ModbusTcpServer
import pytest

from scripts.countis_cli.arguments import parse
from scripts.countis_cli.problems import KINDS
from simulator import Constant, Line, Meter, Phase, line_in_thread
from tests.common import SERIAL

ROOT = Path(__file__).parents[2]
COUNTIS = ROOT / "scripts" / "countis"

OK, FAILED, USAGE, FINDING = range(4)

PARTIAL = (
    "partial_energy_consumed",
    "partial_energy_reactive",
    "partial_energy_produced",
)
# Time enough to begin an answer on a busy computer.
WAIT = ("--wait", "0.1")

LOADED = Phase(5000)
REVERSED = Phase(-5000)


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


def countis(*arguments: str, python: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Run the command; return its exit code, what it says, and its problems."""
    result = subprocess.run(  # noqa: S603
        [sys.executable, *python, str(COUNTIS), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TZ": "UTC"},
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


def told(*arguments: str) -> tuple[int, Any]:
    """Run the command with --json; return its exit code and its last object."""
    code, output, _ = countis(*arguments, "--json")
    return code, json.loads(output.splitlines()[-1])


@contextmanager
def line_of(*meters: Meter, link: Path | None = None) -> Iterator[Line]:
    """Run a fast line with these meters."""
    line = Line(meters, baudrate=921_600, answer_delay=0.001, link=link)
    with line_in_thread(line) as running:
        yield running


@contextmanager
def begun(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Begin the command, to be ended by the test."""
    command = [sys.executable, str(COUNTIS), *arguments]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def tcp_gateway(meter: Meter) -> Iterator[str]:
    """Serve a meter by Modbus TCP; return host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> ModbusTcpServer:
        server = ModbusTcpServer(meter.device, address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop: Any = server.shutdown()  # type: ignore[no-untyped-call]
        asyncio.run_coroutine_threadsafe(stop, loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def transparent_gateway(line: Line) -> Iterator[str]:
    """Pass bytes between one client and the line; return host and port."""
    port = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    ended, ending = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, selectors.DefaultSelector() as either:
                for each in (client, port, ended):
                    either.register(each, selectors.EVENT_READ)
                while True:
                    for key, _ in either.select():
                        if key.fileobj is ended:
                            return
                        if key.fileobj is not client:
                            client.sendall(os.read(port, 4096))
                        elif data := client.recv(4096):
                            os.write(port, data)
                        else:
                            return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ending.close()
            thread.join()
            ended.close()
            os.close(port)


# -- without Home Assistant ---


def test_home_assistant_is_never_imported(line: Line) -> None:
    code, _, imported = countis(
        "read", "--port", line.port, "--address", "1", python=("-X", "importtime")
    )
    assert code == OK
    names = {row.rsplit("|")[-1].strip() for row in imported.splitlines()}
    assert {"countis_cli.cli", "countis.meter", "pymodbus"} <= names
    foreign = {name for name in names if "homeassistant" in name}
    assert not foreign
    assert not {name for name in names if name.startswith("custom_components")}


def test_the_launcher_installs_what_is_tested() -> None:
    block = COUNTIS.read_text().split("# ///")[1]
    wanted = dict(re.findall(r'"([\w-]+)(?:\[\w+\])?==([\d.]+)"', block))
    assert wanted.keys() == {"modbus-connection", "pymodbus", "pyserial"}
    tested = (ROOT / "requirements_test.txt").read_text()
    for name, version in wanted.items():
        assert re.search(rf"^{name}(\[\w+\])?=={version}$", tested, re.MULTILINE)


def test_the_launcher_is_a_command_of_its_own(line: Line) -> None:
    result = subprocess.run(  # noqa: S603
        [str(COUNTIS), "read", "--port", line.port, "--address", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (OK, "")
    assert json.loads(result.stdout)["serial_number"] == SERIAL


def test_what_is_missing_is_told_with_how_to_install_it() -> None:
    # Without site-packages.
    code, _, error = countis("read", python=("-S",))
    assert code == FAILED
    assert "No module named 'modbus_connection'" in error
    assert '-m pip install "modbus-connection[pymodbus]" pyserial' in error


def test_every_kind_of_problem_is_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    for kind in ("cannot_open", *(each.kind for each in KINDS)):
        assert f"| `{kind}` |" in text, kind


# -- wrong usage ---


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "unknown",
        "read --address 1",
        "read --port p",
        "read --port p --tcp h --address 1",
        "read --port p --address 0",
        "read --port p --address 256",
        "read --port p --address 1,2",
        "read --port p --address 1 --baudrate 2400",
        "read --tcp h:x --address 1",
        "read --tcp user@h --address 1",
        "read --rtu-over-tcp h --address 1",
        "read --tcp h --address 1 --parity E",
        "read --rtu-over-tcp h:1 --address 1 --stopbits 2",
        "scan",
        "scan --port p --wait 0",
        "scan --port p --wait x",
        "reset-partial --port p",
        "reset-partial --port p --address 5-3",
        "set-tariff --port p --address 1",
        "set-tariff 9 --port p --address 1",
        "set-tariff 2 --port p --all",
        "check-wiring --port p --address 1 --readings 1",
    ],
)
def test_wrong_usage_is_not_taken_for_right(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split())
    assert ended.value.code == USAGE
    assert "error: " in capsys.readouterr().err


def test_line_settings_are_those_of_the_form_by_default() -> None:
    entered = parse(["read", "--port", "p", "--address", "1"])
    assert str(entered.settings) == "9600 baud, 8N2"
    entered = parse(["read", "--port", "p", "--address", "1", "--stopbits", "1"])
    assert str(entered.settings) == "9600 baud, 8N1"


def test_wrong_usage_ends_with_2_and_says_what_is_right() -> None:
    code, output, error = countis("read", "--port", "p", "--address", "256")
    assert (code, output) == (USAGE, "")
    assert error.startswith("usage: countis")
    assert "error: argument --address: '256' is not a number from 1 to 255" in error


@pytest.mark.parametrize("command", ["", "scan"])
def test_the_help_tells_the_exit_codes(command: str) -> None:
    code, output, _ = countis(*command.split(), "--help")
    assert code == OK
    assert re.findall(r"^  (\d)  ", output, re.MULTILINE) == ["0", "1", "2", "3"]


# -- a line that does not work ---

GATEWAY = pytest.mark.usefixtures("socket_enabled")
EACH_COMMAND = pytest.mark.parametrize(
    "command",
    ["read", "reset-partial", "set-tariff 2", "check-wiring", "set-clock"],
)


@EACH_COMMAND
def test_a_port_that_does_not_exist_is_told_with_what_to_check(command: str) -> None:
    port = "/dev/no-such-port"
    code, output, error = countis(*command.split(), "--port", port, "--address", "1")
    assert (code, output) == (FAILED, "")
    assert f"{port} cannot be opened: No such file or directory" in error
    assert "Check that the adapter is plugged in" in error


@pytest.mark.parametrize("command", ["read", "set-clock"])
def test_a_problem_is_told_to_programs_as_well(command: str) -> None:
    code, result = told(command, "--port", "/dev/no-such-port", "--address", "1")
    assert code == FAILED
    assert result["error"]["kind"] == "cannot_open"
    assert result["error"].keys() == {"kind", "message", "check"}


def test_a_scan_of_a_port_that_does_not_exist_fails() -> None:
    code, result = told("scan", "--port", "/dev/no-such-port")
    assert (code, result["found"]) == (FAILED, [])
    assert result["error"]["kind"] == "cannot_open"
    code, output, error = countis("scan", "--port", "/dev/no-such-port")
    assert (code, output) == (FAILED, "")
    assert "cannot be opened" in error


def test_what_is_no_serial_port_cannot_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, error = countis("read", "--port", str(file), "--address", "1")
    assert code == FAILED
    assert "Inappropriate ioctl" in error


def test_a_port_in_use_is_told_as_such(line: Line) -> None:
    with begun("read", "--port", line.port, "--address", "1", "--watch") as other:
        assert other.stdout is not None
        other.stdout.readline()
        code, _, error = countis("read", "--port", line.port, "--address", "2")
    assert code == FAILED
    assert "no other program uses the port" in error


@GATEWAY
@pytest.mark.parametrize("way", ["--tcp", "--rtu-over-tcp"])
def test_a_gateway_that_refuses_is_told_as_such(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, _, error = countis("read", way, f"127.0.0.1:{port}", "--address", "1")
    assert code == FAILED
    assert "Connection refused" in error
    assert "Check the gateway's port" in error


@pytest.mark.parametrize("command", ["read", "set-tariff 2"])
def test_a_line_with_no_meter_is_told_with_what_to_check(command: str) -> None:
    with line_of() as line:
        code, output, error = countis(
            *command.split(), "--port", line.port, "--address", "9"
        )
    assert (code, output) == (FAILED, "")
    assert "No meter answers at address 9" in error
    assert "the two wires, which may be swapped" in " ".join(error.split())


@pytest.mark.parametrize("command", ["read", "set-tariff 2", "scan"])
def test_adapter_that_echoes_is_named(command: str, line: Line) -> None:
    line.echoes = True
    place = ("--port", line.port, "--address", "1")
    code, output, error = countis(*command.split(), *place)
    assert (code, output) == (FAILED, "")
    assert "returns every request (echo)" in error
    assert "switch off the echo" in " ".join(error.split())


def test_another_device_is_not_read(line: Line, meter: Meter) -> None:
    meter.override = {50000: ord("X")}
    code, result = told("read", "--port", line.port, "--address", "1")
    assert (code, result["error"]["kind"]) == (FAILED, "not_a_countis")


# -- read ---


def test_read_shows_everything_as_a_table(line: Line) -> None:
    code, output, error = countis("read", "--port", line.port, "--address", "1")
    assert (code, error) == (OK, "")
    rows = {re.sub(r" {2,}", "|", row) for row in output.splitlines()}
    assert rows >= {
        f"COUNTIS E33 at address 1, serial number {SERIAL}, firmware 1.02",
        "|total|L1|L2|L3|N",
        "Active power|1300|1000|500|-200|W",
        "Voltage|230.00|230.00|230.00|V",
        "Power factor|1.000|1.000|1.000|1.000",
        "Consumed, Ea+|1234.56|45.67|kWh",
        "Reactive, Er+|300.01|1.23|kvarh",
        "Ea+ in tariff 2|234.56|kWh",
        "Tariff now|1",
    }
    assert "Clock ahead by" in output


def test_columns_are_aligned(line: Line) -> None:
    _, output, _ = countis("read", "--port", line.port, "--address", "1")
    measured = output.split("\n\n")[1]
    rows = {row.split("  ")[0]: f"{row} " for row in measured.splitlines()}
    ends = [rows[""].index(head) + len(head) for head in ("total", "L1", "L2", "L3")]
    for label in ("Active power", "Power factor", "Voltage", "Current"):
        for end in ends:
            before, after = rows[label][end - 1], rows[label][end]
            assert after == " ", (label, end)
            assert before != " " or label in ("Voltage", "Current"), (label, end)


def test_read_tells_programs_everything(line: Line) -> None:
    code, result = told("read", "--port", line.port, "--address", "1")
    assert code == OK
    assert result.keys() == {
        "time",
        "address",
        "model",
        "serial_number",
        "software_version",
        "identity",
        "blocks",
        "values",
        "units",
    }
    assert (result["model"], result["software_version"]) == ("COUNTIS E33", "1.02")
    values, units = result["values"], result["units"]
    assert values["power_l3"] == -200
    assert values["energy_consumed"] == 1234.56
    assert values["tariff_count"] == 4
    assert values["overflows_produced"] == 0
    assert values["energy_consumed_today"] == 0
    assert units["power"] == "W"
    assert units["energy_reactive"] == "kvarh"
    assert units["energy_consumed_today"] == "kWh"
    assert units["clock_offset"] == "s"
    assert units.keys() <= values.keys()


def test_every_value_that_is_read_has_its_place_in_the_tables(line: Line) -> None:
    _, output, _ = countis("read", "--port", line.port, "--address", "1")
    # A value without a place would be shown by its name.
    assert "_" not in output


def test_the_clock_is_compared_at_the_moment_it_is_read() -> None:
    ahead = 90
    with line_of(Meter(clock=lambda: time.time() + ahead)) as line:
        _, result = told("read", "--port", line.port, "--address", "1")
    assert result["values"]["clock_offset"] == pytest.approx(ahead, abs=1)


def test_a_meter_without_extras_is_read_as_far_as_it_goes(
    line: Line, meter: Meter
) -> None:
    meter.refuses = {36864, 36928, 36896, 57600, 51200, 50848}
    code, output, _ = countis("read", "--port", line.port, "--address", "1")
    assert code == OK
    assert "Consumed, Ea+" in output
    for missing in ("tariff", "today", "Began anew", "Clock"):
        assert missing not in output


def test_watching_goes_on_until_ctrl_c(line: Line) -> None:
    with begun("read", "--port", line.port, "--address", "1", "--watch") as process:
        assert process.stdout is not None
        head = process.stdout.readline().split()
        rows = [process.stdout.readline().split() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == OK
    assert head[:4] == ["W", "W", "L1", "W"]
    assert [row[1:5] for row in rows] == [["1300", "1000", "500", "-200"]] * 3
    seconds = [
        sum(
            int(part) * place
            for part, place in zip(row[0].split(":"), (3600, 60, 1), strict=True)
        )
        for row in rows
    ]
    assert 1 <= (seconds[-1] - seconds[0]) % 86_400 <= 4


def test_watching_outlasts_a_silence(line: Line, meter: Meter) -> None:
    arguments = ("read", "--port", line.port, "--address", "1", "--watch", "--json")
    with begun(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["values"]["power"] == 1300
        meter.silent = True
        assert "No meter answers" in process.stderr.readline()
        meter.silent = False
        assert json.loads(process.stdout.readline())["failed"] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == OK


def test_watching_nobody_ends_at_once() -> None:
    with line_of() as line:
        code, output, error = countis(
            "read", "--port", line.port, "--address", "9", "--watch"
        )
    assert (code, output) == (FAILED, "")
    assert "No meter answers at address 9" in error


def test_who_closes_the_output_ends_the_watch_in_silence(line: Line) -> None:
    arguments = ("read", "--port", line.port, "--address", "1", "--watch")
    with begun(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == OK
        assert process.stderr.read() == ""


@GATEWAY
def test_a_modbus_tcp_gateway_is_read(meter: Meter) -> None:
    with tcp_gateway(meter) as place:
        code, result = told("read", "--tcp", place, "--address", "1")
        assert (code, result["values"]["power"]) == (OK, 1300)


@GATEWAY
def test_rtu_over_tcp_is_read(line: Line) -> None:
    with transparent_gateway(line) as place:
        code, result = told("read", "--rtu-over-tcp", place, "--address", "2")
    assert (code, result["values"]["power"]) == (OK, 1300)


# -- scan ---

FOUND_1 = {
    "address": 1,
    "baudrate": 9600,
    "parity": "N",
    "stopbits": 2,
    "model": "COUNTIS E33",
    "serial_number": SERIAL,
}


def test_a_scan_with_known_address_finds_the_settings(line: Line) -> None:
    line.understood_baudrate = 38400
    code, result = told("scan", "--port", line.port, "--address", "1", *WAIT)
    assert code == OK
    assert result == {
        "found": [FOUND_1 | {"baudrate": 38400}],
        "others": [],
        "complete": True,
    }


def test_a_scan_with_known_settings_finds_the_addresses(line: Line) -> None:
    code, result = told(
        *("scan", "--port", line.port, "--address", "1-8,20"),
        *("--baudrate", "9600", "--parity", "N", "--stopbits", "1", *WAIT),
    )
    assert code == OK
    assert [found["address"] for found in result["found"]] == [1, 2]
    assert {request[0] for request in line.requests} == {*range(1, 9), 20}


def test_a_scan_with_all_known_finds_a_meter_once(line: Line) -> None:
    code, result = told(
        *("scan", "--port", line.port, "--address", "1", *WAIT),
        *("--baudrate", "9600", "--parity", "n", "--stopbits", "1"),
    )
    assert (code, result["found"]) == (OK, [FOUND_1 | {"stopbits": 1}])


def test_a_scan_with_nothing_known_finds_both_and_shows_how_far_it_is(
    line: Line,
) -> None:
    line.understood_baudrate = 38400
    # Nothing is left out by Ctrl-C but addresses that nobody has.
    with begun("scan", "--port", line.port, *WAIT) as process:
        assert process.stderr is not None
        shown = []
        while "2 found" not in (text := process.stderr.readline()):
            assert text
            shown.append(text)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
        code = process.returncode
    assert shown[0] == "  0 %  9600 baud, 8N2, address 1\n"
    percents = [int(text.split(" %")[0]) for text in shown]
    assert percents == sorted(percents)
    assert code == OK
    rows = [re.sub(r" {2,}", "|", row.strip()) for row in output.splitlines()]
    assert rows[:3] == [
        "Address|Settings|Model|Serial number",
        f"1|38400 baud, 8N2|COUNTIS E33|{SERIAL}",
        "2|38400 baud, 8N2|COUNTIS E33|1438012000002",
    ]
    assert re.fullmatch(r"Not complete: \d+% were scanned\.", rows[-1])


def test_a_scan_ended_before_anything_was_found_says_so() -> None:
    with line_of() as line, begun("scan", "--port", line.port, "--json") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == FINDING
    assert json.loads(output) == {"found": [], "others": [], "complete": False}


def test_a_scan_of_a_line_with_no_meter_ends_with_3() -> None:
    with line_of() as line:
        code, output, _ = countis(
            *("scan", "--port", line.port, "--address", "1-3", *WAIT),
            *("--baudrate", "9600", "--parity", "N", "--stopbits", "1"),
        )
    assert code == FINDING
    assert output.startswith("No meter was found. Check the two wires")


def test_a_scan_tells_of_other_devices(line: Line, meter: Meter) -> None:
    meter.override = {50000: ord("X")}
    arguments = ("scan", "--port", line.port, "--address", "1,2", *WAIT)
    settings = ("--baudrate", "9600", "--parity", "N", "--stopbits", "1")
    code, result = told(*arguments, *settings)
    assert (code, result["others"]) == (OK, [1])
    assert [found["address"] for found in result["found"]] == [2]
    _, output, _ = countis(*arguments, *settings)
    assert "Something else answers, or not usably, at address 1\n" in output


def test_a_scan_whose_port_disappears_tells_what_it_found(tmp_path: Path) -> None:
    # A name of its own: that of a terminal may be another one's in a moment.
    with (
        line_of(Meter(), link=tmp_path / "line") as line,
        begun("scan", "--port", line.port, "--json") as process,
    ):
        assert process.stderr is not None
        while "1 found" not in process.stderr.readline():
            pass
        line.unplug()
        output, _ = process.communicate(timeout=20)
    assert process.returncode == FAILED
    result = json.loads(output)
    assert [found["address"] for found in result["found"]] == [1]
    assert result["complete"] is False
    assert result["error"]["kind"] in ("line_lost", "cannot_open")


@GATEWAY
def test_a_gateway_is_scanned_with_its_own_settings(line: Line) -> None:
    with transparent_gateway(line) as place:
        code, result = told("scan", "--rtu-over-tcp", place, "--address", "1-3", *WAIT)
    assert code == OK
    assert [found["address"] for found in result["found"]] == [1, 2]
    assert {found["baudrate"] for found in result["found"]} == {None}


# -- commands ---


def test_a_reset_shows_what_was_counted_and_that_it_is_gone(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, result = told("reset-partial", "--port", line.port, "--address", "1-2")
    assert code == OK
    first, second = result["meters"]
    assert first == {
        "address": 1,
        "done": True,
        "model": "COUNTIS E33",
        "serial_number": SERIAL,
        "before": dict(zip(PARTIAL, (45.67, 1.23, 0.89), strict=True)),
        "after": dict.fromkeys(PARTIAL, 0),
    }
    assert (second["address"], second["done"]) == (2, True)
    assert meter.counters.partial_consumed == 0
    assert meter.counters.consumed == 1_234_560
    assert len(second_meter.writes) == 1


def test_a_reset_is_shown_as_a_table(line: Line) -> None:
    code, output, error = countis("reset-partial", "--port", line.port, "--address=1")
    assert (code, error) == (OK, "")
    assert "45.67 -> 0.00" in output


def test_address_given_twice_is_reset_once(line: Line, meter: Meter) -> None:
    arguments = ("--address", "1", "--address", "1")
    code, result = told("reset-partial", "--port", line.port, *arguments)
    assert (code, len(result["meters"])) == (OK, 1)
    assert len(meter.writes) == 1


@pytest.mark.parametrize("refused", [set(), {57890}])
def test_readings_before_reset_are_printed_before_it(
    line: Line, meter: Meter, refused: set[int]
) -> None:
    meter.refuses_commands = refused
    arguments = ("reset-partial", "--port", line.port, "--address", "1")
    with begun(*arguments) as process:
        assert process.stdout is not None
        row = process.stdout.readline()
        assert process.poll() is None
    expected = "Ea+ kWh 45.67, Er+ kvarh 1.23, Ea- kWh 0.89"
    assert row == f"Address 1 before the reset: {expected}\n"
    _, output, _ = countis(*arguments, "--json")
    first = json.loads(output.splitlines()[0])
    assert first["before"].keys() == set(PARTIAL)


def test_one_meter_that_refuses_does_not_keep_the_others_from_it(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    meter.refuses_commands = {57890}
    arguments = ("reset-partial", "--port", line.port, "--address", "1,2")
    code, result = told(*arguments)
    assert code == FAILED
    first, second = result["meters"]
    assert (first["done"], second["done"]) == (False, True)
    assert first["error"]["kind"] == "not_done"
    assert meter.counters.partial_consumed == 45_670
    assert len(second_meter.writes) == 1


def test_a_tariff_is_set_and_read_back(line: Line, meter: Meter) -> None:
    code, result = told("set-tariff", "3", "--port", line.port, "--address", "1")
    assert code == OK
    assert (result["tariff"], result["broadcast"]) == (3, False)
    assert result["meters"][0]["tariff"] == meter.counters.tariff == 3


def test_a_tariff_of_several_meters_is_set_one_by_one(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, output, _ = countis("set-tariff", "2", "--port", line.port, "--address=1,2")
    assert code == OK
    rows = [row.split() for row in output.splitlines()]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("1", "2"), ("2", "2")]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (2, 2)


def test_a_tariff_that_the_meter_does_not_have_is_not_set(line: Line) -> None:
    code, result = told("set-tariff", "5", "--port", line.port, "--address", "1")
    assert code == FAILED
    assert result["meters"][0]["error"]["kind"] == "not_done"


def test_a_tariff_of_all_meters_is_set_by_one_broadcast(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, result = told(
        "set-tariff", "4", "--port", line.port, "--address", "1,2", "--all"
    )
    assert code == OK
    assert result["broadcast"] is True
    assert [each["tariff"] for each in result["meters"]] == [4, 4]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (4, 4)
    writes = [request for request in line.requests if request[1] in (6, 16)]
    assert [write[0] for write in writes] == [0]


def test_a_meter_that_does_not_follow_a_broadcast_is_told(
    line: Line, second_meter: Meter
) -> None:
    second_meter.ignores_commands = {40481}
    code, result = told(
        "set-tariff", "4", "--port", line.port, "--address", "1,2", "--all"
    )
    assert code == FAILED
    assert [each["done"] for each in result["meters"]] == [True, False]


def test_a_clock_is_set_to_the_time_of_the_computer() -> None:
    slow = Meter(clock=lambda: time.time() - 300)
    with line_of(slow) as line:
        code, result = told("set-clock", "--port", line.port, "--address", "1")
    assert code == OK
    [meter] = result["meters"]
    assert meter["before"] == pytest.approx(-300, abs=2)
    assert abs(meter["after"]) <= 2


# -- check-wiring ---

type Check = Callable[..., tuple[int, dict[str, Any]]]

CHECK = ("check-wiring", "--address", "1", "--readings", "2", "--port")


@pytest.fixture
def check(line: Line, meter: Meter) -> Check:
    """Return a check of a meter with these phases, told as to a program."""

    def run(*phases: Phase) -> tuple[int, dict[str, Any]]:
        meter.load = Constant(*phases)
        return told(*CHECK, line.port)

    return run


def test_a_meter_that_is_connected_right_has_no_error(check: Check) -> None:
    code, result = check(LOADED, LOADED, LOADED)
    assert (code, result["codes"], result["unmet"]) == (OK, [0], [])
    assert result["phases"] == ["l1", "l2", "l3"]


def test_a_reversed_phase_is_found(check: Check) -> None:
    code, result = check(REVERSED, LOADED, LOADED)
    assert (code, result["codes"]) == (FINDING, [1])
    assert result["values"]["power_l1"] == -5000


def test_a_finding_is_told_with_what_it_means(line: Line, meter: Meter) -> None:
    meter.load = Constant(LOADED, REVERSED, LOADED)
    code, text, _ = countis(*CHECK, line.port)
    assert code == FINDING
    assert "Err 2: the current of L2 is reversed" in text
    assert "test while nothing is" in text
    assert "qualified people" in text


def test_a_swapped_neutral_is_found(check: Check) -> None:
    high = Phase(5000, volts=400)
    code, result = check(high, LOADED, high)
    assert (code, result["codes"]) == (FINDING, [8])


UNLOADED = (Phase(2000), Phase(500, 1500), Phase(0))


def test_conditions_that_are_not_met_leave_no_code(check: Check) -> None:
    code, result = check(*UNLOADED)
    assert (code, result["codes"]) == (FINDING, [])
    assert [(each["condition"], each["phase"]) for each in result["unmet"]] == [
        ("power_factor", "l2"),
        ("current", "l3"),
        ("load", None),
    ]


def test_conditions_are_told_with_what_is_wanted(line: Line, meter: Meter) -> None:
    meter.load = Constant(*UNLOADED)
    code, text, _ = countis(*CHECK, line.port)
    assert code == FINDING
    assert "L2: 0.32, wanted is a power factor from 0.6 to 1" in text
    assert "L3: 0.00 A, wanted is 1 A or more" in text
    assert re.search(r"Load: 15\.\d A, wanted is 20 A or more", text)


def test_a_single_phase_is_checked_alone(check: Check) -> None:
    absent = Phase(volts=10)
    code, result = check(LOADED, absent, absent)
    assert (code, result["codes"], result["phases"]) == (OK, [0], ["l1"])
