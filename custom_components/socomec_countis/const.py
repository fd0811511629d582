"""Constants for the Socomec COUNTIS integration."""

DOMAIN = "socomec_countis"
MANUFACTURER = "Socomec"

CONF_BAUDRATE = "baudrate"
CONF_PARITY = "parity"
CONF_PUBLISH_EVERY_READING = "publish_every_reading"
CONF_SERIAL_NUMBER = "serial_number"
CONF_STOPBITS = "stopbits"
