"""A played meter: a simulated meter that is created from a diagnostics file."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
import json
from pathlib import Path
from typing import Any

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.socomec_countis import countis
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import Profile
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator import Diagnostics, Meter, meter_from_diagnostics, table
from simulator.counters import COUNTER_RANGE_WH

from .common import SERIAL, AddMeter, Clock, memory_line, meter_device

REDACTED = "**REDACTED**"


type Download = Callable[[], Awaitable[dict[str, Any]]]
type Play = Callable[
    [dict[str, Any]], AbstractAsyncContextManager[tuple[Meter, countis.Meter]]
]


@pytest.fixture
def download(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, add_meter: AddMeter
) -> Download:
    """Return a function that adds the meter and downloads its diagnostics file."""

    async def download() -> dict[str, Any]:
        await add_meter()
        (entry,) = hass.config_entries.async_loaded_entries(DOMAIN)
        assert await async_setup_component(hass, "diagnostics", {})
        await hass.async_block_till_done()
        device = meter_device(hass)
        client = await hass_client()
        url = f"/api/diagnostics/config_entry/{entry.entry_id}/device/{device.id}"
        file: dict[str, Any] = await (await client.get(url)).json()
        return file

    return download


@pytest.fixture
def play(clock: Clock, tmp_path: Path) -> Play:
    """Return a function that simulates the meter of a diagnostics file.

    The function yields the played meter, and the meter of the library that reads it.
    """

    @asynccontextmanager
    async def play(
        file: dict[str, Any],
    ) -> AsyncGenerator[tuple[Meter, countis.Meter]]:
        path = tmp_path / "diagnostics.json"
        path.write_text(json.dumps(file))
        diagnostics = Diagnostics.load(path)
        played = meter_from_diagnostics(diagnostics, clock)
        async with memory_line([played], baudrate=115_200) as line:
            connection = ModbusConnection(
                ModbusSerialParams(device=line.port, baudrate=diagnostics.baudrate)
            )
            unit_id = diagnostics.unit_id
            client = connection.for_unit(unit_id)
            bus = countis.Bus(baudrate=diagnostics.baudrate)
            profile = await countis.async_take_profile(bus.unit(unit_id, client))
            reader = countis.Meter(
                bus, unit_id, client, profile, clock=clock, monotonic=clock
            )
            yield played, reader
            await connection.close()

    return play


async def async_values(meter: countis.Meter) -> countis.Values:
    """Return the values of one read of each block except the identity."""
    values: countis.Values = {}
    for name in meter.profile.blocks:
        if name != "identity":
            values |= (await meter.async_read(name)).values
    return values


async def async_values_read_twice(meter: countis.Meter) -> countis.Values:
    """Read each block twice, and return the values of the second read.

    The second read confirms the first one.
    """
    await async_values(meter)
    return await async_values(meter)


def comparable_content(
    file: dict[str, Any],
) -> tuple[dict[str, Any], dict[int, int]]:
    """Return the values and the registers of the file that the played meter has.

    Redacted registers are left out.
    """
    meter = file["data"]["meter"]
    # Leave out the calculated counters, which only the integration has, and the clock
    # offset: the meter of the library that `play` yields uses the local time of the
    # machine, not that of Home Assistant.
    calculated = Profile.from_dict(meter["profile"]).calculated_counters
    values = {
        name: value
        for name, value in meter["values"].items()
        if name not in {"clock_offset", *calculated}
    }
    registers = {
        int(address): word
        for address, word in meter["registers"].items()
        if word != REDACTED
    }
    return values, registers


async def assert_is_meter_of(file: dict[str, Any], reader: countis.Meter) -> None:
    """Assert that a meter has the values, blocks and registers of the file."""
    values, registers = comparable_content(file)
    read = await async_values(reader)
    assert {name: read[name] for name in values} == values
    profile = file["data"]["meter"]["profile"]
    assert reader.profile.as_dict()["blocks"] == profile["blocks"]
    assert reader.profile.quantities == set(profile["quantities"])
    assert reader.profile.model == file["data"]["meter"]["model"]
    words = await reader.async_read_registers()
    assert {
        address: word for address, word in words.items() if address in registers
    } == registers


async def test_played_meter_shows_the_values_of_the_diagnostics(
    download: Download, play: Play, meter: Meter, clock: Clock
) -> None:
    meter.model = "Countis E44"
    meter.settings |= {57346: 250}  # the primary current in A
    clock.seconds += 100_000  # more than a day
    file = await download()
    _, registers = comparable_content(file)
    assert registers[36929] > 0, "energy_consumed_yesterday"
    async with play(file) as (_, reader):
        await assert_is_meter_of(file, reader)
        # The file contains no serial number, so the simulator uses its default.
        assert reader.profile.serial_number == SERIAL


async def test_played_meter_counts_from_the_values_of_the_diagnostics(
    download: Download, play: Play, clock: Clock
) -> None:
    file = await download()
    values, _ = comparable_content(file)
    async with play(file) as (_, reader):
        await async_values(reader)
        clock.seconds += 3600
        counted = await async_values_read_twice(reader)
    # The load consumes 1.3 kW for 1 h, in tariff 1.
    for counter, more in (
        ("energy_consumed", 1.3),
        ("energy_produced", 0),
        ("partial_energy_consumed", 1.3),
        ("tariff_1_energy", 1.3),
        ("tariff_2_energy", 0),
    ):
        assert counted[counter] == round(values[counter] + more, 2), counter


async def test_played_meter_refuses_the_blocks_that_the_meter_refused(
    download: Download, play: Play, meter: Meter, clock: Clock
) -> None:
    meter.refused_blocks = {
        table.ENERGIES_UNIT_100,
        table.TARIFFS_UNIT_100,
        table.OVERFLOW,
        table.PERIODS,
        table.PERIODS_UNIT_100,
        table.CLOCK,
    }
    meter.refuses_reserved = True
    # The counter of the produced energy is not available.
    meter.override = {50776: 0xFFFF, 50777: 0xFFFF}
    file = await download()
    profile = file["data"]["meter"]["profile"]
    blocks = profile["blocks"]
    assert blocks["energies"] == "EnergiesInKwh"
    assert "energies" in profile["split"]
    assert not blocks.keys() & {"periods", "clock"}
    async with play(file) as (played, reader):
        await assert_is_meter_of(file, reader)
        clock.seconds += 3600
        counted = await async_values_read_twice(reader)
        # 1234 kWh and 45 kWh, plus 1.3 kWh, in steps of 1 kWh.
        assert counted["energy_consumed"] == 1235
        assert counted["partial_energy_consumed"] == 46
        assert played.refused_blocks >= meter.refused_blocks


async def test_played_meter_has_the_rollovers_tariffs_and_two_digit_year(
    download: Download, play: Play, meter: Meter, clock: Clock
) -> None:
    meter.clock_has_short_year = True
    meter.tariff_count = 2
    meter.counters.tariff = 2
    meter.counters.consumed += 3 * COUNTER_RANGE_WH  # three rollovers
    meter.counters.tariffs[1] += COUNTER_RANGE_WH  # one rollover
    file = await download()
    async with play(file) as (played, reader):
        await assert_is_meter_of(file, reader)
        assert played.counters == meter.counters
        clock.seconds += 1
        await reader.async_read("clock")
        values = reader.blocks["clock"].values
        # The clock of the tests begins in 2025, 40 s after a full minute.
        assert (values["year"], values["second"]) == (25, 41)
        assert played.tariff_count == 2


async def test_played_meter_has_the_partial_counters_by_tariff(
    download: Download, play: Play, meter: Meter
) -> None:
    meter.model = "Countis E23"
    meter.tariff_count = 2
    meter.has_partial_tariffs = True
    meter.counters.partial_tariffs[:2] = [40_000, 5_670]  # Wh
    file = await download()
    async with play(file) as (played, reader):
        await assert_is_meter_of(file, reader)
        assert played.counters == meter.counters
        # If 57890 has no effect, the command writes 40512, which the E1x and E2x have.
        played.ignored_writes = {table.VALUE_RESET + 2}
        await countis.async_reset_partial_counters(reader, lambda _reading: None)
        assert played.counters.partial_tariffs == [0] * 4


async def test_meter_without_identification_is_played(
    download: Download, play: Play, meter: Meter
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    file = await download()
    async with play(file) as (_, reader):
        await assert_is_meter_of(file, reader)
        assert reader.profile.serial_number is None
