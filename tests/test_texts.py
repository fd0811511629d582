"""Texts, icons and actions: complete, and valid by the rules of hassfest."""

from collections.abc import Callable, Iterator
import copy
from pathlib import Path
import re
from typing import Any

import hass_frontend
import pytest
import voluptuous as vol
import yaml

from custom_components.socomec_countis.connection import ERROR_KEYS, KEYS_BEHIND_GATEWAY
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.repairs import FLOWS
from custom_components.socomec_countis.system_errors import KEYS as SYSTEM_ERROR_KEYS
from homeassistant.core import HomeAssistant
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.setup import async_setup_component

from .files import CORE, DESCRIPTIONS, INTEGRATION, METER_TEXTS, TEXTS, load
from .text_rules import ICONS as ICON_SCHEMA
from .text_rules import TRANSLATIONS as TRANSLATION_SCHEMA

TRANSLATION_FILES = sorted((INTEGRATION / "translations").glob("*.json"))
ICON_FILE = load(INTEGRATION / "icons.json")
ACTIONS: dict[str, Any] = yaml.safe_load((INTEGRATION / "services.yaml").read_text())


def flat(texts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text with its path, such as `config.step.user.title`."""
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def placeholders(texts: dict[str, Any]) -> dict[str, set[str]]:
    """Return the placeholders of each text by its path."""
    return {path: set(re.findall(r"{(\w+)}", text)) for path, text in flat(texts)}


@pytest.mark.parametrize("path", TRANSLATION_FILES, ids=lambda path: path.stem)
def test_translation_follows_the_rules_of_hassfest(path: Path) -> None:
    TRANSLATION_SCHEMA(load(path))


@pytest.mark.parametrize("path", TRANSLATION_FILES, ids=lambda path: path.stem)
def test_translation_has_the_same_keys_and_placeholders_as_english(path: Path) -> None:
    assert placeholders(load(path)) == placeholders(TEXTS)


@pytest.mark.parametrize("path", TRANSLATION_FILES, ids=lambda path: path.stem)
def test_error_has_the_same_text_in_all_dialogs(path: Path) -> None:
    texts = load(path)
    flows = [texts["config"], *texts["config_subentries"].values()]
    flows += [
        each["fix_flow"] for each in texts["issues"].values() if "fix_flow" in each
    ]
    errors = [flow["error"] for flow in flows if "error" in flow]
    errors.append({key: each["message"] for key, each in texts["exceptions"].items()})
    # The advice about another meter depends on the dialog.
    keys = {key for each in errors for key in each} - {"another_meter"}
    # At least the texts of a bus, a meter, a repair and the exceptions. If no list were
    # found, the loop would compare nothing, and the test would pass.
    assert len(errors) >= 4
    for key in keys:
        assert len({each[key] for each in errors if key in each}) == 1, key


@pytest.mark.parametrize("path", TRANSLATION_FILES, ids=lambda path: path.stem)
def test_fix_flows_have_one_abort_text_for_a_bus_that_is_not_set_up(path: Path) -> None:
    aborts = [
        each["fix_flow"]["abort"]["not_set_up"]
        for each in load(path)["issues"].values()
        if "abort" in each.get("fix_flow", {})
    ]
    assert len(aborts) == len(FLOWS)
    assert len({*aborts}) == 1


def test_each_error_of_a_bus_has_a_text_in_all_dialogs() -> None:
    keys = {*ERROR_KEYS.values(), *KEYS_BEHIND_GATEWAY.values(), *SYSTEM_ERROR_KEYS}
    assert TEXTS["config"]["error"].keys() >= keys
    assert METER_TEXTS["error"].keys() >= keys
    assert TEXTS["issues"]["another_meter"]["fix_flow"]["error"].keys() >= keys
    assert TEXTS["exceptions"].keys() >= keys


def test_icons_follow_the_rules_of_hassfest() -> None:
    ICON_SCHEMA(ICON_FILE)


def test_each_icon_exists_in_the_frontend() -> None:
    existing = {
        f"mdi:{icon['name']}"
        for icon in load(Path(hass_frontend.where()) / "static/mdi/iconList.json")
    }
    assert {icon for _, icon in flat(ICON_FILE)} <= existing


def test_names_and_icons_match_the_entities() -> None:
    for platform, descriptions in DESCRIPTIONS.items():
        icons = ICON_FILE["entity"][platform]
        keys = {description.key for description in descriptions}
        assert TEXTS["entity"][platform].keys() == keys
        assert icons.keys() <= keys
        # Home Assistant provides an icon for each device class.
        for description in descriptions:
            assert description.device_class or description.key in icons


@pytest.mark.parametrize("name", ["dsmr", "growatt_server", "modbus", "tplink"])
def test_schemas_accept_texts_and_icons_of_other_integrations(name: str) -> None:
    TRANSLATION_SCHEMA(load(CORE / name / "translations" / "en.json"))
    ICON_SCHEMA(load(CORE / name / "icons.json"))


def changed_texts(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return a changed copy of the English texts."""
    texts: dict[str, Any] = copy.deepcopy(TEXTS)
    change(texts)
    return texts


@pytest.mark.parametrize(
    "change",
    [
        lambda texts: texts.update(titel="COUNTIS"),  # misspelled on purpose
        lambda texts: texts["config"]["error"].update(new="<b>Bold</b>"),
        lambda texts: texts["config"]["error"].update(new="Space at the end "),
        lambda texts: texts["config"]["error"].update(new="See https://x.org"),
        lambda texts: texts["config"]["error"].update(new="[%key:common::no%]"),
        lambda texts: texts["config"]["error"].update(new="At '{device}'"),
        lambda texts: texts["config"]["error"].update(new="L'{device}"),
        lambda texts: texts["config"]["error"].update(new="At {the device}"),
        lambda texts: texts["config"].pop("step"),
        lambda texts: texts["config_subentries"]["meter"].pop("entry_type"),
        lambda texts: texts["config_subentries"]["meter"]["initiate_flow"].pop("user"),
        lambda texts: texts["config"]["step"].update(
            new={"data_description": {"port": "The port."}}
        ),
        lambda texts: texts["entity"]["sensor"].update(Power={"name": "Power"}),
        lambda texts: texts["entity"].update(sensors={}),
        lambda texts: texts["issues"].update(new={"title": "Title only"}),
        lambda texts: texts["exceptions"].update(new="Text without a key"),
        lambda texts: texts.update(services={"new": {"name": "No description"}}),
    ],
)
def test_invalid_texts_are_rejected(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(vol.Invalid):
        TRANSLATION_SCHEMA(changed_texts(change))


@pytest.mark.parametrize(
    "icons",
    [
        {"entities": {}},
        {"entity": {"sensor": {"power": "mdi:flash"}}},
        {"entity": {"sensor": {"power": {"default": "hass:flash"}}}},
        {"entity": {"sensor": {"power": {"state": {"On": "mdi:flash"}}}}},
        {"services": {"new": {"icon": "mdi:flash"}}},
    ],
)
def test_invalid_icons_are_rejected(icons: dict[str, Any]) -> None:
    with pytest.raises(vol.Invalid):
        ICON_SCHEMA(icons)


async def test_each_action_has_a_definition_texts_and_an_icon(
    hass: HomeAssistant,
) -> None:
    assert await async_setup_component(hass, DOMAIN, {})
    registered = hass.services.async_services_for_domain(DOMAIN).keys()
    texts = TEXTS["services"]
    assert ACTIONS.keys() == registered
    assert texts.keys() == registered
    assert ICON_FILE["services"].keys() == registered
    # If services.yaml is invalid, Home Assistant returns actions without fields.
    loaded = (await async_get_all_descriptions(hass)).get(DOMAIN, {})
    for name, action in ACTIONS.items():
        fields = action.get("fields", {})
        assert loaded[name]["fields"].keys() == fields.keys()
        assert loaded[name].get("target") == action.get("target")
        assert texts[name].get("fields", {}).keys() == fields.keys()
        for field in fields.values():
            for selector in field["selector"].values():
                key = (selector or {}).get("translation_key")
                assert key is None or key in TEXTS["selector"]
