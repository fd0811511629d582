"""The command `check-wiring`: phases that are connected wrongly."""

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from socomec_countis import Meter, UnmetCondition, Values, Wiring, check_wiring

from .exit_codes import Exit
from .meters import async_for_each, heading, identity_of
from .options import Selection
from .output import number, rounded
from .read import UNITS
from .tables import MEASURED

PERIOD = 1.0  # s between two readings; the meter updates its values in this time

REVERSED = (
    "the current of {phase} is reversed: the terminals {phase} and {phase}' are swapped"
)
SWAPPED = "neutral and {phase} are swapped"
CODES: Mapping[int, str] = {
    0: "no error",
    **{n: REVERSED.format(phase=f"L{n}") for n in (1, 2, 3)},
    **{n + 6: SWAPPED.format(phase=f"L{n}") for n in (1, 2, 3)},
}
"""The meaning of each code that `check_wiring` can return."""

# For each condition: its text, and the unit and decimals of the measured value.
CONDITIONS: Mapping[str, tuple[str, str, int]] = {
    "voltage": ("more than 150 V is needed", " V", 1),
    "current": ("at least 1 A is needed", " A", 2),
    "load": ("at least 20 A in total is needed", " A", 1),
    "power_factor": ("a power factor from 0.6 to 1 is needed", "", 2),
    "steady": ("a constant sign of the power is needed", " W on average", 0),
}

INCONCLUSIVE = "The test is inconclusive until these conditions are met."
PRODUCTION = (
    "Produced power is negative, like the power of a reversed current. So test while no"
    " power is produced."
)
QUALIFIED = "Only qualified persons may change the wiring, with the power off."


async def async_check_wiring(selection: Selection, reading_count: int) -> Exit:
    """Do the connection test of the manual with `reading_count` readings per meter."""

    async def check(meter: Meter) -> Exit:
        wiring = await _async_check(selection, meter, reading_count)
        _show(selection, meter, wiring)
        selection.output.write_json(_as_json(wiring, meter))
        return Exit.DONE if wiring.codes == (0,) else Exit.NEGATIVE_RESULT

    return await async_for_each(selection, check)


async def _async_check(
    selection: Selection, meter: Meter, reading_count: int
) -> Wiring:
    with selection.output.progress() as display:
        measured: list[Values] = []
        while len(measured) < reading_count:
            if measured:
                await asyncio.sleep(PERIOD)
            done = len(measured)
            display.show(
                done / reading_count,
                f"unit ID {meter.unit_id}, reading {done + 1} of {reading_count}",
                (reading_count - done) * PERIOD,
            )
            measured.append(await meter.async_measure())
    return check_wiring(measured)


def _show(selection: Selection, meter: Meter, wiring: Wiring) -> None:
    output = selection.output
    phases = "three phases" if len(wiring.phases) > 1 else "one phase"
    output.show(Text(f"{heading(meter)}, {phases}", "bold"))
    if (table := MEASURED.table(output, wiring.values, UNITS)) is not None:
        output.show(table, "")
    for unmet in wiring.unmet:
        output.show(Text(_unmet_text(unmet), "yellow"))
    if wiring.unmet:
        output.show(INCONCLUSIVE)
        return
    for code in wiring.codes:
        output.show(Text(f"Err {code}: {CODES[code]}.", "red" if code else "green"))
    if wiring.codes != (0,):
        output.show(PRODUCTION, QUALIFIED)


def _unmet_text(unmet: UnmetCondition) -> str:
    needed, unit, decimals = CONDITIONS[unmet.condition]
    phase = unmet.phase.upper() or "All phases"
    value = "not available" if unmet.value is None else number(unmet.value, decimals)
    return f"{phase}: {value}{unit if unmet.value is not None else ''}; {needed}."


def _as_json(wiring: Wiring, meter: Meter) -> dict[str, Any]:
    return {
        **identity_of(meter),
        "codes": list(wiring.codes),
        "unmet_conditions": [
            {
                "condition": str(unmet.condition),
                "phase": unmet.phase or None,
                "value": unmet.value,
            }
            for unmet in wiring.unmet
        ],
        "phases": list(wiring.phases),
        "values": rounded(wiring.values),
    }
