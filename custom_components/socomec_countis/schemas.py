"""The schemas of the forms in the dialogs."""

from collections.abc import Mapping
from typing import Any

import voluptuous as vol

from homeassistant.const import CONF_DEVICE, CONF_HOST, CONF_PORT
from homeassistant.helpers.selector import Selector, selector

from .connection import PARITIES
from .const import (
    CONF_BAUDRATE,
    CONF_FILL_GAPS,
    CONF_PARITY,
    CONF_PUBLISH_EVERY_READING,
    CONF_STOPBITS,
    CONF_UNIT_ID,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)

CONF_METERS = "meters"
CONF_TAKE_PROFILE = "take_profile"  # the switch "Detect the supported values again"


def _number(highest: int) -> vol.All:
    config = {"min": 1, "max": highest, "step": 1, "mode": "box"}
    return vol.All(selector({"number": config}), vol.Coerce(int))


def _choice(*options: str, **config: str) -> Selector[Any]:
    return selector({"select": {"options": [*options], "mode": "dropdown", **config}})


LINE_SETTINGS = {
    CONF_BAUDRATE: vol.All(_choice("4800", "9600", "19200", "38400"), vol.Coerce(int)),
    CONF_PARITY: _choice(*PARITIES, translation_key=CONF_PARITY),
    CONF_STOPBITS: vol.All(_choice("1", "2"), vol.Coerce(int)),
}
UNIT_ID = _number(255)  # the highest unit ID in the menu of a meter
SWITCH = selector({"boolean": {}})

# A meter in AUTO mode adopts these settings. A meter that is set to 9600 baud and 8N1
# also responds to requests that are sent with two stop bits, because the second stop
# bit is the same as an idle line.
SUGGESTED_SETTINGS = {CONF_BAUDRATE: 9600, CONF_PARITY: "none", CONF_STOPBITS: 2}
# The values that the form for a bus suggests, by connection type. 502 is the standard
# port of Modbus TCP. 8899 is the factory setting of many transparent gateways.
SUGGESTED: Mapping[str, Mapping[str, Any]] = {
    SERIAL: SUGGESTED_SETTINGS,
    TCP: {**SUGGESTED_SETTINGS, CONF_PORT: 502},
    RTU_OVER_TCP: {**SUGGESTED_SETTINGS, CONF_PORT: 8899},
}

ADD_METERS_SCHEMA = vol.Schema({vol.Optional(CONF_UNIT_ID): UNIT_ID})
RECONFIGURE_METER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_UNIT_ID): UNIT_ID,
        vol.Required(CONF_TAKE_PROFILE, default=False): SWITCH,
    }
)
OPTIONS_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_PUBLISH_EVERY_READING, default=False): SWITCH,
        vol.Required(CONF_FILL_GAPS, default=False): SWITCH,
    }
)


def bus_schema(kind: str, *, is_new: bool) -> vol.Schema:
    """Return the form for a bus whose connection type is `kind`.

    For a new bus, a scan finds the unit IDs and line settings that the user leaves
    empty. The speed behind a gateway is required, because the timing of requests
    depends on this speed. A scan cannot try other speeds behind a gateway.
    """
    meter = ADD_METERS_SCHEMA.schema if is_new else {}
    if kind == SERIAL:
        marker = vol.Optional if is_new else vol.Required
        port = {vol.Required(CONF_DEVICE): selector({"serial_port": {}})}
        settings = {marker(key): field for key, field in LINE_SETTINGS.items()}
        return vol.Schema({**port, **meter, **settings})
    gateway = {
        vol.Required(CONF_HOST): selector({"text": {}}),
        vol.Required(CONF_PORT): _number(65535),
    }
    speed = {vol.Required(CONF_BAUDRATE): LINE_SETTINGS[CONF_BAUDRATE]}
    return vol.Schema({**gateway, **meter, **speed})


def suggested_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return data as suggested values of a form, with text for dropdown lists.

    The options of a dropdown list are text, even if they are numbers in the data.
    """
    choices = (CONF_BAUDRATE, CONF_STOPBITS)
    return {key: str(value) if key in choices else value for key, value in data.items()}


def found_schema(labels: Mapping[str, str], selected: list[str]) -> vol.Schema:
    """Return the form that lists found meters.

    `labels` contains the label of each meter, by its key. If `labels` is empty, the
    form has no field. `selected` contains the keys of the meters that are selected at
    first.
    """
    if not labels:
        return vol.Schema({})
    options = [{"value": key, "label": label} for key, label in labels.items()]
    config = {"options": options, "multiple": True, "mode": "list"}
    field = vol.Required(CONF_METERS, default=selected)
    return vol.Schema({field: selector({"select": config})})
