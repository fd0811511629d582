"""One session: Home Assistant from its start to its end, in this process.

Run `python -m tools.soak.session FOLDER`.
"""

import asyncio
import json
from pathlib import Path
import sys

from .clock import SimulatedClock, SimulatedLoop


def main() -> None:
    """Continue the soak whose state is in the file world.json of a folder."""
    folder = Path(sys.argv[1])
    world = json.loads((folder / "world.json").read_text())
    clock = SimulatedClock(world["true_time"])
    # Other modules import functions of `time` and of Home Assistant by name. So these
    # modules are imported only after the functions are replaced.
    clock.install()
    from .use_clock import use_clock  # noqa: PLC0415

    use_clock(clock)
    from .live import async_live  # noqa: PLC0415

    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(clock)) as runner:
        runner.run(async_live(folder, clock))


if __name__ == "__main__":
    main()
