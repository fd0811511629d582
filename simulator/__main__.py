"""Runs simulated COUNTIS meters on a serial port or behind a gateway."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
import json
import os
from pathlib import Path
import signal
import sys
from typing import NoReturn, override

from .counters import Counters
from .diagnostics import Diagnostics, InvalidDiagnosticsError
from .gateway import LOCALHOST, Gateway, RtuGateway, TcpGateway
from .line import DEFAULT_BAUDRATE, DEFAULT_RESPONSE_DELAY, Line
from .meter import UNIT_IDS, Meter
from .playback import meter_from_diagnostics
from .ports import BAUDRATES
from .site import meters_at
from .wiring import WIRING_ERRORS

SAVE_INTERVAL = 10  # s; a crash loses the energy counted since the last save
ERROR_STATUS = 2  # exit status of each error, as in argparse
TCP_PORTS = range(0x10000)  # 0 selects a free port
MAX_RECORDS = 4320  # as many as a load curve keeps (`LoadCurve.depth`)
MAX_RESPONSE_DELAY = 10.0  # s; our choice: longer than all default response timeouts


class SimulatorError(Exception):
    """The simulator cannot start or save. The message is one sentence for the user."""


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(ERROR_STATUS, f"{message}\n")


def bounded_number[N: (int, float)](
    number_type: Callable[[str], N], smallest: N, greatest: N, noun: str
) -> Callable[[str], N]:
    """Return a function that converts an argument to a number within bounds.

    `noun` names the number in the error message, for example "a unit ID".
    """

    def convert(text: str) -> N:
        with suppress(ValueError):
            number = number_type(text)
            if smallest <= number <= greatest:
                return number
        msg = f"{text} is not {noun} from {smallest} to {greatest}"
        raise argparse.ArgumentTypeError(msg)

    return convert


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line. Exit if they are not valid."""
    parser = Parser(prog="python -m simulator", description=__doc__)
    tcp_port = bounded_number(int, TCP_PORTS[0], TCP_PORTS[-1], "a TCP port")
    group = parser.add_argument_group("meters")
    sources = group.add_mutually_exclusive_group()
    sources.add_argument(
        "--unit-id",
        type=bounded_number(int, UNIT_IDS[0], UNIT_IDS[-1], "a unit ID"),
        nargs="+",
        metavar="ID",
        help="unit IDs of the meters, each from 1 to 255 (default: 1)",
    )
    sources.add_argument(
        "--diagnostics",
        type=Path,
        metavar="FILE",
        help="the meter of a diagnostics file",
    )
    group.add_argument(
        "--wiring",
        nargs="+",
        choices=WIRING_ERRORS,
        metavar="ERROR",
        help=f"wiring errors of all meters: {', '.join(WIRING_ERRORS)}",
    )
    group.add_argument(
        "--lifelike",
        action="store_true",
        help="consumption depends on hour and weekday, solar power on weather",
    )
    group.add_argument(
        "--noon",
        type=int,
        metavar="SECONDS",
        help="Unix time at which the sun is at its highest (default: now)",
    )
    group.add_argument(
        "--load-curve",
        type=bounded_number(int, 0, MAX_RECORDS, "a number of records"),
        default=144,  # one day, with the default period of 10 minutes
        metavar="RECORDS",
        help="number of past records in each load curve; with 0, the meters have no"
        " load curve (default: %(default)s)",
    )
    group.add_argument(
        "--state", type=Path, metavar="FILE", help="keep the counters in a file"
    )
    group = parser.add_argument_group("line")
    group.add_argument(
        "--baudrate",
        type=int,
        choices=sorted(BAUDRATES.values()),
        help=f"speed (default: {DEFAULT_BAUDRATE}, or as in the diagnostics file)",
    )
    group.add_argument(
        "--response-delay",
        type=bounded_number(float, 0.0, MAX_RESPONSE_DELAY, "a number of seconds"),
        default=DEFAULT_RESPONSE_DELAY,
        metavar="SECONDS",
        help="time from a request to its response (default: %(default)s)",
    )
    group.add_argument(
        "--link", type=Path, metavar="PATH", help="create a symbolic link to the port"
    )
    group = parser.add_argument_group("gateway")
    gateways = group.add_mutually_exclusive_group()
    gateways.add_argument(
        "--tcp",
        type=tcp_port,
        metavar="PORT",
        help="a Modbus TCP gateway at a TCP port, 0 for a free one",
    )
    gateways.add_argument(
        "--rtu-over-tcp",
        type=tcp_port,
        metavar="PORT",
        help="a gateway for RTU frames at a TCP port, 0 for a free one",
    )
    group.add_argument(
        "--host",
        default=LOCALHOST,
        help="address that the gateway listens at (default: %(default)s)",
    )
    arguments = parser.parse_args()
    unit_ids = arguments.unit_id or []
    if len(set(unit_ids)) < len(unit_ids):
        parser.error("argument --unit-id: two meters cannot have the same unit ID")
    if arguments.diagnostics is not None and (
        arguments.wiring or arguments.lifelike or arguments.noon is not None
    ):
        parser.error("--wiring, --lifelike and --noon do not apply to --diagnostics")
    return arguments


def line_of(arguments: argparse.Namespace) -> Line:
    """Return the line with its meters.

    Raises `SimulatorError` if a file cannot be used.
    """
    baudrate = DEFAULT_BAUDRATE
    if arguments.diagnostics is None:
        meters = meters_at(
            arguments.unit_id or [UNIT_IDS[0]],
            arguments.wiring or (),
            noon=arguments.noon,
            lifelike=arguments.lifelike,
        )
    else:
        try:
            diagnostics = Diagnostics.load(arguments.diagnostics)
        except InvalidDiagnosticsError as err:
            raise SimulatorError(str(err)) from None
        meters = [meter_from_diagnostics(diagnostics)]
        baudrate = diagnostics.baudrate
    if arguments.state is not None:
        restore_counters(meters, arguments.state)
    for meter in meters:
        if arguments.load_curve:
            meter.record_past_periods(arguments.load_curve)
        else:
            meter.load_curve = None
    line = Line(
        meters,
        baudrate=arguments.baudrate or baudrate,
        response_delay=arguments.response_delay,
        link=arguments.link,
    )
    # As on a real bus, the meters do not respond to a client at another baud rate.
    line.meter_baudrate = line.baudrate
    return line


def gateway_of(arguments: argparse.Namespace, line: Line) -> Gateway | None:
    """Return the gateway to a line, or None if clients use the serial port."""
    if arguments.tcp is not None:
        return TcpGateway(line, host=arguments.host, port=arguments.tcp)
    if arguments.rtu_over_tcp is not None:
        return RtuGateway(line, host=arguments.host, port=arguments.rtu_over_tcp)
    return None


def restore_counters(meters: Sequence[Meter], state: Path) -> None:
    """Set the counters of the meters to those in a file, if the file exists.

    A meter that is not in the file keeps its counters. Raises `SimulatorError` if the
    file is not readable or not valid.
    """
    try:
        saved = json.loads(state.read_text(encoding="utf-8"))
        for meter in meters:
            if (counters := saved.get(str(meter.unit_id))) is not None:
                meter.counters = Counters.from_dict(counters)
    except FileNotFoundError:
        return
    except OSError as err:
        msg = f"{state} cannot be read: {reason(err)}"
        raise SimulatorError(msg) from None
    except ValueError, TypeError, AttributeError:
        msg = f"{state} does not contain counters"
        raise SimulatorError(msg) from None


def save_counters(meters: Sequence[Meter], state: Path) -> None:
    """Write the counters of the meters to a file. Raises `SimulatorError`."""
    counters = {meter.unit_id: meter.count().as_dict() for meter in meters}
    # Replace the file as a whole, so that it is complete at any moment.
    new_file = state.with_name(f"{state.name}.new")
    try:
        new_file.write_text(json.dumps(counters), encoding="utf-8")
        new_file.replace(state)
    except OSError as err:
        msg = f"{state} cannot be written: {reason(err)}"
        raise SimulatorError(msg) from None


def reason(err: OSError) -> str:
    """Return the text of an error, if possible the text of the operating system."""
    # asyncio writes its own text to `strerror`, so look up the text of the error
    # number. Two errors have no such text: an error of name resolution, whose number is
    # negative on Linux, and an error of asyncio without a number.
    if err.errno is not None and err.errno > 0:
        return os.strerror(err.errno)
    return err.strerror or str(err)


async def async_run(line: Line, gateway: Gateway | None, state: Path | None) -> None:
    """Run the line until SIGINT or SIGTERM, and save the counters in `state`.

    If `state` is None, save nothing. Print the address of the gateway, or without a
    gateway the port of the line. Raises `SimulatorError`.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    meters = list(line.meters.values())
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(line)
        except OSError as err:
            msg = f"{line.link} cannot be created: {reason(err)}"
            raise SimulatorError(msg) from None
        announcement = f"Port: {line.port}"
        if gateway is not None:
            try:
                await stack.enter_async_context(gateway)
            except OSError as err:
                msg = f"{gateway.host}:{gateway.port} is not available: {reason(err)}"
                raise SimulatorError(msg) from None
            announcement = f"{gateway.name}: {gateway.host}:{gateway.port}"
        if state is not None:
            save_counters(meters, state)
        print(announcement, flush=True)
        while not stopped.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_INTERVAL):
                    await stopped.wait()
            if state is not None:
                save_counters(meters, state)


def main() -> None:
    """Run the simulator with the arguments of the command line."""
    arguments = parse_arguments()
    try:
        line = line_of(arguments)
        asyncio.run(async_run(line, gateway_of(arguments, line), arguments.state))
    except SimulatorError as err:
        print(err, file=sys.stderr)
        sys.exit(ERROR_STATUS)


if __name__ == "__main__":
    main()
