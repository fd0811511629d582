"""The options that all commands share, and the bus and meters that they select."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
import functools
import inspect
from pathlib import Path
import re
from shlex import quote
from typing import Annotated, Any, get_type_hints, override
from urllib.parse import urlsplit

import typer

from socomec_countis import SCAN_SETTINGS, UNIT_IDS, LineSettings, settings_to_try
from socomec_countis.commands import HIGHEST_TARIFF_COUNT
from socomec_countis.line_settings import BAUDRATES, PARITIES, STOPBITS

from .connection import Connection
from .output import Output

MODBUS_TCP_PORT = 502
# 9600 baud and 8N2. A meter in AUTO mode responds to these settings. A meter that is
# set to 9600 baud and 8N1 also responds to them.
DEFAULT_SETTINGS = SCAN_SETTINGS[0]
UNIT_ID_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
BUS_OPTIONS = ("port", "tcp", "rtu_over_tcp")
BUS_PANEL = "Bus (enter one of the first three options)"

# Each text continues the error message "Enter ...".
MISSING_BUS = "the bus (--port, --tcp or --rtu-over-tcp)"
MISSING_UNIT_ID = "the meter (--unit-id)"
MISSING_TARIFF = f"the tariff (1 to {HIGHEST_TARIFF_COUNT})"


class UsageError(typer.BadParameter):
    """Wrong usage of the command line. The message is one sentence."""

    @override
    def format_message(self) -> str:
        """Return only the sentence, without the text that typer adds."""
        return self.message


def _ports() -> list[str]:
    """Return the serial ports of this computer. Names that never change come first."""
    patterns = ("serial/by-id/*", "ttyUSB*", "ttyACM*", "ttyAMA*")
    return [str(port) for each in patterns for port in sorted(Path("/dev").glob(each))]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The shared options, as the user entered them."""

    port: Annotated[
        str | None,
        typer.Option(
            help="Serial port.",
            metavar="PORT",
            autocompletion=_ports,
            envvar="COUNTIS_PORT",
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    tcp: Annotated[
        str | None,
        typer.Option(
            help="Modbus TCP gateway.",
            metavar="HOST[:PORT]",
            envvar="COUNTIS_TCP",
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    rtu_over_tcp: Annotated[
        str | None,
        typer.Option(
            help="Transparent gateway, which passes bytes on unchanged.",
            metavar="HOST:PORT",
            envvar="COUNTIS_RTU_OVER_TCP",
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    baudrate: Annotated[
        int | None,
        typer.Option(
            help=f"Speed: {', '.join(map(str, sorted(BAUDRATES)))}."
            f" Default: {DEFAULT_SETTINGS.baudrate}; scan tries all.",
            show_default=False,
            autocompletion=lambda: [str(each) for each in sorted(BAUDRATES)],
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    parity: Annotated[
        str | None,
        typer.Option(
            help="N (none), E (even) or O (odd)."
            f" Default: {DEFAULT_SETTINGS.parity}; scan tries all.",
            show_default=False,
            metavar="N|E|O",
            autocompletion=lambda: list(PARITIES),
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    stopbits: Annotated[
        int | None,
        typer.Option(
            help=f"Stop bits: 1 or 2. Default: {DEFAULT_SETTINGS.stopbits}, also in a"
            " scan, because a meter with 1 stop bit accepts 2.",
            show_default=False,
            metavar="1|2",
            autocompletion=lambda: [str(each) for each in sorted(STOPBITS)],
            rich_help_panel=BUS_PANEL,
        ),
    ] = None
    unit_id: Annotated[
        list[str] | None,
        typer.Option(
            "--unit-id",
            "-u",
            help="Unit IDs of the meters, 1 to 255, such as 5 or 1-3,7; scan tries only"
            " these.",
            show_default=False,
            metavar="N[,N-N]",
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object on each line.")
    ] = False
    debug: Annotated[
        bool, typer.Option("--debug", help="Log all bytes on the bus.")
    ] = False


@dataclass(frozen=True)
class Selection:
    """The bus and the meters that the options select, and the output of the command."""

    connection: Connection
    settings: LineSettings
    """The settings of the bus, with the default for those that were not entered."""
    scan_settings: Sequence[LineSettings]
    """The settings that a scan tries."""
    unit_ids: Sequence[int]
    """Each unit ID once; empty if none was entered."""
    output: Output


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command.

    The command receives them as its first argument, an `Options`.
    """
    hints = get_type_hints(Options, include_extras=True)
    shared = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(Options)
    ]
    _, *own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def run(context: typer.Context, **values: Any) -> None:
        sources = {each: context.get_parameter_source(each) for each in BUS_OPTIONS}
        if any(each and each.name == "COMMANDLINE" for each in sources.values()):
            # The bus on the command line replaces that of the environment.
            for name, source in sources.items():
                if source and source.name == "ENVIRONMENT":
                    values[name] = None
        options = Options(**{each.name: values.pop(each.name) for each in shared})
        command(options, **values)

    # typer reads the options of a command from its signature.
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    context = inspect.Parameter(
        "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
    )
    signature = inspect.Signature([context, *parameters, *shared])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {
        name: each.annotation for name, each in signature.parameters.items()
    }
    return run


def parse_options(
    options: Options, *, needs_unit_id: bool = True, missing: Sequence[str] = ()
) -> Selection:
    """Return the bus, unit IDs and output that the options select.

    `missing` contains further arguments that the user did not enter, such as
    `MISSING_TARIFF`. Raises `UsageError`.
    """
    connections = _connections(options)
    missing = [
        *([] if connections else [MISSING_BUS]),
        *([MISSING_UNIT_ID] if needs_unit_id and not options.unit_id else []),
        *missing,
    ]
    if missing:
        parts = (", ".join(missing[:-1]), missing[-1])
        msg = f"Enter {' and '.join(filter(None, parts))}."
        raise UsageError(msg)
    if len(connections) > 1:
        msg = "Enter only one of --port, --tcp and --rtu-over-tcp."
        raise UsageError(msg)
    (connection,) = connections
    for name in ("parity", "stopbits"):
        if not connection.is_serial and getattr(options, name) is not None:
            # The speed is not rejected: the bus calculates transmission times with it.
            msg = f"The gateway has its own parity and stop bits: omit --{name}."
            raise UsageError(msg)
    baudrate = one_of("--baudrate", options.baudrate, sorted(BAUDRATES))
    parity = one_of("--parity", options.parity and options.parity.upper(), PARITIES)
    stopbits = one_of("--stopbits", options.stopbits, sorted(STOPBITS))
    return Selection(
        connection,
        LineSettings(
            baudrate or DEFAULT_SETTINGS.baudrate,
            parity or DEFAULT_SETTINGS.parity,
            stopbits or DEFAULT_SETTINGS.stopbits,
        ),
        settings_to_try(baudrate, parity, stopbits),
        _unit_ids(options.unit_id or []),
        Output(as_json=options.json),
    )


def _connections(options: Options) -> list[Connection]:
    connections = []
    if options.port is not None:
        connections.append(Connection("port", options.port))
    if options.tcp is not None:
        host, port = _host_and_port("--tcp", options.tcp)
        connections.append(Connection("tcp", host, port or MODBUS_TCP_PORT))
    if options.rtu_over_tcp is not None:
        host, port = _host_and_port("--rtu-over-tcp", options.rtu_over_tcp)
        if port is None:
            msg = (
                f"--rtu-over-tcp {options.rtu_over_tcp} has no TCP port: enter"
                " HOST:PORT, with the TCP port from the settings of the gateway."
            )
            raise UsageError(msg)
        connections.append(Connection("rtu_over_tcp", host, port))
    return connections


def _host_and_port(option: str, text: str) -> tuple[str, int | None]:
    """Split text such as 192.168.1.20:502 or [fe80::1]:502. Raises `UsageError`."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port == 0 or parts.netloc != text or "@" in text:
        # Only a Modbus TCP gateway has a default port.
        form = "HOST or HOST:PORT" if option == "--tcp" else "HOST:PORT"
        msg = f"{option} {text} is not a host: enter {form}."
        raise UsageError(msg)
    return host, port


def one_of[T](option: str, value: object, values: Sequence[T]) -> T | None:
    """Return `value` if it is one of `values`, or None if `value` is None.

    Raises `UsageError` for any other value. `option` is the name in the message.
    """
    if value is None:
        return None
    for each in values:
        if each == value:
            return each
    choice = ", ".join(map(str, values))
    msg = f"{option} {value} is not possible: enter one of {choice}."
    raise UsageError(msg)


def _unit_ids(texts: Sequence[str]) -> list[int]:
    """Return the unit IDs in texts such as "1-3,7", each once.

    Raises `UsageError`.
    """
    unit_ids: dict[int, None] = {}
    text = ",".join(texts)
    for part in map(str.strip, text.split(",") if texts else ()):
        match = UNIT_ID_RANGE.fullmatch(part)
        # A part that is not a number or range is replaced by 0. No meter has unit ID 0,
        # so the part is rejected below.
        first, last = (match[1], match[2] or match[1]) if match else ("0", "0")
        ids = range(int(first), int(last) + 1)
        if not ids or ids[0] not in UNIT_IDS or ids[-1] not in UNIT_IDS:
            # If a part is empty, as in "1,,2", the message contains the whole text.
            msg = (
                f"--unit-id {part or quote(text)} is not possible: enter numbers from"
                f" {min(UNIT_IDS)} to {max(UNIT_IDS)}, such as 5 or 1-3,7."
            )
            raise UsageError(msg)
        unit_ids |= dict.fromkeys(ids)
    return list(unit_ids)
