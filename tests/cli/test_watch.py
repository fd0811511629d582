"""Tests of the command `watch`, line by line and on its screen."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
import json
from pathlib import Path
import re
import signal
import subprocess

import pytest
from textual.widgets import DataTable, Static
from textual_plotext import PlotextPlot

from cli.connection import Connection
from cli.exit_codes import Exit
from cli.failures import NO_RESPONSE
from cli.monitor import Monitor, Watched
from cli.screen import COLUMNS, WIDE_COLUMNS, WatchApp
from simulator import Line, Meter
from simulator.table import TARIFFS_UNIT_100
from socomec_countis import LineSettings

from .common import ONE_SETTING, countis, countis_process, line_of

# The command line with a scan of only three unit IDs. A scan of all 255 takes 25 s.
SHORT_SCAN = """
from cli import scan
from cli.__main__ import main

scan.UNIT_IDS = range(1, 4)
main()
"""
# The command line with a response timeout of 1 s, for a busy computer.
WITH_LONG_TIMEOUT = """
from cli.connection import RESPONSE_TIMEOUTS
from cli.__main__ import main

RESPONSE_TIMEOUTS["port"] = 1.0
main()
"""
# Arguments of `str.replace`: an exported screenshot has this XML code for each space.
SPACE = ("&#160;", " ")
# The values of unit ID 1: the power in W in total and of each phase, then the consumed
# and the produced energy in kWh.
VALUES = ["1300", "1000", "500", "-200", "1234.56", "7.89"]


def stop(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """End a process with Ctrl-C. Return its exit code, output and errors."""
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    return process.returncode, output, errors


def test_watch_prints_a_line_for_each_meter_until_ctrl_c(line: Line) -> None:
    arguments = ("watch", "--port", line.port, "-u", "1,2")
    with countis_process(*arguments, code=WITH_LONG_TIMEOUT) as process:
        assert process.stdout is not None
        heading = process.stdout.readline()
        rows: list[list[str]] = []
        expected = ["1", *VALUES]
        # Wait for two complete rows of unit ID 1, and one row of unit ID 2. The first
        # cell is the time.
        while sum(row[1:] == expected for row in rows) < 2 or not any(
            row[1] == "2" for row in rows
        ):
            text = process.stdout.readline()
            assert text  # empty if the process has ended
            rows.append(text.split())
        code, _, errors = stop(process)
    assert heading.split()[:3] == ["Time", "Unit", "ID"]
    assert (code, errors) == (Exit.DONE, "")


def test_watch_continues_while_a_meter_is_offline(line: Line, meter: Meter) -> None:
    arguments = ("watch", "--port", line.port, "-u", "1", "--json")
    with countis_process(*arguments, code=WITH_LONG_TIMEOUT) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["values"]
        meter.offline = True
        while "error" not in (result := json.loads(process.stdout.readline())):
            pass
        assert result["error"]["kind"] == "no_response"
        meter.offline = False
        # No block has failed.
        assert json.loads(process.stdout.readline())["failed"] == []
        code, _, errors = stop(process)
    assert code == Exit.DONE
    assert errors.count("No meter responds") == 1


@pytest.mark.usefixtures("short_timeouts")
def test_watch_without_any_meter_fails() -> None:
    with line_of() as line:
        code, output, errors = countis("watch", "--port", line.port, "-u", "8,9")
    assert (code, output) == (Exit.FAILED, "")
    assert "No meter responds at unit ID 8" in errors
    assert "No meter responds at unit ID 9" in errors


def test_watch_without_a_unit_id_scans_first(line: Line) -> None:
    arguments = ("watch", "--port", line.port, *ONE_SETTING)
    with countis_process(*arguments, code=SHORT_SCAN) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Unit ID  Line settings")
        assert "COUNTIS E33" in process.stdout.readline()
        while "Ea+ kWh" not in (text := process.stdout.readline()):
            assert text  # empty if the process has ended
        code, *_ = stop(process)
    assert code == Exit.DONE


def test_one_ctrl_c_during_the_scan_ends_the_watch(line: Line) -> None:
    # The scan of all unit IDs takes 25 s.
    arguments = ("watch", "--port", line.port, *ONE_SETTING)
    with countis_process(*arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the headings of the scan
        assert "COUNTIS E33" in process.stdout.readline()
        code, output, _ = stop(process)
    assert code == Exit.DONE
    assert "Ea+ kWh" not in output


def test_ctrl_c_before_a_meter_is_found_ends_the_watch_without_advice() -> None:
    with line_of() as line:
        arguments = ("watch", "--port", line.port, *ONE_SETTING)
        with countis_process(*arguments) as process:
            assert process.stderr is not None
            process.stderr.readline()  # the progress of the scan
            code, output, errors = stop(process)
    assert (code, output) == (Exit.DONE, "")
    assert "No meter was found" not in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "check the two wires"),
        (ONE_SETTING, "only the selected line settings were"),
    ],
)
def test_watch_of_an_empty_bus_ends_after_the_scan(
    options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.scan.UNIT_IDS", range(1, 3))
    with line_of() as line:
        code, _, errors = countis("watch", "--port", line.port, *options)
    assert code == Exit.NEGATIVE_RESULT
    assert f"No meter was found: {message}" in errors
    assert "more time (countis scan --timeout 1)." in errors


def test_watch_fails_if_the_port_of_its_scan_cannot_be_opened() -> None:
    code, output, _ = countis("watch", "--port", "/dev/no-such-port", "--json")
    assert code == Exit.FAILED
    assert json.loads(output)["error"]["kind"] == "cannot_open"


def test_unexpected_error_of_the_polling_ends_the_watch(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Monitor) -> None:
        msg = "unexpected"
        raise ValueError(msg)

    monkeypatch.setattr(Monitor, "async_run", fail)
    with pytest.raises(ValueError, match="unexpected"):
        countis("watch", "--port", line.port, "-u", "1")


def test_closed_pipe_ends_the_watch_without_an_error(line: Line) -> None:
    with countis_process("watch", "--port", line.port, "-u", "1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == Exit.DONE
        assert process.stderr.read() == ""


@asynccontextmanager
async def monitored(line: Line, *unit_ids: int) -> AsyncIterator[Monitor]:
    """Run a monitor of some unit IDs. It keeps the power of the last 10 minutes."""
    port = Connection("port", line.port)
    async with port.open(LineSettings(9600, "N", 2)) as opened:
        # No scan has run, so there are no profiles.
        monitor = Monitor(opened, port, unit_ids, 10, {})
        task = asyncio.create_task(monitor.async_run())
        try:
            yield monitor
        finally:
            task.cancel()
            await asyncio.wait({task})


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, for at most 30 s."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


def failure_kind(watched: Watched) -> str | None:
    """Return the kind of the failure of a meter, or None without a failure."""
    return watched.failure.kind if watched.failure else None


@pytest.mark.parametrize(("width", "columns"), [(80, COLUMNS), (200, WIDE_COLUMNS)])
async def test_screen_shows_each_meter_with_its_power_and_quality(
    width: int, columns: tuple[tuple[str, str, str], ...], line: Line
) -> None:
    async with monitored(line, 1, 2, 9) as monitor:  # no meter has unit ID 9
        app = WatchApp(monitor, "p, 9600 baud, 8N2", 10)
        async with app.run_test(size=(width, 30)) as pilot:
            table = app.query_one(DataTable)
            bus_pattern = re.compile(
                r"p, 9600 baud, 8N2   2 of 3 online   bus \d+ % used   delay "
            )

            def is_shown() -> bool:
                first_row = [str(cell) for cell in table.get_row("1")]
                return (
                    first_row[:7] == ["1", *VALUES]
                    and first_row[-1].endswith(" %")
                    and str(table.get_row("9")[-1]) == "offline"
                    and bus_pattern.match(str(app.query_one("#bus", Static).content))
                    is not None
                )

            # On a busy computer, a meter may be offline for a moment.
            await until(is_shown)
            await pilot.pause()
            headings = [str(each.label) for each in table.columns.values()]
            assert headings == ["ID", *(name for name, _, _ in columns), "Valid"]
            plot = app.query_one(PlotextPlot).plt.build()
            assert "Power by phase in W, unit ID 1" in plot
            assert "L3" in plot
            shown = app.export_screenshot()
            assert "1438012000001" in shown  # serial number of unit ID 1
            assert "requests," in shown.replace(*SPACE)
            # Quit the app. Otherwise, the end of the test would remove the widgets
            # while the timer that updates them still runs.
            await pilot.press("q")


async def test_screen_shows_the_selected_meter_and_its_failure(line: Line) -> None:
    async with monitored(line, 1, 9) as monitor:  # no meter has unit ID 9
        app = WatchApp(monitor, "p", 10)
        async with app.run_test(size=(100, 30)) as pilot:
            await until(lambda: monitor.meters[1].failure is not None)
            await pilot.press("down")
            sentence = "No meter responds at unit ID 9"
            await until(lambda: sentence in app.export_screenshot().replace(*SPACE))
            await pilot.resize_terminal(160, 30)
            await pilot.pause()
            table = app.query_one(DataTable)
            assert len(table.columns) == len(WIDE_COLUMNS) + 2  # "ID" and "Valid"
            assert table.cursor_row == 1
            await pilot.press("q")
        assert app.return_code == 0


async def test_meter_that_comes_online_later_is_found(
    line: Line, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.monitor.FIND_PAUSE", 0.1)
    meter.offline = True
    async with monitored(line, 1) as monitor:
        (watched,) = monitor.meters
        await until(lambda: watched.failure is not None)
        assert not watched.online
        assert monitor.has_no_meter
        meter.offline = False
        await until(lambda: watched.online and "power" in watched.values)
        assert watched.values["power"] == 1300
        assert not monitor.has_no_meter


async def test_meters_are_watched_again_after_the_adapter_was_unplugged(
    tmp_path: Path,
) -> None:
    with line_of(Meter(), link=tmp_path / "port") as line:
        async with monitored(line, 1) as monitor:
            (watched,) = monitor.meters
            await until(lambda: watched.online)
            line.unplug()
            await until(lambda: failure_kind(watched) == "connection_lost")
            line.replug()
            await until(lambda: watched.online)


async def test_power_is_kept_for_the_minutes_of_the_plot(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with monitored(line, 1) as monitor:
        (watched,) = monitor.meters
        await until(lambda: len(watched.powers) > 1)
        first = watched.powers[0]
        # The monitor keeps 10 minutes (600 s).
        monkeypatch.setattr("cli.monitor.time.time", lambda: first.at + 601)
        await until(lambda: watched.powers[0] is not first)
        assert watched.powers[-1].watts == (1000, 500, -200)


async def test_meter_stays_online_if_a_block_fails(line: Line, meter: Meter) -> None:
    async with monitored(line, 1) as monitor:
        (watched,) = monitor.meters
        await until(lambda: "tariff" in watched.values)
        meter.refused_blocks = {TARIFFS_UNIT_100}
        await until(lambda: watched.failed_blocks == {"tariffs"})
        # On a busy computer, a lost response may set the meter offline for a moment.
        assert failure_kind(watched) in {None, NO_RESPONSE}
        meter.refused_blocks = set()
        await until(lambda: not watched.failed_blocks)
