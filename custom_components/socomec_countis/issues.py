"""The repair issues of the integration. `repairs.py` has their fix flows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .countis import Correction
from .gap import Gap
from .identifiers import entity_unique_id
from .texts import energy_text, entity_name

if TYPE_CHECKING:
    from .coordinator import CountisCoordinator, RejectedCounters

# The kinds of issues. A kind is the translation key and the beginning of the issue ID.
ANOTHER_METER = "another_meter"
LINE_CONFLICT = "line_conflict"
COUNTERS_REJECTED = "counters_rejected"
GAP = "gap"

# Kinds in pairs: the first is for a bus on a serial port, the second for a bus behind a
# gateway.
METER_OFFLINE = ("meter_offline", "meter_offline_behind_gateway")
BUS_OFFLINE = ("bus_offline", "bus_offline_behind_gateway")
# Of the kinds that `create_issue` creates, these have a fix flow.
FIXABLE = {ANOTHER_METER, COUNTERS_REJECTED}


def create_issue(
    hass: HomeAssistant, kind: str, owner_id: str, **placeholders: str
) -> None:
    """Create or update an issue of an entry or subentry.

    `owner_id` is the ID of the entry or subentry. If the issue has a fix flow, the flow
    gets this ID and the placeholders as its data.
    """
    is_warning = kind in METER_OFFLINE + BUS_OFFLINE
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{kind}_{owner_id}",
        is_fixable=kind in FIXABLE,
        severity=ir.IssueSeverity.WARNING if is_warning else ir.IssueSeverity.ERROR,
        translation_key=kind,
        translation_placeholders=placeholders,
        data={"owner_id": owner_id, **placeholders},
    )


def create_meter_issue(
    coordinator: CountisCoordinator, kind: str, **placeholders: str
) -> None:
    """Create or update an issue of a meter.

    The title of the meter is added to the placeholders, as `name`.
    """
    subentry = coordinator.subentry
    placeholders["name"] = subentry.title
    create_issue(coordinator.hass, kind, subentry.subentry_id, **placeholders)


def create_rejected_issue(
    coordinator: CountisCoordinator, rejected: RejectedCounters
) -> None:
    """Create or update the issue that lists the rejected counters of a meter."""
    language = coordinator.hass.config.language
    lines = [
        f"- `{_entity_id(coordinator, name)}`:"
        f" {_optional_energy_text(last, name, language)}"
        f" → {_optional_energy_text(reading, name, language)}"
        for name, (last, reading) in rejected.items()
    ]
    create_meter_issue(coordinator, COUNTERS_REJECTED, counters="\n".join(lines))


def create_correction_issue(
    coordinator: CountisCoordinator, correction: Correction
) -> None:
    """Create the issue for a counter whose implausible fall or jump was accepted."""
    change = correction.found - correction.accepted
    counter = correction.counter
    entity_id = _entity_id(coordinator, counter)
    subentry = coordinator.subentry
    language = coordinator.hass.config.language
    ir.async_create_issue(
        coordinator.hass,
        DOMAIN,
        f"counter_corrected_{subentry.subentry_id}_{counter}",
        is_fixable=True,
        is_persistent=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key="counter_fell" if change < 0 else "counter_jumped",
        translation_placeholders={
            "name": subentry.title,
            "counter": entity_name(coordinator.hass, entity_id),
            "entity": entity_id,
            "accepted": energy_text(correction.accepted, counter, language),
            "found": energy_text(correction.found, counter, language),
            "difference": energy_text(abs(change), counter, language),
        },
    )


def create_gap_issue(
    coordinator: CountisCoordinator, gap: Gap, placeholders: Mapping[str, str]
) -> None:
    """Create the issue that proposes to fill a gap.

    `placeholders` is the result of `gap_period` for this gap.
    """
    subentry_id = coordinator.subentry.subentry_id
    ir.async_create_issue(
        coordinator.hass,
        DOMAIN,
        _gap_issue_id(coordinator, gap),
        is_fixable=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key=GAP,
        translation_placeholders={"name": coordinator.subentry.title, **placeholders},
        data={
            "owner_id": subentry_id,
            "name": coordinator.subentry.title,
            "begin": gap.begin,
        },
    )


def delete_gap_issue(coordinator: CountisCoordinator, gap: Gap) -> None:
    """Delete the issue for a gap that was filled or discarded."""
    issue_id = _gap_issue_id(coordinator, gap)
    ir.async_delete_issue(coordinator.hass, DOMAIN, issue_id)


def _gap_issue_id(coordinator: CountisCoordinator, gap: Gap) -> str:
    return f"{GAP}_{coordinator.subentry.subentry_id}_{gap.begin:.0f}"


def _entity_id(coordinator: CountisCoordinator, counter: str) -> str:
    """Return the entity ID of a counter, or `counter` if the counter has no entity."""
    unique_id = entity_unique_id(coordinator.subentry, counter)
    entities = er.async_get(coordinator.hass)
    return entities.async_get_entity_id(Platform.SENSOR, DOMAIN, unique_id) or counter


def _optional_energy_text(value: float | None, counter: str, language: str) -> str:
    return "?" if value is None else energy_text(value, counter, language)


def delete_issues(hass: HomeAssistant, owner_id: str, *kinds: str) -> None:
    """Delete the issues of these kinds that an entry or subentry has."""
    for kind in kinds:
        ir.async_delete_issue(hass, DOMAIN, f"{kind}_{owner_id}")


def delete_all_issues(hass: HomeAssistant, owner_id: str) -> None:
    """Delete all issues of a removed entry or subentry."""
    issues = ir.async_get(hass).issues
    for key in [key for key in issues if key[0] == DOMAIN and owner_id in key[1]]:
        ir.async_delete_issue(hass, *key)
