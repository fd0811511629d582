"""What may be entered."""

import argparse
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from .exits import EXPLAINED
from .library import countis
from .link import Link, RtuOverTcp, Tcp

MODBUS_TCP = 502
MOST_TARIFFS = 8
# 9600 baud and 8N2, as the form of the integration suggests. A meter that is set to one
# stop bit understands two as well.
USUAL = countis.line_settings.SCAN_SETTINGS[0]

DESCRIPTION = """\
Finds, reads and commands Socomec COUNTIS meters on an RS485 line, without Home
Assistant. Only one program can use a port: stop Home Assistant, or disable its
entries for this port, before.
"""
EXAMPLES = """\
examples:
  countis scan --port /dev/ttyUSB0
  countis read --port /dev/ttyUSB0 --address 5
  countis read --tcp 192.168.1.20 --address 5 --watch
  countis set-tariff 2 --port /dev/ttyUSB0 --address 1-3,7 --all

"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was entered; `link`, `settings` and `scanned` are made of it.

    Ends the program on wrong usage.
    """
    parser = _parser()
    entered = parser.parse_args(arguments)
    for given in ("parity", "stopbits"):
        if not entered.link.has_settings and getattr(entered, given) is not None:
            parser.error(f"--{given}: what a gateway uses is set in the gateway")
    entered.settings = countis.LineSettings(
        entered.baudrate or USUAL.baudrate,
        entered.parity or USUAL.parity,
        entered.stopbits or USUAL.stopbits,
    )
    entered.scanned = [entered.settings]
    if entered.link.has_settings:
        entered.scanned = countis.line_settings.settings_to_try(
            entered.baudrate, entered.parity, entered.stopbits
        )
    return entered


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="countis",
        description=DESCRIPTION,
        epilog=EXAMPLES + EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, what: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            epilog=EXPLAINED,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_line(command)
        return command

    scan = add("scan", "look for meters, with any address and settings")
    _add_addresses(scan, required=False, what="where to look, all if not given")
    scan.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="s until a response begins (default:"
        f" {countis.probe.PROBE_TIMEOUT} on a port, {RtuOverTcp.response_timeout} by"
        f" RTU over TCP, {Tcp.response_timeout} behind a Modbus TCP gateway)",
    )
    read = add("read", "show everything that a meter tells")
    _add_address(read)
    read.add_argument(
        "--watch", action="store_true", help="go on once a second, until Ctrl-C"
    )
    reset = add("reset-partial", "set the partial counters to zero")
    _add_addresses(reset)
    tariff = add("set-tariff", "change the tariff that is counted in")
    tariff.add_argument(
        "tariff", type=int, choices=range(1, MOST_TARIFFS + 1), metavar="TARIFF"
    )
    _add_addresses(tariff)
    tariff.add_argument(
        "--all",
        action="store_true",
        help="tell all meters of the line at once (by a broadcast), then ask those at"
        " the addresses whether they follow",
    )
    wiring = add("check-wiring", "find phases that are connected wrongly")
    _add_address(wiring)
    wiring.add_argument(
        "--readings",
        type=_number(2, 60),
        default=5,
        metavar="N",
        help="how many, a second apart (default: %(default)s)",
    )
    clock = add("set-clock", "set the clock to the time of this computer")
    _add_addresses(clock)
    return parser


def _add_line(command: argparse.ArgumentParser) -> None:
    line = command.add_argument_group("line (one of the first three)")
    ways = line.add_mutually_exclusive_group(required=True)
    ways.add_argument(
        "--port", dest="link", type=Link, metavar="PORT", help="a serial port"
    )
    ways.add_argument(
        "--tcp",
        dest="link",
        type=_tcp,
        metavar="HOST[:PORT]",
        help="a gateway that speaks Modbus TCP",
    )
    ways.add_argument(
        "--rtu-over-tcp",
        dest="link",
        type=_rtu_over_tcp,
        metavar="HOST:PORT",
        help="a gateway that passes on what it gets",
    )
    line.add_argument(
        "--baudrate",
        type=int,
        choices=sorted(countis.line_settings.BAUDRATES),
        help=f"as set in the meter (default: {USUAL.baudrate}, in a scan all)",
    )
    line.add_argument(
        "--parity",
        type=str.upper,
        choices=["N", "E", "O"],
        help=f"none, even or odd (default: {USUAL.parity}, in a scan all)",
    )
    line.add_argument(
        "--stopbits",
        type=int,
        choices=[1, 2],
        help=f"as set in the meter (default: {USUAL.stopbits})",
    )
    command.add_argument(
        "--json", action="store_true", help="JSON on standard output, one object a line"
    )
    command.add_argument(
        "--debug", action="store_true", help="all that goes over the line, as a log"
    )


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--address",
        type=_number(min(countis.UNIT_IDS), max(countis.UNIT_IDS)),
        required=True,
        metavar="N",
        help="as set in the meter, 1 to 255",
    )


def _add_addresses(
    command: argparse.ArgumentParser,
    *,
    required: bool = True,
    what: str = "as set in the meters, 1 to 255",
) -> None:
    command.add_argument(
        "--address",
        dest="addresses",
        type=_addresses,
        action="extend",
        required=required,
        metavar="N[,N-N]",
        help=f"{what}, such as 5 or 1-3,7",
    )


def _addresses(text: str) -> list[int]:
    """Return the addresses of a list such as 1-3,7, each once."""
    parse_one = _number(min(countis.UNIT_IDS), max(countis.UNIT_IDS))
    found: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = parse_one(first), parse_one(last or first)
        if begin > end:
            msg = f"{part} goes backwards"
            raise argparse.ArgumentTypeError(msg)
        found |= dict.fromkeys(range(begin, end + 1))
    return list(found)


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse_number(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            msg = f"{text!r} is not a number from {least} to {most}"
            raise argparse.ArgumentTypeError(msg)
        return int(text)

    return parse_number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 60:
        msg = f"{text!r} is not a number of seconds below 60"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _tcp(text: str) -> Tcp:
    host, port = _host_and_port(text)
    return Tcp(text, host, port or MODBUS_TCP)


def _rtu_over_tcp(text: str) -> RtuOverTcp:
    host, port = _host_and_port(text)
    if port is None:
        msg = f"{text!r} has no port; HOST:PORT is needed"
        raise argparse.ArgumentTypeError(msg)
    return RtuOverTcp(text, host, port)


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Split 192.168.1.20:502, or [fe80::1]:502."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.netloc != text or "@" in text:
        msg = f"{text!r} is not a host, with or without a port"
        raise argparse.ArgumentTypeError(msg)
    return host, port
