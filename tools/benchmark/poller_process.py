"""The poller of the library in a process of its own, without Home Assistant."""

import argparse
import asyncio
from dataclasses import replace
import sys

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection

from custom_components.socomec_countis.countis import (
    BLOCK_OF,
    Bus,
    Meter,
    Polled,
    Poller,
    async_take_profile,
)
from custom_components.socomec_countis.countis.registers import MEASURED_DETAILS

# The blocks with the values of the entities that are enabled by default. These
# entities do not need MEASURED_DETAILS. Without these quantities, the request is
# shorter.
DEFAULT_BLOCKS = ("measurements", "energies", "tariffs")
DEFAULT_QUANTITIES = {
    quantity for quantity, block in BLOCK_OF.items() if block in DEFAULT_BLOCKS
} - MEASURED_DETAILS


async def async_run(arguments: argparse.Namespace) -> None:
    """Poll the unit IDs 1 to `arguments.meters` until the end of the standard input.

    All meters have the same registers. So only the profile of the first one is taken,
    and copied with the serial number of each meter.
    """
    connection = ModbusConnection(
        ModbusSerialParams(device=arguments.port, baudrate=arguments.baudrate)
    )
    bus = Bus(baudrate=arguments.baudrate)
    profile = await async_take_profile(bus.unit(1, connection.for_unit(1)))
    poller = Poller(bus)
    for unit_id in range(1, arguments.meters + 1):
        identity = {**profile.identity, "serial_order": unit_id}
        meter = Meter(
            bus,
            unit_id,
            connection.for_unit(unit_id),
            replace(profile, identity=identity),
        )
        polled = Polled(meter, on_reading=lambda _: None, on_error=lambda *_: None)
        polled.select_quantities(DEFAULT_QUANTITIES)
        poller.add(polled)
    polling = asyncio.create_task(poller.run())
    await asyncio.to_thread(sys.stdin.read)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await connection.close()


def main() -> None:
    """Poll the bus that the command line describes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--baudrate", type=int, required=True)
    parser.add_argument("--meters", type=int, required=True)
    asyncio.run(async_run(parser.parse_args()))


if __name__ == "__main__":
    main()
