"""Measurements of meters with wiring errors."""

from collections.abc import Sequence

from modbus_connection.tmodbus import TmodbusUnit
import pytest

from custom_components.socomec_countis import countis
from custom_components.socomec_countis.countis.registers import Measurements
from simulator import Constant, Meter, Phase, ReversedCurrent, SwappedNeutral
from simulator.wiring import with_wiring_errors
from tests.common import Clock

BALANCED = Constant(Phase(2300), Phase(2300), Phase(2300))
# A load that meets the conditions of the manual's connection test.
LOADED = Constant(Phase(2300, 500), Phase(2500, 600), Phase(1900, 300))


async def async_measurements(unit: TmodbusUnit) -> countis.Values:
    """Return all measurements."""
    block = Measurements(unit)
    await block.async_update()
    return block.values


def by_phase(values: countis.Values, quantity: str) -> list[float | None]:
    """Return the value of a quantity in each phase."""
    return [values[f"{quantity}_l{phase}"] for phase in (1, 2, 3)]


async def test_reversed_current_inverts_power_of_its_phase(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = LOADED
    correct = await async_measurements(unit)
    meter.load = ReversedCurrent(LOADED, 2)
    wrong = await async_measurements(unit)
    assert by_phase(wrong, "power") == [2300, -2500, 1900]
    assert by_phase(wrong, "reactive_power") == [500, -600, 300]
    assert wrong["power"] == 1700
    for quantity in ("voltage", "current", "apparent_power"):
        assert by_phase(wrong, quantity) == by_phase(correct, quantity)
    assert wrong["voltage_l1_l2"] == correct["voltage_l1_l2"]


async def test_voltages_refer_to_the_phase_swapped_with_the_neutral(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = SwappedNeutral(BALANCED, 1)
    values = await async_measurements(unit)
    assert by_phase(values, "voltage") == [230, 398.37, 398.37]
    assert [values[f"voltage_{pair}"] for pair in ("l1_l2", "l2_l3", "l3_l1")] == [
        pytest.approx(volts, abs=0.011) for volts in (230, 398.37, 230)
    ]
    # The currents do not change.
    assert by_phase(values, "current") == [pytest.approx(10, abs=0.0011)] * 3
    assert values["current_neutral"] == pytest.approx(0, abs=0.0011)
    # L2 and L3: 398 V times 10 A, with 30 degrees between voltage and current.
    assert by_phase(values, "power") == [-2300, 3450, 3450]
    assert by_phase(values, "reactive_power") == [0, -1990, 1990]
    assert values["power"] == 4600


@pytest.mark.parametrize("phase", [1, 2, 3])
async def test_swapped_phase_has_lowest_voltage_and_negative_power(
    meter: Meter, unit: TmodbusUnit, phase: int
) -> None:
    meter.load = SwappedNeutral(BALANCED, phase)
    values = await async_measurements(unit)
    swapped = [each == phase for each in (1, 2, 3)]
    assert [volts == 230 for volts in by_phase(values, "voltage")] == swapped
    assert [watts == -2300 for watts in by_phase(values, "power")] == swapped


async def test_phase_to_phase_voltages_follow_from_unequal_phase_voltages(
    meter: Meter, unit: TmodbusUnit
) -> None:
    meter.load = Constant(Phase(volts=230), Phase(volts=0), Phase(volts=240))
    values = await async_measurements(unit)
    assert by_phase(values, "voltage") == [230, 0, 240]
    assert values["voltage_l1_l2"] == 230
    assert values["voltage_l2_l3"] == pytest.approx(240, abs=0.011)
    # 230 V and 240 V with an angle of 120 degrees between them.
    assert values["voltage_l3_l1"] == pytest.approx(407.06, abs=0.011)
    assert by_phase(values, "current") == [0, 0, 0]


@pytest.mark.parametrize(
    ("errors", "codes"),  # the codes of the manual, 0 for no error
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
async def test_connection_test_finds_wiring_error(
    meter: Meter, unit: TmodbusUnit, errors: Sequence[str], codes: tuple[int, ...]
) -> None:
    meter.load = with_wiring_errors(LOADED, errors)
    readings = [await async_measurements(unit), await async_measurements(unit)]
    assert countis.check_wiring(readings).codes == codes


def test_meter_with_wiring_error_counts_energy_of_wrong_power() -> None:
    load = Constant(Phase(3600), Phase(3600), Phase(3600))
    for measured_load, watts in (
        (load, 10_800),
        (ReversedCurrent(load, 3), 3600),  # 3600 + 3600 - 3600
        # L1 and L2 have sqrt(3) times the voltage, with an angle of 30 degrees to the
        # current. So both have 1.5 times the power: 5400 + 5400 - 3600.
        (SwappedNeutral(load, 3), 7200),
    ):
        clock = Clock()
        meter = Meter(load=measured_load, true_time=clock)
        clock.seconds += 1000
        assert meter.count().consumed == pytest.approx(watts / 3.6)  # Wh in 1000 s
