"""Responses with one flipped bit under a valid checksum, for an hour."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

import pytest

from custom_components.socomec_countis.countis import (
    COUNTERS,
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

from .library import (
    Fault,
    MemoryBus,
    Request,
    async_profile_of,
    virtual_clock,
    virtual_time,
)

SEEDS = range(3)
SECONDS = 3600
FLIPPED_PART = 0.05
BLOCKS = ("measurements", *COUNTERS)

# W; the total and the sum of the phases may differ by so much.
POWER_TOLERANCE = 40
POWERS = {"power", "power_l1", "power_l2", "power_l3"}
# Nothing that is read beside these values contradicts a wrong one.
UNRELATED = {
    *("voltage_l1", "voltage_l2", "voltage_l3", "frequency"),
    *("current_l1", "current_l2", "current_l3", "current_neutral"),
    *("reactive_power", "apparent_power", "power_factor"),
}
NO_COUNTERS = {"tariff", "tariff_count"}


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@dataclass
class Accepted:
    """An accepted reading of a block beside the truth."""

    truth: dict[str, float]
    """The true values of the meter."""
    lowest: dict[str, float]
    """What it showed in the first of the last two intact reads in a row."""
    values: Values


@dataclass
class Read:
    """What the meter showed in a read, and whether the response was intact."""

    truth: dict[str, float]
    intact: bool


@dataclass
class Witness:
    """Flips bits of responses, and notes what is accepted beside the truth."""

    meter: Meter
    random: Random
    flipped: int = 0
    last: dict[str, Read] = field(default_factory=dict)
    """By block, the last read."""
    lowest: dict[str, dict[str, float]] = field(default_factory=dict)
    """By block, as in `Accepted`."""
    accepted: defaultdict[str, list[Accepted]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def fault(self, request: Request) -> Fault:
        """Return a fault that flips a bit of one response in twenty."""
        is_flipped = self.random.random() < FLIPPED_PART
        self.flipped += is_flipped

        def change(words: list[int]) -> list[int]:
            self._note(request.address, words, intact=not is_flipped)
            changed = list(words)
            if is_flipped:
                at = self.random.randrange(len(words))
                changed[at] ^= 1 << self.random.randrange(16)
            return changed

        return Fault(change)

    def _note(self, first: int, words: list[int], *, intact: bool) -> None:
        """Note what a block shows whose read begins at a register address."""
        for name in BLOCKS:
            block = self.meter.block(name)
            assert block is not None
            found = block.resolved_fields.items()
            if min(each.address for _, each in found) != first:
                continue
            truth = {
                key: each.field.decode(words[each.address - first :][: each.count])
                for key, each in found
            }
            last = self.last.get(name)
            if last and last.intact and intact:
                self.lowest[name] = last.truth
            self.last[name] = Read(truth, intact)

    def take(self, reading: Reading) -> None:
        """Note an accepted reading."""
        if reading.block in BLOCKS:
            self.accepted[reading.block].append(
                Accepted(
                    self.last[reading.block].truth,
                    self.lowest.get(reading.block, defaultdict(float)),
                    reading.values,
                )
            )


async def async_hour(seed: int) -> Witness:
    """Poll a meter for an hour, with one flipped bit in 5 % of the responses."""
    simulated = SimulatedMeter(
        clock=virtual_clock,
        load=House(seed=seed, solar_peak=6000),
        counters=SimulatedCounters(
            consumed=1_000_000,
            reactive=300_000,
            produced=200_000,
            partial_consumed=50_000,
            tariffs=[600_000.0, 400_000.0, 0.0, 0.0],
        ),
    )
    profile = await async_profile_of(simulated)
    line = MemoryBus({1: simulated})
    meter = Meter(line.bus, 1, line.client(), profile, clock=virtual_clock)
    witness = Witness(meter, Random(seed))  # noqa: S311
    line.fault = witness.fault
    polled = Polled(meter, witness.take, lambda *_: None)
    polled.want(profile.quantities - MEASURED_DETAILS)
    poller = Poller(line.bus)
    poller.add(polled)
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return witness


@pytest.mark.parametrize("seed", SEEDS)
@virtual_time
async def test_flipped_bits_change_only_values_without_a_relation(seed: int) -> None:
    witness = await async_hour(seed)
    assert witness.flipped > SECONDS * FLIPPED_PART
    for block in COUNTERS:
        accepted = witness.accepted[block]
        assert len(accepted) > 0.8 * SECONDS
        for each in accepted:
            for key, value in each.values.items():
                if key not in NO_COUNTERS:
                    assert value is not None
                    assert each.lowest[key] <= value <= each.truth[key], key
    wrong: dict[str, float] = defaultdict(float)
    for each in witness.accepted["measurements"]:
        for key, value in each.values.items():
            # A value that the meter cannot have measured is shown as unknown.
            if value is not None:
                wrong[key] = max(wrong[key], abs(value - each.truth[key]))
    assert {key for key, error in wrong.items() if error} <= UNRELATED | POWERS
    assert max(wrong[key] for key in POWERS) <= POWER_TOLERANCE
