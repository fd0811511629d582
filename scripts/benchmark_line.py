"""A simulated line in a process of its own, which writes down what goes over it."""

import argparse
import asyncio
from pathlib import Path
import selectors
import sys
import time

from simulator import Constant, Counters, House, Line, Meter, Phase

AT_REST = Constant(Phase(), Phase(), Phase())


async def async_serve(args: argparse.Namespace) -> None:
    """Serve meters 1 to `args.meters` until the input ends.

    Prints the port. A line of input contains the unit IDs of the meters that are
    silent from then on. Each line of the log is a time, q (request) or a (response),
    the frame's first eight bytes, and its length.
    """
    line = Line(
        [
            Meter(
                address=unit_id,
                load=AT_REST
                if unit_id <= args.resting
                else House(seed=unit_id, slot_seconds=1),
                # All tariffs are in use, so that all their sensors are enabled.
                counters=Counters(
                    consumed=4e6, partial_consumed=args.partial, tariffs=[1e6] * 4
                ),
            )
            for unit_id in range(1, args.meters + 1)
        ],
        baudrate=args.baudrate,
        answer_delay=args.delay,
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with args.log.open("w", buffering=1) as output:

        def write(kind: str, frame: bytes) -> None:
            output.write(
                f"{time.monotonic():.6f} {kind} {frame[:8].hex()} {len(frame)}\n"
            )

        line.on_request = lambda frame: write("q", frame)
        line.on_answer = lambda frame: write("a", frame)
        async with line:
            print(line.port, flush=True)
            while command := await reader.readline():
                silent = {int(unit_id) for unit_id in command.split()}
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
    parser.add_argument("--resting", type=int, default=0, help="meters without load")
    parser.add_argument("--partial", type=float, default=0, help="Wh")
    args = parser.parse_args()
    # Epoll, which is the usual one, is up to a millisecond late.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(async_serve(args))


if __name__ == "__main__":
    main()
