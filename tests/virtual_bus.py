"""Meters on a bus in memory, in a virtual time that does not depend on the machine."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import selectors
from typing import Any, cast, override

from modbus_connection import (
    ModbusConnectionError,
    ModbusExceptionError,
    ModbusUnit,
)
from pymodbus.constants import ExcCodes

from custom_components.socomec_countis.countis.bus import Bus, wire_seconds
from custom_components.socomec_countis.countis.line_settings import LineSettings
from custom_components.socomec_countis.countis.scan import OpenBus
from simulator import Meter

METER_DELAY = 0.03  # s until a meter begins its response
READ = 3
REQUEST_CHARACTERS = 8
RESPONSE_CHARACTERS = 5


class VirtualSelector(selectors.DefaultSelector):
    """Passes the time that a loop would wait."""

    now = 0.0

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            msg = "nothing will happen any more"
            raise RuntimeError(msg)
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes when all tasks wait."""

    def __init__(self) -> None:
        """Start at 0."""
        self._time = VirtualSelector()
        super().__init__(self._time)

    @override
    def time(self) -> float:
        return self._time.now


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Return the result of something that happens in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


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

    on_connection_lost = require_connect_delay = require_timeout = None
    set_message_spacing = None

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
        if self.settings not in each.settings or self.unit_id != each.meter.address:
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
