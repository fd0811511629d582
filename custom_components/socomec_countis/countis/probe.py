"""The probes of a scan: their requests, their order and their duration.

If no device responds, a probe takes 60 ms (`PROBE_TIMEOUT`) and the time of 18.5
characters of 11 bits: 15 characters of request and expected response, and 3.5 of
silence. So a probe takes 102, 81, 71 or 66 ms at 4800, 9600, 19200 or 38400 baud. With
3 parities and 255 unit IDs, these speeds take 78, 62, 54 and 51 s: 245 s in total. The
first unit IDs are probed two or three times. With these probes, the recoveries of the
bus and the time of the host, a scan of an unknown bus takes at most 285 s.
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
from .unit import READ_CHARACTERS, REOPEN_SECONDS, SLOW_RESPONSE_TIMEOUT

# The product order code, whose value does not matter to a probe. No other read has a
# length of one register, so no other read accepts a late response to a probe.
PROBE_REGISTER = 50004
PROBE_CHARACTERS = READ_CHARACTERS + 2

# s until the response begins. Our choice: 30 ms for the meter, 20 ms for the adapter
# and 10 ms for the host.
PROBE_TIMEOUT = 0.06
# The probe timeout of a slow bus is this multiple of the measured delay. Our choice.
DELAYS_UNTIL_PROBE_TIMEOUT = 2
DAMAGED_ATTEMPTS = 2  # a damaged response is retried, a timeout is not

# The menu of a meter offers 1 to 255. Modbus allows only 1 to 247.
UNIT_IDS = range(1, 256)
# This number of unit IDs is probed first, with all settings. Our choice: most
# installations number the meters from 1. With 12 settings, each of these unit IDs
# delays the probes of the later unit IDs by 1 s.
FIRST_UNIT_IDS = 16

# Probes with each of the settings if only one unit ID is scanned. Our choice: a meter
# in AUTO mode needs several requests to adapt to the first settings, but the manual
# does not state how many. Slow probes have a timeout of 1 s, for a slow meter.
AUTO_MODE_PROBES = 10  # with the first settings
QUICK_PROBES = 2  # with the other settings
SLOW_PROBES = 3  # with each of the settings, after all other probes

HOST_SECONDS = 0.003  # s per probe; measured: 0.8 ms, but a slow host needs more


class Probe(NamedTuple):
    """One request to find a device."""

    settings: LineSettings
    unit_id: int
    slow: bool = False
    """Whether the timeout is at least 1 s (`SLOW_RESPONSE_TIMEOUT`)."""

    @property
    def seconds(self) -> float:
        """Return the duration in s on a serial port, without a response."""
        timeout = SLOW_RESPONSE_TIMEOUT if self.slow else PROBE_TIMEOUT
        wire = wire_seconds(self.settings.baudrate, PROBE_CHARACTERS)
        return wire + timeout + HOST_SECONDS

    async def async_send(self, bus: Bus, client: ModbusUnit) -> bool:
        """Send the probe, and return whether a device responds.

        A Modbus exception is a response, too. If all `DAMAGED_ATTEMPTS` responses are
        damaged, the result is False. Raises `ModbusConnectionError`.
        """
        timeout = bus.response_timeout
        if bus.framing == "rtu":
            # The response timeout of the bus may contain additional time for a network.
            # Keep this time, and replace only the timeout of a read by that of a probe.
            # For a Modbus TCP gateway, which has its own timeout, replace nothing.
            timeout += PROBE_TIMEOUT - RESPONSE_TIMEOUT
        timeout = max(timeout, DELAYS_UNTIL_PROBE_TIMEOUT * bus.delay)
        if self.slow:
            timeout = max(timeout, SLOW_RESPONSE_TIMEOUT)
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
    """Yield the probes of a scan in which no device responds, in their order.

    A meter in AUTO mode adapts to all requests on the bus, including requests to other
    unit IDs. So the first unit IDs are probed again, because their meters may have
    adapted meanwhile.
    """
    if len(unit_ids) == 1:
        for each in settings:
            count = AUTO_MODE_PROBES if each == settings[0] else QUICK_PROBES
            yield from [Probe(each, unit_ids[0])] * count
        for each in settings:
            yield from [Probe(each, unit_ids[0], slow=True)] * SLOW_PROBES
        return
    first = unit_ids[:FIRST_UNIT_IDS]
    passes = [(settings[0], first), *((each, first) for each in settings)]
    passes += [(each, unit_ids) for each in settings]
    if len(settings) == 1:
        passes = [(settings[0], unit_ids), (settings[0], first)]
    for each, ids_of_pass in passes:
        yield from (Probe(each, unit_id) for unit_id in ids_of_pass)
