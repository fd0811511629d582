"""A simulated year with outages and faults of one meter, in steps of virtual time.

The test sets all clocks: of Home Assistant, of the machine and of the meter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
import math
from random import Random
from typing import Any, cast, override

from modbus_connection import ModbusProtocolError, ModbusTimeoutError
from pymodbus.constants import ExcCodes
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.socomec_countis.const import (
    CONF_PROFILE,
    CONF_SERIAL_NUMBER,
    CONF_UNIT_ID,
    DOMAIN,
    SUBENTRY_METER,
    TCP,
)
from custom_components.socomec_countis.coordinator import SAVE_SECONDS
from custom_components.socomec_countis.countis import Correction, async_take_profile
from custom_components.socomec_countis.issues import METER_OFFLINE
from custom_components.socomec_countis.sensor import SENSORS
from custom_components.socomec_countis.texts import unit_of
from homeassistant.config_entries import ConfigSubentryData
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from simulator import Constant, Counters, Phase
from simulator import Meter as SimulatedMeter
from simulator.counters import COUNTER_RANGE_WH
from simulator.table import TableBlock

from .common import Clock, coordinator_of, entity_id
from .memory_bus import READ, Fault, MemoryBus, MemoryClient, Request

# The key of each sensor, with the field of `Counters` or the number of the tariff.
TOTALS = {
    "energy_consumed": "consumed",
    "energy_produced": "produced",
    "energy_reactive": "reactive",
}
PARTIALS = {f"partial_{key}": f"partial_{name}" for key, name in TOTALS.items()}
TARIFFS = {f"tariff_{number}_energy": number for number in range(1, 5)}
COUNTERS = (*TOTALS, *PARTIALS, *TARIFFS)
# The key of a sensor that must not show 0 while the meter starts.
PERIOD = "energy_consumed_this_month"

INSTANTLY = cast(int, math.inf)  # baud at which a transaction takes no time
HOUR, DAY = 3600, 86_400
YEAR = 365 * DAY
STEP = 0.01  # kWh, the resolution of the counters

# Wh; the counters of some meters roll over where their display does.
DISPLAY_ROLLOVER_WH = 1_000_000_000
TARIFF_REGISTERS = {50848, 50849, 51200, 51201}  # tariff count, present tariff
ROUNDING = 1e-6  # kWh, the rounding error of floating-point numbers
OTHER_SERIAL = "1438012000077"
TRANSFORMER_MODEL = "Countis E43"  # has current transformers
# In s; a meter that was offline is polled again after at most 30 s (`LONGEST_PAUSE`).
# Some more readings confirm its counters.
RECONNECT_SECONDS = 36
# In s; longer than `ACCEPTED_AFTER` (60 s), after which counters that fell are
# accepted.
TARIFF_RESET_SECONDS = 75
# Number of polls, one every 15 s: 645 s, longer than `ACCEPTED_AFTER_RESTART` (600 s).
POLLS_AFTER_RESTART = 43
LAG_SECONDS = 4  # s until a second reading confirms a value, at most
# If no request is sent in this number of rounds of the event loop, all tasks wait.
QUIET_ROUNDS = 15
# First register addresses of the blocks with total, partial and tariff counters.
ENERGY_BLOCKS = (50768, 50848, 50944, 51200)

COMMIT_SECONDS = 5  # s between two commits of the recorder by default

LOST = Fault(error=ModbusTimeoutError("no response"))
DAMAGED = Fault(error=ModbusProtocolError("the CRC is wrong"))


@dataclass(kw_only=True)
class YearMeter(SimulatedMeter):
    """A meter that counts a constant load over any duration in one step."""

    rollover: float = COUNTER_RANGE_WH
    """In Wh: the energy at which the counters roll over to 0."""
    zeros: bool = False
    """Whether all counters read 0."""
    mounted: bool = True
    """Whether current flows through the meter."""
    on_reset: Callable[[str], None] = lambda _counter: None
    """Called with the key of each counter that is reset, before its reset."""
    counted: dict[str, float] = field(default_factory=dict)
    """In Wh by counter: the energy counted in the test. A reset does not change it."""
    unwrapped: dict[str, float] = field(default_factory=dict)
    """In Wh by counter: the value that its register would have without rollovers."""
    counted_until: float = 0
    """In s since 1970: the time until which the meter has counted."""

    def __post_init__(self) -> None:
        """Start to count at the present time."""
        super().__post_init__()
        self.counted_until = self.true_time()
        self.counted = dict.fromkeys(COUNTERS, 0.0)
        self.unwrapped = {counter: self.register_value(counter) for counter in COUNTERS}

    def register_value(self, counter: str) -> float:
        """Return the register value of a counter in Wh."""
        if counter in TARIFFS:
            return self.counters.tariffs[TARIFFS[counter] - 1]
        value: float = getattr(self.counters, (TOTALS | PARTIALS)[counter])
        return value

    @override
    def count(self) -> Counters:
        """Count the energy up to now, and return the counters."""
        hours = (self.true_time() - self.counted_until) / HOUR
        self.counted_until = self.true_time()
        counters = self.counters
        if self.mounted and hours:
            phases = self.load.phases(0)
            active = sum(phase.watts for phase in phases) * hours
            reactive = sum(phase.reactive for phase in phases) * hours
            before = {counter: self.register_value(counter) for counter in COUNTERS}
            counters.add(max(active, 0), max(-active, 0), reactive)
            for counter in COUNTERS:
                risen = self.register_value(counter) - before[counter]
                self.counted[counter] += risen
                self.unwrapped[counter] += risen
        for name in (*TOTALS.values(), *PARTIALS.values()):
            setattr(counters, name, getattr(counters, name) % self.rollover)
        counters.tariffs = [each % self.rollover for each in counters.tariffs]
        counters.start_periods(datetime.fromtimestamp(self.true_time(), UTC).date())
        return counters

    @override
    def registers(self, block: TableBlock) -> dict[int, int]:
        """Return the registers of a block. `zeros` clears only the counters."""
        registers = super().registers(block)
        if not self.zeros or block.start not in ENERGY_BLOCKS:
            return registers
        return {
            address: word if address in TARIFF_REGISTERS else 0
            for address, word in registers.items()
        }

    @override
    def write(self, address: int, values: list[int]) -> ExcCodes | None:
        """Execute a command, and record which counters it resets."""
        # The command registers that reset counters.
        resets: dict[int, Iterable[str]] = {57890: PARTIALS, 57892: TARIFFS}
        self.count()
        for counter in resets.get(address, ()):
            self.on_reset(counter)
            self.unwrapped[counter] = 0
        return super().write(address, values)

    def reset(self, counters: Iterable[str]) -> None:
        """Reset counters as a user at the panel or another device does."""
        self.count()
        for counter in counters:
            self.on_reset(counter)
            self.unwrapped[counter] = 0
            if counter in TARIFFS:
                self.counters.tariffs[TARIFFS[counter] - 1] = 0
            else:
                setattr(self.counters, PARTIALS[counter], 0)


def statistics_sum(values: Sequence[float]) -> float:
    """Return the sum in the statistics of a total_increasing sensor.

    If a value is below 90 % of the value before, the recorder adds the whole value.
    """
    return sum(
        value if value < 0.9 * before else value - before
        for before, value in pairwise(values)
    )


@dataclass
class World:
    """One meter, the machine that polls it, and the states of its counters."""

    hass: HomeAssistant
    storage: dict[str, Any]
    """Files of Home Assistant on the disk, by name."""
    random: Random
    meter: YearMeter
    true_time: Clock
    """In s since 1970."""
    monotonic: Clock
    """In s: the clock of the event loop. A wrong system time does not change it."""
    is_recorded: bool = False
    """Whether a real recorder runs. It keeps all states, even after `kill`."""
    wall_offset: float = 0
    """In s: the error of the system clock."""
    fault: Callable[[Request], Fault] = lambda _request: Fault()
    """Returns the fault of the response to a request. `Fault()` is no fault."""
    states: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {counter: [] for counter in COUNTERS}
    )
    """By counter: the time in s of each state, and its value in kWh."""
    lost: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0.0))
    """In kWh by counter: the energy between a reset and the last state before it."""
    corrections: list[Correction] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """The names of the mishaps until now."""
    errors: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Add the bus with its meter as the dialog does, and read the meter."""
        self.memory_bus = MemoryBus({1: self.meter}, baudrate=INSTANTLY, delay=0)
        self.memory_bus.opening_seconds = 0
        profile = await async_take_profile(self.memory_bus.unit())
        self.memory_bus.default_fault = lambda request: self.fault(request)  # noqa: PLW0108
        self.meter.on_reset = self._note_reset
        subentry = ConfigSubentryData(
            data={
                CONF_UNIT_ID: 1,
                CONF_SERIAL_NUMBER: profile.serial_number,
                CONF_PROFILE: profile.as_dict(),
            },
            subentry_type=SUBENTRY_METER,
            title="Meter",
            unique_id=profile.serial_number,
        )
        self.entry = MockConfigEntry(
            domain=DOMAIN,
            title="Bus",
            data={"type": TCP, "host": "gateway", "port": 502, "baudrate": 115_200},
            subentries_data=[subentry],
        )
        self.entry.add_to_hass(self.hass)
        self.serial_number = profile.serial_number or ""
        registry = er.async_get(self.hass)
        # The setup does not enable or disable a sensor that is already registered. So
        # register all sensors here. Enable all counters, but only the power of the
        # measurements, to save time. The poller still reads all measurements.
        enabled = {*COUNTERS, PERIOD, "power"}
        for key in sorted(enabled | {each.key for each in SENSORS}):
            registry.async_get_or_create(
                "sensor",
                DOMAIN,
                f"{self.serial_number}_{key}",
                disabled_by=None if key in enabled else er.RegistryEntryDisabler.USER,
            )
        self.period_id = entity_id(self.hass, PERIOD, self.serial_number)
        self.ids = {
            entity_id(self.hass, counter, self.serial_number): counter
            for counter in COUNTERS
        }
        self.hass.bus.async_listen(EVENT_STATE_CHANGED, self._on_state)
        assert await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.poll(5)

    def client(self, *_: object) -> MemoryClient:
        """Return a client of the meter. This method replaces `async_get_unit`."""
        return MemoryClient(self.memory_bus, 1)

    def wall_time(self) -> float:
        """Return the system time in s since 1970."""
        return self.true_time.seconds + self.wall_offset

    # -- states and errors -----------------------------------------------------

    @callback
    def _on_state(self, event: Event[EventStateChangedData]) -> None:
        counter = self.ids.get(event.data["entity_id"])
        new = event.data["new_state"]
        if counter is None or new is None or new.state in ("unavailable", "unknown"):
            return
        value = float(new.state)
        self.states[counter].append((self.monotonic.seconds, value))
        if counter in TOTALS and value > self.truth(counter) + ROUNDING:
            self.error(f"{counter} shows {value}, more than the meter counted")

    def error(self, text: str) -> None:
        """Record an error together with the last mishaps."""
        self.errors.append(f"{text}; after {self.log[-3:]}")

    def truth(self, counter: str) -> float:
        """Return the true value of a counter in kWh, without rollovers."""
        self.meter.count()
        return self.meter.unwrapped[counter] / 1000

    def value(self, counter: str) -> float:
        """Return the last state of a counter in kWh."""
        return self.states[counter][-1][1]

    def _note_reset(self, counter: str) -> None:
        self.lost[counter] += self.truth(counter) - self.value(counter)

    def check_settled(self) -> None:
        """Record an error for each state that differs from its counter."""
        for counter in COUNTERS:
            truth, value = self.truth(counter), self.value(counter)
            if not -ROUNDING <= truth - value <= STEP + self.lag_energy + ROUNDING:
                self.error(f"{counter} shows {value} in place of {truth:.3f}")

    @property
    def lag_energy(self) -> float:
        """Return the most energy (kWh or kvarh) a counter counts in `LAG_SECONDS`."""
        phases = self.meter.load.phases(0)
        watts = sum(abs(phase.watts) + abs(phase.reactive) for phase in phases)
        return LAG_SECONDS * watts / 3_600_000

    def issues(self) -> set[str]:
        """Return the translation keys of the issues, except those about corrections."""
        return {
            issue.translation_key or ""
            for (domain, issue_id), issue in ir.async_get(self.hass).issues.items()
            if domain == DOMAIN and not issue_id.startswith("counter_corrected")
        }

    def note_correction(self, correction: Correction) -> None:
        """Record a correction, and an error if it is false or not necessary."""
        self.corrections.append(correction)
        counter = correction.counter
        accepted, found = self.value(counter), self.truth(counter)
        if abs(correction.accepted - accepted) > ROUNDING:
            self.error(f"{correction}, but the state was {accepted}")
        if not -ROUNDING <= found - correction.found <= STEP + self.lag_energy:
            self.error(f"{correction}, but the counter is {found}")
        if counter in TARIFFS and found < accepted:
            return  # reset by another device
        if self.log[-1] != "restart_after_clock_was_ahead":
            self.error(f"{correction}, but no clock was wrong")

    def rejected(self) -> object:
        """Return the rejected counters by block."""
        return coordinator_of(self.entry).meter.counter_check.rejected

    def placeholders(self, name: str) -> Mapping[str, str]:
        """Return the placeholders of an issue, or {} if the issue does not exist."""
        for issue in ir.async_get(self.hass).issues.values():
            if issue.domain == DOMAIN and issue.translation_key == name:
                return issue.translation_placeholders or {}
        return {}

    # -- time --------------------------------------------------------------------

    async def pass_time(self, seconds: float) -> None:
        """Advance all clocks in one step, and wait until all due tasks are done."""
        self.true_time.seconds += seconds
        self.monotonic.seconds += seconds
        quiet = 0
        while quiet < QUIET_ROUNDS:
            before = len(self.memory_bus.requests)
            await asyncio.sleep(0)
            quiet = quiet + 1 if before == len(self.memory_bus.requests) else 0
        self.memory_bus.requests.clear()

    async def poll(self, times: int, every: float = 1) -> None:
        """Advance the clocks in `times` steps of `every` s, and let the poller read."""
        for _ in range(times):
            await self.pass_time(every)

    async def poll_for(self, seconds: int) -> None:
        """Let the poller read every 10 s, but every second in the last 10 to 19 s."""
        times = max(seconds - 10, 0) // 10
        await self.poll(times, every=10)
        await self.poll(seconds - 10 * times)

    async def pass_long_time(self, seconds: float) -> None:
        """Advance all clocks by a long time, wait for a save, and set a new load."""
        await self.pass_time(seconds)
        for _ in range(3):
            # In each step, the coordinator saves the counters or schedules a save.
            await self.pass_time(SAVE_SECONDS + 1)
        self.set_load()
        await self.poll(3)

    def set_load(self, most: float = 9000, least: float = -6000) -> None:
        """Set a random load of the meter between `least` and `most` W."""
        self.meter.count()
        watts = self.random.uniform(least, most)
        # The reactive power of a phase is at most half of its active power.
        self.meter.load = Constant(
            *(
                Phase(watts * share, abs(watts) * share * self.random.random() / 2)
                for share in (0.5, 0.3, 0.2)
            )
        )

    # -- the machine ---------------------------------------------------------------

    async def stop(self) -> None:
        """Unload the bus, which saves its counters."""
        await self.hass.config_entries.async_unload(self.entry.entry_id)

    async def kill(self) -> None:
        """Cut the power of the machine: all unsaved data is lost."""
        disk = copy.deepcopy(self.storage)
        await self.stop()
        # `stop` has saved the counters, so restore the files from before `stop`.
        self.storage.clear()
        self.storage.update(disk)
        if self.is_recorded:
            return
        # The states since the last commit of the recorder are lost.
        last_commit = self.monotonic.seconds - self.random.uniform(0, COMMIT_SECONDS)
        for states in self.states.values():
            while len(states) > 1 and states[-1][0] > last_commit:
                states.pop()

    async def boot(self, off: float) -> None:
        """Start Home Assistant after `off` s."""
        await self.pass_time(off)
        assert await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.pass_time(0)

    # -- mishaps -----------------------------------------------------------------

    @property
    def mishaps(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return all mishaps."""
        return (
            self.power_cut,
            self.two_power_cuts,
            self.restart,
            self.restart_without_clock,
            self.clock_jump,
            self.restart_after_clock_was_ahead,
            self.zeros,
            self.start_up,
            self.gap,
            self.reset_at_the_panel,
            self.reset_in_a_gap,
            self.tariffs_reset_by_another_device,
            self.own_reset,
            self.own_reset_without_confirmation,
            self.reset_and_power_cut,
            self.exchanged_meter,
            self.other_transformers,
            self.damaged_responses,
            self.another_tariff,
            self.gap_and_power_cut,
            self.zeros_and_power_cut,
            self.unconfirmed_reset_and_power_cut,
        )

    async def power_cut(self) -> None:
        """Cut the power of the machine for up to two days."""
        await self.poll_for(self.random.randint(1, 120))
        await self.kill()
        await self.boot(self.random.choice((0, 20, HOUR, 2 * DAY)))
        await self.poll(5)

    async def two_power_cuts(self) -> None:
        """Cut the power twice, the second time at most 40 s after the start."""
        for _ in range(2):
            await self.kill()
            await self.boot(self.random.choice((1, 30)))
            await self.poll_for(self.random.randint(0, 40))
        await self.poll(5)

    async def restart(self) -> None:
        """Restart Home Assistant, while the meter is online or offline."""
        await self.stop()
        self.meter.offline = self.random.random() < 0.3
        await self.boot(self.random.choice((0, 60, DAY)))
        await self.poll_for(self.random.randint(5, 60))
        self.meter.offline = False
        await self.poll_for(RECONNECT_SECONDS)

    async def restart_without_clock(self) -> None:
        """Start a machine without a real-time clock: its time is wrong for minutes."""
        await self.poll(self.random.randint(1, 60))
        await self.random.choice((self.stop, self.kill))()
        off = self.random.choice((20, HOUR, 10 * DAY))
        # The system time is the time at which the machine was switched off, or earlier.
        self.wall_offset = -off - self.random.choice((0, 600, 60 * DAY, 20 * 365 * DAY))
        await self.boot(off)
        await self.poll_for(self.random.randint(60, 300))
        self.wall_offset = 0
        await self.poll(5)

    async def clock_jump(self) -> None:
        """Set two wrong system times while Home Assistant runs, then the right one."""
        for _ in range(2):
            self.wall_offset = self.random.choice((-1, 1)) * self.random.choice(
                (30, HOUR, 40 * DAY, 400 * DAY)
            )
            await self.poll_for(self.random.randint(3, 60))
        self.wall_offset = 0
        await self.poll(5)

    async def restart_after_clock_was_ahead(self) -> None:
        """Save with a system clock that is ahead, and start with the right time.

        By the system clock, no time has passed. So the energy counted while Home
        Assistant is stopped is accepted only after 10 min, with a correction.
        """
        self.wall_offset = self.random.choice((HOUR, 400 * DAY))
        await self.poll(10)
        await self.stop()
        self.wall_offset = 0
        await self.boot(self.random.choice((30, HOUR)))
        await self.poll(POLLS_AFTER_RESTART, every=15)
        await self.poll(3)

    async def zeros(self) -> None:
        """Let all counters read 0, but not the measurements."""
        # Between 10 s and 2 h. Half of these times are below 4.5 min (10 s * √720).
        seconds = round(10 * 720 ** self.random.random())
        self.meter.zeros = True
        await self.poll_for(min(seconds, 80))
        await self.poll((seconds - 80) // 20, every=20)
        reported = self.placeholders("counters_rejected").get("counters", "")
        for counter in TOTALS:
            unit = unit_of(counter)
            change = f"{self.value(counter):.2f} {unit} → 0.00 {unit}"
            # The issue is created after 10 min, so it exists after 1000 s.
            if seconds > 1000 and self.value(counter) and change not in reported:
                self.error(f"{change} of {counter} is not in {reported!r}")
        self.meter.zeros = False
        await self.poll(5)

    async def start_up(self) -> None:
        """Start the meter: all registers read 0, or only the frequency and energies."""
        self.meter.starting = self.random.random() < 0.5
        self.meter.zeros = True
        # The frequency, and the energies of the periods in both resolutions.
        self.meter.override = dict.fromkeys((50526, 50527, *range(36896, 36952)), 0)
        period = self.hass.states.get(self.period_id)
        for _ in range(self.random.choice((3, 20, 100))):
            await self.pass_time(self.random.choice((1, 1, 61)))
            now = self.hass.states.get(self.period_id)
            # The sensor shows 0, and did not show 0 before the start.
            if period and now and now.state == "0.0" != period.state:
                self.error("a period reads 0 while the meter starts")
        self.meter.starting = self.meter.zeros = False
        self.meter.override = {}
        await self.poll_for(RECONNECT_SECONDS)

    async def gap(self) -> None:
        """Let the meter be offline for up to three weeks."""
        self.meter.offline = True
        await self.poll(10)
        seconds = self.random.choice((5, 60, 1800, DAY, 21 * DAY))
        await self.pass_time(seconds)
        # If the meter was offline for more than an hour, there must be an issue.
        # Otherwise, there must be none.
        if (seconds > HOUR) == self.issues().isdisjoint(METER_OFFLINE):
            self.error(f"after {seconds} s offline there are {self.issues()}")
        self.meter.offline = False
        await self.poll_for(RECONNECT_SECONDS)

    def _above_3_kwh(self, counters: Iterable[str]) -> list[str]:
        """Return the counters above 3 kWh, whose fall to 0 is certainly a reset."""
        return [counter for counter in counters if self.truth(counter) > 3]

    async def reset_at_the_panel(self) -> None:
        """Reset some partial counters at the panel."""
        counters = self._above_3_kwh(PARTIALS)
        self.meter.reset(
            self.random.sample(counters, self.random.randint(0, len(counters)))
        )
        await self.poll(5)

    async def reset_in_a_gap(self) -> None:
        """Reset partial counters while the meter is offline."""
        # In the gap, the meter counts about 1 kWh at most. So a counter above 3 kWh was
        # last shown with 2 kWh or more. From there, a fall to 0 is certainly a reset.
        self.set_load(most=1000, least=-1000)
        self.meter.offline = True
        await self.poll(3)
        await self.pass_time(self.random.choice((60, HOUR)))
        self.meter.reset(self._above_3_kwh(PARTIALS))
        await self.pass_time(60)
        self.meter.offline = False
        await self.poll_for(RECONNECT_SECONDS)

    async def tariffs_reset_by_another_device(self) -> None:
        """Reset the tariff counters by another device on the bus.

        The lower values are accepted when they have lasted for 60 s, and one of them is
        above 0.
        """
        self.set_load(least=500)  # W, so that the tariff counters count
        high = self._above_3_kwh(TARIFFS)
        self.meter.counters.tariff = TARIFFS[high[0]] if high else 1
        self.meter.reset(high)
        await self.poll_for(TARIFF_RESET_SECONDS)

    async def _press(self, key: str) -> None:
        """Press a button, and advance the clocks until the command is done."""
        button = er.async_get(self.hass).async_get_entity_id(
            "button", DOMAIN, f"{self.serial_number}_{key}"
        )
        task = asyncio.create_task(
            self.hass.services.async_call(
                "button", "press", {"entity_id": button}, blocking=True
            )
        )
        while not task.done():
            await self.pass_time(0.5)
        # An action whose command is not confirmed raises this error.
        with suppress(HomeAssistantError):
            task.result()

    async def own_reset(self) -> None:
        """Reset all partial counters or all tariff counters by a button."""
        key, counters = self.random.choice(
            (("reset_partial_counters", PARTIALS), ("reset_tariff_counters", TARIFFS))
        )
        if len(self._above_3_kwh(counters)) > 0:
            await self._press(key)
        await self.poll(5)

    def _lose_responses_after_a_write(self) -> None:
        """Lose the response to the next write, and all responses after that."""

        def fault(request: Request) -> Fault:
            if request.function != READ:
                self.fault = lambda _request: LOST
                return LOST
            return Fault()

        self.fault = fault

    async def own_reset_without_confirmation(self) -> None:
        """Lose all responses after the reset command of a button."""
        self._lose_responses_after_a_write()
        await self.own_reset()
        await self.poll_for(self.random.randint(0, 30))
        self.fault = lambda _request: Fault()
        await self.poll_for(RECONNECT_SECONDS)

    async def reset_and_power_cut(self) -> None:
        """Cut the power of the machine soon after a reset."""
        reset = self.random.choice((self.reset_at_the_panel, self.own_reset))
        await reset()
        await self.poll_for(self.random.choice((0, 1, 10, 200)))
        await self.kill()
        await self.boot(self.random.choice((1, 30, HOUR)))
        await self.poll(5)

    async def exchanged_meter(self) -> None:
        """Replace the meter for a time, while Home Assistant runs or is stopped."""
        is_stopped = self.random.random() < 0.3
        if is_stopped:
            await self.stop()
        self.meter.count()
        self.meter.mounted = False
        shown = {counter: self.value(counter) for counter in COUNTERS}
        other = YearMeter(
            serial=(0x1438, 0x0120, 77),  # as in `OTHER_SERIAL`
            true_time=self.true_time,
            model=self.meter.model,
            load=self.meter.load,
        )
        for name in (*TOTALS.values(), *PARTIALS.values()):
            energy = self.random.choice((0, 1e3, 5e6, 7e8))  # Wh or varh
            setattr(other.counters, name, energy)
        self.memory_bus.meters[1] = other
        if is_stopped:
            await self.boot(HOUR)
        await self.poll_for(150)
        await self.pass_time(self.random.choice((10, HOUR)))
        await self.poll_for(40)
        if self.placeholders("another_meter").get("found") != OTHER_SERIAL:
            self.error("the other meter is not reported")
        if shown != {counter: self.value(counter) for counter in COUNTERS}:
            self.error("counters of the other meter are shown")
        self.meter.count()
        self.meter.mounted = True
        self.memory_bus.meters[1] = self.meter
        await self.poll_for(RECONNECT_SECONDS)

    async def other_transformers(self) -> None:
        """Change the current transformers of an E43 and its load."""
        if self.meter.model != TRANSFORMER_MODEL:
            return
        primary = self.random.choice((100, 400, 1000))  # A, in register 57346
        self.meter.settings = {**self.meter.settings, 57346: primary}
        await self.poll(self.random.choice((0, 3)))
        # Three phases of 230 V allow 690 W for each A of the primary current.
        self.set_load(most=600 * primary)
        await self.poll(30)

    async def damaged_responses(self) -> None:
        """Lose some responses, damage some, and flip one bit of some."""

        def flipped(words: list[int]) -> list[int]:
            at = self.random.randrange(len(words))
            return [
                word ^ (1 << self.random.randrange(16)) if index == at else word
                for index, word in enumerate(words)
            ]

        def fault(request: Request) -> Fault:
            kind = self.random.random()
            if kind < 0.1:
                return LOST
            if kind < 0.2:
                return DAMAGED
            return Fault(flipped) if kind < 0.25 else Fault()

        self.fault = fault
        await self.poll(60)
        self.fault = lambda _request: Fault()
        await self.poll_for(RECONNECT_SECONDS)

    async def another_tariff(self) -> None:
        """Change the tariff in which the meter counts."""
        self.meter.count()
        self.meter.counters.tariff = self.random.randint(1, 4)
        await self.poll(5)

    async def gap_and_power_cut(self) -> None:
        """Cut the power of the machine soon after the meter responds again."""
        self.meter.offline = True
        await self.poll(10)
        await self.pass_time(self.random.choice((DAY, 60 * DAY)))
        self.meter.offline = False
        await self.poll_for(RECONNECT_SECONDS)
        await self.kill()
        await self.boot(30)
        await self.poll(5)

    async def zeros_and_power_cut(self) -> None:
        """Cut the power of the machine while all counters read 0."""
        self.meter.zeros = True
        await self.poll_for(self.random.choice((1, 10, 100)))
        await self.kill()
        await self.boot(30)
        await self.poll(self.random.choice((1, 10, 80)), every=10)
        self.meter.zeros = False
        await self.poll(5)

    async def unconfirmed_reset_and_power_cut(self) -> None:
        """Cut the power of the machine before a reset is confirmed."""
        self._lose_responses_after_a_write()
        await self.own_reset()
        await self.kill()
        self.fault = lambda _request: Fault()
        # The pause is short: after a long one, a low counter may be as high again as
        # before its reset. No reading would then show the reset.
        await self.boot(self.random.choice((1, 30)))
        await self.poll(POLLS_AFTER_RESTART, every=15)
        await self.poll(3)

    # -- a year --------------------------------------------------------------------

    async def run_year(self, mishap_count: int) -> None:
        """Run about a year with `mishap_count` mishaps at random times."""
        # With some seeds, a counter rolls over in the first 40 s. After a rollover, the
        # counters are saved at once, so the power cut does not lose the rollover.
        self.set_load(most=9000, least=5000)
        await self.poll_for(40)
        await self.kill()
        await self.boot(1)
        order = list(self.mishaps)
        for number in range(mishap_count):
            if number % len(order) == 0:
                self.random.shuffle(order)
            await self.pass_long_time(self.random.expovariate(mishap_count / YEAR))
            mishap = order[number % len(order)]
            self.log.append(mishap.__name__)
            await mishap()
            self.check_settled()
            if self.issues():
                self.error(f"the issues {self.issues()} are not deleted")
            assert self.errors == [], (self.errors, self.rejected())
        self.meter.count()
        self.meter.load = Constant(Phase(), Phase(), Phase())
        await self.poll(5)

    def energy_in_statistics(self) -> dict[str, float]:
        """Return the energy in the statistics in kWh, by counter."""
        return {
            counter: statistics_sum([value for _, value in states])
            for counter, states in self.states.items()
        }

    def metered_energy(self) -> dict[str, float]:
        """Return the energy in kWh that the statistics have to contain, by counter."""
        return {
            counter: counted / 1000 - self.lost[counter]
            for counter, counted in self.meter.counted.items()
        }
