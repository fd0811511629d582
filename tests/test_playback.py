"""A user's meter, played from the diagnostics that Home Assistant made of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
import json
from pathlib import Path
from typing import Any

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis import countis
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator import Diagnostics, Line, Meter, line_in_thread, played
from simulator.counters import OVERFLOW_WH

from .common import SERIAL, AddMeter, Clock

REDACTED = "**REDACTED**"


async def downloaded(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, add_meter: AddMeter
) -> dict[str, Any]:
    """Set the meter up and return the diagnostics file that a user downloads."""
    entry = (await add_meter())["result"]
    assert entry.state is ConfigEntryState.LOADED
    assert await async_setup_component(hass, "diagnostics", {})
    client = await hass_client()
    url = f"/api/diagnostics/config_entry/{entry.entry_id}"
    file: dict[str, Any] = await (await client.get(url)).json()
    return file


@asynccontextmanager
async def playing(
    file: dict[str, Any], clock: Clock, folder: Path
) -> AsyncGenerator[tuple[Meter, countis.Countis]]:
    """Play the meter on another line; return it, and as it is seen there."""
    path = folder / "diagnostics.json"
    path.write_text(json.dumps(file))
    diagnostics = Diagnostics.load(path)
    meter = played(diagnostics, clock)
    fast = Line([meter], baudrate=115_200, answer_delay=0.001)
    with line_in_thread(fast) as line:
        connection = ModbusConnection(
            ModbusSerialParams(device=line.port, baudrate=diagnostics.baudrate)
        )
        address = diagnostics.address
        seen = countis.Countis(
            connection.for_unit(address),
            countis.Line(diagnostics.baudrate),
            address=address,
            clock=clock,
        )
        yield meter, seen
        await connection.close()


def told(file: dict[str, Any]) -> tuple[dict[str, Any], dict[int, int]]:
    """Return what the file tells: the values, and the registers that it shows."""
    values = dict(file["data"]["last_poll"]["values"])
    # The meter's clock goes on, and not the time that it is compared with.
    values.pop("clock_offset", None)
    registers = file["data"]["registers"].items()
    return values, {int(at): word for at, word in registers if word != REDACTED}


async def assert_fits(file: dict[str, Any], seen: countis.Countis) -> None:
    """Assert that the same is read as what the file tells."""
    values, registers = told(file)
    read = seen.values(await seen.async_update())
    assert {name: read[name] for name in values} == values
    assert read.keys() - values.keys() <= {"clock_offset"}
    assert seen.variants == file["data"]["meter"]["variants"]
    assert seen.model == file["data"]["meter"]["model"]
    words = await seen.async_read_registers()
    assert {at: word for at, word in words.items() if at in registers} == registers


async def test_a_played_meter_shows_what_the_users_meter_did(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    add_meter: AddMeter,
    meter: Meter,
    clock: Clock,
    tmp_path: Path,
) -> None:
    meter.model = "Countis E44"
    meter.settings |= {57346: 250}
    clock.seconds += 100_000
    file = await downloaded(hass, hass_client, add_meter)
    values, _ = told(file)
    assert values["energy_consumed_yesterday"] > 0
    async with playing(file, clock, tmp_path) as (_, seen):
        await assert_fits(file, seen)
        assert seen.serial_number == SERIAL


async def test_a_played_meter_goes_on_counting(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    add_meter: AddMeter,
    clock: Clock,
    tmp_path: Path,
) -> None:
    file = await downloaded(hass, hass_client, add_meter)
    values, _ = told(file)
    async with playing(file, clock, tmp_path) as (_, seen):
        await seen.async_update()
        clock.seconds += 3600
        counted = await seen.async_count()
    for counter, more in (
        ("energy_consumed", 1.3),
        ("energy_produced", 0),
        ("partial_energy_consumed", 1.3),
        ("tariff_1_energy", 1.3),
        ("tariff_2_energy", 0),
    ):
        assert counted[counter] == round(values[counter] + more, 2), counter


async def test_a_meter_that_refuses_much_is_played_as_it_is(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    add_meter: AddMeter,
    meter: Meter,
    clock: Clock,
    tmp_path: Path,
) -> None:
    meter.refuses = {50944, 51200, 36864, 36896, 36928, 57600}
    meter.refuses_reserved = True
    # It has no counter of what is produced.
    meter.override = {50776: 0xFFFF, 50777: 0xFFFF}
    file = await downloaded(hass, hass_client, add_meter)
    variants = file["data"]["meter"]["variants"]
    assert variants["energies"] == "EnergiesInKwh, read apart"
    assert (variants["periods"], variants["clock"]) == (None, None)
    async with playing(file, clock, tmp_path) as (again, seen):
        await assert_fits(file, seen)
        clock.seconds += 3600
        counted = await seen.async_count()
        assert (counted["energy_consumed"], counted["partial_energy_consumed"]) == (
            *(1235, 46),
        )
        assert again.refuses >= meter.refuses


async def test_a_meters_own_ways_are_played(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    add_meter: AddMeter,
    meter: Meter,
    clock: Clock,
    tmp_path: Path,
) -> None:
    meter.clock_has_short_year = True
    meter.tariff_count = 2
    meter.counters.tariff = 2
    meter.counters.consumed += 3 * OVERFLOW_WH
    meter.counters.tariffs[1] += OVERFLOW_WH
    file = await downloaded(hass, hass_client, add_meter)
    async with playing(file, clock, tmp_path) as (again, seen):
        await assert_fits(file, seen)
        assert again.counters == meter.counters
        clock.seconds += 1
        await seen.async_read_registers()
        assert seen.clock is not None
        await seen.async_reread(seen.clock)
        assert (seen.clock.year, seen.clock.second) == (25, 41)
        assert again.tariff_count == 2


async def test_a_meter_that_does_not_say_who_it_is_is_played(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    add_meter: AddMeter,
    meter: Meter,
    clock: Clock,
    tmp_path: Path,
) -> None:
    meter.refuses = {50000}
    file = await downloaded(hass, hass_client, add_meter)
    async with playing(file, clock, tmp_path) as (_, seen):
        await assert_fits(file, seen)
        assert seen.serial_number is None
