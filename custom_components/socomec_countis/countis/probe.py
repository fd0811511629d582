"""The probes of a scan: what each requests, their order, and how long they take.

A probe without a response takes 15 characters of request and response and 3.5 of
silence, of 11 bits each, and the response timeout of 60 ms. That is 102, 81, 71 and
66 ms at 4800, 9600, 19200 and 38400 baud. With 3 parities and 255 unit IDs, these
speeds take 78, 62, 54 and 51 s: 245 s. `worst_case_seconds` adds the first unit IDs,
which are probed twice, recoveries of the bus and the time of the host: a scan of an
unknown bus takes at most 285 s.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from modbus_connection import (
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusTimeoutError,
    ModbusUnit,
)

from .bus import (
    PROBES_UNTIL_RECOVERY,
    RESPONSE_TIMEOUT,
    Bus,
    wire_seconds,
)
from .line_settings import SCAN_SETTINGS, LineSettings
from .unit import PATIENT_RESPONSE_TIMEOUT, READ_CHARACTERS, REOPEN_SECONDS

# The product order code of a COUNTIS. Any other response counts as well. No other read
# asks for one register, so a late response to a probe cannot be taken for another.
PROBE_REGISTER = 50004
PROBE_CHARACTERS = READ_CHARACTERS + 2

# s until the response begins: 30 ms of the meter, 20 ms of the adapter and 10 ms of the
# host. A bus that was measured to be slower gets twice its delay.
PROBE_TIMEOUT = 0.06
DELAYS_UNTIL_TIMEOUT = 2
DAMAGED_ATTEMPTS = 2  # a damaged response is requested again; a timeout is not

# The menu of a meter counts to 255. Modbus ends at 247, so the others come last.
UNIT_IDS = range(1, 256)
# Installations count from 1. With 12 settings, each of these delays the others by 1 s.
FIRST_UNIT_IDS = 16

# Of a single unit ID, our choice. A meter in AUTO mode needs requests, undocumented how
# many, to find the first settings. The last probes wait 1 s for a slow meter.
AUTO_MODE_PROBES = 10
QUICK_PROBES = 2
PATIENT_PROBES = 3

# s of the host for a probe: 0.8 ms of computing were measured, a small host needs more.
HOST_SECONDS = 0.003
# s until a port that was closed is open again, with other settings or after a recovery
# of the bus. Our choice: adapters need some hundredths.
OPEN_SECONDS = 0.2
# s of the check for an echo, at 4800 baud: three requests and their recoveries.
ECHO_CHECK_SECONDS = 1.3


class Probe(NamedTuple):
    """One request that looks for a device."""

    settings: LineSettings
    unit_id: int
    patient: bool = False

    @property
    def seconds(self) -> float:
        """Return how many s it takes on a serial port if no device responds."""
        timeout = PATIENT_RESPONSE_TIMEOUT if self.patient else PROBE_TIMEOUT
        wire = wire_seconds(self.settings.baudrate, PROBE_CHARACTERS)
        return wire + timeout + HOST_SECONDS

    async def async_send(self, bus: Bus, client: ModbusUnit) -> bool:
        """Return whether a device responds; a refusal is a response as well.

        Raises `ModbusConnectionError`.
        """
        # A network takes as long as for other responses. A gateway waits itself.
        timeout = bus.response_timeout
        if bus.framing == "rtu":
            timeout += PROBE_TIMEOUT - RESPONSE_TIMEOUT
        timeout = max(timeout, DELAYS_UNTIL_TIMEOUT * bus.delay)
        if self.patient:
            timeout = max(timeout, PATIENT_RESPONSE_TIMEOUT)
        for _ in range(DAMAGED_ATTEMPTS):
            await bus.async_wait_for_pause()
            with suppress(ModbusProtocolError):
                try:
                    await bus.async_request(
                        self.unit_id,
                        client,
                        lambda: client.read_holding_registers(PROBE_REGISTER, 1),
                        PROBE_CHARACTERS,
                        probe_timeout=timeout,
                        reopen_seconds=REOPEN_SECONDS,
                    )
                except ModbusTimeoutError:
                    return False
                except ModbusExceptionError:
                    pass
                bus.responded = True
                return True
        return False


def plan(settings: Sequence[LineSettings], unit_ids: Sequence[int]) -> Iterator[Probe]:
    """Yield the probes of a scan that finds nothing, in their order.

    A meter in AUTO mode adapts to any request on the bus, whatever its unit ID is. So
    the first unit IDs are probed again, because they have adapted meanwhile.
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


def worst_case_seconds(
    settings: Sequence[LineSettings] = SCAN_SETTINGS, unit_ids: Sequence[int] = UNIT_IDS
) -> float:
    """Return how many s a scan takes on a serial port at which nothing responds."""
    seconds = ECHO_CHECK_SECONDS
    for _, group in groupby(plan(settings, unit_ids), key=attrgetter("settings")):
        probes = list(group)
        recoveries = len(probes) // PROBES_UNTIL_RECOVERY
        seconds += (1 + recoveries) * OPEN_SECONDS
        seconds += sum(probe.seconds for probe in probes)
    return seconds
