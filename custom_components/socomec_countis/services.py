"""The actions of the integration: set a tariff, check the wiring."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from functools import partial

import voluptuous as vol

from homeassistant.components.modbus import async_get_temporary_unit
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
from homeassistant.util.json import JsonValueType

from .connection import BUS_ERRORS, modbus_params
from .const import DOMAIN, TCP
from .coordinator import CountisCoordinator
from .countis import SET_TARIFF, async_confirm_tariff, async_set_tariff, tariffs
from .runtime import BusRuntime, CountisConfigEntry
from .texts import async_error_text
from .wiring import async_wiring_response

ATTR_TARIFF = "tariff"
BROADCAST = 0

SET_TARIFF_SCHEMA = vol.Schema(
    {
        **cv.TARGET_SERVICE_FIELDS,
        vol.Required(ATTR_TARIFF): vol.All(vol.Coerce(int), vol.Range(min=1, max=8)),
    }
)
CHECK_WIRING_SCHEMA = vol.Schema(cv.TARGET_SERVICE_FIELDS)


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
        CHECK_WIRING_SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )


async def _async_set_tariff(call: ServiceCall) -> None:
    """Set the tariff of meters, at the same moment for all meters of a bus."""
    tariff: int = call.data[ATTR_TARIFF]
    coordinators = _targeted(call)
    for coordinator in coordinators:
        if tariff not in tariffs(coordinator.meter.profile.tariff_count):
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="no_such_tariff",
                translation_placeholders={
                    "name": coordinator.subentry.title,
                    "tariff": str(tariff),
                },
            )
    buses: dict[BusRuntime, list[CountisCoordinator]] = defaultdict(list)
    for coordinator in coordinators:
        buses[coordinator.config_entry.runtime_data].append(coordinator)
    await _async_all(
        call.hass,
        *(
            _async_set_on_bus(runtime, meters, tariff)
            for runtime, meters in buses.items()
        ),
    )


async def _async_set_on_bus(
    runtime: BusRuntime, meters: Sequence[CountisCoordinator], tariff: int
) -> None:
    """Set the tariff of some meters of one bus.

    A broadcast reaches all meters of the bus at the same moment. The behaviour of a
    Modbus TCP gateway that receives one is not defined.
    """
    data = runtime.entry.data
    command = async_set_tariff
    if 1 < len(meters) == len(runtime.coordinators) and data[CONF_TYPE] != TCP:
        try:
            async with async_get_temporary_unit(
                runtime.hass, modbus_params(data), BROADCAST
            ) as client:
                await runtime.bus.async_broadcast(client, SET_TARIFF, tariff)
        except BUS_ERRORS as err:
            raise meters[0].failure(HomeAssistantError, err) from err
        command = async_confirm_tariff
    await _async_all(
        runtime.hass,
        *(meter.async_command(partial(command, tariff=tariff)) for meter in meters),
    )


async def _async_check_wiring(call: ServiceCall) -> ServiceResponse:
    """Check the wiring of meters, and return the result of each."""
    results: list[JsonValueType] = [
        *await asyncio.gather(
            *(async_wiring_response(call.hass, each) for each in _targeted(call))
        )
    ]
    return {"meters": results}


def _targeted(call: ServiceCall) -> list[CountisCoordinator]:
    """Return the meters whose devices or entities are targeted.

    Raises `ServiceValidationError` if there are none, or one is not set up.
    """
    hass = call.hass
    selected = async_extract_referenced_entity_ids(hass, TargetSelection(call.data))
    entities, devices = er.async_get(hass), dr.async_get(hass)
    subentry_ids = {
        entity.config_subentry_id
        for entity_id in selected.referenced | selected.indirectly_referenced
        if (entity := entities.async_get(entity_id)) and entity.platform == DOMAIN
    }
    for device_id in selected.referenced_devices:
        if device := devices.async_get(device_id):
            for subentries in device.config_entries_subentries.values():
                subentry_ids |= subentries
    coordinators: list[CountisCoordinator] = []
    entries: list[CountisConfigEntry] = hass.config_entries.async_entries(DOMAIN)
    for entry in entries:
        targeted = [each for each in entry.subentries if each in subentry_ids]
        if targeted and entry.state is not ConfigEntryState.LOADED:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="not_set_up",
                translation_placeholders={"name": entry.title},
            )
        coordinators += [entry.runtime_data.coordinators[each] for each in targeted]
    if not coordinators:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="no_meter_targeted"
        )
    return coordinators


async def _async_error(command: Awaitable[None]) -> HomeAssistantError | None:
    try:
        await command
    except HomeAssistantError as err:
        return err
    return None


async def _async_all(hass: HomeAssistant, *commands: Awaitable[None]) -> None:
    """Do everything at once, then raise what failed, all of it in one error."""
    outcomes = await asyncio.gather(*map(_async_error, commands))
    errors = [error for error in outcomes if error]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="several_errors",
            translation_placeholders={
                "errors": "\n".join(
                    [f"- {await async_error_text(hass, error)}" for error in errors]
                )
            },
        )
