"""The machine with Home Assistant, and the bus with its meters."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
import os
from pathlib import Path
from random import Random
import sys
from typing import Any

from homeassistant import bootstrap
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.runner import RuntimeConfig
from simulator import Constant, Counters, Line, Phase
from tools.home_assistant import free_port
from tools.home_assistant.entries import (
    async_bus_entry,
    simulated_serial_number,
    store_entries,
)
from tools.home_assistant.start import link_integration
from tools.paths import DOMAIN

from .clock import SimulatedClock
from .world import KEYS, METERS, NO_LOAD, PARTIALS, SoakMeter, StatisticName, World

BAUDRATE = 38400
ROUNDING = 1e-6  # kWh; more than the rounding errors of a sum of energies
STEP = 0.01  # kWh; the resolution of a counter in Home Assistant
LAG_SECONDS = 10  # s; on this bus, the state of a counter is at most this old
# In s; the poller sends a request to an offline meter at least every 30 s. When the
# meter responds, its counters are accepted only after more readings.
SETTLE_TIMEOUT = 300
VALUES_TIMEOUT = 120  # s until all meters have values after a start
# In W; the range of the load of a meter. A negative load is produced power.
LOADS = (-6000.0, 9000.0)
LOAD_SECONDS = (60.0, 900.0)  # s; the range of the time for which a load is constant
STATISTICS_SECONDS = 300  # s; the recorder compiles one row for each such period
COMPILED_AFTER = 40  # s from the end of a period until its row is in the database

# The level `critical` suppresses errors of the code for cameras: FFmpeg and TurboJPEG
# may be missing.
CONFIGURATION = """\
recorder:
logger:
  default: warning
  logs:
    custom_components.socomec_countis: info
    haffmpeg: critical
    homeassistant.components.camera.img_util: critical
"""


class Machine:
    """Home Assistant and the simulated bus, which run in the same event loop."""

    hass: HomeAssistant

    def __init__(self, world: World, folder: Path, clock: SimulatedClock) -> None:
        """Create the bus and its meters, which have no load yet."""
        self.world = world
        self.folder = folder
        self.clock = clock
        self.random = Random(f"{world.seed} {world.mishaps} {world.sessions}")  # noqa: S311
        self.meters = {
            unit_id: SoakMeter(
                unit_id=unit_id,
                load=NO_LOAD,
                true_time=lambda: self.clock.true_time,
                counters=Counters.from_dict(world.counters[str(unit_id)]),
                on_reset=self._note_reset,
            )
            for unit_id in range(1, METERS + 1)
        }
        self.line = Line(
            list(self.meters.values()), baudrate=BAUDRATE, link=folder / "line"
        )
        self.ids: dict[StatisticName, str] = {}
        """The entity IDs of all counters."""
        self.names: dict[str, StatisticName] = {}
        """The name of each statistic, by entity ID; empty before the start."""
        self._last: dict[StatisticName, float] = {}
        """The last state in kWh of each total counter in this session."""
        self._loads: asyncio.Task[None] | None = None

    def report(self, text: str) -> None:
        """Print what happens, with the simulated time that is left."""
        left = max(self.world.end - self.clock.true_time, 0) / 3600
        print(f"{left:7.2f} h left  {text}", flush=True)

    def error(self, text: str) -> None:
        """Note an error of the integration."""
        self.world.errors.append(text)
        self.report(f"ERROR: {text}")

    # -- start and end -----------------------------------------------------------

    async def start(self) -> None:
        """Start Home Assistant in real time, and wait until it shows all counters.

        At a higher speed, a timeout could end while a thread still works (`clock.py`).
        """
        self.clock.speed = 1
        self.world.sessions += 1
        await self.line.__aenter__()
        config = self.folder / "config"
        if not config.exists():
            entry = await async_bus_entry(str(self.line.port), BAUDRATE, METERS)
            store_entries(config, entry)
            link_integration(config)
        (config / "configuration.yaml").write_text(CONFIGURATION)
        # This variable sets the default port of Home Assistant. A new port in
        # configuration.yaml would have to be confirmed within five minutes.
        os.environ["SETUP_PORT"] = str(free_port(0))
        hass = await bootstrap.async_setup_hass(
            RuntimeConfig(config_dir=str(config), skip_pip=True)
        )
        assert hass is not None
        self.hass = hass
        hass.bus.async_listen(EVENT_STATE_CHANGED, self.on_state)
        await hass.async_start()
        registry = er.async_get(hass)
        for unit_id in self.meters:
            for key in KEYS:
                unique_id = f"{simulated_serial_number(unit_id)}_{key}"
                entity_id = registry.async_get_entity_id("sensor", DOMAIN, unique_id)
                assert entity_id is not None, unique_id
                self.ids[f"{unit_id} {key}"] = entity_id
        self.names = {entity_id: name for name, entity_id in self.ids.items()}
        await self.settle("the start", VALUES_TIMEOUT)
        self._loads = asyncio.create_task(self._change_loads())
        self.clock.speed = self.world.speed

    async def stop(self) -> None:
        """Stop Home Assistant in real time."""
        self.clock.speed = 1
        await self.hass.async_stop(force=True)

    def leave(self, seconds_off: float) -> None:
        """Advance the clock by `seconds_off`, save `self.world`, and end the process.

        In this time, the meters count energy, and Home Assistant is off.
        """
        for meter in self.meters.values():
            meter.count()
        self.clock.elapsed += seconds_off
        self.world.counters = {
            str(unit_id): meter.count().as_dict()
            for unit_id, meter in self.meters.items()
        }
        self.world.true_time = self.clock.true_time
        self.world.save(self.folder)
        sys.stdout.flush()
        # End at once: after a power cut, Home Assistant must not store anything.
        os._exit(0)

    async def finish(self) -> None:
        """Remove all loads, wait for the last statistics, and read them.

        Then end the process.
        """
        self.report("the end: waiting for the last statistics")
        if self._loads is not None:
            self._loads.cancel()
        self.set_loads(lambda: NO_LOAD)
        await self.settle("the end")
        rest_of_period = STATISTICS_SECONDS - self.clock.true_time % STATISTICS_SECONDS
        await asyncio.sleep(rest_of_period + COMPILED_AFTER)
        self.clock.speed = 1
        await self.settle("the end")
        self.world.recorded = await self._async_sums()
        self.world.is_finished = True
        await self.stop()
        self.leave(0)

    async def _async_sums(self) -> dict[StatisticName, float]:
        """Return the last sum of each statistic in kWh."""
        rows: dict[str, list[Any]] = await get_instance(
            self.hass
        ).async_add_executor_job(
            statistics_during_period,
            self.hass,
            datetime.fromtimestamp(0, UTC),
            None,
            set(self.ids.values()),
            "5minute",
            None,
            {"sum"},
        )
        return {
            self.names[entity_id]: found[-1]["sum"] or 0.0
            for entity_id, found in rows.items()
        }

    # -- loads -------------------------------------------------------------------

    def set_loads(self, new_load: Callable[[], Constant]) -> None:
        """Call `new_load` for each meter, and set its result as the meter's load."""
        for meter in self.meters.values():
            meter.count()
            meter.load = new_load()

    def _random_load(self) -> Constant:
        watts = self.random.uniform(*LOADS)
        return Constant(*(Phase(watts * part) for part in (0.5, 0.3, 0.2)))

    async def _change_loads(self) -> None:
        while True:
            self.set_loads(self._random_load)
            await asyncio.sleep(self.random.uniform(*LOAD_SECONDS))

    # -- counters in Home Assistant and in the meters ----------------------------

    def state(self, name: StatisticName) -> float | None:
        """Return the state of a counter in kWh, or None without a numeric state."""
        state = self.hass.states.get(self.ids[name])
        if state is None:
            return None
        with suppress(ValueError):
            return float(state.state)
        return None

    def truth(self, name: StatisticName) -> float:
        """Return the counter in the meter in kWh, with all decimals."""
        unit_id, key = name.split(" ")
        return self.meters[int(unit_id)].kilowatt_hours(key)

    @callback
    def on_state(self, event: Event[EventStateChangedData]) -> None:
        """Check the new state of a counter."""
        name = self.names.get(event.data["entity_id"])
        new = event.data["new_state"]
        if name is None or new is None:
            return
        with suppress(ValueError):  # a state such as "unavailable"
            self._check(name, float(new.state))

    def _check(self, name: StatisticName, value: float) -> None:
        """Note an error if a new state in kWh of a counter is not plausible."""
        truth = self.truth(name)
        if value > truth + ROUNDING:
            self.error(f"{name} shows {value} kWh, the meter has {truth:.3f} kWh")
        if name.split(" ")[1] in PARTIALS:
            return
        # A state such as "unavailable" may be between these two values.
        last = self._last.get(name, value)
        if value < last:
            self.error(f"{name} fell from {last} to {value} kWh")
        self._last[name] = value

    def _note_reset(self, unit_id: int, key: str, kwh: float) -> None:
        name = f"{unit_id} {key}"
        shown = self.state(name)
        assert shown is not None
        self.world.lost[name] = self.world.lost.get(name, 0) + kwh - shown

    def unsettled(self) -> list[StatisticName]:
        """Return the counters whose state does not agree with the counter in the meter.

        A state may be lower by `STEP` and the energy of `LAG_SECONDS`.
        """
        found = []
        for name in self.ids:
            unit_id, _ = name.split(" ")
            phases = self.meters[int(unit_id)].load.phases(0)
            watts = abs(sum(phase.watts for phase in phases))
            lag = LAG_SECONDS * watts / 3_600_000  # kWh counted in LAG_SECONDS
            state = self.state(name)
            if state is None or not (
                -ROUNDING <= self.truth(name) - state <= STEP + lag + ROUNDING
            ):
                found.append(name)
        return found

    async def settle(self, what: str, seconds: float = SETTLE_TIMEOUT) -> None:
        """Wait until the state of every counter agrees with the counter in the meter.

        After `seconds`, record an error for each counter that differs. `what` is the
        event before the wait, for the text of the error.
        """
        deadline = self.clock.true_time + seconds
        names = self.unsettled()
        while names and self.clock.true_time < deadline:
            await asyncio.sleep(1)
            names = self.unsettled()
        for name in names:
            state, truth = self.state(name), self.truth(name)
            self.error(
                f"{seconds:.0f} s after {what}, {name} shows {state} kWh in place of"
                f" {truth:.3f} kWh"
            )
