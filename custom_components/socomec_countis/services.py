"""The actions: set a tariff, check the wiring, fill a gap in the statistics.

Each action has meters as targets.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence

import voluptuous as vol

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_TYPE
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.target import (
    TargetSelection,
    async_extract_referenced_entity_ids,
)
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonValueType

from .connection import BUS_ERRORS, temporary_client
from .const import DOMAIN, TCP
from .coordinator import CountisCoordinator
from .countis import SET_TARIFF, async_confirm_tariff, async_set_tariff, tariffs
from .gap_texts import gap_response, restored_response
from .runtime import BusRuntime, CountisConfigEntry
from .texts import async_error_text, translated_error
from .wiring import async_run_wiring_check

ATTR_TARIFF = "tariff"
ATTR_START = "start"
ATTR_END = "end"
ATTR_RESTORE = "restore"
BROADCAST_ID = 0  # all devices of a bus receive a request to this unit ID

SET_TARIFF_SCHEMA = vol.Schema(
    {
        **cv.TARGET_SERVICE_FIELDS,
        vol.Required(ATTR_TARIFF): vol.All(vol.Coerce(int), vol.Range(min=1)),
    }
)

FILL_GAP_SCHEMA = vol.Schema(
    {
        **cv.TARGET_SERVICE_FIELDS,
        vol.Required(ATTR_START): cv.datetime,
        vol.Required(ATTR_END): cv.datetime,
        vol.Optional(ATTR_RESTORE, default=False): cv.boolean,
    }
)


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    hass.services.async_register(
        DOMAIN, "set_tariff", _async_set_tariff, SET_TARIFF_SCHEMA
    )
    hass.services.async_register(
        DOMAIN,
        "check_wiring",
        _async_check_wiring,
        vol.Schema(cv.TARGET_SERVICE_FIELDS),
        supports_response=SupportsResponse.ONLY,
    )
    hass.services.async_register(
        DOMAIN,
        "fill_gap",
        _async_fill_gap,
        FILL_GAP_SCHEMA,
        supports_response=SupportsResponse.OPTIONAL,
    )


async def _async_set_tariff(call: ServiceCall) -> None:
    """Set the tariff of the targeted meters, on all their buses at the same time.

    Raises the same errors as `_targeted_meters`. Raises `ServiceValidationError` if a
    meter does not have the tariff, and `HomeAssistantError` if the tariff of a meter
    cannot be set.
    """
    tariff: int = call.data[ATTR_TARIFF]
    buses: dict[BusRuntime, list[CountisCoordinator]] = defaultdict(list)
    for coordinator in _targeted_meters(call):
        possible = tariffs(coordinator.meter.profile.tariff_count)
        if tariff not in possible:
            raise translated_error(
                ServiceValidationError,
                "no_such_tariff",
                name=coordinator.subentry.title,
                tariff=str(tariff),
                count=str(len(possible)),
            )
        buses[coordinator.config_entry.runtime_data].append(coordinator)
    outcomes = await _async_outcomes(
        _async_set_tariff_on_bus(runtime, coordinators, tariff)
        for runtime, coordinators in buses.items()
    )
    await _async_raise_errors(call.hass, outcomes)


async def _async_set_tariff_on_bus(
    runtime: BusRuntime, coordinators: Sequence[CountisCoordinator], tariff: int
) -> None:
    """Set the tariff of the targeted meters of one bus.

    If several meters of the bus are set up, and all of them are targeted, a broadcast
    sets their tariffs at the same moment. The broadcast also reaches meters of the bus
    that are not set up. A Modbus TCP gateway gets no broadcast, because the Modbus
    standard does not define how a gateway handles a broadcast.
    """
    data = runtime.entry.data
    command = async_set_tariff
    are_all_targeted = len(coordinators) == len(runtime.coordinators)
    if are_all_targeted and len(coordinators) > 1 and data[CONF_TYPE] != TCP:
        try:
            async with temporary_client(runtime.hass, data, BROADCAST_ID) as client:
                await runtime.bus.async_broadcast(client, SET_TARIFF, tariff)
        except BUS_ERRORS as err:
            # The text of the error may need a unit ID. A broadcast has no single
            # target, so the text gets the unit ID of the first meter.
            raise coordinators[0].failure(HomeAssistantError, err) from err
        command = async_confirm_tariff
    outcomes = await _async_outcomes(
        each.async_change_tariff(tariff, command) for each in coordinators
    )
    await _async_raise_errors(runtime.hass, outcomes)


async def _async_check_wiring(call: ServiceCall) -> ServiceResponse:
    """Check the wiring of the targeted meters; return a result or error for each meter.

    Raises `HomeAssistantError` if no meter could be checked.
    """
    hass = call.hass
    coordinators = _targeted_meters(call)
    outcomes = await _async_outcomes(
        async_run_wiring_check(hass, each) for each in coordinators
    )
    if all(isinstance(each, HomeAssistantError) for each in outcomes):
        await _async_raise_errors(hass, outcomes)
    results: list[JsonValueType] = [
        {"meter": each.subentry.title, "error": await async_error_text(hass, outcome)}
        if isinstance(outcome, HomeAssistantError)
        else outcome
        for each, outcome in zip(coordinators, outcomes, strict=True)
    ]
    return {"meters": results}


async def _async_fill_gap(call: ServiceCall) -> ServiceResponse:
    """Fill a gap in the statistics of the targeted meters, or undo earlier fillings.

    The call contains the beginning and the end of the gap. If `restore` is set, the
    overwritten statistics of all filled gaps between these times are restored.
    Returns the energy of each filled hour, or the restored gaps. Raises the same
    errors as `_targeted_meters`. Raises `ServiceValidationError` if the recorder is not
    set up. Raises `HomeAssistantError` if the gap of a meter cannot be filled, or if
    there is no filled gap to restore.
    """
    hass = call.hass
    coordinators = _targeted_meters(call)
    if "recorder" not in hass.config.components:
        raise translated_error(ServiceValidationError, "no_recorder")
    begin, end = (
        dt_util.as_utc(call.data[key]).timestamp() for key in (ATTR_START, ATTR_END)
    )
    # If an error occurs for a meter, the changed statistics of the previous meters
    # remain.
    results: list[JsonValueType] = []
    for coordinator in coordinators:
        if call.data[ATTR_RESTORE]:
            restored = await coordinator.meter_gaps.async_restore(begin, end)
            results.append(restored_response(coordinator.subentry.title, restored))
        else:
            gap, plans = await coordinator.meter_gaps.async_fill_between(begin, end)
            results.append(gap_response(coordinator.subentry.title, gap, plans))
    return {"meters": results}


def _targeted_meters(call: ServiceCall) -> list[CountisCoordinator]:
    """Return the meters whose devices or entities are targeted.

    Disabled devices are left out, as in the actions of Home Assistant. Raises
    `ServiceValidationError` if no meter remains, or if the bus of a targeted meter is
    not loaded.
    """
    hass = call.hass
    selected = async_extract_referenced_entity_ids(hass, TargetSelection(call.data))
    entities, devices = er.async_get(hass), dr.async_get(hass)
    device_ids = selected.referenced_devices | {
        entity.device_id
        for entity_id in selected.referenced | selected.indirectly_referenced
        if (entity := entities.async_get(entity_id))
        and entity.platform == DOMAIN
        and entity.device_id
    }
    subentry_ids = {
        device.config_subentry_id
        for device_id in device_ids
        if (device := devices.async_get(device_id)) and not device.disabled
    }
    coordinators: list[CountisCoordinator] = []
    entries: list[CountisConfigEntry] = hass.config_entries.async_entries(DOMAIN)
    for entry in entries:
        targeted_ids = [each for each in entry.subentries if each in subentry_ids]
        if targeted_ids and entry.state is not ConfigEntryState.LOADED:
            raise translated_error(
                ServiceValidationError, "not_set_up", name=entry.title
            )
        coordinators += [entry.runtime_data.coordinators[each] for each in targeted_ids]
    if not coordinators:
        raise translated_error(ServiceValidationError, "no_meter_targeted")
    return coordinators


async def _async_outcomes[T](
    commands: Iterable[Awaitable[T]],
) -> list[T | HomeAssistantError]:
    """Run `commands` at the same time; return a result or error for each command.

    A `HomeAssistantError` is returned. Any other error is raised.
    """

    async def outcome(command: Awaitable[T]) -> T | HomeAssistantError:
        try:
            return await command
        except HomeAssistantError as err:
            return err

    return await asyncio.gather(*map(outcome, commands))


async def _async_raise_errors(hass: HomeAssistant, outcomes: Iterable[object]) -> None:
    """Raise the error among `outcomes`, if there is one.

    If there are several errors, the raised error contains the texts of all of them.
    """
    errors = [each for each in outcomes if isinstance(each, HomeAssistantError)]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        texts = [f"- {await async_error_text(hass, error)}" for error in errors]
        raise translated_error(
            HomeAssistantError, "several_errors", errors="\n".join(texts)
        )
