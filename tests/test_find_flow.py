"""Finding meters on a line, as a user goes through it."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from custom_components.socomec_countis.countis import search
from homeassistant.config_entries import (
    SOURCE_INTEGRATION_DISCOVERY,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import (
    EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE,
    FlowResultType,
)
from simulator import Line, Meter, line_in_thread

from .common import SERIAL, AddMeter, open_form, state, unload_all

ADDRESSES = range(1, 13)


@pytest.fixture(autouse=True)
def _short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search some addresses, on a line that answers fast."""
    monkeypatch.setattr(search, "ADDRESSES", ADDRESSES)
    monkeypatch.setattr(
        "custom_components.socomec_countis.find_flow.ADDRESSES", ADDRESSES
    )


@pytest.fixture
def third_meter() -> Meter:
    """Return a meter at address 7."""
    return Meter(address=7)


@pytest.fixture
def line(meter: Meter, second_meter: Meter, third_meter: Meter) -> Generator[Line]:
    """Run a fast line with three meters on it."""
    with line_in_thread(
        Line([meter, second_meter, third_meter], baudrate=921_600, answer_delay=0.001)
    ) as running:
        yield running


@pytest.fixture
async def progress(hass: HomeAssistant) -> list[float]:
    """Return the percentages that the frontend is told."""
    told: list[float] = []

    @callback
    def note(event: Event) -> None:
        told.append(event.data["progress"])

    hass.bus.async_listen(EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE, note)
    return told


async def finished(hass: HomeAssistant, result: ConfigFlowResult) -> ConfigFlowResult:
    """Wait for the end of a search as the frontend does, and return what it shows."""
    assert result["type"] is FlowResultType.SHOW_PROGRESS, result
    async with asyncio.timeout(60):
        while True:
            shown = hass.config_entries.flow.async_get(result["flow_id"])
            if shown.get("step_id") not in (None, "search"):
                return await hass.config_entries.flow.async_configure(result["flow_id"])
            await asyncio.sleep(0.02)


async def search_for(hass: HomeAssistant, line: Line, **known: Any) -> ConfigFlowResult:
    """Start a search at the line's port."""
    form = await open_form(hass, "find", "find_serial")
    assert form["type"] is FlowResultType.FORM
    return await hass.config_entries.flow.async_configure(
        form["flow_id"], {"device": line.port, **known}
    )


def shown_meters(result: ConfigFlowResult) -> list[str]:
    """Return the list to tick."""
    assert result["step_id"] == "found"
    schema = result["data_schema"]
    assert schema is not None
    (selector,) = schema.schema.values()
    return [option["label"] for option in selector.config["options"]]


async def shown_number(hass: HomeAssistant, result: ConfigFlowResult) -> int:
    """Return how many meters the progress says were found, as the frontend asks."""
    shown = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert shown["type"] is FlowResultType.SHOW_PROGRESS
    return int((shown["description_placeholders"] or {})["found"])


SETTINGS = {"baudrate": "9600", "parity": "none", "stopbits": "1"}


async def test_the_meters_of_a_line_are_found_and_those_ticked_are_added(
    hass: HomeAssistant, line: Line, progress: list[float]
) -> None:
    result = await finished(hass, await search_for(hass, line, **SETTINGS))
    assert shown_meters(result) == [
        f"COUNTIS E33 #1 · {SERIAL} · 9600 baud, 8N1",
        "COUNTIS E33 #2 · 1438012000002 · 9600 baud, 8N1",
        "COUNTIS E33 #7 · 1438012000007 · 9600 baud, 8N1",
    ]
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"meters": ["1", "7"]}
    )
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entries = hass.config_entries.async_entries(DOMAIN)
    assert {entry.title for entry in entries} == {"COUNTIS E33 #1", "COUNTIS E33 #7"}
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    assert state(hass, "power") == "1300"
    assert progress == sorted(progress)
    assert len(progress) >= len(ADDRESSES)
    await unload_all(hass)


async def test_a_known_address_is_tried_with_all_settings_until_it_answers(
    hass: HomeAssistant, line: Line
) -> None:
    line.understood_baudrate = 19200
    result = await finished(hass, await search_for(hass, line, address=2))
    assert shown_meters(result) == ["COUNTIS E33 #2 · 1438012000002 · 19200 baud, 8N1"]
    assert {frame[0] for frame in line.requests} == {2}
    hass.config_entries.flow.async_abort(result["flow_id"])
    await hass.async_block_till_done()


async def test_with_nothing_known_the_settings_of_the_first_answer_are_kept(
    hass: HomeAssistant, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FIRST_ADDRESSES", 2)
    line.understood_baudrate = 38400
    result = await finished(hass, await search_for(hass, line))
    assert [label.split(" · ")[2] for label in shown_meters(result)] == [
        "38400 baud, 8N1"
    ] * 3
    hass.config_entries.flow.async_abort(result["flow_id"])
    await hass.async_block_till_done()


async def test_the_search_tells_what_it_tries_and_how_many_it_found(
    hass: HomeAssistant, line: Line
) -> None:
    result = await search_for(hass, line, **SETTINGS)
    assert result["type"] is FlowResultType.SHOW_PROGRESS
    assert result["progress_action"] == "search"
    placeholders = result["description_placeholders"]
    assert placeholders is not None
    assert placeholders["device"] == line.port
    found: set[int] = set()
    async with asyncio.timeout(60):
        while 2 not in found:
            found.add(await shown_number(hass, result))
            await asyncio.sleep(0)
    assert found == {0, 1, 2}
    hass.config_entries.flow.async_abort((await finished(hass, result))["flow_id"])
    await hass.async_block_till_done()


async def test_a_search_that_is_stopped_offers_what_it_found(
    hass: HomeAssistant, line: Line
) -> None:
    result = await search_for(hass, line, **SETTINGS)
    async with asyncio.timeout(60):
        while await shown_number(hass, result) < 2:
            await asyncio.sleep(0)
    hass.config_entries.flow.async_abort(result["flow_id"])
    await hass.async_block_till_done()
    asked = len(line.requests)
    flows = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert {flow["context"]["source"] for flow in flows} == {
        SOURCE_INTEGRATION_DISCOVERY
    }
    offered = {
        flow["context"]["title_placeholders"]["name"]: flow["flow_id"] for flow in flows
    }
    assert offered.keys() == {"COUNTIS E33 #1", "COUNTIS E33 #2"}
    # It has really come to an end.
    assert len(line.requests) == asked

    result = await hass.config_entries.flow.async_configure(
        offered["COUNTIS E33 #1"], {}
    )
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert state(hass, "power") == "1300"
    await unload_all(hass)


async def test_nothing_found_says_what_was_tried_and_offers_to_try_again(
    hass: HomeAssistant, line: Line
) -> None:
    line.cut = True
    result = await finished(
        hass, await search_for(hass, line, address=9, baudrate="9600")
    )
    assert (result["type"], result["step_id"]) == (
        FlowResultType.MENU,
        "nothing_found",
    )
    placeholders = result["description_placeholders"]
    assert placeholders is not None
    assert placeholders["addresses"] == "9"
    assert placeholders["settings"] == (
        "9600 baud, 8N1, 9600 baud, 8N2, 9600 baud, 8E1, 9600 baud, 8O1,"
        " 9600 baud, 8E2, 9600 baud, 8O2"
    )
    again = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"next_step_id": "find"}
    )
    assert again["step_id"] == "find"


async def test_another_device_is_named_by_its_address(
    hass: HomeAssistant, line: Line, meter: Meter
) -> None:
    meter.override = {50004: 300}
    result = await finished(hass, await search_for(hass, line, address=1, **SETTINGS))
    assert result["step_id"] == "nothing_found"
    assert (result["description_placeholders"] or {})["others"] == "1"


async def test_a_port_that_is_not_there_is_told_in_the_form(
    hass: HomeAssistant, line: Line, tmp_path: Path
) -> None:
    form = await open_form(hass, "find", "find_serial")
    result = await hass.config_entries.flow.async_configure(
        form["flow_id"], {"device": str(tmp_path / "gone")}
    )
    result = await finished(hass, result)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": "cannot_open_port"}


async def test_an_occupied_port_is_searched_with_its_settings_and_nobody_is_disturbed(
    hass: HomeAssistant, line: Line, entry: CountisConfigEntry
) -> None:
    failures: list[str] = []

    @callback
    def watch() -> None:
        if not entry.runtime_data.last_update_success:
            failures.append("unavailable")

    entry.async_on_unload(entry.runtime_data.async_add_listener(watch))
    line.requests.clear()
    result = await finished(hass, await search_for(hass, line))
    assert [label.split(" · ")[0] for label in shown_meters(result)] == [
        "COUNTIS E33 #2",
        "COUNTIS E33 #7",
    ]
    assert "COUNTIS E33 #1" in (result["description_placeholders"] or {})["known"]
    assert failures == []
    await entry.runtime_data.async_refresh()
    assert entry.runtime_data.last_update_success
    hass.config_entries.flow.async_abort(result["flow_id"])
    await hass.async_block_till_done()


async def test_settings_that_an_occupied_port_does_not_have_are_refused(
    hass: HomeAssistant, line: Line, entry: CountisConfigEntry
) -> None:
    result = await search_for(hass, line, baudrate="19200")
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": "line_settings_in_use"}
    assert (result["description_placeholders"] or {})["reason"] == "9600 baud, 8N1"


async def test_meters_that_are_all_set_up_are_named(
    hass: HomeAssistant, line: Line, entry: CountisConfigEntry, add_meter: AddMeter
) -> None:
    await add_meter(address=2)
    await add_meter(address=7)
    result = await finished(hass, await search_for(hass, line))
    assert result["step_id"] == "nothing_found"
    placeholders = result["description_placeholders"] or {}
    assert placeholders["known"] == (
        "- COUNTIS E33 #1\n- COUNTIS E33 #2\n- COUNTIS E33 #7"
    )
    assert placeholders["addresses"] == "3-6, 8-12"


async def test_ticking_nothing_is_told(hass: HomeAssistant, line: Line) -> None:
    result = await finished(hass, await search_for(hass, line, **SETTINGS))
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"meters": []}
    )
    assert result["errors"] == {"base": "none_chosen"}
    hass.config_entries.flow.async_abort(result["flow_id"])
    await hass.async_block_till_done()
