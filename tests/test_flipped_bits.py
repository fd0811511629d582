"""Ten minutes of polling with flipped bits that the checksum does not detect."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

import pytest

from custom_components.socomec_countis.countis import (
    COUNTER_BLOCKS,
    Meter,
    Polled,
    Poller,
    Reading,
    Values,
)
from custom_components.socomec_countis.countis.registers import MEASURED_DETAILS
from simulator import Counters as SimulatedCounters
from simulator import House
from simulator import Meter as SimulatedMeter

from .memory_bus import (
    Fault,
    MemoryBus,
    Request,
    async_profile_of,
    virtual_clock,
)

SEEDS = range(3)
SECONDS = 600
FLIPPED_PART = 0.1  # of the responses
BLOCKS = ("measurements", *COUNTER_BLOCKS)

# In W; the largest difference between an accepted power and the true power. A flipped
# bit changes a power by 10, 20, 40, 80 W or more. `Relations` tolerates 30 W between
# the total power and the sum of the phases. Rounding can cancel up to 20 W of a change.
# So a change of 40 W may be accepted (20 W remain), but none of 80 W (60 W remain).
POWER_TOLERANCE = 40
POWERS = {"power", "power_l1", "power_l2", "power_l3"}
# No relation contains these values, so a wrong value may be accepted.
UNRELATED = {
    *("voltage_l1", "voltage_l2", "voltage_l3", "frequency"),
    *("current_l1", "current_l2", "current_l3", "current_neutral"),
    *("reactive_power", "apparent_power", "power_factor"),
}
NOT_COUNTERS = {"tariff", "tariff_count"}  # although in a block of counters


@dataclass
class Accepted:
    """An accepted reading of a block, with the values that were in its registers."""

    true_values: dict[str, float]
    """The values in the registers during the last read of the block."""
    lowest: dict[str, float]
    """The lowest possible values of accepted counters.

    If two consecutive reads are intact, the client accepts the lower reading of each
    counter, which is that of the first read. So these are the values in the registers
    during the first read of the last two consecutive intact reads.
    """
    values: Values


@dataclass
class Read:
    """The values in the registers during a read, and whether the response is intact."""

    true_values: dict[str, float]
    intact: bool


@dataclass
class FlippedBits:
    """Flips bits of responses, and collects the accepted readings."""

    meter: Meter
    random: Random
    count: int = 0
    """The number of flipped bits."""
    last: dict[str, Read] = field(default_factory=dict)
    """The last read of each block."""
    lowest: dict[str, dict[str, float]] = field(default_factory=dict)
    """The present value of `Accepted.lowest`, by block."""
    accepted: defaultdict[str, list[Accepted]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def fault(self, request: Request) -> Fault:
        """Return the fault of a response: in 10 % of the cases, it flips one bit."""
        is_flipped = self.random.random() < FLIPPED_PART
        self.count += is_flipped

        def change(words: list[int]) -> list[int]:
            self._add_read(request.address, words, intact=not is_flipped)
            changed = list(words)
            if is_flipped:
                index = self.random.randrange(len(words))
                changed[index] ^= 1 << self.random.randrange(16)
            return changed

        return Fault(change)

    def _add_read(self, first: int, words: list[int], *, intact: bool) -> None:
        """Add a read whose words begin at the register address `first`."""
        for name in BLOCKS:
            block = self.meter.block(name)
            assert block is not None
            fields = block.resolved_fields.items()
            if min(each.address for _, each in fields) != first:
                continue
            true_values = {
                key: each.field.decode(words[each.address - first :][: each.count])
                for key, each in fields
            }
            last = self.last.get(name)
            if last and last.intact and intact:
                self.lowest[name] = last.true_values
            self.last[name] = Read(true_values, intact)

    def take(self, reading: Reading) -> None:
        """Add an accepted reading."""
        if reading.block in BLOCKS:
            self.accepted[reading.block].append(
                Accepted(
                    self.last[reading.block].true_values,
                    self.lowest.get(reading.block, defaultdict(float)),
                    reading.values,
                )
            )


async def async_poll(seed: int) -> FlippedBits:
    """Poll a meter for `SECONDS`, with flipped bits in some of the responses."""
    simulated = SimulatedMeter(
        model="Countis E23",
        has_partial_tariffs=True,
        true_time=virtual_clock,
        load=House(seed=seed, solar_peak=6000),
        counters=SimulatedCounters(
            consumed=1_000_000,
            reactive=300_000,
            produced=200_000,
            partial_consumed=50_000,
            tariffs=[600_000.0, 400_000.0, 0.0, 0.0],
            partial_tariffs=[30_000.0, 20_000.0, 0.0, 0.0],
        ),
    )
    profile = await async_profile_of(simulated)
    memory_bus = MemoryBus({1: simulated})
    meter = Meter(memory_bus.bus, 1, memory_bus.client(), profile, clock=virtual_clock)
    flipped = FlippedBits(meter, Random(seed))  # noqa: S311
    memory_bus.default_fault = flipped.fault
    polled = Polled(meter, flipped.take, lambda *_: None)
    polled.select_quantities(profile.quantities - MEASURED_DETAILS)
    poller = Poller(memory_bus.bus)
    poller.add(polled)
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return flipped


@pytest.mark.parametrize("seed", SEEDS)
async def test_counters_are_right_and_powers_within_40_w_despite_flipped_bits(
    seed: int,
) -> None:
    flipped = await async_poll(seed)
    assert flipped.count > SECONDS * FLIPPED_PART  # several blocks are read each second
    for block in COUNTER_BLOCKS:
        accepted = flipped.accepted[block]
        assert len(accepted) > 0.8 * SECONDS  # the period of a block is 1 s
        for each in accepted:
            for key, value in each.values.items():
                if key not in NOT_COUNTERS:
                    assert value is not None
                    assert each.lowest[key] <= value <= each.true_values[key], key
    # The largest error of each measurement
    errors: dict[str, float] = defaultdict(float)
    for each in flipped.accepted["measurements"]:
        for key, value in each.values.items():
            # A value that `Limits` does not allow is None.
            if value is not None:
                errors[key] = max(errors[key], abs(value - each.true_values[key]))
    assert {key for key, error in errors.items() if error} <= UNRELATED | POWERS
    assert max(errors[key] for key in POWERS) <= POWER_TOLERANCE
