"""Runs simulated meters on their own: `python -m simulator --address 1 2`."""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
import json
from pathlib import Path
import signal
import time

from .counters import Counters
from .days import Moment, tariff
from .diagnostics import USUAL_BAUDRATE, Diagnostics, NotDiagnosticsError
from .gateway import LOCALHOST, Gateway, RtuGateway, TcpGateway
from .line import Line
from .load import House, Inverter, Load
from .meter import Meter
from .playback import played
from .wiring import MISTAKES, miswired

SAVE_INTERVAL = 10

# What a house and its roof have counted in some years.
HOUSE = Counters(
    consumed=12_345_678,
    reactive=2_345_678,
    produced=8_765_432,
    partial_consumed=345_678,
    partial_reactive=45_678,
    partial_produced=234_567,
    tariffs=[8_212_345.0, 4_133_333.0, 0.0, 0.0],
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


def load_at(addresses: Sequence[int], index: int, noon: int, *, lifelike: bool) -> Load:
    """Return the load of a house with a roof, its inverter, and then houses."""
    if index == 1:
        return Inverter(addresses[0], noon=noon, lifelike=lifelike)
    peak = 6000 if index == 0 else 0
    return House(addresses[index], solar_peak=peak, noon=noon, lifelike=lifelike)


def meters_at(
    addresses: Sequence[int],
    mistakes: Sequence[str] = (),
    *,
    noon: int | None = None,
    lifelike: bool = False,
) -> list[Meter]:
    """Return the meters in front of these loads, all wired alike."""
    if noon is None:
        # It is noon when the simulation starts, so that the sun shines on it.
        noon = int(time.time())
    now = tariff(Moment.of(int(time.time()), noon)) if lifelike else 1
    meters = []
    for index, address in enumerate(addresses):
        counters = replace(ROOF if index == 1 else HOUSE, tariff=now)
        load = load_at(addresses, index, noon, lifelike=lifelike)
        meters.append(
            Meter(
                address=address,
                load=miswired(load, mistakes),
                counters=Counters.restored(counters.saved()),
            )
        )
    return meters


def restore(meters: Sequence[Meter], state: Path) -> None:
    """Have the meters go on from what they had counted when it was saved."""
    saved = json.loads(state.read_text()) if state.exists() else {}
    for meter in meters:
        if (counters := saved.get(str(meter.address))) is not None:
            meter.counters = Counters.restored(counters)


async def async_run(line: Line, gateway: Gateway | None, state: Path | None) -> None:
    """Run the line until a signal ends it, saving the counters now and then."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(line)
        place = f"Port: {line.port}"
        if gateway is not None:
            await stack.enter_async_context(gateway)
            place = f"{gateway.name}: {gateway.host}:{gateway.port}"
        print(place, flush=True)
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


def parsed() -> argparse.Namespace:
    """Return what the command line says; `meters` are those to play."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--address", type=int, nargs="+", default=[1], help="1 to 255")
    which.add_argument(
        "--load", type=Path, help="a diagnostics file of a meter that is played"
    )
    parser.add_argument("--baudrate", type=int, help="9600, or as in the file")
    parser.add_argument("--answer-delay", type=float, default=0.02, help="in seconds")
    parser.add_argument(
        "--wiring",
        nargs="+",
        choices=MISTAKES,
        default=[],
        help="what is wrong with the wiring of every meter",
    )
    parser.add_argument("--link", type=Path, help="a lasting name for the port")
    parser.add_argument(
        "--state", type=Path, help="a file that keeps the counters between runs"
    )
    parser.add_argument(
        "--noon", type=int, help="when the sun stands highest, in seconds since 1970"
    )
    parser.add_argument(
        "--lifelike", action="store_true", help="with weather, nights and weekends"
    )
    gateways = parser.add_mutually_exclusive_group()
    gateways.add_argument(
        "--tcp", type=int, metavar="PORT", help="a Modbus TCP gateway; 0 for any port"
    )
    gateways.add_argument(
        "--rtu-over-tcp", type=int, metavar="PORT", help="a gateway for RTU frames"
    )
    parser.add_argument("--host", default=LOCALHOST, help="what the gateway listens at")
    arguments = parser.parse_args()
    if arguments.load is None:
        arguments.meters = meters_at(
            arguments.address,
            arguments.wiring,
            noon=arguments.noon,
            lifelike=arguments.lifelike,
        )
        arguments.baudrate = arguments.baudrate or USUAL_BAUDRATE
        return arguments
    if arguments.wiring:
        parser.error("--wiring: a meter from a file is wired as it is")
    try:
        diagnostics = Diagnostics.load(arguments.load)
    except NotDiagnosticsError as err:
        parser.exit(2, f"{err}\n")
    arguments.meters = [played(diagnostics)]
    arguments.baudrate = arguments.baudrate or diagnostics.baudrate
    return arguments


def main() -> None:
    """Run what the command line says."""
    arguments = parsed()
    if arguments.state is not None:
        restore(arguments.meters, arguments.state)
    line = Line(
        arguments.meters,
        baudrate=arguments.baudrate,
        answer_delay=arguments.answer_delay,
        link=arguments.link,
    )
    line.understood_baudrate = arguments.baudrate
    gateway: Gateway | None = None
    if arguments.tcp is not None:
        gateway = TcpGateway(line, host=arguments.host, port=arguments.tcp)
    elif arguments.rtu_over_tcp is not None:
        gateway = RtuGateway(line, host=arguments.host, port=arguments.rtu_over_tcp)
    asyncio.run(async_run(line, gateway, arguments.state))


if __name__ == "__main__":
    main()
