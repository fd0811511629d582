"""Tests of bus failures: an error is one sentence that names what to check."""

import errno
from pathlib import Path
import socket
from typing import Literal

from modbus_connection import ModbusConnectionError, ModbusError, ModbusTimeoutError
import pytest

from cli.connection import RESPONSE_TIMEOUTS, CannotOpenError, Connection
from cli.exit_codes import Exit
from cli.failures import failure
from simulator import Line, Meter, TcpGateway, gateway_in_thread

from .common import ONE_SETTING, countis, countis_json, countis_process, line_of

NEEDS_NETWORK = pytest.mark.usefixtures("socket_enabled")
EACH_METER_COMMAND = pytest.mark.parametrize(
    "command",
    [
        *("read", "reset-partial", "set-tariff 2", "set-clock", "check-wiring"),
        *("load-curve", "report", "watch"),
    ],
)


@EACH_METER_COMMAND
def test_port_that_does_not_exist_is_named_in_one_sentence(command: str) -> None:
    port = "/dev/no-such-port"
    code, output, errors = countis(*command.split(), "--port", port, "--unit-id", "1")
    assert (code, output) == (Exit.FAILED, "")
    assert errors == (
        f"The port {port} cannot be opened (No such file or directory): check that the"
        " adapter is plugged in, and that the port has this name (names in"
        " /dev/serial/by-id stay the same).\n"
    )


@EACH_METER_COMMAND
def test_error_is_printed_as_json(command: str) -> None:
    code, result = countis_json(
        *command.split(), "--port", "/dev/no-such-port", "--unit-id", "1"
    )
    assert code == Exit.FAILED
    assert result["error"]["kind"] == "cannot_open"
    assert result["error"].keys() == {"kind", "message", "check"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ModbusConnectionError("lost: [Errno 5] Input/output error"),
    ],
)
def test_lost_connection_is_reported_without_an_error_number(error: Exception) -> None:
    text = str(failure(error, Connection("port", "/dev/ttyUSB0")))
    assert "Input/output error)" in text
    assert "Errno" not in text


@pytest.mark.parametrize(
    ("kind", "other_option"), [("tcp", "--rtu-over-tcp"), ("rtu_over_tcp", "--tcp")]
)
def test_advice_for_a_missing_response_names_the_gateway_kind_first(
    kind: Literal["tcp", "rtu_over_tcp"], other_option: str
) -> None:
    connection = Connection(kind, "192.0.2.7", 502)
    text = str(failure(ModbusTimeoutError("timeout"), connection, 9))
    assert text.startswith(
        "No meter responds at unit ID 9: check the kind of the gateway 192.0.2.7:502"
        f" (try {other_option})"
    )
    assert text.endswith("120 ohms at both ends of the bus.")


@NEEDS_NETWORK
@pytest.mark.parametrize("command", ["read", "scan"])
def test_advice_for_a_lost_connection_names_the_gateway_kind_first(
    command: str, meter: Meter
) -> None:
    line = Line([meter], baudrate=921_600, response_delay=0.001)
    with gateway_in_thread(line, TcpGateway) as gateway:
        address = f"{gateway.host}:{gateway.port}"
        # The gateway expects Modbus TCP. It disconnects if a request is RTU over TCP.
        code, _, errors = countis(command, "--rtu-over-tcp", address, "-u", "1-2")
    assert code == Exit.FAILED
    # A reason in parentheses may follow "lost", depending on when the client notices
    # that the gateway has disconnected.
    assert "The connection to the bus was lost" in errors
    assert errors.endswith(
        f": check the kind of the gateway {address} (try --tcp), and its network.\n"
    )


def test_file_that_is_no_port_cannot_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, errors = countis("read", "--port", str(file), "--unit-id", "1")
    assert code == Exit.FAILED
    assert "cannot be opened (not a serial port): check its name" in errors


def test_port_in_use_is_reported(line: Line) -> None:
    port = ("--port", line.port)
    with countis_process("watch", *port, "--unit-id", "1", "--json") as other:
        assert other.stdout is not None
        other.stdout.readline()  # waits until the port is open
        code, _, errors = countis("read", *port, "--unit-id", "2")
    assert code == Exit.FAILED
    assert "no other program uses the port" in errors


@NEEDS_NETWORK
@pytest.mark.parametrize("option", ["--tcp", "--rtu-over-tcp"])
def test_gateway_that_refuses_connections_is_reported(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # refuses connections after `server` is closed
    code, _, errors = countis("read", option, f"127.0.0.1:{port}", "--unit-id", "1")
    assert code == Exit.FAILED
    assert "Connection refused" in errors
    assert "check the port of the gateway" in errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModbusError("no client"), "cannot be opened (no client): check the adapter"),
        (ModbusConnectionError("could not open p"), "cannot be opened: check the"),
        (PermissionError(errno.EACCES, "x"), "(Permission denied): check that you may"),
    ],
)
def test_reason_and_advice_follow_from_the_error(
    error: Exception, message: str
) -> None:
    failed = failure(CannotOpenError(error), Connection("port", "p"))
    assert message in str(failed)


# On macOS, the resolver reports an unknown host as 8, and a name server that does not
# respond as 2. The message must not show the texts of these numbers in `errno`, "Exec
# format error" and "No such file or directory".
@pytest.mark.parametrize("number", [8, 2])
def test_unknown_host_is_reported_with_the_text_of_the_resolver(number: int) -> None:
    error = ModbusConnectionError("could not connect")
    error.__cause__ = socket.gaierror(number, "host not known")
    failed = failure(CannotOpenError(error), Connection("tcp", "meters.invalid", 502))
    assert failed.message.endswith("cannot be opened (host not known)")
    assert failed.check == "the host, the port and the network of the gateway"


@EACH_METER_COMMAND
@pytest.mark.usefixtures("short_timeouts")
def test_meter_that_does_not_respond_is_reported(command: str) -> None:
    with line_of() as line:
        code, output, errors = countis(
            *command.split(), "--port", line.port, "--unit-id", "9"
        )
    assert (code, output) == (Exit.FAILED, "")
    assert errors.startswith("No meter responds at unit ID 9: check the unit ID")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("command", ["read", "scan"])
def test_adapter_that_echoes_is_reported(
    command: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 3 s is long enough for the echo on a busy computer.
    monkeypatch.setitem(RESPONSE_TIMEOUTS, "port", 3.0)
    line.echoes = True
    options = ("--port", line.port, "--unit-id", "1", *ONE_SETTING)
    code, output, errors = countis(command, *options)
    assert (code, output) == (Exit.FAILED, "")
    assert "returns every request (echo)" in errors
    assert "switch off the echo" in errors


def test_device_that_is_no_countis_is_not_read(line: Line, meter: Meter) -> None:
    meter.override = {50000: ord("X")}  # a COUNTIS has "SOCO" from 50000
    code, result = countis_json("read", "--port", line.port, "--unit-id", "1")
    assert (code, result["error"]["kind"]) == (Exit.FAILED, "not_a_countis")


def test_other_meters_are_read_after_a_meter_that_failed(line: Line) -> None:
    code, result = countis_json("read", "--port", line.port, "--unit-id", "9,2")
    assert (code, result["unit_id"]) == (Exit.FAILED, 2)
    assert "values" in result
