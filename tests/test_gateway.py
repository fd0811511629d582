"""Meters behind network gateways, as a user goes through it."""

from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
import socket
from typing import Any

import pytest

from custom_components.socomec_countis import connection
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import ATTR_DEVICE_ID
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import (
    Counters,
    Gateway,
    Line,
    Meter,
    RtuGateway,
    TcpGateway,
    gateway_in_thread,
)

from .common import SERIAL, open_form, state, unload_all
from .test_find_flow import finished

pytestmark = pytest.mark.usefixtures("socket_enabled")

KINDS = ["tcp", "rtu_over_tcp"]


@pytest.fixture
def remote_meter() -> Meter:
    """Return the meter at address 1, as it is behind the gateways."""
    return Meter(address=1, counters=Counters(consumed=5_000_000))


@pytest.fixture
def gateways(remote_meter: Meter) -> Generator[dict[str, Gateway]]:
    """Run a gateway of each kind, each with a line of its own."""
    kinds: dict[str, Any] = {
        "tcp": partial(TcpGateway, timeout=0.2),
        "rtu_over_tcp": RtuGateway,
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                gateway_in_thread(
                    Line(
                        [remote_meter, Meter(address=3)],
                        baudrate=115_200,
                        answer_delay=0.001,
                    ),
                    kind,
                )
            )
            for name, kind in kinds.items()
        }


def place_behind(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    """Return what a user enters for the meter at address 1."""
    place = {"host": gateway.host, "port": gateway.port, "baudrate": "9600"}
    return {**place, "address": 1, **changes}


async def add_behind(
    hass: HomeAssistant, kind: str, place: dict[str, Any]
) -> ConfigFlowResult:
    """Go through the dialog for a gateway."""
    form = await open_form(hass, kind)
    result = await hass.config_entries.flow.async_configure(form["flow_id"], place)
    await hass.async_block_till_done()
    return result


@pytest.mark.parametrize("kind", KINDS)
async def test_a_meter_behind_a_gateway_is_added_and_read(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    gateway = gateways[kind]
    result = await add_behind(hass, kind, place_behind(gateway))
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    assert result["data"] == {
        "type": kind,
        "host": gateway.host,
        "port": gateway.port,
        "address": 1,
        "baudrate": 9600,
        "serial_number": SERIAL,
    }
    assert state(hass, "energy_consumed") == "5000.0"
    again = await add_behind(hass, kind, place_behind(gateway))
    assert again["reason"] == "already_configured"
    await unload_all(hass)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_meter_that_is_not_behind_a_gateway_is_told(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    result = await add_behind(hass, kind, place_behind(gateways[kind], address=9))
    assert result["errors"] == {"base": "no_answer_behind_gateway"}
    placeholders = result["description_placeholders"] or {}
    assert placeholders["address"] == "9"
    assert placeholders["settings"] == "9600 baud"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_gateway_that_is_not_there_is_told(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = place_behind(gateways[kind], port=port)
    result = await add_behind(hass, kind, place)
    assert result["errors"] == {"base": "cannot_reach_gateway"}
    assert str(port) in (result["description_placeholders"] or {})["device"]


async def test_a_meter_moves_between_all_kinds_of_connection(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    gateways: dict[str, Gateway],
    place: dict[str, Any],
    entity_registry: er.EntityRegistry,
) -> None:
    before = set(entity_registry.entities)
    places = {kind: place_behind(gateways[kind]) for kind in KINDS} | {"serial": place}
    for kind in ("tcp", "rtu_over_tcp", "serial", "rtu_over_tcp", "tcp", "serial"):
        form = await open_form(
            hass,
            f"reconfigure_{kind}",
            context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
        )
        result = await hass.config_entries.flow.async_configure(
            form["flow_id"], places[kind]
        )
        await hass.async_block_till_done()
        assert result["reason"] == "reconfigure_successful"
        assert entry.data["type"] == kind
        assert ("host" in entry.data) == (kind != "serial")
        assert entry.state is ConfigEntryState.LOADED
    assert set(entity_registry.entities) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_meters_behind_a_gateway_are_found(
    hass: HomeAssistant,
    gateways: dict[str, Gateway],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "custom_components.socomec_countis.find_flow.ADDRESSES", range(1, 5)
    )
    form = await open_form(hass, "find", f"find_{kind}")
    place = place_behind(gateways[kind])
    del place["address"]
    result = await hass.config_entries.flow.async_configure(form["flow_id"], place)
    result = await finished(hass, result)
    assert result["step_id"] == "found"
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {"meters": ["1", "3"]}
    )
    await hass.async_block_till_done()
    entries = hass.config_entries.async_entries(DOMAIN)
    assert sorted(entry.data["address"] for entry in entries) == [1, 3]
    assert {entry.state for entry in entries} == {ConfigEntryState.LOADED}
    await unload_all(hass)


@pytest.mark.parametrize(("kind", "written"), [("tcp", {1, 3}), ("rtu_over_tcp", {0})])
async def test_a_broadcast_is_left_to_lines_that_carry_it(
    hass: HomeAssistant, gateways: dict[str, Gateway], kind: str, written: set[int]
) -> None:
    for address in (1, 3):
        await add_behind(hass, kind, place_behind(gateways[kind], address=address))
    devices = [
        device.id
        for entry in hass.config_entries.async_entries(DOMAIN)
        for device in dr.async_entries_for_config_entry(
            dr.async_get(hass), entry.entry_id
        )
    ]
    line = gateways[kind].line
    line.requests.clear()
    await hass.services.async_call(
        DOMAIN, "set_tariff", {ATTR_DEVICE_ID: devices, "tariff": 2}, blocking=True
    )
    assert {frame[0] for frame in line.requests if frame[1] == 6} == written
    assert {meter.counters.tariff for meter in line.meters.values()} == {2}
    await unload_all(hass)


def test_an_ipv6_address_is_bracketed() -> None:
    data = {"type": "rtu_over_tcp", "host": "FE80::1", "port": 4001}
    params = connection.modbus_params(data)
    assert params.endpoint == ("serial", "socket://[fe80::1]:4001")
