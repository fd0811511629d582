"""The quantities of a meter, as sensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    UnitOfApparentPower,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfFrequency,
    UnitOfPower,
    UnitOfReactiveEnergy,
    UnitOfReactivePower,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisConfigEntry, CountisCoordinator
from .entity import CountisEntity

# The coordinator reads for all entities at once.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class CountisSensorDescription(SensorEntityDescription):
    """A quantity; the key is its name in the register map and its translation."""

    suggested_display_precision: int
    """Decimals that a class 1 meter knows. More would be noise in the database."""

    enabled_unless_zero: bool = False
    """Hides a counter that the meter has but does not use."""


def _sensors(
    device_class: SensorDeviceClass,
    unit: str | None,
    digits: int,
    *keys: str,
    state_class: SensorStateClass = SensorStateClass.MEASUREMENT,
    enabled: bool = True,
    enabled_unless_zero: bool = False,
) -> Iterator[CountisSensorDescription]:
    """Describe the quantities of one kind."""
    for key in keys:
        yield CountisSensorDescription(
            key=key,
            translation_key=key,
            device_class=device_class,
            state_class=state_class,
            native_unit_of_measurement=unit,
            suggested_display_precision=digits,
            entity_registry_enabled_default=enabled,
            enabled_unless_zero=enabled_unless_zero,
        )


ENERGY = partial(
    _sensors,
    SensorDeviceClass.ENERGY,
    UnitOfEnergy.KILO_WATT_HOUR,
    2,
    state_class=SensorStateClass.TOTAL_INCREASING,
)
REACTIVE_ENERGY = partial(
    _sensors,
    SensorDeviceClass.REACTIVE_ENERGY,
    UnitOfReactiveEnergy.KILO_VOLT_AMPERE_REACTIVE_HOUR,
    2,
    state_class=SensorStateClass.TOTAL_INCREASING,
)
POWER = partial(_sensors, SensorDeviceClass.POWER, UnitOfPower.WATT, 0)
REACTIVE_POWER = partial(
    _sensors,
    SensorDeviceClass.REACTIVE_POWER,
    UnitOfReactivePower.VOLT_AMPERE_REACTIVE,
    0,
)
APPARENT_POWER = partial(
    _sensors, SensorDeviceClass.APPARENT_POWER, UnitOfApparentPower.VOLT_AMPERE, 0
)
POWER_FACTOR = partial(_sensors, SensorDeviceClass.POWER_FACTOR, None, 2)
VOLTAGE = partial(_sensors, SensorDeviceClass.VOLTAGE, UnitOfElectricPotential.VOLT, 1)
CURRENT = partial(_sensors, SensorDeviceClass.CURRENT, UnitOfElectricCurrent.AMPERE, 2)
FREQUENCY = partial(_sensors, SensorDeviceClass.FREQUENCY, UnitOfFrequency.HERTZ, 2)

SENSORS: tuple[CountisSensorDescription, ...] = (
    *ENERGY("energy_consumed", "energy_produced"),
    *REACTIVE_ENERGY("energy_reactive", enabled=False),
    *ENERGY("partial_energy_consumed", "partial_energy_produced"),
    *REACTIVE_ENERGY("partial_energy_reactive", enabled=False),
    *ENERGY(
        "tariff_1_energy",
        "tariff_2_energy",
        "tariff_3_energy",
        "tariff_4_energy",
        enabled_unless_zero=True,
    ),
    *POWER("power", "power_l1", "power_l2", "power_l3"),
    *REACTIVE_POWER(
        "reactive_power",
        "reactive_power_l1",
        "reactive_power_l2",
        "reactive_power_l3",
        enabled=False,
    ),
    *APPARENT_POWER(
        "apparent_power",
        "apparent_power_l1",
        "apparent_power_l2",
        "apparent_power_l3",
        enabled=False,
    ),
    *POWER_FACTOR("power_factor"),
    *POWER_FACTOR(
        "power_factor_l1", "power_factor_l2", "power_factor_l3", enabled=False
    ),
    *VOLTAGE("voltage_l1", "voltage_l2", "voltage_l3"),
    *VOLTAGE("voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1", enabled=False),
    *CURRENT("current_l1", "current_l2", "current_l3"),
    *CURRENT("current_neutral", enabled=False),
    *FREQUENCY("frequency"),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a sensor for each quantity that the meter has."""
    coordinator = entry.runtime_data
    async_add_entities(
        CountisSensor(coordinator, description)
        for description in SENSORS
        if coordinator.data.get(description.key) is not None
    )


class CountisSensor(CountisEntity, SensorEntity):
    """A quantity of a meter."""

    entity_description: CountisSensorDescription

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisSensorDescription
    ) -> None:
        """Initialize the sensor."""
        super().__init__(coordinator, description)
        if description.enabled_unless_zero:
            self._attr_entity_registry_enabled_default = bool(
                coordinator.data[description.key]
            )

    @property
    @override
    def available(self) -> bool:
        """Whether the last poll could read the block this quantity stands in."""
        return (
            super().available and self.entity_description.key in self.coordinator.data
        )

    @property
    @override
    def native_value(self) -> float | None:
        """What a class 1 meter knows of the quantity, and no more."""
        value = self.coordinator.data[self.entity_description.key]
        if value is None:
            return None
        # "or 0" makes no difference but for a negative zero.
        return round(value, self.entity_description.suggested_display_precision) or 0
