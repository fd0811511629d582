"""A simulated bus in a process of its own, which logs all frames."""

import argparse
import asyncio
from pathlib import Path
import selectors
import sys
import time

from simulator import Constant, Counters, House, Line, Meter, Phase

AT_REST = Constant(Phase(), Phase(), Phase())  # no power


async def async_run(arguments: argparse.Namespace) -> None:
    """Run a bus with the unit IDs 1 to `arguments.meters` until standard input ends.

    Prints the path of the port. Each line of the standard input contains the unit IDs
    of the meters that are offline from then on. `figures.transactions` describes the
    log.
    """
    line = Line(
        [
            Meter(
                unit_id=unit_id,
                # With slots of 1 s, the power of a `House` changes each second.
                load=AT_REST
                if unit_id <= arguments.resting
                else House(seed=unit_id, slot_seconds=1),
                # In Wh. The sensor of a tariff is enabled only if its counter is not 0.
                counters=Counters(
                    consumed=4e6, partial_consumed=arguments.partial, tariffs=[1e6] * 4
                ),
            )
            for unit_id in range(1, arguments.meters + 1)
        ],
        baudrate=arguments.baudrate,
        response_delay=arguments.delay,
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    with arguments.log.open("w", buffering=1) as output:

        def write(kind: str, frame: bytes) -> None:
            output.write(
                f"{time.monotonic():.6f} {kind} {frame[:8].hex()} {len(frame)}\n"
            )

        line.on_request = lambda frame: write("q", frame)
        line.on_response = lambda frame: write("a", frame)
        async with line:
            print(line.port, flush=True)
            while command := await reader.readline():
                offline = {int(unit_id) for unit_id in command.split()}
                for meter in line.meters.values():
                    meter.offline = meter.unit_id in offline
                line.requests.clear()  # to free memory: the line keeps all requests


def main() -> None:
    """Run the bus that the command line describes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--meters", type=int, required=True)
    parser.add_argument("--baudrate", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True, help="in s")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument(
        "--resting", type=int, default=0, help="number of meters without load"
    )
    parser.add_argument(
        "--partial", type=float, default=0, help="partial counter in Wh"
    )
    arguments = parser.parse_args()
    # The default selector, epoll, ends each wait up to 1 ms late. The responses of the
    # meters would also be late.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(async_run(arguments))


if __name__ == "__main__":
    main()
