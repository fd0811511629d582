"""The dialogs that scan a new bus, a bus that is set up, or a reconfigured bus."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
import gc
from pathlib import Path
import re
from typing import Any

from modbus_connection import ModbusSerialParams, ModbusUnit
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import voluptuous as vol

from custom_components.socomec_countis import (
    bus_scan,
    config_flow,
    connection,
    meter_flow,
    reconfigure_flow,
    scan_flow,
)
from custom_components.socomec_countis.const import CONNECTION_TYPES, DOMAIN
from custom_components.socomec_countis.countis import Scan, settings_to_try
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.core import CoreState, Event, HomeAssistant, callback
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
    add_only,
    bus_form,
    coordinator_of,
    end_of_scan,
    flow_manager,
    memory_line,
    open_add_meters,
    open_form,
    shown_error,
    state,
    subentry_of,
    suggested_values,
    unload_all,
    until,
    until_read,
)

UNIT_IDS = range(1, 13)

# The choices in menus.
RESUME = {"next_step_id": "resume"}
SCAN_BUS = {"next_step_id": "scan_bus"}
SCAN_AGAIN = {"next_step_id": "scan_again"}
CHANGE = {"next_step_id": "change"}
RECONFIGURE_PORT = {"next_step_id": "reconfigure_serial"}

THIRD_SERIAL = "1438012000007"
# The titles of the three meters, and their labels in the list of found meters.
TITLES = ["COUNTIS E33 #1", "COUNTIS E33 #2", "COUNTIS E33 #7"]
LABELS = [
    f"COUNTIS E33 #1 · {SERIAL} · 9600 baud, 8N1",
    f"COUNTIS E33 #2 · {SECOND_SERIAL} · 9600 baud, 8N1",
    f"COUNTIS E33 #7 · {THIRD_SERIAL} · 9600 baud, 8N1",
]


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add few entities, because the dialogs do not depend on them."""
    add_only(monkeypatch)


@pytest.fixture(autouse=True)
def _few_unit_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan only the unit IDs 1 to 12, so that a scan ends after few probes."""
    for module in (config_flow, meter_flow, reconfigure_flow):
        monkeypatch.setattr(module, "UNIT_IDS", UNIT_IDS)


@pytest.fixture(autouse=True)
async def _stop_scans(hass: HomeAssistant) -> AsyncGenerator[None]:
    """Stop the scans that run at the end of a test."""
    yield
    for scan in bus_scan.scans(hass).values():
        await scan.async_stop()
    await asyncio.sleep(5)  # virtual s, in which the bus ends its last request


@pytest.fixture
async def line(meter: Meter, second_meter: Meter) -> AsyncGenerator[Line]:
    """Run a line in memory with three meters."""
    meters = [meter, second_meter, Meter(unit_id=7)]
    async with memory_line(meters) as running:
        yield running


async def submit_new_bus(hass: HomeAssistant, line: Line, **changes: Any) -> FlowResult:
    """Submit the form for a new bus, by default for the meter at unit ID 1.

    If only one unit ID and one combination of line settings are possible, the dialog
    probes the meter. Otherwise, the dialog starts a scan.
    """
    form = await open_form(hass, "serial")
    return await hass.config_entries.flow.async_configure(
        form["flow_id"], bus_form(line, **changes)
    )


async def start_scan(hass: HomeAssistant, line: Line, **changes: Any) -> FlowResult:
    """Submit the form for a new bus without a unit ID, which starts a scan."""
    return await submit_new_bus(hass, line, unit_id=None, **changes)


async def start_scan_on(hass: HomeAssistant, entry: CountisConfigEntry) -> FlowResult:
    """Submit the form *Add meters* without a unit ID, which starts a scan."""
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


def listed_labels(result: FlowResult) -> dict[str, str]:
    """Return the labels of the meters that a user can select, by unit ID."""
    assert result["type"] is FlowResultType.FORM, result
    schema = result["data_schema"]
    assert schema is not None
    (selector,) = schema.schema.values()
    return {each["value"]: each["label"] for each in selector.config["options"]}


def selected_unit_ids(result: FlowResult) -> list[str]:
    """Return the unit IDs of the meters that are selected by default."""
    schema = result["data_schema"]
    assert schema is not None
    (key,) = schema.schema
    values: list[str] = key.default()
    return values


def placeholders(result: FlowResult) -> dict[str, str]:
    """Return the placeholders of the text of a step."""
    return dict(result["description_placeholders"] or {})


async def until_probed(line: Line, unit_id: int) -> None:
    """Wait until a request is sent to a unit ID."""
    await until(lambda: any(request[0] == unit_id for request in line.requests))


# -- a new bus ----------------------------------------------------------------


async def test_selected_meters_are_added_in_one_entry(
    hass: HomeAssistant, line: Line
) -> None:
    result = await end_of_scan(hass, await start_scan(hass, line))
    assert list(listed_labels(result).values()) == LABELS
    assert selected_unit_ids(result) == ["1", "2", "7"]
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
    assert {each.split(" · ")[2] for each in listed_labels(result).values()} == {
        "38400 baud, 8N2"
    }
    assert len(listed_labels(result)) == 3
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
        hass, await submit_new_bus(hass, line, unit_id=2, baudrate=None, stopbits=None)
    )
    assert list(listed_labels(result).values()) == [
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
        TITLES[0]: "scan_found",
        f"{TITLES[0]}  \n{TITLES[1]}": "scan_found",
        f"{TITLES[0]}  \n{TITLES[1]}  \n{TITLES[2]}": "scan_found",
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
    await hass.async_block_till_done()  # does not wait for the end of the scan
    shown = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert shown["type"] is FlowResultType.SHOW_PROGRESS
    hass.config_entries.flow.async_abort(result["flow_id"])


async def test_scan_continues_after_its_dialog_is_closed(
    hass: HomeAssistant, line: Line
) -> None:
    result = await start_scan(hass, line)
    await until(lambda: line.requests)
    hass.config_entries.flow.async_abort(result["flow_id"])
    await until_probed(line, 7)
    menu = await open_form(hass)
    assert menu["menu_options"] == ["resume", "serial", "tcp", "rtu_over_tcp"]
    assert placeholders(menu) == {"device": line.port}
    result = await end_of_scan(hass, await submit(hass, menu, RESUME))
    assert list(listed_labels(result).values()) == LABELS
    result = await submit(hass, result, {"meters": ["1"]})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await unload_all(hass)


async def test_result_of_a_scan_is_shown_once_by_a_later_dialog(
    hass: HomeAssistant, line: Line
) -> None:
    await start_scan(hass, line, baudrate=None)
    (scan,) = bus_scan.scans(hass).values()
    await scan.async_wait()
    await asyncio.sleep(bus_scan.KEPT_SECONDS - 60)
    menu = await open_form(hass)
    # The dialog does not show the progress, because the scan has already ended. The
    # frontend would miss the end of the scan, and show the progress for ever.
    assert list(listed_labels(await submit(hass, menu, RESUME)).values()) == LABELS
    menu = await open_form(hass)
    assert menu["menu_options"] == ["serial", "tcp", "rtu_over_tcp"]


async def test_error_of_an_ended_scan_is_shown_by_a_later_dialog(
    hass: HomeAssistant, line: Line, tmp_path: Path
) -> None:
    device = str(tmp_path / "gone")
    await start_scan(hass, line, device=device)
    (scan,) = bus_scan.scans(hass).values()
    await scan.async_wait()
    form = await submit(hass, await open_form(hass), RESUME)
    assert f"The port {device} does not exist" in await shown_error(hass, form)


async def test_result_that_no_dialog_showed_is_forgotten_after_half_an_hour(
    hass: HomeAssistant, line: Line
) -> None:
    await start_scan(hass, line)
    (scan,) = bus_scan.scans(hass).values()
    await scan.async_wait()
    await asyncio.sleep(bus_scan.KEPT_SECONDS)
    menu = await open_form(hass)
    assert menu["menu_options"] == ["serial", "tcp", "rtu_over_tcp"]


async def test_later_dialog_with_the_same_input_shows_the_same_scan(
    hass: HomeAssistant, line: Line
) -> None:
    first = await start_scan(hass, line, baudrate=None)
    second = await start_scan(hass, line, baudrate=None)
    for result in (first, second):
        assert len(listed_labels(await end_of_scan(hass, result))) == 3
    assert bus_scan.scans(hass).keys() == {f"serial:{line.port}"}


async def test_later_dialog_suggests_the_input_of_the_running_scan(
    hass: HomeAssistant, line: Line
) -> None:
    await start_scan(hass, line, stopbits="2")
    form = await open_form(hass, "serial")
    assert suggested_values(form) == bus_form(line, unit_id=None, stopbits="2")


async def test_dialog_that_is_closed_before_its_scan_sends_no_request(
    hass: HomeAssistant,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    form = await open_form(hass, "serial")

    # Close the dialog after its form was submitted, when the scan is about to start.
    def close(*_: Any, **__: Any) -> Any:
        hass.config_entries.flow.async_abort(form["flow_id"])
        return settings_to_try()

    monkeypatch.setattr(scan_flow, "settings_to_try", close)
    with pytest.raises(UnknownFlow):
        await submit(hass, form, bus_form(line, unit_id=None))
    await asyncio.sleep(5)  # virtual s, in which a scan would send requests
    assert hass.data[scan_flow.BUSES_IN_USE] == set()
    assert line.requests == []
    gc.collect()  # logs errors of tasks
    assert "never retrieved" not in caplog.text


async def test_dialog_that_is_closed_before_its_second_scan_sends_no_request(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.cut = True
    menu = await end_of_scan(hass, await start_scan(hass, line))
    assert menu["step_id"] == "nothing_found"
    line.requests.clear()

    # Close the dialog after *Scan again*, when the scan is about to start.
    async def close(*_: Any) -> None:
        hass.config_entries.flow.async_abort(menu["flow_id"])

    monkeypatch.setattr(scan_flow, "async_stop_scan", close)
    with pytest.raises(UnknownFlow):
        await submit(hass, menu, SCAN_AGAIN)
    await asyncio.sleep(5)  # virtual s, in which a scan would send requests
    assert line.requests == []


@pytest.mark.parametrize(
    "changes",
    [{"unit_id": None}, {"unit_id": 9}, {"unit_id": None, "baudrate": "4800"}],
)
async def test_other_input_in_a_later_dialog_stops_the_scan(
    hass: HomeAssistant, line: Line, changes: dict[str, Any]
) -> None:
    first = await start_scan(hass, line, baudrate=None)
    await submit_new_bus(hass, line, **changes)
    stopped = await end_of_scan(hass, first)
    text = await shown_error(hass, stopped)
    assert f"The scan of {line.port} was stopped" in text


async def test_dialog_is_rejected_while_another_dialog_probes_a_meter(
    hass: HomeAssistant, line: Line
) -> None:
    probing = hass.async_create_task(submit_new_bus(hass, line, unit_id=9))
    await until(lambda: line.requests)
    text = await shown_error(hass, await start_scan(hass, line))
    assert "Another dialog is using" in text
    assert (await probing)["step_id"] == "no_response"
    assert hass.data[scan_flow.BUSES_IN_USE] == set()


async def test_bus_is_scanned_after_a_meter_did_not_respond(
    hass: HomeAssistant, line: Line
) -> None:
    result = await submit_new_bus(hass, line, unit_id=9, baudrate="38400")
    assert result["step_id"] == "no_response"
    text = await shown_error(hass, result)
    assert f"at unit ID 9 on {line.port} with 38400 baud" in text
    result = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    # The scan probes all unit IDs. The simulated meters respond at any speed.
    labels = listed_labels(result).values()
    assert [each.split(" · ")[0] for each in labels] == TITLES


async def test_menu_after_no_response_can_be_shown_again(
    hass: HomeAssistant, line: Line
) -> None:
    result = await submit_new_bus(hass, line, unit_id=9)
    shown = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert (shown["step_id"], placeholders(shown)) == (
        "no_response",
        placeholders(result),
    )


async def test_scan_after_no_response_is_rejected_if_no_settings_are_usable(
    hass: HomeAssistant, line: Line
) -> None:
    result = await submit_new_bus(hass, line, unit_id=9)
    other = ModbusSerialParams(device=line.port, baudrate=57600)
    async with async_get_temporary_unit(hass, other, 9):
        result = await submit(hass, result, SCAN_BUS)
        text = await shown_error(hass, result)
        assert "is already in use with other line settings" in text


async def test_bus_that_was_set_up_after_its_scan_is_not_added_again(
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
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    # The meter with the serial number `SERIAL` is set up at unit ID 4 of another bus.
    other = memory_line([Meter(unit_id=4, serial=(0x1438, 0x0120, 1))])
    async with other:
        await add_meter(device=other.port, unit_id=4)
        result = await end_of_scan(hass, await start_scan(hass, line))
        assert list(listed_labels(result).values()) == [
            f"{LABELS[0]} → {other.port}",
            *LABELS[1:],
        ]
        assert selected_unit_ids(result) == ["2", "7"]
        result = await submit(hass, result, {"meters": ["1", "2"]})
        text = await shown_error(hass, result)
        assert f"COUNTIS E33 #4 is already set up on the bus {other.port}" in text
        result = await submit(hass, result, {"meters": ["2"]})
        assert result["type"] is FlowResultType.CREATE_ENTRY
        await unload_all(hass)


async def test_empty_selection_is_rejected_and_stays_empty(
    hass: HomeAssistant, line: Line
) -> None:
    result = await end_of_scan(hass, await start_scan(hass, line))
    result = await submit(hass, result, {"meters": []})
    assert "Select at least one meter" in await shown_error(hass, result)
    assert selected_unit_ids(result) == []
    hass.config_entries.flow.async_abort(result["flow_id"])


async def test_scan_that_finds_no_meter_lists_what_was_probed(
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
    form = await submit(hass, result, CHANGE)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "serial")
    assert form["errors"] == {}


async def test_scan_is_repeated_from_the_menu_and_from_the_form(
    hass: HomeAssistant, line: Line
) -> None:
    line.cut = True
    result = await end_of_scan(hass, await start_scan(hass, line))
    assert placeholders(result)["unit_ids"] == "1-12"
    line.cut = False
    # While another dialog probes a meter, the scan is rejected, and the form is shown.
    probing = hass.async_create_task(submit_new_bus(hass, line, unit_id=9))
    await until(lambda: hass.data[scan_flow.BUSES_IN_USE])
    rejected = await submit(hass, result, SCAN_AGAIN)
    assert "Another dialog is using" in await shown_error(hass, rejected)
    await probing
    line.cut = True
    result = await end_of_scan(
        hass, await submit(hass, rejected, bus_form(line, unit_id=None))
    )
    line.cut = False
    again = await end_of_scan(hass, await submit(hass, result, SCAN_AGAIN))
    assert list(listed_labels(again).values()) == LABELS


async def test_other_device_is_listed_with_its_unit_id(
    hass: HomeAssistant, line: Line, meter: Meter
) -> None:
    meter.override = {50004: 300}  # not the product order code of a COUNTIS
    del line.meters[2], line.meters[7]
    result = await end_of_scan(
        hass, await submit_new_bus(hass, line, unit_id=1, stopbits=None, baudrate=None)
    )
    assert result["step_id"] == "others_found"
    assert placeholders(result)["others"] == placeholders(result)["unit_ids"] == "1"
    form = await submit(hass, result, CHANGE)
    assert form["step_id"] == "serial"


async def test_missing_port_is_shown_as_an_error_of_the_form(
    hass: HomeAssistant, line: Line, tmp_path: Path
) -> None:
    device = str(tmp_path / "gone")
    result = await end_of_scan(hass, await start_scan(hass, line, device=device))
    assert f"The port {device} does not exist" in await shown_error(hass, result)


async def test_scan_ends_with_an_error_if_another_client_changes_the_settings(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=9600, parity="O")
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def take_port(
            hass: HomeAssistant, params: ModbusSerialParams, unit_id: int
        ) -> AsyncIterator[ModbusUnit]:
            """Open the port.

            If the speed is not 9600 baud, another client opens the port first.
            """
            if params.baudrate != 9600:
                monkeypatch.undo()  # later openings use the original function
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


async def test_unexpected_error_during_a_scan_is_shown_and_logged(
    hass: HomeAssistant,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Scan.async_run

    async def fail_after_the_last_probe(scan: Scan) -> None:
        await run(scan)
        raise KeyError(12)

    monkeypatch.setattr(Scan, "async_run", fail_after_the_last_probe)
    result = await end_of_scan(hass, await start_scan(hass, line))
    text = await shown_error(hass, result)
    assert f"The response at unit ID 12 on {line.port}" in text
    assert "(unexpected error, see the log)" in text
    assert f"Unexpected error during the scan of {line.port}" in caplog.text
    assert "KeyError: 12" in caplog.text


async def test_port_in_use_is_scanned_with_its_settings(
    hass: HomeAssistant, line: Line
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=9600)
    async with async_get_temporary_unit(hass, other, 9):
        result = await end_of_scan(
            hass, await start_scan(hass, line, baudrate=None, stopbits=None)
        )
        assert list(listed_labels(result).values()) == LABELS
    hass.config_entries.flow.async_abort(result["flow_id"])


async def test_meter_at_a_port_in_use_is_probed_with_the_settings_of_the_port(
    hass: HomeAssistant, line: Line
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=19_200)
    async with async_get_temporary_unit(hass, other, 9):
        result = await submit_new_bus(
            hass, line, unit_id=1, baudrate=None, parity=None, stopbits=None
        )
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    assert result["data"]["baudrate"] == 19_200


# -- a bus that is set up -----------------------------------------------------


async def test_more_meters_are_found_while_the_first_is_polled(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    runtime = entry.runtime_data
    first = coordinator_of(entry)
    failures: list[Any] = []
    first.polled.on_error = lambda *args: failures.append(args)
    before = runtime.bus.traffic[1].requests
    result = await end_of_scan(hass, await start_scan_on(hass, entry))
    assert runtime.bus.traffic[1].requests > before
    assert list(listed_labels(result).values()) == LABELS[1:]
    assert selected_unit_ids(result) == ["2", "7"]
    assert placeholders(result)["device"] == line.port
    result = await submit(hass, result, {"meters": ["2", "7"]})
    assert result["reason"] == "meters_added"
    assert placeholders(result) == {"names": "COUNTIS E33 #2, COUNTIS E33 #7"}
    assert [each.title for each in entry.subentries.values()] == TITLES
    await until_read(hass, entry)
    assert state(hass, "power", THIRD_SERIAL) == "1300"
    assert entry.runtime_data is runtime
    assert coordinator_of(entry) is first
    assert failures == []


async def test_scan_does_not_list_meters_that_are_set_up(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter
) -> None:
    await add_meter(unit_id=2)
    await add_meter(unit_id=7)
    result = await end_of_scan(hass, await start_scan_on(hass, entry))
    assert result["step_id"] == "nothing_found"
    form = await submit(hass, result, CHANGE)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "user")


async def test_later_dialog_shows_the_running_scan_of_a_loaded_bus(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    first = await start_scan_on(hass, entry)
    hass.config_entries.subentries.async_abort(first["flow_id"])
    menu = await open_add_meters(hass, entry)
    assert (menu["type"], menu["step_id"]) == (FlowResultType.MENU, "resume_scan")
    assert placeholders(menu) == {"device": line.port}
    result = await end_of_scan(hass, await submit(hass, menu, RESUME))
    assert len(listed_labels(result)) == 2


async def test_stopped_scan_that_another_dialog_started_can_be_repeated(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    first = await start_scan_on(hass, entry)
    hass.config_entries.subentries.async_abort(first["flow_id"])
    menu = await open_add_meters(hass, entry)
    progress = await submit(hass, menu, RESUME)
    other = await submit(
        hass, await open_add_meters(hass, entry), {"next_step_id": "enter"}
    )
    result = await submit(hass, other, {"unit_id": 7})  # stops the scan
    assert result["type"] is FlowResultType.CREATE_ENTRY
    form = await end_of_scan(hass, progress)
    assert "then submit again" in await shown_error(hass, form)
    # The form is empty, as it was when the scan started.
    assert suggested_values(form) == {}
    again = await submit(hass, form, suggested_values(form))
    assert [*listed_labels(await end_of_scan(hass, again))] == ["2"]


async def test_unit_id_can_be_entered_while_the_loaded_bus_is_scanned(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    first = await start_scan_on(hass, entry)
    menu = await open_add_meters(hass, entry)
    shown = await hass.config_entries.subentries.async_configure(menu["flow_id"])
    assert shown["step_id"] == "resume_scan"
    form = await submit(hass, menu, {"next_step_id": "enter"})
    result = await submit(hass, form, {"unit_id": 7})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    text = await shown_error(hass, await end_of_scan(hass, first))
    assert "was stopped" in text


async def test_loaded_bus_is_scanned_after_a_meter_did_not_respond(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    form = await open_add_meters(hass, entry)
    result = await submit(hass, form, {"unit_id": 9})
    assert result["step_id"] == "no_response"
    result = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert list(listed_labels(result).values()) == LABELS[1:]


async def test_scan_of_a_loaded_bus_is_rejected_while_another_dialog_probes(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    result = await submit(hass, await open_add_meters(hass, entry), {"unit_id": 9})
    other = await open_add_meters(hass, entry)
    probing = hass.async_create_task(submit(hass, other, {"unit_id": 10}))
    await until(lambda: hass.data[scan_flow.BUSES_IN_USE])
    result = await submit(hass, result, SCAN_BUS)
    assert "Another dialog is using" in await shown_error(hass, result)
    assert (await probing)["step_id"] == "no_response"


async def open_reconfigure_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, unit_id: int = 1
) -> FlowResult:
    """Open the dialog that reconfigures the meter at a unit ID."""
    form: FlowResult = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "meter"),
        context={
            "source": SOURCE_RECONFIGURE,
            "subentry_id": subentry_of(entry, unit_id).subentry_id,
        },
    )
    return form


async def reconfigure_to_unit_id_9(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> FlowResult:
    """Reconfigure the meter at unit ID 1 to unit ID 9, at which no meter responds.

    The field "take_profile" is the switch *Detect the supported values again*.
    """
    form = await open_reconfigure_meter(hass, entry)
    return await submit(hass, form, {"unit_id": 9, "take_profile": False})


async def test_scan_finds_the_new_unit_id_of_a_reconfigured_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, meter: Meter
) -> None:
    del line.meters[1]
    # Keep the serial number, which by default would change with the unit ID.
    meter.serial = (0x1438, 0x0120, 1)
    meter.unit_id = 5
    line.meters[5] = meter
    result = await reconfigure_to_unit_id_9(hass, entry)
    assert result["step_id"] == "no_response"
    changed = await submit(hass, result, CHANGE)
    assert changed["step_id"] == "reconfigure"
    result = await submit(hass, changed, {"unit_id": 9, "take_profile": False})
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert found["step_id"] == "meter_found"
    assert placeholders(found) == {"meter": "COUNTIS E33 #1", "unit_id": "5"}
    result = await submit(hass, found, {})
    assert result["reason"] == "reconfigure_successful"
    assert subentry_of(entry, 5).title == "COUNTIS E33 #5"


@pytest.mark.parametrize("take_profile", [False, True])
async def test_choice_to_take_a_new_profile_is_kept_during_a_scan(
    hass: HomeAssistant, entry: CountisConfigEntry, *, take_profile: bool
) -> None:
    right = subentry_of(entry).data["profile"]
    wrong = right | {"is_producer": not right["is_producer"]}
    hass.config_entries.async_update_subentry(
        entry,
        subentry_of(entry),
        data={**subentry_of(entry).data, "profile": wrong},
    )
    form = await open_reconfigure_meter(hass, entry)
    result = await submit(hass, form, {"unit_id": 9, "take_profile": take_profile})
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert placeholders(found)["unit_id"] == "1"
    await submit(hass, found, {})
    assert subentry_of(entry).data["profile"] == (right if take_profile else wrong)


async def test_found_meter_without_serial_number_has_to_be_confirmed(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, second_meter: Meter
) -> None:
    second_meter.refused_blocks = {50000}  # the identification
    await add_meter(unit_id=2)
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    del line.meters[2]
    second_meter.unit_id = 5
    line.meters[5] = second_meter
    form = await open_reconfigure_meter(hass, entry, 2)
    result = await submit(hass, form, {"unit_id": 9, "take_profile": False})
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    # The found meter may be another meter, so the form only suggests its unit ID.
    assert found["step_id"] == "reconfigure"
    assert suggested_values(found)["unit_id"] == 5
    # The dialog has shown the result, so no other dialog offers it.
    form = await open_add_meters(hass, entry)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "user")


@pytest.mark.parametrize("is_offline", [False, True])
async def test_unit_id_of_another_meter_without_serial_number_is_not_suggested(
    hass: HomeAssistant,
    add_meter: AddMeter,
    line: Line,
    meter: Meter,
    second_meter: Meter,
    *,
    is_offline: bool,
) -> None:
    for each in (meter, second_meter):
        each.refused_blocks = {50000}  # the identification
    await add_meter(unit_id=1)
    await add_meter(unit_id=2)
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    del line.meters[2]
    second_meter.unit_id = 5
    second_meter.offline = is_offline
    line.meters[5] = second_meter
    form = await open_reconfigure_meter(hass, entry, 2)
    result = await submit(hass, form, {"unit_id": 9, "take_profile": False})
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    # The scan also finds the meter at unit ID 1, but this unit ID is in use.
    if is_offline:
        assert found["step_id"] == "no_known_meter"
        return
    assert suggested_values(found)["unit_id"] == 5
    result = await submit(hass, found, suggested_values(found))
    assert result["reason"] == "reconfigure_successful"


async def test_scan_for_a_reconfigured_meter_that_is_offline_names_the_others(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.offline = True
    result = await reconfigure_to_unit_id_9(hass, entry)
    menu = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert menu["step_id"] == "no_known_meter"
    assert placeholders(menu)["meter"] == "COUNTIS E33 #1"
    assert placeholders(menu)["found"] == "- COUNTIS E33 #2\n- COUNTIS E33 #7"
    form = await submit(hass, menu, CHANGE)
    assert suggested_values(form)["unit_id"] == 9


async def test_scan_is_stopped_when_its_bus_is_unloaded(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    await start_scan_on(hass, entry)
    (scan,) = bus_scan.scans(hass).values()
    await hass.config_entries.async_unload(entry.entry_id)
    await scan.async_wait()
    assert scan.is_stopped


async def test_meters_can_be_added_after_a_scan_of_an_unloaded_bus_was_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.meters[2].offline = line.meters[7].offline = True
    menu = await end_of_scan(hass, await start_scan_on(hass, entry))
    await hass.config_entries.async_unload(entry.entry_id)
    result = await submit(hass, menu, SCAN_AGAIN)
    assert result["reason"] == "bus_not_loaded"
    await hass.config_entries.async_setup(entry.entry_id)
    form = await open_add_meters(hass, entry)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "user")


async def test_scan_of_a_loaded_bus_continues_after_its_dialog_is_closed(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.requests.clear()
    result = await start_scan_on(hass, entry)
    await until_probed(line, 3)
    hass.config_entries.subentries.async_abort(result["flow_id"])
    with pytest.raises(UnknownFlow):
        hass.config_entries.subentries.async_get(result["flow_id"])
    await until_probed(line, 12)
    assert coordinator_of(entry).online


async def test_reconfiguration_of_the_bus_stops_the_scan(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    progress = await start_scan_on(hass, entry)
    form = await open_form(
        hass,
        "reconfigure_serial",
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )
    entered = bus_form(line, unit_id=None, baudrate="19200")
    result = await submit(hass, form, entered)
    assert result["reason"] == "reconfigure_successful"
    text = await shown_error(hass, await end_of_scan(hass, progress))
    assert "was stopped" in text


# -- a bus that is reconfigured -----------------------------------------------


async def reconfigure_without_response(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> FlowResult:
    """Change the line settings of a bus to settings with which no meter responds."""
    line.meter_baudrate = 19200
    form = await open_reconfigure(hass, entry, "reconfigure_serial")
    entered = bus_form(line, unit_id=None, baudrate="38400")
    result = await submit(hass, form, entered)
    assert result["step_id"] == "no_response"
    return result


async def open_reconfigure(
    hass: HomeAssistant, entry: CountisConfigEntry, *choices: str
) -> FlowResult:
    """Open the dialog that reconfigures a bus, and choose from its menus."""
    return await open_form(
        hass,
        *choices,
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )


async def test_scan_of_a_reconfigured_bus_finds_its_line_settings(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    progress = await submit(hass, result, SCAN_BUS)
    await until(lambda: entry.state is ConfigEntryState.NOT_LOADED)
    found = await end_of_scan(hass, progress)
    assert entry.state is ConfigEntryState.LOADED
    assert found["step_id"] == "reconfigure_found"
    assert placeholders(found) == {
        "device": line.port,
        "settings": "19200 baud, 8N2",
        "found": "- COUNTIS E33 #1",
    }
    assert entry.data["baudrate"] == 9600
    result = await submit(hass, found, {})
    assert result["reason"] == "reconfigure_successful"
    assert (entry.data["baudrate"], entry.data["stopbits"]) == (19200, 2)
    assert [*entry.subentries.values()] == [subentry_of(entry)]
    await until_read(hass, entry)
    assert coordinator_of(entry).online


async def test_dialog_that_reconfigures_a_bus_marks_its_connection(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    menu = await open_reconfigure(hass, entry)
    assert placeholders(menu) == {
        "device": "",
        "serial": f" (✓ {line.port})",
        "tcp": "",
        "rtu_over_tcp": "",
    }


async def test_scan_of_a_reconfigured_bus_offers_the_other_meters(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert listed_labels(found) == {
        "2": f"COUNTIS E33 #2 · {SECOND_SERIAL} · 19200 baud, 8N2",
        "7": f"COUNTIS E33 #7 · {THIRD_SERIAL} · 19200 baud, 8N2",
    }
    result = await submit(hass, found, {"meters": ["7"]})
    assert result["reason"] == "reconfigure_successful"
    assert {each.title for each in entry.subentries.values()} == {
        "COUNTIS E33 #1",
        "COUNTIS E33 #7",
    }
    await until_read(hass, entry)
    assert coordinator_of(entry, 7).online


async def test_scan_of_a_reconfigured_bus_without_other_meters_has_no_list(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    del line.meters[2], line.meters[7]
    result = await reconfigure_without_response(hass, entry, line)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert found["data_schema"] == vol.Schema({})
    result = await submit(hass, found, {})
    assert result["reason"] == "reconfigure_successful"


async def test_scan_of_a_reconfigured_bus_does_not_offer_a_unit_id_in_use(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, second_meter: Meter
) -> None:
    await add_meter(unit_id=1)
    await add_meter(unit_id=2)
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    # In place of the configured meter, another meter responds at unit ID 2.
    second_meter.serial = (0x1438, 0x0120, 9)
    result = await reconfigure_without_response(hass, entry, line)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert placeholders(found)["found"] == "- COUNTIS E33 #1"
    assert [*listed_labels(found)] == ["7"]


@pytest.mark.parametrize("title", ["COUNTIS E33 #1", "House"])
async def test_scan_of_a_reconfigured_bus_finds_a_changed_unit_id(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    title: str,
) -> None:
    hass.config_entries.async_update_subentry(entry, subentry_of(entry), title=title)
    del line.meters[1]
    # Keep the serial number, which by default would change with the unit ID.
    meter.serial, meter.unit_id = (0x1438, 0x0120, 1), 5
    line.meters[5] = meter
    result = await reconfigure_without_response(hass, entry, line)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert placeholders(found)["found"] == f"- {title} (#1 → #5)"
    result = await submit(hass, found, {})
    assert result["reason"] == "reconfigure_successful"
    # A title that the user has entered remains.
    expected = "COUNTIS E33 #5" if title.startswith("COUNTIS") else title
    assert subentry_of(entry, 5).title == expected
    assert (subentry_of(entry, 5).unique_id, len(entry.subentries)) == (SERIAL, 1)
    await until_read(hass, entry)
    assert coordinator_of(entry, 5).online


async def test_scan_of_a_reconfigured_bus_without_its_meters_names_the_others(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, meter: Meter
) -> None:
    meter.offline = True
    result = await reconfigure_without_response(hass, entry, line)
    menu = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert menu["step_id"] == "no_known_meter"
    assert placeholders(menu) == {
        "device": line.port,
        "found": "- COUNTIS E33 #2\n- COUNTIS E33 #7",
    }
    meter.offline = False
    found = await end_of_scan(hass, await submit(hass, menu, SCAN_AGAIN))
    assert found["step_id"] == "reconfigure_found"


async def test_meter_without_serial_number_is_identified_by_its_unit_id(
    hass: HomeAssistant, add_meter: AddMeter, line: Line, second_meter: Meter
) -> None:
    second_meter.refused_blocks = {50000}  # the identification
    await add_meter(unit_id=2)
    await add_meter(unit_id=7)
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    result = await reconfigure_without_response(hass, entry, line)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert placeholders(found)["found"] == "- COUNTIS #2\n- COUNTIS E33 #7"
    # The meter of unit ID 7 now responds at unit ID 2, in place of the meter without a
    # serial number. The dialog recognises neither meter, because their values could be
    # mixed up.
    third = line.meters.pop(7)
    third.serial, third.unit_id = (0x1438, 0x0120, 7), 2
    line.meters[2] = third
    result = await submit(hass, await open_reconfigure(hass, entry), RECONFIGURE_PORT)
    entered = bus_form(line, unit_id=None, baudrate="38400")
    result = await submit(hass, result, entered)
    menu = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert menu["step_id"] == "no_known_meter"


async def test_scan_of_a_reconfigured_bus_is_shown_by_a_later_dialog(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    progress = await submit(hass, result, SCAN_BUS)
    hass.config_entries.flow.async_abort(progress["flow_id"])
    menu = await open_reconfigure(hass, entry)
    assert placeholders(menu)["device"] == line.port
    found = await end_of_scan(hass, await submit(hass, menu, RESUME))
    assert found["step_id"] == "reconfigure_found"
    result = await submit(hass, found, {})
    assert result["reason"] == "reconfigure_successful"
    assert entry.data["baudrate"] == 19200
    menu = await open_reconfigure(hass, entry)
    assert menu["menu_options"] == [f"reconfigure_{each}" for each in CONNECTION_TYPES]


async def test_scan_of_a_reconfigured_bus_is_not_offered_by_other_dialogs(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    progress = await submit(hass, result, SCAN_BUS)
    hass.config_entries.flow.async_abort(progress["flow_id"])
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    form = await open_add_meters(hass, entry)
    assert (form["type"], form["step_id"]) == (FlowResultType.FORM, "user")
    menu = await open_form(hass)
    assert menu["menu_options"] == [*CONNECTION_TYPES]


async def test_bus_that_another_entry_uses_meanwhile_is_not_reconfigured(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    other = MockConfigEntry(domain=DOMAIN, title="Other", data=dict(entry.data))
    other.add_to_hass(hass)
    form = await submit(hass, result, SCAN_BUS)
    assert "already set up as Other" in await shown_error(hass, form)
    await hass.config_entries.async_remove(other.entry_id)
    entered = bus_form(line, unit_id=None, baudrate="38400")
    result = await submit(hass, form, entered)
    found = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    other.add_to_hass(hass)
    form = await submit(hass, found, {})
    assert form["step_id"] == "reconfigure_found"
    assert "already set up as Other" in await shown_error(hass, form)
    assert entry.data["baudrate"] == 9600
    await hass.config_entries.async_remove(other.entry_id)


async def test_reconfigured_bus_that_does_not_unload_is_not_scanned(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unload(*_: Any) -> bool:
        return False

    result = await reconfigure_without_response(hass, entry, line)
    with monkeypatch.context() as patched:
        patched.setattr(type(hass.config_entries), "async_unload_platforms", unload)
        result = await submit(hass, result, SCAN_BUS)
    assert result["reason"] == "bus_not_loaded"
    # Wait until the poller of the entry and its last request have ended.
    await hass.async_stop(force=True)
    await asyncio.sleep(1)


async def test_error_names_the_reconfigured_bus_that_the_scan_cannot_unload(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unload_platforms = hass.config_entries.async_unload_platforms
    calls = 0

    async def unload(*arguments: Any) -> bool:
        # The dialog unloads the bus to find the usable line settings, and loads the bus
        # again. The second unloading, which is that of the scan, fails.
        nonlocal calls
        calls += 1
        return calls == 1 and await unload_platforms(*arguments)

    result = await reconfigure_without_response(hass, entry, line)
    with monkeypatch.context() as patched:
        patched.setattr(hass.config_entries, "async_unload_platforms", unload)
        result = await end_of_scan(hass, await submit(hass, result, SCAN_BUS))
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "bus_not_loaded",
    )
    assert result["description_placeholders"] == {"name": entry.title}
    (scan,) = bus_scan.scans(hass).values()
    assert not scan.can_be_shown
    # Wait until the poller of the entry and its last request have ended.
    await hass.async_stop(force=True)
    await asyncio.sleep(1)


async def test_bus_is_set_up_again_if_its_scan_is_stopped_at_once(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    flow = hass.config_entries.flow
    await flow.async_configure(result["flow_id"], SCAN_BUS)
    (scan,) = bus_scan.scans(hass).values()
    before = entry.state
    await scan.async_stop()
    assert before is ConfigEntryState.UNLOAD_IN_PROGRESS
    assert entry.state is ConfigEntryState.LOADED


async def test_bus_is_not_set_up_after_its_scan_if_home_assistant_stops(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    await submit(hass, result, SCAN_BUS)
    (scan,) = bus_scan.scans(hass).values()
    hass.set_state(CoreState.stopping)
    await scan.async_stop()
    assert entry.state is ConfigEntryState.NOT_LOADED
    hass.set_state(CoreState.running)


async def test_bus_can_be_removed_during_its_scan(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure_without_response(hass, entry, line)
    await submit(hass, result, SCAN_BUS)
    (scan,) = bus_scan.scans(hass).values()
    await hass.config_entries.async_remove(entry.entry_id)
    await scan.async_wait()
    assert hass.config_entries.async_entries(DOMAIN) == []
    assert len(scan.scan.found) == 3
