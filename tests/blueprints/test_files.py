"""The files of the blueprints: metadata, links and tests."""

import pytest

from homeassistant.components.automation.helpers import async_get_blueprints
from homeassistant.core import HomeAssistant
from tests.files import ROOT, load

from .common import FOLDER

NAMES = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", NAMES)
async def test_blueprint_is_valid_and_complete(hass: HomeAssistant, name: str) -> None:
    path = f"{FOLDER.name}/{name}"
    blueprint = await async_get_blueprints(hass).async_get_blueprint(path)
    assert blueprint.validate() is None
    metadata = blueprint.metadata
    assert metadata["description"]
    assert metadata["source_url"].endswith(f"/main/blueprints/automation/{path}")
    oldest_version = load(ROOT / "hacs.json")["homeassistant"]
    assert metadata["homeassistant"]["min_version"] == oldest_version
    for key, fields in blueprint.inputs.items():
        assert fields["name"], key
        assert fields["selector"], key


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_linked_in_the_examples(name: str) -> None:
    examples = (ROOT / "docs/examples.md").read_text()
    assert f"../blueprints/automation/{FOLDER.name}/{name}" in examples


@pytest.mark.parametrize("name", NAMES)
def test_blueprint_is_run_by_a_test(name: str) -> None:
    blueprint = name.removesuffix(".yaml")
    test = ROOT / "tests/blueprints" / f"test_{blueprint}.py"
    assert f'"{blueprint}"' in test.read_text()
