"""What a user is told about, and has to decide."""

import logging

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir

from .const import CONF_SERIAL_NUMBER, DOMAIN
from .countis import Correction
from .identifiers import entity_unique_id

_LOGGER = logging.getLogger(__name__)

ANOTHER_METER = "another_meter"
STATISTICS_PAGE = "https://my.home-assistant.io/redirect/developer_statistics/"


def tell_another_meter(hass: HomeAssistant, entry: ConfigEntry, found: str) -> None:
    """Offer to accept the meter that has taken the place of an entry's."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{ANOTHER_METER}_{entry.entry_id}",
        is_fixable=True,
        severity=ir.IssueSeverity.ERROR,
        translation_key=ANOTHER_METER,
        translation_placeholders={
            "name": entry.title,
            "found": found,
            "expected": entry.data[CONF_SERIAL_NUMBER],
        },
        data={"entry_id": entry.entry_id, "found": found},
    )


def clear_another_meter(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Withdraw the offer: the entry's own meter is back, or the entry is gone."""
    ir.async_delete_issue(hass, DOMAIN, f"{ANOTHER_METER}_{entry.entry_id}")


def tell_correction(
    hass: HomeAssistant, entry: ConfigEntry, correction: Correction
) -> None:
    """Tell what became of the statistics when a counter changed its level."""
    _LOGGER.warning(
        "%s: %s is at %s, after %s; believed, as it lasts",
        entry.title,
        correction.counter,
        correction.found,
        correction.believed,
    )
    fell = correction.found < correction.believed
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"counter_corrected_{entry.entry_id}_{correction.counter}",
        is_fixable=True,
        is_persistent=True,
        learn_more_url=STATISTICS_PAGE,
        severity=ir.IssueSeverity.WARNING,
        translation_key="counter_fell" if fell else "counter_jumped",
        translation_placeholders={
            "name": entry.title,
            "entity": er.async_get(hass).async_get_entity_id(
                Platform.SENSOR, DOMAIN, entity_unique_id(entry, correction.counter)
            )
            or correction.counter,
            "believed": f"{correction.believed:.2f}",
            "found": f"{correction.found:.2f}",
            "difference": f"{abs(correction.found - correction.believed):.2f}",
        },
    )
