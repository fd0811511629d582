"""The button that resets the partial counters."""

import pytest

from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.components.button.const import (
    DOMAIN as BUTTON_DOMAIN,
)
from homeassistant.components.button.const import (
    SERVICE_PRESS,
)
from homeassistant.const import ATTR_ENTITY_ID, EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from simulator import Line, Meter

from .common import AddMeter, entity_id, state

KEY = "reset_partial_counters"


async def press(hass: HomeAssistant) -> None:
    """Press the button."""
    await hass.services.async_call(
        BUTTON_DOMAIN,
        SERVICE_PRESS,
        {ATTR_ENTITY_ID: entity_id(hass, KEY)},
        blocking=True,
    )


async def test_the_partial_counters_show_zero_at_once_and_the_totals_go_on(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    assert state(hass, "partial_energy_consumed") == "45.67"
    await press(hass)
    assert state(hass, "partial_energy_consumed") == "0"
    assert state(hass, "partial_energy_produced") == "0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "energy_produced") == "7.89"
    assert state(hass, "tariff_1_energy") == "1000.0"
    assert meter.writes == [(57890, [0x000B])]


async def test_a_meter_that_does_not_reset_is_told_and_nothing_changes(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.ignores_commands = {57890}
    with pytest.raises(HomeAssistantError, match="hold the reset button"):
        await press(hass)
    assert state(hass, "partial_energy_consumed") == "45.67"


async def test_a_line_that_is_cut_is_told_and_nothing_changes(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, line: Line
) -> None:
    line.cut = True
    with pytest.raises(HomeAssistantError, match="No meter answers at address 1"):
        await press(hass)
    line.cut = False
    await entry.runtime_data.async_refresh()
    assert state(hass, "partial_energy_consumed") == "45.67"
    assert meter.writes == []


async def test_a_poll_under_way_does_not_bring_the_old_counters_back(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    poll = hass.async_create_task(entry.runtime_data.async_refresh())
    await press(hass)
    await poll
    assert state(hass, "partial_energy_consumed") == "0"


async def test_the_button_is_a_setting(
    entity_registry: er.EntityRegistry, hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    button = entity_registry.async_get(entity_id(hass, KEY))
    assert button is not None
    assert button.entity_category is EntityCategory.CONFIG


async def test_a_meter_without_counters_has_no_button(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.refuses = {50768, 50848, 50944, 51200}
    await add_meter()
    buttons = hass.states.async_entity_ids(BUTTON_DOMAIN)
    assert buttons == ["button.countis_e33_1_check_wiring"]
    assert hass.states.get("sensor.countis_e33_1_power")


async def test_another_meter_in_the_place_of_a_silent_one_is_written_nothing(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.silent = True
    await entry.runtime_data.async_refresh()
    meter.silent = False
    meter.serial = (0x2025, 0x0001, 7)
    with pytest.raises(HomeAssistantError, match="2025000100007"):
        await press(hass)
    assert meter.writes == []


async def test_a_meter_that_was_away_at_a_restart_is_told_and_written_nothing(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.silent = True
    await hass.config_entries.async_reload(entry.entry_id)
    with pytest.raises(HomeAssistantError, match="No meter answers"):
        await press(hass)
    meter.silent = False
    meter.override = {50004: 200}
    with pytest.raises(HomeAssistantError, match="not a COUNTIS"):
        await press(hass)
    assert meter.writes == []
    meter.override = {}
    await press(hass)
    assert state(hass, "partial_energy_consumed") == "0"


async def test_a_counter_that_is_not_there_during_a_reset_keeps_its_value(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = {50962: 0xFFFF, 50963: 0xFFFF}
    await entry.runtime_data.async_refresh()
    await press(hass)
    assert state(hass, "partial_energy_consumed") == "0"
    assert state(hass, "partial_energy_produced") == "0.89"
