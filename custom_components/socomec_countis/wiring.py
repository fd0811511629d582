"""The result of the connection test, for an action and for a notification."""

from collections.abc import Mapping
from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.core import HomeAssistant

from .coordinator import CountisCoordinator
from .countis import Unmet, Wiring
from .identifiers import entity_unique_id
from .texts import async_messages

# Where the manual's codes have their texts.
FINDINGS = {
    0: "wiring_no_error",
    1: "wiring_current_reversed",
    2: "wiring_current_reversed",
    3: "wiring_current_reversed",
    7: "wiring_voltage_swapped",
    8: "wiring_voltage_swapped",
    9: "wiring_voltage_swapped",
}
UNITS = {"voltage": "V", "current": "A", "load": "A", "power_factor": "", "steady": "W"}
QUANTITIES = {"voltage": "V", "current": "A", "power": "W", "power_factor": ""}


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
    wiring = await coordinator.async_check_wiring()
    texts = await async_messages(hass)
    lines = [f"- {_finding(texts, code)}" for code in wiring.codes]
    if wiring.unmet:
        lines += [texts["wiring_not_concluded"], ""]
        lines += [f"- {_unmet(texts, unmet)}" for unmet in wiring.unmet]
    lines += ["", *_table(wiring), "", texts["wiring_note"]]
    title = texts["wiring_title"].format(name=coordinator.subentry.title)
    persistent_notification.async_create(
        hass,
        "\n".join(lines),
        title,
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


def _table(wiring: Wiring) -> list[str]:
    """Return the values as a table: a row a quantity, a column a phase."""
    rows = [
        "| | " + " | ".join(phase.upper() for phase in wiring.phases) + " |",
        "|---|" + "---|" * len(wiring.phases),
    ]
    for quantity, unit in QUANTITIES.items():
        cells = [
            "-"
            if (value := wiring.values.get(f"{quantity}_{phase}")) is None
            else f"{value:.5g}"
            for phase in wiring.phases
        ]
        name = unit or "cos φ"
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows
