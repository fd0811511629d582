"""The mishaps of a soak.

Each function in `MISHAPS` causes one mishap. If the mishap ends Home Assistant, the
function returns the time in s until the next start. Otherwise, it returns None.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from simulator import (
    ANOTHER_UNIT_ID,
    BUSY,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    TRUNCATED,
    Fault,
    late,
    random_bytes,
)
from tools.home_assistant.entries import simulated_serial_number
from tools.paths import DOMAIN

from .machine import Machine
from .world import PARTIALS, SoakMeter

type Mishap = Callable[[Machine], Awaitable[float | None]]

FAULTS = (
    LOST,
    FLIPPED,
    TRUNCATED,
    NOISE_BEFORE,
    NOISE_AFTER,
    ANOTHER_UNIT_ID,
    BUSY,
    late(0.5),  # s
    random_bytes(1),  # seed
)
# In kWh; only counters above this value are reset. The recorder detects a reset only if
# a counter falls by more than 10 %. A counter below this value could nearly reach its
# old value between its reset and the next reading.
RESETTABLE_ABOVE = 3.0
LARGEST_STEP = 60.0  # s by which the clock of the machine may be wrong
# `changed_clock` may let a counter seem to fall by at most this fraction of its value:
# half of the 10 % at which the recorder assumes a reset.
MOST_FALL = 0.05
LARGEST_LOAD = 9.0  # kW; the upper limit of `LOADS` in machine.py
# Seconds between a reset and the next mishap, which may be a power cut. A power cut
# loses the states of the last 5 s, but the first state after the reset has to be
# stored.
AFTER_RESET = 30
# Seconds for which meters are offline, the bus is cut, or Home Assistant is off.
DURATIONS = (5.0, 60.0, 600.0, 3600.0)


async def disturbed_bus(machine: Machine) -> None:
    """Disturb a third of the responses for a minute."""
    random = Random(machine.world.mishaps)  # noqa: S311
    machine.line.default_fault = lambda: (
        random.choice(FAULTS) if random.random() < 1 / 3 else Fault()
    )
    await asyncio.sleep(60)
    machine.line.default_fault = Fault  # `Fault()` changes nothing


async def offline_meters(machine: Machine) -> None:
    """Set one to three meters offline for some time."""
    meters = machine.random.sample(
        list(machine.meters.values()), machine.random.randint(1, 3)
    )
    for meter in meters:
        meter.offline = True
    await asyncio.sleep(_duration(machine))
    for meter in meters:
        meter.offline = False


async def starting_meter(machine: Machine) -> None:
    """Make a meter respond with zeros, as a meter does while it starts."""
    meter = _meter(machine)
    meter.starting = True
    await asyncio.sleep(machine.random.uniform(2, 60))
    meter.starting = False


async def cut_bus(machine: Machine) -> None:
    """Cut the wires of the bus."""
    machine.line.cut = True
    await asyncio.sleep(_duration(machine))
    machine.line.cut = False


async def removed_adapter(machine: Machine) -> None:
    """Remove the adapter, and plug it in again."""
    machine.line.unplug()
    await asyncio.sleep(machine.random.uniform(1, 120))
    machine.line.replug()


async def reset_at_the_meter(machine: Machine) -> None:
    """Reset partial counters by the buttons of a meter."""
    meter = _resettable_meter(machine, 1)
    if meter is not None:
        meter.reset(_resettable(meter))
    await asyncio.sleep(AFTER_RESET)


async def reset_by_button(machine: Machine) -> None:
    """Reset partial counters by the button of Home Assistant."""
    # The button resets all partial counters, so all of them have to be resettable.
    meter = _resettable_meter(machine, len(PARTIALS))
    if meter is not None:
        button = er.async_get(machine.hass).async_get_entity_id(
            "button",
            DOMAIN,
            f"{simulated_serial_number(meter.unit_id)}_reset_partial_counters",
        )
        failed = f"the button did not reset the meter at unit ID {meter.unit_id}"
        try:
            await machine.hass.services.async_call(
                "button", "press", {"entity_id": button}, blocking=True
            )
        except HomeAssistantError as err:
            machine.error(f"{failed}: {err}")
        else:
            # Home Assistant ignores the press of a button that is not available.
            if _resettable(meter):
                machine.error(failed)
    await asyncio.sleep(AFTER_RESET)


async def another_tariff(machine: Machine) -> None:
    """Set the current tariff of a meter at random."""
    meter = _meter(machine)
    meter.count()
    meter.counters.tariff = machine.random.randint(1, 4)


async def changed_clock(machine: Machine) -> None:
    """Set the clock of the machine wrong by up to a minute, and correct it.

    The recorder orders states by this clock. After a step back of the clock, a counter
    seems to fall. If it falls by more than 10 %, the recorder assumes a reset. So the
    step is small while a counter is low.
    """
    lowest = min(
        meter.kilowatt_hours(key)
        for meter in machine.meters.values()
        for key in PARTIALS
    )
    # In `largest` s, a load adds at most the fraction MOST_FALL to the lowest counter.
    largest = min(LARGEST_STEP, MOST_FALL * lowest / LARGEST_LOAD * 3600)
    error = machine.random.uniform(-largest, largest)
    machine.clock.error = error
    await asyncio.sleep(machine.random.uniform(10, 60))
    machine.clock.error = 0
    # If a meter was reset before the clock reaches its highest time again, the recorder
    # would place the reset before earlier states, and lose their last steps.
    await asyncio.sleep(max(error, 0))


async def restart(machine: Machine) -> float:
    """Stop Home Assistant. The next session starts it again."""
    await machine.stop()
    return _duration(machine)


async def power_cut(machine: Machine) -> float:
    """Switch the machine off. Home Assistant is not stopped before."""
    return _duration(machine)


MISHAPS: tuple[Mishap, ...] = (
    disturbed_bus,
    offline_meters,
    starting_meter,
    cut_bus,
    removed_adapter,
    reset_at_the_meter,
    reset_by_button,
    another_tariff,
    changed_clock,
    restart,
    power_cut,
)


def _duration(machine: Machine) -> float:
    return min(machine.random.choice(DURATIONS), machine.world.longest_mishap)


def _meter(machine: Machine) -> SoakMeter:
    return machine.random.choice(list(machine.meters.values()))


def _resettable(meter: SoakMeter) -> list[str]:
    return [key for key in PARTIALS if meter.kilowatt_hours(key) > RESETTABLE_ABOVE]


def _resettable_meter(machine: Machine, number: int) -> SoakMeter | None:
    """Return a meter with at least `number` resettable counters, or None.

    At the start of a soak, all counters are resettable.
    """
    meters = [
        meter for meter in machine.meters.values() if len(_resettable(meter)) >= number
    ]
    if not meters:
        machine.report("no meter is reset, because the partial counters are low")
        return None
    return machine.random.choice(meters)


def mishap_at(number: int, seed: int) -> Mishap:
    """Return the mishap at a position in the soak: 0 is the first one.

    Each cycle contains all mishaps once, in a random order.
    """
    cycle, index = divmod(number, len(MISHAPS))
    order = list(MISHAPS)
    Random(f"{seed} {cycle}").shuffle(order)  # noqa: S311
    return order[index]
