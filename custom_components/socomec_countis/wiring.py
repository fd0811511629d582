"""The result of the wiring check, for an action and for a notification."""

from collections.abc import Mapping, Sequence
from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.core import HomeAssistant

from .coordinator import CountisCoordinator
from .countis import Unmet, Values
from .identifiers import entity_unique_id
from .texts import async_messages

# The translation keys of the findings, by the manual's error codes.
FINDINGS = {
    0: "wiring_no_error",
    **dict.fromkeys((1, 2, 3), "wiring_current_reversed"),
    **dict.fromkeys((7, 8, 9), "wiring_voltage_swapped"),
}
# The unit of the measured value, by the condition that the value does not meet.
UNITS = {"voltage": "V", "current": "A", "load": "A", "power_factor": "", "steady": "W"}
# The quantities in the rows of the table, and their headings.
ROWS = {"voltage": "V", "current": "A", "power": "W", "power_factor": "cos φ"}


async def async_wiring_response(
    hass: HomeAssistant, coordinator: CountisCoordinator
) -> dict[str, Any]:
    """Check the wiring of a meter; return the findings, their texts and the values.

    Raises as `CountisCoordinator.async_check_wiring`.
    """
    wiring = await coordinator.async_check_wiring()
    texts = await async_messages(hass)
    return {
        "meter": coordinator.subentry.title,
        "codes": list(wiring.codes),
        "findings": [_finding(texts, code) for code in wiring.codes],
        "unmet_conditions": [
            {
                "condition": str(unmet.condition),
                "phase": unmet.phase or None,
                "value": unmet.value,
                "text": _unmet(texts, unmet),
            }
            for unmet in wiring.unmet
        ],
        "phases": list(wiring.phases),
        "values": wiring.values,
        "note": texts["wiring_note"],
    }


async def async_notify_wiring(coordinator: CountisCoordinator) -> None:
    """Check the wiring of a meter, and show the result in a notification.

    Raises as `CountisCoordinator.async_check_wiring`.
    """
    hass = coordinator.hass
    response = await async_wiring_response(hass, coordinator)
    texts = await async_messages(hass)
    lines = [f"- {finding}" for finding in response["findings"]]
    if response["unmet_conditions"]:
        lines += [texts["wiring_not_concluded"], ""]
        lines += [f"- {unmet['text']}" for unmet in response["unmet_conditions"]]
    lines += ["", *_table(response["phases"], response["values"]), "", response["note"]]
    persistent_notification.async_create(
        hass,
        "\n".join(lines),
        texts["wiring_title"].format(name=response["meter"]),
        entity_unique_id(coordinator.subentry, "wiring"),
    )


def _finding(texts: Mapping[str, str], code: int) -> str:
    # The codes 1 to 3 and 7 to 9 belong to the phases L1 to L3.
    return texts[FINDINGS[code]].format(code=code, phase=f"L{code % 6}")


def _unmet(texts: Mapping[str, str], unmet: Unmet) -> str:
    unit = UNITS[unmet.condition]
    value = "-" if unmet.value is None else f"{unmet.value:.4g} {unit}".strip()
    return texts[f"wiring_{unmet.condition}"].format(
        phase=unmet.phase.upper(), value=value
    )


def _table(phases: Sequence[str], values: Values) -> list[str]:
    """Return the lines of a table with a row per quantity and a column per phase."""
    rows = [["", *map(str.upper, phases)], ["---"] * (len(phases) + 1)]
    for quantity, heading in ROWS.items():
        cells = [values.get(f"{quantity}_{phase}") for phase in phases]
        rows.append(
            [heading, *("-" if each is None else f"{each:.5g}" for each in cells)]
        )
    return [f"| {' | '.join(row)} |" for row in rows]
