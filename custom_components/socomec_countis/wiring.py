"""The result of the connection test, for an action and for a notification."""

from collections.abc import Mapping, Sequence
from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.core import HomeAssistant

from .coordinator import CountisCoordinator
from .countis import Unmet, Values
from .identifiers import entity_unique_id
from .texts import async_messages

# Where the manual's codes have their texts.
FINDINGS = {
    0: "wiring_no_error",
    **dict.fromkeys((1, 2, 3), "wiring_current_reversed"),
    **dict.fromkeys((7, 8, 9), "wiring_voltage_swapped"),
}
UNITS = {"voltage": "V", "current": "A", "load": "A", "power_factor": "", "steady": "W"}
ROWS = {"voltage": "V", "current": "A", "power": "W", "power_factor": "cos φ"}


async def async_wiring_response(
    hass: HomeAssistant, coordinator: CountisCoordinator
) -> dict[str, Any]:
    """Test the wiring of a meter; return the finding, its texts and the values.

    Raises `HomeAssistantError` as the test does.
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
    """Test the wiring of a meter, and show the result in a notification.

    Raises `HomeAssistantError` as the test does.
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
    # The phase is the rest: 1 and 7 are L1.
    return texts[FINDINGS[code]].format(code=code, phase=f"L{code % 6}")


def _unmet(texts: Mapping[str, str], unmet: Unmet) -> str:
    unit = UNITS[unmet.condition]
    value = "-" if unmet.value is None else f"{unmet.value:.4g} {unit}".strip()
    return texts[f"wiring_{unmet.condition}"].format(
        phase=unmet.phase.upper(), value=value
    )


def _table(phases: Sequence[str], values: Values) -> list[str]:
    """Return the values as a table: a row a quantity, a column a phase."""
    rows = [["", *map(str.upper, phases)], ["---"] * (len(phases) + 1)]
    for quantity, heading in ROWS.items():
        cells = [values.get(f"{quantity}_{phase}") for phase in phases]
        rows.append(
            [heading, *("-" if each is None else f"{each:.5g}" for each in cells)]
        )
    return [f"| {' | '.join(row)} |" for row in rows]
