"""The repair issues of the integration."""

import logging
from typing import TYPE_CHECKING, Any

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir

from .connection import endpoint_name, line_settings
from .const import DOMAIN
from .countis import Correction
from .identifiers import entity_unique_id

if TYPE_CHECKING:
    from .coordinator import CountisCoordinator

_LOGGER = logging.getLogger(__name__)

ANOTHER_METER = "another_meter"
METER_OFFLINE = "meter_offline"
LINE_CONFLICT = "line_conflict"
COUNTERS_REJECTED = "counters_rejected"


def create_another_meter(
    hass: HomeAssistant, coordinator: CountisCoordinator, found: str
) -> None:
    """Offer to accept the meter that responds in the place of another one."""
    subentry = coordinator.subentry
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{ANOTHER_METER}_{subentry.subentry_id}",
        is_fixable=True,
        severity=ir.IssueSeverity.ERROR,
        translation_key=ANOTHER_METER,
        translation_placeholders={
            "name": subentry.title,
            "found": found,
            "expected": coordinator.meter.profile.serial_number or "?",
        },
        data={**_meter_data(coordinator), "found": found},
    )


def delete_another_meter(hass: HomeAssistant, subentry: ConfigSubentry) -> None:
    """Delete the issue: the right meter responds, or it is not polled any more."""
    ir.async_delete_issue(hass, DOMAIN, f"{ANOTHER_METER}_{subentry.subentry_id}")


def create_offline(hass: HomeAssistant, coordinator: CountisCoordinator) -> None:
    """Report a meter that has been offline for an hour, and what to check."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{METER_OFFLINE}_{coordinator.subentry.subentry_id}",
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=METER_OFFLINE,
        translation_placeholders={
            "name": coordinator.subentry.title,
            "unit_id": str(coordinator.meter.unit_id),
            "device": endpoint_name(coordinator.config_entry.data),
        },
    )


def delete_offline(hass: HomeAssistant, subentry: ConfigSubentry) -> None:
    """Delete the issue: the meter responds, or it is not polled any more."""
    ir.async_delete_issue(hass, DOMAIN, f"{METER_OFFLINE}_{subentry.subentry_id}")


def create_rejected(hass: HomeAssistant, coordinator: CountisCoordinator) -> None:
    """Report counters that have been rejected for long, and offer to accept them."""
    subentry = coordinator.subentry
    _LOGGER.warning(
        "%s: counters were not accepted for a while (last accepted, reading): %s",
        subentry.title,
        coordinator.rejected_counters,
    )
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{COUNTERS_REJECTED}_{subentry.subentry_id}",
        is_fixable=True,
        severity=ir.IssueSeverity.ERROR,
        translation_key=COUNTERS_REJECTED,
        translation_placeholders={
            "name": subentry.title,
            "counters": rejected_counters(hass, coordinator),
        },
        data=_meter_data(coordinator),
    )


def rejected_counters(hass: HomeAssistant, coordinator: CountisCoordinator) -> str:
    """Return a list of the rejected counters: last accepted value and reading."""
    return "\n".join(
        f"- `{_entity(hass, coordinator.subentry, name)}`:"
        f" {_shown(last)} → {_shown(reading)}"
        for name, (last, reading) in coordinator.rejected_counters.items()
    )


def _meter_data(coordinator: CountisCoordinator) -> dict[str, str | int | float | None]:
    """Return what the fix flow of a meter has to know."""
    return {
        "entry_id": coordinator.config_entry.entry_id,
        "subentry_id": coordinator.subentry.subentry_id,
        "name": coordinator.subentry.title,
    }


def delete_rejected(hass: HomeAssistant, subentry: ConfigSubentry) -> None:
    """Delete the issue: the counters are accepted, or not polled any more."""
    ir.async_delete_issue(hass, DOMAIN, f"{COUNTERS_REJECTED}_{subentry.subentry_id}")


def _entity(hass: HomeAssistant, subentry: ConfigSubentry, counter: str) -> str:
    """Return the entity ID of a counter."""
    unique_id = entity_unique_id(subentry, counter)
    entity_id = er.async_get(hass).async_get_entity_id(
        Platform.SENSOR, DOMAIN, unique_id
    )
    return entity_id or counter


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def create_line_conflict(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Report that another integration uses the port with other line settings."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{LINE_CONFLICT}_{entry.entry_id}",
        is_fixable=False,
        severity=ir.IssueSeverity.ERROR,
        translation_key=LINE_CONFLICT,
        translation_placeholders={
            "device": endpoint_name(entry.data),
            "settings": line_settings(entry.data),
        },
    )


def delete_line_conflict(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Delete the issue: the port is free, or the entry is not set up any more."""
    ir.async_delete_issue(hass, DOMAIN, f"{LINE_CONFLICT}_{entry.entry_id}")


def create_correction(
    hass: HomeAssistant, coordinator: CountisCoordinator, correction: Correction
) -> None:
    """Report that a counter changed its level, and what to do about the statistics."""
    subentry = coordinator.subentry
    _LOGGER.warning(
        "%s: %s changed from %s to %s and stayed there; accepted",
        subentry.title,
        correction.counter,
        correction.accepted,
        correction.found,
    )
    fell = correction.found < correction.accepted
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"counter_corrected_{subentry.subentry_id}_{correction.counter}",
        is_fixable=True,
        is_persistent=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key="counter_fell" if fell else "counter_jumped",
        translation_placeholders={
            "name": subentry.title,
            "entity": _entity(hass, subentry, correction.counter),
            "accepted": f"{correction.accepted:.2f}",
            "found": f"{correction.found:.2f}",
            "difference": f"{abs(correction.found - correction.accepted):.2f}",
        },
    )


def delete_issues_of(hass: HomeAssistant, identifier: str) -> None:
    """Delete all issues of an entry or subentry that is removed, by its ID."""
    issues = [
        issue_id
        for domain, issue_id in ir.async_get(hass).issues
        if domain == DOMAIN and identifier in issue_id
    ]
    for issue_id in issues:
        ir.async_delete_issue(hass, DOMAIN, issue_id)
