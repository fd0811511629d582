"""Scan a bus for meters: their unit IDs and line settings."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from modbus_connection import ModbusConnectionError, ModbusError, ModbusUnit

from .bus import Bus
from .errors import EchoError, NotACountisError
from .line_settings import SCAN_SETTINGS, LineSettings
from .probe import PROBE_REGISTER, UNIT_IDS, Probe, planned_probes
from .profile import Profile, async_take_profile

PROFILE_ATTEMPTS = 2  # each with about ten requests, which have their own retries
# The check for an echo needs a read without a response. The Modbus specification
# reserves this unit ID, so hardly any device has it.
RESERVED_UNIT_ID = 248
PACE_WEIGHT = 0.1  # weight of the latest probe in the moving average `Scan._pace`


@dataclass(frozen=True)
class OpenBus:
    """A bus whose port was opened with certain line settings."""

    bus: Bus
    client: Callable[[int], AbstractAsyncContextManager[ModbusUnit]]
    """Returns the client for a unit ID, as a context manager."""


@dataclass(frozen=True)
class FoundMeter:
    """A COUNTIS that responded."""

    unit_id: int
    settings: LineSettings
    profile: Profile


@dataclass
class Scan:
    """A scan of one bus. The attributes may be read while the scan runs."""

    open_bus: Callable[[LineSettings], AbstractAsyncContextManager[OpenBus]]
    """Opens the port with line settings, as a context manager."""
    settings: Sequence[LineSettings] = SCAN_SETTINGS
    unit_ids: Sequence[int] = UNIT_IDS
    on_change: Callable[[], None] = lambda: None
    """Called before each probe, and after a meter was found."""

    found: list[FoundMeter] = field(default_factory=list, init=False)
    others: set[int] = field(default_factory=set, init=False)
    """Unit IDs of devices that are not in `found`.

    Such a device is not a COUNTIS, or its profile could not be taken.
    """
    progress: float = field(default=0, init=False)
    """From 0 to 1, never decreasing."""
    probed_settings: LineSettings = field(init=False)
    """The line settings of the latest probe."""
    probed_unit_id: int = field(init=False)
    """The unit ID of the latest probe."""

    def __post_init__(self) -> None:
        """Plan the probes."""
        self._probes = deque(planned_probes(self.settings, self.unit_ids))
        self._planned_seconds_left = sum(probe.seconds for probe in self._probes)
        self._pace = 1.0
        """Moving average: real duration of a probe, divided by its expected one."""
        self._identified: set[int] = set()
        """Unit IDs of found meters, and of devices that are not a COUNTIS."""
        self._echo_checked = False
        self.probed_settings, self.probed_unit_id, _ = self._probes[0]

    @property
    def remaining_seconds(self) -> float:
        """Return the expected remaining time in s, if no further device responds."""
        return self._planned_seconds_left * self._pace

    async def async_run(self) -> None:
        """Send all probes of the scan.

        After a device has responded, the probes with other line settings are dropped.
        Raises `ModbusConnectionError` if the port or gateway cannot be reached,
        `EchoError` if the adapter echoes requests, and the errors of `open_bus`.
        """
        while self._probes:
            settings = self._probes[0].settings
            async with self.open_bus(settings) as opened:
                while self._probes and self._probes[0].settings == settings:
                    await self._async_try(opened, self._probes.popleft())
        self._planned_seconds_left = 0
        self.progress = 1

    async def _async_try(self, opened: OpenBus, probe: Probe) -> None:
        """Send a probe, and identify the device that responds."""
        self.probed_settings, self.probed_unit_id, _ = probe
        self.on_change()
        began = asyncio.get_running_loop().time()
        async with opened.client(probe.unit_id) as client:
            responds = await probe.async_send(opened.bus, client)
            took = asyncio.get_running_loop().time() - began
            if responds:
                await self._async_identify(opened.bus, client, probe)
        if responds:
            self._drop_probes(probe.settings)
        else:
            self._pace += PACE_WEIGHT * (took / probe.seconds - self._pace)
            self._planned_seconds_left -= probe.seconds
            await self._async_check_echo(opened)
        # The remaining progress is divided among this probe and the remaining probes,
        # in proportion to their expected times.
        part = probe.seconds / (probe.seconds + max(self._planned_seconds_left, 0))
        self.progress += (1 - self.progress) * part

    async def _async_identify(self, bus: Bus, client: ModbusUnit, probe: Probe) -> None:
        """Take the profile of a device, and note the device in `found` or `others`."""
        unit_id = probe.unit_id
        unit = bus.unit(unit_id, client, slow=probe.slow, background=True)
        for _ in range(PROFILE_ATTEMPTS):
            try:
                profile = await async_take_profile(unit)
            except NotACountisError:
                self._identified.add(unit_id)
                break
            except ModbusConnectionError:
                raise
            except ModbusError:
                continue
            self._identified.add(unit_id)
            self.others.discard(unit_id)
            self.found.append(FoundMeter(unit_id, probe.settings, profile))
            self.on_change()
            return
        self.others.add(unit_id)

    def _drop_probes(self, settings: LineSettings) -> None:
        """Drop the probes with other settings, and those to identified devices."""
        self._probes = deque(
            probe
            for probe in self._probes
            if probe.settings == settings and probe.unit_id not in self._identified
        )
        self._planned_seconds_left = sum(probe.seconds for probe in self._probes)

    async def _async_check_echo(self, opened: OpenBus) -> None:
        """Check once per scan that the adapter does not echo requests.

        The check is a read from `RESERVED_UNIT_ID`, which usually fails without a
        response. After the failed read, `BusUnit` tests whether the adapter echoes. If
        any device has responded, the adapter does not echo. Raises `EchoError` if the
        adapter echoes, and `ModbusConnectionError` if the port or gateway cannot be
        reached.
        """
        if self._echo_checked or opened.bus.responded:
            return
        self._echo_checked = True
        async with opened.client(RESERVED_UNIT_ID) as client:
            unit = opened.bus.unit(RESERVED_UNIT_ID, client)
            try:
                await unit.read_holding_registers(PROBE_REGISTER, 1)
            except ModbusError as err:
                if isinstance(err, EchoError | ModbusConnectionError):
                    raise
