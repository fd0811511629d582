"""The repair issues of a meter, and the dialogs that fix them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis import (
    async_remove_config_entry_device,
    coordinator,
)
from custom_components.socomec_countis.const import DOMAIN, SUBENTRY_METER
from custom_components.socomec_countis.countis import (
    PARTIAL_TARIFF_COUNTERS,
    TARIFF_COUNTERS,
    poller,
)
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from simulator import Line, Meter, table

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    Clock,
    add_only,
    coordinator_of,
    entity_id,
    registers_of,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("fast_polling", "short_pauses")

# The serial number of another meter, as the values of its three registers and as text.
OTHER_SERIAL_WORDS = (0x2025, 0x0001, 7)
OTHER_SERIAL = "2025000100007"

# In s; the pause between two readings. If a counter jumps, its new level is accepted
# when the level has lasted for 60 s. For these 60 s, at most 15 s of each pause count,
# so a pause of 14 s counts in full.
READING_PAUSE = 14

# Virtual s in which the poller verifies the identity of another meter 20 times.
LATER_POLLS_SECONDS = 1

# Registers that read 0, by register address.
NO_ENERGY_CONSUMED = registers_of("energy_consumed", 0)
NO_TARIFF_1_ENERGY = registers_of("tariff_1_energy", 0)
NO_FREQUENCY = registers_of("frequency", 0)

type Post = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities, and those that an issue may list."""
    keys = (*TARIFF_COUNTERS, *PARTIAL_TARIFF_COUNTERS, "partial_energy_consumed")
    add_only(monkeypatch, *keys)


@pytest.fixture
async def post(
    hass: HomeAssistant, entry: CountisConfigEntry, hass_client: ClientSessionGenerator
) -> Post:
    """Return a function that posts to the fix flows and returns the JSON response."""
    assert await async_setup_component(hass, "repairs", {})
    client = await hass_client()

    async def post(flow_id: str = "", **content: str) -> dict[str, Any]:
        path = f"/api/repairs/issues/fix/{flow_id}".removesuffix("/")
        response = await client.post(path, json=content)
        result: dict[str, Any] = await response.json()
        await hass.async_block_till_done()
        return result

    return post


async def open_fix(post: Post, issue: ir.IssueEntry) -> dict[str, Any]:
    """Open the fix flow of an issue, and return its form."""
    form = await post(handler=DOMAIN, issue_id=issue.issue_id)
    assert form["type"] == "form", form
    return form


async def fix(post: Post, issue: ir.IssueEntry) -> dict[str, Any]:
    """Confirm the fix flow of an issue, and return the result."""
    form = await open_fix(post, issue)
    return await post(form["flow_id"])


def issues(hass: HomeAssistant) -> list[ir.IssueEntry]:
    """Return all issues."""
    return list(ir.async_get(hass).issues.values())


def only_issue(hass: HomeAssistant) -> ir.IssueEntry:
    """Return the only issue."""
    (issue,) = issues(hass)
    return issue


# -- another meter ---------------------------------------------------------------


def replace_meter(meter: Meter) -> None:
    """Let a meter with another serial number respond at unit ID 1."""
    meter.serial = OTHER_SERIAL_WORDS
    meter.counters.consumed = 9_000_000  # Wh


def restore_meter(meter: Meter) -> None:
    """Let the expected meter respond again, with its own serial number."""
    meter.serial = None
    meter.counters.consumed = 1_234_560  # Wh


async def replaced_meter_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> ir.IssueEntry:
    """Replace a meter during an outage, and return the issue."""
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    replace_meter(meter)
    meter.offline = False
    await until(lambda: issues(hass))
    return only_issue(hass)


async def test_another_meter_creates_an_issue_and_its_values_are_not_shown(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    issue = await replaced_meter_issue(hass, entry, meter)
    await asyncio.sleep(LATER_POLLS_SECONDS)
    assert entry.state is ConfigEntryState.LOADED
    assert not coordinator_of(entry).online
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "energy_consumed") == "1234.56"
    assert issue.translation_key == "another_meter"
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "found": OTHER_SERIAL,
        "expected": SERIAL,
    }


async def test_meter_replaced_without_an_outage_creates_an_issue(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Verify the identity as often as the power is read, not only once an hour.
    monkeypatch.setitem(poller.INTERVALS, "identity", poller.INTERVALS["power"])
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    replace_meter(meter)
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    await asyncio.sleep(LATER_POLLS_SECONDS)
    assert only_issue(hass).translation_key == "another_meter"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == STATE_UNAVAILABLE


async def test_another_meter_after_a_restart_creates_an_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    replace_meter(meter)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await until(lambda: issues(hass))
    await asyncio.sleep(LATER_POLLS_SECONDS)
    assert only_issue(hass).translation_key == "another_meter"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == STATE_UNAVAILABLE


async def test_issue_is_deleted_when_the_expected_meter_responds(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await replaced_meter_issue(hass, entry, meter)
    restore_meter(meter)
    await until(lambda: state(hass, "power") == "1300")
    assert issues(hass) == []
    assert state(hass, "energy_consumed") == "1234.56"


async def test_issues_are_deleted_when_swapped_unit_ids_are_swapped_back(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    meter: Meter,
    second_meter: Meter,
) -> None:
    await add_meter(unit_id=2)
    # While the line is cut, the two meters swap their unit IDs: each unit ID then has
    # the serial number of the other meter.
    line.cut = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    await until(lambda: state(hass, "power", SECOND_SERIAL) == STATE_UNAVAILABLE)
    meter.serial, second_meter.serial = (0x1438, 0x0120, 2), (0x1438, 0x0120, 1)
    line.cut = False
    await until(lambda: len(issues(hass)) == 2)
    assert {each.translation_key for each in issues(hass)} == {"another_meter"}

    # Each meter has its own serial number again.
    meter.serial = second_meter.serial = None
    await until(lambda: state(hass, "power") == "1300")
    await until(lambda: state(hass, "power", SECOND_SERIAL) == "1300")
    assert issues(hass) == []


async def test_issue_is_deleted_when_the_unit_id_of_the_meter_is_reconfigured(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, second_meter: Meter
) -> None:
    await replaced_meter_issue(hass, entry, meter)
    second_meter.serial = (0x1438, 0x0120, 1)  # the expected meter is now at unit ID 2
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, SUBENTRY_METER),
        context={
            "source": SOURCE_RECONFIGURE,
            "subentry_id": subentry_of(entry).subentry_id,
        },
    )
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {"unit_id": 2, "take_profile": False}
    )
    assert result["reason"] == "reconfigure_successful"
    await until(lambda: not issues(hass))
    await until(lambda: state(hass, "power") == "1300")


async def test_accepted_meter_gets_entities_of_its_own(
    hass: HomeAssistant,
    post: Post,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
    meter: Meter,
) -> None:
    issue = await replaced_meter_issue(hass, entry, meter)
    meter.model = "Countis E34"
    meter.tariff_count = 8
    form = await open_fix(post, issue)
    assert form["description_placeholders"] == issue.translation_placeholders
    assert subentry_of(entry).unique_id == SERIAL
    result = await post(form["flow_id"])
    assert result["type"] == "create_entry"
    assert issues(hass) == []

    await until_read(hass, entry)
    assert subentry_of(entry).unique_id == OTHER_SERIAL
    assert coordinator_of(entry).meter.profile.tariff_count == 8
    assert state(hass, "energy_consumed", OTHER_SERIAL) == "9000.0"
    # The entities of the old meter remain, with their history and without a value.
    assert state(hass, "energy_consumed") == STATE_UNAVAILABLE

    devices = {
        device.serial_number: device
        for device in dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    }
    assert devices[OTHER_SERIAL].model == "COUNTIS E34"
    assert await async_remove_config_entry_device(hass, entry, devices[SERIAL])
    for used in (OTHER_SERIAL, None):  # the new meter, and the bus
        assert not await async_remove_config_entry_device(hass, entry, devices[used])


async def test_meter_that_is_already_configured_is_not_accepted(
    hass: HomeAssistant,
    post: Post,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    meter: Meter,
) -> None:
    await add_meter(unit_id=2)
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    meter.serial = (0x1438, 0x0120, 2)  # the serial number of the meter at unit ID 2
    meter.offline = False
    await until(lambda: issues(hass))
    result = await fix(post, only_issue(hass))
    assert (result["type"], result["reason"]) == ("abort", "already_configured")
    assert result["description_placeholders"] == {"name": "COUNTIS E33 #2"}
    assert subentry_of(entry).unique_id == SERIAL


async def test_meter_that_does_not_respond_is_not_accepted(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix(post, await replaced_meter_issue(hass, entry, meter))
    meter.offline = True
    result = await post(form["flow_id"])
    assert result["errors"] == {"base": "no_response"}
    assert result["description_placeholders"]["settings"] == "9600 baud, 8N1"
    meter.offline = False
    result = await post(form["flow_id"])
    assert result["type"] == "create_entry"
    assert subentry_of(entry).unique_id == OTHER_SERIAL


async def test_expected_meter_that_responds_again_is_not_replaced(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix(post, await replaced_meter_issue(hass, entry, meter))
    meter.serial = None
    result = await post(form["flow_id"])
    assert result["errors"] == {"base": "another_meter"}
    assert result["description_placeholders"]["found"] == SERIAL
    assert subentry_of(entry).unique_id == SERIAL


async def test_other_meter_is_not_accepted_while_its_bus_is_not_set_up(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix(post, await replaced_meter_issue(hass, entry, meter))
    await hass.config_entries.async_unload(entry.entry_id)
    result = await post(form["flow_id"])
    assert (result["type"], result["reason"]) == ("abort", "not_set_up")
    assert result["description_placeholders"] == {"name": "COUNTIS E33 #1"}


async def test_other_meter_is_not_accepted_if_the_expected_one_was_deleted(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix(post, await replaced_meter_issue(hass, entry, meter))
    hass.config_entries.async_remove_subentry(entry, subentry_of(entry).subentry_id)
    await hass.async_block_till_done()
    result = await post(form["flow_id"])
    assert (result["type"], result["reason"]) == ("abort", "not_set_up")


@pytest.mark.parametrize("whole_bus", [True, False])
async def test_issue_for_a_replaced_meter_is_deleted_with_its_meter_or_bus(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    whole_bus: bool,  # noqa: FBT001
) -> None:
    await replaced_meter_issue(hass, entry, meter)
    if whole_bus:
        await hass.config_entries.async_remove(entry.entry_id)
    else:
        subentry_id = subentry_of(entry).subentry_id
        hass.config_entries.async_remove_subentry(entry, subentry_id)
        await hass.async_block_till_done()
    assert issues(hass) == []


# -- accepted levels -------------------------------------------------------------


async def test_level_that_lasts_is_accepted_with_an_issue(
    hass: HomeAssistant,
    post: Post,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter.counters.consumed = 2_000_000
    # A level is accepted after 60 s. At the fifth poll, it has lasted for 4 * 14 s.
    for _ in range(5):
        await until_polled(entry)
        clock.seconds += READING_PAUSE
        assert state(hass, "energy_consumed") == "1234.56"
    await until(lambda: issues(hass))
    assert float(state(hass, "energy_consumed")) == pytest.approx(2000, abs=0.1)
    assert caplog.text.count("stayed there; accepted") == 1
    # The accepted level is saved at once. Otherwise Home Assistant would have the old
    # level after a power cut.
    storage_key = f"{DOMAIN}.{subentry_of(entry).subentry_id}"
    await until(
        lambda: (
            hass_storage[storage_key]["data"]["counters"]["energy_consumed"]["value"]
            == float(state(hass, "energy_consumed"))
        )
    )
    issue = only_issue(hass)
    assert issue.translation_key == "counter_jumped"
    assert issue.translation_placeholders is not None
    assert issue.translation_placeholders["entity"] == entity_id(
        hass, "energy_consumed"
    )
    # The value that was accepted before the jump.
    assert issue.translation_placeholders["accepted"] == "1234.56 kWh"
    assert (await fix(post, issue))["type"] == "create_entry"
    assert issues(hass) == []


async def test_issue_of_a_counter_stays_at_an_unload_and_is_deleted_with_its_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.counters.consumed = 2_000_000
    # At the sixth poll, the level has lasted for 5 * 14 s, so it is accepted.
    for _ in range(6):
        await until_polled(entry)
        clock.seconds += READING_PAUSE
    await until(lambda: issues(hass))
    await hass.config_entries.async_unload(entry.entry_id)
    # The issue remains, because the user still has to correct the statistics.
    assert only_issue(hass).translation_key == "counter_jumped"
    await hass.config_entries.async_setup(entry.entry_id)
    hass.config_entries.async_remove_subentry(entry, subentry_of(entry).subentry_id)
    await hass.async_block_till_done()
    assert issues(hass) == []


async def test_partial_counter_reset_at_the_meter_creates_no_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.counters.partial_consumed = 0
    await until(lambda: state(hass, "partial_energy_consumed") == "0")
    assert issues(hass) == []


# -- an offline meter ------------------------------------------------------------


async def test_issue_of_an_offline_meter_is_deleted_after_a_response(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert issues(hass) == []
    meter.offline = False
    await until(lambda: state(hass, "power") == "1300")

    # Create the issue at once, not after an hour.
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 0)
    meter.offline = True
    await until(lambda: issues(hass))
    issue = only_issue(hass)
    assert issue.translation_key == "meter_offline"
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "unit_id": "1",
        "device": entry.data["device"],
    }
    meter.offline = False
    await until(lambda: not issues(hass))


# -- a bus on which no meter responds ----------------------------------------------


@pytest.fixture
async def bus(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    monkeypatch: pytest.MonkeyPatch,
) -> CountisConfigEntry:
    """Return the entry of a bus with two meters.

    After 1 s without a response, the issue of a meter or of the bus is created.
    """
    await add_meter(unit_id=2)
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 1)
    return entry


async def test_one_issue_reports_that_no_meter_of_a_bus_responds(
    hass: HomeAssistant, bus: CountisConfigEntry, line: Line
) -> None:
    line.cut = True
    await until(lambda: issues(hass))
    await asyncio.sleep(2.5)  # virtual s, more than twice the time until an issue
    issue = only_issue(hass)
    assert issue.translation_key == "bus_offline"
    assert issue.severity is ir.IssueSeverity.WARNING
    assert not issue.is_fixable
    assert issue.translation_placeholders == {
        "bus": bus.title,
        "device": bus.data["device"],
    }
    line.cut = False
    await until(lambda: coordinator_of(bus).online and coordinator_of(bus, 2).online)
    await asyncio.sleep(2.5)  # virtual s, in which a wrong issue would be created
    assert issues(hass) == []


async def test_meter_that_stays_offline_gets_an_issue_when_the_bus_responds(
    hass: HomeAssistant, bus: CountisConfigEntry, line: Line, meter: Meter
) -> None:
    line.cut = True
    await until(lambda: issues(hass))
    meter.offline = True
    line.cut = False
    await until(lambda: not issues(hass))
    await until(lambda: issues(hass))
    issue = only_issue(hass)
    assert issue.translation_key == "meter_offline"
    assert (issue.translation_placeholders or {})["unit_id"] == "1"


async def test_issue_of_a_bus_is_deleted_when_a_meter_is_deleted(
    hass: HomeAssistant, bus: CountisConfigEntry, line: Line
) -> None:
    line.cut = True
    await until(lambda: issues(hass))
    # If a bus has only one meter, an issue of the meter replaces the issue of the bus.
    hass.config_entries.async_remove_subentry(bus, subentry_of(bus, 2).subentry_id)
    await until(lambda: not issues(hass))
    await until(lambda: issues(hass))
    assert only_issue(hass).translation_key == "meter_offline"


async def test_issue_of_a_meter_is_deleted_when_no_meter_of_its_bus_responds(
    hass: HomeAssistant, bus: CountisConfigEntry, line: Line, meter: Meter
) -> None:
    meter.offline = True
    await until(lambda: issues(hass))
    assert only_issue(hass).translation_key == "meter_offline"
    line.cut = True
    # Wait until the issue of the meter is deleted, or the issue of the bus replaces it.
    await until(
        lambda: len(issues(hass)) != 1 or only_issue(hass).issue_id[:3] == "bus"
    )
    await asyncio.sleep(2.5)  # virtual s, more than twice the time until an issue
    assert only_issue(hass).translation_key == "bus_offline"
    line.cut = False
    await until(lambda: not issues(hass))
    await until(lambda: issues(hass))
    assert only_issue(hass).translation_key == "meter_offline"


async def test_offline_issue_is_deleted_when_another_meter_has_the_unit_id(
    hass: HomeAssistant, bus: CountisConfigEntry, meter: Meter
) -> None:
    meter.offline = True
    await until(lambda: issues(hass))
    assert only_issue(hass).translation_key == "meter_offline"
    replace_meter(meter)
    meter.offline = False
    await until(lambda: only_issue(hass).translation_key == "another_meter")


async def test_bus_with_another_meter_at_a_unit_id_is_not_reported_as_offline(
    hass: HomeAssistant,
    bus: CountisConfigEntry,
    line: Line,
    meter: Meter,
    second_meter: Meter,
) -> None:
    line.cut = True
    await until(lambda: issues(hass))
    assert only_issue(hass).translation_key == "bus_offline"
    replace_meter(meter)
    second_meter.offline = True
    line.cut = False
    await until(lambda: only_issue(hass).translation_key == "another_meter")
    await until(lambda: len(issues(hass)) == 2)
    assert {each.translation_key for each in issues(hass)} == {
        "another_meter",
        "meter_offline",
    }


async def test_issue_of_a_bus_is_deleted_when_the_bus_is_unloaded(
    hass: HomeAssistant, bus: CountisConfigEntry, line: Line
) -> None:
    line.cut = True
    await until(lambda: issues(hass))
    assert await hass.config_entries.async_unload(bus.entry_id)
    assert issues(hass) == []


# -- rejected counters -----------------------------------------------------------


@pytest.fixture
def early_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Create the issue of rejected counters after 0.1 s."""
    monkeypatch.setattr(coordinator, "REJECTED_ISSUE_SECONDS", 0.1)


def reported_counters(hass: HomeAssistant) -> list[str]:
    """Return the counters that the issue of rejected counters lists."""
    placeholders = only_issue(hass).translation_placeholders
    assert placeholders is not None
    listed = placeholders["counters"]
    counters = ("energy_consumed", *TARIFF_COUNTERS)
    found = [each for each in counters if f"`{entity_id(hass, each)}`" in listed]
    assert len(found) == len(listed.splitlines())
    return found


async def open_fix_of_fallen_counter(
    hass: HomeAssistant, post: Post, meter: Meter
) -> dict[str, Any]:
    """Let the consumed energy fall to 500 kWh, and return the form of the issue."""
    meter.counters.consumed = 500_000
    await until(lambda: issues(hass))
    return await open_fix(post, only_issue(hass))


@pytest.mark.usefixtures("early_issue")
async def test_issue_of_a_counter_that_fell_is_deleted_at_a_plausible_reading(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    meter.override = NO_ENERGY_CONSUMED
    await until(lambda: issues(hass))
    issue = only_issue(hass)
    assert issue.translation_key == "counters_rejected"
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "counters": f"- `{entity_id(hass, 'energy_consumed')}`: 1234.56 kWh → 0.00 kWh",
    }
    # A pause of two hours does not make the lower value plausible.
    clock.seconds += 7200
    for _ in range(3):
        await until_polled(entry)
    assert state(hass, "energy_consumed") == "1234.56"
    meter.override = {}
    await until(lambda: not issues(hass))
    assert state(hass, "energy_consumed") == "1234.56"


@pytest.mark.usefixtures("early_issue")
async def test_counter_that_fell_is_accepted_after_a_confirmation(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix_of_fallen_counter(hass, post, meter)
    assert "1234.56 kWh → 500.00 kWh" in form["description_placeholders"]["counters"]
    assert state(hass, "energy_consumed") == "1234.56"
    assert (await post(form["flow_id"]))["type"] == "create_entry"
    await until(lambda: state(hass, "energy_consumed") != "1234.56")
    assert float(state(hass, "energy_consumed")) == pytest.approx(500, abs=0.1)
    issue = only_issue(hass)
    assert issue.translation_key == "counter_fell"
    assert (await fix(post, issue))["type"] == "create_entry"
    assert issues(hass) == []


@pytest.mark.usefixtures("early_issue")
async def test_counters_of_a_meter_that_is_not_set_up_cannot_be_confirmed(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix_of_fallen_counter(hass, post, meter)
    await hass.config_entries.async_unload(entry.entry_id)
    assert issues(hass) == []
    result = await post(form["flow_id"])
    assert (result["type"], result["reason"]) == ("abort", "not_set_up")


@pytest.mark.usefixtures("early_issue")
async def test_open_form_is_shown_again_if_the_counter_has_changed(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    form = await open_fix_of_fallen_counter(hass, post, meter)
    meter.counters.consumed = 0
    for _ in range(2):
        await until_polled(entry)
    again = await post(form["flow_id"])
    assert again["type"] == "form"
    assert "1234.56 kWh → 0.00 kWh" in again["description_placeholders"]["counters"]
    assert state(hass, "energy_consumed") == "1234.56"
    assert (await post(form["flow_id"]))["type"] == "create_entry"
    await until(lambda: float(state(hass, "energy_consumed")) < 1)


@pytest.mark.usefixtures("early_issue")
async def test_rejected_counters_without_a_valid_reading_cannot_be_confirmed(
    hass: HomeAssistant, post: Post, entry: CountisConfigEntry, meter: Meter
) -> None:
    # At 0 Hz, the meter is assumed to be starting, so its counters are not read.
    meter.override = NO_FREQUENCY
    await until(lambda: issues(hass))
    issue = only_issue(hass)
    assert issue.translation_key == "counters_rejected"
    assert issue.translation_placeholders is not None
    listed = f"- `{entity_id(hass, 'energy_consumed')}`: 1234.56 kWh → ?"
    assert listed in issue.translation_placeholders["counters"]
    result = await post(handler=DOMAIN, issue_id=issue.issue_id)
    assert (result["type"], result["reason"]) == ("abort", "no_reading")
    meter.override = {}
    await until(lambda: not issues(hass))


@pytest.mark.usefixtures("early_issue")
async def test_question_mark_replaces_the_last_accepted_value_if_there_is_none(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    store = coordinator.counter_store(hass, subentry_of(entry).subentry_id)
    await store.async_remove()
    # The counter was above 0 when the profile was taken. So a reading of 0 is rejected.
    meter.override = NO_ENERGY_CONSUMED
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: issues(hass))
    placeholders = only_issue(hass).translation_placeholders
    assert placeholders is not None
    listed = f"- `{entity_id(hass, 'energy_consumed')}`: ? → 0.00 kWh"
    assert listed in placeholders["counters"]


async def test_form_lists_a_block_only_after_its_reads_failed_for_1_s(
    hass: HomeAssistant,
    post: Post,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "REJECTED_ISSUE_SECONDS", 1)
    meter.override = NO_ENERGY_CONSUMED
    await until(lambda: issues(hass))
    meter.refused_blocks = {table.TARIFFS_UNIT_100, table.TARIFFS}
    meter_coordinator = coordinator_of(entry)
    await until(lambda: "tariff_1_energy" in meter_coordinator.rejected_counters)
    await open_fix(post, only_issue(hass))
    assert reported_counters(hass) == ["energy_consumed"]
    await asyncio.sleep(1.1)
    form = await open_fix(post, only_issue(hass))
    assert "kWh → ?" in form["description_placeholders"]["counters"]
    assert reported_counters(hass) == ["energy_consumed", *TARIFF_COUNTERS]


async def test_issue_lists_a_block_only_after_it_was_rejected_for_1_s(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "REJECTED_ISSUE_SECONDS", 1)
    meter.override = NO_ENERGY_CONSUMED
    await asyncio.sleep(0.8)
    meter.override = NO_ENERGY_CONSUMED | NO_TARIFF_1_ENERGY
    await asyncio.sleep(0.15)
    meter.override = NO_TARIFF_1_ENERGY
    await asyncio.sleep(0.8)
    # Until now, each of the two blocks was rejected for only 0.95 s.
    assert issues(hass) == []
    await asyncio.sleep(0.2)
    assert reported_counters(hass) == ["tariff_1_energy"]
    meter.override = NO_TARIFF_1_ENERGY | NO_ENERGY_CONSUMED
    await asyncio.sleep(0.75)
    assert reported_counters(hass) == ["tariff_1_energy"]
    await asyncio.sleep(0.35)
    assert reported_counters(hass) == ["energy_consumed", "tariff_1_energy"]
    meter.override = NO_ENERGY_CONSUMED
    await asyncio.sleep(0.15)
    assert reported_counters(hass) == ["energy_consumed"]


async def test_outage_restarts_the_time_until_rejected_counters_are_reported(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "REJECTED_ISSUE_SECONDS", 1)
    meter.override = NO_ENERGY_CONSUMED
    await asyncio.sleep(0.75)
    meter.offline = True
    await asyncio.sleep(3)
    meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    await asyncio.sleep(0.75)
    assert issues(hass) == []
    await asyncio.sleep(0.5)
    assert reported_counters(hass) == ["energy_consumed"]


@pytest.mark.usefixtures("early_issue")
async def test_issue_is_deleted_when_the_rejected_counters_are_disabled(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    entity_registry: er.EntityRegistry,
    meter: Meter,
) -> None:
    meter.override = NO_TARIFF_1_ENERGY
    await until(lambda: issues(hass))
    # Disable all entities for which the block of the tariffs is read.
    for key in (*TARIFF_COUNTERS, *PARTIAL_TARIFF_COUNTERS):
        registered = entity_registry.async_get_entity_id(
            "sensor", DOMAIN, f"{SERIAL}_{key}"
        )
        assert registered is not None
        entity_registry.async_update_entity(
            registered, disabled_by=er.RegistryEntryDisabler.USER
        )
    entity_registry.async_update_entity(
        entity_id(hass, "tariff"), disabled_by=er.RegistryEntryDisabler.USER
    )
    await until(lambda: not issues(hass))


@pytest.mark.usefixtures("early_issue")
async def test_issue_of_rejected_counters_stays_while_the_meter_is_offline(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = NO_ENERGY_CONSUMED
    await until(lambda: issues(hass))
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert "counters_rejected" in {each.translation_key for each in issues(hass)}
    meter.override = {}
    meter.offline = False
    await until(lambda: not issues(hass))
    assert state(hass, "energy_consumed") == "1234.56"
