"""The probes of a scan: their requests, their order and their duration.

If no device responds, a probe takes 60 ms (`PROBE_TIMEOUT`) and the time of 18.5
characters of 11 bits: 15 for the request and the expected response, and 3.5 for the
silence. At 38400 baud, the silence has its lower limit of 1.75 ms. So a probe takes
102, 81, 71 or 66 ms at 4800, 9600, 19200 or 38400 baud. The probes of 255 unit IDs with
3 parities take 78, 62, 54 and 51 s at these speeds: 245 s in total.

Each of the first unit IDs (`FIRST_UNIT_ID_COUNT`) has a second probe with each of the
settings, and a third probe with the first settings. If no device responds, a scan of an
unknown bus takes at most 285 s. This includes the additional probes, the openings of
the port, the recoveries of the bus, the check for an echo and the time of the host.
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

# The product order code, whose value a probe ignores. All reads of other registers are
# longer than one register, so these reads do not accept a late response to a probe.
PROBE_REGISTER = 50004
PROBE_CHARACTERS = READ_CHARACTERS + 2  # of request and expected response

# In s; the longest time until the response begins. Our choice: 30 ms for the meter, 20
# ms for the adapter and 10 ms for the host.
PROBE_TIMEOUT = 0.06
# The probe timeout of a slow bus is this multiple of the measured delay. Our choice.
DELAYS_UNTIL_PROBE_TIMEOUT = 2
PROBE_ATTEMPTS = 2  # a damaged response is retried, a timeout is not

# The menu of a meter offers 1 to 255. Modbus allows only 1 to 247.
UNIT_IDS = range(1, 256)
# This number of unit IDs is probed first, with all settings. Our choice: most
# installations number the meters from 1. A higher count delays the probes of the other
# unit IDs. If there are 12 settings, each of the first unit IDs takes 1 s more, for 13
# additional probes.
FIRST_UNIT_ID_COUNT = 16

# If only one unit ID is scanned, each of the settings has these numbers of probes. Our
# choice: a meter in AUTO mode needs several requests to adapt to the first settings,
# but the manual does not state how many. Slow probes have a timeout of 1 s, for a slow
# meter.
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
        """Return the duration in s on a serial port, if no device responds."""
        timeout = SLOW_RESPONSE_TIMEOUT if self.slow else PROBE_TIMEOUT
        wire = wire_seconds(self.settings.baudrate, PROBE_CHARACTERS)
        return wire + timeout + HOST_SECONDS

    async def async_send(self, bus: Bus, client: ModbusUnit) -> bool:
        """Send the probe, and return whether a device responds.

        A Modbus exception is a response, too. If the responses to all attempts
        (`PROBE_ATTEMPTS`) are damaged, returns False. Raises `ModbusConnectionError`.
        """
        timeout = bus.response_timeout
        if bus.framing == "rtu":
            # The response timeout of the bus is `RESPONSE_TIMEOUT` plus any additional
            # time for a network. Keep the additional time, and replace
            # `RESPONSE_TIMEOUT` by the timeout of a probe. Behind a Modbus TCP gateway,
            # keep the response timeout, because the gateway has its own timeout for the
            # meter.
            timeout += PROBE_TIMEOUT - RESPONSE_TIMEOUT
        timeout = max(timeout, DELAYS_UNTIL_PROBE_TIMEOUT * bus.delay)
        if self.slow:
            timeout = max(timeout, SLOW_RESPONSE_TIMEOUT)
        for _ in range(PROBE_ATTEMPTS):
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

    A meter in AUTO mode adapts its line settings after several requests on the bus,
    even if they contain other unit IDs. A meter with one of the first unit IDs possibly
    adapts only after its own probe, while the other unit IDs are probed. So the first
    unit IDs are probed again.
    """
    if len(unit_ids) == 1:
        for each in settings:
            count = AUTO_MODE_PROBES if each == settings[0] else QUICK_PROBES
            yield from [Probe(each, unit_ids[0])] * count
        for each in settings:
            yield from [Probe(each, unit_ids[0], slow=True)] * SLOW_PROBES
        return
    first_ids = unit_ids[:FIRST_UNIT_ID_COUNT]
    passes = [(settings[0], first_ids), *((each, first_ids) for each in settings)]
    passes += [(each, unit_ids) for each in settings]
    if len(settings) == 1:
        # The pass of all unit IDs begins with `first_ids`, so no pass precedes it.
        passes = [(settings[0], unit_ids), (settings[0], first_ids)]
    for each, ids_of_pass in passes:
        yield from (Probe(each, unit_id) for unit_id in ids_of_pass)
