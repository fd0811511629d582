"""A simulated line in a process of its own, which writes down what goes over it."""

import argparse
import asyncio
from pathlib import Path
import selectors
import sys
import time

from simulator import Counters, House, Line, Meter


async def async_serve(meters: int, baudrate: int, delay: float, log: Path) -> None:
    """Serve meters 1 to `meters` until the input ends.

    Prints the port. A line of input names the addresses that are silent from
    then on. Each line of the log is a time, q (request) or a (answer), the
    frame's first eight bytes, and its length.
    """
    line = Line(
        [
            Meter(
                address=address,
                load=House(seed=address, slot_seconds=1),
                # All tariffs are in use, so that all their sensors are enabled.
                counters=Counters(consumed=4e6, tariffs=[1e6] * 4),
            )
            for address in range(1, meters + 1)
        ],
        baudrate=baudrate,
        answer_delay=delay,
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with log.open("w", buffering=1) as output:

        def write(kind: str, frame: bytes) -> None:
            output.write(
                f"{time.monotonic():.6f} {kind} {frame[:8].hex()} {len(frame)}\n"
            )

        line.on_request = lambda frame: write("q", frame)
        line.on_answer = lambda frame: write("a", frame)
        async with line:
            print(line.port, flush=True)
            while command := await reader.readline():
                silent = {int(address) for address in command.split()}
                for meter in line.meters.values():
                    meter.silent = meter.address in silent
                line.requests.clear()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--meters", type=int, required=True)
    parser.add_argument("--baudrate", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--log", type=Path, required=True)
    args = parser.parse_args()
    # Epoll, which is the usual one, is up to a millisecond late.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(async_serve(args.meters, args.baudrate, args.delay, args.log))


if __name__ == "__main__":
    main()
