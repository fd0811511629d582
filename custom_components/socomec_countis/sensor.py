"""The quantities of a meter, as sensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
import math
from typing import override

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
from .coordinator import CountisConfigEntry, CountisCoordinator
from .entity import CountisEntity

# The coordinator reads for all entities at once.
PARALLEL_UPDATES = 0

# Changes within the deadband wait for so long at most.
PUBLISHED_FOR_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class CountisSensorDescription(SensorEntityDescription):
    """A quantity; the key is its name in the register map and its translation."""

    suggested_display_precision: int
    """Decimals that a class 1 meter knows. More would be noise in the database."""

    deadband: float = 0
    """A smaller change is published a little later."""

    enabled_unless_zero: bool = False
    """Hides a counter that the meter has but does not use."""


def _sensors(
    device_class: SensorDeviceClass | None,
    unit: str | None,
    digits: int,
    *keys: str,
    deadband: float = 0,
    state_class: SensorStateClass | None = SensorStateClass.MEASUREMENT,
    category: EntityCategory | None = None,
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
            deadband=deadband,
            entity_category=category,
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
# The deadbands are what a class 1 meter does not know any better.
POWER = partial(
    # Two steps of the register, a lamp: less no automation can tell from noise.
    _sensors,
    SensorDeviceClass.POWER,
    UnitOfPower.WATT,
    0,
    deadband=20,
)
REACTIVE_POWER = partial(
    _sensors,
    SensorDeviceClass.REACTIVE_POWER,
    UnitOfReactivePower.VOLT_AMPERE_REACTIVE,
    0,
    deadband=20,
)
APPARENT_POWER = partial(
    _sensors,
    SensorDeviceClass.APPARENT_POWER,
    UnitOfApparentPower.VOLT_AMPERE,
    0,
    deadband=20,
)
POWER_FACTOR = partial(
    # Twice the rounding: at small loads it is hardly ever still.
    _sensors,
    SensorDeviceClass.POWER_FACTOR,
    None,
    2,
    deadband=0.02,
)
VOLTAGE = partial(
    # Less than half a percent of 230 V.
    _sensors,
    SensorDeviceClass.VOLTAGE,
    UnitOfElectricPotential.VOLT,
    1,
    deadband=1,
)
CURRENT = partial(
    # What the deadband of power is at 230 V.
    _sensors,
    SensorDeviceClass.CURRENT,
    UnitOfElectricCurrent.AMPERE,
    2,
    deadband=0.1,
)
FREQUENCY = partial(
    # What a grid moves by in quiet times; trouble begins at 0.2 Hz.
    _sensors,
    SensorDeviceClass.FREQUENCY,
    UnitOfFrequency.HERTZ,
    2,
    deadband=0.05,
)

PERIOD_ENERGY = partial(
    # Without statistics: those of the totals tell the same, and are guarded.
    _sensors,
    SensorDeviceClass.ENERGY,
    UnitOfEnergy.KILO_WATT_HOUR,
    2,
    state_class=None,
    enabled=False,
)
OVERFLOWS = partial(
    _sensors,
    None,
    None,
    0,
    state_class=None,
    category=EntityCategory.DIAGNOSTIC,
    enabled=False,
)
CT_RATIO = partial(
    _sensors,
    None,
    None,
    1,
    state_class=None,
    category=EntityCategory.DIAGNOSTIC,
    enabled=False,
)
CLOCK_OFFSET = partial(
    _sensors,
    SensorDeviceClass.DURATION,
    UnitOfTime.SECONDS,
    0,
    state_class=None,
    category=EntityCategory.DIAGNOSTIC,
    enabled=False,
)

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
    *PERIOD_ENERGY(
        "energy_consumed_today",
        "energy_produced_today",
        "energy_consumed_yesterday",
        "energy_produced_yesterday",
        "energy_consumed_this_week",
        "energy_produced_this_week",
        "energy_consumed_last_week",
        "energy_produced_last_week",
        "energy_consumed_this_month",
        "energy_produced_this_month",
        "energy_consumed_last_month",
        "energy_produced_last_month",
    ),
    *OVERFLOWS(
        "overflows_consumed",
        "overflows_reactive",
        "overflows_produced",
        "overflows_tariff_1",
        "overflows_tariff_2",
        "overflows_tariff_3",
        "overflows_tariff_4",
    ),
    *CT_RATIO("ct_ratio"),
    *CLOCK_OFFSET("clock_offset"),
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
        if description.key in coordinator.meter.quantities
    )


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
        if description.enabled_unless_zero:
            self._attr_entity_registry_enabled_default = bool(
                coordinator.data[description.key]
            )

        self._deadband = (
            0
            if coordinator.config_entry.options.get(CONF_PUBLISH_EVERY_READING)
            else description.deadband
        )
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
