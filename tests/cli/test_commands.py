"""Tests of the commands that change meters."""

import json
import select
import signal
import time

import pytest

from cli.connection import RESPONSE_TIMEOUTS
from cli.exit_codes import Exit
from simulator import Line, Meter
from tests.common import SERIAL, writes_on

from .common import (
    PARTIAL_COUNTERS,
    countis,
    countis_json,
    countis_on_terminal,
    countis_process,
    line_of,
)

# kWh and kvarh; the partial counters of the fixture `meter` before a reset.
BEFORE = dict(zip(PARTIAL_COUNTERS, (45.67, 1.23, 0.89), strict=True))
# Register addresses of commands.
RESET = 57890
SET_TARIFF = 40481


def test_reset_prints_the_readings_before_and_after(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, result = countis_json("reset-partial", "--port", line.port, "-u", "1-2")
    assert code == Exit.DONE
    first, second = result["meters"]
    assert first == {
        "unit_id": 1,
        "done": True,
        "model": "COUNTIS E33",
        "serial_number": SERIAL,
        "before": BEFORE,
        "after": dict.fromkeys(PARTIAL_COUNTERS, 0),
    }
    assert (second["unit_id"], second["done"]) == (2, True)
    assert meter.counters.partial_consumed == 0
    assert meter.counters.consumed == 1_234_560  # Wh, as before
    assert len(second_meter.writes) == 1


def test_reset_is_printed_as_a_table(line: Line) -> None:
    code, output, errors = countis("reset-partial", "--port", line.port, "-u", "1")
    assert (code, errors) == (Exit.DONE, "")
    assert [row.split() for row in output.splitlines()] == [
        ["Unit", "ID", "Model", "Ea+", "(kWh)", "Er+", "(kvarh)", "Ea-", "(kWh)"],
        ["1", "COUNTIS", "E33", "before", "45.67", "1.23", "0.89"],
        ["1", "COUNTIS", "E33", "after", "0.00", "0.00", "0.00"],
    ]


def test_unit_id_entered_twice_is_reset_once(line: Line, meter: Meter) -> None:
    unit_ids = ("-u", "1", "-u", "1,1")
    code, result = countis_json("reset-partial", "--port", line.port, *unit_ids)
    assert (code, len(result["meters"])) == (Exit.DONE, 1)
    assert len(meter.writes) == 1


# Runs the command line with a response timeout of 60 s, and lets Ctrl-C end it. Without
# `signal.signal`, the command line would ignore Ctrl-C if a shell has started the tests
# in the background.
WITH_LONG_TIMEOUT = """
import signal
from cli.connection import RESPONSE_TIMEOUTS
from cli.__main__ import main
RESPONSE_TIMEOUTS["port"] = 60.0
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_readings_are_printed_before_the_reset_is_sent(line: Line) -> None:
    was_printed: list[bool] = []  # one for each request that resets a meter
    arguments = ("reset-partial", "--port", line.port, "-u", "1-2", "--json")
    with countis_process(*arguments, code=WITH_LONG_TIMEOUT) as process:
        stdout = process.stdout
        assert stdout is not None

        def lose_write(request: bytes) -> None:
            if request[1] == 6:  # function code of a write
                readable, _, _ = select.select([stdout], [], [], 0)
                was_printed.append(bool(readable))
                line.cut = True

        line.on_request = lose_write
        # The first write is lost. Ctrl-C ends the command during the response timeout.
        while not was_printed:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED
    assert was_printed == [True]
    assert json.loads(output.splitlines()[0]) == {
        "unit_id": 1,
        "model": "COUNTIS E33",
        "serial_number": SERIAL,
        "before": BEFORE,
    }


def test_readings_before_a_failed_reset_are_printed(line: Line, meter: Meter) -> None:
    meter.refused_writes = {RESET}
    arguments = ("reset-partial", "--port", line.port, "-u", "1")
    code, output, errors = countis(*arguments)
    assert code == Exit.FAILED
    assert "before" in output
    assert "after" not in output
    assert "45.67" in output
    assert "did not carry out the command" in errors
    _, result = countis_json(*arguments)
    (failed,) = result["meters"]
    assert failed["before"] == BEFORE
    assert "after" not in failed
    assert failed["error"]["kind"] == "command_failed"


def test_other_meters_are_reset_after_a_meter_that_refuses(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    meter.refused_writes = {RESET}
    code, result = countis_json("reset-partial", "--port", line.port, "-u", "1,2")
    assert code == Exit.FAILED
    assert [each["done"] for each in result["meters"]] == [False, True]
    assert meter.counters.partial_consumed == 45_670  # Wh, as before
    assert len(second_meter.writes) == 1


QUESTION = "Reset the partial counters at unit ID 1?"


@pytest.mark.parametrize(
    ("answer", "expected_code", "resets"),
    [(b"n\n", Exit.FAILED, 0), (b"y\n", Exit.DONE, 1), (None, Exit.INTERRUPTED, 0)],
    ids=["no", "yes", "Ctrl-C"],
)
def test_reset_asks_on_a_terminal(
    answer: bytes | None, expected_code: Exit, resets: int, line: Line, meter: Meter
) -> None:
    arguments = ("reset-partial", "--port", line.port, "-u", "1")
    code, _ = countis_on_terminal(*arguments, question=QUESTION.encode(), answer=answer)
    assert (code, len(meter.writes)) == (expected_code, resets)


def test_reset_with_yes_does_not_ask(line: Line, meter: Meter) -> None:
    arguments = ("reset-partial", "--port", line.port, "-u", "1", "--yes")
    code, shown = countis_on_terminal(*arguments)
    assert code == Exit.DONE
    assert QUESTION not in shown
    assert len(meter.writes) == 1


def test_tariff_is_set_and_read_back(line: Line, meter: Meter) -> None:
    code, result = countis_json("set-tariff", "3", "--port", line.port, "-u", "1")
    assert code == Exit.DONE
    assert (result["tariff"], result["broadcast"]) == (3, False)
    assert result["meters"][0]["tariff"] == meter.counters.tariff == 3


def test_tariff_of_several_meters_is_set_one_by_one(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, output, _ = countis("set-tariff", "2", "--port", line.port, "-u", "1,2")
    assert code == Exit.DONE
    rows = [row.split() for row in output.splitlines()]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("1", "2"), ("2", "2")]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (2, 2)
    assert [write[0] for write in writes_on(line)] == [1, 2]  # unit IDs


def test_tariff_that_the_meter_does_not_have_is_an_error(
    line: Line, meter: Meter
) -> None:
    code, result = countis_json("set-tariff", "5", "--port", line.port, "-u", "1")
    assert code == Exit.FAILED
    assert result["meters"][0]["error"] == {
        "kind": "command_failed",
        "message": "The meter at unit ID 1 has 4 tariffs",
        "check": "the tariff that you entered",
    }
    assert not meter.writes


def test_tariff_of_all_meters_is_set_by_one_broadcast(
    line: Line, meter: Meter, second_meter: Meter
) -> None:
    code, result = countis_json(
        "set-tariff", "4", "--port", line.port, "-u", "1,2", "--all"
    )
    assert code == Exit.DONE
    assert result["broadcast"] is True
    assert [each["tariff"] for each in result["meters"]] == [4, 4]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (4, 4)
    assert [write[0] for write in writes_on(line)] == [0]  # unit ID of a broadcast


# In each case, another meter on the bus, at unit ID 1, has eight tariffs.
@pytest.mark.parametrize(
    ("second", "kind", "message"),
    [
        (Meter(unit_id=2), "command_failed", "The meter at unit ID 2 has 4 tariffs"),
        (
            Meter(unit_id=2, tariff_count=8, override={50000: ord("X")}),
            "not_a_countis",
            "The device at unit ID 2 is not a COUNTIS",
        ),
    ],
    ids=["four tariffs", "not a COUNTIS"],
)
def test_broadcast_is_not_sent_if_a_device_does_not_have_the_tariff(
    second: Meter, kind: str, message: str
) -> None:
    first = Meter(unit_id=1, tariff_count=8)
    with line_of(first, second) as line:
        code, result = countis_json(
            "set-tariff", "8", "--port", line.port, "-u", "1,2", "--all"
        )
    assert (first.writes, second.writes) == ([], [])
    assert code == Exit.FAILED
    assert result["error"]["kind"] == kind
    assert result["error"]["message"].startswith(message)


@pytest.mark.usefixtures("short_timeouts")
def test_broadcast_is_sent_if_a_selected_meter_does_not_respond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In s; long enough for the meter at unit ID 1 on a busy computer.
    monkeypatch.setitem(RESPONSE_TIMEOUTS, "port", 0.5)
    meter = Meter(unit_id=1)
    with line_of(meter) as line:
        code, result = countis_json(
            "set-tariff", "4", "--port", line.port, "-u", "9,1", "--all"
        )
    assert code == Exit.FAILED
    assert meter.writes == [(SET_TARIFF, [4])]
    absent, present = result["meters"]
    assert absent["error"]["kind"] == "no_response"
    assert (present["done"], present["tariff"]) == (True, 4)


def test_meter_that_ignores_a_broadcast_is_reported(
    line: Line, second_meter: Meter
) -> None:
    second_meter.ignored_writes = {SET_TARIFF}
    code, result = countis_json(
        "set-tariff", "4", "--port", line.port, "-u", "1,2", "--all"
    )
    assert code == Exit.FAILED
    assert [each["done"] for each in result["meters"]] == [True, False]


def test_clock_is_set_to_the_time_of_the_computer() -> None:
    meter = Meter(true_time=lambda: time.time() - 300)  # s
    with line_of(meter) as line:
        code, output, _ = countis("set-clock", "--port", line.port, "-u", "1")
        _, result = countis_json("set-clock", "--port", line.port, "-u", "1")
    assert code == Exit.DONE
    heading, row = output.splitlines()
    assert heading.endswith("Offset before (s)  Offset after (s)")
    before, after = map(int, row.split()[-2:])
    assert before == pytest.approx(-300, abs=2)
    assert abs(after) <= 2
    # The second command finds the clock that the first command has set.
    assert abs(result["meters"][0]["before"]) <= 2
