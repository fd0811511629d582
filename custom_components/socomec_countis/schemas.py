"""The forms of the dialogs."""

from collections.abc import Mapping
from typing import Any

import voluptuous as vol

from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT
from homeassistant.helpers.selector import Selector, selector

from .connection import PARITIES
from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_PUBLISH_EVERY_READING,
    CONF_STOPBITS,
    CONF_UNIT_ID,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)

CONF_METERS = "meters"
CONF_TAKE_PROFILE = "take_profile"


def _number(most: int) -> vol.All:
    config = {"min": 1, "max": most, "step": 1, "mode": "box"}
    return vol.All(selector({"number": config}), vol.Coerce(int))


def _choice(*options: str, translation_key: str = "") -> Selector[Any]:
    config = {"options": list(options), "mode": "dropdown"}
    if translation_key:
        config["translation_key"] = translation_key
    return selector({"select": config})


UNIT_ID = _number(255)
SERIAL_PORT = {vol.Required(CONF_DEVICE): selector({"serial_port": {}})}
GATEWAY = {
    vol.Required(CONF_HOST): selector({"text": {}}),
    vol.Required(CONF_PORT): _number(65535),
}
SPEEDS = _choice("4800", "9600", "19200", "38400")
LINE_SETTINGS = {
    CONF_BAUDRATE: vol.All(SPEEDS, vol.Coerce(int)),
    CONF_PARITY: _choice(*PARITIES, translation_key=CONF_PARITY),
    CONF_STOPBITS: vol.All(_choice("1", "2"), vol.Coerce(int)),
}

# A meter in AUTO mode follows these settings. One that is set to 9600 baud, 8N1
# understands them as well: it takes the second stop bit for the idle line.
SUGGESTED_SETTINGS = {CONF_BAUDRATE: 9600, CONF_PARITY: "none", CONF_STOPBITS: 2}
# The port of Modbus TCP, and one that many transparent gateways are delivered with.
SUGGESTED: Mapping[str, Mapping[str, Any]] = {
    kind: {**SUGGESTED_SETTINGS, CONF_PORT: port}
    for kind, port in {SERIAL: None, TCP: 502, RTU_OVER_TCP: 8899}.items()
}

SWITCH = selector({"boolean": {}})
METERS_SCHEMA = vol.Schema({vol.Optional(CONF_UNIT_ID): UNIT_ID})
METER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_UNIT_ID): UNIT_ID,
        vol.Required(CONF_TAKE_PROFILE, default=False): SWITCH,
    }
)
OPTIONS_SCHEMA = vol.Schema(
    {vol.Required(CONF_PUBLISH_EVERY_READING, default=False): SWITCH}
)


def bus_schema(kind: str, *, is_new: bool) -> vol.Schema:
    """Return the form for a bus; what is left empty for a new one is searched for.

    The speed behind a gateway is required, because how long a request takes follows
    from it. The gateway's own settings are not searched for.
    """
    is_serial = kind == SERIAL
    required = vol.Optional if is_new and is_serial else vol.Required
    settings = LINE_SETTINGS if is_serial else [CONF_BAUDRATE]
    fields = {
        **(SERIAL_PORT if is_serial else GATEWAY),
        **(METERS_SCHEMA.schema if is_new else {}),
        **{required(key): LINE_SETTINGS[key] for key in settings},
    }
    return vol.Schema(fields)


def suggested_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data as a form shows them: a choice between numbers is one of texts."""
    choices = (CONF_BAUDRATE, CONF_STOPBITS)
    return {key: str(value) if key in choices else value for key, value in data.items()}


def found_schema(labels: Mapping[str, str], ticked: list[str]) -> vol.Schema:
    """Return the list of the meters found, to be ticked."""
    options = [{"value": key, "label": label} for key, label in labels.items()]
    config = {"options": options, "multiple": True, "mode": "list"}
    field = vol.Required(CONF_METERS, default=ticked)
    return vol.Schema({field: selector({"select": config})})
