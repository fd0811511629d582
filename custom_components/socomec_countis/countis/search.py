"""Looks for meters on a line: at which addresses, and with which settings."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Literal

from modbus_connection import (
    GatewayPathUnavailableError,
    GatewayTargetError,
    ModbusConnectionError,
    ModbusError,
    ModbusExceptionError,
    ModbusTimeoutError,
    ModbusUnit,
)

from .errors import CountisError
from .line import Line
from .meter import Countis
from .registers import SerialNumber

ADDRESSES = range(1, 256)

# What an electrician sets first. With all else unknown, these come before the others.
FIRST_ADDRESSES = 16

# A meter in AUTO mode may need a request to find its settings by.
ATTEMPTS_AT_ONE_ADDRESS = 2

# How long an answer may take to begin. Behind a gateway it is the gateway that waits,
# and says when it is over.
LINE_WAIT = 0.15
GATEWAY_WAIT = 1.5

# Pauses as a multiple of an attempt, where other meters are being polled.
MOST_PAUSES = 4

# A port is let go of a moment after it was closed.
OPEN_ATTEMPTS = 4
OPEN_RETRY_DELAY = 0.25
OPENING_SECONDS = 0.1

QUESTION = (3,)

# Whoever has answered is worth some patience: identifying takes a dozen answers.
IDENTIFY_ATTEMPTS = 3


type Parity = Literal["N", "E", "O"]
type StopBits = Literal[1, 2]


@dataclass(frozen=True)
class LineSettings:
    """Speed and format of a line, as a meter is set to."""

    baudrate: int
    parity: Parity
    stopbits: StopBits

    def __str__(self) -> str:
        """Return them as they are commonly written: 9600 baud, 8N1."""
        return f"{self.baudrate} baud, 8{self.parity}{self.stopbits}"


# All that a COUNTIS can be set to, the most likely ones first.
BAUDRATES = (9600, 38400, 19200, 4800)
FORMATS: tuple[tuple[Parity, StopBits], ...] = (("N", 1), ("N", 2), ("E", 1), ("O", 1))
RARE_FORMATS: tuple[tuple[Parity, StopBits], ...] = (("E", 2), ("O", 2))
ALL_SETTINGS = tuple(
    LineSettings(baudrate, parity, stopbits)
    for formats in (FORMATS, RARE_FORMATS)
    for baudrate in BAUDRATES
    for parity, stopbits in formats
)


@dataclass(frozen=True)
class OpenLine:
    """A line that is open with some settings."""

    line: Line
    unit: Callable[[int], AbstractAsyncContextManager[ModbusUnit]]
    """Lends the unit at an address."""


@dataclass(frozen=True)
class FoundMeter:
    """A COUNTIS that answered."""

    address: int
    settings: LineSettings
    model: str
    serial_number: str | None


@dataclass
class Search:
    """Looks for meters; what it has found so far may be looked at any time."""

    open_line: Callable[[LineSettings], AbstractAsyncContextManager[OpenLine]]
    settings: Sequence[LineSettings] = ALL_SETTINGS
    """As soon as a meter has answered, the others are looked for with its settings."""
    addresses: Sequence[int] = ADDRESSES
    wait: float = LINE_WAIT
    on_change: Callable[[], None] = lambda: None
    """Called before every attempt."""

    found: list[FoundMeter] = field(default_factory=list)
    others: set[int] = field(default_factory=set)
    """Addresses at which something else answered, or not usably."""
    progress: float = 0
    """From 0 to 1; never falls, and moves by what there is left to do."""
    trying: LineSettings = field(init=False)
    address: int = 0
    _plan: list[tuple[LineSettings, Sequence[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Plan: few addresses with all settings first, then all."""
        self.trying = self.settings[0]
        passes = [self.addresses]
        if len(self.addresses) == 1:
            passes *= ATTEMPTS_AT_ONE_ADDRESS
        elif len(self.settings) > 1:
            passes.insert(0, self.addresses[:FIRST_ADDRESSES])
        self._plan = [
            (settings, addresses) for addresses in passes for settings in self.settings
        ]

    async def async_run(self) -> None:
        """Search to the end.

        Raises `ModbusConnectionError` for a line that cannot be opened.
        """
        while self._plan:
            settings, addresses = self._plan[0]
            self.trying = settings
            async with self.open_line(settings) as line:
                for index, address in enumerate(addresses):
                    if address in {meter.address for meter in self.found}:
                        continue
                    self.address = address
                    self.on_change()
                    answered = await self._async_try(line, settings, address)
                    self._advance(addresses[index + 1 :])
                    if answered and len(self.settings) > 1:
                        break
                else:
                    self._plan.pop(0)
                    continue
            self._settle(settings, address)
        self.progress = 1

    def _settle(self, settings: LineSettings, address: int) -> None:
        """Go on with the settings that a meter has answered to, and no others."""
        self.settings = [settings]
        rest = [each for each in self.addresses if each != address]
        self._plan = [(settings, rest)] if rest else []

    def _advance(self, rest: Sequence[int]) -> None:
        """Note that an attempt was made, with these left of the step."""
        settings, _ = self._plan[0]
        left = self._seconds(settings, rest) + sum(
            self._seconds(*step) for step in self._plan[1:]
        )
        this = self._seconds(settings, [0])
        self.progress += (1 - self.progress) * this / (this + left)

    def _seconds(self, settings: LineSettings, addresses: Sequence[int]) -> float:
        """Return what it takes to try these without an answer."""
        each = Line(settings.baudrate).wire_seconds(QUESTION) + self.wait
        return len(addresses) * each

    async def _async_try(
        self, open_line: OpenLine, settings: LineSettings, address: int
    ) -> bool:
        """Look who is at an address; whether it is a COUNTIS."""
        began = asyncio.get_running_loop().time()
        async with open_line.unit(address) as unit:
            line = open_line.line
            if not await self._async_answers(unit, line):
                took = asyncio.get_running_loop().time() - began
                await asyncio.sleep(took * min(len(line.meters), MOST_PAUSES))
                return False
            meter = Countis(unit, line, address=address)
            try:
                await _async_identify(meter)
            except CountisError, ModbusError:
                self.others.add(address)
                return False
            finally:
                meter.leave_line()
            self.others.discard(address)
        self.found.append(
            FoundMeter(address, settings, meter.model, meter.serial_number)
        )
        self.on_change()
        return True

    async def _async_answers(self, unit: ModbusUnit, line: Line) -> bool:
        """Ask for the serial number; whether anyone says anything."""
        attempts_left = OPEN_ATTEMPTS
        while True:
            attempts_left -= 1
            block = SerialNumber(unit)
            try:
                opening = 0 if unit.connected else OPENING_SECONDS
                await line.async_take_turn(
                    QUESTION, block.async_update(), wait=self.wait + opening
                )
            except ModbusTimeoutError:
                return False
            except ModbusConnectionError:
                if not attempts_left:
                    raise
                await asyncio.sleep(OPEN_RETRY_DELAY)
                continue
            except GatewayTargetError, GatewayPathUnavailableError:
                return False
            except ModbusExceptionError:
                # Whoever refuses this is there.
                return True
            except ModbusError:
                # Noise, or a meter that speaks with other settings.
                return False
            return True


async def _async_identify(meter: Countis) -> None:
    """Set a meter up, in spite of some noise."""
    for _ in range(IDENTIFY_ATTEMPTS - 1):
        with suppress(ModbusError):
            return await meter.async_ensure_identity()
    return await meter.async_ensure_identity()
