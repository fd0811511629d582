"""Buses behind network gateways: dialogs, lost responses, broadcasts, unique IDs."""

from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from itertools import cycle
import logging
import socket
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.socomec_countis import (
    config_flow,
    connection,
    coordinator,
    runtime,
)
from custom_components.socomec_countis.const import DOMAIN, RTU_OVER_TCP
from custom_components.socomec_countis.reconfigure_flow import bus_data
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.button.const import DOMAIN as BUTTON_DOMAIN
from homeassistant.components.button.const import SERVICE_PRESS
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.const import (
    ATTR_DEVICE_ID,
    ATTR_ENTITY_ID,
    STATE_UNAVAILABLE,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.translation import async_get_translations
from simulator import (
    FLIPPED,
    LOST,
    Counters,
    Fault,
    Gateway,
    Line,
    Meter,
    RtuGateway,
    TcpGateway,
    gateway_in_thread,
)

from .common import (
    FlowResult,
    coordinator_of,
    end_of_scan,
    entity_id,
    lose_responses_to_writes,
    open_add_meters,
    open_form,
    shown_error,
    state,
    subentry_of,
    suggested_values,
    unload_all,
    until,
    until_polled,
    until_read,
    writes_on,
)

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("socket_enabled")]

KINDS = ["tcp", "rtu_over_tcp"]
# Both timeouts are longer than the defaults, because a busy machine delays responses.
GATEWAY_TIMEOUT = 1.0  # s; the Modbus TCP gateway waits for a meter
RESPONSE_TIMEOUT = 1.0  # s; the integration waits behind a transparent gateway


@pytest.fixture(autouse=True)
def _long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the integration wait longer for responses through a transparent gateway."""
    monkeypatch.setitem(connection.RESPONSE_TIMEOUTS, RTU_OVER_TCP, RESPONSE_TIMEOUT)


@pytest.fixture
def remote_meter() -> Meter:
    """Return the meter at unit ID 1 behind the gateways."""
    counters = Counters(consumed=5_000_000, partial_consumed=45_670)
    return Meter(unit_id=1, counters=counters)


@pytest.fixture
def gateways(remote_meter: Meter) -> Generator[dict[str, Gateway]]:
    """Run a gateway of each kind, each with a bus of its own.

    On each bus are `remote_meter` and a meter at unit ID 3.
    """
    factories: dict[str, Any] = {
        "tcp": partial(TcpGateway, timeout=GATEWAY_TIMEOUT),
        "rtu_over_tcp": RtuGateway,
    }
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                gateway_in_thread(
                    Line(
                        [remote_meter, Meter(unit_id=3)],
                        baudrate=115_200,
                        response_delay=0.001,
                    ),
                    factory,
                )
            )
            for kind, factory in factories.items()
        }


def gateway_form(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    """Return the input of a form for the meter at unit ID 1 behind a gateway."""
    entered = {"host": gateway.host, "port": gateway.port, "baudrate": "9600"}
    return {**entered, "unit_id": 1, **changes}


async def submit_form(
    hass: HomeAssistant, kind: str, entered: dict[str, Any]
) -> FlowResult:
    """Submit the form for a new bus behind a gateway."""
    form = await open_form(hass, kind)
    return await hass.config_entries.flow.async_configure(form["flow_id"], entered)


async def added_entry(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str, *more_unit_ids: int
) -> CountisConfigEntry:
    """Add a bus with the meters at unit ID 1 and `more_unit_ids`. Return its entry."""
    result = await submit_form(hass, kind, gateway_form(gateways[kind]))
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    for unit_id in more_unit_ids:
        form = await open_add_meters(hass, entry)
        await hass.config_entries.subentries.async_configure(
            form["flow_id"], {"unit_id": unit_id}
        )
    await until_read(hass, entry)
    return entry


@pytest.mark.parametrize(
    ("kind", "id_prefix"),
    [("tcp", "tcp:127.0.0.1:"), ("rtu_over_tcp", "serial:socket://127.0.0.1:")],
)
async def test_bus_behind_a_gateway_is_added_once(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str, id_prefix: str
) -> None:
    gateway = gateways[kind]
    entered = gateway_form(gateway, host=f" {gateway.host} ", baudrate="38400")
    result = await submit_form(hass, kind, entered)
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    await until_read(hass, entry)
    assert entry.data == {
        "type": kind,
        "host": gateway.host,
        "port": gateway.port,
        "baudrate": 38400,
    }
    assert entry.title == f"{gateway.host}:{gateway.port}"
    assert entry.unique_id == f"{id_prefix}{gateway.port}"
    assert state(hass, "power") == "1300"
    again = await submit_form(hass, kind, entered | {"baudrate": "9600"})
    assert again["reason"] == "bus_already_configured"
    await unload_all(hass)


@pytest.mark.parametrize("kind", KINDS)
async def test_meters_behind_a_gateway_are_added_and_read(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    entry = await added_entry(hass, gateways, kind, 3)
    assert [each.title for each in entry.subentries.values()] == [
        "COUNTIS E33 #1",
        "COUNTIS E33 #3",
    ]
    assert state(hass, "energy_consumed") == "5000.0"
    assert state(hass, "power", "1438012000003") == "1300"
    await unload_all(hass)


@pytest.mark.parametrize("kind", KINDS)
async def test_missing_meter_behind_a_gateway_is_reported(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    gateway = gateways[kind]
    result = await submit_form(hass, kind, gateway_form(gateway, unit_id=9))
    assert result["step_id"] == "no_response_behind_gateway"
    text = await shown_error(hass, result)
    assert f"at unit ID 9 behind the gateway {gateway.host}:{gateway.port}" in text
    # The gateway is the first thing to check, and the resistors are the last.
    checks = [line for line in text.splitlines() if line.startswith("- ")]
    assert "the gateway is of the selected kind" in checks[0]
    assert "120 Ω" in checks[-1]


@pytest.mark.parametrize("kind", KINDS)
async def test_gateway_that_refuses_connections_is_reported(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    entered = gateway_form(gateways[kind])
    # The socket reserves a port, but does not listen.
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        result = await submit_form(hass, kind, entered | {"port": port})
    text = await shown_error(hass, result)
    assert f"The gateway 127.0.0.1:{port} refuses or closes" in text
    result = await hass.config_entries.flow.async_configure(result["flow_id"], entered)
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    await unload_all(hass)


@pytest.mark.parametrize("kind", KINDS)
async def test_bus_behind_a_gateway_is_scanned_after_no_response(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_flow, "UNIT_IDS", range(1, 3))
    entered = gateway_form(gateways[kind], unit_id=9)
    result = await submit_form(hass, kind, entered)
    flow = hass.config_entries.flow
    choice = {"next_step_id": "scan_bus"}
    result = await flow.async_configure(result["flow_id"], choice)
    result = await end_of_scan(hass, result)
    assert result["step_id"] == "found"
    flow.async_abort(result["flow_id"])


async def test_empty_scan_behind_a_gateway_offers_the_other_kind(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_flow, "UNIT_IDS", range(8, 10))
    entered = gateway_form(gateways["tcp"])
    del entered["unit_id"]  # so the dialog scans the bus
    result = await end_of_scan(hass, await submit_form(hass, "tcp", entered))
    assert result["step_id"] == "nothing_found_behind_gateway"
    assert result["menu_options"] == ["scan_again", "change", "rtu_over_tcp"]


@pytest.mark.parametrize("kind", KINDS)
async def test_other_kind_of_gateway_is_offered_with_the_entered_values(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    other = next(each for each in KINDS if each != kind)
    entered = gateway_form(gateways[kind], unit_id=9)
    result = await submit_form(hass, kind, entered)
    flow = hass.config_entries.flow
    result = await flow.async_configure(result["flow_id"], {"next_step_id": other})
    assert result["step_id"] == other
    assert suggested_values(result) == entered
    corrected = gateway_form(gateways[other])
    result = await flow.async_configure(result["flow_id"], corrected)
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    await unload_all(hass)


async def test_bus_moves_between_all_kinds_of_connections(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    gateways: dict[str, Gateway],
    form_input: dict[str, Any],
    entity_registry: er.EntityRegistry,
) -> None:
    before = set(entity_registry.entities)
    inputs = {kind: gateway_form(gateways[kind]) for kind in KINDS} | {
        "serial": form_input
    }
    for entered in inputs.values():
        del entered["unit_id"]  # the reconfiguration has no such field
    for kind in ("tcp", "rtu_over_tcp", "serial", "rtu_over_tcp", "tcp", "serial"):
        form = await open_form(
            hass,
            f"reconfigure_{kind}",
            context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
        )
        result = await hass.config_entries.flow.async_configure(
            form["flow_id"], inputs[kind]
        )
        assert result["reason"] == "reconfigure_successful"
        expected = inputs[kind] | {"type": kind, "baudrate": 9600}
        assert entry.data == expected | ({"stopbits": 1} if kind == "serial" else {})
        assert entry.state is ConfigEntryState.LOADED
        await until(lambda: coordinator_of(entry).shown_online)
    assert set(entity_registry.entities) == before


async def test_reconfiguration_offers_the_other_kind_of_gateway(
    hass: HomeAssistant, entry: CountisConfigEntry, gateways: dict[str, Gateway]
) -> None:
    form = await open_form(
        hass,
        "reconfigure_tcp",
        context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
    )
    # A transparent gateway does not respond to Modbus TCP.
    entered = gateway_form(gateways["rtu_over_tcp"])
    del entered["unit_id"]  # the reconfiguration has no such field
    flow = hass.config_entries.flow
    result = await flow.async_configure(form["flow_id"], entered)
    assert result["step_id"] == "no_response_behind_gateway"
    assert result["menu_options"] == ["scan_bus", "change", "rtu_over_tcp"]
    choice = {"next_step_id": "rtu_over_tcp"}
    result = await flow.async_configure(result["flow_id"], choice)
    assert result["step_id"] == "reconfigure_rtu_over_tcp"
    assert suggested_values(result) == entered
    result = await flow.async_configure(result["flow_id"], entered)
    assert result["reason"] == "reconfigure_successful"


@pytest.mark.parametrize("kind", KINDS)
async def test_scan_finds_meters_behind_a_gateway(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_flow, "UNIT_IDS", range(1, 5))
    entered = gateway_form(gateways[kind])
    del entered["unit_id"]  # so the dialog scans the bus
    result = await end_of_scan(hass, await submit_form(hass, kind, entered))
    assert result["step_id"] == "found"
    await hass.config_entries.flow.async_configure(
        result["flow_id"], {"meters": ["1", "3"]}
    )
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert entry.state is ConfigEntryState.LOADED
    assert {each.data["unit_id"] for each in entry.subentries.values()} == {1, 3}
    await unload_all(hass)


# -- lost responses ----------------------------------------------------------------


async def test_profile_is_complete_after_responses_damaged_behind_a_gateway(
    hass: HomeAssistant, gateways: dict[str, Gateway], remote_meter: Meter
) -> None:
    remote_meter.model = "Countis E44"
    remote_meter.settings |= {57345: 5, 57346: 250}  # current transformers 250 A / 5 A
    # Damage every second response. The gateway reports a damaged response as lost, but
    # at once, without waiting for the timeout.
    gateways["tcp"].line.default_fault = partial(next, cycle([FLIPPED, Fault()]))
    entry = await added_entry(hass, gateways, "tcp")
    profile = coordinator_of(entry).meter.profile
    assert profile.primary_current == 250
    assert profile.blocks.keys() == {
        *("identity", "measurements", "energies", "tariffs"),
        *("transformer", "periods", "overflows", "clock"),
    }
    assert not profile.outdated
    await unload_all(hass)


async def test_reset_with_lost_response_is_written_only_once(
    hass: HomeAssistant, gateways: dict[str, Gateway]
) -> None:
    entry = await added_entry(hass, gateways, "tcp")
    line = gateways["tcp"].line
    lose_responses_to_writes(line)
    await press(hass, "reset_partial_counters")
    assert state(hass, "partial_energy_consumed") == "0"
    # The value 0x0B is written to register 57890 (0xE222) with function 6.
    assert writes_on(line) == [b"\x01\x06\xe2\x22\x00\x0b"]
    # The gateway reports the lost response with an exception. The integration counts
    # this as a timeout, not as a refusal.
    assert entry.runtime_data.bus.traffic[1].refused == 0
    await unload_all(hass)


async def test_reset_request_lost_behind_a_gateway_is_reported_and_not_repeated(
    hass: HomeAssistant, gateways: dict[str, Gateway]
) -> None:
    await added_entry(hass, gateways, "tcp")
    line = gateways["tcp"].line

    def lose_write(request: bytes) -> None:
        if request[1] == 6:  # the function "write one register"
            line.request_faults.append(LOST)

    line.on_request = lose_write
    with pytest.raises(HomeAssistantError, match="set all of its partial counters"):
        await press(hass, "reset_partial_counters")
    assert state(hass, "partial_energy_consumed") == "45.67"
    assert writes_on(line) == [b"\x01\x06\xe2\x22\x00\x0b"]
    await unload_all(hass)


@pytest.mark.usefixtures("short_pauses")
async def test_only_the_offline_meter_behind_a_gateway_is_unavailable(
    hass: HomeAssistant, gateways: dict[str, Gateway], remote_meter: Meter
) -> None:
    entry = await added_entry(hass, gateways, "tcp", 3)
    remote_meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    await until_polled(entry, 3)
    assert state(hass, "power", "1438012000003") == "1300"
    assert entry.runtime_data.bus.traffic[1].refused == 0
    remote_meter.offline = False
    await until(lambda: state(hass, "power") == "1300")
    await unload_all(hass)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("short_pauses")
async def test_issue_of_an_offline_meter_names_the_gateway_first(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    remote_meter: Meter,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await added_entry(hass, gateways, kind)
    monkeypatch.setattr(coordinator, "OFFLINE_ISSUE_SECONDS", 0)
    issues = ir.async_get(hass).issues
    remote_meter.offline = True
    await until(lambda: issues)
    (issue,) = issues.values()
    assert issue.severity is ir.IssueSeverity.WARNING
    assert issue.translation_placeholders is not None
    assert issue.translation_placeholders["device"] == (
        f"{gateways[kind].host}:{gateways[kind].port}"
    )
    texts = await async_get_translations(hass, "en", "issues", [DOMAIN])
    key = f"component.{DOMAIN}.issues.{issue.translation_key}.description"
    check = texts[key].split("Check that:")[1]
    assert check.index("gateway {device}") < check.index("selected kind")
    assert check.index("selected kind") < check.index("120 Ω")
    remote_meter.offline = False
    await until(lambda: not issues)
    await unload_all(hass)


# `attempts` are the attempts to connect. Only one is made with the Modbus TCP client,
# because this client always waits 10 s for a connection.
@pytest.mark.parametrize(("kind", "attempts"), [("tcp", 1), ("rtu_over_tcp", 4)])
@pytest.mark.usefixtures("short_pauses")
async def test_gateway_that_drops_packets_is_logged_without_a_traceback(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    kind: str,
    attempts: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = await added_entry(hass, gateways, kind)
    subentry = subentry_of(entry)
    await hass.config_entries.async_remove(entry.entry_id)
    monkeypatch.setattr(runtime, "CONNECTION_TIMEOUT", 0.1)
    with ExitStack() as stack:
        listener, *fillers = [stack.enter_context(socket.socket()) for _ in range(3)]
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # These connections fill the queue of the listener. So the kernel drops the
        # packets of further connections.
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        dropping = MockConfigEntry(
            domain=DOMAIN,
            data={"type": kind, "host": host, "port": port, "baudrate": 9600},
            subentries_data=[subentry.as_dict()],
        )
        dropping.add_to_hass(hass)
        caplog.clear()
        assert await hass.config_entries.async_setup(dropping.entry_id)
        await until(lambda: not coordinator_of(dropping).last_update_success)
        for _ in range(attempts - 1):
            await until_polled(dropping)
        await unload_all(hass)
    logged = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each for each in logged if each.exc_info] == []
    (message,) = (each.getMessage() for each in logged if "custom" in each.name)
    assert f"Nothing responds at {host}:{port}" in message


async def press(hass: HomeAssistant, key: str) -> None:
    """Press a button of the meter at unit ID 1."""
    await hass.services.async_call(
        BUTTON_DOMAIN,
        SERVICE_PRESS,
        {ATTR_ENTITY_ID: entity_id(hass, key)},
        blocking=True,
    )


# -- broadcasts --------------------------------------------------------------------


# The unit ID 0 is a broadcast to all meters.
@pytest.mark.parametrize(
    ("kind", "written_ids"), [("tcp", {1, 3}), ("rtu_over_tcp", {0})]
)
async def test_tariff_is_broadcast_only_through_a_transparent_gateway(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str, written_ids: set[int]
) -> None:
    entry = await added_entry(hass, gateways, kind, 3)
    devices = [
        device.id
        for device in dr.async_entries_for_config_entry(
            dr.async_get(hass), entry.entry_id
        )
    ]
    line = gateways[kind].line
    line.requests.clear()
    await hass.services.async_call(
        DOMAIN, "set_tariff", {ATTR_DEVICE_ID: devices, "tariff": 2}, blocking=True
    )
    assert {frame[0] for frame in writes_on(line)} == written_ids
    assert {meter.counters.tariff for meter in line.meters.values()} == {2}
    await unload_all(hass)


# -- unique ID of a bus -------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["meters.local", " meters.local ", "http://meters.local/", "[meters.local]"]
)
def test_host_is_stored_without_spaces_scheme_or_brackets(host: str) -> None:
    assert bus_data("tcp", {"host": host})["host"] == "meters.local"


def test_ipv6_address_is_in_brackets_in_the_url() -> None:
    data = {"type": "rtu_over_tcp", "host": "FE80::1", "port": 4001}
    params = connection.modbus_params(data)
    assert params.endpoint == ("serial", "socket://[fe80::1]:4001")


@pytest.mark.parametrize("kind", KINDS)
def test_unique_id_ignores_the_baudrate_and_the_case_of_the_host(kind: str) -> None:
    one, other = [
        connection.bus_unique_id(
            {"type": kind, "host": host, "port": 4001, "baudrate": baudrate}
        )
        for host, baudrate in (("Localhost", 9600), ("localhost", 19200))
    ]
    assert one == other
