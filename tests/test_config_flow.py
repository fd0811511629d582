"""The dialogs that add a bus with a meter, and reconfigure a bus."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
import fcntl
from pathlib import Path
from typing import Any

from modbus_connection import ModbusSerialParams
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.socomec_countis import connection, reconfigure_flow, scan_flow
from custom_components.socomec_countis.connection import BUS_ERRORS, async_profile_at
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import Profile, async_take_profile
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import (
    SOURCE_IGNORE,
    SOURCE_RECONFIGURE,
    ConfigEntryDisabler,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData, UnknownFlow
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import (
    LOST,
    Line,
    Meter,
    late,
)

from .common import (
    SERIAL,
    AddMeter,
    FlowResult,
    add_only,
    bus_form,
    coordinator_of,
    memory_line,
    meter_device,
    open_form,
    shown_error,
    state,
    subentry_of,
    suggested_values,
    unload_all,
    until,
)

NO_PORT = "/dev/no-such-port"


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add few entities, because the dialogs do not depend on them."""
    add_only(monkeypatch)


@pytest.fixture
async def other_line(hass: HomeAssistant) -> AsyncGenerator[Line]:
    """Run a second line with two meters.

    The meter at unit ID 1 has the serial number of the meter at unit ID 1 of the first
    line. The meter at unit ID 2 has a serial number of its own.
    """
    meters = [Meter(unit_id=1), Meter(unit_id=2, serial=(0x2025, 0x0001, 7))]
    async with memory_line(meters) as line:
        yield line
        # Unload first, because no request may be sent on a line that is closing.
        await unload_all(hass)


async def submit(hass: HomeAssistant, entered: dict[str, Any]) -> FlowResult:
    """Submit the form for a new bus on a serial port."""
    form = await open_form(hass, "serial")
    return await hass.config_entries.flow.async_configure(form["flow_id"], entered)


# -- a new bus ----------------------------------------------------------------


async def test_form_suggests_line_settings_that_auto_mode_supports(
    hass: HomeAssistant,
) -> None:
    # A meter in AUTO mode adapts to these line settings.
    form = await open_form(hass, "serial")
    assert suggested_values(form) == {
        "baudrate": "9600",
        "parity": "none",
        "stopbits": "2",
    }


@pytest.mark.parametrize(("kind", "port"), [("tcp", 502), ("rtu_over_tcp", 8899)])
async def test_form_for_a_new_gateway_suggests_its_usual_tcp_port(
    hass: HomeAssistant, kind: str, port: int
) -> None:
    form = await open_form(hass, kind)
    assert suggested_values(form) == {"port": port, "baudrate": "9600"}


async def test_complete_form_adds_the_bus_with_its_meter(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert (entry.title, entry.unique_id) == (line.port, f"serial:{line.port}")
    assert entry.data == {
        "type": "serial",
        "device": line.port,
        "baudrate": 9600,
        "parity": "none",
        "stopbits": 1,
    }
    (meter,) = entry.subentries.values()
    assert (meter.title, meter.unique_id) == ("COUNTIS E33 #1", SERIAL)
    assert (meter.data["unit_id"], meter.data["serial_number"]) == (1, SERIAL)
    assert meter.data["profile"] == coordinator_of(entry).meter.profile.as_dict()
    assert state(hass, "power") == "1300"


async def test_missing_port_is_reported(
    hass: HomeAssistant, add_meter: AddMeter
) -> None:
    text = await shown_error(hass, await add_meter(device=NO_PORT))
    assert f"The port {NO_PORT} does not exist" in text


@pytest.mark.real_time
async def test_port_in_use_is_opened_after_its_release(
    hass: HomeAssistant,
    add_meter: AddMeter,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Exception] = []

    async def release_after_error(*args: Any) -> Profile:
        try:
            return await async_profile_at(*args)
        except BUS_ERRORS as err:
            errors.append(err)
            fcntl.flock(locked_port, fcntl.LOCK_UN)
            raise

    monkeypatch.setattr(scan_flow, "async_profile_at", release_after_error)
    monkeypatch.setattr(scan_flow, "REOPEN_SECONDS", 60)
    with Path(line.port).open("rb", buffering=0) as locked_port:
        fcntl.flock(locked_port, fcntl.LOCK_EX)
        result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert len(errors) == 1


@pytest.mark.real_time
async def test_port_that_another_program_uses_is_reported(
    hass: HomeAssistant,
    add_meter: AddMeter,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan_flow, "REOPEN_SECONDS", 0)
    with Path(line.port).open("rb", buffering=0) as locked_port:
        fcntl.flock(locked_port, fcntl.LOCK_EX)
        text = await shown_error(hass, await add_meter())
    assert f"Another program uses the port {line.port}" in text


async def test_missing_meter_is_reported_with_the_entered_values(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    result = await add_meter(unit_id=77, baudrate="19200", stopbits="2")
    text = await shown_error(hass, result)
    assert f"at unit ID 77 on {line.port} with 19200 baud, 8N2" in text

    # The form keeps the entered values, and the user corrects the unit ID.
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"next_step_id": "change"}
    )
    entered = suggested_values(result)
    assert entered == bus_form(line, unit_id=77, baudrate="19200", stopbits="2")
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], entered | {"unit_id": 1}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY, result


async def test_wrong_speed_is_reported_as_missing_response(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    line.meter_baudrate = 19200
    assert "9600 baud, 8N1" in await shown_error(hass, await add_meter())
    result = await add_meter(baudrate="19200")
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_meter_in_auto_mode_is_added_after_two_lost_responses(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    # A meter in AUTO mode needs several requests to find the line settings.
    line.faults.extend([LOST, LOST])
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result


async def test_meter_that_responds_late_is_added(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    # In the dialog, the response timeout is at least 1 s.
    line.faults.append(late(0.6))
    first_index = len(line.requests)
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    # The client sent the first request only once.
    assert line.requests[first_index] != line.requests[first_index + 1]


async def test_device_that_is_no_countis_is_rejected(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.override = {50004: 300}  # product order code; a COUNTIS has 100
    text = await shown_error(hass, await add_meter())
    assert "is not a COUNTIS" in text
    assert "300" in text


async def test_exception_response_is_reported_as_invalid_response(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.exception_code = 4  # the Modbus exception "server device failure"
    text = await shown_error(hass, await add_meter())
    assert "The response at unit ID 1" in text
    assert "not valid" in text


async def test_adapter_that_echoes_is_reported(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    line.echoes = True
    result = await add_meter()
    assert result["errors"] == {"base": "adapter_echoes"}
    text = await shown_error(hass, result)
    assert f"adapter or gateway {line.port} sends back every request (echo)" in text
    assert "switch off the echo" in text


async def test_line_settings_of_another_integration_are_reported(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    other = ModbusSerialParams(device=line.port, baudrate=38400)
    # The other integration uses a device at unit ID 9.
    async with async_get_temporary_unit(hass, other, 9):
        text = await shown_error(hass, await add_meter())
    assert "already in use with other line settings (38400 baud, 8N1)" in text


@pytest.mark.parametrize("unit_id", [0, 256])
async def test_unit_id_outside_1_to_255_is_rejected(
    hass: HomeAssistant, add_meter: AddMeter, unit_id: int
) -> None:
    with pytest.raises(InvalidData):
        await add_meter(unit_id=unit_id)


async def test_meter_without_serial_number_is_added(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.refused_blocks = {50000}  # the identification
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    (subentry,) = entry.subentries.values()
    assert (subentry.title, subentry.unique_id) == ("COUNTIS #1", None)
    assert subentry.data["serial_number"] is None
    assert state(hass, "power", subentry.subentry_id) == "1300"


async def test_bus_that_is_set_up_is_not_added_again(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, tmp_path: Path
) -> None:
    alias = tmp_path / "by-id"
    alias.symlink_to(line.port)
    for port in (line.port, str(alias)):
        result = await submit(hass, bus_form(line, device=port, unit_id=2))
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "bus_already_configured"
        assert result["description_placeholders"] == {"name": line.port}
    assert len(async_get_connection_info(hass)) == 1


async def test_meter_that_is_set_up_on_another_bus_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, other_line: Line
) -> None:
    result = await submit(hass, bus_form(other_line))
    text = await shown_error(hass, result)
    assert f"COUNTIS E33 #1 is already set up on the bus {line.port}" in text


async def test_open_dialog_does_not_block_another_dialog(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    # No meter has unit ID 77.
    left_open = await submit(hass, bus_form(line, unit_id=77))
    assert left_open["step_id"] == "no_response"
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    # Home Assistant closes the open dialog when the same bus is added.
    with pytest.raises(UnknownFlow):
        hass.config_entries.flow.async_get(left_open["flow_id"])


async def test_bus_is_added_and_reconfigured_beside_an_ignored_entry(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    MockConfigEntry(domain=DOMAIN, source=SOURCE_IGNORE, data={}).add_to_hass(hass)
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = hass.config_entries.async_loaded_entries(DOMAIN)[0]
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"


# -- a bus that is set up -----------------------------------------------------


async def open_reconfigure(
    hass: HomeAssistant, entry: CountisConfigEntry, kind: str = "serial"
) -> FlowResult:
    """Open the form that reconfigures a bus."""
    return await open_form(
        hass,
        f"reconfigure_{kind}",
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )


async def reconfigure(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    entered: dict[str, Any],
) -> FlowResult:
    """Reconfigure a bus. Ignore the unit ID, for which the form has no field."""
    form = await open_reconfigure(hass, entry)
    entered = {key: value for key, value in entered.items() if key != "unit_id"}
    result = await hass.config_entries.flow.async_configure(form["flow_id"], entered)
    await hass.async_block_till_done()
    return result


async def assert_is_read(
    hass: HomeAssistant, entry: CountisConfigEntry, unit_id: int
) -> None:
    """Wait until a meter of the loaded bus is read."""
    assert entry.state is ConfigEntryState.LOADED
    await until(lambda: coordinator_of(entry, unit_id).shown_online)


async def test_form_for_changing_to_a_gateway_suggests_its_usual_tcp_port(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    form = await open_reconfigure(hass, entry, "tcp")
    assert suggested_values(form) == {"port": 502, "baudrate": "9600"}


async def test_new_line_settings_apply_to_all_meters(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry, line: Line
) -> None:
    await add_meter(unit_id=2)
    form = await open_reconfigure(hass, entry)
    assert suggested_values(form) == bus_form(line, unit_id=None)
    power_entity_id = er.async_get(hass).async_get_entity_id(
        "sensor", DOMAIN, f"{SERIAL}_power"
    )
    # The simulated meters receive at any speed, unless `meter_baudrate` is set.
    result = await reconfigure(
        hass, entry, bus_form(line, baudrate="19200", stopbits="2")
    )
    assert result["reason"] == "reconfigure_successful"
    assert (entry.data["baudrate"], entry.data["stopbits"]) == (19200, 2)
    (info,) = async_get_connection_info(hass)
    assert info.units == {entry.entry_id: [1, 2]}
    await assert_is_read(hass, entry, 1)
    await assert_is_read(hass, entry, 2)
    assert power_entity_id == er.async_get(hass).async_get_entity_id(
        "sensor", DOMAIN, f"{SERIAL}_power"
    )


async def test_line_settings_without_response_are_not_stored(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.meter_baudrate = 9600
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert "19200 baud, 8N1" in await shown_error(hass, result)
    assert result["menu_options"] == ["scan_bus", "change"]
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"next_step_id": "change"}
    )
    assert suggested_values(result)["baudrate"] == "19200"
    assert entry.data["baudrate"] == 9600
    await assert_is_read(hass, entry, 1)


async def test_line_settings_are_stored_if_one_of_two_meters_responds(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
) -> None:
    await add_meter(unit_id=2)
    meter.offline = True
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"
    await assert_is_read(hass, entry, 2)


async def test_all_meters_that_do_not_respond_are_named(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry, line: Line
) -> None:
    await add_meter(unit_id=2)
    line.cut = True
    result = await reconfigure(hass, entry, bus_form(line))
    assert "No meter responds at unit ID 1, 2 on" in await shown_error(hass, result)


async def test_another_meter_is_reported_rather_than_a_missing_response(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
    other_line: Line,
) -> None:
    await add_meter(unit_id=2)
    other_line.meters[1].serial = (0x2025, 0x0001, 8)
    other_line.meters[2].offline = True
    result = await reconfigure(hass, entry, bus_form(other_line))
    assert "Another meter responds at unit ID 1" in await shown_error(hass, result)


async def test_meters_that_are_online_are_verified_first(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add_meter(unit_id=2)
    meter.offline = True
    await until(lambda: not coordinator_of(entry, 1).online)
    # Only one meter is probed. The offline meter, at unit ID 1, would not respond.
    monkeypatch.setattr(reconfigure_flow, "MAX_PROBED_METERS", 1)
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"


async def test_bus_with_another_meter_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, other_line: Line
) -> None:
    other_line.meters[1].serial = (0x2025, 0x0001, 8)
    result = await reconfigure(hass, entry, bus_form(other_line))
    text = await shown_error(hass, result)
    assert "unit ID 1: its serial number is 2025000100008, not" in text
    assert SERIAL in text
    assert entry.data["device"] == line.port
    await assert_is_read(hass, entry, 1)


async def test_port_that_cannot_be_opened_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    result = await reconfigure(hass, entry, bus_form(line, device=NO_PORT))
    assert "does not exist" in await shown_error(hass, result)
    await assert_is_read(hass, entry, 1)


async def test_bus_moves_to_another_port(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, other_line: Line
) -> None:
    result = await reconfigure(hass, entry, bus_form(other_line))
    assert result["reason"] == "reconfigure_successful"
    assert (entry.title, entry.unique_id) == (
        other_line.port,
        f"serial:{other_line.port}",
    )
    await assert_is_read(hass, entry, 1)


# "Cellar" is a title that the user entered. None keeps the default title, the port.
@pytest.mark.parametrize("title", [None, "Cellar"])
async def test_symbolic_link_to_the_port_is_stored(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    tmp_path: Path,
    title: str | None,
) -> None:
    alias = tmp_path / "by-id"
    alias.symlink_to(line.port)
    if title:
        hass.config_entries.async_update_entry(entry, title=title)
    result = await reconfigure(hass, entry, bus_form(line, device=str(alias)))
    assert result["reason"] == "reconfigure_successful"
    assert entry.data["device"] == str(alias)
    assert entry.unique_id == f"serial:{alias}"
    assert entry.title == (title or str(alias))
    await assert_is_read(hass, entry, 1)


async def test_port_of_another_entry_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, other_line: Line
) -> None:
    other = await submit(hass, bus_form(other_line, unit_id=2))
    assert other["type"] is FlowResultType.CREATE_ENTRY
    result = await reconfigure(hass, entry, bus_form(other_line))
    assert f"already set up as {other_line.port}" in await shown_error(hass, result)
    await assert_is_read(hass, entry, 1)


async def test_bus_without_meters_requires_a_port_that_opens(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line, other_line: Line
) -> None:
    hass.config_entries.async_remove_subentry(entry, subentry_of(entry).subentry_id)
    await hass.async_block_till_done()
    result = await reconfigure(hass, entry, bus_form(line, device=NO_PORT))
    assert "does not exist" in await shown_error(hass, result)
    other_line.cut = True
    result = await reconfigure(hass, entry, bus_form(other_line))
    assert result["reason"] == "reconfigure_successful"
    result = await reconfigure(hass, entry, bus_form(line))
    assert result["reason"] == "reconfigure_successful"


async def test_entry_whose_setup_is_retried_is_reconfigured(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    # Another integration uses the port with other line settings.
    other = ModbusSerialParams(device=line.port, baudrate=38400)
    async with async_get_temporary_unit(hass, other, 9):
        await hass.config_entries.async_setup(entry.entry_id)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
        assert "in use with other line settings" in await shown_error(hass, result)
        assert entry.state is ConfigEntryState.SETUP_RETRY
        result = await reconfigure(hass, entry, bus_form(line, baudrate="38400"))
        assert result["reason"] == "reconfigure_successful"
        await assert_is_read(hass, entry, 1)


async def test_bus_is_reconfigured_if_a_device_or_the_entry_is_disabled(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    devices = dr.async_get(hass)
    device = meter_device(hass)
    devices.async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    result = await reconfigure(hass, entry, bus_form(line, baudrate="38400"))
    assert result["reason"] == "reconfigure_successful"
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert entry.data["baudrate"] == 38400


def call_before_verification(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[], Awaitable[None]]
) -> None:
    """Call a function each time before the dialog verifies a meter of the bus."""

    async def take_after_call(*args: Any, **kwargs: Any) -> Any:
        await function()
        return await async_take_profile(*args, **kwargs)

    monkeypatch.setattr(connection, "async_take_profile", take_after_call)


async def test_unexpected_error_keeps_the_old_line_settings(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as monkeypatch:
        call_before_verification(monkeypatch, fail)
        with pytest.raises(ZeroDivisionError):
            await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert entry.data["baudrate"] == 9600
    await assert_is_read(hass, entry, 1)
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"


async def test_reload_waits_for_the_end_of_the_verification(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reloads: list[asyncio.Task[bool]] = []

    async def reload() -> None:
        reloads.append(
            hass.async_create_task(hass.config_entries.async_reload(entry.entry_id))
        )
        await asyncio.sleep(0)  # lets the reload begin

    call_before_verification(monkeypatch, reload)
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "reconfigure_successful"
    assert all([await each for each in reloads])
    assert entry.data["baudrate"] == 19200
    await assert_is_read(hass, entry, 1)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_bus_is_polled_after_the_dialog_closed_during_verification(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    is_cancelled: bool,  # noqa: FBT001
) -> None:
    form = await open_reconfigure(hass, entry)

    async def close() -> None:
        hass.config_entries.flow.async_abort(form["flow_id"])
        if is_cancelled:
            submitted.cancel()
            await asyncio.sleep(0)

    call_before_verification(monkeypatch, close)
    submitted = hass.async_create_task(
        hass.config_entries.flow.async_configure(
            form["flow_id"], bus_form(line, unit_id=None, baudrate="19200")
        )
    )
    with suppress(asyncio.CancelledError):
        await submitted
    # The cancellation ends the verification. If the dialog is only closed, the
    # verification continues, and the new speed is stored.
    assert entry.data["baudrate"] == (9600 if is_cancelled else 19200)
    await assert_is_read(hass, entry, 1)


async def test_entry_that_does_not_unload_is_not_changed(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unload(*_: Any) -> bool:
        return False

    monkeypatch.setattr(type(hass.config_entries), "async_unload_platforms", unload)
    result = await reconfigure(hass, entry, bus_form(line, baudrate="19200"))
    assert result["reason"] == "bus_not_loaded"
    assert entry.data["baudrate"] == 9600
    # Wait until the poller of the entry and its last request have ended.
    await hass.async_stop(force=True)
    await asyncio.sleep(1)


async def test_line_settings_are_changed_during_a_poll_at_9600_baud(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    line = memory_line([meter], baudrate=9600, response_delay=0.02)
    async with line:
        await add_meter(device=line.port)
        (entry,) = hass.config_entries.async_entries(DOMAIN)
        for stopbits in ("2", "1", "2"):
            line.requests.clear()
            await until(lambda: line.requests)  # in the middle of a poll
            result = await reconfigure(hass, entry, bus_form(line, stopbits=stopbits))
            # A dialog that has changed the entry ends with ABORT.
            assert result["type"] is FlowResultType.ABORT, result
        await unload_all(hass)


async def test_options_are_stored_without_a_reload(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    runtime = entry.runtime_data
    form = await hass.config_entries.options.async_init(entry.entry_id)
    result = await hass.config_entries.options.async_configure(
        form["flow_id"], {"publish_every_reading": True}
    )
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {"publish_every_reading": True, "fill_gaps": False}
    assert entry.runtime_data is runtime
