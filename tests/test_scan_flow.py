"""The dialogs that scan a bus for meters: a new bus, and a bus that is set up."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
import re
from typing import Any

from modbus_connection import ModbusSerialParams, ModbusUnit
import pytest

from custom_components.socomec_countis import config_flow, connection, scan_flow
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import settings_to_try
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import (
    EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE,
    EVENT_DATA_ENTRY_FLOW_PROGRESSED,
    FlowResultType,
    UnknownFlow,
)
from homeassistant.helpers.translation import async_get_translations
from simulator import Line, Meter

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    FlowResult,
    bus_form,
    coordinator_of,
    end_of_scan,
    flow_manager,
    memory_line,
    open_add_meters,
    open_form,
    shown_error,
    state,
    unload_all,
    until,
    until_read,
)

UNIT_IDS = range(1, 13)
THIRD_SERIAL = "1438012000007"
FOUND = [
    f"COUNTIS E33 #1 · {SERIAL} · 9600 baud, 8N1",
    f"COUNTIS E33 #2 · {SECOND_SERIAL} · 9600 baud, 8N1",
    f"COUNTIS E33 #7 · {THIRD_SERIAL} · 9600 baud, 8N1",
]


@pytest.fixture(autouse=True)
def _few_unit_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan only the first unit IDs, so that a scan ends after few probes."""
    monkeypatch.setattr(config_flow, "UNIT_IDS", UNIT_IDS)


@pytest.fixture
async def line(meter: Meter, second_meter: Meter) -> AsyncGenerator[Line]:
    """Run a fast line with three meters."""
    meters = [meter, second_meter, Meter(unit_id=7)]
    async with memory_line(meters) as running:
        yield running


async def start_scan(hass: HomeAssistant, line: Line, **changes: Any) -> FlowResult:
    """Submit the form for a new bus without a unit ID, which starts a scan."""
    form = await open_form(hass, "serial")
    return await hass.config_entries.flow.async_configure(
        form["flow_id"], bus_form(line, **{"unit_id": None, **changes})
    )


async def start_scan_on(hass: HomeAssistant, entry: CountisConfigEntry) -> FlowResult:
    """Submit the form for meters of a bus without a unit ID, which starts a scan."""
    form = await open_add_meters(hass, entry)
    return await hass.config_entries.subentries.async_configure(form["flow_id"], {})


async def submit(
    hass: HomeAssistant, result: FlowResult, entered: dict[str, Any]
) -> FlowResult:
    """Submit a form, or choose from a menu."""
    shown: FlowResult = await flow_manager(hass, result).async_configure(
        result["flow_id"], entered
    )
    await hass.async_block_till_done()
    return shown


def listed(result: FlowResult) -> dict[str, str]:
    """Return the labels of the meters that a user can select, by their values."""
    assert result["step_id"] == "found", result
    schema = result["data_schema"]
    assert schema is not None
    (selector,) = schema.schema.values()
    return {each["value"]: each["label"] for each in selector.config["options"]}


def selected(result: FlowResult) -> list[str]:
    """Return the values of the meters that are selected by default."""
    schema = result["data_schema"]
    assert schema is not None
    (key,) = schema.schema
    values: list[str] = key.default()
    return values


def placeholders(result: FlowResult) -> dict[str, str]:
    """Return the placeholders of the text of a step."""
    return dict(result["description_placeholders"] or {})


# -- a new bus ----------------------------------------------------------------


async def test_selected_meters_are_added_in_one_entry(
    hass: HomeAssistant, line: Line
) -> None:
    result = await end_of_scan(hass, await start_scan(hass, line))
    assert list(listed(result).values()) == FOUND
    assert selected(result) == ["1", "2", "7"]
    result = await submit(hass, result, {"meters": ["1", "7"]})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert entry.state is ConfigEntryState.LOADED
    assert (entry.title, entry.unique_id) == (line.port, f"serial:{line.port}")
    assert [
        (each.title, each.unique_id, each.data["unit_id"])
        for each in entry.subentries.values()
    ] == [("COUNTIS E33 #1", SERIAL, 1), ("COUNTIS E33 #7", THIRD_SERIAL, 7)]
    await until_read(hass, entry)
    assert state(hass, "power") == "1300"
    assert state(hass, "power", THIRD_SERIAL) == "1300"
    await hass.config_entries.async_unload(entry.entry_id)


async def test_line_settings_that_are_not_entered_are_found(
    hass: HomeAssistant, line: Line
) -> None:
    line.meter_baudrate = 38400
    unknown = dict.fromkeys(("baudrate", "parity", "stopbits"))
    result = await end_of_scan(hass, await start_scan(hass, line, **unknown))
    assert {each.split(" · ")[2] for each in listed(result).values()} == {
        "38400 baud, 8N2"
    }
    assert len(listed(result)) == 3
    result = await submit(hass, result, {"meters": ["1"]})
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert entry.data["baudrate"] == 38400
    assert (entry.data["parity"], entry.data["stopbits"]) == ("none", 2)
    await hass.config_entries.async_unload(entry.entry_id)


async def test_entered_unit_id_is_probed_with_all_possible_settings(
    hass: HomeAssistant, line: Line
) -> None:
    line.meter_baudrate = 19200
    result = await end_of_scan(
        hass, await start_scan(hass, line, unit_id=2, baudrate=None, stopbits=None)
    )
    assert list(listed(result).values()) == [
        f"COUNTIS E33 #2 · {SECOND_SERIAL} · 19200 baud, 8N2"
    ]
    hass.config_entries.flow.async_abort(result["flow_id"])


async def test_progress_lists_meters_and_time_left(
    hass: HomeAssistant, line: Line
) -> None:
    progress: list[float] = []
    changes: list[str] = []

    @callback
    def add_progress(event: Event) -> None:
        progress.append(event.data["progress"])

    @callback
    def add_change(event: Event) -> None:
        changes.append(event.data["flow_id"])

    hass.bus.async_listen(EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE, add_progress)
    hass.bus.async_listen(EVENT_DATA_ENTRY_FLOW_PROGRESSED, add_change)
    result = await start_scan(hass, line)
    flow = hass.config_entries.flow
    actions = {}
    while result["type"] is FlowResultType.SHOW_PROGRESS:
        actions[placeholders(result)["found"]] = result["progress_action"]
        assert re.fullmatch(
            r"([1-4] min )?[1-5]?\d s", placeholders(result)["time_left"]
        )
        await asyncio.sleep(0.01)
        result = await flow.async_configure(result["flow_id"])
    assert actions == {
        "": "scan",
        f"- {FOUND[0]}": "scan_found",
        f"- {FOUND[0]}\n- {FOUND[1]}": "scan_found",
        f"- {FOUND[0]}\n- {FOUND[1]}\n- {FOUND[2]}": "scan_found",
    }
    texts = await async_get_translations(hass, "en", "config", [DOMAIN])
    shown = {f"component.{DOMAIN}.config.progress.{each}" for each in actions.values()}
    assert shown <= texts.keys()
    assert progress == sorted(progress)
    assert len(progress) >= len(UNIT_IDS)
    assert set(changes) == {result["flow_id"]}
    flow.async_abort(result["flow_id"])


async def test_scan_does_not_delay_home_assistant(
    hass: HomeAssistant, line: Line
) -> None:
    line.cut = True
    result = await start_scan(hass, line)
    await hass.async_block_till_done()
    shown = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert shown["type"] is FlowResultType.SHOW_PROGRESS
    hass.config_entries.flow.async_abort(result["flow_id"])
    await until(lambda: not hass.data[scan_flow.BUSES_IN_USE])


async def test_closed_dialog_ends_the_scan(hass: HomeAssistant, line: Line) -> None:
    result = await start_scan(hass, line)
    await until(lambda: line.requests)
    hass.config_entries.flow.async_abort(result["flow_id"])
    await until(lambda: not hass.data[scan_flow.BUSES_IN_USE])
    # Then another dialog can scan the bus, or add a meter.
    await end_of_scan(hass, await start_scan(hass, line))
    result = await start_scan(hass, line, unit_id=1)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await unload_all(hass)


async def test_dialog_closed_before_the_scan_sends_no_request(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = await open_form(hass, "serial")

    def close(*_: Any, **__: Any) -> Any:
        hass.config_entries.flow.async_abort(form["flow_id"])
        return settings_to_try()

    monkeypatch.setattr(scan_flow, "settings_to_try", close)
    with pytest.raises(UnknownFlow):
        await submit(hass, form, bus_form(line, unit_id=None))
    assert hass.data[scan_flow.BUSES_IN_USE] == set()
    assert line.requests == []


async def test_second_dialog_for_a_new_bus_is_rejected_during_a_scan(
    hass: HomeAssistant, line: Line
) -> None:
    first = await start_scan(hass, line, baudrate=None)
    for changes in ({}, {"unit_id": 1}, {"baudrate": "4800"}):
        second = await start_scan(hass, line, **changes)
        assert "Another dialog is using" in await shown_error(hass, second)
    assert len(listed(await end_of_scan(hass, first))) == 3
    assert hass.data[scan_flow.BUSES_IN_USE] == set()


async def test_bus_that_was_set_up_during_the_scan_is_not_added_again(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, tmp_path: Path
) -> None:
    alias = tmp_path / "by-id"
    alias.symlink_to(line.port)
    found = await end_of_scan(hass, await start_scan(hass, line, device=str(alias)))
    await add_meter()
    result = await submit(hass, found, {"meters": ["2"]})
    assert result["reason"] == "bus_already_configured"
    assert placeholders(result) == {"name": line.port}


async def test_meter_of_another_bus_is_marked_and_not_selected(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, meter: Meter
) -> None:
    other = memory_line([Meter(unit_id=4, serial=(0x1438, 0x0120, 1))])
    async with other:
        await add_meter(device=other.port, unit_id=4)
        result = await end_of_scan(hass, await start_scan(hass, line))
        assert list(listed(result).values()) == [
            f"{FOUND[0]} · ✓ {other.port}",
            *FOUND[1:],
        ]
        assert selected(result) == ["2", "7"]
        result = await submit(hass, result, {"meters": ["1", "2"]})
        text = await shown_error(hass, result)
        assert f"COUNTIS E33 #4 is already set up on the bus {other.port}" in text
        result = await submit(hass, result, {"meters": ["2"]})
        assert result["type"] is FlowResultType.CREATE_ENTRY
        await unload_all(hass)


async def test_empty_selection_is_rejected(hass: HomeAssistant, line: Line) -> None:
    result = await end_of_scan(hass, await start_scan(hass, line))
    result = await submit(hass, result, {"meters": []})
    assert "Select at least one meter" in await shown_error(hass, result)
    hass.config_entries.flow.async_abort(result["flow_id"])


async def test_scan_without_meters_lists_what_was_probed(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_flow, "UNIT_IDS", range(8, 10))
    line.cut = True
    result = await end_of_scan(hass, await start_scan(hass, line, baudrate=None))
    assert result["type"] is FlowResultType.MENU
    assert result["step_id"] == "nothing_found"
    assert placeholders(result) == {
        "device": line.port,
        "unit_ids": "8-9",
        "settings": "9600 baud, 8N1; 4800 baud, 8N1; 38400 baud, 8N1; 19200 baud, 8N1",
        "others": "",
    }
    line.cut = False
    form = await submit(hass, result, {"next_step_id": "serial"})
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "serial")
    assert form["errors"] == {}


async def test_scan_is_repeated_from_the_menu_and_from_the_form(
    hass: HomeAssistant, line: Line
) -> None:
    line.cut = True
    result = await end_of_scan(hass, await start_scan(hass, line))
    assert placeholders(result)["unit_ids"] == "1-12"
    line.cut = False
    other = await start_scan(hass, line, baudrate="19200")
    rejected = await end_of_scan(
        hass, await submit(hass, result, {"next_step_id": "scan"})
    )
    assert "Another dialog is using" in await shown_error(hass, rejected)
    hass.config_entries.flow.async_abort((await end_of_scan(hass, other))["flow_id"])
    line.cut = True
    result = await end_of_scan(
        hass, await submit(hass, rejected, bus_form(line, unit_id=None))
    )
    line.cut = False
    again = await end_of_scan(
        hass, await submit(hass, result, {"next_step_id": "scan"})
    )
    assert list(listed(again).values()) == FOUND


async def test_other_device_is_listed_with_its_unit_id(
    hass: HomeAssistant, line: Line, meter: Meter
) -> None:
    meter.override = {50004: 300}
    del line.meters[2], line.meters[7]
    result = await end_of_scan(
        hass, await start_scan(hass, line, unit_id=1, stopbits=None, baudrate=None)
    )
    assert result["step_id"] == "others_found"
    assert placeholders(result)["others"] == placeholders(result)["unit_ids"] == "1"
    form = await submit(hass, result, {"next_step_id": "serial"})
    assert form["step_id"] == "serial"


async def test_missing_port_is_an_error_of_the_form(
    hass: HomeAssistant, line: Line, tmp_path: Path
) -> None:
    device = str(tmp_path / "gone")
    result = await end_of_scan(hass, await start_scan(hass, line, device=device))
    assert f"The port {device} does not exist" in await shown_error(hass, result)


async def test_port_opened_with_other_settings_during_a_scan_is_an_error(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=9600, parity="O")
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def take_port(
            hass: HomeAssistant, params: ModbusSerialParams, unit_id: int
        ) -> AsyncIterator[ModbusUnit]:
            """Open the port for another client when the scan changes its settings."""
            if params.baudrate != 9600:
                monkeypatch.undo()
                await stack.enter_async_context(
                    async_get_temporary_unit(hass, other, 9)
                )
            async with async_get_temporary_unit(hass, params, unit_id) as unit:
                yield unit

        line.cut = True
        result = await start_scan(hass, line, baudrate=None)
        monkeypatch.setattr(connection, "async_get_temporary_unit", take_port)
        result = await end_of_scan(hass, result)
        assert "(9600 baud, 8O1)" in await shown_error(hass, result)


async def test_port_in_use_is_scanned_with_its_settings(
    hass: HomeAssistant, line: Line
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=9600)
    async with async_get_temporary_unit(hass, other, 9):
        result = await end_of_scan(
            hass, await start_scan(hass, line, baudrate=None, stopbits=None)
        )
        assert list(listed(result).values()) == FOUND
    hass.config_entries.flow.async_abort(result["flow_id"])


# -- a bus that is set up -----------------------------------------------------


async def test_more_meters_are_found_while_the_first_is_polled(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    runtime = entry.runtime_data
    first = coordinator_of(entry)
    failures: list[Any] = []
    first.polled.on_error = lambda *args: failures.append(args)
    before = runtime.bus.traffic[1].requests
    line.requests.clear()
    result = await end_of_scan(hass, await start_scan_on(hass, entry))
    assert list(listed(result).values()) == FOUND[1:]
    assert selected(result) == ["2", "7"]
    assert placeholders(result)["device"] == line.port
    result = await submit(hass, result, {"meters": ["2", "7"]})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert [each.title for each in entry.subentries.values()] == [
        "COUNTIS E33 #1",
        "COUNTIS E33 #2",
        "COUNTIS E33 #7",
    ]
    await until_read(hass, entry)
    assert state(hass, "power", THIRD_SERIAL) == "1300"
    assert entry.runtime_data is runtime
    assert coordinator_of(entry) is first
    assert runtime.bus.traffic[1].requests > before
    assert failures == []


async def test_scan_lists_no_meter_that_is_set_up(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter
) -> None:
    await add_meter(unit_id=2)
    await add_meter(unit_id=7)
    result = await end_of_scan(hass, await start_scan_on(hass, entry))
    assert result["step_id"] == "nothing_found"
    form = await submit(hass, result, {"next_step_id": "user"})
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "user")


async def test_second_scan_of_a_loaded_bus_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    first = await start_scan_on(hass, entry)
    text = await shown_error(hass, await start_scan_on(hass, entry))
    assert "Another dialog is using" in text
    assert len(listed(await end_of_scan(hass, first))) == 2


async def test_closed_dialog_ends_the_scan_of_a_loaded_bus(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.requests.clear()
    result = await start_scan_on(hass, entry)
    await until(lambda: any(request[0] == 3 for request in line.requests))
    hass.config_entries.subentries.async_abort(result["flow_id"])
    with pytest.raises(UnknownFlow):
        hass.config_entries.subentries.async_get(result["flow_id"])
    await until(lambda: not hass.data[scan_flow.BUSES_IN_USE])
    requests = len(line.requests)
    await until(lambda: len(line.requests) > requests + 3)
    assert {request[0] for request in line.requests[requests + 1 :]} == {1}


async def test_bus_is_not_reconfigured_during_a_scan(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    runtime = entry.runtime_data
    scan = await start_scan_on(hass, entry)
    form = await open_form(
        hass,
        "reconfigure_serial",
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )
    entered = bus_form(line, unit_id=None, baudrate="19200")
    text = await shown_error(hass, await submit(hass, form, entered))
    assert "Another dialog is using" in text
    assert len(listed(await end_of_scan(hass, scan))) == 2
    assert entry.runtime_data is runtime
