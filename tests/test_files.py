"""The files that Home Assistant and HACS read."""

import json
from pathlib import Path
import re
from typing import Any

from awesomeversion import AwesomeVersion
import pytest
import voluptuous as vol
import yaml

from custom_components.socomec_countis.binary_sensor import PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.config_flow import CountisConfigFlow
from custom_components.socomec_countis.connection import PARITIES
from custom_components.socomec_countis.const import (
    CONNECTION_TYPES,
    DOMAIN,
    SUBENTRY_METER,
)
from custom_components.socomec_countis.meter_flow import MeterFlow
from custom_components.socomec_countis.schemas import (
    METER_SCHEMA,
    METERS_SCHEMA,
    OPTIONS_SCHEMA,
    bus_schema,
    found_schema,
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
    assert manifest["integration_type"] == "hub"
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
FOUND = found_schema({}, [])
BUS_FORMS = {
    **{kind: bus_schema(kind, is_new=True) for kind in CONNECTION_TYPES},
    **{
        f"reconfigure_{kind}": bus_schema(kind, is_new=False)
        for kind in CONNECTION_TYPES
    },
    "found": FOUND,
}
METER_FORMS = {"user": METERS_SCHEMA, "reconfigure": METER_SCHEMA, "found": FOUND}
METER_TEXTS = TEXTS["config_subentries"][SUBENTRY_METER]
DIALOGS = [
    (CountisConfigFlow, BUS_FORMS, TEXTS["config"]),
    (MeterFlow, METER_FORMS, METER_TEXTS),
]


def test_every_entity_has_a_name_and_no_name_is_left_over() -> None:
    assert TEXTS["entity"].keys() == DESCRIPTIONS.keys()
    for platform, descriptions in DESCRIPTIONS.items():
        texts = TEXTS["entity"][platform]
        assert texts.keys() == {each.key for each in descriptions}
        names = [text["name"] for text in texts.values()]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("flow", "forms", "texts"), DIALOGS)
def test_every_field_of_the_forms_is_named_and_explained(
    flow: type, forms: dict[str, vol.Schema], texts: dict[str, Any]
) -> None:
    for step, schema in forms.items():
        fields = {key.schema for key in schema.schema}
        named = texts["step"][step]
        assert named["data"].keys() == named["data_description"].keys() == fields, step
    for step, named in texts["step"].items():
        assert step in forms or "data" not in named, step


def test_every_parity_is_named() -> None:
    assert TEXTS["selector"]["parity"]["options"].keys() == PARITIES.keys()


@pytest.mark.parametrize(("flow", "forms", "texts"), DIALOGS)
def test_every_step_of_the_dialogs_has_its_texts(
    flow: type, forms: dict[str, vol.Schema], texts: dict[str, Any]
) -> None:
    steps = {
        name.removeprefix("async_step_")
        for name in dir(flow)
        if name.startswith("async_step_")
    }
    # A flow has other steps from Home Assistant, and some that show nothing.
    assert texts["step"].keys() <= steps
    for step, text in texts["step"].items():
        assert text["title"], step
        assert text["description"], step
        for option in text.get("menu_options", {}):
            assert option in steps, (step, option)


def test_every_action_is_described_for_people() -> None:
    actions = yaml.safe_load((INTEGRATION / "services.yaml").read_text())
    icons = load(INTEGRATION / "icons.json")["services"]
    assert TEXTS["services"].keys() == actions.keys() == icons.keys()
    for action, schema in actions.items():
        text = TEXTS["services"][action]
        assert text["name"], action
        assert text["description"], action
        assert text.get("fields", {}).keys() == schema.get("fields", {}).keys()


ERRORS = {
    "bus": TEXTS["config"]["error"],
    "meter": METER_TEXTS["error"],
    "exceptions": {key: text["message"] for key, text in TEXTS["exceptions"].items()},
}
PLACEHOLDERS = {
    *("bus", "device", "errors", "expected", "found", "name", "reason", "settings"),
    *("tariff", "unit_id"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_every_text_for_an_error_is_used_and_explains_what_to_check(kind: str) -> None:
    for key, message in ERRORS[kind].items():
        if key.startswith("wiring_"):
            # A finding, or a condition for it, not an error.
            names = (key, key.removeprefix("wiring_"))
            assert any(f'"{name}"' in SOURCES for name in names), key
            continue
        assert f'"{key}"' in SOURCES, key
        assert re.search(r"Check|Close|Enter|Leave it|Select|[Uu]se th", message), key
        assert set(re.findall(r"{(\w+)}", message)) <= PLACEHOLDERS, key


def test_every_issue_is_created_somewhere_and_says_what_to_do() -> None:
    placeholders = PLACEHOLDERS | {"accepted", "counters", "difference", "entity"}
    for key, issue in TEXTS["issues"].items():
        assert f'"{key}"' in SOURCES, key
        flow = issue.get("fix_flow", {"step": {"confirm": issue}})
        (step,) = flow["step"].values()
        assert re.search(r"[Cc]heck|adjust", step["description"]), key
        texts = [issue["title"], step["description"]]
        texts += [*flow.get("abort", {}).values(), *flow.get("error", {}).values()]
        for used in texts:
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


def test_pages_named_by_the_quality_scale_exist() -> None:
    text = (INTEGRATION / "quality_scale.yaml").read_text()
    named = re.findall(r"((?:docs/)?[\w-]+\.md)(?:#([\w-]+))?", text)
    assert len(named) > 10
    for page, anchor in named:
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", each).lower() for each in headings}
        assert not anchor or anchor in {each.replace(" ", "-") for each in anchors}


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
