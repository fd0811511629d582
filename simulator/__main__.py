"""Runs simulated meters on their own: `python -m simulator --address 1 2`."""

import argparse
import asyncio
from contextlib import suppress
import json
from pathlib import Path
import signal
import time

from .counters import Counters
from .line import Line
from .load import House, Inverter, Load
from .meter import Meter

SAVE_INTERVAL = 10

# What a house and its roof have counted in some years.
HOUSE = Counters(
    consumed=12_345_678,
    reactive=2_345_678,
    produced=8_765_432,
    partial_consumed=345_678,
    partial_reactive=45_678,
    partial_produced=234_567,
    tariffs=[12_345_678.0, 0.0, 0.0, 0.0],
)
ROOF = Counters(
    consumed=45_678,
    reactive=12_345,
    produced=23_456_789,
    partial_consumed=1_234,
    partial_reactive=567,
    partial_produced=456_789,
    tariffs=[45_678.0, 0.0, 0.0, 0.0],
)


def meters_at(addresses: list[int], state: Path | None) -> list[Meter]:
    """Return a house with a roof, its inverter, and then houses."""
    saved = json.loads(state.read_text()) if state and state.exists() else {}
    # It is noon whenever the simulation starts, so that the sun shines on it.
    noon = int(time.time())
    meters = []
    for index, address in enumerate(addresses):
        counters = ROOF if index == 1 else HOUSE
        load: Load = House(address, solar_peak=6000 if index == 0 else 0, noon=noon)
        if index == 1:
            load = Inverter(addresses[0], noon=noon)
        meters.append(
            Meter(
                address=address,
                load=load,
                counters=Counters.restored(saved.get(str(address), counters.saved())),
            )
        )
    return meters


async def async_run(line: Line, state: Path | None) -> None:
    """Run the line until a signal ends it, saving the counters now and then."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with line:
        print(f"Port: {line.port}", flush=True)
        while not stopped.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_INTERVAL):
                    await stopped.wait()
            if state is not None:
                counters = {
                    address: meter.count().saved()
                    for address, meter in line.meters.items()
                }
                # Put in place whole: an end at any moment leaves one of the two.
                written = state.with_name(f"{state.name}.new")
                written.write_text(json.dumps(counters))
                written.replace(state)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--address", type=int, nargs="+", default=[1], help="1 to 255")
    parser.add_argument("--baudrate", type=int, default=9600)
    parser.add_argument("--answer-delay", type=float, default=0.02, help="in seconds")
    parser.add_argument("--link", type=Path, help="a lasting name for the port")
    parser.add_argument(
        "--state", type=Path, help="a file that keeps the counters between runs"
    )
    arguments = parser.parse_args()
    line = Line(
        meters_at(arguments.address, arguments.state),
        baudrate=arguments.baudrate,
        answer_delay=arguments.answer_delay,
        link=arguments.link,
    )
    line.understood_baudrate = arguments.baudrate
    asyncio.run(async_run(line, arguments.state))


if __name__ == "__main__":
    main()
