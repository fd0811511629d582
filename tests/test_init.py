"""The set-up, restart and unloading of a bus, and the log of an offline meter."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
import logging
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
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from simulator import Fault, Line, Meter, table
from simulator.modbus import with_crc

from .common import (
    SERIAL,
    AddMeter,
    add_only,
    coordinator_of,
    entity_id,
    reads,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("fast_polling")

# The register address and the number of registers of each read.
IDENTITY, MEASUREMENTS = (50006, 5), (50520, 30)
ENERGIES, TARIFFS = (50946, 18), (51200, 10)

OTHER_SERIAL = Fault(
    # The identity is verified with five registers. The last one is a part of the serial
    # number. The fault replaces the last register, and the CRC after it.
    lambda frame: with_crc(frame[:-4] + b"\x00\x07")
)


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities and a partial counter, to save time."""
    add_only(monkeypatch, "partial_energy_consumed")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors of the integration."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("custom")
    ]


async def unload(hass: HomeAssistant, entry: CountisConfigEntry, line: Line) -> None:
    """Unload a bus, and clear the list of the requests on its line."""
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(0.05)  # until the last request is received
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
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    hass_storage: dict[str, Any],
) -> None:
    # A change of 10 Wh is too small to be saved at once.
    meter.counters.consumed += 10
    await until(lambda: state(hass, "energy_consumed") == "1234.57")
    await hass.config_entries.async_unload(entry.entry_id)
    (saved,) = (each for key, each in hass_storage.items() if key.startswith(DOMAIN))
    assert saved["data"]["serial_number"] == SERIAL
    assert saved["data"]["counters"]["energy_consumed"]["value"] == 1234.57


async def test_unloading_deletes_the_issues(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 0)
    meter.offline = True
    await until(lambda: ir.async_get(hass).issues)
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    assert ir.async_get(hass).issues == {}


async def test_removing_a_bus_removes_the_data_of_its_meters(
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


async def test_setup_reads_values_without_taking_the_profile(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await unload(hass, entry, line)
    await hass.config_entries.async_setup(entry.entry_id)
    await until_read(hass, entry)
    # The client verifies the identity, and then reads the blocks of the entities.
    first, *others = reads(line.requests)[:4]
    assert first == IDENTITY
    assert sorted(others) == [MEASUREMENTS, ENERGIES, TARIFFS]
    assert state(hass, "power") == "1300"


async def test_restart_without_the_meter_shows_the_stored_counters(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
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


async def test_stored_counters_in_another_format_are_not_used(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    key = f"{DOMAIN}.{subentry_of(entry).subentry_id}"
    valid = hass_storage[key]
    assert valid["data"]["counters"]["energy_consumed"]["value"] == 1234.56
    meter.counters.consumed = 500_000  # Wh; rejected if the stored 1234.56 kWh is used
    other_counters: tuple[dict[str, object], ...] = (
        {},
        {"counters": ["energy_consumed"]},
        {"counters": {"energy_consumed": 1234.56}},
        {"counters": {"energy_consumed": {"value": "?"}}},
    )
    all_changes: list[dict[str, Any]] = [
        {"version": 7},
        {"data": ["counters"]},
        {"data": "counters"},
        *({"data": {"serial_number": SERIAL} | each} for each in other_counters),
    ]
    for changes in all_changes:
        with subtests.test(changes=changes):
            caplog.clear()
            hass_storage[key] = valid | changes
            await hass.config_entries.async_setup(entry.entry_id)
            assert entry.state is ConfigEntryState.LOADED
            await until_read(hass, entry)
            assert float(state(hass, "energy_consumed")) == 500
            warning = warnings(caplog)[0]
            assert "stored counters are" in warning.lower()
            assert "not used" in warning
        await hass.config_entries.async_unload(entry.entry_id)


async def test_invalid_response_after_a_restart_creates_no_issue(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    changes: dict[str, Any] = {
        "blank_blocks": {table.IDENTIFICATION},
        "starting": True,
        "refused_blocks": {table.IDENTIFICATION},
        "exception_code": 4,  # a failure of the meter
    }
    for name, value in changes.items():
        with subtests.test(name):
            await hass.config_entries.async_unload(entry.entry_id)
            caplog.clear()
            normal = getattr(meter, name)
            setattr(meter, name, value)
            await hass.config_entries.async_setup(entry.entry_id)
            assert entry.state is ConfigEntryState.LOADED
            await until(lambda: not coordinator_of(entry).last_update_success)
            assert "The response at unit ID 1" in warnings(caplog)[0]
            assert state(hass, "energy_consumed") == "1234.56"
            assert ir.async_get(hass).issues == {}
            setattr(meter, name, normal)
            await until(lambda: state(hass, "power") == "1300")
            assert len(warnings(caplog)) == 1


async def test_other_serial_number_in_one_response_creates_no_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await unload(hass, entry, line)
    line.faults.append(OTHER_SERIAL)
    await hass.config_entries.async_setup(entry.entry_id)
    await until_read(hass, entry)
    assert reads(line.requests)[:2] == [IDENTITY, IDENTITY]
    assert coordinator_of(entry).online
    assert ir.async_get(hass).issues == {}


# -- line settings in conflict ---------------------------------------------------


@asynccontextmanager
async def conflict(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> AsyncIterator[ir.IssueEntry]:
    """Yield the issue of a bus whose port is in use with other line settings."""
    await hass.config_entries.async_unload(entry.entry_id)
    params = ModbusSerialParams(device=line.port, baudrate=19_200)
    async with async_get_temporary_unit(hass, params, 9):  # any unit ID
        await hass.config_entries.async_setup(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert entry.error_reason_translation_key == "line_settings_in_use"
        (issue,) = ir.async_get(hass).issues.values()
        yield issue


async def test_conflict_of_line_settings_has_an_issue_until_the_conflict_ends(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    async with conflict(hass, entry, line) as issue:
        assert issue.translation_key == "line_conflict"
        assert issue.translation_placeholders == {
            "device": line.port,
            "settings": "9600 baud, 8N1",
        }
    # Home Assistant retries the set-up within a day.
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


# -- an offline meter ------------------------------------------------------------


async def test_offline_meter_and_its_return_are_logged_once(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
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


# -- without a recorder ----------------------------------------------------------


async def test_gap_cannot_be_filled_without_a_recorder(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    data = {
        "entity_id": entity_id(hass, "power"),
        "start": "2026-11-20 14:00:00",
        "end": "2026-11-20 19:00:00",
    }
    with pytest.raises(ServiceValidationError) as error:
        await hass.services.async_call(DOMAIN, "fill_gap", data, blocking=True)
    assert error.value.translation_key == "no_recorder"
