"""The texts in all languages of the meter's manual."""

from collections import Counter
import json
from pathlib import Path
from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis.demand import PERIODS
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.components.persistent_notification import (
    _async_get_or_create_notifications,
)
from homeassistant.const import ATTR_ENTITY_ID, ATTR_FRIENDLY_NAME, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import (
    async_get_translations,
    async_translate_state,
)

from .common import SERIAL, AddMeter, entity_id
from .files import TEXTS, load
from .test_button import press
from .test_texts import TRANSLATION_FILES, flat

MANUAL_LANGUAGES = {"de", "en", "es", "fr", "it", "nl", "pt"}

PHASES = {"Phase L1", "Phase L2", "Phase L3"}
# The texts of each language that may be the same as in English.
SAME_AS_ENGLISH = {
    "de": {"Host"} | PHASES,
    "es": {"Buses", "Host"},
    "fr": PHASES | {f"{minutes} minutes" for minutes in PERIODS},
    "it": {"Host"},
    "nl": {"Even", "Host", "Meter", "Meters"},
    "pt": set(),
}

NON_ENGLISH_FILES = [path for path in TRANSLATION_FILES if path.stem != "en"]

NO_PORT = "/dev/no-such-port"


def test_each_language_of_the_manual_has_a_translation() -> None:
    assert {path.stem for path in TRANSLATION_FILES} == MANUAL_LANGUAGES


@pytest.mark.parametrize("path", TRANSLATION_FILES, ids=lambda path: path.stem)
def test_names_of_entities_and_options_are_unique(path: Path) -> None:
    texts = load(path)
    platforms = {
        platform: [entity["name"] for entity in entities.values()]
        for platform, entities in texts["entity"].items()
    }
    states = {
        f"{platform} {key}": list(entity["state"].values())
        for platform, entities in texts["entity"].items()
        for key, entity in entities.items()
        if "state" in entity
    }
    options = {
        selector: list(selectable["options"].values())
        for selector, selectable in texts["selector"].items()
    }
    for where, names in (platforms | states | options).items():
        assert max(Counter(names).values()) == 1, where


@pytest.mark.parametrize("path", NON_ENGLISH_FILES, ids=lambda path: path.stem)
def test_each_text_is_translated(path: Path) -> None:
    english = dict(flat(TEXTS))
    untranslated = {
        key: text
        for key, text in flat(load(path))
        if text == english[key] and text not in SAME_AS_ENGLISH[path.stem]
    }
    assert not untranslated


@pytest.mark.parametrize("path", NON_ENGLISH_FILES, ids=lambda path: path.stem)
def test_json_is_indented_and_keys_are_in_the_order_of_english(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    texts = load(path)
    assert written == json.dumps(texts, ensure_ascii=False, indent=2) + "\n"
    assert [key for key, _ in flat(texts)] == [key for key, _ in flat(TEXTS)]


async def test_names_and_states_are_in_the_language_of_home_assistant(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
    subtests: pytest.Subtests,
) -> None:
    (subentry,) = entry.subentries.values()
    phase = ("binary_sensor", DOMAIN, "phase_l1_present", BinarySensorDeviceClass.POWER)
    for path in TRANSLATION_FILES:
        with subtests.test(path.stem):
            hass.config.language = path.stem
            await hass.config_entries.async_reload(entry.entry_id)
            texts = load(path)["entity"]
            shown: set[str] = set()
            for entity in er.async_entries_for_config_entry(
                entity_registry, entry.entry_id
            ):
                key = entity.unique_id.removeprefix(f"{SERIAL}_")
                name = texts[entity.domain][key]["name"]
                assert entity.original_name == name
                if (state := hass.states.get(entity.entity_id)) is not None:
                    full_name = state.attributes[ATTR_FRIENDLY_NAME]
                    assert full_name == f"{subentry.title} {name}"
                    shown.add(key)
            assert shown >= {"power", "energy_consumed", "tariff", "phase_l1_present"}
            text_on = texts["binary_sensor"]["phase_l1_present"]["state"][STATE_ON]
            assert async_translate_state(hass, STATE_ON, *phase) == text_on


async def test_wiring_and_errors_are_in_the_language_of_home_assistant(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    subtests: pytest.Subtests,
) -> None:
    (subentry,) = entry.subentries.values()
    for path in TRANSLATION_FILES:
        with subtests.test(path.stem):
            hass.config.language = path.stem
            await hass.config_entries.async_reload(entry.entry_id)
            await assert_wiring_and_errors(hass, add_meter, subentry.title, path)


async def assert_wiring_and_errors(
    hass: HomeAssistant, add_meter: AddMeter, title: str, path: Path
) -> None:
    """Check texts about a missing port, a missing tariff and the wiring of a meter."""
    texts = load(path)
    form = await add_meter(device=NO_PORT)
    assert form["errors"] == {"base": "port_not_found"}
    text = await shown_text(
        hass, "config", "error.port_not_found", form["description_placeholders"]
    )
    assert text == texts["config"]["error"]["port_not_found"].format(device=NO_PORT)

    with pytest.raises(ServiceValidationError) as caught:
        await hass.services.async_call(
            DOMAIN,
            "set_tariff",
            {ATTR_ENTITY_ID: entity_id(hass, "power"), "tariff": 8},
            blocking=True,
        )
    assert await shown_text(
        hass,
        "exceptions",
        f"{caught.value.translation_key}.message",
        caught.value.translation_placeholders,
    ) == texts["exceptions"]["no_such_tariff"]["message"].format(
        name=title, tariff=8, count=4
    )

    await press(hass, "check_wiring")
    (wiring,) = _async_get_or_create_notifications(hass).values()
    messages = {
        key.removeprefix("wiring_"): text["message"]
        for key, text in texts["exceptions"].items()
    }
    assert wiring["title"] == messages["title"].format(name=title)
    # The check needs a load of 20 A. The load is the sum of the currents. The simulated
    # meter has 7.389 A.
    assert messages["not_concluded"] in wiring["message"]
    value = "7.389 A" if path.stem == "en" else "7,389 A"
    assert messages["load"].format(value=value) in wiring["message"]
    # In the table, the row "A" begins with the current of L1.
    current = "4.347" if path.stem == "en" else "4,347"
    assert f"| A | {current} |" in wiring["message"]
    shown = hass.states.get(entity_id(hass, "wiring"))
    assert shown is not None
    assert messages["load"].format(value=value) in shown.attributes["unmet_conditions"]
    assert messages["note"] in wiring["message"]


async def shown_text(
    hass: HomeAssistant, category: str, key: str, placeholders: Any
) -> str:
    """Return a text of the integration in the language of Home Assistant."""
    texts = await async_get_translations(hass, hass.config.language, category, [DOMAIN])
    return texts[f"component.{DOMAIN}.{category}.{key}"].format(**placeholders)
