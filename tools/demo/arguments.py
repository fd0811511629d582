"""The command line of the demo.

Python 3.10 or newer can run this file without any package, so --help needs no
environment (`scripts/run-tool`).
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

DESCRIPTION = """\
Starts Home Assistant, and sets up two simulated meters, or a real one, in it.
The values are shown until Ctrl-C. The folder .demo of the checkout contains the data,
and the next start continues with these data. To start from the beginning, delete the
folder.
"""

TCP_PORTS = range(0x10000)
UNIT_IDS = range(1, 256)  # as in the menu of the meter
BAUDRATES = (4800, 9600, 19200, 38400)


def number_in(numbers: range, noun: str) -> Callable[[str], int]:
    """Return a function that converts an argument to a number, and checks its range.

    `noun` names the number in the error message, with an article: "a unit ID".
    """

    def convert(text: str) -> int:
        with suppress(ValueError):
            if int(text) in numbers:
                return int(text)
        msg = f"{text} is not {noun} from {numbers[0]} to {numbers[-1]}"
        raise argparse.ArgumentTypeError(msg)

    return convert


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed arguments, by default those of the command line.

    If an argument is wrong, the program ends with a sentence that names what to check.
    """
    parser = argparse.ArgumentParser(
        prog="./scripts/demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--web-port",
        type=number_in(TCP_PORTS, "a TCP port"),
        default=8123,
        metavar="PORT",
        help="TCP port of Home Assistant; 0 selects a free port (default: 8123, or a"
        " free port if 8123 is in use)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="start with new data, check that everything works, and stop",
    )
    meter = parser.add_argument_group("a real meter in place of the simulated ones")
    meter.add_argument(
        "--port", metavar="DEVICE", help="serial port, such as /dev/ttyUSB0"
    )
    meter_options = [
        meter.add_argument(
            "--unit-id",
            type=number_in(UNIT_IDS, "a unit ID"),
            default=1,
            metavar="ID",
            help="unit ID (default: 1)",
        ),
        meter.add_argument(
            "--baudrate",
            type=int,
            choices=BAUDRATES,
            default=9600,
            help="speed in baud (default: 9600)",
        ),
        meter.add_argument(
            "--parity",
            choices=["none", "even", "odd"],
            default="none",
            help="parity (default: none)",
        ),
        meter.add_argument(
            "--stopbits",
            type=int,
            choices=[1, 2],
            default=1,
            help="stop bits (default: 1)",
        ),
    ]
    arguments = parser.parse_args(given)
    for each in meter_options:
        if arguments.port is None and getattr(arguments, each.dest) != each.default:
            name = each.option_strings[0]
            parser.error(f"{name} is for a real meter: add its port with --port")
    if arguments.port is not None and not Path(arguments.port).is_char_device():
        parser.error(
            f"{arguments.port} is not a serial port: check the name of the port, and"
            " that the adapter is plugged in"
        )
    return arguments
