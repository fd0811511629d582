"""What a user sends with a report."""

import json

from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator import Line, Meter

from .common import SERIAL


async def test_diagnostics_tell_the_line_the_variants_and_the_registers(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
) -> None:
    assert await async_setup_component(hass, "diagnostics", {})
    found = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert isinstance(found, dict)
    assert found["entry"]["baudrate"] == 9600
    assert found["meter"]["variants"]["energies"] == "Energies"
    assert found["meter"]["identity"]["product_name"] == "Countis E33"
    assert found["last_poll"]["values"]["power"] == 1300
    assert found["registers"]["50947"] == 123_456 & 0xFFFF
    assert found["read_error"] is None


async def test_diagnostics_do_not_give_the_serial_number_away(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
) -> None:
    assert await async_setup_component(hass, "diagnostics", {})
    found = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert isinstance(found, dict)
    assert SERIAL not in json.dumps(found)
    assert found["registers"]["50008"] == "**REDACTED**"
    assert found["meter"]["identity"]["serial_year_week"] == "**REDACTED**"


async def test_diagnostics_of_a_silent_meter_tell_what_is_known(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    assert await async_setup_component(hass, "diagnostics", {})
    line.cut = True
    found = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert isinstance(found, dict)
    assert found["read_error"]
    assert found["registers"] == {}
    assert found["last_poll"]["values"]["power"] == 1300


async def test_diagnostics_of_a_meter_without_identification(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
) -> None:
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "serial_number": None}
    )
    meter.refuses = {50000}
    await hass.config_entries.async_reload(entry.entry_id)
    assert await async_setup_component(hass, "diagnostics", {})
    found = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert isinstance(found, dict)
    assert found["meter"]["identity"] == {}
    assert found["meter"]["variants"]["identity"] is None


async def test_diagnostics_of_an_entry_that_is_not_set_up_tell_why(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    meter.serial = (0x2025, 0x0001, 7)
    await hass.config_entries.async_setup(entry.entry_id)
    assert await async_setup_component(hass, "diagnostics", {})
    found = await get_diagnostics_for_config_entry(hass, hass_client, entry)
    assert isinstance(found, dict)
    assert found["entry"]["baudrate"] == 9600
    assert found["setup_error"] == {
        "key": "another_meter",
        "placeholders": {
            "name": "COUNTIS E33 #1",
            "expected": "**REDACTED**",
            "found": "**REDACTED**",
        },
    }
    assert SERIAL not in json.dumps(found)
