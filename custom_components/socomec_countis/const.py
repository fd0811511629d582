"""Constants for the Socomec COUNTIS integration."""

DOMAIN = "socomec_countis"
MANUFACTURER = "Socomec"

CONF_BAUDRATE = "baudrate"
CONF_PARITY = "parity"
CONF_PUBLISH_EVERY_READING = "publish_every_reading"
CONF_SERIAL_NUMBER = "serial_number"
CONF_STOPBITS = "stopbits"

# How the line is reached.
SERIAL = "serial"
TCP = "tcp"
RTU_OVER_TCP = "rtu_over_tcp"
CONNECTION_TYPES = (SERIAL, TCP, RTU_OVER_TCP)
