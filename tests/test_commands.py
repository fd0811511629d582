"""Commands to a meter, each confirmed by a read-back."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from modbus_connection import ModbusExceptionError, ModbusTimeoutError
import pytest

from custom_components.socomec_countis.countis import (
    AnotherMeterError,
    CommandError,
    ImplausibleError,
    Meter,
    Reading,
    Values,
    async_confirm_tariff,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
    async_set_tariff,
    tariffs,
)
from simulator import Meter as SimulatedMeter
from simulator import table

from .common import registers_of
from .memory_bus import (
    DAMAGED,
    LOST,
    NO_FAULT,
    READ,
    WRITE,
    WRITE_SEVERAL,
    ZEROS,
    Fault,
    MemoryBus,
    async_meter,
    exception,
    virtual_clock,
)

PARTIAL = (
    "partial_energy_consumed",
    "partial_energy_reactive",
    "partial_energy_produced",
)
# The same counters in the simulated meter.
SIMULATED_PARTIAL = ("partial_consumed", "partial_reactive", "partial_produced")
TARIFFS = [f"tariff_{number}_energy" for number in range(1, 5)]
# Register addresses of the commands. RESET resets the partial counters. Only an E1x or
# E2x has RESET_PARTIAL, which resets the same counters.
SET_TARIFF, RESET_PARTIAL, CLOCK = 40481, 40512, 57600
RESET, RESET_TARIFFS = 57890, 57892
PARTIAL_BITS = 0x000B  # written by a reset: the bits of Ea+, Er+ and Ea-
# Number of registers that are read for the identity, the energies and the tariffs.
IDENTITY_WORDS, ENERGY_WORDS, TARIFF_WORDS = 5, 18, 10
# Requests before the write of a reset: the identity, each block of counters twice, and
# the identity again.
BEFORE_RESET = 6
# Faults after which only a read-back shows whether the meter executed a command.
# Besides lost and damaged responses, these are the Modbus exceptions 5 (the meter needs
# more time), 10 and 11 (the gateway received no response).
UNKNOWN_OUTCOMES = [LOST, DAMAGED, exception(5), exception(10), exception(11)]

type Command = Callable[[Meter, Callable[[Reading], None]], Coroutine[Any, Any, None]]

set_tariff_2 = partial(async_set_tariff, tariff=2)
# Each command, its error text (a regular expression), and the register that it writes.
COMMANDS: Sequence[tuple[Command, str, int]] = (
    (async_reset_partial_counters, "^reset failed", RESET),
    (async_reset_tariff_counters, "tariff reset failed", RESET_TARIFFS),
    (set_tariff_2, "tariff not set", SET_TARIFF),
    (async_set_clock, "clock not set", CLOCK),
)


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


class Published:
    """The readings that a command publishes."""

    def __init__(self) -> None:
        """Begin without a reading."""
        self.readings: list[Reading] = []

    def __call__(self, reading: Reading) -> None:
        """Add a reading."""
        self.readings.append(reading)

    @property
    def values(self) -> Values:
        """Return the last value of each quantity."""
        values: Values = {}
        for reading in self.readings:
            values |= reading.values
        return values

    def __getitem__(self, names: Sequence[str]) -> list[float | None]:
        """Return the last value of each named quantity."""
        return [self.values[name] for name in names]


@pytest.fixture
def published() -> Published:
    """Return the object to which commands publish."""
    return Published()


async def async_accepted_meter(memory_bus: MemoryBus, *, unit_id: int = 1) -> Meter:
    """Return a meter of the library after its counters are read and accepted.

    The requests are deleted from `memory_bus.requests`.
    """
    library_meter = await async_meter(memory_bus, unit_id=unit_id)
    for name in ("measurements", "energies", "tariffs"):
        if library_meter.block(name) is not None:
            await library_meter.async_read(name)
    memory_bus.requests.clear()
    return library_meter


def functions(memory_bus: MemoryBus) -> list[int]:
    """Return the Modbus function of each request."""
    return [each.function for each in memory_bus.requests]


def fault_that_zeroes(meter: SimulatedMeter, *counters: str) -> Fault:
    """Return a fault that sets counters of the simulated meter to 0 after it responds.

    The response itself is not changed, so the next response is the first with zeros.
    """

    def change(words: list[int]) -> list[int]:
        vars(meter.counters).update(dict.fromkeys(counters, 0))
        return words

    return Fault(change)


# -- resetting the partial counters -------------------------------------------------


async def test_reset_writes_the_bits_of_its_counters_and_reads_back(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    await async_reset_partial_counters(library_meter, published)
    assert published[PARTIAL] == [0, 0, 0]
    assert published.values["energy_consumed"] == 1234.56
    assert meter.writes == [(RESET, [PARTIAL_BITS])]
    assert functions(memory_bus) == [*[READ] * BEFORE_RESET, WRITE, READ]
    counters = [ENERGY_WORDS, TARIFF_WORDS] * 2
    before = [IDENTITY_WORDS, *counters, IDENTITY_WORDS]
    assert memory_bus.reads == [*before, ENERGY_WORDS]


async def test_reset_publishes_the_latest_counters_before_the_write(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.counters.partial_consumed += 10  # Wh
    await async_reset_partial_counters(library_meter, published)
    _, _, energies, by_tariff, read_back = published.readings
    assert energies.values["partial_energy_consumed"] == 45.68
    assert by_tariff.values["tariff_2_energy"] == 234.56
    assert read_back.values["partial_energy_consumed"] == 0


async def test_implausible_counters_are_not_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    for failure in (
        {"blank_blocks": {table.ENERGIES_UNIT_100}},
        {"blank_blocks": set(), "override": registers_of("energy_consumed", 0)},
    ):
        vars(meter).update(failure)
        with pytest.raises(ImplausibleError):
            await async_reset_partial_counters(library_meter, published)
    assert memory_bus.writes == []
    assert library_meter.counter_check.values["partial_energy_consumed"] == 45.67


async def test_partial_counters_are_reset_despite_implausible_tariffs(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.blank_blocks = {table.TARIFFS_UNIT_100}
    await async_reset_partial_counters(library_meter, published)
    assert {reading.block for reading in published.readings} == {"energies"}
    assert published.values["partial_energy_consumed"] == 0


async def test_reset_is_not_sent_while_the_meter_measures_no_mains(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.override = registers_of("frequency", 0)
    library_meter.assume_starting()
    with pytest.raises(ImplausibleError, match="no mains frequency"):
        await async_reset_partial_counters(library_meter, published)
    assert memory_bus.writes == []


@pytest.mark.parametrize("good_responses", range(BEFORE_RESET))
async def test_reset_is_not_sent_after_a_timeout(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    good_responses: int,
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    # After the good responses, a request and its retry get no response.
    memory_bus.faults.extend([NO_FAULT] * good_responses + [LOST] * 2)
    with pytest.raises(ModbusTimeoutError):
        await async_reset_partial_counters(library_meter, published)
    assert meter.writes == []


async def test_reset_leaves_out_counters_that_the_meter_does_not_have(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    # The partial counter Er+ in both resolutions.
    meter.override = dict.fromkeys((50958, 50959, 50782, 50783), 0xFFFF)
    await async_reset_partial_counters(
        await async_accepted_meter(memory_bus), published
    )
    assert meter.writes == [(RESET, [0x0009])]  # Ea+ and Ea-


async def test_partial_counters_of_a_meter_without_tariffs_are_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    meter.refused_blocks = {table.TARIFFS, table.TARIFFS_UNIT_100}
    await async_reset_partial_counters(
        await async_accepted_meter(memory_bus), published
    )
    assert published[PARTIAL] == [0, 0, 0]
    assert {reading.block for reading in published.readings} == {"energies"}


async def test_reset_of_a_meter_without_partial_counters_sends_nothing(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    partial_counters = [*range(50956, 50964), *range(50780, 50788)]  # both resolutions
    meter.override = dict.fromkeys(partial_counters, 0xFFFF)
    library_meter = await async_accepted_meter(memory_bus)
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    assert memory_bus.requests == []


async def test_counter_that_is_not_available_does_not_confirm_a_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.ignored_writes = {RESET}
    meter.override = dict.fromkeys(range(50956, 50964), 0xFFFF)  # partial counters
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)


@pytest.mark.parametrize("fault", UNKNOWN_OUTCOMES)
async def test_reset_with_an_unknown_outcome_is_confirmed_by_the_counters(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published, fault: Fault
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    memory_bus.faults.extend([NO_FAULT] * BEFORE_RESET + [fault])
    await async_reset_partial_counters(library_meter, published)
    assert published[PARTIAL] == [0, 0, 0]
    assert meter.writes == [(RESET, [PARTIAL_BITS])]


@pytest.mark.parametrize("fault", UNKNOWN_OUTCOMES)
async def test_ignored_reset_with_an_unknown_outcome_raises_an_error(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published, fault: Fault
) -> None:
    meter.ignored_writes = {RESET}
    meter.has_partial_energies_reset = True
    library_meter = await async_accepted_meter(memory_bus)
    memory_bus.faults.extend([NO_FAULT] * BEFORE_RESET + [fault])
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    assert [register for register, _ in memory_bus.writes] == [RESET]


@pytest.mark.parametrize("fault", [LOST, exception(10), exception(11)])
async def test_lost_read_back_of_a_reset_raises_a_timeout(
    memory_bus: MemoryBus, published: Published, fault: Fault
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    # The write gets a response, but the read-back and its retry get none.
    memory_bus.faults.extend([NO_FAULT] * (BEFORE_RESET + 1) + [fault] * 2)
    with pytest.raises(ModbusTimeoutError):
        await async_reset_partial_counters(library_meter, published)
    assert [register for register, _ in memory_bus.writes] == [RESET]


async def test_zeros_long_after_an_ignored_reset_are_rejected(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.ignored_writes = {RESET_TARIFFS}
    with pytest.raises(CommandError, match="tariff reset failed"):
        await async_reset_tariff_counters(library_meter, published)
    await asyncio.sleep(3600)
    await library_meter.async_read("measurements")
    await library_meter.async_read("tariffs")
    block = table.TARIFFS_UNIT_100
    memory_bus.default_fault = lambda each: ZEROS if each.address == block else NO_FAULT
    for _ in range(3):
        with pytest.raises(ImplausibleError):
            await library_meter.async_read("tariffs")
    assert library_meter.counter_check.values["tariff_1_energy"] == 1000


@pytest.mark.parametrize(
    ("command", "block", "counters"),
    [
        (async_reset_partial_counters, "energies", PARTIAL),
        (async_reset_tariff_counters, "tariffs", TARIFFS),
    ],
)
async def test_reset_with_a_lost_read_back_is_accepted_after_two_polls(
    memory_bus: MemoryBus,
    published: Published,
    command: Command,
    block: str,
    counters: Sequence[str],
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    memory_bus.faults.extend([NO_FAULT] * (BEFORE_RESET + 1) + [LOST] * 2)
    with pytest.raises(ModbusTimeoutError):
        await command(library_meter, published)
    await library_meter.async_read("measurements")
    readings = []
    # The first poll may reject the zeros.
    with suppress(ImplausibleError):
        readings.append(await library_meter.async_read(block))
    readings.append(await library_meter.async_read(block))
    assert [readings[-1].values[name] for name in counters] == [0] * len(counters)
    assert all(each.corrections == () for each in readings)


async def test_refused_read_back_of_a_reset_raises_the_modbus_exception(
    memory_bus: MemoryBus, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    memory_bus.faults.extend([NO_FAULT] * (BEFORE_RESET + 1) + [exception(4)])
    with pytest.raises(ModbusExceptionError):
        await async_reset_partial_counters(library_meter, published)
    assert [register for register, _ in memory_bus.writes] == [RESET]


async def test_meter_that_supports_only_function_16_is_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.refused_functions = {WRITE}
    await async_reset_partial_counters(library_meter, published)
    assert published[PARTIAL] == [0, 0, 0]
    assert functions(memory_bus)[-3:] == [WRITE, WRITE_SEVERAL, READ]


@pytest.mark.parametrize("model", ["Countis E14", "Countis E23"])
@pytest.mark.parametrize("attribute", ["refused_writes", "ignored_writes"])
async def test_failed_reset_of_an_e1x_or_e2x_is_followed_by_a_second_command(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    attribute: str,
    model: str,
) -> None:
    meter.model = model
    setattr(meter, attribute, {RESET})
    meter.has_partial_energies_reset = True
    await async_reset_partial_counters(
        await async_accepted_meter(memory_bus), published
    )
    assert published[PARTIAL] == [0, 0, 0]
    assert memory_bus.writes == [(RESET, (PARTIAL_BITS,)), (RESET_PARTIAL, (0x20,))]


@pytest.mark.parametrize("model", ["Countis E33", "Countis E44", "Countis"])
@pytest.mark.parametrize("attribute", ["refused_writes", "ignored_writes"])
async def test_second_reset_command_is_not_sent_to_other_families(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    attribute: str,
    model: str,
) -> None:
    meter.model = model
    setattr(meter, attribute, {RESET})
    meter.has_partial_energies_reset = True
    library_meter = await async_accepted_meter(memory_bus)
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    assert memory_bus.writes == [(RESET, (PARTIAL_BITS,))]


@pytest.mark.parametrize("all_writes_refused", [True, False])
async def test_reset_raises_an_error_if_both_commands_are_refused(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    *,
    all_writes_refused: bool,
) -> None:
    meter.model = "Countis E23"
    library_meter = await async_accepted_meter(memory_bus)
    if all_writes_refused:
        meter.refused_functions = {WRITE, WRITE_SEVERAL}
    else:
        meter.refused_writes = {RESET, RESET_PARTIAL}
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    assert meter.writes == []


async def test_reset_that_takes_effect_late_is_confirmed(
    memory_bus: MemoryBus, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    # The words 10 and 11 are the partial counter Ea+ (50956): still 45.67 kWh.
    stale = Fault(lambda words: [*words[:10], 0, 4567, *words[12:]])
    memory_bus.faults.extend([NO_FAULT] * (BEFORE_RESET + 1) + [stale] * 2)
    await async_reset_partial_counters(library_meter, published)
    assert published[PARTIAL] == [0, 0, 0]
    assert memory_bus.reads[-3:] == [ENERGY_WORDS] * 3
    # The two read-backs with old values were not published.
    assert [reading.block for reading in published.readings] == [
        *("energies", "tariffs", "energies", "tariffs", "energies"),
    ]


@pytest.mark.parametrize("kept", SIMULATED_PARTIAL)
async def test_reset_raises_an_error_if_one_counter_does_not_fall(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published, kept: str
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.ignored_writes = {RESET}
    fallen = [each for each in SIMULATED_PARTIAL if each != kept]
    memory_bus.faults.extend(
        [NO_FAULT] * BEFORE_RESET + [fault_that_zeroes(meter, *fallen)]
    )
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    assert memory_bus.reads[-3:] == [ENERGY_WORDS] * 3
    assert published[PARTIAL] == [45.67, 1.23, 0.89]
    assert [library_meter.counter_check.values[name] for name in PARTIAL] == [
        45.67,
        1.23,
        0.89,
    ]


async def test_reset_is_confirmed_when_its_counters_fall_one_by_one(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.ignored_writes = {RESET}
    # One counter falls after the write, and one after each of two read-backs.
    falls = [fault_that_zeroes(meter, counter) for counter in SIMULATED_PARTIAL]
    memory_bus.faults.extend([NO_FAULT] * BEFORE_RESET + falls)
    await async_reset_partial_counters(library_meter, published)
    assert memory_bus.reads[-3:] == [ENERGY_WORDS] * 3
    assert len(published.readings) == 5
    assert published[PARTIAL] == [0, 0, 0]
    assert [library_meter.counter_check.values[name] for name in PARTIAL] == [0, 0, 0]
    assert published.values["energy_consumed"] == 1234.56


# `ct_primary` is the primary current of the current transformers in A, or None for a
# direct meter. `rise` is the energy in Wh that is read back. After the write, a counter
# may rise by at most one step of 10 Wh, plus 22 Wh for each second (530 Wh with
# 2000 A). The last read-back is about 0.9 s after the write.
@pytest.mark.parametrize(
    ("ct_primary", "rise", "is_confirmed"),
    [(None, 10, True), (None, 40, False), (2000, 80, True), (2000, 600, False)],
)
async def test_reset_is_confirmed_only_if_the_read_back_energy_is_possible(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    ct_primary: int | None,
    rise: float,
    *,
    is_confirmed: bool,
) -> None:
    if ct_primary is not None:
        meter.model = "Countis E43"
        meter.settings |= {57345: 5, 57346: ct_primary}  # secondary, primary in A
    library_meter = await async_accepted_meter(memory_bus)

    def count(words: list[int]) -> list[int]:
        # Put the rise into this response (words 10 and 11) and all later ones.
        meter.counters.partial_consumed = rise
        return [*words[:10], *divmod(round(rise / 10), 0x1_0000), *words[12:]]

    memory_bus.faults.extend([NO_FAULT] * (BEFORE_RESET + 1) + [Fault(count)])
    if is_confirmed:
        await async_reset_partial_counters(library_meter, published)
        assert published.values["partial_energy_consumed"] == rise / 1000
    else:
        with pytest.raises(CommandError, match=r"^reset failed"):
            await async_reset_partial_counters(library_meter, published)


async def test_wait_for_the_bus_does_not_confirm_an_ignored_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    meter.model = "Countis E43"
    # Without the transformer block (`table.NETWORK`), up to 10 000 A are possible:
    # 46 kWh in 21 s. If the command added a wait for the bus to the time since its
    # write, it would accept the unchanged 45.67 kWh as energy since the reset.
    meter.refused_blocks = {table.NETWORK}
    meter.ignored_writes = {RESET}
    library_meter = await async_accepted_meter(memory_bus)

    async def use_the_bus() -> None:
        # Hold the bus before the command, and again before its write.
        for _ in range(2):
            async with memory_bus.bus.hold():
                await asyncio.sleep(21)

    other = asyncio.create_task(use_the_bus())
    await asyncio.sleep(0)
    with pytest.raises(CommandError, match=r"^reset failed"):
        await async_reset_partial_counters(library_meter, published)
    await other
    assert [register for register, _ in memory_bus.writes] == [RESET]


# -- the tariff counters and the tariff ----------------------------------------------


async def test_tariff_counters_are_reset(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    await async_reset_tariff_counters(library_meter, published)
    assert meter.writes == [(RESET_TARIFFS, [0x000F])]
    assert published[TARIFFS] == [0, 0, 0, 0]
    assert published.readings[1].values["tariff_2_energy"] == 234.56
    assert (await library_meter.async_read("tariffs")).values["tariff_1_energy"] == 0


async def test_reset_leaves_out_tariffs_that_the_meter_does_not_have(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    meter.tariff_count = 2
    # Tariff counters 3 and 4 in both resolutions.
    missing = [*range(51206, 51210), *range(50854, 50858)]
    meter.override = dict.fromkeys(missing, 0xFFFF)
    await async_reset_tariff_counters(await async_accepted_meter(memory_bus), published)
    assert meter.writes == [(RESET_TARIFFS, [0x0003])]


async def test_tariff_is_set_and_read_back(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    await async_set_tariff(library_meter, published, tariff=3)
    assert meter.writes == [(SET_TARIFF, [3])]
    assert published.values["tariff"] == 3
    assert published.values["tariff_2_energy"] == 234.56
    assert memory_bus.reads == [IDENTITY_WORDS, TARIFF_WORDS]


async def test_tariff_is_confirmed_after_a_lost_read_back(
    memory_bus: MemoryBus, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    # The identity, the write, and the read-back.
    memory_bus.faults.extend([NO_FAULT, NO_FAULT, LOST])
    await async_set_tariff(library_meter, published, tariff=2)
    assert published.values["tariff"] == 2


async def test_tariff_that_takes_effect_late_is_confirmed(
    memory_bus: MemoryBus, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    stale = Fault(lambda words: [words[0], 1, *words[2:]])  # tariff 1
    memory_bus.faults.extend([NO_FAULT, NO_FAULT, stale, stale])
    await async_set_tariff(library_meter, published, tariff=2)
    assert [reading.values["tariff"] for reading in published.readings] == [1, 1, 2]


async def test_tariff_is_confirmed_if_the_tariff_counters_are_implausible(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.override = registers_of("tariff_1_energy", 0)
    await async_set_tariff(library_meter, published, tariff=3)
    assert published.readings == []
    with pytest.raises(ImplausibleError):
        await library_meter.async_read("tariffs")
    # The meter changes the tariff late, so only the last read-back confirms the tariff.
    meter.counters.tariff = 1
    stale = Fault(lambda words: [words[0], 1, *words[2:]])  # tariff 1
    # The identity, the write, and two read-backs of two requests each.
    memory_bus.faults.extend([NO_FAULT, NO_FAULT, *[stale] * 4])
    await async_set_tariff(library_meter, published, tariff=2)
    assert not memory_bus.faults
    assert meter.writes == [(SET_TARIFF, [3]), (SET_TARIFF, [2])]


async def test_tariff_of_a_starting_meter_is_not_confirmed_by_an_old_reading(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    await async_set_tariff(library_meter, published, tariff=2)
    library_meter.assume_starting()
    meter.ignored_writes = {SET_TARIFF}
    # No mains frequency, and another tariff than in the last reading.
    meter.override = registers_of("frequency", 0) | {51201: 1}
    with pytest.raises(CommandError, match="tariff not set"):
        await async_set_tariff(library_meter, published, tariff=2)


async def test_broadcast_tariff_is_confirmed_only_if_it_is_read_back(
    memory_bus: MemoryBus, meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.counters.tariff = 2
    await async_confirm_tariff(library_meter, published, tariff=2)
    assert published.values["tariff"] == 2
    assert memory_bus.reads == [IDENTITY_WORDS, TARIFF_WORDS]
    began = asyncio.get_running_loop().time()
    with pytest.raises(CommandError, match="tariff not set"):
        await async_confirm_tariff(library_meter, published, tariff=3)
    # Two delays of 0.3 s, and the transactions.
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.6, abs=0.3)
    assert published.values["tariff"] == 2
    assert memory_bus.writes == []


@pytest.mark.parametrize(
    ("count", "last"), [(None, 4), (0, 4), (1, 1), (2, 2), (4, 4), (8, 8), (9, 4)]
)
def test_tariffs_of_a_meter_follow_from_its_tariff_count(
    count: int | None, last: int
) -> None:
    assert list(tariffs(count)) == list(range(1, last + 1))


# -- every command -------------------------------------------------------------------


@pytest.mark.parametrize(("command", "error", "register"), COMMANDS)
async def test_ignored_command_raises_an_error(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    meter.true_time = virtual_clock
    meter.set_clock([1, 1, 2024, 0, 0, 0])
    library_meter = await async_accepted_meter(memory_bus)
    meter.ignored_writes = {register}
    with pytest.raises(CommandError, match=error):
        await command(library_meter, published)
    assert [written for written, _ in memory_bus.writes] == [register]


@pytest.mark.parametrize(("command", "error", "register"), COMMANDS)
async def test_refused_command_raises_an_error(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    meter.true_time = virtual_clock
    library_meter = await async_accepted_meter(memory_bus)
    meter.refused_writes = {register}
    with pytest.raises(CommandError, match=error):
        await command(library_meter, published)
    assert register in [written for written, _ in memory_bus.writes]
    assert meter.writes == []


# Without `COMMANDS[0]`, whose block "energies" this test does not refuse.
@pytest.mark.parametrize(("command", "error", "register"), COMMANDS[1:])
async def test_command_without_its_block_raises_an_error(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    meter.refused_blocks = {table.TARIFFS, table.TARIFFS_UNIT_100, CLOCK}
    library_meter = await async_accepted_meter(memory_bus)
    with pytest.raises(CommandError, match=error):
        await command(library_meter, published)
    # The tariff is written even without the tariffs block, but cannot be read back.
    if register != SET_TARIFF:
        assert memory_bus.writes == []


@pytest.mark.parametrize(("command", "error", "register"), COMMANDS)
async def test_command_to_an_offline_meter_raises_a_timeout(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.offline = True
    with pytest.raises(ModbusTimeoutError):
        await command(library_meter, published)
    assert published.readings == []
    assert memory_bus.writes == []


@pytest.mark.parametrize(("command", "error", "register"), COMMANDS)
async def test_command_to_another_meter_is_not_sent(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(AnotherMeterError):
        await command(library_meter, published)
    assert published.readings == []
    assert memory_bus.writes == []


@pytest.mark.parametrize(("command", "error", "register"), COMMANDS)
async def test_command_holds_the_bus_from_identity_to_read_back(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    published: Published,
    command: Command,
    error: str,
    register: int,
) -> None:
    meter.true_time = virtual_clock
    memory_bus.meters[2] = SimulatedMeter(unit_id=2, true_time=virtual_clock)
    library_meter, other = (
        await async_accepted_meter(memory_bus),
        await async_accepted_meter(memory_bus, unit_id=2),
    )

    async def read_the_other() -> None:
        while True:
            await other.async_read("power")

    readers = [asyncio.create_task(read_the_other()) for _ in range(3)]
    await asyncio.sleep(1)
    await command(library_meter, published)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert memory_bus.overlaps == 0
    (write_index,) = (
        index
        for index, each in enumerate(memory_bus.requests)
        if each.address == register and each.function in (WRITE, WRITE_SEVERAL)
    )
    assert [
        each.unit_id for each in memory_bus.requests[write_index - 1 : write_index + 2]
    ] == [1] * 3
    assert functions(memory_bus)[write_index - 1 : write_index + 2] == [
        READ,
        memory_bus.requests[write_index].function,
        READ,
    ]
    # The other meter was read before the write.
    assert {each.unit_id for each in memory_bus.requests[:write_index]} == {1, 2}


# -- clock ---------------------------------------------------------------------------


def displayed_time(meter: SimulatedMeter) -> datetime:
    """Return the date and time that the clock of a simulated meter shows."""
    words = meter.read(CLOCK, 6)
    assert isinstance(words, list)
    day, month, year, hour, minute, second = words
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


@pytest.fixture
def timed_meter(meter: SimulatedMeter) -> SimulatedMeter:
    """Return the meter with a clock in virtual time."""
    meter.true_time = virtual_clock
    return meter


# When the command begins, in s after a full second.
@pytest.mark.parametrize("begin", [0, 0.2, 0.5, 0.61, 0.999])
async def test_clock_is_set_at_the_beginning_of_a_second(
    memory_bus: MemoryBus,
    timed_meter: SimulatedMeter,
    published: Published,
    begin: float,
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    timed_meter.set_clock([1, 1, 2024, 0, 0, 0])
    loop = asyncio.get_running_loop()
    # The setup ends at 1.2 s, so the command begins at 2 s or later.
    await asyncio.sleep(begin + 2 - loop.time())
    await async_set_clock(library_meter, published)
    # In s; at most 2 s until the write, and then the read-back
    assert loop.time() - begin - 2 < 2.2
    # In s; the meter shows January 2024, and the virtual clock shows June 2025
    assert published.readings[0].values["clock_offset"] == pytest.approx(
        -4.6e7, rel=0.1
    )
    assert published.values["clock_offset"] == 0
    ((register, written),) = memory_bus.writes
    assert register == CLOCK
    await asyncio.sleep(1.5 - loop.time() % 1)  # until the middle of a second
    now = datetime.fromtimestamp(virtual_clock(), UTC)
    assert displayed_time(timed_meter) == now.replace(microsecond=0)
    assert written[2] == now.year


async def test_clock_with_a_year_of_two_digits_is_set(
    memory_bus: MemoryBus, timed_meter: SimulatedMeter, published: Published
) -> None:
    timed_meter.clock_has_short_year = True
    library_meter = await async_accepted_meter(memory_bus)
    timed_meter.set_clock([1, 1, 24, 0, 0, 0])
    await async_set_clock(library_meter, published)
    ((_, written),) = memory_bus.writes
    assert written[2] == 25
    assert published.values["clock_offset"] == 0


@pytest.mark.parametrize("fault", [LOST, DAMAGED, exception(11)])
async def test_clock_is_confirmed_after_a_lost_response(
    memory_bus: MemoryBus,
    timed_meter: SimulatedMeter,
    published: Published,
    fault: Fault,
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    timed_meter.set_clock([1, 1, 2024, 0, 0, 0])
    # The identity, the clock and again the identity are read before the write.
    memory_bus.faults.extend([NO_FAULT] * 3 + [fault])
    await async_set_clock(library_meter, published)
    assert len(memory_bus.writes) == 1
    assert published.values["clock_offset"] == 0


async def test_clock_that_remains_invalid_raises_an_error(
    memory_bus: MemoryBus, timed_meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    timed_meter.override = {57601: 13}  # month
    with pytest.raises(CommandError, match="clock not set"):
        await async_set_clock(library_meter, published)
    assert published.values["clock_offset"] is None


async def test_clock_is_set_while_another_task_uses_the_bus(
    memory_bus: MemoryBus, timed_meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    timed_meter.set_clock([1, 1, 2024, 0, 0, 0])
    hold_seconds = [1.3, 0.9, 0.1, 0.1]

    async def use_the_bus() -> None:
        while hold_seconds:
            async with memory_bus.bus.hold():
                await asyncio.sleep(hold_seconds.pop(0))
            await asyncio.sleep(0.01)

    other = asyncio.create_task(use_the_bus())
    await async_set_clock(library_meter, published)
    await other
    # Wait until the middle of a second.
    await asyncio.sleep(1.5 - asyncio.get_running_loop().time() % 1)
    now = datetime.fromtimestamp(virtual_clock(), UTC)
    assert displayed_time(timed_meter) == now.replace(microsecond=0)
    assert len(memory_bus.writes) == 1


async def test_clock_is_not_set_on_a_bus_that_is_never_free_in_time(
    memory_bus: MemoryBus, timed_meter: SimulatedMeter, published: Published
) -> None:
    library_meter = await async_accepted_meter(memory_bus)
    loop = asyncio.get_running_loop()

    async def use_the_bus() -> None:
        for second in range(100):
            # Hold the bus around each full second.
            await asyncio.sleep(second + 0.55 - loop.time())
            async with memory_bus.bus.hold():
                await asyncio.sleep(second + 1.15 - loop.time())

    other = asyncio.create_task(use_the_bus())
    began = loop.time()
    with pytest.raises(CommandError, match="clock not set"):
        await async_set_clock(library_meter, published)
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert memory_bus.writes == []
    assert loop.time() - began < 8  # s; the command ends after five attempts
