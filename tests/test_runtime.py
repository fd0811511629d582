"""Meters that are added, changed, removed or offline while the others are polled."""

import asyncio
from collections.abc import AsyncGenerator
import logging
import time
from typing import Any
from unittest.mock import patch

from modbus_connection import ModbusUnit
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed

from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.const import DOMAIN, SUBENTRY_METER
from custom_components.socomec_countis.countis import (
    Profile,
    Reading,
    poller,
)
from custom_components.socomec_countis.countis.profile import PROFILE_VERSION
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.config_entries import SOURCE_RECONFIGURE
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.storage import Store
from homeassistant.util import dt as dt_util
from simulator import Line, Meter, table

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    Clock,
    FlowResult,
    add_only,
    coordinator_of,
    entity_id,
    memory_line,
    meter_device,
    reads,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)

# `Store.async_remove` of Home Assistant. The test package replaces this method only
# while a test runs, so this line takes the original when the file is imported.
async_remove_file = Store.async_remove

# The register address and the number of registers of each read.
WHOLE_IDENTITY = (50000, 66)  # only a new profile needs this read
IDENTITY = (50006, 5)
MEASUREMENTS = (50520, 30)
ENERGIES = (50946, 18)
TARIFFS = (51200, 10)
CLOCK = (57600, 6)

NEW_FIRMWARE = {50007: 200}  # version 2.00


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities, and those that tests enable."""
    add_only(monkeypatch, "clock_offset", "energy_consumed_today", "ct_ratio")


@pytest.fixture
def third_meter(clock: Clock) -> Meter:
    """Return an offline meter at unit ID 3 with the serial number of `second_meter`.

    To change the unit ID of `second_meter`, a test sets that meter offline and this
    meter online.
    """
    return Meter(unit_id=3, true_time=clock, serial=(0x1438, 0x0120, 2), offline=True)


@pytest.fixture
async def line(
    meter: Meter, second_meter: Meter, third_meter: Meter
) -> AsyncGenerator[Line]:
    """Run a line in memory with three meters."""
    async with memory_line([meter, second_meter, third_meter]) as running:
        yield running


async def reconfigure(
    hass: HomeAssistant, entry: CountisConfigEntry, old_id: int, new_id: int
) -> FlowResult:
    """Change the unit ID of a meter, and return the result of the dialog."""
    subentry_id = subentry_of(entry, old_id).subentry_id
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, SUBENTRY_METER),
        context={"source": SOURCE_RECONFIGURE, "subentry_id": subentry_id},
    )
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {"unit_id": new_id, "take_profile": False}
    )
    await hass.async_block_till_done()
    return result


async def delete_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, unit_id: int
) -> None:
    """Delete the subentry of a meter."""
    subentry_id = subentry_of(entry, unit_id).subentry_id
    assert hass.config_entries.async_remove_subentry(entry, subentry_id)
    await hass.async_block_till_done()


def warnings_and_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings and errors that Home Assistant and the integration logged.

    For each custom integration, Home Assistant warns that it "has not been tested".
    This warning is not returned.
    """
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
        and record.name.startswith(("custom", "homeassistant"))
        and "has not been tested" not in record.getMessage()
    ]


# -- the polls of the other meters -----------------------------------------------


class Polls:
    """The times at which the measurements of the meter at unit ID 1 are read."""

    def __init__(self, line: Line) -> None:
        """Begin to note the time of each poll in s."""
        self.times: list[float] = []
        line.on_request = self._note

    def _note(self, frame: bytes) -> None:
        if MEASUREMENTS in reads([frame]):
            self.times.append(time.monotonic())

    async def until_more(self, count: int) -> None:
        """Wait for `count` more polls."""
        count += len(self.times)
        await until(lambda: len(self.times) >= count)

    @property
    def missed(self) -> int:
        """Return how many polls are missing, if one poll each second is expected.

        The last poll may be late by up to 0.9 s.
        """
        elapsed = self.times[-1] - self.times[0]
        return max(0, int(elapsed + 0.1) - (len(self.times) - 1))


async def add_second_meter_again(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter
) -> None:
    """Remove the second meter, and add it again."""
    await delete_meter(hass, entry, 2)
    await add_meter(unit_id=2)


async def change_unit_id_of_second_meter(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    second_meter: Meter,
    third_meter: Meter,
) -> None:
    """Change the unit ID of the second meter from 2 to 3."""
    second_meter.offline, third_meter.offline = True, False
    assert (await reconfigure(hass, entry, 2, 3))["reason"] == "reconfigure_successful"
    # Until the first poll at the new unit ID, the entities show the last values.
    await until_polled(entry, 3)
    assert coordinator_of(entry, 3).online
    assert state(hass, "power", SECOND_SERIAL) == "1300"


async def set_second_meter_offline(
    entry: CountisConfigEntry, second_meter: Meter
) -> None:
    """Set the second meter offline, and wait until its coordinator is offline."""
    second_meter.offline = True
    await until(lambda: not coordinator_of(entry, 2).online)


async def test_change_of_one_meter_causes_no_missed_poll_of_another_meter(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    second_meter: Meter,
    third_meter: Meter,
    subtests: pytest.Subtests,
) -> None:
    await add_meter(unit_id=2)
    first = coordinator_of(entry)
    # After the last change, no meter has the unit ID 2.
    for change in ("add", "offline", "unit ID"):
        with subtests.test(change):
            await until(lambda: coordinator_of(entry, 2).online)
            polls = Polls(line)
            await polls.until_more(2)
            if change == "add":
                await add_second_meter_again(hass, entry, add_meter)
            elif change == "offline":
                await set_second_meter_offline(entry, second_meter)
            else:
                await change_unit_id_of_second_meter(
                    hass, entry, second_meter, third_meter
                )
            await polls.until_more(3)
            assert polls.missed == 0
            assert coordinator_of(entry) is first
            assert first.online
            second_meter.offline = False


async def test_meter_is_polled_every_second_on_the_slowest_bus(
    hass: HomeAssistant, line: Line, add_meter: AddMeter
) -> None:
    # At 4800 baud, a poll of three blocks takes more than 0.4 s of each second.
    line.character_seconds = 11 / 4800
    line.response_delay = 0.02
    await add_meter(baudrate="4800")
    polls = Polls(line)
    await polls.until_more(5)
    # With one poll each second, there are 4 s from the first to the fifth poll.
    assert polls.times[-1] - polls.times[0] > 3.5
    assert polls.missed == 0


# -- removed and added meters ----------------------------------------------------


async def test_deletion_of_a_meter_deletes_all_its_data_and_ends_its_polls(
    hass: HomeAssistant,
    device_registry: dr.DeviceRegistry,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    short_pauses: None,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
    line: Line,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add_meter(unit_id=2)
    await coordinator_of(entry, 2).async_save()
    subentry_id = subentry_of(entry, 2).subentry_id
    assert f"{DOMAIN}.{subentry_id}" in hass_storage
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 0)
    second_meter.offline = True
    await until(lambda: ir.async_get(hass).issues)

    await delete_meter(hass, entry, 2)
    bus, device = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    assert (bus.serial_number, device.serial_number) == (None, SERIAL)
    assert not [
        each.entity_id
        for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
        if each.config_subentry_id == subentry_id
    ]
    assert not [each for each in hass.states.async_entity_ids() if "e33_2" in each]
    assert ir.async_get(hass).issues == {}
    assert f"{DOMAIN}.{subentry_id}" not in hass_storage
    line.requests.clear()
    await until_polled(entry)
    await until_polled(entry)
    assert reads(line.requests, 2) == []


async def test_pending_save_does_not_store_the_counters_of_a_deleted_meter(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    hass_storage: dict[str, Any],
) -> None:
    key = f"{DOMAIN}.{subentry_of(entry).subentry_id}"
    await until_polled(entry)
    # `async_remove_file` cancels a pending save. Its replacement in the test package
    # does not.
    with patch.object(Store, "async_remove", async_remove_file):
        await delete_meter(hass, entry, 1)
    # `async_remove_file` deletes a file, but nothing in `hass_storage`.
    hass_storage.pop(key, None)
    async_fire_time_changed(hass, dt_util.utcnow(), fire_all=True)
    await hass.async_block_till_done()
    assert key not in hass_storage


async def test_meter_is_added_to_a_bus_without_meters(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
) -> None:
    await delete_meter(hass, entry, 1)
    await hass.config_entries.async_reload(entry.entry_id)
    await add_meter()
    assert state(hass, "power") == "1300"


# -- reads -----------------------------------------------------------------------


async def test_only_the_identity_is_read_if_only_buttons_are_enabled(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    short_pauses: None,
    entry: CountisConfigEntry,
    meter: Meter,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(poller, "IDLE_PERIOD", 0.05)
    for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id):
        if each.domain != "button":
            entity_registry.async_update_entity(
                each.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.config_entries.async_setup(entry.entry_id)
    # A request from before the reload may still arrive. So wait for the first request
    # after the reload, which reads the identity.
    await until(lambda: reads(line.requests)[-1] == IDENTITY)
    line.requests.clear()
    await until(lambda: len(line.requests) > 5)
    assert set(reads(line.requests)) == {IDENTITY}

    # The reads of the identity still show whether the meter is online.
    button = "reset_partial_counters"
    meter.offline = True
    await until(lambda: state(hass, button) == STATE_UNAVAILABLE)
    meter.offline = False
    await until(lambda: state(hass, button) != STATE_UNAVAILABLE)
    assert coordinator_of(entry).online


async def test_entity_that_is_enabled_later_is_read_at_once(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    # The clock is read only once an hour.
    entity = entity_id(hass, "clock_offset")
    entity_registry.async_update_entity(entity, disabled_by=None)
    line.requests.clear()
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    # Not 0, because the clock of the meter always shows the same time in June 2025.
    assert int(state(hass, "clock_offset"))
    assert reads(line.requests).count(CLOCK) == 1


async def test_reading_that_is_older_than_the_shown_reading_is_ignored(
    hass: HomeAssistant, fast_polling: None, entry: CountisConfigEntry
) -> None:
    coordinator_of(entry).on_reading(
        Reading("energies", {"energy_consumed": 1.0}, requested_at=0)
    )
    assert state(hass, "energy_consumed") == "1234.56"


# -- the profile -----------------------------------------------------------------


def profile_of(entry: CountisConfigEntry) -> Profile:
    """Return the stored profile of the meter at unit ID 1."""
    return Profile.from_dict(subentry_of(entry).data["profile"])


@pytest.fixture
async def entry_without_tariffs(
    hass: HomeAssistant, fast_polling: None, meter: Meter, add_meter: AddMeter
) -> CountisConfigEntry:
    """Return the entry of a bus whose meter supports no tariffs and no overflows."""
    meter.refused_blocks = {table.TARIFFS_UNIT_100, table.TARIFFS, table.OVERFLOW}
    await add_meter()
    entry: CountisConfigEntry
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert profile_of(entry).blocks.keys().isdisjoint({"tariffs", "overflows"})
    return entry


async def test_profile_is_taken_again_after_a_change_of_the_firmware(
    hass: HomeAssistant,
    entry_without_tariffs: CountisConfigEntry,
    meter: Meter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = entry_without_tariffs
    await hass.config_entries.async_unload(entry.entry_id)
    meter.override = NEW_FIRMWARE
    meter.refused_blocks = set()
    await hass.config_entries.async_setup(entry.entry_id)
    before = entry.runtime_data
    assert profile_of(entry).software_version == "1.02"
    await until(lambda: profile_of(entry).software_version == "2.00")
    await until_read(hass, entry)
    # The new entities are added without a reload.
    assert entry.runtime_data is before
    assert state(hass, "tariff_1_energy") == "1000.0"
    assert state(hass, "tariff") == "1"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == "1300"
    assert meter_device(hass).sw_version == "2.00"
    assert warnings_and_errors(caplog) == []


async def test_profile_is_taken_again_after_a_refused_block(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    entry: CountisConfigEntry,
    meter: Meter,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    interval = poller.Interval(target=1, period=1)
    monkeypatch.setitem(poller.INTERVALS, "periods", interval)
    entity = entity_id(hass, "energy_consumed_today")
    entity_registry.async_update_entity(entity, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    assert state(hass, "energy_consumed_today") == "0"
    meter.refused_blocks = {table.PERIODS_UNIT_100, table.PERIODS}
    await until(lambda: "periods" not in profile_of(entry).blocks)
    await until(lambda: state(hass, "energy_consumed_today") == STATE_UNAVAILABLE)
    await until_polled(entry)
    line.requests.clear()
    await asyncio.sleep(1.5)  # virtual s; the refused block was read every 1 s
    assert set(reads(line.requests)) == {MEASUREMENTS, ENERGIES, TARIFFS}
    assert warnings_and_errors(caplog) == []


async def test_profile_of_an_older_version_is_taken_again(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    subentry = subentry_of(entry)
    older = {**subentry.data["profile"], "version": PROFILE_VERSION - 1}
    hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "profile": older}
    )
    line.requests.clear()
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: not profile_of(entry).outdated)
    await until_read(hass, entry)
    # The meter was polled before its profile was taken.
    sent = reads(line.requests)
    assert sent.index(MEASUREMENTS) < sent.index(WHOLE_IDENTITY)
    assert state(hass, "power") == "1300"


async def test_profile_is_taken_again_after_a_change_of_the_transformers(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    meter: Meter,
    add_meter: AddMeter,
) -> None:
    meter.model = "Countis E44"
    meter.settings[57346] = 500  # the primary current in A
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    # The highest current is 1.2 times the primary current.
    assert coordinator_of(entry).meter.counter_check.limits.amperes == 600
    entity = entity_id(hass, "ct_ratio")
    entity_registry.async_update_entity(entity, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    assert state(hass, "ct_ratio") == "100.0"  # 500 A / 5 A
    meter.settings[57346] = 1000
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: profile_of(entry).primary_current == 1000)
    await until(
        lambda: coordinator_of(entry).meter.counter_check.limits.amperes == 1200
    )
    await until_read(hass, entry)
    assert state(hass, "ct_ratio") == "200.0"


async def test_profile_that_cannot_be_taken_is_retried(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "custom_components.socomec_countis")
    # Do not wait for an hour until the next attempt.
    monkeypatch.setattr(coordinator, "PROFILE_PERIOD", 0)
    await hass.config_entries.async_unload(entry.entry_id)
    meter.override = NEW_FIRMWARE
    # The profile contains these counters. If the meter refuses them, the integration
    # assumes that the meter is still starting, and takes no profile.
    meter.refused_blocks = {table.ENERGIES_UNIT_100, table.ENERGIES}
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: "the profile cannot be taken" in caplog.text)
    assert profile_of(entry).software_version == "1.02"
    meter.refused_blocks = set()
    await until(lambda: profile_of(entry).software_version == "2.00")
    await until_read(hass, entry)
    assert state(hass, "energy_consumed") == "1234.56"


async def test_profile_that_cannot_be_taken_is_not_retried_by_the_next_polls(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    meter: Meter,
    line: Line,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "custom_components.socomec_countis")
    await hass.config_entries.async_unload(entry.entry_id)
    meter.override = NEW_FIRMWARE
    meter.refused_blocks = {table.ENERGIES_UNIT_100, table.ENERGIES}
    line.requests.clear()
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: "the profile cannot be taken" in caplog.text)
    for _ in range(3):
        await until_polled(entry)
    assert reads(line.requests).count(WHOLE_IDENTITY) == 1


async def test_meter_deleted_while_its_profile_is_taken_logs_no_error(
    hass: HomeAssistant,
    fast_polling: None,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    previous_profiles: list[Profile] = []

    async def async_take_profile(
        unit: ModbusUnit, *, expected: str, previous: Profile
    ) -> Profile:
        await delete_meter(hass, entry, 1)
        previous_profiles.append(previous)
        return previous

    await hass.config_entries.async_unload(entry.entry_id)
    monkeypatch.setattr(coordinator, "async_take_profile", async_take_profile)
    meter.override = NEW_FIRMWARE
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: previous_profiles)
    await hass.async_block_till_done()
    assert entry.subentries == {}
    assert warnings_and_errors(caplog) == []


# -- names and settings ----------------------------------------------------------


async def test_meter_with_a_changed_unit_id_keeps_its_entities_and_is_renamed(
    hass: HomeAssistant,
    device_registry: dr.DeviceRegistry,
    entity_registry: er.EntityRegistry,
    fast_polling: None,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
    third_meter: Meter,
) -> None:
    def entities() -> dict[str, tuple[str, str | None]]:
        """Return the entity ID and the device of each entity by its registry ID."""
        return {
            each.id: (each.entity_id, each.device_id)
            for each in er.async_entries_for_config_entry(
                entity_registry, entry.entry_id
            )
        }

    await add_meter(unit_id=2)
    entities_before = entities()
    before = coordinator_of(entry, 2)
    accepted = before.meter.counter_check.values
    await change_unit_id_of_second_meter(hass, entry, second_meter, third_meter)
    after = coordinator_of(entry, 3)
    assert after is before
    assert after.meter.unit_id == 3
    assert after.meter.counter_check.values == accepted
    assert entities() == entities_before
    names = {
        each.serial_number: each.name
        for each in dr.async_entries_for_config_entry(device_registry, entry.entry_id)
        if each.config_subentry_id
    }
    assert names == {SERIAL: "COUNTIS E33 #1", SECOND_SERIAL: "COUNTIS E33 #3"}


async def test_changed_connection_reloads_the_entry(
    hass: HomeAssistant, fast_polling: None, entry: CountisConfigEntry
) -> None:
    before = entry.runtime_data
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "baudrate": 19_200}
    )
    await until(lambda: entry.runtime_data is not before)
    await hass.async_block_till_done()
    assert entry.runtime_data.bus.baudrate == 19_200
    await until_read(hass, entry)
    assert state(hass, "power") == "1300"
