"""Constants for the Socomec COUNTIS integration."""

from datetime import timedelta

DOMAIN = "socomec_countis"
MANUFACTURER = "Socomec"

CONF_BAUDRATE = "baudrate"
CONF_PARITY = "parity"
CONF_SERIAL_NUMBER = "serial_number"
CONF_STOPBITS = "stopbits"

SCAN_INTERVAL = timedelta(seconds=1)

# The longest answer takes a quarter of a second at 4800 baud. A silent meter
# must not keep the others on its line waiting for long.
REQUEST_TIMEOUT = 1.0
