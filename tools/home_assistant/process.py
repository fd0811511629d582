"""Programs that a tool starts and stops, and free TCP ports."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
import socket
from typing import Any

from tools import paths

STOP_TIMEOUT = 30  # s; Home Assistant writes its state and database before it ends


@asynccontextmanager
async def run_program(
    command: Sequence[str | Path], log: Path, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program until the context ends.

    The output of the program goes to the file `log`. `options` are passed to
    `create_subprocess_exec`, and may contain another `stdout`.

    The program runs in a session of its own, so that Ctrl-C in the terminal does not
    end it. When the context ends, the program is terminated, and killed if it still
    runs after `STOP_TIMEOUT`.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=paths.ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=options.pop("stdout", output),
            stderr=output,
            start_new_session=True,
            **options,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def free_port(wanted: int) -> int:
    """Return the TCP port `wanted`. If it is in use or 0, return any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", wanted))
        except OSError:
            probe.bind(("", 0))
        return int(probe.getsockname()[1])
