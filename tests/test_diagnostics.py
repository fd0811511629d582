"""The diagnostics and the system health, which a user attaches to a report."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import product
import json
from typing import Any

from modbus_connection import ModbusSerialParams
import pytest
from pytest_homeassistant_custom_component.common import get_system_health_info
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
    get_diagnostics_for_device,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus import async_get_temporary_unit
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from simulator import (
    ANOTHER_UNIT_ID,
    BUSY,
    LOST,
    ONES,
    TRUNCATED,
    ZEROS,
    Fault,
    Line,
    Meter,
    random_bytes,
    table,
)

from .common import (
    SERIAL,
    AddMeter,
    add_only,
    coordinator_of,
    meter_device,
    subentry_of,
    until,
    until_polled,
)

pytestmark = pytest.mark.usefixtures("fast_polling", "short_pauses")

OTHER_SERIAL = "2025000100007"

FAULTS = {
    "lost": LOST,
    "truncated": TRUNCATED,
    "random bytes": random_bytes(1),  # the seed
    "few random bytes": random_bytes(2, 10),  # the seed and the length
    "busy": BUSY,
    "zeros": ZEROS,
    "ones": ONES,
    "another unit ID": ANOTHER_UNIT_ID,
}

type Download = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities: the diagnostics do not depend on the others."""
    add_only(monkeypatch)


@pytest.fixture
async def download(
    hass: HomeAssistant, entry: CountisConfigEntry, hass_client: ClientSessionGenerator
) -> Download:
    """Return a function that downloads the diagnostics of the bus or of a device."""
    assert await async_setup_component(hass, "diagnostics", {})

    async def download(device: dr.DeviceEntry | None = None) -> dict[str, Any]:
        found = await (
            get_diagnostics_for_config_entry(hass, hass_client, entry)
            if device is None
            else get_diagnostics_for_device(hass, hass_client, entry, device)
        )
        assert isinstance(found, dict)
        return found

    return download


@pytest.fixture
def device(hass: HomeAssistant, entry: CountisConfigEntry) -> dr.DeviceEntry:
    """Return the device of the meter at unit ID 1."""
    return meter_device(hass)


async def test_diagnostics_of_a_bus_contain_the_statistics_of_the_bus(
    entry: CountisConfigEntry, download: Download
) -> None:
    found = await download()
    assert found["bus"]["traffic"]["1"]["requests"] >= 4
    assert found["bus"]["response_delay"] > 0
    assert 0 < found["bus"]["used"] < 1  # the used fraction of the time


async def test_diagnostics_do_not_contain_the_serial_number(
    download: Download, device: dr.DeviceEntry
) -> None:
    bus = await download()
    meter = await download(device)
    assert SERIAL not in json.dumps([bus, meter])
    assert bus["meters"][0]["serial_number"] == "**REDACTED**"
    identity = bus["meters"][0]["profile"]["identity"]
    assert identity["serial_year_week"] == "**REDACTED**"
    # Year and week of the serial number
    assert meter["meter"]["registers"]["50008"] == "**REDACTED**"
    identity = meter["meter"]["profile"]["identity"]
    assert identity["serial_year_week"] == "**REDACTED**"


async def test_diagnostics_with_another_meter_contain_neither_serial_number(
    entry: CountisConfigEntry, download: Download, device: dr.DeviceEntry, meter: Meter
) -> None:
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    meter.serial = (0x2025, 0x0001, 7)  # OTHER_SERIAL
    meter.offline = False
    await entry.runtime_data.hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: not coordinator_of(entry).last_update_success)
    bus, found = await download(), await download(device)
    assert not found["meter"]["online"]
    assert found["meter"]["last_error"]["key"] == "another_meter"
    for serial in (SERIAL, OTHER_SERIAL):
        assert serial not in json.dumps([bus, found])


async def test_diagnostics_contain_the_accepted_counters_despite_a_fault(
    entry: CountisConfigEntry,
    download: Download,
    device: dr.DeviceEntry,
    line: Line,
    subtests: pytest.Subtests,
) -> None:
    for (name, fault), echo in product(FAULTS.items(), (False, True)):
        with subtests.test(name, echo=echo):
            # A function that returns a copy of the fault for each response.
            line.default_fault = partial(replace, fault)
            line.echoes = echo
            found = await download(device)
            # Responses with zeros or ones are valid. If the adapter echoes, each read
            # fails.
            is_read = fault in (ZEROS, ONES) and not echo
            assert (found["meter"]["read_error"] is None) == is_read
            assert found["meter"]["counters"]["energy_consumed"]["value"] == 1234.56
            assert found["bus"]["traffic"]["1"]["requests"] > 0
        line.default_fault, line.echoes = Fault, False
        await until(lambda: coordinator_of(entry).online)
        await until_polled(entry)


def cut(line: Line) -> None:
    """Cut the wires of a line."""
    line.cut = True


@pytest.mark.parametrize(
    ("disturb", "error"), [(cut, "no_response"), (Line.unplug, "port_not_found")]
)
async def test_diagnostics_of_an_offline_meter_contain_its_last_values(
    entry: CountisConfigEntry,
    download: Download,
    device: dr.DeviceEntry,
    line: Line,
    disturb: Callable[[Line], None],
    error: str,
) -> None:
    port = line.port
    disturb(line)
    await until(lambda: coordinator_of(entry).offline_reason == error)
    found = await download(device)
    assert found["meter"]["read_error"]
    assert found["meter"]["registers"] == {}
    assert found["meter"]["values"]["energy_consumed"] == 1234.56
    assert not found["meter"]["online"]
    last_error = found["meter"]["last_error"]
    assert last_error["key"] == error
    assert last_error["placeholders"]["device"] == port


@pytest.fixture
def without_identity(meter: Meter) -> None:
    """Let the meter refuse the identity block."""
    meter.refused_blocks = {table.IDENTIFICATION}


@pytest.mark.usefixtures("without_identity")
async def test_diagnostics_without_identity_block_contain_the_other_blocks(
    download: Download, device: dr.DeviceEntry
) -> None:
    found = await download(device)
    assert found["meter"]["profile"]["identity"] == {}
    assert "identity" not in found["meter"]["profile"]["blocks"]
    # The low word of 1234.56 kWh in steps of 10 Wh
    assert found["meter"]["registers"]["50947"] == 123_456 & 0xFFFF


async def test_diagnostics_of_a_bus_that_is_not_set_up_contain_the_error(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    download: Download,
    device: dr.DeviceEntry,
    line: Line,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    # Another integration uses the port with other line settings.
    params = ModbusSerialParams(device=line.port, baudrate=19_200)
    async with async_get_temporary_unit(hass, params, 9):
        await hass.config_entries.async_setup(entry.entry_id)
        for found in (await download(), await download(device)):
            assert found["entry"]["baudrate"] == 9600
            assert found["setup_error"]["key"] == "line_settings_in_use"
            assert found["setup_error"]["placeholders"]["device"] == line.port
            assert SERIAL not in json.dumps(found)
    await hass.config_entries.async_unload(entry.entry_id)
    assert (await download())["setup_error"] == {"key": None, "placeholders": {}}


async def test_diagnostics_of_the_device_of_a_replaced_meter_contain_only_the_bus(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    download: Download,
    device: dr.DeviceEntry,
) -> None:
    subentry = subentry_of(entry)
    hass.config_entries.async_update_subentry(
        entry, subentry, data={**subentry.data, "serial_number": OTHER_SERIAL}
    )
    await hass.async_block_till_done()
    found = await download(device)
    assert "meter" not in found
    assert found["bus"]


async def test_system_health_counts_meters_buses_and_errors(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
) -> None:
    assert await async_setup_component(hass, "system_health", {})
    await hass.async_block_till_done()
    await add_meter(unit_id=2)
    assert await get_system_health_info(hass, DOMAIN) == {
        "meters": 2,
        "online": 2,
        "buses": 1,
        "error_rate": "0.00%",
    }
    second_meter.exception_code = 4
    traffic = entry.runtime_data.bus.traffic
    await until(lambda: traffic[2].refused)
    second_meter.offline = True
    await until(lambda: not coordinator_of(entry, 2).online)
    info = await get_system_health_info(hass, DOMAIN)
    assert (info["meters"], info["online"]) == (2, 1)
    assert 0 < float(info["error_rate"].removesuffix("%")) < 100
    await hass.config_entries.async_unload(entry.entry_id)
    assert await get_system_health_info(hass, DOMAIN) == {
        "meters": 0,
        "online": 0,
        "buses": 0,
        "error_rate": "-",
    }
