"""Helpers of the tests of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import json
import os
from pathlib import Path
import pty
import signal
import subprocess
import sys
from typing import Any, NamedTuple

from typer.testing import CliRunner

from cli.app import app
from simulator import Line, Meter, line_in_thread

ROOT = Path(__file__).parents[2]
# Options for the response timeout of a scan, in s. The default for a serial port is too
# short for the tests, because the simulator responds late on a busy computer.
# `LONG_TIMEOUT` is for a scan in which a device responds to each probe. In other scans,
# many responses are missing, so `PROBE_TIMEOUT` is shorter.
PROBE_TIMEOUT = ("--timeout", "0.2")
LONG_TIMEOUT = ("--timeout", "5")
# Options of a scan that tries only one combination of line settings.
ONE_SETTING = ("--baudrate", "9600", "--parity", "N", "--stopbits", "1")

# Code that runs the command line, and lets Ctrl-C end it. Without `signal.signal`, the
# command line would ignore Ctrl-C if a shell has started the tests in the background.
WITH_CTRL_C = """
import signal
from cli.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""

PARTIAL_COUNTERS = (
    "partial_energy_consumed",
    "partial_energy_reactive",
    "partial_energy_produced",
)


class Result(NamedTuple):
    """The result of a command."""

    code: int
    output: str
    errors: str


def countis(*arguments: str) -> Result:
    """Run a command in the process of the test."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def countis_json(*arguments: str) -> tuple[int, Any]:
    """Run a command with --json. Return the exit code and the last printed object."""
    code, output, _ = countis(*arguments, "--json")
    return code, json.loads(output.splitlines()[-1])


@contextmanager
def countis_process(
    *arguments: str, code: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process, which ends with the context.

    `code` is Python code that runs in place of the module `cli`.
    """
    entry_point = ("-m", "cli") if code is None else ("-c", code)
    command = [sys.executable, *entry_point, *arguments]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def countis_on_terminal(
    *arguments: str, question: bytes = b"", answer: bytes | None = None
) -> tuple[int, str]:
    """Run a command on a terminal. Return its exit code and what the terminal shows.

    After `question` is shown, the command gets `answer`, or Ctrl-C if `answer` is None.
    Without `question`, the command gets neither.
    """
    master, terminal = pty.openpty()
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", WITH_CTRL_C, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
    ) as process:
        os.close(terminal)
        shown, is_answered = b"", not question
        # When the process ends, the terminal is closed, and `read` raises `OSError`.
        with suppress(OSError):
            while data := os.read(master, 4096):
                shown += data
                if not is_answered and question in shown:
                    is_answered = True
                    if answer is None:
                        interrupt(process)
                    else:
                        os.write(master, answer)
        process.wait(20)  # s
    os.close(master)
    return process.returncode, shown.decode()


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Send Ctrl-C to a process until it ends.

    If the signal arrives just before the process waits for input, Python handles the
    signal only after the next signal or input.
    """
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)  # s


@contextmanager
def line_of(*meters: Meter, link: Path | None = None) -> Iterator[Line]:
    """Run a line with these meters, much faster than a real one to save time."""
    line = Line(meters, baudrate=921_600, response_delay=0.001, link=link)
    with line_in_thread(line) as running:
        yield running
