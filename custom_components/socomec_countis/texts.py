"""Translated errors, and texts in the language of Home Assistant.

The frontend translates an error that is raised. A notification, the response of an
action and an error within another error are translated here.
"""

from collections.abc import Mapping

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.translation import async_get_translations

from .const import DOMAIN

# The languages of the integration in which a number has a decimal comma. If Home
# Assistant uses a language without a translation, the texts are in English.
COMMA_LANGUAGES = {"de", "es", "fr", "it", "nl", "pt"}


def localized(number: str, language: str) -> str:
    """Return a number without thousands separators as a language writes it."""
    return number.replace(".", ",") if language in COMMA_LANGUAGES else number


async def async_messages(hass: HomeAssistant) -> Mapping[str, str]:
    """Return the messages of the integration by their keys."""
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
    """Return an error with the text of a translation key."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders=placeholders,
    )
