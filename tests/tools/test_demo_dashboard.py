"""The dashboard of the demo."""

import pytest
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.socomec_countis.sensor import SENSORS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tools.demo.dashboard import (
    URL_PATH,
    async_create,
    async_problems,
    dashboard,
    entities_of,
)

from .conftest import Client

# These counters are disabled in the demo, because the house uses only two tariffs.
DISABLED = {"tariff_3_energy", "tariff_4_energy"}
# The entity IDs of each meter, by the key of the entity.
HOUSE = {
    sensor.key: f"sensor.house_{sensor.key}"
    for sensor in SENSORS
    if sensor.entity_registry_enabled_default and sensor.key not in DISABLED
}
ROOF = {
    "energy_produced": "sensor.roof_energy",
    "power_produced": "sensor.roof_power",
}


@pytest.fixture
async def client(hass: HomeAssistant, hass_ws_client: WebSocketGenerator) -> Client:
    """Return a client of a Home Assistant with dashboards."""
    assert await async_setup_component(hass, "lovelace", {})
    return Client(await hass_ws_client())


def test_dashboard_shows_only_entities_of_its_meters() -> None:
    shown = set(entities_of(dashboard([HOUSE, ROOF])))
    assert shown <= {*HOUSE.values(), *ROOF.values()}
    assert shown >= {*ROOF.values(), HOUSE["power_l3"], HOUSE["tariff_2_energy"]}


def test_dashboard_of_a_house_without_inverter_shows_only_its_entities() -> None:
    shown = set(entities_of(dashboard([HOUSE])))
    assert shown <= set(HOUSE.values())
    assert shown >= {HOUSE["power_l3"], HOUSE["tariff_2_energy"]}


async def test_no_dashboard_is_created_if_an_entity_is_missing(client: Client) -> None:
    without_power = {key: each for key, each in HOUSE.items() if key != "power"}
    with pytest.raises(KeyError):
        await async_create(client, [without_power])
    assert await client.command(type="lovelace/dashboards/list") == []


async def test_dashboard_that_a_user_has_changed_remains(client: Client) -> None:
    await async_create(client, [HOUSE, ROOF])
    mine = {"views": [{"title": "Mine", "cards": [{"entity": "sensor.mine"}]}]}
    await client.command(type="lovelace/config/save", url_path=URL_PATH, config=mine)
    await async_create(client, [HOUSE, ROOF])
    assert await client.command(type="lovelace/config", url_path=URL_PATH) == mine


async def test_entity_without_a_state_is_reported(client: Client) -> None:
    await async_create(client, [HOUSE, ROOF])
    states = dict.fromkeys([*HOUSE.values(), *ROOF.values()], "1")
    assert await async_problems(client, states) == []
    del states[ROOF["power_produced"]]
    assert await async_problems(client, states) == [
        "sensor.roof_power on the dashboard has no state"
    ]
