"""Sensors: the quantities of a meter, and its demand."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
import math
from typing import override

from modbus_connection.model import NumberField

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import EntityCategory, UnitOfPower, UnitOfTime
from homeassistant.core import callback
from homeassistant.helpers.event import async_track_time_change

from .const import CONF_PUBLISH_EVERY_READING
from .coordinator import CountisCoordinator
from .countis import PARTIAL_TARIFF_COUNTERS, TARIFF_COUNTERS
from .countis.demand import Demand, Peak
from .countis.registers import Energies, Measurements, Overflows, Periods, Tariffs
from .demand import COUNTER, demand_quantity, local_time_of
from .entity import (
    CountisEntity,
    CountisEntityDescription,
    platform_setup,
    platform_setups,
)
from .wiring_sensor import WIRING, CountisWiring

# No entity sends requests: the poller reads the values of all entities.
PARALLEL_UPDATES = 0

# s; a change that is smaller than the deadband is published after this time. Our
# choice: a compromise between the age of a state and the size of the database.
PUBLISHED_FOR_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class CountisSensorDescription(CountisEntityDescription, SensorEntityDescription):
    """Describe a sensor; the key is the name of its field in the register map."""

    suggested_display_precision: int
    deadband: float = 0
    """In the unit of the quantity. A smaller change is published with a delay."""
    value_fn: Callable[[float], float] | None = None
    """Return the shown value from the value of the quantity."""


# Device class, decimals and deadband, by the unit of a field in the register map. More
# decimals than a class 1 meter measures would only enlarge the database. The deadbands
# are our choice.
UNITS = {
    "kWh": (SensorDeviceClass.ENERGY, 2, 0),
    "kvarh": (SensorDeviceClass.REACTIVE_ENERGY, 2, 0),
    # Two steps of the register. An automation needs no smaller change.
    "W": (SensorDeviceClass.POWER, 0, 20),
    "var": (SensorDeviceClass.REACTIVE_POWER, 0, 20),
    "VA": (SensorDeviceClass.APPARENT_POWER, 0, 20),
    # Two steps of the rounding, because a small load changes the power factor often.
    "1": (SensorDeviceClass.POWER_FACTOR, 2, 0.02),
    # Less than 0.5 % of 230 V.
    "V": (SensorDeviceClass.VOLTAGE, 1, 1),
    # About 20 W at 230 V, the deadband of the power.
    "A": (SensorDeviceClass.CURRENT, 2, 0.1),
    # The frequency of an undisturbed grid normally varies by this much.
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

POWER = _description("power", "W", SensorStateClass.MEASUREMENT)

# The Energy dashboard needs a positive power for solar panels.
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
    # No state class, because the statistics of the totals contain the same energy.
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
        """Initialize the sensor.

        The profile was taken when the meter was added. The sensor of a tariff counter
        is disabled by default if the counter was 0 kWh then. Its partial counter is
        also disabled if no other tariff is used, because the partial counter is then
        the partial total. The powers of one direction are enabled by default if the
        meter had produced more energy than it had consumed.
        """
        super().__init__(coordinator, description)
        profile, key = coordinator.meter.profile, description.key
        if (tariff := PARTIAL_TARIFF_COUNTERS.get(key, key)) in TARIFF_COUNTERS:
            used = TARIFF_COUNTERS.keys() & profile.quantities - profile.unused
            self._attr_entity_registry_enabled_default = tariff in used and (
                key == tariff or len(used) > 1
            )
        if description in ONE_DIRECTION:
            self._attr_entity_registry_enabled_default = profile.is_producer
        self._published_until = -math.inf
        self.update_value()

    @property
    @override
    def available(self) -> bool:
        """Return whether the coordinator has the quantity.

        A counter stays available while the meter is offline.
        """
        return self._attr_available

    @property
    def is_known(self) -> bool:
        """Return whether the coordinator has the quantity."""
        return self._quantity in self.coordinator.data

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish the value if it has changed enough."""
        if self.update_value():
            self.async_write_ha_state()

    def update_value(self) -> bool:
        """Take the value of the coordinator; return whether to publish it."""
        digits = self.entity_description.suggested_display_precision
        available = self.is_known
        value = self.quantity_value
        if value is not None:
            if (value_fn := self.entity_description.value_fn) is not None:
                value = value_fn(value)
            value = round(value, digits) or 0  # no negative zero
        now = self.coordinator.hass.loop.time()
        published = self._attr_native_value
        if available == self._attr_available and (
            value == published
            or (
                value is not None
                and published is not None
                # The difference of two rounded values has a rounding error.
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
        """Return the deadband, 0 if the option to publish every reading is on."""
        options = self.coordinator.config_entry.options
        every_reading = options.get(CONF_PUBLISH_EVERY_READING)
        return 0 if every_reading else self.entity_description.deadband


@dataclass(frozen=True, kw_only=True)
class CountisDemandDescription(CountisSensorDescription):
    """Describe a sensor of the demand."""

    needs: Collection[str] = (COUNTER, POWER.key)
    device_class: SensorDeviceClass | None = SensorDeviceClass.POWER
    native_unit_of_measurement: str | None = UnitOfPower.WATT
    suggested_display_precision: int = 0
    entity_registry_enabled_default: bool = False
    deadband: float = POWER.deadband
    demand_fn: Callable[[Demand, float], float | Peak | None]
    """Return the value at a time in s since 1970."""


RUNNING_DEMAND = (
    CountisDemandDescription(
        key="demand",
        state_class=SensorStateClass.MEASUREMENT,
        demand_fn=Demand.watts,
    ),
    # No state class, because the mean of a forecast has no meaning.
    CountisDemandDescription(key="demand_forecast", demand_fn=Demand.forecast),
)
PEAK_DEMANDS = (
    CountisDemandDescription(
        key="peak_demand_this_month",
        state_class=SensorStateClass.MEASUREMENT,
        demand_fn=Demand.highest,
    ),
    # No state class, because the statistics of the sensor above contain the same value.
    CountisDemandDescription(
        key="peak_demand_last_month",
        demand_fn=lambda demand, at: demand.highest(at, months_ago=1),
    ),
)


class CountisDemand(CountisSensor):
    """The demand of the running period, or its forecast."""

    entity_description: CountisDemandDescription

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisDemandDescription
    ) -> None:
        """Initialize the sensor; the poller reads the quantity that it needs."""
        quantity = demand_quantity(coordinator.meter.profile)
        super().__init__(coordinator, replace(description, quantity=quantity))

    @override
    async def async_added_to_hass(self) -> None:
        """Calculate the demand until the entity is removed."""
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.demand.use())

    @property
    @override
    def is_known(self) -> bool:
        """Return whether the meter is online."""
        return self.coordinator.last_update_success

    @property
    def shown(self) -> float | Peak | None:
        """Return what the demand has for this sensor at present."""
        now = self.coordinator.meter.now().wall
        return self.entity_description.demand_fn(self.coordinator.demand.demand, now)

    @property
    @override
    def quantity_value(self) -> float | None:
        """Return the demand in W, None if it is unknown."""
        shown = self.shown
        return shown.watts if isinstance(shown, Peak) else shown

    @property
    @override
    def extra_state_attributes(self) -> dict[str, datetime] | None:
        """Return the period to which the demand belongs, None without a demand."""
        demand, shown = self.coordinator.demand.demand, self.shown
        begin = shown.begin if isinstance(shown, Peak) else demand.begin
        if shown is None or begin is None:
            return None
        return {
            "period_begin": local_time_of(begin),
            "period_end": local_time_of(begin + 60 * demand.minutes),
        }


class CountisPeakDemand(CountisDemand):
    """The highest demand of a month."""

    @override
    async def async_added_to_hass(self) -> None:
        """Show another month when a month begins, also while the meter is offline."""
        await super().async_added_to_hass()

        @callback
        def on_midnight(now: datetime) -> None:
            self._handle_coordinator_update()

        self.async_on_remove(
            async_track_time_change(self.hass, on_midnight, hour=0, minute=0, second=0)
        )

    @property
    @override
    def is_known(self) -> bool:
        """Return True, because the value is kept while the meter is offline."""
        return True


async_setup_entry = platform_setups(
    platform_setup(CountisSensor, SENSORS),
    platform_setup(CountisDemand, RUNNING_DEMAND),
    platform_setup(CountisPeakDemand, PEAK_DEMANDS),
    platform_setup(CountisWiring, [WIRING]),
)
