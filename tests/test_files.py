"""The manifest, the texts and the quality scale are complete and valid."""

from collections.abc import Iterator
import re
from typing import Any, get_args, get_type_hints
from urllib.parse import urlparse

from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
import pytest
import voluptuous as vol
import yaml

from custom_components.socomec_countis.config_flow import CountisConfigFlow
from custom_components.socomec_countis.connection import PARITIES
from custom_components.socomec_countis.const import CONNECTION_TYPES, DOMAIN
from custom_components.socomec_countis.meter_flow import MeterFlow
from custom_components.socomec_countis.schemas import (
    ADD_METERS_SCHEMA,
    OPTIONS_SCHEMA,
    RECONFIGURE_METER_SCHEMA,
    bus_schema,
    found_schema,
)
from homeassistant.bootstrap import CORE_INTEGRATIONS
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers.selector import TargetSelector
from homeassistant.loader import Manifest, async_get_integration

from .files import CORE, INTEGRATION, METER_TEXTS, SOURCES, TEXTS, load

MANIFEST = load(INTEGRATION / "manifest.json")
# The manifest does not have to declare these integrations as dependencies, because Home
# Assistant sets them up.
ALWAYS_SET_UP = {
    *Platform,
    *CORE_INTEGRATIONS,
    "diagnostics",
    "repairs",
    "system_health",
}


# -- manifest ----------------------------------------------------------------------


def iot_classes(integrations: dict[str, Any]) -> Iterator[str]:
    """Yield each `iot_class` of the integrations of Home Assistant."""
    for key, value in integrations.items():
        if key == "iot_class" and value:
            yield value
        elif isinstance(value, dict):
            yield from iot_classes(value)


def test_manifest_has_the_keys_of_a_custom_integration_in_order() -> None:
    required = {"codeowners", "documentation", "domain", "issue_tracker", "name"}
    assert required | {"version"} <= MANIFEST.keys() <= Manifest.__annotations__.keys()
    first = ["domain", "name"]
    assert list(MANIFEST) == [*first, *sorted(MANIFEST.keys() - set(first))]


def test_values_of_the_manifest_are_valid() -> None:
    assert MANIFEST["domain"] == DOMAIN == INTEGRATION.name
    assert not (CORE / DOMAIN).exists()
    assert AwesomeVersion(MANIFEST["version"]).strategy in (
        AwesomeVersionStrategy.SEMVER,
        AwesomeVersionStrategy.CALVER,
    )
    kinds = get_args(get_type_hints(Manifest)["integration_type"])
    assert MANIFEST["integration_type"] in kinds
    integrations = load(CORE.parent / "generated" / "integrations.json")
    assert MANIFEST["iot_class"] in set(iot_classes(integrations))
    for owner in MANIFEST["codeowners"]:
        assert re.fullmatch(r"@[\w-]+(/[\w-]+)?", owner)
    for key in ("documentation", "issue_tracker"):
        url = urlparse(MANIFEST[key])
        assert (url.scheme, url.netloc) == ("https", "github.com")


def test_imported_integrations_are_dependencies() -> None:
    imported = set(
        re.findall(r"homeassistant\.components(?:\.| import )(\w+)", SOURCES)
    )
    declared = {
        *MANIFEST.get("dependencies", []),
        *MANIFEST.get("after_dependencies", []),
    }
    assert imported - ALWAYS_SET_UP <= declared
    assert declared <= {path.name for path in CORE.iterdir()}


async def test_home_assistant_loads_the_integration_and_its_dependencies(
    hass: HomeAssistant,
) -> None:
    integration = await async_get_integration(hass, DOMAIN)
    assert not integration.is_built_in
    assert integration.version == MANIFEST["version"]
    assert integration.has_branding
    assert integration.has_translations
    assert await integration.resolve_dependencies()


def test_library_does_not_import_home_assistant() -> None:
    for path in (INTEGRATION / "countis").glob("*.py"):
        assert "homeassistant" not in path.read_text(), path


def test_target_of_an_action_filters_only_entities() -> None:
    # hassfest: "Services do not support device filters on target, use a device
    # selector instead".
    actions = yaml.safe_load((INTEGRATION / "services.yaml").read_text())
    for action, described in actions.items():
        assert described["target"].keys() == {"entity"}, action
        TargetSelector(described["target"])


# -- texts of the dialogs ----------------------------------------------------------

FOUND_SCHEMA = found_schema({"1": "COUNTIS E33 #1"}, [])
BUS_FORMS = {
    **{kind: bus_schema(kind, is_new=True) for kind in CONNECTION_TYPES},
    **{
        f"reconfigure_{kind}": bus_schema(kind, is_new=False)
        for kind in CONNECTION_TYPES
    },
    "found": FOUND_SCHEMA,
    "reconfigure_found": FOUND_SCHEMA,
}
METER_FORMS = {
    "user": ADD_METERS_SCHEMA,
    "reconfigure": RECONFIGURE_METER_SCHEMA,
    "found": FOUND_SCHEMA,
}
DIALOGS = [
    pytest.param(CountisConfigFlow, BUS_FORMS, TEXTS["config"], id="bus"),
    pytest.param(MeterFlow, METER_FORMS, METER_TEXTS, id="meter"),
]


def has_text_for_each_field(texts: dict[str, Any], schema: vol.Schema) -> bool:
    """Return whether the texts name and describe exactly the fields of a form."""
    fields = {key.schema for key in schema.schema}
    return bool(texts["data"].keys() == texts["data_description"].keys() == fields)


@pytest.mark.parametrize(("flow", "forms", "texts"), DIALOGS)
def test_each_field_of_a_form_has_a_name_and_a_description(
    flow: type, forms: dict[str, vol.Schema], texts: dict[str, Any]
) -> None:
    for step, schema in forms.items():
        assert has_text_for_each_field(texts["step"][step], schema), step
    for step, text in texts["step"].items():
        assert step in forms or "data" not in text, step


def test_each_option_and_parity_has_a_name() -> None:
    assert has_text_for_each_field(TEXTS["options"]["step"]["init"], OPTIONS_SCHEMA)
    assert TEXTS["selector"]["parity"]["options"].keys() == PARITIES.keys()


@pytest.mark.parametrize(("flow", "forms", "texts"), DIALOGS)
def test_each_step_with_texts_is_a_step_of_the_flow(
    flow: type, forms: dict[str, vol.Schema], texts: dict[str, Any]
) -> None:
    prefix = "async_step_"
    steps = {name.removeprefix(prefix) for name in dir(flow) if name.startswith(prefix)}
    # Some steps have no texts, for example those that Home Assistant defines.
    assert texts["step"].keys() <= steps
    for step, text in texts["step"].items():
        assert text["title"], step
        assert text["description"], step
        assert text.get("menu_options", {}).keys() <= steps, step


# -- texts of errors and issues ----------------------------------------------------

ERRORS = {
    "bus": TEXTS["config"]["error"],
    "meter": METER_TEXTS["error"],
    "exceptions": {key: text["message"] for key, text in TEXTS["exceptions"].items()},
}
# The placeholders that the text of an error may contain.
PLACEHOLDERS = {
    *(
        "bus",
        "count",
        "counter",
        "device",
        "entity",
        "errors",
        "expected",
        "found",
        "name",
        "reason",
    ),
    *("settings", "tariff", "unit_id"),
}
ADVICE = re.compile(r"Check|Close|Enter|Leave it|Select|[Uu]se th")


@pytest.mark.parametrize("kind", ERRORS)
def test_text_of_an_error_is_used_and_contains_advice(kind: str) -> None:
    for key, message in ERRORS[kind].items():
        if key.startswith("wiring_"):
            # A result of the wiring check, which needs no advice.
            names = (key, key.removeprefix("wiring_"))
            assert any(f'"{name}"' in SOURCES for name in names), key
            continue
        if key.startswith("gap_source_"):
            # A part of a dialog, which needs no advice.
            assert f'"{key.removeprefix("gap_source_")}"' in SOURCES, key
            continue
        assert f'"{key}"' in SOURCES, key
        assert ADVICE.search(message), key
        assert set(re.findall(r"{(\w+)}", message)) <= PLACEHOLDERS, key


def test_text_of_an_issue_is_used_and_contains_advice() -> None:
    for key, issue in TEXTS["issues"].items():
        assert f'"{key}"' in SOURCES, key
        flow = issue.get("fix_flow", {"step": {"confirm": issue}})
        (step,) = flow["step"].values()
        assert re.search(r"[Cc]heck|adjust", step["description"]), key


# -- quality scale -----------------------------------------------------------------


def test_quality_scale_has_each_rule_with_a_valid_status() -> None:
    # An integration of Home Assistant whose file lists all rules
    reference = CORE / "solaredge_modbus" / "quality_scale.yaml"
    required = yaml.safe_load(reference.read_text())["rules"]
    rules = yaml.safe_load((INTEGRATION / "quality_scale.yaml").read_text())["rules"]
    assert rules.keys() == required.keys()
    for rule, status in rules.items():
        if isinstance(status, dict):
            assert status["status"] in ("done", "exempt", "todo"), rule
            assert status["comment"], rule
        else:
            assert status == "done", rule
