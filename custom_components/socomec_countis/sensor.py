"""The quantities of a meter, as sensors."""

from dataclasses import dataclass, replace
import math
from typing import override

from modbus_connection.model import NumberField

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import EntityCategory, UnitOfTime
from homeassistant.core import callback

from .const import CONF_PUBLISH_EVERY_READING
from .coordinator import CountisCoordinator
from .countis import TARIFF_COUNTERS
from .countis.registers import Energies, Measurements, Overflows, Periods, Tariffs
from .entity import CountisEntity, CountisEntityDescription, platform_setup

# The poller reads for all entities.
PARALLEL_UPDATES = 0

# s; a change within the deadband is published after this time at the latest.
PUBLISHED_FOR_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class CountisSensorDescription(CountisEntityDescription, SensorEntityDescription):
    """Describe a sensor; the key is the name of its field in the register map."""

    suggested_display_precision: int
    deadband: float = 0
    """A smaller change is published with a delay. Our choice, see `UNITS`."""


# Device class, decimals and deadband by the unit of the field in the register map. The
# decimals are those that a class 1 meter knows; more would be noise in the database.
UNITS = {
    "kWh": (SensorDeviceClass.ENERGY, 2, 0),
    "kvarh": (SensorDeviceClass.REACTIVE_ENERGY, 2, 0),
    # Two steps of the register, or one lamp. No automation needs less.
    "W": (SensorDeviceClass.POWER, 0, 20),
    "var": (SensorDeviceClass.REACTIVE_POWER, 0, 20),
    "VA": (SensorDeviceClass.APPARENT_POWER, 0, 20),
    # Twice the rounding, because it changes all the time while the load is small.
    "1": (SensorDeviceClass.POWER_FACTOR, 2, 0.02),
    # Less than half a percent of 230 V.
    "V": (SensorDeviceClass.VOLTAGE, 1, 1),
    # The current of the deadband of power at 230 V.
    "A": (SensorDeviceClass.CURRENT, 2, 0.1),
    # The change of a grid in quiet times; 0.2 Hz are a disturbance.
    "Hz": (SensorDeviceClass.FREQUENCY, 2, 0.05),
}

ENABLED_BY_DEFAULT = {
    "energy_consumed",
    "energy_produced",
    "partial_energy_consumed",
    "partial_energy_produced",
    *TARIFF_COUNTERS,
    "power_factor",
    "frequency",
    "power",
    *(
        f"{quantity}_{phase}"
        for quantity in ("power", "voltage", "current")
        for phase in ("l1", "l2", "l3")
    ),
}


def _description(
    quantity: str, unit: str, state_class: SensorStateClass | None
) -> CountisSensorDescription:
    """Describe the sensor of a quantity by its unit in the register map."""
    device_class, digits, deadband = UNITS[unit]
    return CountisSensorDescription(
        key=quantity,
        device_class=device_class,
        native_unit_of_measurement=None if unit == "1" else unit,
        state_class=state_class,
        suggested_display_precision=digits,
        deadband=deadband,
        entity_registry_enabled_default=quantity in ENABLED_BY_DEFAULT,
    )


DIAGNOSTIC = CountisSensorDescription(
    key="",
    entity_category=EntityCategory.DIAGNOSTIC,
    entity_registry_enabled_default=False,
    suggested_display_precision=0,
)

SENSORS = (
    *(
        _description(quantity, field.unit, state_class)
        for block, state_class in (
            (Energies, SensorStateClass.TOTAL_INCREASING),
            (Tariffs, SensorStateClass.TOTAL_INCREASING),
            (Measurements, SensorStateClass.MEASUREMENT),
        )
        for quantity, field in block.declared_fields.items()
        if isinstance(field, NumberField) and field.unit
    ),
    # Without statistics: those of the totals say the same, and the totals are checked.
    *(_description(quantity, "kWh", None) for quantity in Periods.declared_fields),
    *(replace(DIAGNOSTIC, key=quantity) for quantity in Overflows.declared_fields),
    replace(DIAGNOSTIC, key="ct_ratio", suggested_display_precision=1),
    replace(
        DIAGNOSTIC,
        key="clock_offset",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
    ),
)


class CountisSensor(CountisEntity, SensorEntity):
    """A quantity of a meter."""

    entity_description: CountisSensorDescription
    _attr_native_value: float | None = None
    _attr_available = False

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisSensorDescription
    ) -> None:
        """Initialize the sensor."""
        super().__init__(coordinator, description)
        if description.key in TARIFF_COUNTERS:
            # A tariff that the meter has but does not count in.
            unused = coordinator.meter.profile.unused
            self._attr_entity_registry_enabled_default = description.key not in unused
        self._published_until = -math.inf
        self.update_value()

    @property
    @override
    def available(self) -> bool:
        """Return whether there is a value: a counter keeps the last one."""
        return self._attr_available

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish the value if it has changed enough."""
        if self.update_value():
            self.async_write_ha_state()

    def update_value(self) -> bool:
        """Update the value from the coordinator, and return whether to publish it."""
        digits = self.entity_description.suggested_display_precision
        available = self.entity_description.key in self.coordinator.data
        value = self.quantity_value
        if value is not None:
            # "or 0" changes nothing except a negative zero.
            value = round(value, digits) or 0
        now = self.coordinator.hass.loop.time()
        published = self._attr_native_value
        if available == self._attr_available and (
            value == published
            or (
                value is not None
                and published is not None
                # Both are rounded to these digits, but their difference is not.
                and round(abs(value - published), digits) < self._deadband
                and now < self._published_until
            )
        ):
            return False
        self._attr_available = available
        self._attr_native_value = value
        self._published_until = now + PUBLISHED_FOR_SECONDS
        return True

    @property
    def _deadband(self) -> float:
        """Return the change below which a reading is not published at once."""
        options = self.coordinator.config_entry.options
        every_reading = options.get(CONF_PUBLISH_EVERY_READING)
        return 0 if every_reading else self.entity_description.deadband


async_setup_entry = platform_setup(CountisSensor, SENSORS)
