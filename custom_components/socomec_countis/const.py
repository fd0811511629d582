"""Constants for the Socomec COUNTIS integration."""

DOMAIN = "socomec_countis"
MANUFACTURER = "Socomec"

SUBENTRY_METER = "meter"

# Keys in the data and options of an entry, which is a bus.
CONF_BAUDRATE = "baudrate"
CONF_PARITY = "parity"
CONF_STOPBITS = "stopbits"
CONF_FILL_GAPS = "fill_gaps"
CONF_PUBLISH_EVERY_READING = "publish_every_reading"

# Keys in the data of a subentry, which is a meter.
CONF_UNIT_ID = "unit_id"
CONF_SERIAL_NUMBER = "serial_number"
CONF_PROFILE = "profile"

# Values of `CONF_TYPE`: how the bus is connected.
SERIAL = "serial"
TCP = "tcp"
RTU_OVER_TCP = "rtu_over_tcp"
CONNECTION_TYPES = (SERIAL, TCP, RTU_OVER_TCP)
