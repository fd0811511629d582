"""The mishaps of one session."""

import asyncio
from pathlib import Path

from .clock import SimulatedClock
from .machine import Machine
from .mishaps import mishap_at
from .world import World


async def async_live(folder: Path, clock: SimulatedClock) -> None:
    """Cause mishaps until one ends Home Assistant, or until the soak ends.

    In both cases, this function ends the process.
    """
    world = World.load(folder)
    machine = Machine(world, folder, clock)
    await machine.start()
    while clock.true_time < world.end and world.mishaps < world.most_mishaps:
        await asyncio.sleep(machine.random.uniform(0, 2 * world.pause))
        mishap = mishap_at(world.mishaps, world.seed)
        world.mishaps += 1
        mishap_name = mishap.__name__.replace("_", " ")
        machine.report(mishap_name)
        seconds_off = await mishap(machine)
        if seconds_off is not None:
            machine.report(f"Home Assistant is off for {seconds_off:.0f} s")
            machine.leave(seconds_off)
        await machine.settle(mishap_name)
    await machine.finish()
