"""The limits at which a device is accepted as a COUNTIS, and details of its profile."""

import pytest

from custom_components.socomec_countis.countis.errors import NotACountisError
from custom_components.socomec_countis.countis.limits import Limits
from custom_components.socomec_countis.countis.profile import (
    BLOCK_TYPES,
    SET_FIELDS,
    Profile,
    async_take_profile,
)
from simulator import Meter as SimulatedMeter
from simulator import table

from .memory_bus import LOST, NO_FAULT, Fault, MemoryBus, Request

TRANSFORMER = 57345  # register address of the transformers' secondary current


@pytest.fixture
def memory_bus(meter: SimulatedMeter) -> MemoryBus:
    """Return a bus in memory with the meter at unit ID 1."""
    return MemoryBus({1: meter})


@pytest.mark.parametrize(
    ("model", "is_read"),
    [
        ("Countis E14", False),  # its register 57345 contains the baud rate
        ("Countis E23", False),
        ("Countis E33", False),
        ("Countis E43", True),
        ("Countis", True),  # its family is unknown
    ],
)
async def test_transformer_is_read_if_the_model_may_have_transformers(
    memory_bus: MemoryBus, meter: SimulatedMeter, model: str, *, is_read: bool
) -> None:
    meter.model = model
    await async_take_profile(memory_bus.unit())
    requested = {request.address for request in memory_bus.requests}
    assert (TRANSFORMER in requested) is is_read


async def test_relations_of_a_profile_have_their_stored_names(
    memory_bus: MemoryBus,
) -> None:
    profile = await async_take_profile(memory_bus.unit())
    # Stored profiles contain these names.
    assert profile.relations == {"power", "tariffs"}


def mains_registers(volts: float, hertz: float) -> dict[int, int]:
    """Return the registers of the frequency and voltages. L2 and L3 have 0 V."""
    return {
        50520: 0,
        50521: round(volts * 100),
        **dict.fromkeys((50522, 50523, 50524, 50525), 0),
        50526: 0,
        50527: round(hertz * 100),
    }


@pytest.mark.parametrize(
    ("volts", "hertz", "is_mains"),
    [
        (230, 50, True),
        (100, 50, True),
        (99.99, 50, False),
        (300, 50, True),
        (300.01, 50, False),
        (230, 45, True),
        (230, 44.99, False),
        (230, 65, True),
        (230, 65.01, False),
    ],
)
async def test_device_without_identification_is_accepted_only_with_mains(
    memory_bus: MemoryBus,
    meter: SimulatedMeter,
    volts: float,
    hertz: float,
    *,
    is_mains: bool,
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    meter.override = mains_registers(volts, hertz)
    if is_mains:
        profile = await async_take_profile(memory_bus.unit())
        assert profile.identity == {}
    else:
        with pytest.raises(NotACountisError):
            await async_take_profile(memory_bus.unit())


@pytest.mark.parametrize(
    "first_register", [table.PERIODS_UNIT_100, table.OVERFLOW, table.CLOCK]
)
async def test_block_without_a_response_is_undecided_and_others_are_read(
    memory_bus: MemoryBus, first_register: int
) -> None:
    complete = await async_take_profile(memory_bus.unit())
    # The name of the block that begins at `first_register`.
    (name,) = (
        name
        for name, (block_type, *_) in BLOCK_TYPES.items()
        if block_type.register_ranges
        and block_type.register_ranges[0][0] == first_register
    )

    def fault(request: Request) -> Fault:
        # No other block begins within 20 registers.
        is_lost = first_register <= request.address < first_register + 20
        return LOST if is_lost else NO_FAULT

    memory_bus.default_fault = fault
    profile = await async_take_profile(memory_bus.unit())
    assert profile.undecided == {name}
    assert profile.outdated
    assert profile.blocks.keys() == complete.blocks.keys() - {name}


def test_profile_without_content_is_that_of_an_unknown_meter() -> None:
    profile = Profile()
    assert (profile.model, profile.family) == ("COUNTIS", None)
    assert (profile.serial_number, profile.software_version) == (None, None)
    assert profile.limits == Limits()
    assert not profile.outdated
    assert profile.tariff_count is None
    assert profile.primary_current is None
    assert all(
        not getattr(profile, name) for name in ("identity", "blocks", *SET_FIELDS)
    )


@pytest.mark.parametrize(("steps", "relations"), [(4, {"tariffs"}), (6, set())])
async def test_relation_of_the_tariffs_has_a_tolerance_of_five_steps(
    memory_bus: MemoryBus, meter: SimulatedMeter, steps: int, relations: set[str]
) -> None:
    # The relation: the sum of the tariff counters is the consumed energy.
    tariff_2 = round(meter.counters.tariffs[1] / 10)  # in steps of 10 Wh
    meter.override = {51204: 0, 51205: tariff_2 + steps}
    profile = await async_take_profile(memory_bus.unit())
    assert profile.relations - {"power"} == relations
