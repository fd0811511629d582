"""The evidence that is read before a reading of counters is accepted or rejected.

In these tests, `meter` is the simulated meter. `library_meter` is the library's object
for this meter, after its profile was read. `memory_bus.reads` contains the number of
registers of each read, which shows the block: 18 for the energies, 10 for the tariffs,
30 for the main measurements, 14 for the power, and 5 for the identity.

An accepted counter rises only to the lower of two consecutive readings. Therefore, many
tests read a block twice before they compare a counter.
"""

import asyncio
from dataclasses import replace

import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    ImplausibleError,
    Meter,
)
from custom_components.socomec_countis.countis.plausibility import Moment
from custom_components.socomec_countis.countis.relations import (
    POWER,
    TARIFFS,
    Relations,
)
from simulator import Meter as SimulatedMeter
from simulator import table

from .common import registers_of
from .memory_bus import (
    Fault,
    MemoryBus,
    async_meter,
    async_polled_meter,
)

TOTAL = "energy_consumed"  # 1234.56 kWh at first


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


async def async_poll_rejected(
    library_meter: Meter, seconds: int, name: str = "energies"
) -> None:
    """Read a block every 10 s for `seconds`. Assert that each reading is rejected."""
    for _ in range(seconds // 10):
        with pytest.raises(ImplausibleError):
            await library_meter.async_read(name)
        await asyncio.sleep(10)


# -- evidence -------------------------------------------------------------------------


async def test_rejected_reading_of_another_meter_is_reported_at_once(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    meter.serial = (0x2025, 0x0001, 7)
    meter.counters.consumed = 9_000_000
    with pytest.raises(AnotherMeterError):
        await library_meter.async_read("energies")
    assert library_meter.counter_check.values[TOTAL] == 1234.56


async def test_larger_transformer_raises_the_limits_at_once(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    meter.settings[table.CT_PRIMARY] = 100
    library_meter = await async_polled_meter(memory_bus)
    # 1.2 times the primary current of 100 A.
    assert library_meter.counter_check.limits.amperes == 120
    meter.settings[table.CT_PRIMARY] = 4000
    await asyncio.sleep(10)
    meter.counters.consumed += 5_000  # Wh
    await async_poll_rejected(library_meter, 10)
    assert library_meter.contradicts_profile
    assert library_meter.counter_check.limits.amperes == 4800
    await library_meter.async_read("energies")
    assert (await library_meter.async_read("energies")).values[TOTAL] == 1239.56


async def test_smaller_transformer_does_not_lower_the_limits_at_once(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    meter.settings[table.CT_PRIMARY] = 400
    library_meter = await async_polled_meter(memory_bus)
    meter.settings[table.CT_PRIMARY] = 100
    for _ in range(2):  # one reading never changes the limits
        await library_meter.async_read("transformer")
    assert library_meter.contradicts_profile
    assert library_meter.counter_check.limits.amperes == 480  # 1.2 times 400 A


async def test_rollover_that_the_meter_reports_is_accepted(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    await library_meter.async_read("overflows")
    for _ in range(2):
        await library_meter.async_read("energies")
    last = library_meter.counter_check.accepted[TOTAL]
    # Let the last reading be 6e8 s (19 years) old. In this time, the meter can count to
    # its rollover.
    years_ago = Moment(last.at.wall - 6e8, last.at.monotonic - 6e8)
    library_meter.counter_check.accepted[TOTAL] = replace(last, at=years_ago)
    await asyncio.sleep(10)
    meter.counters.consumed = 10_000_000_500
    await async_poll_rejected(library_meter, 10)
    for _ in range(2):
        reading = await library_meter.async_read("energies")
    assert reading.values[TOTAL] == pytest.approx(10_000_000.5, abs=0.1)
    assert reading.corrections == ()


@pytest.mark.parametrize("refuses_reserved", [False, True])
async def test_value_that_other_resolution_does_not_confirm_is_rejected(
    memory_bus: MemoryBus, meter: SimulatedMeter, *, refuses_reserved: bool
) -> None:
    meter.refuses_reserved = refuses_reserved
    library_meter = await async_polled_meter(memory_bus)
    # The low-resolution counter is 1234 kWh.
    meter.override = {50946: 100}  # the high-resolution counter: 66 115.2 kWh
    await async_poll_rejected(library_meter, 300)
    meter.override |= {50770: 2}  # the low-resolution counter: 132 306 kWh
    await async_poll_rejected(library_meter, 10)
    meter.override = {}
    assert (await library_meter.async_read("energies")).values[TOTAL] == 1234.56


async def test_zeros_at_the_first_reading_are_rejected(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.override = dict.fromkeys(range(50946, 50954), 0)  # all totals
    await async_poll_rejected(library_meter, 300)
    assert library_meter.counter_check.values == {}
    meter.override = {}
    # A first value is accepted only after a second reading confirms the value.
    await async_poll_rejected(library_meter, 10)
    assert (await library_meter.async_read("energies")).values[TOTAL] == 1234.56


# -- mains ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["energies", "tariffs", "periods", "overflows"])
async def test_block_is_not_read_while_the_meter_measures_no_mains(
    memory_bus: MemoryBus, meter: SimulatedMeter, name: str
) -> None:
    library_meter = await async_meter(memory_bus)
    meter.starting = True
    # Only the measurements are read, which have 30 registers. An implausible reading is
    # retried, unless the reading before was implausible, too.
    for register_counts in ([30, 30], [30]):
        memory_bus.requests.clear()
        with pytest.raises(ImplausibleError, match="no mains frequency"):
            await library_meter.async_read(name)
        assert memory_bus.reads == register_counts
    meter.starting = False
    await library_meter.async_read(name)


# -- relations ------------------------------------------------------------------------


async def test_power_that_is_not_the_sum_of_its_phases_is_retried(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    library_meter.relations = Relations({POWER})
    # The difference is 40 W (4 steps of 10 W).
    memory_bus.faults.append(Fault(lambda words: [words[0], words[1] ^ 4, *words[2:]]))
    assert (await library_meter.async_read("power")).values["power"] == 1300
    assert memory_bus.reads == [14, 14]
    # A difference of 30 W may be rounding.
    memory_bus.faults.append(Fault(lambda words: [words[0], words[1] + 3, *words[2:]]))
    assert (await library_meter.async_read("power")).values["power"] == 1330


async def test_relation_that_ten_readings_contradict_is_not_checked_again(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    library_meter.relations = Relations({POWER})
    meter.override = registers_of("power", 1000)  # 10 kW
    polls = 0
    while not library_meter.contradicts_profile:
        with pytest.raises(ImplausibleError, match="sum of its phases"):
            await library_meter.async_read("power")
        polls += 1
    # The first poll has two readings, each further poll one.
    assert polls == 9
    assert (await library_meter.async_read("power")).values["power"] == 10_000


async def test_tariff_counters_whose_sum_is_not_the_total_are_retried(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    library_meter.relations = Relations({TARIFFS})
    # Tariff 1 differs by 80 Wh (8 steps).
    memory_bus.faults.append(
        Fault(lambda words: [*words[:3], words[3] ^ 8, *words[4:]])
    )
    await library_meter.async_read("tariffs")
    assert memory_bus.reads == [10, 10]
    # After a reset, the sum is not the total. The second reading (the retry) ends the
    # check of the relation. The third reading is accepted.
    library_meter.counter_check.expect_reset({"tariff_1_energy"})
    meter.counters.tariffs[0] = 0
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("tariffs")
    assert (await library_meter.async_read("tariffs")).values["tariff_1_energy"] == 0
    memory_bus.requests.clear()
    await library_meter.async_read("tariffs")
    assert memory_bus.reads == [10]


async def test_relation_is_not_checked_without_an_accepted_total(
    memory_bus: MemoryBus,
) -> None:
    library_meter = await async_meter(memory_bus)
    library_meter.relations = Relations({TARIFFS, POWER})
    await library_meter.async_read("tariffs")
    assert library_meter.counter_check.values["tariff_1_energy"] > 0


async def test_power_that_is_not_available_does_not_limit_a_counter(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    meter.override = registers_of("power", table.SIGNED_NOT_AVAILABLE)
    for rise in (0, 0, 100, 0):  # Wh
        await library_meter.async_read("power")
        meter.counters.consumed += rise
        await library_meter.async_read("energies")
    assert library_meter.counter_check.values[TOTAL] == pytest.approx(1234.66, abs=0.01)


async def test_single_reading_of_a_transformer_does_not_raise_the_limits(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    meter.settings[table.CT_PRIMARY] = 100
    library_meter = await async_polled_meter(memory_bus)
    # The next response contains 4196 A instead of 100 A.
    memory_bus.faults.append(Fault(lambda words: [words[0], words[1] | 0x1000]))
    for _ in range(2):
        await library_meter.async_read("transformer")
    assert library_meter.counter_check.limits.amperes == 120


async def test_refused_read_of_a_transformer_does_not_raise_the_limits(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.model = "Countis E43"
    meter.settings[table.CT_PRIMARY] = 100
    library_meter = await async_polled_meter(memory_bus)
    # The next response contains 4196 A instead of 100 A. Later reads are refused.
    memory_bus.faults.append(Fault(lambda words: [words[0], words[1] | 0x1000]))
    await library_meter.async_read("transformer")
    meter.refused_blocks = {table.NETWORK}
    await asyncio.sleep(10)
    meter.counters.consumed += 5_000  # Wh
    await async_poll_rejected(library_meter, 10)
    assert library_meter.counter_check.limits.amperes == 120


async def test_poll_with_a_counter_that_stays_rejected_is_one_request(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    # The total in both resolutions.
    meter.override = dict.fromkeys((50946, 50947, 50770, 50771), 0)
    await async_poll_rejected(library_meter, 60)
    # After 60 s, all counters of the block except the total are accepted.
    await library_meter.async_read("energies")
    memory_bus.requests.clear()
    meter.counters.produced += 20  # Wh, from 7.89 kWh
    for _ in range(3):
        await asyncio.sleep(1)
        reading = await library_meter.async_read("energies")
    assert memory_bus.reads == [18] * 3
    assert reading.values[TOTAL] == 1234.56
    assert reading.values["energy_produced"] == 7.91
    # A single reading of the produced energy is 90 Wh too high.
    memory_bus.faults.append(
        Fault(lambda words: [*words[:7], words[7] + 9, *words[8:]])
    )
    reading = await library_meter.async_read("energies")
    assert reading.values["energy_produced"] == 7.91
    meter.override = {}
    for _ in range(2):
        reading = await library_meter.async_read("energies")
    assert library_meter.counter_check.rejected == {}
    assert reading.values[TOTAL] == pytest.approx(1234.56, abs=0.05)
    assert reading.values["energy_produced"] == 7.91


async def test_counters_that_a_command_accepts_during_a_poll_are_not_rejected(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    library_meter = await async_polled_meter(memory_bus)
    meter.override = registers_of("energy_consumed", 0)

    async def command() -> None:
        # The poll verifies the identity (5 registers) after a rejected reading.
        while memory_bus.reads[-1:] != [5]:
            await asyncio.sleep(0.001)
        meter.override = {}
        for _ in range(2):
            await library_meter.async_read("energies")

    command_task = asyncio.create_task(command())
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("energies")
    await command_task
    assert library_meter.counter_check.rejected == {}


async def test_only_supported_evidence_is_read(
    memory_bus: MemoryBus, meter: SimulatedMeter
) -> None:
    meter.refused_blocks = {table.OVERFLOW}
    library_meter = await async_polled_meter(memory_bus)
    meter.override = registers_of("energy_consumed", 0)
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("energies")
    # The energies, their retry, and the identity. The rollovers are not read.
    assert memory_bus.reads == [18, 18, 5]
