"""Fixtures: automations from blueprints, and a clock that a test advances."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
import shutil
from typing import Any

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

from .common import FOLDER, Automate, Wait, settle


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Return the folder of a configuration that contains the blueprints.

    The `hass` fixture of `pytest_homeassistant_custom_component` uses this folder.
    """
    shutil.copytree(FOLDER, tmp_path / "blueprints/automation" / FOLDER.name)
    return str(tmp_path)


@pytest.fixture
async def automate(hass: HomeAssistant) -> AsyncGenerator[Automate]:
    """Return a function that creates an automation from a blueprint.

    After the test, the automation is turned off. This also ends its delays.
    """

    async def automate(name: str, **inputs: Any) -> None:
        blueprint = {"path": f"{FOLDER.name}/{name}.yaml", "input": inputs}
        assert await async_setup_component(
            hass, "automation", {"automation": {"use_blueprint": blueprint}}
        )
        await hass.async_block_till_done()
        (automation,) = hass.states.async_all("automation")
        assert automation.state == "on"

    yield automate
    await hass.services.async_call("automation", "turn_off", {"entity_id": "all"})
    await settle()


@pytest.fixture
def wait(hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> Wait:
    """Return a function that advances the clock by a time in s."""

    async def wait(seconds: float) -> None:
        freezer.tick(timedelta(seconds=seconds))
        async_fire_time_changed(hass)
        await settle()

    return wait
