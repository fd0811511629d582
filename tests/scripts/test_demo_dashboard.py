"""The dashboard of the demo."""

import pytest
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.socomec_countis.sensor import SENSORS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from scripts.demo_dashboard import (
    URL_PATH,
    async_create,
    async_problems,
    dashboard,
    entities_of,
)

from .conftest import Client

HIDDEN = {"tariff_3_energy", "tariff_4_energy"}
HOUSE = {
    sensor.key: f"sensor.house_{sensor.key}"
    for sensor in SENSORS
    if sensor.entity_registry_enabled_default and sensor.key not in HIDDEN
}
ROOF = {"energy_produced": "sensor.roof_energy", "solar_power": "sensor.solar_power"}


@pytest.fixture
async def client(hass: HomeAssistant, hass_ws_client: WebSocketGenerator) -> Client:
    """Return a Home Assistant that has dashboards."""
    assert await async_setup_component(hass, "lovelace", {})
    return Client(await hass_ws_client())


def test_every_entity_shown_is_one_that_a_meter_has() -> None:
    shown = set(entities_of(dashboard([HOUSE, ROOF])))
    assert shown <= {*HOUSE.values(), *ROOF.values()}
    assert shown >= {*ROOF.values(), HOUSE["power_l3"], HOUSE["tariff_2_energy"]}


def test_a_meter_without_an_inverter_has_a_dashboard_as_well() -> None:
    assert set(entities_of(dashboard([HOUSE]))) <= set(HOUSE.values())


async def test_a_dashboard_that_is_there_is_left_alone(client: Client) -> None:
    await async_create(client, [HOUSE, ROOF])
    mine = {"views": [{"title": "Mine", "cards": [{"entity": "sensor.mine"}]}]}
    await client.command(type="lovelace/config/save", url_path=URL_PATH, config=mine)
    await async_create(client, [HOUSE, ROOF])
    assert await client.command(type="lovelace/config", url_path=URL_PATH) == mine


async def test_an_entity_that_is_missing_is_noticed(client: Client) -> None:
    await async_create(client, [HOUSE, ROOF])
    states = dict.fromkeys([*HOUSE.values(), *ROOF.values()], "1")
    assert await async_problems(client, states) == []
    del states[ROOF["solar_power"]]
    assert await async_problems(client, states) == [
        "The dashboard misses sensor.solar_power"
    ]
