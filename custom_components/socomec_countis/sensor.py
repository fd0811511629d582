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
from homeassistant.const import (
    EntityCategory,
    UnitOfApparentPower,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfFrequency,
    UnitOfPower,
    UnitOfReactiveEnergy,
    UnitOfReactivePower,
    UnitOfTime,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .const import CONF_PUBLISH_EVERY_READING
from .coordinator import CountisCoordinator
from .countis import TARIFF_COUNTERS
from .countis.registers import Energies, Measurements, Overflows, Periods, Tariffs
from .entity import CountisEntity
from .runtime import CountisConfigEntry

# The poller reads for all entities.
PARALLEL_UPDATES = 0

# s; a change within the deadband is published after this time at the latest.
PUBLISHED_FOR_SECONDS = 30


@dataclass(frozen=True)
class Kind:
    """The common attributes of the sensors of one unit."""

    device_class: SensorDeviceClass
    unit: str | None
    digits: int
    """Decimals that a class 1 meter knows. More would be noise in the database."""
    deadband: float = 0
    """A smaller change is published with a delay. Our choice, see each kind."""
    state_class: SensorStateClass = SensorStateClass.MEASUREMENT


# By the unit of the field in the register map.
KINDS = {
    "kWh": Kind(
        SensorDeviceClass.ENERGY,
        UnitOfEnergy.KILO_WATT_HOUR,
        2,
        state_class=SensorStateClass.TOTAL_INCREASING,
    ),
    "kvarh": Kind(
        SensorDeviceClass.REACTIVE_ENERGY,
        UnitOfReactiveEnergy.KILO_VOLT_AMPERE_REACTIVE_HOUR,
        2,
        state_class=SensorStateClass.TOTAL_INCREASING,
    ),
    # Two steps of the register: one lamp. No automation needs less.
    "W": Kind(SensorDeviceClass.POWER, UnitOfPower.WATT, 0, 20),
    "var": Kind(
        SensorDeviceClass.REACTIVE_POWER,
        UnitOfReactivePower.VOLT_AMPERE_REACTIVE,
        0,
        20,
    ),
    "VA": Kind(
        SensorDeviceClass.APPARENT_POWER, UnitOfApparentPower.VOLT_AMPERE, 0, 20
    ),
    # Twice the rounding: it changes all the time while the load is small.
    "1": Kind(SensorDeviceClass.POWER_FACTOR, None, 2, 0.02),
    # Less than half a percent of 230 V.
    "V": Kind(SensorDeviceClass.VOLTAGE, UnitOfElectricPotential.VOLT, 1, 1),
    # The current of the deadband of power at 230 V.
    "A": Kind(SensorDeviceClass.CURRENT, UnitOfElectricCurrent.AMPERE, 2, 0.1),
    # The change of a grid in quiet times; 0.2 Hz are a disturbance.
    "Hz": Kind(SensorDeviceClass.FREQUENCY, UnitOfFrequency.HERTZ, 2, 0.05),
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


@dataclass(frozen=True, kw_only=True)
class CountisSensorDescription(SensorEntityDescription):
    """Describe a quantity; the key is its name in the register map."""

    suggested_display_precision: int
    deadband: float = 0


def _description(quantity: str, kind: Kind) -> CountisSensorDescription:
    """Describe a quantity of the register map."""
    return CountisSensorDescription(
        key=quantity,
        translation_key=quantity,
        device_class=kind.device_class,
        state_class=kind.state_class,
        native_unit_of_measurement=kind.unit,
        suggested_display_precision=kind.digits,
        deadband=kind.deadband,
        entity_registry_enabled_default=quantity in ENABLED_BY_DEFAULT,
    )


def _diagnostic(
    quantity: str,
    digits: int,
    device_class: SensorDeviceClass | None = None,
    unit: str | None = None,
) -> CountisSensorDescription:
    """Describe a quantity that says something of the meter itself."""
    return CountisSensorDescription(
        key=quantity,
        translation_key=quantity,
        device_class=device_class,
        native_unit_of_measurement=unit,
        suggested_display_precision=digits,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
    )


SENSORS: tuple[CountisSensorDescription, ...] = (
    *(
        _description(quantity, KINDS[field.unit])
        for block in (Energies, Tariffs, Measurements)
        for quantity, field in block.declared_fields.items()
        if isinstance(field, NumberField) and field.unit
    ),
    # Without statistics: those of the totals say the same, and the totals are checked.
    *(
        replace(_description(quantity, KINDS["kWh"]), state_class=None)
        for quantity in Periods.declared_fields
    ),
    *(_diagnostic(quantity, 0) for quantity in Overflows.declared_fields),
    _diagnostic("ct_ratio", 1),
    _diagnostic("clock_offset", 0, SensorDeviceClass.DURATION, UnitOfTime.SECONDS),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a sensor for each quantity that a meter has."""

    def create(coordinator: CountisCoordinator) -> list[CountisSensor]:
        quantities = coordinator.meter.profile.quantities
        return [
            CountisSensor(coordinator, description)
            for description in SENSORS
            if description.key in quantities
        ]

    entry.runtime_data.async_add_platform(create, async_add_entities)


class CountisSensor(CountisEntity, SensorEntity):
    """A quantity of a meter."""

    entity_description: CountisSensorDescription
    _attr_native_value: float | None = None
    _available = False

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
        self._take_up()

    @property
    @override
    def available(self) -> bool:
        """Whether there is a value: a counter keeps the last one."""
        return self._available

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish the reading, if it is worth it."""
        if self._take_up():
            self.async_write_ha_state()

    @property
    def _deadband(self) -> float:
        """Return the change below which a reading is not published at once."""
        options = self.coordinator.config_entry.options
        every_reading = options.get(CONF_PUBLISH_EVERY_READING)
        return 0 if every_reading else self.entity_description.deadband

    def _take_up(self) -> bool:
        """Take the reading over, unless it is what is published, or nearly so."""
        available, value = self._reading()
        now = self.coordinator.hass.loop.time()
        before = self._attr_native_value
        if available == self._available and (
            value == before
            or (
                value is not None
                and before is not None
                and abs(value - before) < self._deadband
                and now < self._published_until
            )
        ):
            return False
        self._available = available
        self._attr_native_value = value
        self._published_until = now + PUBLISHED_FOR_SECONDS
        return True

    def _reading(self) -> tuple[bool, float | None]:
        """Return whether there is a reading, and what a class 1 meter knows of it."""
        description = self.entity_description
        coordinator = self.coordinator
        is_counter = description.state_class is SensorStateClass.TOTAL_INCREASING
        if description.key not in coordinator.data or not (
            is_counter or coordinator.last_update_success
        ):
            return False, None
        value = coordinator.data[description.key]
        if value is None:
            return True, None
        # "or 0" makes no difference but for a negative zero.
        return True, round(value, description.suggested_display_precision) or 0
