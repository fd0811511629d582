"""What a user is told about, and has to decide."""

import logging

from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS, Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir

from .connection import endpoint_name, line_settings, modbus_params
from .const import CONF_SERIAL_NUMBER, DOMAIN
from .countis import Correction
from .identifiers import entity_unique_id

_LOGGER = logging.getLogger(__name__)

ANOTHER_METER = "another_meter"
METER_SILENT = "meter_silent"
LINE_CONFLICT = "line_conflict"
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


def tell_silence(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Tell that a meter has not answered for an hour, and what to check."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{METER_SILENT}_{entry.entry_id}",
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=METER_SILENT,
        translation_placeholders={
            "name": entry.title,
            "address": str(entry.data[CONF_ADDRESS]),
            "device": endpoint_name(entry.data),
        },
    )


def clear_silence(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Withdraw it: the meter answers, or is not polled any more."""
    ir.async_delete_issue(hass, DOMAIN, f"{METER_SILENT}_{entry.entry_id}")


def tell_line_conflict(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Tell that somebody else uses an entry's port with other line settings."""
    others = [
        other.title
        for connection in async_get_connection_info(hass)
        if connection.endpoint == modbus_params(entry.data).endpoint
        for entry_id in connection.units
        if (other := hass.config_entries.async_get_entry(entry_id)) is not None
    ]
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{LINE_CONFLICT}_{entry.entry_id}",
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=LINE_CONFLICT,
        translation_placeholders={
            "name": entry.title,
            "device": endpoint_name(entry.data),
            "settings": line_settings(entry.data),
            "others": ", ".join(others) or "?",
        },
    )


def clear_line_conflict(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Withdraw it: the line is the entry's, or the entry is gone."""
    ir.async_delete_issue(hass, DOMAIN, f"{LINE_CONFLICT}_{entry.entry_id}")


def clear_all(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Withdraw everything that was told of an entry that is removed."""
    told = [
        issue_id
        for domain, issue_id in ir.async_get(hass).issues
        if domain == DOMAIN and entry.entry_id in issue_id
    ]
    for issue_id in told:
        ir.async_delete_issue(hass, DOMAIN, issue_id)


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
