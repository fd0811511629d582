"""Translated errors, and texts in the language of Home Assistant.

The frontend translates a raised error. This file translates the texts of notifications
and of responses of actions. One error can list the texts of several errors. This file
also translates the listed texts.
"""

from collections.abc import Mapping

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations

from .const import DOMAIN

# The languages that have a translation and a decimal comma. In a language without a
# translation, the texts are English and have a decimal point.
COMMA_LANGUAGES = {"de", "es", "fr", "it", "nl", "pt"}


def localized(number: str, language: str) -> str:
    """Return a number with the decimal mark of a language.

    `number` has a decimal point, and no thousands separators.
    """
    return number.replace(".", ",") if language in COMMA_LANGUAGES else number


def entity_name(hass: HomeAssistant, entity_id: str) -> str:
    """Return the name of an entity, or its ID if it has no name."""
    entity = er.async_get(hass).async_get(entity_id)
    return (entity and (entity.name or entity.original_name)) or entity_id


def energy_text(value: float, counter: str, language: str) -> str:
    """Return an energy in kWh or kvarh as text, with the unit of `counter`."""
    return f"{localized(f'{value:.2f}', language)} {unit_of(counter)}"


def unit_of(counter: str) -> str:
    """Return the unit of a counter."""
    return "kvarh" if "reactive" in counter else "kWh"


async def async_messages(hass: HomeAssistant) -> Mapping[str, str]:
    """Return the texts of errors and notifications, by translation key."""
    prefix = f"component.{DOMAIN}.exceptions."
    texts = await async_get_translations(
        hass, hass.config.language, "exceptions", [DOMAIN]
    )
    return {
        key.removeprefix(prefix).removesuffix(".message"): text
        for key, text in texts.items()
    }


async def async_error_text(hass: HomeAssistant, error: HomeAssistantError) -> str:
    """Return the text of an error of the integration."""
    messages = await async_messages(hass)
    message = messages[str(error.translation_key)]
    return message.format(**error.translation_placeholders or {})


def translated_error[E: HomeAssistantError](
    kind: type[E], key: str, **placeholders: str
) -> E:
    """Return an error of `kind` whose text has the translation key `key`."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders=placeholders,
    )
