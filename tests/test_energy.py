"""The instructions of docs/energy.md work with the energy integration."""

from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
    get_start_time,
)
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.energy import data
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from simulator import Constant, Meter, Phase

from .common import AddMeter, Clock, entity_id, until_polled

pytestmark = pytest.mark.usefixtures("fast_polling")


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


def grid_connection(hass: HomeAssistant, key: str, price: float) -> dict[str, Any]:
    """Return a grid connection: the energy from a sensor, and a price per kWh."""
    return {
        "type": "grid",
        "stat_energy_from": entity_id(hass, key),
        "stat_energy_to": None,
        "stat_cost": None,
        "stat_compensation": None,
        "entity_energy_price": None,
        "number_energy_price": price,
        "entity_energy_price_export": None,
        "number_energy_price_export": None,
        "cost_adjustment_day": 0.0,
    }


async def command(client: Any, **message: Any) -> Any:
    """Send a WebSocket command, and return its result."""
    await client.send_json_auto_id(message)
    response = await client.receive_json()
    assert response["success"], response
    return response["result"]


async def test_cost_of_each_tariff_uses_its_own_price(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
) -> None:
    assert await async_setup_component(hass, "energy", {})
    client = await hass_ws_client(hass)
    prices = {"tariff_1_energy": 0.3, "tariff_2_energy": 0.2}
    connections = [grid_connection(hass, key, price) for key, price in prices.items()]
    await command(client, type="energy/save_prefs", energy_sources=connections)
    meter.load = Constant(Phase(3000), Phase(0), Phase(0))
    for tariff in ("1", "2"):
        await hass.services.async_call(
            "select",
            "select_option",
            {ATTR_ENTITY_ID: entity_id(hass, "tariff"), "option": tariff},
            blocking=True,
        )
        clock.seconds += 3600
        # Wait for two readings: the entity shows the lower of the last two.
        await until_polled(entry)
    await hass.async_block_till_done()
    # 3 kWh in each tariff
    costs = [hass.states.get(f"{entity_id(hass, key)}_cost") for key in prices]
    assert [each and each.state for each in costs] == ["0.9", "0.6"]


async def test_sensors_can_be_selected_before_they_have_statistics(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    entry: CountisConfigEntry,
) -> None:
    listed = await command(
        await hass_ws_client(hass),
        type="recorder/list_statistic_ids",
        statistic_type="sum",
    )
    ids = {each["statistic_id"] for each in listed}
    keys = ("energy_consumed", "energy_produced", "tariff_1_energy", "tariff_2_energy")
    assert {entity_id(hass, key) for key in keys} <= ids


async def test_each_section_of_the_dashboard_accepts_the_documented_sensors(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    meter: Meter,
    add_meter: AddMeter,
) -> None:
    # `power_produced` is enabled if the meter has produced more than it has consumed.
    meter.counters.produced = 2 * meter.counters.consumed
    await add_meter()
    assert await async_setup_component(hass, "energy", {})
    consumed, produced, power, power_produced = (
        entity_id(hass, key)
        for key in ("energy_consumed", "energy_produced", "power", "power_produced")
    )
    sources = [
        grid_connection(hass, "energy_consumed", 0.3) | {"stat_rate": power},
        {
            "type": "solar",
            "stat_energy_from": produced,
            "stat_rate": power_produced,
            "config_entry_solar_forecast": None,
        },
        {
            "type": "battery",
            "stat_energy_from": produced,
            "stat_energy_to": consumed,
            "power_config": {"stat_rate_inverted": power},
        },
    ]
    if hasattr(data, "HomeSourceType"):  # since Home Assistant 2026.11
        sources.append({"type": "home", "stat_energy_to": consumed, "stat_rate": power})
    devices = [
        {"stat_consumption": consumed, "stat_rate": power},
        {
            "stat_consumption": entity_id(hass, "tariff_1_energy"),
            "included_in_stat": consumed,
        },
    ]
    client = await hass_ws_client(hass)
    await command(
        client,
        type="energy/save_prefs",
        energy_sources=sources,
        device_consumption=devices,
    )
    await hass.async_block_till_done()
    await async_wait_recording_done(hass)
    do_adhoc_statistics(hass, start=get_start_time(dt_util.utcnow()))
    await async_wait_recording_done(hass)
    found = await command(client, type="energy/validate")
    assert [each for issues in found.values() for each in issues if each] == []
