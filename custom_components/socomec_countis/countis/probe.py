"""The probes of a scan: their requests, their order and their duration.

A probe without a response takes 15 characters of request and response and 3.5 of
silence, of 11 bits each, and the response timeout of 60 ms. That is 102, 81, 71 and
66 ms at 4800, 9600, 19200 and 38400 baud. With 3 parities and 255 unit IDs, these
speeds take 78, 62, 54 and 51 s: 245 s in total. The first unit IDs are probed twice.
With the second probes, the recoveries of the bus and the time of the host, a scan of an
unknown bus takes at most 285 s.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modbus_connection import (
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)

from .bus import RESPONSE_TIMEOUT, Bus, wire_seconds
from .line_settings import LineSettings
from .unit import PATIENT_RESPONSE_TIMEOUT, READ_CHARACTERS, REOPEN_SECONDS

# The product order code. Any response shows that a device is there. No other read
# requests one register, so a late response to a probe is not taken for that to a read.
PROBE_REGISTER = 50004
PROBE_CHARACTERS = READ_CHARACTERS + 2

# s until the response begins. Our choice: 30 ms for the meter, 20 ms for the adapter
# and 10 ms for the host. On a slower bus, the timeout is twice the measured delay.
PROBE_TIMEOUT = 0.06
DELAYS_UNTIL_PROBE_TIMEOUT = 2
DAMAGED_ATTEMPTS = 2  # a damaged response is retried, a timeout is not

# The menu of a meter offers 1 to 255. Modbus allows 1 to 247, so the rest comes last.
UNIT_IDS = range(1, 256)
# This number of unit IDs is probed first, with all settings. Our choice: most
# installations count from 1. With 12 settings, each of these unit IDs delays the others
# by 1 s.
FIRST_UNIT_IDS = 16

# Probes with each setting if only one unit ID is scanned. Our choice: a meter in AUTO
# mode needs several requests to find the first settings, but their number is not
# documented. Patient probes have a timeout of 1 s, for a slow meter.
AUTO_MODE_PROBES = 10
QUICK_PROBES = 2
PATIENT_PROBES = 3

HOST_SECONDS = 0.003  # s per probe; measured: 0.8 ms, but a slow host needs more


class Probe(NamedTuple):
    """One request to find a device."""

    settings: LineSettings
    unit_id: int
    patient: bool = False

    @property
    def seconds(self) -> float:
        """Return the duration on a serial port without a response, in s."""
        timeout = PATIENT_RESPONSE_TIMEOUT if self.patient else PROBE_TIMEOUT
        wire = wire_seconds(self.settings.baudrate, PROBE_CHARACTERS)
        return wire + timeout + HOST_SECONDS

    async def async_send(self, bus: Bus, client: ModbusUnit) -> bool:
        """Send the probe, and return whether a device responds or refuses.

        Raises `ModbusConnectionError`.
        """
        timeout = bus.response_timeout
        if bus.framing == "rtu":
            # Replace the timeout of a read by that of a probe, and keep the time that
            # is added for a network. A Modbus TCP gateway has a timeout of its own.
            timeout += PROBE_TIMEOUT - RESPONSE_TIMEOUT
        timeout = max(timeout, DELAYS_UNTIL_PROBE_TIMEOUT * bus.delay)
        if self.patient:
            timeout = max(timeout, PATIENT_RESPONSE_TIMEOUT)
        for _ in range(DAMAGED_ATTEMPTS):
            await bus.async_wait_for_pause()
            try:
                await bus.async_request(
                    self.unit_id,
                    client,
                    lambda: client.read_holding_registers(PROBE_REGISTER, 1),
                    PROBE_CHARACTERS,
                    probe_timeout=timeout,
                    reopen_seconds=REOPEN_SECONDS,
                )
            except ModbusProtocolError:
                continue
            except ModbusTimeoutError:
                return False
            except ModbusExceptionError:
                pass
            bus.responded = True
            return True
        return False


def planned_probes(
    settings: Sequence[LineSettings], unit_ids: Sequence[int]
) -> Iterator[Probe]:
    """Yield the probes of a scan that finds no device, in their order.

    A meter in AUTO mode adapts to the requests on the bus, to whichever unit ID they
    are sent. So the first unit IDs are probed again, because their meters may have
    adapted meanwhile.
    """
    if len(unit_ids) == 1:
        for each in settings:
            probes = AUTO_MODE_PROBES if each == settings[0] else QUICK_PROBES
            yield from [Probe(each, unit_ids[0])] * probes
        for each in settings:
            yield from [Probe(each, unit_ids[0], patient=True)] * PATIENT_PROBES
        return
    first = unit_ids[:FIRST_UNIT_IDS]
    passes = [(settings[0], first), *((each, first) for each in settings)]
    passes += [(each, unit_ids) for each in settings]
    if len(settings) == 1:
        passes = [(settings[0], unit_ids), (settings[0], first)]
    for each, of_pass in passes:
        yield from (Probe(each, unit_id) for unit_id in of_pass)
