"""The simulated bus of the demo, with the meters of a house and of its solar roof."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
import sys

from simulator.site import load_at
from tools.errors import ToolError
from tools.home_assistant import run_program

from .gap import outage_yesterday
from .history import Past

UNIT_IDS = (1, 2)  # of the meters of the house and of the solar roof
LOG_NAME = "simulator.log"
# A record covers 10 minutes, so the load curve covers three days. The outage of
# yesterday is in this time.
LOAD_CURVE_RECORDS = 432


def noon_today() -> int:
    """Return the time of today's noon by the clock of this machine, in s since 1970."""
    noon = datetime.now().astimezone().replace(hour=12, minute=0, second=0)
    return int(noon.timestamp())


def histories_before(moment: float, noon: int) -> list[Past]:
    """Return the past of each simulated meter before `moment`.

    `noon` is the solar noon of any day. Both times are in s since 1970. The meter of
    the house was not read during the outage of yesterday.
    """
    outages = [outage_yesterday(moment), range(0)]
    return [
        Past.before(moment, load_at(UNIT_IDS, index, noon, lifelike=True), noon, outage)
        for index, outage in enumerate(outages)
    ]


@asynccontextmanager
async def run_simulated_bus(folder: Path, noon: int) -> AsyncIterator[Path]:
    """Run the simulated bus, and yield the path of its serial port.

    The simulator saves the counters in `folder`. Raises `ToolError` if the simulator
    does not start.
    """
    port, log = folder / "line", folder / LOG_NAME
    async with run_program(
        [
            *(sys.executable, "-m", "simulator", "--lifelike"),
            *("--unit-id", *map(str, UNIT_IDS), "--noon", str(noon)),
            *("--load-curve", str(LOAD_CURVE_RECORDS)),
            *("--link", port, "--state", folder / "meters.json"),
        ],
        log,
        stdout=asyncio.subprocess.PIPE,
    ) as simulator:
        assert simulator.stdout is not None
        # The simulator prints its port as soon as the bus runs.
        if not await simulator.stdout.readline():
            msg = f"The simulator ended: {log.read_text()}"
            raise ToolError(msg)
        yield port
