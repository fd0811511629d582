"""Meters on a bus in memory, in a virtual time that does not depend on the machine."""

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
    wire_seconds,
)
from custom_components.socomec_countis.countis.line_settings import (
    SCAN_SETTINGS,
    LineSettings,
)
from custom_components.socomec_countis.countis.probe import UNIT_IDS, plan
from custom_components.socomec_countis.countis.scan import OpenBus
from simulator import Meter

METER_DELAY = 0.03  # s until a meter begins its response
READ = 3
REQUEST_CHARACTERS = 8
RESPONSE_CHARACTERS = 5

OPEN_SECONDS = 0.2  # s until a port that was closed is open again
ECHO_CHECK_SECONDS = 1.3  # s at 4800 baud: three requests and their recoveries


def worst_case_seconds(
    settings: Sequence[LineSettings] = SCAN_SETTINGS, unit_ids: Sequence[int] = UNIT_IDS
) -> float:
    """Return the longest duration in s of a scan that finds no device."""
    seconds = ECHO_CHECK_SECONDS
    for _, group in groupby(plan(settings, unit_ids), key=attrgetter("settings")):
        probes = list(group)
        recoveries = len(probes) // PROBES_UNTIL_RECOVERY
        seconds += (1 + recoveries) * OPEN_SECONDS
        seconds += sum(probe.seconds for probe in probes)
    return seconds


async def seconds_of(work: Coroutine[Any, Any, object]) -> float:
    """Return how many s of the virtual time something takes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work
    return loop.time() - began


@dataclass
class VirtualMeter:
    """A meter and how it responds."""

    meter: Meter
    settings: Sequence[LineSettings]
    """Those of the client that the meter understands."""
    delay: float = METER_DELAY
    requests_needed: int = 0
    """In AUTO mode, to the bus with the same settings, before it understands them."""


@dataclass
class VirtualBus:
    """A bus in memory: opened by a scan, with meters that respond in virtual time."""

    meters: Sequence[VirtualMeter] = ()
    opening_seconds: float = 0
    response_timeout: float | None = None
    framing: Any = "rtu"
    bus: Bus | None = None
    """One that other tasks use as well, in place of a new one for each opening."""
    errors: dict[int, list[Exception | None]] = field(default_factory=dict)
    """By unit ID: what the next requests end with, None for the response."""
    connected: bool = True
    echoes: bool = False
    """Whether the adapter returns every request."""
    opened: list[LineSettings] = field(default_factory=list)
    requests: list[tuple[LineSettings, int, int]] = field(default_factory=list)
    """Settings, unit ID and number of registers."""
    disconnects: int = 0

    def unit_ids(self) -> list[int]:
        """Return which unit IDs were probed, in their order."""
        return [unit_id for _, unit_id, count in self.requests if count == 1]

    @asynccontextmanager
    async def open(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        """Open the bus, as a scan does."""
        self.opened.append(settings)
        await asyncio.sleep(self.opening_seconds)

        @asynccontextmanager
        async def lend(unit_id: int) -> AsyncIterator[ModbusUnit]:
            yield self.client(settings, unit_id)

        bus = self.bus or Bus(
            baudrate=settings.baudrate,
            framing=self.framing,
            response_timeout=self.response_timeout,
        )
        yield OpenBus(bus, lend)

    def client(self, settings: LineSettings, unit_id: int) -> ModbusUnit:
        """Return what reads from one unit ID."""
        return cast(ModbusUnit, VirtualClient(self, settings, unit_id))


@dataclass
class VirtualClient:
    """The part of a client unit that a bus uses."""

    line: VirtualBus
    settings: LineSettings
    unit_id: int

    @property
    def connected(self) -> bool:
        """Whether the port is open."""
        return self.line.connected

    async def disconnect(self) -> None:
        """Count the recoveries."""
        self.line.disconnects += 1

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Return what a meter responds, or wait for ever."""
        line = self.line
        line.requests.append((self.settings, self.unit_id, count))
        if (errors := line.errors.get(self.unit_id)) and (error := errors.pop(0)):
            line.connected = not isinstance(error, ModbusConnectionError)
            raise error
        line.connected = True
        for each in line.meters:
            if self._hears(each):
                characters = REQUEST_CHARACTERS + RESPONSE_CHARACTERS + 2 * count
                wire = wire_seconds(self.settings.baudrate, characters)
                await asyncio.sleep(wire + each.delay)
                words = each.meter.refusal(READ) or each.meter.read(address, count)
                if isinstance(words, ExcCodes):
                    raise ModbusExceptionError.from_code(words)
                return words
        await asyncio.Event().wait()
        raise AssertionError

    def _hears(self, each: VirtualMeter) -> bool:
        """Whether a meter understands a request that is for it."""
        if self.settings not in each.settings or self.unit_id != each.meter.unit_id:
            return False
        since = 0
        for settings, _, _ in reversed(self.line.requests):
            if settings != self.settings:
                break
            since += 1
        return since > each.requests_needed

    async def diagnostics(self, sub_function: int, data: int) -> int:
        """Return the word of a loopback test if the adapter echoes."""
        if not self.line.echoes:
            await asyncio.Event().wait()
        return data
