"""What a meter measures that is wired wrong."""

from collections.abc import Sequence

from modbus_connection.tmodbus import TmodbusUnit
import pytest

from custom_components.socomec_countis import countis
from custom_components.socomec_countis.countis.registers import Measurements
from simulator import Constant, Meter, Phase, ReversedCurrent, SwappedNeutral
from simulator.wiring import miswired
from tests.common import Clock

BALANCED = Constant(Phase(2300), Phase(2300), Phase(2300))
# What the connection test of the meter's manual asks for.
LOADED = Constant(Phase(2300, 500), Phase(2500, 600), Phase(1900, 300))


async def measured(unit: TmodbusUnit) -> countis.Values:
    block = Measurements(unit)
    await block.async_update()
    return block.values


def of_phases(values: countis.Values, quantity: str) -> list[float | None]:
    return [values[f"{quantity}_l{phase}"] for phase in (1, 2, 3)]


async def test_a_reversed_current_makes_the_power_of_its_phase_negative(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = LOADED
    right = await measured(unit)
    meter.load = ReversedCurrent(LOADED, 2)
    wrong = await measured(unit)
    assert of_phases(wrong, "power") == [2300, -2500, 1900]
    assert of_phases(wrong, "reactive_power") == [500, -600, 300]
    assert wrong["power"] == 1700
    for quantity in ("voltage", "current", "apparent_power"):
        assert of_phases(wrong, quantity) == of_phases(right, quantity)
    assert wrong["voltage_l1_l2"] == right["voltage_l1_l2"]


async def test_a_swapped_neutral_makes_the_meter_measure_from_that_phase(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = SwappedNeutral(BALANCED, 1)
    values = await measured(unit)
    assert of_phases(values, "voltage") == [230, 398.37, 398.37]
    assert [values[f"voltage_{pair}"] for pair in ("l1_l2", "l2_l3", "l3_l1")] == [
        pytest.approx(volts, abs=0.011) for volts in (230, 398.37, 230)
    ]
    # The conductors carry what they did.
    assert of_phases(values, "current") == [pytest.approx(10, abs=0.0011)] * 3
    assert values["current_neutral"] == pytest.approx(0, abs=0.0011)
    # 398 V times 10 A, the one a twelfth of a turn before or behind the other.
    assert of_phases(values, "power") == [-2300, 3450, 3450]
    assert of_phases(values, "reactive_power") == [0, -1990, 1990]
    assert values["power"] == 4600


@pytest.mark.parametrize("phase", [1, 2, 3])
async def test_whichever_phase_is_swapped_reads_less_than_the_others(
    meter: Meter, unit: TmodbusUnit, phase: int
) -> None:
    meter.load = SwappedNeutral(BALANCED, phase)
    values = await measured(unit)
    swapped = [each == phase for each in (1, 2, 3)]
    assert [volts == 230 for volts in of_phases(values, "voltage")] == swapped
    assert [watts == -2300 for watts in of_phases(values, "power")] == swapped


async def test_phases_of_different_voltage_are_no_third_of_a_turn_of_one_another(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = Constant(Phase(volts=230), Phase(volts=0), Phase(volts=240))
    values = await measured(unit)
    assert of_phases(values, "voltage") == [230, 0, 240]
    assert values["voltage_l1_l2"] == 230
    assert values["voltage_l2_l3"] == pytest.approx(240, abs=0.011)
    assert values["voltage_l3_l1"] == pytest.approx(407.06, abs=0.011)
    assert of_phases(values, "current") == [0, 0, 0]


@pytest.mark.parametrize(
    ("mistakes", "codes"),
    [
        ([], (0,)),
        (["reversed-l1"], (1,)),
        (["reversed-l2"], (2,)),
        (["reversed-l1", "reversed-l3"], (1, 3)),
        (["swapped-l1"], (7,)),
        (["swapped-l2"], (8,)),
        (["swapped-l3"], (9,)),
    ],
)
async def test_the_connection_test_finds_the_mistake(
    meter: Meter, unit: TmodbusUnit, mistakes: Sequence[str], codes: tuple[int, ...]
) -> None:
    meter.load = miswired(LOADED, mistakes)
    readings = [await measured(unit), await measured(unit)]
    assert countis.check_wiring(readings).codes == codes


def test_a_meter_counts_what_it_takes_for_the_truth() -> None:
    load = Constant(Phase(3600), Phase(3600), Phase(3600))
    for miswired_load, watts in (
        (load, 10_800),
        (ReversedCurrent(load, 3), 3600),
        (SwappedNeutral(load, 3), 7200),
    ):
        clock = Clock()
        meter = Meter(load=miswired_load, clock=clock)
        clock.seconds += 1000
        assert meter.count().consumed == pytest.approx(watts / 3.6)
