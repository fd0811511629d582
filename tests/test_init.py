"""Setting up, losing, finding and letting go of a meter."""

import logging
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import (
    CountisConfigEntry,
    meter_store,
)
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from simulator import LOST, Fault, Line, Meter, line_in_thread

from .common import SERIAL, AddMeter, state, unload_all


async def test_unloading_gives_the_port_back(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    assert len(async_get_connection_info(hass)) == 1
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert async_get_connection_info(hass) == []
    assert state(hass, "power") == STATE_UNAVAILABLE


async def forget_meter(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Unload an entry, as if its meter had never been polled."""
    await hass.config_entries.async_unload(entry.entry_id)
    await meter_store(hass, entry.entry_id).async_remove()
    await hass.async_block_till_done()


async def test_a_new_meter_that_is_silent_at_set_up_is_tried_again(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await forget_meter(hass, entry)
    meter.silent = True
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "no_answer"

    meter.silent = False
    async_fire_time_changed(
        hass, dt_util.utcnow().replace(year=dt_util.utcnow().year + 1)
    )
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state(hass, "power") == "1300"


@pytest.mark.parametrize("good_answers", [11, 12])
async def test_a_first_poll_that_is_not_whole_is_tried_again(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, good_answers: int
) -> None:
    await forget_meter(hass, entry)
    # Ten answers tell who it is and what it serves, one brings the measurements.
    # The next is lost, and lost again when asked for once more.
    line.faults.extend([Fault()] * good_answers + [LOST, LOST])
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "no_answer"


async def test_a_meter_that_does_not_tell_its_serial_number_yet_is_tried_again(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await forget_meter(hass, entry)
    meter.blank = {50000}
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "unusable_answer"
    assert ir.async_get(hass).issues == {}


async def test_a_known_meter_that_comes_back_confused_is_no_unexpected_error(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter.silent = True
    await hass.config_entries.async_reload(entry.entry_id)
    meter.silent = False
    meter.override = {50004: 200}
    await entry.runtime_data.async_refresh()
    assert "Unexpected error" not in caplog.text
    assert "it is not a COUNTIS" in caplog.text
    assert state(hass, "energy_consumed") == "1234.56"
    meter.override = {}
    await entry.runtime_data.async_refresh()
    assert state(hass, "power") == "1300"


async def test_another_meter_is_not_set_up_by_an_entry_that_was_never_polled(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await forget_meter(hass, entry)
    meter.serial = (0x2025, 0x0001, 7)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "another_meter"


async def test_another_meter_at_the_address_is_not_set_up(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    meter.serial = (0x2025, 0x0001, 7)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "another_meter"
    assert entry.error_reason_translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "expected": "1438012000001",
        "found": "2025000100007",
    }


async def test_another_device_at_the_address_is_not_set_up(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    meter.override = {50004: 200}
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "not_a_countis"


async def test_line_settings_in_conflict_are_told_at_set_up(
    hass: HomeAssistant, entry: CountisConfigEntry, place: dict[str, Any]
) -> None:
    conflicting = MockConfigEntry(
        domain=DOMAIN,
        data={**entry.data, "baudrate": 38400, "address": 2, "serial_number": None},
    )
    conflicting.add_to_hass(hass)
    await hass.config_entries.async_setup(conflicting.entry_id)
    assert conflicting.state is ConfigEntryState.SETUP_RETRY
    assert conflicting.error_reason_translation_key == "line_settings_in_use"


async def test_a_meter_that_falls_silent_is_logged_once_and_comes_back(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "custom_components.socomec_countis")
    # No poll is to be half done.
    await entry.runtime_data.async_refresh()
    meter.silent = True
    for _ in range(3):
        await entry.runtime_data.async_refresh()
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "energy_consumed") == "1234.56"
    errors = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("custom")
    ]
    assert len(errors) == 1
    assert "No meter answers at address 1" in errors[0]

    caplog.clear()
    meter.silent = False
    for _ in range(2):
        await entry.runtime_data.async_refresh()
    assert state(hass, "power") == "1300"
    assert caplog.text.count("recovered") == 1


async def test_a_silent_meter_leaves_the_other_one_on_its_line_alone(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    add_meter: AddMeter,
    impatient: None,
) -> None:
    await add_meter(address=2)
    meter.silent = True
    await entry.runtime_data.async_refresh()
    (other,) = (
        each
        for each in hass.config_entries.async_entries(DOMAIN)
        if each.entry_id != entry.entry_id
    )
    await other.runtime_data.async_refresh()
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "power", "1438012000002") == "1300"


async def test_a_line_that_is_cut_comes_back_without_a_reload(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, impatient: None
) -> None:
    line.cut = True
    await entry.runtime_data.async_refresh()
    assert state(hass, "power") == STATE_UNAVAILABLE
    line.cut = False
    await entry.runtime_data.async_refresh()
    assert state(hass, "power") == "1300"
    assert state(hass, "energy_consumed") == "1234.56"


async def test_an_adapter_that_is_unplugged_and_plugged_in_again_needs_no_reload(
    hass: HomeAssistant,
    add_meter: AddMeter,
    meter: Meter,
    impatient: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter = tmp_path / "adapter"
    with line_in_thread(Line([meter], baudrate=115_200, link=adapter)) as line:
        await add_meter(device=str(adapter))
        (entry,) = hass.config_entries.async_entries(DOMAIN)
        line.unplug()
        for _ in range(2):
            await entry.runtime_data.async_refresh()
        assert state(hass, "power") == STATE_UNAVAILABLE
        assert "Unexpected error" not in caplog.text
        assert "Check that the adapter is plugged in" in caplog.text
        line.replug()
        # A busy machine may miss the first one's answer.
        for _ in range(2):
            await entry.runtime_data.async_refresh()
        assert state(hass, "power") == "1300"
        await hass.config_entries.async_unload(entry.entry_id)


async def test_an_entry_from_before_gateways_is_brought_up_to_date(
    hass: HomeAssistant, place: dict[str, Any]
) -> None:
    old = MockConfigEntry(
        domain=DOMAIN,
        title="COUNTIS E33 #1",
        unique_id=SERIAL,
        data={
            "device": place["device"],
            "address": 1,
            "baudrate": 9600,
            "parity": "none",
            "stopbits": 1,
            "serial_number": SERIAL,
        },
    )
    old.add_to_hass(hass)
    await hass.config_entries.async_setup(old.entry_id)
    assert old.state is ConfigEntryState.LOADED
    assert (old.data["type"], old.minor_version) == ("serial", 2)
    await unload_all(hass)


@pytest.mark.parametrize(
    ("version", "minor_version", "state"),
    [(2, 1, ConfigEntryState.MIGRATION_ERROR), (1, 3, ConfigEntryState.LOADED)],
)
async def test_an_entry_of_a_later_version_is_left_alone(
    hass: HomeAssistant,
    add_meter: AddMeter,
    version: int,
    minor_version: int,
    state: ConfigEntryState,
) -> None:
    added: CountisConfigEntry = (await add_meter())["result"]
    data = dict(added.data)
    await hass.config_entries.async_remove(added.entry_id)
    later = MockConfigEntry(
        domain=DOMAIN, version=version, minor_version=minor_version, data=data
    )
    later.add_to_hass(hass)
    await hass.config_entries.async_setup(later.entry_id)
    assert later.state is state
    assert later.minor_version == minor_version
