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
from homeassistant.helpers.service import async_extract_config_entry_ids
from homeassistant.util.json import JsonValueType

from .connection import LINE_ERRORS, REQUEST_TIMEOUT, endpoint, modbus_params
from .const import DOMAIN, TCP
from .coordinator import CountisConfigEntry, CountisCoordinator
from .countis import (
    async_broadcast_tariff,
    async_confirm_tariff,
    async_set_tariff,
    tariffs,
)
from .texts import async_told
from .wiring import async_wiring_response

ATTR_TARIFF = "tariff"
BROADCAST_ADDRESS = 0

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
    """Have meters count in a tariff, those of one line at the same moment."""
    hass = call.hass
    tariff: int = call.data[ATTR_TARIFF]
    coordinators = await _async_meters(call)
    for coordinator in coordinators:
        if tariff not in tariffs(coordinator.data.get("tariff_count")):
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="no_such_tariff",
                translation_placeholders={
                    "name": coordinator.config_entry.title,
                    "tariff": str(tariff),
                },
            )
    lines: dict[str, list[CountisCoordinator]] = defaultdict(list)
    for coordinator in coordinators:
        lines[str(endpoint(coordinator.config_entry.data))].append(coordinator)
    await _async_all(
        hass,
        *(_async_set_on_line(hass, meters, tariff) for meters in lines.values()),
    )


async def _async_set_on_line(
    hass: HomeAssistant, meters: Sequence[CountisCoordinator], tariff: int
) -> None:
    """Set the tariff of some meters on one line."""
    command = async_set_tariff
    if _is_for_all(hass, meters):
        data = meters[0].config_entry.data
        try:
            async with async_get_temporary_unit(
                hass, modbus_params(data), BROADCAST_ADDRESS
            ) as unit:
                unit.require_timeout(REQUEST_TIMEOUT)
                await async_broadcast_tariff(unit, meters[0].meter.line, tariff)
        except LINE_ERRORS as err:
            raise meters[0].failure(HomeAssistantError, err) from err
        command = async_confirm_tariff
    await _async_all(
        hass,
        *(meter.async_command(partial(command, tariff=tariff)) for meter in meters),
    )


def _is_for_all(hass: HomeAssistant, meters: Sequence[CountisCoordinator]) -> bool:
    """Whether a broadcast, which reaches all meters of a line, reaches only these.

    What a gateway that speaks Modbus TCP makes of a broadcast is up to it.
    """
    data = meters[0].config_entry.data
    on_line = [
        entry
        for entry in hass.config_entries.async_entries(DOMAIN)
        if endpoint(entry.data) == endpoint(data)
    ]
    return 1 < len(on_line) == len(meters) and data[CONF_TYPE] != TCP


async def _async_check_wiring(call: ServiceCall) -> ServiceResponse:
    """Test the wiring of meters; by the name of each, what was found."""
    coordinators = await _async_meters(call)
    found: list[JsonValueType] = [
        *await asyncio.gather(
            *(async_wiring_response(call.hass, each) for each in coordinators)
        )
    ]
    return {"meters": found}


async def _async_meters(call: ServiceCall) -> list[CountisCoordinator]:
    """Return the meters that are targeted.

    Raises `ServiceValidationError` if there are none, or one is not set up.
    """
    coordinators: list[CountisCoordinator] = []
    targeted = await async_extract_config_entry_ids(call)
    entries: list[CountisConfigEntry] = [
        entry
        for entry in call.hass.config_entries.async_entries(DOMAIN)
        if entry.entry_id in targeted
    ]
    for entry in entries:
        if entry.state is not ConfigEntryState.LOADED:
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="not_set_up",
                translation_placeholders={"name": entry.title},
            )
        coordinators.append(entry.runtime_data)
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
    """Do everything at once, and then tell of everything that went wrong."""
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
                    [f"- {await async_told(hass, error)}" for error in errors]
                )
            },
        )
