"""The tariff: one meter by its select, several by the action."""

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.components.select.const import ATTR_OPTIONS
from homeassistant.components.select.const import (
    DOMAIN as SELECT_DOMAIN,
)
from homeassistant.const import (
    ATTR_DEVICE_ID,
    ATTR_ENTITY_ID,
    ATTR_OPTION,
    SERVICE_SELECT_OPTION,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import LOST, Line, Meter

from .common import AddMeter, entity_id, state

SECOND_SERIAL = "1438012000002"


async def select(hass: HomeAssistant, option: str) -> None:
    """Choose a tariff."""
    await hass.services.async_call(
        SELECT_DOMAIN,
        SERVICE_SELECT_OPTION,
        {ATTR_ENTITY_ID: entity_id(hass, "tariff"), ATTR_OPTION: option},
        blocking=True,
    )


async def set_tariff(hass: HomeAssistant, tariff: int) -> None:
    """Call the action for all meters there are."""
    entries = hass.config_entries.async_entries(DOMAIN)
    devices = [
        device
        for entry in entries
        for device in dr.async_entries_for_config_entry(
            dr.async_get(hass), entry.entry_id
        )
    ]
    await hass.services.async_call(
        DOMAIN,
        "set_tariff",
        {ATTR_DEVICE_ID: [device.id for device in devices], "tariff": tariff},
        blocking=True,
    )


def writes_on(line: Line) -> list[bytes]:
    """Return what was written, without the checksum."""
    return [frame[:-2] for frame in line.requests if frame[1] in (6, 16)]


async def test_the_tariff_is_shown_and_can_be_chosen(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    assert state(hass, "tariff") == "1"
    shown = hass.states.get(entity_id(hass, "tariff"))
    assert shown is not None
    assert shown.attributes[ATTR_OPTIONS] == ["1", "2", "3", "4"]
    await select(hass, "3")
    assert state(hass, "tariff") == "3"
    assert meter.counters.tariff == 3
    assert meter.writes == [(40481, [3])]


async def test_a_meter_has_as_many_tariffs_as_it_says(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.override = {51200: 2}
    await add_meter()
    shown = hass.states.get(entity_id(hass, "tariff"))
    assert shown is not None
    assert shown.attributes[ATTR_OPTIONS] == ["1", "2"]


async def test_a_meter_that_does_not_follow_is_told(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.ignores_commands = {40481}
    with pytest.raises(HomeAssistantError, match="did not change to the tariff"):
        await select(hass, "2")
    assert state(hass, "tariff") == "1"


async def test_a_tariff_whose_answer_is_lost_is_seen_by_reading_back(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.faults.append(LOST)
    await select(hass, "2")
    assert state(hass, "tariff") == "2"


async def test_a_meter_without_tariffs_has_no_select(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    meter: Meter,
    add_meter: AddMeter,
) -> None:
    meter.refuses = {50848, 51200}
    await add_meter()
    assert not hass.states.async_entity_ids(SELECT_DOMAIN)


async def test_all_meters_of_a_line_change_by_one_broadcast(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    meter: Meter,
    second_meter: Meter,
) -> None:
    await add_meter(address=2)
    line.requests.clear()
    await set_tariff(hass, 2)
    assert writes_on(line) == [b"\x00\x06\x9e\x21\x00\x02"]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (2, 2)
    assert state(hass, "tariff") == "2"
    assert state(hass, "tariff", SECOND_SERIAL) == "2"


async def test_some_meters_of_a_line_are_written_one_by_one(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    second_meter: Meter,
) -> None:
    await add_meter(address=2)
    line.requests.clear()
    await hass.services.async_call(
        DOMAIN,
        "set_tariff",
        {ATTR_ENTITY_ID: entity_id(hass, "tariff"), "tariff": 4},
        blocking=True,
    )
    assert writes_on(line) == [b"\x01\x06\x9e\x21\x00\x04"]
    assert second_meter.counters.tariff == 1


async def test_a_meter_that_does_not_follow_a_broadcast_is_named(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
    meter: Meter,
) -> None:
    await add_meter(address=2)
    second_meter.ignores_commands = {40481}
    with pytest.raises(HomeAssistantError, match=r"COUNTIS E33 #2 did not change"):
        await set_tariff(hass, 2)
    assert state(hass, "tariff") == "2"
    assert state(hass, "tariff", SECOND_SERIAL) == "1"
    meter.ignores_commands = {40481}
    with pytest.raises(HomeAssistantError, match=r"#1 did(.|\n)*#2 did"):
        await set_tariff(hass, 3)
    # What is told within another error is in the language of Home Assistant.
    hass.config.language = "de"
    with pytest.raises(HomeAssistantError) as told:
        await set_tariff(hass, 3)
    assert "COUNTIS E33 #2 hat den Tarif nicht" in str(
        told.value.translation_placeholders
    )


async def test_a_line_that_is_gone_is_told(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter, line: Line
) -> None:
    await add_meter(address=2)
    line.unplug()
    with pytest.raises(HomeAssistantError, match="cannot be opened"):
        await set_tariff(hass, 2)


async def test_a_tariff_that_a_meter_does_not_have_is_refused(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    with pytest.raises(ServiceValidationError, match="has no tariff 5"):
        await set_tariff(hass, 5)
    assert meter.writes == []


async def test_an_action_without_a_meter_is_told(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    with pytest.raises(ServiceValidationError, match="No COUNTIS meter"):
        await hass.services.async_call(
            DOMAIN, "set_tariff", {ATTR_DEVICE_ID: [], "tariff": 1}, blocking=True
        )


async def test_an_action_for_a_meter_that_is_not_set_up_names_it(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(ServiceValidationError, match=r"COUNTIS E33 #1 is not set up"):
        await set_tariff(hass, 1)
