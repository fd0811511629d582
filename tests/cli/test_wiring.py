"""Tests of the command `check-wiring`.

The codes are those of the manual: 0 for no error, 1 to 3 for a reversed current of L1
to L3, and 7 to 9 for L1 to L3 swapped with the neutral.
"""

from collections.abc import Callable
import re
from typing import Any

import pytest

from cli.exit_codes import Exit
from simulator import Constant, Line, Meter, Phase

from .common import countis, countis_json

LOADED = Phase(5000)  # W
REVERSED = Phase(-5000)  # W
# In W and var. L2 has a low power factor, L3 no current, and all phases together have
# less than 20 A.
LOW_LOAD = (Phase(2000), Phase(500, 1500), Phase(0))
ARGUMENTS = ("check-wiring", "--unit-id", "1", "--readings", "2", "--port")

type Check = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def check(line: Line, meter: Meter) -> Check:
    """Return a function that sets the loads of the phases and checks the wiring."""

    def run(*phases: Phase) -> tuple[int, dict[str, Any]]:
        meter.load = Constant(*phases)
        return countis_json(*ARGUMENTS, line.port)

    return run


def test_correct_wiring_has_no_error(check: Check) -> None:
    code, result = check(LOADED, LOADED, LOADED)
    assert (code, result["codes"], result["unmet_conditions"]) == (Exit.DONE, [0], [])
    assert result["phases"] == ["l1", "l2", "l3"]


def test_reversed_current_has_the_code_of_its_phase(check: Check) -> None:
    code, result = check(REVERSED, LOADED, LOADED)
    assert (code, result["codes"]) == (Exit.NEGATIVE_RESULT, [1])
    assert result["values"]["power_l1"] == -5000


def test_swapped_neutral_has_the_code_of_its_phase(check: Check) -> None:
    # If L2 and the neutral are swapped, the other phases have 400 V.
    high = Phase(5000, volts=400)
    code, result = check(high, LOADED, high)
    assert (code, result["codes"]) == (Exit.NEGATIVE_RESULT, [8])


def test_check_with_unmet_conditions_has_no_code(check: Check) -> None:
    code, result = check(*LOW_LOAD)
    assert (code, result["codes"]) == (Exit.NEGATIVE_RESULT, [])
    assert [
        (each["condition"], each["phase"]) for each in result["unmet_conditions"]
    ] == [
        ("power_factor", "l2"),
        ("current", "l3"),
        ("load", None),
    ]


def test_single_phase_is_checked_alone(check: Check) -> None:
    absent = Phase(volts=10)  # the voltage that neighbouring conductors induce
    code, result = check(LOADED, absent, absent)
    assert (code, result["codes"], result["phases"]) == (Exit.DONE, [0], ["l1"])


def test_error_is_printed_with_its_meaning(line: Line, meter: Meter) -> None:
    meter.load = Constant(LOADED, REVERSED, LOADED)
    code, output, errors = countis(*ARGUMENTS, line.port)
    assert code == Exit.NEGATIVE_RESULT
    assert "Err 2: the current of L2 is reversed" in output
    assert "test while no power is produced" in output
    assert "qualified persons" in output
    assert "unit ID 1, reading 1 of 2, 2 s left" in errors


def test_unmet_conditions_are_printed_with_what_is_needed(
    line: Line, meter: Meter
) -> None:
    meter.load = Constant(*LOW_LOAD)
    code, output, _ = countis(*ARGUMENTS, line.port)
    assert code == Exit.NEGATIVE_RESULT
    # The power factor of L2: 500 W / 1581 VA.
    assert "L2: 0.32; a power factor from 0.6 to 1 is needed." in output
    assert "L3: 0.00 A; at least 1 A is needed." in output
    # (2000 VA + 1581 VA) / 230 V
    assert re.search(r"All phases: 15\.\d A; at least 20 A", output)
    assert "inconclusive" in output
