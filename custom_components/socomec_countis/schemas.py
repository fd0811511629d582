"""What the dialogs ask for."""

import voluptuous as vol

from homeassistant.const import CONF_ADDRESS, CONF_DEVICE, CONF_HOST, CONF_PORT
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    SerialPortSelector,
    TextSelector,
)

from .connection import PARITIES
from .const import (
    CONF_BAUDRATE,
    CONF_PARITY,
    CONF_PUBLISH_EVERY_READING,
    CONF_STOPBITS,
    RTU_OVER_TCP,
    SERIAL,
    TCP,
)

MODBUS_TCP_PORT = 502

# What a choice between numbers is stored as.
NUMBER_CHOICES = (CONF_BAUDRATE, CONF_STOPBITS)


def _number(least: int, most: int) -> vol.All:
    return vol.All(
        NumberSelector(
            NumberSelectorConfig(
                min=least, max=most, step=1, mode=NumberSelectorMode.BOX
            )
        ),
        vol.Coerce(int),
    )


def _number_choice(*numbers: int) -> vol.All:
    return vol.All(
        SelectSelector(
            SelectSelectorConfig(
                options=[str(number) for number in numbers],
                mode=SelectSelectorMode.DROPDOWN,
            )
        ),
        vol.Coerce(int),
    )


ADDRESS = _number(1, 255)
BAUDRATE = _number_choice(4800, 9600, 19200, 38400)
PARITY = SelectSelector(
    SelectSelectorConfig(
        options=list(PARITIES),
        translation_key=CONF_PARITY,
        mode=SelectSelectorMode.DROPDOWN,
    )
)
STOPBITS = _number_choice(1, 2)
GATEWAY = {
    vol.Required(CONF_HOST): TextSelector(),
    vol.Required(CONF_PORT, default=MODBUS_TCP_PORT): _number(1, 65535),
}
RTU_GATEWAY = {
    vol.Required(CONF_HOST): TextSelector(),
    vol.Required(CONF_PORT): _number(1, 65535),
}
METER_BEHIND_GATEWAY = {
    vol.Required(CONF_ADDRESS, default=1): ADDRESS,
    vol.Required(CONF_BAUDRATE, default="9600"): BAUDRATE,
}

# One meter, by how its line is reached: the meter's own settings, with its defaults
# where it has some.
METER_SCHEMAS = {
    SERIAL: vol.Schema(
        {
            vol.Required(CONF_DEVICE): SerialPortSelector(),
            vol.Required(CONF_ADDRESS, default=1): ADDRESS,
            vol.Required(CONF_BAUDRATE, default="9600"): BAUDRATE,
            vol.Required(CONF_PARITY, default="none"): PARITY,
            vol.Required(CONF_STOPBITS, default="1"): STOPBITS,
        }
    ),
    TCP: vol.Schema({**GATEWAY, **METER_BEHIND_GATEWAY}),
    RTU_OVER_TCP: vol.Schema({**RTU_GATEWAY, **METER_BEHIND_GATEWAY}),
}

# A line to search: what is left out is not known.
SEARCH_SCHEMAS = {
    SERIAL: vol.Schema(
        {
            vol.Required(CONF_DEVICE): SerialPortSelector(),
            vol.Optional(CONF_ADDRESS): ADDRESS,
            vol.Optional(CONF_BAUDRATE): BAUDRATE,
            vol.Optional(CONF_PARITY): PARITY,
            vol.Optional(CONF_STOPBITS): STOPBITS,
        }
    ),
    TCP: vol.Schema(
        {
            **GATEWAY,
            vol.Optional(CONF_ADDRESS): ADDRESS,
            vol.Required(CONF_BAUDRATE, default="9600"): BAUDRATE,
        }
    ),
    RTU_OVER_TCP: vol.Schema(
        {
            **RTU_GATEWAY,
            vol.Optional(CONF_ADDRESS): ADDRESS,
            vol.Required(CONF_BAUDRATE, default="9600"): BAUDRATE,
        }
    ),
}

OPTIONS_SCHEMA = vol.Schema(
    {vol.Required(CONF_PUBLISH_EVERY_READING, default=False): BooleanSelector()}
)
