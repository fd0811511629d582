"""Finds phases that are connected wrongly."""

from argparse import Namespace
import asyncio
from collections.abc import Mapping
from typing import Any

from .exits import Exit
from .grids import MEASURED
from .library import countis
from .link import async_find_meter
from .output import Output, number, rounded
from .problems import ERRORS, problem
from .read import identity_of, units_of

PERIOD = 1.0

# What the manual's codes mean, and what is to be done.
CODES: Mapping[int, str] = {
    0: "no error",
    1: "the current of L1 is reversed: it runs through the meter the wrong way round",
    2: "the current of L2 is reversed: it runs through the meter the wrong way round",
    3: "the current of L3 is reversed: it runs through the meter the wrong way round",
    7: "neutral and L1 are swapped",
    8: "neutral and L2 are swapped",
    9: "neutral and L3 are swapped",
}

# Condition to what is wanted, and the decimals and unit of what was measured.
CONDITIONS: Mapping[str, tuple[str, int, str]] = {
    "voltage": ("more than 150 V", 1, " V"),
    "current": ("1 A or more", 2, " A"),
    "load": ("20 A or more in all phases together", 1, " A"),
    "power_factor": ("a power factor from 0.6 to 1", 2, ""),
    "steady": ("a power of one sign in all readings", 0, " W on average"),
}

PRODUCTION = (
    "What is produced makes a phase negative just as a reversed current does:"
    " test while nothing is."
)
QUALIFIED = "Changes to the wiring are for qualified people, with the power off."


async def async_check_wiring(entered: Namespace, output: Output) -> Exit:
    """Do the connection test of the meter's manual."""
    link, address = entered.link, entered.address
    try:
        async with link.open(entered.settings) as opened:
            meter = await async_find_meter(opened, address)
            readings = [await meter.async_measure()]
            while len(readings) < entered.readings:
                await asyncio.sleep(PERIOD)
                readings.append(await meter.async_measure())
    except ERRORS as err:
        output.fail(problem(err, link, address))
        return Exit.FAILED
    wiring = countis.check_wiring(readings)
    output.show(_as_text(wiring, meter), _as_json(wiring, meter))
    return Exit.OK if wiring.codes == (0,) else Exit.FINDING


def _as_text(wiring: countis.Wiring, meter: countis.Meter) -> str:
    parts = [
        f"{meter.profile.model} at address {meter.unit_id}, "
        + ("three phases" if len(wiring.phases) > 1 else "one phase"),
        MEASURED.text(wiring.values, units_of(meter)),
    ]
    if wiring.unmet:
        parts.append("\n".join(map(_unmet, wiring.unmet)))
        parts.append("The test means nothing until these conditions are met.")
    else:
        parts.append("\n".join(f"Err {code}: {CODES[code]}" for code in wiring.codes))
    if wiring.codes not in ((), (0,)):
        parts.append(f"{PRODUCTION}\n{QUALIFIED}")
    return "\n\n".join(parts)


def _unmet(unmet: countis.Unmet) -> str:
    wanted, decimals, unit = CONDITIONS[unmet.condition]
    where = unmet.phase.upper() or "Load"
    found = number(unmet.value, decimals) + (unit if unmet.value is not None else "")
    return f"{where}: {found}, wanted is {wanted}"


def _as_json(wiring: countis.Wiring, meter: countis.Meter) -> dict[str, Any]:
    return {
        **identity_of(meter),
        "codes": list(wiring.codes),
        "unmet": [
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
