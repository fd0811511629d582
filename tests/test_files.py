"""The files that Home Assistant and HACS read."""

import json
from pathlib import Path
import re
from typing import Any

from awesomeversion import AwesomeVersion
import pytest
import yaml

from custom_components.socomec_countis.binary_sensor import PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.config_flow import CountisConfigFlow
from custom_components.socomec_countis.connection import PARITIES
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.schemas import (
    METER_SCHEMAS,
    OPTIONS_SCHEMA,
    SEARCH_SCHEMAS,
)
from custom_components.socomec_countis.select import TARIFF
from custom_components.socomec_countis.sensor import SENSORS

ROOT = Path(__file__).parent.parent
INTEGRATION = ROOT / "custom_components" / DOMAIN
SOURCES = "\n".join(path.read_text() for path in INTEGRATION.rglob("*.py"))


def load(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


TEXTS = load(INTEGRATION / "translations" / "en.json")


def test_the_manifest_names_what_the_integration_is() -> None:
    manifest = load(INTEGRATION / "manifest.json")
    assert manifest["domain"] == DOMAIN == INTEGRATION.name
    assert manifest["name"] == "Socomec COUNTIS"
    assert manifest["integration_type"] == "device"
    assert manifest["iot_class"] == "local_polling"
    # It asks Home Assistant for nothing that the modbus integration lacks.
    assert "modbus" in manifest["dependencies"]
    assert "requirements" not in manifest
    assert AwesomeVersion(manifest["version"]).valid
    keys = [key for key in manifest if key not in ("domain", "name")]
    assert keys == sorted(keys)


def test_the_store_asks_for_the_home_assistant_that_is_needed() -> None:
    store = load(ROOT / "hacs.json")
    assert store == {"name": "Socomec COUNTIS", "homeassistant": "2026.10.0"}


DESCRIPTIONS = {
    "binary_sensor": PHASES,
    "button": BUTTONS,
    "select": (TARIFF,),
    "sensor": SENSORS,
}
FORMS = {
    **METER_SCHEMAS,
    **{f"reconfigure_{kind}": schema for kind, schema in METER_SCHEMAS.items()},
    **{f"find_{kind}": schema for kind, schema in SEARCH_SCHEMAS.items()},
}


def test_every_entity_has_a_name_and_no_name_is_left_over() -> None:
    assert TEXTS["entity"].keys() == DESCRIPTIONS.keys()
    for platform, descriptions in DESCRIPTIONS.items():
        texts = TEXTS["entity"][platform]
        assert texts.keys() == {each.key for each in descriptions}
        names = [text["name"] for text in texts.values()]
        assert len(names) == len(set(names))


def test_every_field_of_the_forms_is_named_and_explained() -> None:
    for step, schema in FORMS.items():
        fields = {key.schema for key in schema.schema}
        texts = TEXTS["config"]["step"][step]
        assert texts["data"].keys() >= fields, step
        assert texts["data_description"].keys() == fields, step
    assert TEXTS["selector"]["parity"]["options"].keys() == PARITIES.keys()


def test_every_step_of_the_dialogs_has_its_texts() -> None:
    texts = TEXTS["config"]["step"]
    steps = {
        name.removeprefix("async_step_")
        for name in dir(CountisConfigFlow)
        if name.startswith("async_step_")
    }
    # Those that Home Assistant has for everyone, or that show nothing themselves.
    assert texts.keys() <= steps
    for step, text in texts.items():
        assert text["title"], step
        assert text["description"], step
        for option in text.get("menu_options", {}):
            assert option in texts, (step, option)


def test_every_action_is_described_for_people() -> None:
    actions = yaml.safe_load((INTEGRATION / "services.yaml").read_text())
    icons = load(INTEGRATION / "icons.json")["services"]
    assert TEXTS["services"].keys() == actions.keys() == icons.keys()
    for action, schema in actions.items():
        text = TEXTS["services"][action]
        assert text["name"], action
        assert text["description"], action
        assert text.get("fields", {}).keys() == schema.get("fields", {}).keys()


@pytest.mark.parametrize("kind", ["error", "exceptions"])
def test_every_text_for_an_error_is_used_and_explains_what_to_check(kind: str) -> None:
    texts = TEXTS["config"]["error"] if kind == "error" else TEXTS["exceptions"]
    for key, text in texts.items():
        if key.startswith("wiring_"):
            # A finding, or a condition for it, not an error.
            names = (key, key.removeprefix("wiring_"))
            assert any(f'"{name}"' in SOURCES for name in names), key
            continue
        assert f'"{key}"' in SOURCES, key
        message = text if kind == "error" else text["message"]
        assert re.search(r"Check|Reset|use the same|Choose", message), key
        assert set(re.findall(r"{(\w+)}", message)) <= {
            "address",
            "device",
            "expected",
            "found",
            "reason",
            "settings",
            "errors",
            "name",
            "tariff",
        }


def test_every_issue_is_told_somewhere_and_says_what_to_do() -> None:
    placeholders = {
        *("believed", "difference", "entity", "expected", "found", "name"),
        *("address", "device", "others", "settings"),
    }
    for key, issue in TEXTS["issues"].items():
        assert f'"{key}"' in SOURCES, key
        flow = issue.get("fix_flow", {"step": {"confirm": issue}})
        text = flow["step"]["confirm"]["description"]
        assert re.search(r"[Cc]heck|adjust", text), key
        for used in (issue["title"], text, *flow.get("abort", {}).values()):
            assert set(re.findall(r"{(\w+)}", used)) <= placeholders, key


def test_every_option_is_named_and_explained() -> None:
    texts = TEXTS["options"]["step"]["init"]
    fields = {key.schema for key in OPTIONS_SCHEMA.schema}
    assert texts["data"].keys() == texts["data_description"].keys() == fields


def test_icons_belong_to_entities_that_exist() -> None:
    icons = load(INTEGRATION / "icons.json")["entity"]
    for platform, entities in icons.items():
        assert entities.keys() <= TEXTS["entity"][platform].keys()


def test_the_library_knows_nothing_of_home_assistant() -> None:
    for path in (INTEGRATION / "countis").glob("*.py"):
        assert "homeassistant" not in path.read_text(), path


def test_every_rule_of_the_quality_scale_is_answered() -> None:
    import homeassistant.components  # noqa: PLC0415

    model = Path(next(iter(homeassistant.components.__path__))) / "solaredge_modbus"
    wanted = yaml.safe_load((model / "quality_scale.yaml").read_text())["rules"]
    ours = yaml.safe_load((INTEGRATION / "quality_scale.yaml").read_text())["rules"]
    assert ours.keys() == wanted.keys()
    for rule, answer in ours.items():
        if isinstance(answer, dict):
            assert answer["status"] in ("done", "exempt", "todo"), rule
            assert answer["comment"], rule
        else:
            assert answer == "done", rule
