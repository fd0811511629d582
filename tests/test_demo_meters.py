"""The demo adds its meters through the dialogs of the integration."""

from collections.abc import AsyncGenerator

import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator import Line
from tools.demo.set_up import DemoPlan, async_set_up_demo
from tools.errors import ToolError
from tools.home_assistant import HomeAssistant as Client
from tools.home_assistant import MeterInput, async_add_meter

from .common import unload_all


@pytest.fixture
async def client(
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    hass_access_token: str,
    line: Line,
) -> AsyncGenerator[Client]:
    """Return a client of Home Assistant that is logged in."""
    for component in ("config", "frontend"):
        assert await async_setup_component(hass, component, {})
    http = await hass_client()
    client = Client(http.session, str(http.make_url("")).rstrip("/"))
    client.headers["Authorization"] = f"Bearer {hass_access_token}"
    yield client
    # Unload all entries before the fixture `line` ends, because no request may be sent
    # on a line that is closing.
    await unload_all(hass)


async def test_meter_is_added_once(client: Client, line: Line) -> None:
    meters = [MeterInput(line.port, unit_id) for unit_id in (1, 2)]
    assert [await async_add_meter(client, meter) for meter in meters] == [True, True]
    assert [await async_add_meter(client, meter) for meter in meters] == [False, False]
    assert len(await client.async_meter_titles()) == 2


@pytest.mark.parametrize("added_unit_ids", [[], [1]])
async def test_meter_that_does_not_respond_is_an_error(
    added_unit_ids: list[int], client: Client, line: Line
) -> None:
    for unit_id in added_unit_ids:
        await async_add_meter(client, MeterInput(line.port, unit_id))
    with pytest.raises(ToolError, match="No meter responds at unit ID 9 on /dev/"):
        await async_add_meter(client, MeterInput(line.port, 9))


async def test_demo_without_any_meter_ends_with_the_reason(
    client: Client, line: Line
) -> None:
    plan = DemoPlan([MeterInput(line.port, 9)])  # no meter has this unit ID
    # `is_strict=False` allows missing parts, but not a demo without any meter.
    with pytest.raises(ToolError, match="No meter responds at unit ID 9"):
        await async_set_up_demo(client, plan, print, is_strict=False)


async def test_demo_reports_each_meter_until_one_does_not_respond(
    client: Client, line: Line
) -> None:
    await async_add_meter(client, MeterInput(line.port, 1))
    plan = DemoPlan([MeterInput(line.port, unit_id) for unit_id in (1, 2, 9)])
    steps: list[str] = []
    with pytest.raises(ToolError, match="the meter with unit ID 9: No meter responds"):
        await async_set_up_demo(client, plan, steps.append)
    assert steps == [
        "The meter with unit ID 1 is already set up",
        "The meter with unit ID 2 was added",
    ]
