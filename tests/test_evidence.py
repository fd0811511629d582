"""The requests that read the evidence about rejected counters.

Rejected readings that agree with each other form a level. The library reads other
registers as evidence at the first rejection, and again before it accepts a level.
"""

import asyncio

import pytest

from custom_components.socomec_countis.countis.errors import ImplausibleError
from custom_components.socomec_countis.countis.meter import Meter
from simulator import Meter as SimulatedMeter

from .memory_bus import MemoryBus, async_polled_meter

TOTAL = "energy_consumed"
# The number of registers that each read requests.
ENERGIES, IDENTITY, TRANSFORMER, OVERFLOWS = 18, 5, 2, 9

# The same total in high resolution (1310.72 kWh) and in low resolution.
HIGH_RESOLUTION = {50946: 0x0002, 50947: 0x0000}
LOW_RESOLUTION = {50770: 0x0000, 50771: 1310}


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


async def async_poll_rejected(meter: Meter, polls: int) -> None:
    """Poll the counters every 10 s, and assert that each reading is rejected."""
    for _ in range(polls):
        with pytest.raises(ImplausibleError):
            await meter.async_read("energies")
        await asyncio.sleep(10)


async def test_evidence_is_not_read_again_at_the_second_rejection(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"  # a meter with current transformers
    polled = await async_polled_meter(memory_bus)
    meter.override = {50946: 0x0100}  # the high word of the total, which was 1
    await async_poll_rejected(polled, 1)
    # At the first rejection, the counters and the transformer are read twice, to
    # confirm the first read.
    assert memory_bus.reads == [
        *(ENERGIES, ENERGIES, IDENTITY, TRANSFORMER, TRANSFORMER, OVERFLOWS)
    ]
    memory_bus.requests.clear()
    await async_poll_rejected(polled, 1)
    assert memory_bus.reads == [ENERGIES]


async def test_evidence_is_read_again_before_a_level_is_accepted(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    polled = await async_polled_meter(memory_bus)
    meter.override = HIGH_RESOLUTION | LOW_RESOLUTION
    await async_poll_rejected(polled, 6)  # 60 s, after which a level is accepted
    memory_bus.requests.clear()
    reading = await polled.async_read("energies")
    assert reading.values[TOTAL] == 1310.72
    (correction,) = reading.corrections
    assert (correction.counter, correction.found) == (TOTAL, 1310.72)
    # The last request reads the other resolution.
    assert memory_bus.reads == [ENERGIES, IDENTITY, OVERFLOWS, ENERGIES]
    assert memory_bus.requests[-1].address == 50770


async def test_level_confirmed_by_the_user_needs_no_read_of_the_other_resolution(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    polled = await async_polled_meter(memory_bus)
    meter.override = HIGH_RESOLUTION
    # The level stays rejected after 60 s, because the low resolution disagrees.
    await async_poll_rejected(polled, 12)
    polled.counter_check.confirm("energies")
    memory_bus.requests.clear()
    reading = await polled.async_read("energies")
    assert reading.values[TOTAL] == 1310.72
    assert memory_bus.reads == [ENERGIES, IDENTITY, OVERFLOWS]
