"""Sensors of the quantities of a meter, and the set-up of all sensors."""

from dataclasses import replace

from modbus_connection.model import NumberField

from homeassistant.components.sensor import SensorDeviceClass, SensorStateClass
from homeassistant.const import EntityCategory, UnitOfTime

from .coordinator import CountisCoordinator
from .countis import PARTIAL_TARIFF_COUNTERS, TARIFF_COUNTERS
from .countis.registers import Energies, Measurements, Overflows, Periods, Tariffs
from .deadband_sensor import DeadbandSensor, DeadbandSensorDescription
from .demand_sensor import (
    PEAK_DEMANDS,
    RUNNING_DEMAND,
    DemandSensor,
    PeakDemandSensor,
)
from .entity import combined_setup, platform_setup
from .wiring_sensor import WIRING, WiringSensor

PARALLEL_UPDATES = 0  # no limit, because sensors send no requests

# By unit of a field in the register map: the device class, the decimals, and the
# deadband in this unit. More decimals would only enlarge the database, because the
# meter is not accurate enough for them (class 1: 1 %). The deadbands are our choice.
BY_UNIT = {
    "kWh": (SensorDeviceClass.ENERGY, 2, 0),
    "kvarh": (SensorDeviceClass.REACTIVE_ENERGY, 2, 0),
    # 20 W is two steps of the register. No automation needs a smaller change.
    "W": (SensorDeviceClass.POWER, 0, 20),
    "var": (SensorDeviceClass.REACTIVE_POWER, 0, 20),
    "VA": (SensorDeviceClass.APPARENT_POWER, 0, 20),
    # 0.02 is two steps of the last decimal, which changes often at a small load.
    "1": (SensorDeviceClass.POWER_FACTOR, 2, 0.02),
    # 1 V is less than 0.5 % of 230 V.
    "V": (SensorDeviceClass.VOLTAGE, 1, 1),
    # 0.1 A is about 20 W at 230 V.
    "A": (SensorDeviceClass.CURRENT, 2, 0.1),
    # 0.05 Hz is the normal variation of the frequency of an undisturbed grid.
    "Hz": (SensorDeviceClass.FREQUENCY, 2, 0.05),
}

ENABLED_BY_DEFAULT = {
    "energy_consumed",
    "energy_produced",
    "partial_energy_consumed",
    "partial_energy_produced",
    *TARIFF_COUNTERS,
    *PARTIAL_TARIFF_COUNTERS,
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
) -> DeadbandSensorDescription:
    """Return the description of a sensor; `unit` is the unit in the register map."""
    device_class, digits, deadband = BY_UNIT[unit]
    return DeadbandSensorDescription(
        key=quantity,
        device_class=device_class,
        native_unit_of_measurement=None if unit == "1" else unit,
        state_class=state_class,
        suggested_display_precision=digits,
        deadband=deadband,
        entity_registry_enabled_default=quantity in ENABLED_BY_DEFAULT,
    )


# The template of the diagnostic sensors, each of which has its own key.
DIAGNOSTIC = DeadbandSensorDescription(
    key="",
    entity_category=EntityCategory.DIAGNOSTIC,
    entity_registry_enabled_default=False,
    suggested_display_precision=0,
)

POWER = _description("power", "W", SensorStateClass.MEASUREMENT)

# The power of each direction is positive or 0, because the Energy dashboard needs a
# positive power for solar panels.
ONE_DIRECTION = (
    replace(
        POWER,
        key="power_consumed",
        quantity="power",
        value_fn=lambda watts: max(watts, 0),
        entity_registry_enabled_default=False,
    ),
    replace(
        POWER,
        key="power_produced",
        quantity="power",
        value_fn=lambda watts: max(-watts, 0),
        entity_registry_enabled_default=False,
    ),
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
    *(
        _description(quantity, "kWh", SensorStateClass.TOTAL_INCREASING)
        for quantity in PARTIAL_TARIFF_COUNTERS
    ),
    *ONE_DIRECTION,
    # The energies of days, weeks and months have no state class, because the statistics
    # of the total counters contain the same energy.
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


class CountisSensor(DeadbandSensor):
    """A quantity of a meter."""

    def __init__(
        self, coordinator: CountisCoordinator, description: DeadbandSensorDescription
    ) -> None:
        """Initialize the sensor, and choose whether it is enabled by default.

        A tariff is used if its counter was above 0 kWh when the profile was taken. The
        counter of a used tariff is enabled. Its partial counter is also enabled if
        several tariffs are used. If only one tariff is used, its partial counter is
        disabled, because it would equal the partial counter of all tariffs. The
        consumed power and the produced power are enabled if the produced energy was
        above the consumed energy when the profile was taken.
        """
        super().__init__(coordinator, description)
        profile, key = coordinator.meter.profile, description.key
        if (counter := PARTIAL_TARIFF_COUNTERS.get(key, key)) in TARIFF_COUNTERS:
            used = TARIFF_COUNTERS.keys() & profile.quantities - profile.unused
            self._attr_entity_registry_enabled_default = counter in used and (
                key == counter or len(used) > 1
            )
        if description in ONE_DIRECTION:
            self._attr_entity_registry_enabled_default = profile.is_producer


async_setup_entry = combined_setup(
    platform_setup(CountisSensor, SENSORS),
    platform_setup(DemandSensor, RUNNING_DEMAND),
    platform_setup(PeakDemandSensor, PEAK_DEMANDS),
    platform_setup(WiringSensor, [WIRING]),
)
