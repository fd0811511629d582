"""Tests of the command `scan`."""

from argparse import Namespace
import errno
import json
from pathlib import Path
import re
import signal

import pytest

from cli import connection as connections
from cli.connection import CannotOpenError, Connection
from cli.exit_codes import Exit
from simulator import Line, Meter, RtuGateway, TcpGateway, gateway_in_thread
from socomec_countis import SCAN_SETTINGS
from tests.common import SERIAL

from .common import (
    LONG_TIMEOUT,
    ONE_SETTING,
    PROBE_TIMEOUT,
    countis,
    countis_json,
    countis_process,
    line_of,
)

# The JSON output for the meter at unit ID 1.
FOUND_1 = {
    "unit_id": 1,
    "baudrate": 9600,
    "parity": "N",
    "stopbits": 2,
    "model": "COUNTIS E33",
    "serial_number": SERIAL,
}


def test_scan_with_known_unit_id_finds_the_settings(line: Line) -> None:
    line.meter_baudrate = 38400
    code, result = countis_json(
        *("scan", "--port", line.port, "--unit-id", "1", "--parity", "N"),
        *PROBE_TIMEOUT,
    )
    assert code == Exit.DONE
    assert result == {
        "meters": [FOUND_1 | {"baudrate": 38400}],
        "others": [],
        "complete": True,
    }


def test_scan_with_known_settings_finds_the_unit_ids(line: Line) -> None:
    code, result = countis_json(
        *("scan", "--port", line.port, "--unit-id", "1-8,20"),
        *ONE_SETTING,
        *PROBE_TIMEOUT,
    )
    assert code == Exit.DONE
    assert [found["unit_id"] for found in result["meters"]] == [1, 2]
    assert {request[0] for request in line.requests} == {*range(1, 9), 20}


def test_scan_prints_its_progress_and_each_meter_when_found(line: Line) -> None:
    line.meter_baudrate = 4800
    arguments = ("scan", "--port", line.port, "--parity", "N", *PROBE_TIMEOUT)
    with countis_process(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        rows = [process.stdout.readline() for _ in range(3)]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert [re.sub(r" {2,}", "|", row.strip()) for row in rows] == [
        "Unit ID|Line settings|Model|Serial number",
        f"1|4800 baud, 8N2|COUNTIS E33|{SERIAL}",
        "2|4800 baud, 8N2|COUNTIS E33|1438012000002",
    ]
    first, *_, last = errors.splitlines()
    assert re.fullmatch(r"  0 %  9600 baud, 8N2, unit ID 1, \d+ min \d\d s left", first)
    assert re.fullmatch(r"The scan is not complete: \d+ % is done\.", last)
    # Ctrl-C only ends the scan early: the exit code is the same as without Ctrl-C.
    assert process.returncode == Exit.DONE


def test_interrupted_scan_that_found_no_meter_ends_with_exit_code_3() -> None:
    with line_of() as line:
        arguments = ("scan", "--port", line.port, "--parity", "N", "--json")
        with countis_process(*arguments) as process:
            assert process.stderr is not None
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=20)
    assert process.returncode == Exit.NEGATIVE_RESULT
    assert json.loads(output) == {"meters": [], "others": [], "complete": False}


def test_scan_of_a_bus_without_a_meter_says_what_to_check() -> None:
    with line_of() as line:
        code, output, errors = countis(
            *("scan", "--port", line.port, "--unit-id", "1-3"),
            *ONE_SETTING,
            *PROBE_TIMEOUT,
        )
    assert (code, output) == (Exit.NEGATIVE_RESULT, "")
    assert (
        "No meter was found: only the selected unit IDs and line settings were tried."
        " Omit the options to try all. Also check the two wires"
    ) in errors
    # The suggested timeout is twice the timeout of the scan, but at least 1 s.
    assert errors.endswith("more time (countis scan --timeout 1).\n")


def test_other_devices_are_listed(line: Line, meter: Meter) -> None:
    meter.override = {50000: ord("X")}  # a COUNTIS has "SOCO" from 50000
    arguments = ("scan", "--port", line.port, "--unit-id", "1,2", *ONE_SETTING)
    code, output, _ = countis(*arguments, *LONG_TIMEOUT)
    assert code == Exit.DONE
    assert (
        "A device responds at unit ID 1, but could not be identified as a COUNTIS.\n"
    ) in output
    _, result = countis_json(*arguments, *LONG_TIMEOUT)
    assert result["others"] == [1]
    assert [found["unit_id"] for found in result["meters"]] == [2]


def test_scan_prints_found_meters_after_its_port_disappears(tmp_path: Path) -> None:
    # Another program may get the path of a closed pseudo-terminal. So the test uses a
    # link, which disappears with the port.
    with line_of(Meter(), link=tmp_path / "line") as line:
        arguments = ("scan", "--port", line.port, "--parity", "N", "--json")
        with countis_process(*arguments) as process:
            assert process.stderr is not None
            while "1 found" not in (text := process.stderr.readline()):
                assert text  # empty if the process has ended
            line.unplug()
            output, _ = process.communicate(timeout=20)
    assert process.returncode == Exit.FAILED
    result = json.loads(output)
    assert [found["unit_id"] for found in result["meters"]] == [1]
    assert result["complete"] is False
    assert result["error"]["kind"] in {"connection_lost", "cannot_open"}


@pytest.mark.usefixtures("socket_enabled")
def test_bus_behind_a_gateway_is_scanned_without_line_settings(meter: Meter) -> None:
    line = Line([meter], baudrate=921_600, response_delay=0.001)
    with gateway_in_thread(line, RtuGateway) as gateway:
        address = f"{gateway.host}:{gateway.port}"
        code, result = countis_json(
            "scan", "--rtu-over-tcp", address, "--unit-id", "1-3", *PROBE_TIMEOUT
        )
    assert code == Exit.DONE
    assert result["meters"] == [
        FOUND_1 | {"baudrate": None, "parity": None, "stopbits": None}
    ]


@pytest.mark.usefixtures("socket_enabled")
def test_advice_names_the_gateway_first_if_the_scan_finds_no_meter(
    meter: Meter,
) -> None:
    line = Line([meter], baudrate=921_600, response_delay=0.001)
    with gateway_in_thread(line, RtuGateway) as gateway:
        address = f"{gateway.host}:{gateway.port}"
        code, _, errors = countis(
            "scan", "--rtu-over-tcp", address, "--unit-id", "8", *PROBE_TIMEOUT
        )
    assert code == Exit.NEGATIVE_RESULT
    assert (
        "only the selected unit IDs were tried. Omit the options to try all. Also check"
        f" the kind of the gateway {address} (try --tcp)"
    ) in errors


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    # In s. The default timeout of a scan with --tcp is 1.5 s.
    ("options", "suggested"),
    [((), "3"), (("--timeout", "0.7"), "1.4")],
)
def test_suggested_timeout_is_twice_that_of_the_scan(
    options: tuple[str, ...], suggested: str, meter: Meter
) -> None:
    line = Line([meter], baudrate=921_600, response_delay=0.001)
    with gateway_in_thread(
        line, lambda line: TcpGateway(line, timeout=0.05)
    ) as gateway:
        address = f"{gateway.host}:{gateway.port}"
        code, _, errors = countis("scan", "--tcp", address, "--unit-id", "8", *options)
    assert code == Exit.NEGATIVE_RESULT
    assert errors.endswith(f"(countis scan --timeout {suggested}).\n")


def test_timeout_of_the_client_does_not_shorten_that_of_the_scan(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTION_TIMEOUT", 0.1)
    line.response_delay = 0.3
    arguments = ("scan", "--port", line.port, "--unit-id", "1", *ONE_SETTING)
    code, result = countis_json(*arguments, "--timeout", "2")
    assert code == Exit.DONE
    assert result["meters"] == [FOUND_1 | {"stopbits": 1}]


async def test_settings_with_an_unsupported_parity_are_not_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    class Client:
        """A client of a port without parity."""

        async def close(self) -> None:
            """Close nothing."""

    async def connect(arguments: Namespace) -> Client:
        opened.append(arguments.target)
        if arguments.parity != "N":
            raise OSError(errno.EINVAL, "Invalid argument")
        return Client()

    monkeypatch.setattr(connections, "connect_from_args", connect)
    port = Connection("port", "/dev/ttyUSB0")
    usable = await port.async_usable_settings(SCAN_SETTINGS)
    assert usable == [each for each in SCAN_SETTINGS if each.parity == "N"]
    assert set(opened) == {"/dev/ttyUSB0"}
    with pytest.raises(CannotOpenError):
        await port.async_usable_settings(
            [each for each in SCAN_SETTINGS if each.parity == "E"]
        )


def test_scan_omits_a_parity_that_the_port_does_not_support(line: Line) -> None:
    # Linux refuses a parity on a pseudo-terminal.
    code, output, errors = countis(
        *("scan", "--port", line.port, "--unit-id", "1", *LONG_TIMEOUT),
    )
    assert code == Exit.DONE
    assert "COUNTIS E33" in output
    assert "The port cannot be set to parity E, O: the scan omits" in errors
