"""What a user is told about a meter that is not the one it was, and can decide."""

from typing import Any

from modbus_connection import ModbusSerialParams
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis import (
    async_remove_config_entry_device,
    coordinator,
)
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from custom_components.socomec_countis.countis import meter as countis_meter
from homeassistant.components.modbus import async_get_unit
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from simulator import Line, Meter

from .common import SERIAL, AddMeter, Clock, entity_id, state

STRANGER = (0x2025, 0x0001, 7)
STRANGER_SERIAL = "2025000100007"


async def poll(entry: CountisConfigEntry) -> None:
    """Have the next poll now."""
    await entry.runtime_data.async_refresh()


async def fix(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    issue: ir.IssueEntry,
    choice: str = "confirm",
) -> dict[str, Any]:
    """Go through the fix flow of an issue, and return how it ended."""
    assert await async_setup_component(hass, "repairs", {})
    client = await hass_client()
    begun = await client.post(
        "/api/repairs/issues/fix",
        json={"handler": DOMAIN, "issue_id": issue.issue_id},
    )
    form = await begun.json()
    if form["type"] == "menu":
        chosen = await client.post(
            f"/api/repairs/issues/fix/{form['flow_id']}",
            json={"next_step_id": choice},
        )
        form = await chosen.json()
    if form["type"] != "form":
        aborted: dict[str, Any] = form
        return aborted
    assert form["step_id"] == "confirm", form
    ended = await client.post(f"/api/repairs/issues/fix/{form['flow_id']}", json={})
    await hass.async_block_till_done()
    result: dict[str, Any] = await ended.json()
    return result


def only_issue(hass: HomeAssistant) -> ir.IssueEntry:
    """Return the one issue there is."""
    (issue,) = ir.async_get(hass).issues.values()
    return issue


async def exchange(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    """Put another meter in the place of the entry's, after some silence."""
    meter.silent = True
    await poll(entry)
    meter.silent = False
    meter.serial = STRANGER
    meter.counters.consumed = 9_000_000
    await poll(entry)
    await hass.async_block_till_done()


@pytest.mark.parametrize("silence", [True, False])
async def test_another_meter_at_the_address_is_noticed_and_nothing_of_it_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    silence: bool,  # noqa: FBT001
) -> None:
    if not silence:
        # The next look at the serial number is due.
        monkeypatch.setattr(countis_meter, "IDENTIFIED_FOR_SECONDS", 0)
        await hass.config_entries.async_reload(entry.entry_id)
        meter.serial = STRANGER
        meter.counters.consumed = 9_000_000
        await poll(entry)
        await hass.async_block_till_done()
    else:
        await exchange(hass, entry, meter)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "another_meter"
    assert state(hass, "energy_consumed") == STATE_UNAVAILABLE
    issue = only_issue(hass)
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "found": STRANGER_SERIAL,
        "expected": SERIAL,
    }


async def test_the_issue_goes_when_the_entrys_own_meter_is_back(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, impatient: None
) -> None:
    await exchange(hass, entry, meter)
    meter.serial = None
    meter.counters.consumed = 1_234_560
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert ir.async_get(hass).issues == {}
    assert state(hass, "energy_consumed") == "1234.56"


async def test_a_new_meter_that_is_accepted_gets_entities_of_its_own(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
) -> None:
    await exchange(hass, entry, meter)
    result = await fix(hass, hass_client, only_issue(hass))
    assert result["type"] == "create_entry"
    assert entry.state is ConfigEntryState.LOADED
    assert entry.unique_id == STRANGER_SERIAL
    assert state(hass, "energy_consumed", STRANGER_SERIAL) == "9000.0"
    # The old one's are still there, with their history and without a value.
    assert state(hass, "energy_consumed") == STATE_UNAVAILABLE
    assert ir.async_get(hass).issues == {}

    devices = {
        device.serial_number: device
        for device in dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    }
    assert await async_remove_config_entry_device(hass, entry, devices[SERIAL])
    assert not await async_remove_config_entry_device(
        hass, entry, devices[STRANGER_SERIAL]
    )


async def test_a_meter_that_is_set_up_elsewhere_cannot_be_accepted(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    meter: Meter,
    impatient: None,
) -> None:
    await add_meter(address=2)
    meter.silent = True
    await poll(entry)
    meter.silent = False
    meter.serial = (0x1438, 0x0120, 2)
    await poll(entry)
    await hass.async_block_till_done()
    result = await fix(hass, hass_client, only_issue(hass))
    assert (result["type"], result["reason"]) == ("abort", "already_configured")
    assert entry.unique_id == SERIAL


async def test_removing_the_entry_withdraws_the_issue(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, impatient: None
) -> None:
    await exchange(hass, entry, meter)
    await hass.config_entries.async_remove(entry.entry_id)
    assert ir.async_get(hass).issues == {}


@pytest.mark.parametrize(
    ("level", "key"), [(500_000, "counter_fell"), (2_000_000, "counter_jumped")]
)
async def test_a_level_that_lasts_is_believed_and_told(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    level: float,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter.counters.consumed = level
    for _ in range(5):
        clock.seconds += 14
        await poll(entry)
        assert state(hass, "energy_consumed") == "1234.56"
    clock.seconds += 14
    await poll(entry)
    assert float(state(hass, "energy_consumed")) == pytest.approx(level / 1000, abs=0.1)
    assert caplog.text.count("believed, as it lasts") == 1
    issue = only_issue(hass)
    assert issue.translation_key == key
    assert issue.translation_placeholders is not None
    assert issue.translation_placeholders["entity"] == entity_id(
        hass, "energy_consumed"
    )
    assert issue.translation_placeholders["believed"] == "1234.56"
    result = await fix(hass, hass_client, issue)
    assert result["type"] == "create_entry"
    assert ir.async_get(hass).issues == {}


async def test_a_partial_counter_reset_at_the_meter_is_followed_at_once(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.counters.partial_consumed = 0
    await poll(entry)
    assert state(hass, "partial_energy_consumed") == "0"
    assert ir.async_get(hass).issues == {}


async def test_reconfigure_is_the_other_way_out_and_the_issue_stays_until_it_helps(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
    second_meter: Meter,
    place: dict[str, Any],
    impatient: None,
) -> None:
    await exchange(hass, entry, meter)
    result = await fix(hass, hass_client, only_issue(hass), "reconfigure")
    assert (result["type"], result["reason"]) == ("abort", "reconfigure")
    kind, flow_id = result["next_flow"]
    assert kind == "config_flow"
    assert only_issue(hass).translation_key == "another_meter"

    second_meter.serial = (0x1438, 0x0120, 1)
    form = await hass.config_entries.flow.async_configure(
        flow_id, {"next_step_id": "reconfigure_serial"}
    )
    ended = await hass.config_entries.flow.async_configure(
        form["flow_id"], place | {"address": 2}
    )
    await hass.async_block_till_done()
    assert ended["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.LOADED
    assert ir.async_get(hass).issues == {}


async def test_a_meter_that_is_silent_for_an_hour_is_told_once_until_it_answers(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter.silent = True
    await poll(entry)
    assert ir.async_get(hass).issues == {}
    monkeypatch.setattr(coordinator, "SILENT_SECONDS", 0)
    await poll(entry)
    await poll(entry)
    issue = only_issue(hass)
    assert issue.translation_key == "meter_silent"
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "address": "1",
        "device": entry.data["device"],
    }
    meter.silent = False
    await poll(entry)
    assert ir.async_get(hass).issues == {}


async def test_line_settings_in_conflict_are_told_until_they_agree(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    other = MockConfigEntry(title="Heat pump")
    other.add_to_hass(hass)
    async_get_unit(hass, other, ModbusSerialParams(device=line.port, baudrate=19200), 9)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    issue = only_issue(hass)
    assert issue.translation_key == "line_conflict"
    assert issue.translation_placeholders == {
        "name": "COUNTIS E33 #1",
        "device": line.port,
        "settings": "9600 baud, 8N1",
        "others": "Heat pump",
    }
    for release in other._on_unload or []:  # noqa: SLF001
        if coroutine := release():
            await coroutine
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert ir.async_get(hass).issues == {}
