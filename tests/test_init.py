"""Setting up and unloading a bus, and losing and finding its meters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
import logging
from pathlib import Path
from typing import Any

from modbus_connection import ModbusSerialParams
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed

from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from simulator import Fault, Line, Meter
from simulator.modbus import with_crc

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    coordinator_of,
    memory_line,
    reads,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("quick")

OTHER_SERIAL = Fault(
    # Of an identity that was read: the last of five registers is another one.
    lambda frame: with_crc(frame[:-4] + b"\x00\x07")
)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors of the integration."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("custom")
    ]


async def unload(hass: HomeAssistant, entry: CountisConfigEntry, line: Line) -> None:
    """Unload a bus, and forget the requests until then."""
    await hass.config_entries.async_unload(entry.entry_id)
    # A request may be on the line still.
    await asyncio.sleep(0.05)
    line.requests.clear()


# -- unloading -----------------------------------------------------------------


async def test_unloading_closes_the_port(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    assert len(async_get_connection_info(hass)) == 1
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert async_get_connection_info(hass) == []
    assert state(hass, "power") == STATE_UNAVAILABLE


async def test_unloading_saves_the_counters(
    hass: HomeAssistant, entry: CountisConfigEntry, hass_storage: dict[str, Any]
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    (saved,) = (each for key, each in hass_storage.items() if key.startswith(DOMAIN))
    assert saved["data"]["serial_number"] == SERIAL
    assert saved["data"]["counters"]["energy_consumed"]["value"] == 1234.56


async def test_unloading_deletes_the_issues(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 0)
    meter.offline = True
    await until(lambda: ir.async_get(hass).issues)
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    assert ir.async_get(hass).issues == {}


async def test_removing_a_bus_removes_everything_of_its_meters(
    hass: HomeAssistant,
    device_registry: dr.DeviceRegistry,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    hass_storage: dict[str, Any],
) -> None:
    await add_meter(unit_id=2)
    await hass.config_entries.async_remove(entry.entry_id)
    await hass.async_block_till_done()
    assert dr.async_entries_for_config_entry(device_registry, entry.entry_id) == []
    assert er.async_entries_for_config_entry(entity_registry, entry.entry_id) == []
    assert not [key for key in hass_storage if key.startswith(DOMAIN)]
    assert async_get_connection_info(hass) == []


# -- restarting ----------------------------------------------------------------


async def test_polling_starts_with_the_first_request(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await unload(hass, entry, line)
    await hass.config_entries.async_setup(entry.entry_id)
    await until_read(hass, entry)
    # The serial number, then what the entities show: no block is probed.
    assert reads(line.requests)[0] == (50006, 5)
    assert sorted(reads(line.requests)[1:4]) == [(50520, 30), (50946, 18), (51200, 10)]
    assert state(hass, "power") == "1300"


async def test_restart_without_the_meter_shows_its_last_counters(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
) -> None:
    before = {each.entity_id for each in hass.states.async_all()}
    await hass.config_entries.async_unload(entry.entry_id)
    meter.offline = True
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert {each.entity_id for each in hass.states.async_all()} == before
    await until(lambda: not coordinator_of(entry).last_update_success)
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "partial_energy_consumed") == "45.67"
    assert state(hass, "tariff_1_energy") == "1000.0"
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "phase_l1_present") == STATE_UNAVAILABLE
    assert state(hass, "reset_partial_counters") == STATE_UNAVAILABLE
    meter.offline = False
    await until(lambda: state(hass, "power") == "1300")
    await until(lambda: state(hass, "phase_l1_present") == "on")
    assert state(hass, "reset_partial_counters") != STATE_UNAVAILABLE


@pytest.mark.parametrize(
    "stored",
    [
        ["counters"],
        "counters",
        {"serial_number": SERIAL},
        {"serial_number": SERIAL, "counters": ["energy_consumed"]},
        {"serial_number": SERIAL, "counters": {"energy_consumed": 1234.56}},
        {"serial_number": SERIAL, "counters": {"energy_consumed": {"value": "?"}}},
    ],
)
async def test_stored_counters_of_another_shape_are_not_used(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    stored: object,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    hass_storage[f"{DOMAIN}.{subentry_of(entry).subentry_id}"]["data"] = stored
    meter.counters.consumed = 500_000
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await until_read(hass, entry)
    assert float(state(hass, "energy_consumed")) == 500
    assert "tored counters are" in warnings(caplog)[0]
    assert "not used" in warnings(caplog)[0]


async def test_stored_counters_of_another_version_are_not_used(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    hass_storage[f"{DOMAIN}.{subentry_of(entry).subentry_id}"]["version"] = 7
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await until_read(hass, entry)
    assert state(hass, "energy_consumed") == "1234.56"
    assert "tored counters are" in warnings(caplog)[0]
    assert "not used" in warnings(caplog)[0]


@pytest.mark.parametrize(
    "confusion",
    [
        {"blank_blocks": {50000}},
        {"starting": True},
        {"refused_blocks": {50000}},
        {"exception_code": 4},
    ],
)
async def test_meter_that_is_confused_after_a_restart_is_no_issue(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    confusion: dict[str, Any],
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    normal = {name: getattr(meter, name) for name in confusion}
    for name, value in confusion.items():
        setattr(meter, name, value)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await until(lambda: not coordinator_of(entry).last_update_success)
    assert "The response at unit ID 1" in warnings(caplog)[0]
    assert state(hass, "energy_consumed") == "1234.56"
    assert ir.async_get(hass).issues == {}
    for name, value in normal.items():
        setattr(meter, name, value)
    await until(lambda: state(hass, "power") == "1300")
    assert len(warnings(caplog)) == 1


async def test_one_response_of_another_meter_after_a_restart_is_no_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await unload(hass, entry, line)
    line.faults.append(OTHER_SERIAL)
    await hass.config_entries.async_setup(entry.entry_id)
    await until_read(hass, entry)
    assert reads(line.requests)[:2] == [(50006, 5), (50006, 5)]
    assert coordinator_of(entry).online
    assert ir.async_get(hass).issues == {}


# -- line settings in conflict ---------------------------------------------------


@asynccontextmanager
async def conflict(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> AsyncIterator[ir.IssueEntry]:
    """Let something else use the port with other line settings."""
    await hass.config_entries.async_unload(entry.entry_id)
    params = ModbusSerialParams(device=line.port, baudrate=19_200)
    async with async_get_temporary_unit(hass, params, 9):
        await hass.config_entries.async_setup(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == "line_settings_in_use"
        (issue,) = ir.async_get(hass).issues.values()
        yield issue


async def test_line_settings_in_conflict_are_an_issue_until_they_agree(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    async with conflict(hass, entry, line) as issue:
        assert issue.translation_key == "line_conflict"
        assert issue.translation_placeholders == {
            "device": line.port,
            "settings": "9600 baud, 8N1",
        }
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(days=1))
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert ir.async_get(hass).issues == {}
    await until_read(hass, entry)
    assert state(hass, "power") == "1300"


async def test_disabling_the_bus_deletes_the_issue_of_a_conflict(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    async with conflict(hass, entry, line):
        await hass.config_entries.async_set_disabled_by(
            entry.entry_id, ConfigEntryDisabler.USER
        )
        assert ir.async_get(hass).issues == {}


async def test_removing_the_bus_deletes_the_issue_of_a_conflict(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    async with conflict(hass, entry, line):
        await hass.config_entries.async_remove(entry.entry_id)
        assert ir.async_get(hass).issues == {}


# -- losing and finding a meter --------------------------------------------------


async def test_offline_meter_is_logged_once_and_comes_back(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "custom_components.socomec_countis")
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    for _ in range(2):
        await until_polled(entry)
    assert state(hass, "energy_consumed") == "1234.56"
    (warning,) = warnings(caplog)
    assert "No meter responds at unit ID 1" in warning
    meter.offline = False
    await until(lambda: state(hass, "power") == "1300")
    await until_polled(entry)
    assert len(warnings(caplog)) == 1
    assert caplog.text.count("COUNTIS E33 #1 responds again") == 1


async def test_short_silence_is_not_shown(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    assert state(hass, "power") == "1300"
    meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    assert state(hass, "power") == "1300"


async def test_offline_meter_does_not_affect_the_other_one(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    add_meter: AddMeter,
    impatient: None,
) -> None:
    await add_meter(unit_id=2)
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    await until_polled(entry, 2)
    assert coordinator_of(entry, 2).online
    assert state(hass, "power", SECOND_SERIAL) == "1300"


async def test_cut_bus_comes_back_without_a_reload(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, impatient: None
) -> None:
    line.cut = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    line.cut = False
    await until(lambda: state(hass, "power") == "1300")
    assert state(hass, "energy_consumed") == "1234.56"


async def test_adapter_that_is_plugged_in_again_needs_no_reload(
    hass: HomeAssistant,
    add_meter: AddMeter,
    meter: Meter,
    impatient: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapter = tmp_path / "adapter"
    async with memory_line([meter], baudrate=115_200, link=adapter) as line:
        await add_meter(device=str(adapter))
        (entry,) = hass.config_entries.async_loaded_entries(DOMAIN)
        line.unplug()
        await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
        (warning,) = warnings(caplog)
        assert "Check that the adapter is plugged in" in warning
        assert state(hass, "energy_consumed") == "1234.56"
        line.replug()
        await until(lambda: state(hass, "power") == "1300")
        await hass.config_entries.async_unload(entry.entry_id)
