"""Adding and moving a meter, as a user goes through it."""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from simulator import FLIPPED, Line, Meter, line_in_thread

from .common import SERIAL, AddMeter, entity_id, open_form, state

SECOND_SERIAL = "1438012000002"


async def shown_error(hass: HomeAssistant, result: ConfigFlowResult) -> str:
    """Return the error as the frontend shows it."""
    assert result["type"] is FlowResultType.FORM
    errors = result["errors"]
    assert errors is not None
    texts = await async_get_translations(hass, "en", "config", [DOMAIN])
    text = texts[f"component.{DOMAIN}.config.error.{errors['base']}"]
    return text.format(**(result["description_placeholders"] or {}))


def set_up_entries(hass: HomeAssistant) -> list[ConfigEntry[Any]]:
    """Return the integration's entries."""
    return hass.config_entries.async_entries(DOMAIN)


async def start_reconfigure(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> ConfigFlowResult:
    """Open the reconfigure form."""
    return await open_form(
        hass,
        "reconfigure_serial",
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )


async def reconfigure(
    hass: HomeAssistant, entry: CountisConfigEntry, place: dict[str, Any]
) -> ConfigFlowResult:
    """Go through the reconfigure flow."""
    form = await start_reconfigure(hass, entry)
    assert form["type"] is FlowResultType.FORM
    result = await hass.config_entries.flow.async_configure(form["flow_id"], place)
    await hass.async_block_till_done()
    return result


async def test_a_meter_is_added(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "COUNTIS E33 #1"
    assert result["data"] == {
        "type": "serial",
        "device": line.port,
        "address": 1,
        "baudrate": 9600,
        "parity": "none",
        "stopbits": 1,
        "serial_number": SERIAL,
    }
    (entry,) = set_up_entries(hass)
    assert entry.unique_id == SERIAL
    assert state(hass, "power") == "1300"


async def test_two_meters_share_a_line(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry
) -> None:
    result = await add_meter(address=2)
    assert result["title"] == "COUNTIS E33 #2"
    assert [each.state for each in set_up_entries(hass)] == [
        ConfigEntryState.LOADED,
        ConfigEntryState.LOADED,
    ]
    (connection,) = async_get_connection_info(hass)
    assert sorted(connection.units.values()) == [[1], [2]]
    assert state(hass, "energy_consumed", SECOND_SERIAL) == "0"


async def test_a_port_that_is_not_there_is_named(
    hass: HomeAssistant, add_meter: AddMeter
) -> None:
    result = await add_meter(device="/dev/no-such-port")
    text = await shown_error(hass, result)
    assert "/dev/no-such-port cannot be opened" in text
    assert os.strerror(2) in text


async def test_a_port_that_is_just_being_closed_is_waited_for(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    with Path(line.port).open("rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        hass.loop.call_later(0.4, fcntl.flock, other, fcntl.LOCK_UN)
        result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_port_that_another_program_holds_is_told(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    with Path(line.port).open("rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        text = await shown_error(hass, await add_meter())
    assert "no other program does" in text


async def test_silence_names_the_settings_that_were_tried(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, meter: Meter
) -> None:
    result = await add_meter(address=77, baudrate="19200", stopbits="2")
    text = await shown_error(hass, result)
    assert f"at address 77 on {line.port} with 19200 baud, 8N2" in text

    # What was entered stays, and may be corrected in the same form.
    schema = result["data_schema"]
    assert schema is not None
    suggested = {
        key.schema: key.description["suggested_value"] for key in schema.schema
    }
    assert suggested["address"] == 77
    assert suggested["baudrate"] == "19200"
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], suggested | {"address": 1}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY, await shown_error(
        hass, result
    )


async def test_a_wrong_speed_is_silence(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    line.understood_baudrate = 19200
    assert "9600 baud, 8N1" in await shown_error(hass, await add_meter())
    result = await add_meter(baudrate="19200")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_another_device_is_told_from_a_countis(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.override = {50004: 300}
    text = await shown_error(hass, await add_meter())
    assert "it is not a COUNTIS" in text
    assert "300" in text


async def test_a_damaged_answer_is_told_from_silence(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.exception = 4
    text = await shown_error(hass, await add_meter())
    assert "Something answers at address 1" in text


async def test_line_settings_in_conflict_name_those_in_use(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry
) -> None:
    result = await add_meter(address=2, baudrate="19200")
    text = await shown_error(hass, result)
    assert "other line settings (9600 baud, 8N1)" in text
    assert entry.state is ConfigEntryState.LOADED


async def test_line_settings_in_conflict_with_another_integration_are_told(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    from modbus_connection import ModbusSerialParams  # noqa: PLC0415

    from homeassistant.components.modbus import (  # noqa: PLC0415
        async_get_temporary_unit,
    )

    other = ModbusSerialParams(device=line.port, baudrate=38400)
    async with async_get_temporary_unit(hass, other, 9):
        text = await shown_error(hass, await add_meter())
    assert "already in use with other line settings" in text
    assert "38400" in text


async def test_the_same_meter_is_not_added_twice(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    second_meter: Meter,
    line: Line,
) -> None:
    line.requests.clear()
    result = await add_meter()
    assert result["reason"] == "already_configured"

    # The same meter at another address, as after reprogramming it.
    second_meter.serial = (0x1438, 0x0120, 1)
    result = await add_meter(address=2)
    assert result["reason"] == "already_configured"
    assert len(set_up_entries(hass)) == 1


async def test_a_port_is_known_under_any_of_its_names(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
    tmp_path: Path,
) -> None:
    alias = tmp_path / "by-id"
    alias.symlink_to(line.port)
    result = await add_meter(device=str(alias), address=2)
    assert result["data"]["device"] == line.port
    assert len(async_get_connection_info(hass)) == 1


@pytest.mark.parametrize("address", [0, 256])
async def test_an_address_that_no_meter_has_is_refused(
    hass: HomeAssistant, add_meter: AddMeter, address: int
) -> None:
    from homeassistant.data_entry_flow import InvalidData  # noqa: PLC0415

    with pytest.raises(InvalidData):
        await add_meter(address=address)


async def test_a_meter_without_a_serial_number_is_known_by_its_place(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter, line: Line
) -> None:
    meter.refuses = {50000}
    result = await add_meter()
    assert result["title"] == "COUNTIS #1"
    (entry,) = set_up_entries(hass)
    assert entry.unique_id == f"{line.port}#1"
    # Its entities are not: they survive a move.
    assert state(hass, "power", entry.entry_id) == "1300"
    assert (await add_meter())["reason"] == "already_configured"


async def test_a_meter_moves_to_another_address(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    second_meter: Meter,
    place: dict[str, Any],
) -> None:
    before = entity_id(hass, "power")
    meter.silent = True
    second_meter.serial = (0x1438, 0x0120, 1)
    result = await reconfigure(hass, entry, place | {"address": 2})
    assert result["reason"] == "reconfigure_successful"
    assert (entry.data["address"], entry.title) == (2, "COUNTIS E33 #2")
    assert entry.unique_id == SERIAL
    assert entry.state is ConfigEntryState.LOADED
    assert entity_id(hass, "power") == before


async def test_a_meter_deleted_during_a_read_can_be_added_again_at_once(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, add_meter: AddMeter
) -> None:
    line.answer_delay = 0.1
    poll = hass.async_create_task(entry.runtime_data.async_refresh())
    asked = len(line.requests)
    while len(line.requests) == asked:
        await asyncio.sleep(0.01)
    await hass.config_entries.async_remove(entry.entry_id)
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result["errors"]
    assert result["result"].state is ConfigEntryState.LOADED
    await poll


async def test_a_name_given_by_the_user_stays_when_the_meter_moves(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    second_meter: Meter,
    place: dict[str, Any],
) -> None:
    hass.config_entries.async_update_entry(entry, title="Heat pump")
    second_meter.serial = (0x1438, 0x0120, 1)
    await reconfigure(hass, entry, place | {"address": 2})
    assert (entry.data["address"], entry.title) == (2, "Heat pump")


async def test_another_meter_is_refused_and_nothing_changes(
    hass: HomeAssistant, entry: CountisConfigEntry, place: dict[str, Any]
) -> None:
    result = await reconfigure(hass, entry, place | {"address": 2})
    text = await shown_error(hass, result)
    assert f"serial number {SECOND_SERIAL}" in text
    assert SERIAL in text
    assert entry.data["address"] == 1
    assert entry.state is ConfigEntryState.LOADED


async def test_a_place_that_another_entry_has_is_refused(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    place: dict[str, Any],
) -> None:
    await add_meter(address=2)
    result = await reconfigure(hass, entry, place | {"address": 2})
    assert result["reason"] == "already_configured"


async def test_new_line_settings_are_taken_over_for_all_meters_on_the_line(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    place: dict[str, Any],
) -> None:
    await add_meter(address=2)
    result = await reconfigure(
        hass, entry, place | {"baudrate": "19200", "stopbits": "2"}
    )
    assert result["reason"] == "reconfigure_successful"
    for each in set_up_entries(hass):
        assert each.state is ConfigEntryState.LOADED
        assert (each.data["baudrate"], each.data["stopbits"]) == (19200, 2)
    assert {each.data["address"] for each in set_up_entries(hass)} == {1, 2}
    assert len(async_get_connection_info(hass)) == 1


async def test_line_settings_that_do_not_work_change_nothing(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
    place: dict[str, Any],
) -> None:
    await add_meter(address=2)
    line.cut = True
    form = await start_reconfigure(hass, entry)
    result = await hass.config_entries.flow.async_configure(
        form["flow_id"], place | {"baudrate": "19200"}
    )
    assert "19200 baud, 8N1" in await shown_error(hass, result)
    line.cut = False
    await hass.async_block_till_done()
    assert {each.data["baudrate"] for each in set_up_entries(hass)} == {9600}


async def test_a_meter_without_a_serial_number_can_move(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    add_meter: AddMeter,
    meter: Meter,
    second_meter: Meter,
    line: Line,
    place: dict[str, Any],
) -> None:
    meter.refuses = {50000}
    second_meter.refuses = {50000}
    await add_meter()
    (entry,) = set_up_entries(hass)
    result = await reconfigure(hass, entry, place | {"address": 2})
    assert result["reason"] == "reconfigure_successful"
    assert entry.unique_id == f"{line.port}#2"
    assert state(hass, "power", entry.entry_id) == "1300"


async def test_noise_while_looking_for_a_meter_is_an_error_to_try_again(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    # Twice, as what is damaged is asked for once more.
    line.faults.extend([FLIPPED] * 2)
    result = await add_meter()
    assert result["type"] is FlowResultType.FORM
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_new_settings_work_at_once_on_a_line_as_slow_as_a_real_one(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    with line_in_thread(Line([meter], baudrate=9600, answer_delay=0.02)) as line:
        added: CountisConfigEntry = (await add_meter(device=line.port))["result"]
        place = {"device": line.port, "address": 1, "baudrate": "9600"}
        for stopbits in ("2", "1", "2"):
            # In the middle of a poll.
            poll = hass.async_create_task(added.runtime_data.async_refresh())
            await asyncio.sleep(0.05)
            result = await reconfigure(
                hass, added, place | {"parity": "none", "stopbits": stopbits}
            )
            assert result["type"] is FlowResultType.ABORT, result["errors"]
            await poll
        await hass.config_entries.async_unload(added.entry_id)
