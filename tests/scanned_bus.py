"""A bus in memory and in virtual time, for a scan that tries several line settings."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, cast

from modbus_connection import (
    ModbusConnectionError,
    ModbusExceptionError,
    ModbusUnit,
)
from pymodbus.constants import ExcCodes

from custom_components.socomec_countis.countis.bus import (
    PROBES_UNTIL_RECOVERY,
    Bus,
)
from custom_components.socomec_countis.countis.line_settings import (
    SCAN_SETTINGS,
    LineSettings,
)
from custom_components.socomec_countis.countis.probe import UNIT_IDS, planned_probes
from custom_components.socomec_countis.countis.scan import OpenBus
from simulator import Meter

from .memory_bus import (
    READ,
    READ_RESPONSE_CHARACTERS,
    REQUEST_CHARACTERS,
    SILENT_CHARACTERS,
    Request,
    async_transmit,
    response_of,
)

METER_DELAY = 0.03  # s until a meter begins its response
OPEN_SECONDS = 0.2  # s until a closed port is open again
# In s; duration of the scan's check for an echo of the adapter, at 4800 baud. Two reads
# and a loopback test time out. After each read, the port is closed and opened again.
ECHO_CHECK_SECONDS = 1.3


def worst_case_seconds(
    settings: Sequence[LineSettings] = SCAN_SETTINGS, unit_ids: Sequence[int] = UNIT_IDS
) -> float:
    """Return the longest duration in s of a scan that finds no device."""
    seconds = ECHO_CHECK_SECONDS
    for _, group in groupby(
        planned_probes(settings, unit_ids), key=attrgetter("settings")
    ):
        probes = list(group)
        recoveries = len(probes) // PROBES_UNTIL_RECOVERY
        # The probes of a group have the same settings, so they open the port once. Each
        # recovery opens the port again.
        seconds += (1 + recoveries) * OPEN_SECONDS
        seconds += sum(probe.seconds for probe in probes)
    return seconds


async def duration_of(work: Coroutine[Any, Any, object]) -> float:
    """Run a coroutine, and return its duration in s of virtual time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await work
    return loop.time() - start


@dataclass
class ScannedMeter:
    """A meter on a bus that is scanned, and the conditions of its responses."""

    meter: Meter
    settings: Sequence[LineSettings]
    """The settings with which the meter understands a request."""
    delay: float = METER_DELAY
    """In s: the time until the meter begins its response."""
    requests_needed: int = 0
    """Number of consecutive requests with the same settings before the first response.

    With these requests, a meter in AUTO mode adapts to the settings. Their unit IDs do
    not matter.
    """


@dataclass
class ScannedBus:
    """A bus in memory that a scan opens, with meters of different settings."""

    meters: Sequence[ScannedMeter] = ()
    opening_seconds: float = 0
    response_timeout: float | None = None
    """In s. If None, `Bus` uses its default."""
    framing: Any = "rtu"
    bus: Bus | None = None
    """Bus that other tasks use, too. If None, each opening creates a bus."""
    errors: dict[int, list[Exception | None]] = field(default_factory=dict)
    """By unit ID: the errors of the next reads, None for a read without an error."""
    connected: bool = True
    echoes: bool = False
    """Whether the adapter echoes each request."""
    opened: list[LineSettings] = field(default_factory=list)
    requests: list[tuple[LineSettings, int, int]] = field(default_factory=list)
    """Settings, unit ID and number of registers of each read."""
    disconnects: int = 0
    """Number of recoveries, in which the client closes the port."""

    def unit_ids(self) -> list[int]:
        """Return the unit IDs of all probes and of the echo check, in their order."""
        # All other reads have more than one register.
        return [unit_id for _, unit_id, count in self.requests if count == 1]

    @asynccontextmanager
    async def open(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        """Open the bus with the settings of a probe."""
        self.opened.append(settings)
        await asyncio.sleep(self.opening_seconds)

        @asynccontextmanager
        async def open_unit(unit_id: int) -> AsyncIterator[ModbusUnit]:
            yield self.client(settings, unit_id)

        bus = self.bus or Bus(
            baudrate=settings.baudrate,
            framing=self.framing,
            response_timeout=self.response_timeout,
        )
        yield OpenBus(bus, open_unit)

    def client(self, settings: LineSettings, unit_id: int) -> ModbusUnit:
        """Return a client for a unit ID, without the timeouts and lock of a `Bus`."""
        return cast(ModbusUnit, ScannedClient(self, settings, unit_id))


@dataclass
class ScannedClient:
    """The part of a `ModbusUnit` that a scan uses."""

    bus: ScannedBus
    settings: LineSettings
    unit_id: int

    @property
    def connected(self) -> bool:
        """Whether the port is open."""
        return self.bus.connected

    async def disconnect(self) -> None:
        """Count a recovery, in which the client closes the port."""
        self.bus.disconnects += 1

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Return the words of a meter. If no meter responds, wait for ever.

        Raises the next error of `ScannedBus.errors`, if any. Raises
        `ModbusExceptionError` if the meter refuses the read.
        """
        bus = self.bus
        bus.requests.append((self.settings, self.unit_id, count))
        if (errors := bus.errors.get(self.unit_id)) and (error := errors.pop(0)):
            bus.connected = not isinstance(error, ModbusConnectionError)
            raise error
        bus.connected = True
        now = asyncio.get_running_loop().time()
        request = Request(now, self.unit_id, READ, address, count)
        for each in bus.meters:
            if self._is_understood_by(each):
                sent = SILENT_CHARACTERS + REQUEST_CHARACTERS
                received = READ_RESPONSE_CHARACTERS + 2 * count
                await async_transmit(sent + received, self.settings.baudrate)
                await asyncio.sleep(each.delay)
                words = response_of(each.meter, request)
                if isinstance(words, ExcCodes):
                    raise ModbusExceptionError.from_code(words)
                return words
        await asyncio.Event().wait()
        raise AssertionError  # never reached

    def _is_understood_by(self, scanned: ScannedMeter) -> bool:
        """Return whether a meter has the unit ID, and understands the last request."""
        if (
            self.settings not in scanned.settings
            or self.unit_id != scanned.meter.unit_id
        ):
            return False
        consecutive = 0
        for settings, _, _ in reversed(self.bus.requests):
            if settings != self.settings:
                break
            consecutive += 1
        return consecutive > scanned.requests_needed

    async def diagnostics(self, sub_function: int, data: int) -> int:
        """Return the word of a loopback test. Without an echo, wait for ever."""
        if not self.bus.echoes:
            await asyncio.Event().wait()
        return data
