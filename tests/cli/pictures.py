"""Draws the pictures of docs/command-line.md: python -m tests.cli.pictures.

The commands run in this process, on a simulated bus with noise. One unit ID has no
meter, so it is shown as offline. Look at the pictures before you commit them.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
import io
from pathlib import Path
from random import Random
import re
import time
from typing import override

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from typer.testing import CliRunner

from cli import options
from cli.app import app
from cli.connection import Connection
from cli.monitor import Monitor, Power
from cli.output import Output, ProgressDisplay
from cli.screen import WatchApp
from simulator import (
    FLIPPED,
    LOST,
    NOISE_BEFORE,
    Constant,
    Fault,
    Line,
    Meter,
    Phase,
    line_in_thread,
)
from simulator.site import meters_at
from socomec_countis import LineSettings

from .common import ROOT

FOLDER = ROOT / "docs" / "images"
WIDTH = 80  # characters
OFFLINE = 9  # unit ID without a meter
PLOT_MINUTES = 10  # duration that the plot of `watch` shows
SCANNED_PART = 0.15  # part of the scan that is done when its picture is drawn
SHOWN_PORT = "/dev/ttyUSB0"  # in pictures, in place of the path of the simulated port

# The colours of a dark terminal. A page in light mode shows the same pictures.
THEME = TerminalTheme(
    (24, 26, 31),
    (214, 216, 222),
    [
        (24, 26, 31),
        (224, 108, 117),
        (126, 192, 122),
        (229, 192, 123),
        (97, 175, 239),
        (198, 120, 221),
        (86, 182, 194),
        (171, 178, 191),
    ],
)
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class PictureOutput(Output):
    """An output that is drawn on a picture."""

    picture: Console
    """The console of the present picture, which `draw` creates."""

    def __init__(self, *, as_json: bool) -> None:
        """Print everything on the picture, as on a terminal."""
        super().__init__(as_json=as_json)
        self.console = self.errors = self.picture  # type: ignore[assignment]

    @override
    @contextmanager
    def progress(self) -> Iterator[ProgressDisplay]:
        """Yield a progress bar that is drawn after a part of the scan."""
        # The bar needs a terminal. `show` draws the bar, so this console is not shown.
        yield PictureProgress(Console(file=io.StringIO(), force_terminal=True))


class PictureProgress(ProgressDisplay):
    """A progress bar that is drawn once."""

    @override
    def show(self, part: float, text: str, seconds_left: float | None = None) -> None:
        """After a part of the scan, draw the bar, and end the command."""
        super().show(part, text, seconds_left)
        # Only the progress of a scan contains a speed in baud.
        if "baud" in text and part > SCANNED_PART:
            PictureOutput.picture.print(self.bar.get_renderable())
            raise PictureDone


class PictureDone(Exception):  # noqa: N818 (no error)
    """Ends a command whose picture is complete."""


def new_console() -> Console:
    """Return a console that records what it prints."""
    return Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
    )


def draw(line: Line, name: str, *arguments: str) -> None:
    """Run a command, and draw its output."""
    console = PictureOutput.picture = new_console()
    shown = [*arguments, "--port", SHOWN_PORT]
    console.print(Text(f"$ countis {' '.join(shown)}", "bold"))
    CliRunner().invoke(app, [*arguments, "--port", line.port])
    save(name, console.export_svg(title="countis", theme=THEME))


def save(name: str, svg: str) -> None:
    """Save a picture without its links to fonts."""
    path = FOLDER / f"command-line-{name}.svg"
    path.write_text(FONT.sub("", svg), encoding="utf-8")


async def async_draw_watch(line: Line) -> None:
    """Draw the screen of `watch`, with the power of the last minutes."""
    port = Connection("port", line.port)
    async with port.open(LineSettings(9600, "N", 2)) as opened:
        monitor = Monitor(opened, port, [*line.meters, OFFLINE], PLOT_MINUTES, {})
        polling = asyncio.create_task(monitor.async_run())
        screen = WatchApp(monitor, f"{SHOWN_PORT}, 9600 baud, 8N2", PLOT_MINUTES)
        async with screen.run_test(size=(110, 32)) as pilot:  # characters
            # Wait until each meter has values or is offline.
            while any(
                each.failure is None and not each.values for each in monitor.meters
            ):
                await pilot.pause(1)
            await pilot.pause(20)  # s of polling
            for watched in monitor.meters[:-1]:  # all but `OFFLINE`
                watched.powers = deque(past_power(line.meters[watched.unit_id]))
            await pilot.pause(2)
            save("watch", screen.export_screenshot(title="countis watch"))
        polling.cancel()
        await asyncio.wait({polling})


def past_power(meter: Meter) -> Iterator[Power]:
    """Yield the power of a simulated meter in each second of the plot."""
    now = int(time.time())
    for second in range(now - 60 * PLOT_MINUTES, now):
        phases = meter.load.phases(second)
        # The registers of a meter contain the power in steps of 10 W.
        yield Power(second, tuple(round(phase.watts, -1) for phase in phases))


def fault_of(random: Random) -> Fault:
    """Return a random fault: of all responses, 2 % are lost, 2 % damaged, 5 % noisy."""
    # Each limit is the sum of the shares of its fault and of all faults before it.
    chance = random.random()
    for fault, limit in ((LOST, 0.02), (FLIPPED, 0.04), (NOISE_BEFORE, 0.09)):
        if chance < limit:
            return fault
    return Fault()


def main() -> None:
    """Draw all pictures."""
    # `cli.options` creates the output of each command.
    vars(options)["Output"] = PictureOutput
    now = time.localtime()
    # Today at 12:00 local time, in s since 1970.
    noon = int(time.time()) + 3600 * (12 - now.tm_hour) - 60 * now.tm_min
    meters = meters_at([1, 2, 3], noon=noon, lifelike=True)
    for meter in meters:
        meter.record_past_periods(144)  # one day in periods of 10 minutes
    line = Line(meters)
    random = Random(1)  # noqa: S311 (not a secret)
    line.default_fault = lambda: fault_of(random)
    with line_in_thread(line):
        draw(line, "scan", "scan", "--baudrate", "9600", "--parity", "N")
        draw(line, "read", "read", "--unit-id", "1")
        asyncio.run(async_draw_watch(line))
        line.default_fault = Fault
        draw(line, "set-tariff", "set-tariff", "2", "--unit-id", "1-3,9")
        draw(line, "set-clock", "set-clock", "--unit-id", "1-3")
        meters[2].load = Constant(Phase(5000), Phase(-5000), Phase(5000))
        draw(line, "check-wiring", "check-wiring", "--unit-id", "3")
        draw(line, "load-curve", "load-curve", "--unit-id", "1")
        draw(line, "report", "report", "--unit-id", "1")
        draw(line, "reset-partial", "reset-partial", "--unit-id", "1,9,2", "--yes")
    # The command `report` has written this file.
    Path("countis-unit-id-1.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
