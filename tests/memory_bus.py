"""A bus in memory and in virtual time with simulated meters, to test the library."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from modbus_connection import (
    ModbusConnectionError,
    ModbusExceptionError,
    ModbusProtocolError,
    ModbusUnit,
)
from pymodbus.constants import ExcCodes

from custom_components.socomec_countis.countis.bus import Bus
from custom_components.socomec_countis.countis.meter import Meter
from custom_components.socomec_countis.countis.profile import (
    COUNTER_BLOCKS,
    Profile,
    async_take_profile,
)
from simulator import Meter as SimulatedMeter

BITS_PER_CHARACTER = 11  # start, 8 data bits, parity or second stop bit, stop
SILENT_CHARACTERS = 3.5  # silence before a request
# Lengths of frames. A response to a write is as long as a request to read.
REQUEST_CHARACTERS = 8
READ_RESPONSE_CHARACTERS = 5  # plus two for each register
WRITE_SEVERAL_CHARACTERS = 9  # plus two for each register

READ, WRITE, LOOPBACK, WRITE_SEVERAL = 3, 6, 8, 16  # Modbus functions

START_TIME = 1_750_000_000.0  # s since 1970, at the virtual time 0


def virtual_clock() -> float:
    """Return the virtual time in s since 1970."""
    return START_TIME + asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Request:
    """A request that a client has sent."""

    at: float
    """In s of the loop's clock."""
    unit_id: int
    function: int
    address: int
    content: int | tuple[int, ...]
    """The number of registers that are read, or the values that are written."""


@dataclass(frozen=True)
class Fault:
    """A fault of one response."""

    change: Callable[[list[int]], list[int]] = list
    """Changes the words of the response."""
    error: Exception | None = None
    """The client raises this error in place of the response."""
    is_lost: bool = False


NO_FAULT = Fault()
LOST = Fault(is_lost=True)
DAMAGED = Fault(error=ModbusProtocolError("the CRC is wrong"))
ZEROS = Fault(lambda words: [0] * len(words))


def exception(code: int) -> Fault:
    """Return a fault: the client raises a Modbus exception in place of a response."""
    return Fault(error=ModbusExceptionError.from_code(code))


async def async_transmit(characters: float, baudrate: int, *, delay: float = 0) -> None:
    """Wait for a delay in s, and then for the time of the characters on the wires."""
    await asyncio.sleep(delay + characters * BITS_PER_CHARACTER / baudrate)


def response_of(meter: SimulatedMeter, request: Request) -> list[int] | ExcCodes:
    """Return the words or the Modbus exception with which a meter responds.

    The response to a write has no words.
    """
    if (refusal := meter.refusal(request.function)) is not None:
        return refusal
    if isinstance(request.content, int):
        return meter.read(request.address, request.content)
    return meter.write(request.address, list(request.content)) or []


@dataclass
class MemoryBus:
    """A bus in memory with simulated meters. Records requests and applies faults."""

    meters: dict[int, SimulatedMeter] = field(default_factory=dict)
    baudrate: int = 9600
    delay: float = 0.02
    """In s: the time until a meter begins its response."""
    framing: Literal["rtu", "tcp"] = "rtu"
    connected: bool = True
    """Whether the port is open."""
    plugged: bool = True
    """Whether the port can be opened."""
    opening_seconds: float = 0.01
    """In s: the time that an attempt to open the port takes."""
    requests: list[Request] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    """One fault for each of the next responses."""
    default_fault: Callable[[Request], Fault] = lambda _request: NO_FAULT
    """Returns the fault of each response when `faults` is empty."""
    overlaps: int = 0
    """Number of requests that were sent during another transaction."""
    _busy: int = 0
    """Number of transactions in progress."""

    def __post_init__(self) -> None:
        """Create the bus of the library."""
        self.bus = Bus(baudrate=self.baudrate, framing=self.framing)

    @property
    def reads(self) -> list[int]:
        """Return the number of registers of each read."""
        return [each.content for each in self.requests if isinstance(each.content, int)]

    @property
    def writes(self) -> list[tuple[int, tuple[int, ...]]]:
        """Return the register address and the values of each write."""
        return [
            (each.address, each.content)
            for each in self.requests
            if isinstance(each.content, tuple)
        ]

    def client(self, unit_id: int = 1) -> ModbusUnit:
        """Return a client for a unit ID, without the timeouts and lock of a `Bus`."""
        return cast(ModbusUnit, MemoryClient(self, unit_id))

    def unit(self, unit_id: int = 1) -> ModbusUnit:
        """Return a client for a unit ID, with the timeouts and lock of `self.bus`."""
        return self.bus.unit(unit_id, self.client(unit_id))

    async def async_transfer(self, request: Request) -> list[int]:
        """Send a request, and return the words of the response.

        Raises the error of a fault, `ModbusConnectionError` if the port cannot be
        opened, and `ModbusExceptionError` if the meter refuses the request. If there is
        no response, waits until the call is cancelled.
        """
        if not self.connected:
            await asyncio.sleep(self.opening_seconds)
        self.connected = self.plugged
        if not self.plugged:
            msg = "the port cannot be opened"
            raise ModbusConnectionError(msg)
        self.requests.append(request)
        self.overlaps += self._busy > 0
        self._busy += 1
        try:
            return await self._async_respond(request)
        finally:
            self._busy -= 1

    async def _async_respond(self, request: Request) -> list[int]:
        sent = received = REQUEST_CHARACTERS
        if isinstance(request.content, int):
            received = READ_RESPONSE_CHARACTERS + 2 * request.content
        elif request.function == WRITE_SEVERAL:
            sent = WRITE_SEVERAL_CHARACTERS + 2 * len(request.content)
        await async_transmit(SILENT_CHARACTERS + sent, self.baudrate)
        meter = self.meters.get(request.unit_id)
        if meter is None or meter.offline:
            await asyncio.Event().wait()
        assert meter is not None
        words = response_of(meter, request)
        fault = self.faults.popleft() if self.faults else self.default_fault(request)
        if fault.is_lost:
            await asyncio.Event().wait()
        await async_transmit(received, self.baudrate, delay=self.delay)
        if fault.error is not None:
            raise fault.error
        if isinstance(words, ExcCodes):
            raise ModbusExceptionError.from_code(words)
        return fault.change(words)


@dataclass
class MemoryClient:
    """The part of a `ModbusUnit` that the library uses."""

    memory_bus: MemoryBus
    unit_id: int

    @property
    def connected(self) -> bool:
        """Whether the port is open."""
        return self.memory_bus.connected

    def require_timeout(self, seconds: float) -> None:
        """Ignore the timeout of the client: the bus of the library has its own."""

    async def disconnect(self) -> None:
        """Close the port. The next request opens the port."""
        self.memory_bus.connected = False

    async def _async_send(
        self, function: int, address: int, content: int | tuple[int, ...]
    ) -> list[int]:
        now = asyncio.get_running_loop().time()
        request = Request(now, self.unit_id, function, address, content)
        return await self.memory_bus.async_transfer(request)

    async def read_holding_registers(self, address: int, count: int) -> list[int]:
        """Read registers with function 3."""
        return await self._async_send(READ, address, count)

    async def write_register(self, address: int, value: int) -> None:
        """Write one register with function 6."""
        await self._async_send(WRITE, address, (value,))

    async def write_registers(self, address: int, values: list[int]) -> None:
        """Write several registers with function 16."""
        await self._async_send(WRITE_SEVERAL, address, tuple(values))

    async def diagnostics(self, sub_function: int, data: int) -> int:
        """Send a loopback test. A COUNTIS refuses function 8."""
        await self._async_send(LOOPBACK, sub_function, (data,))
        return data


async def async_profile_of(meter: SimulatedMeter) -> Profile:
    """Read the profile of a meter on a new bus, and return the profile."""
    return await async_take_profile(MemoryBus({1: meter}).unit())


async def async_meter(
    memory_bus: MemoryBus,
    *,
    unit_id: int = 1,
    profile: Profile | None = None,
    accepted: Mapping[str, Any] | None = None,
) -> Meter:
    """Return a meter of the library.

    If `profile` is None, the profile is read from the bus. Afterwards,
    `memory_bus.requests` is empty. `accepted` is a saved result of
    `CounterCheck.as_dict`.
    """
    meter = memory_bus.meters[unit_id]
    profile = profile or await async_take_profile(memory_bus.unit(unit_id))
    memory_bus.requests.clear()
    return Meter(
        memory_bus.bus,
        unit_id,
        memory_bus.client(unit_id),
        profile,
        accepted=accepted,
        clock=meter.true_time,
        monotonic=asyncio.get_running_loop().time,
        local_time=lambda: datetime.fromtimestamp(meter.true_time(), UTC).replace(
            tzinfo=None
        ),
    )


async def async_polled_meter(memory_bus: MemoryBus) -> Meter:
    """Return a meter of the library after its power and counters are read.

    Afterwards, `memory_bus.requests` is empty.
    """
    meter = await async_meter(memory_bus)
    for name in ("power", *COUNTER_BLOCKS):
        if meter.block(name) is not None:
            await meter.async_read(name)
    memory_bus.requests.clear()
    return meter
