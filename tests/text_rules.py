"""Schemas for texts and icons, with the rules of hassfest.

hassfest is Home Assistant's program that validates integrations. The package of Home
Assistant does not contain hassfest. But the package contains the checks for HTML and
slugs, and the list of platforms, which these schemas use.
"""

import re
from string import Formatter
from typing import Any

import voluptuous as vol

from homeassistant.const import Platform
from homeassistant.helpers import config_validation as cv

# Lower-case letters, digits, and single "-" or "_" between them.
KEY = vol.Match(r"^(?!.+[_-]{2})(?![_-])[a-z0-9-_]+(?<![_-])$")
URL = re.compile(
    r"(?:\b(?:https?|ftps?|mqtts?|scp|socket|socks5)://|www\.)[\w-]+(?:\.[\w-]+)+",
    re.IGNORECASE,
)
REFERENCE = "[%key:"


def text(value: Any) -> str:
    """Validate a text as hassfest does, and return it. Raises `vol.Invalid`."""
    shown: str = cv.string_with_no_html(value)
    if shown != shown.strip():
        msg = "spaces at the start or end"
        raise vol.Invalid(msg)
    if URL.search(shown):
        msg = "a URL; use a placeholder"
        raise vol.Invalid(msg)
    if REFERENCE in shown:
        msg = "a reference, which Home Assistant resolves only in its own texts"
        raise vol.Invalid(msg)
    # For the frontend, a brace directly after a single quote is plain text.
    if re.search(r"'[{}]", shown):
        msg = "a single quote before a brace"
        raise vol.Invalid(msg)
    for _, name, _, _ in Formatter().parse(shown):
        if name is not None and not name.isidentifier():
            msg = f"an invalid placeholder {{{name}}}"
            raise vol.Invalid(msg)
    return shown


def step_with_named_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Validate that a step names each field that it describes, and return the step.

    Raises `vol.Invalid`.
    """
    unnamed = value.get("data_description", {}).keys() - value.get("data", {}).keys()
    if unnamed:
        msg = f"descriptions without a name: {sorted(unnamed)}"
        raise vol.Invalid(msg)
    return value


def fields(*required: str, optional: tuple[str, ...] = ()) -> dict[Any, Any]:
    """Return required and optional keys of a schema. The value of each is a text."""
    return {
        **{vol.Required(key): text for key in required},
        **{vol.Optional(key): text for key in optional},
    }


TEXTS = {str: text}
FORM = {vol.Optional(key): TEXTS for key in ("data", "data_description")}
STEP = vol.All(
    vol.Schema(
        {
            **fields(optional=("title", "description", "submit")),
            **FORM,
            vol.Optional("menu_options"): TEXTS,
            vol.Optional("menu_option_descriptions"): TEXTS,
            vol.Optional("sections"): {
                str: {**fields(optional=("name", "description")), **FORM}
            },
        }
    ),
    step_with_named_fields,
)
FLOW = {
    vol.Optional("flow_title"): text,
    vol.Required("step"): {str: STEP},
    **{
        vol.Optional(key): TEXTS
        for key in ("error", "abort", "progress", "create_entry")
    },
}
NAMED = {KEY: fields("name")}
TRANSLATIONS = vol.Schema(
    {
        vol.Optional("title"): text,
        vol.Optional("common"): {KEY: text},
        vol.Optional("config"): FLOW,
        vol.Optional("config_subentries"): {
            cv.slug: {
                **FLOW,
                vol.Required("entry_type"): text,
                vol.Required("initiate_flow"): {
                    vol.Required("user"): text,
                    vol.Optional("reconfigure"): text,
                },
            }
        },
        vol.Optional("options"): FLOW,
        vol.Optional("issues"): {
            str: vol.Any(
                fields("title", "description"),
                {**fields("title"), vol.Required("fix_flow"): FLOW},
            )
        },
        vol.Optional("system_health"): {vol.Required("info"): {KEY: text}},
        vol.Optional("exceptions"): {cv.slug: fields("message")},
        vol.Optional("selector"): {
            cv.slug: {
                vol.Optional(key): {KEY: text}
                for key in ("options", "choices", "unit_of_measurement")
            }
        },
        vol.Optional("device"): NAMED,
        vol.Optional("entity"): {
            vol.In(list(Platform)): {
                KEY: {
                    **fields(optional=("name", "unit_of_measurement")),
                    vol.Optional("state"): {KEY: text},
                    vol.Optional("state_attributes"): {
                        KEY: {
                            **fields(optional=("name",)),
                            vol.Optional("state"): {KEY: text},
                        }
                    },
                }
            }
        },
        vol.Optional("services"): {
            cv.slug: {
                **fields("name", "description"),
                vol.Optional("fields"): {
                    KEY: fields("name", "description", optional=("example",))
                },
                vol.Optional("sections"): {
                    KEY: fields("name", optional=("description",))
                },
            }
        },
    }
)

ICON = vol.All(text, vol.Match(r"^mdi:[a-z0-9-]+$"))
BY_STATE = {
    vol.Optional("default"): ICON,
    vol.Optional("state"): {KEY: ICON},
    vol.Optional("range"): {vol.All(str, vol.Coerce(float)): ICON},
}
ICONS = vol.Schema(
    {
        vol.Optional("entity"): {
            vol.In(list(Platform)): {
                KEY: {**BY_STATE, vol.Optional("state_attributes"): {KEY: BY_STATE}}
            }
        },
        vol.Optional("services"): {
            cv.slug: vol.Any(
                ICON,
                {
                    vol.Required("service"): ICON,
                    vol.Optional("sections"): {KEY: ICON},
                },
            )
        },
    }
)
