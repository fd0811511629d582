"""The files, as Home Assistant reads them."""

import pytest

from homeassistant.components.automation.helpers import async_get_blueprints
from homeassistant.core import HomeAssistant
from tests.files import ROOT, load

from .common import FOLDER

NAMES = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", NAMES)
async def test_home_assistant_loads_a_blueprint(hass: HomeAssistant, name: str) -> None:
    path = f"{FOLDER.name}/{name}"
    blueprint = await async_get_blueprints(hass).async_get_blueprint(path)
    assert blueprint.validate() is None
    metadata = blueprint.metadata
    assert metadata["description"]
    assert metadata["source_url"].endswith(f"/main/blueprints/automation/{path}")
    needed = load(ROOT / "hacs.json")["homeassistant"]
    assert metadata["homeassistant"]["min_version"] == needed
    for key, described in blueprint.inputs.items():
        assert described["name"], key
        assert described["selector"], key


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_linked_in_the_examples(name: str) -> None:
    examples = (ROOT / "docs/examples.md").read_text()
    assert f"../blueprints/automation/{FOLDER.name}/{name}" in examples


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_run_by_a_test(name: str) -> None:
    test = ROOT / "tests/blueprints" / f"test_{name.removesuffix('.yaml')}.py"
    assert f'"{name.removesuffix(".yaml")}"' in test.read_text()
