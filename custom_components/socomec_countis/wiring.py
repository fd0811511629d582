"""The wiring check of a meter, with its result as texts.

`countis/wiring.py` calculates the result. An action returns the result, a button shows
it in a notification, and the sensor of `wiring_sensor.py` keeps it.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util

from .coordinator import WIRING_READINGS, WIRING_SECONDS, CountisCoordinator
from .countis import UnmetCondition, Values
from .identifiers import entity_unique_id
from .texts import async_messages, localized

# The translation keys of the findings, by error code of the manual. The manual has no
# codes 4 to 6.
FINDINGS = {
    0: "wiring_no_error",
    **dict.fromkeys((1, 2, 3), "wiring_current_reversed"),
    **dict.fromkeys((7, 8, 9), "wiring_voltage_swapped"),
}
# By condition: the unit of the measured value that does not meet the condition. The
# value of `load` is the total current of all phases. The value of `steady` is the power
# of a phase.
UNITS = {"voltage": "V", "current": "A", "load": "A", "power_factor": "", "steady": "W"}
# The headings of the rows of the table in the notification, by quantity.
ROWS = {"voltage": "V", "current": "A", "power": "W", "power_factor": "cos φ"}
# In s; the sum of the pauses. A check takes a little longer, because of the requests.
WIRING_DURATION = (WIRING_READINGS - 1) * WIRING_SECONDS


async def async_run_wiring_check(
    hass: HomeAssistant, coordinator: CountisCoordinator
) -> dict[str, Any]:
    """Check the wiring of a meter; return the meter's part of an action's response.

    The sensor `wiring` gets a result that is shorter than the response, with the time
    of the check. If a reading fails, the sensor keeps its previous result. A second
    check of a meter waits until the first one ends. Raises `HomeAssistantError` if a
    reading fails.
    """
    texts = await async_messages(hass)
    language = hass.config.language
    async with coordinator.wiring_lock:
        result: dict[str, Any] | None = None
        coordinator.show_wiring(None, is_checking=True)
        try:
            wiring = await coordinator.async_check_wiring()
            # The sensor gets only the text of each condition that is not met. The
            # response below also contains the condition, its phase and the measured
            # value.
            result = {
                "checked_at": dt_util.now().isoformat(timespec="seconds"),
                "codes": list(wiring.codes),
                "findings": [_finding_text(texts, code) for code in wiring.codes],
                "unmet_conditions": [
                    _unmet_text(texts, unmet, language) for unmet in wiring.unmet
                ],
            }
        finally:
            coordinator.show_wiring(result, is_checking=False)
    return {
        "meter": coordinator.subentry.title,
        "codes": result["codes"],
        "findings": result["findings"],
        "unmet_conditions": [
            {
                "condition": str(unmet.condition),
                "phase": unmet.phase or None,
                "value": unmet.value,
                "text": text,
            }
            for unmet, text in zip(
                wiring.unmet, result["unmet_conditions"], strict=True
            )
        ],
        "phases": list(wiring.phases),
        "values": wiring.values,
        "note": texts["wiring_note"],
    }


async def async_notify_wiring(coordinator: CountisCoordinator) -> None:
    """Check the wiring of a meter, and show the result in a notification.

    The check takes some seconds, so a first notification shows that it runs. Raises
    `HomeAssistantError` if a reading fails.
    """
    hass = coordinator.hass
    texts = await async_messages(hass)
    notification_id = entity_unique_id(coordinator.subentry, "wiring")

    def notify(message: str) -> None:
        title = texts["wiring_title"].format(name=coordinator.subentry.title)
        persistent_notification.async_create(hass, message, title, notification_id)

    notify(texts["wiring_checking"].format(seconds=round(WIRING_DURATION)))
    try:
        response = await async_run_wiring_check(hass, coordinator)
    except HomeAssistantError:
        persistent_notification.async_dismiss(hass, notification_id)
        raise
    lines = [f"- {finding}" for finding in response["findings"]]
    if response["unmet_conditions"]:
        lines += [texts["wiring_not_concluded"], ""]
        lines += [f"- {unmet['text']}" for unmet in response["unmet_conditions"]]
    table = _table(response["phases"], response["values"], hass.config.language)
    notify("\n".join([*lines, "", *table, "", response["note"]]))


def _finding_text(texts: Mapping[str, str], code: int) -> str:
    # L1 has the codes 1 and 7, L2 has 2 and 8, L3 has 3 and 9. The text of code 0 does
    # not contain the phase.
    return texts[FINDINGS[code]].format(code=code, phase=f"L{code % 6}")


def _unmet_text(texts: Mapping[str, str], unmet: UnmetCondition, language: str) -> str:
    value = "-"
    if unmet.value is not None:
        number = _number_text(unmet.value, 4, language)
        value = f"{number} {UNITS[unmet.condition]}".strip()
    return texts[f"wiring_{unmet.condition}"].format(
        phase=unmet.phase.upper(), value=value
    )


def _table(phases: Sequence[str], values: Values, language: str) -> list[str]:
    """Return the lines of a Markdown table: a row per quantity, a column per phase."""
    rows = [["", *map(str.upper, phases)], ["---"] * (len(phases) + 1)]
    for quantity, heading in ROWS.items():
        cells = [values.get(f"{quantity}_{phase}") for phase in phases]
        shown = [
            "-" if each is None else _number_text(each, 5, language) for each in cells
        ]
        rows.append([heading, *shown])
    return [f"| {' | '.join(row)} |" for row in rows]


def _number_text(value: float, digits: int, language: str) -> str:
    """Return a value with this number of significant digits, without an exponent."""
    return localized(f"{Decimal(f'{value:.{digits}g}'):f}", language)
