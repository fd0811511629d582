"""The base class of sensors that publish small changes of their value with a delay."""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import override

from homeassistant.components.sensor import SensorEntity, SensorEntityDescription
from homeassistant.core import callback

from .const import CONF_PUBLISH_EVERY_READING
from .coordinator import CountisCoordinator
from .entity import CountisEntity, CountisEntityDescription

# In s; for this time after a state was published, no change smaller than the deadband
# is published. Our choice: a compromise between the age of a state and the size of the
# database.
DEADBAND_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class DeadbandSensorDescription(CountisEntityDescription, SensorEntityDescription):
    """Describe a sensor with a deadband."""

    suggested_display_precision: int
    """Decimals; the published value is rounded to them."""
    deadband: float = 0
    """In the unit of the sensor. A smaller change is published with a delay."""
    value_fn: Callable[[float], float] | None = None
    """Returns the published value, from the value of the quantity."""


class DeadbandSensor(CountisEntity, SensorEntity):
    """A sensor that shows a quantity, and publishes small changes with a delay.

    `_attr_available` and `_attr_native_value` are the published state.
    """

    entity_description: DeadbandSensorDescription
    _attr_native_value: float | None = None
    _attr_available = False

    def __init__(
        self, coordinator: CountisCoordinator, description: DeadbandSensorDescription
    ) -> None:
        """Initialize the sensor with the present value."""
        super().__init__(coordinator, description)
        self._deadband_until = -math.inf
        """Until when no small change is published, in s of the event loop's clock."""
        self.update_state()

    @property
    @override
    def available(self) -> bool:
        """Return whether the published state is available."""
        return self._attr_available

    @property
    def is_latest_state_available(self) -> bool:
        """Return whether the latest state is available, published or not.

        The state is available if `data` of the coordinator contains the quantity, even
        as None. A counter stays available while the meter is offline.
        """
        return self._quantity in self.coordinator.data

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish the state if it has changed enough."""
        if self.update_state():
            self.async_write_ha_state()

    def update_state(self) -> bool:
        """Update the published state, unless its change is delayed.

        Returns whether the state was updated. If so, the caller has to write it.
        """
        digits = self.entity_description.suggested_display_precision
        available = self.is_latest_state_available
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
                and now < self._deadband_until
            )
        ):
            return False
        self._attr_available = available
        self._attr_native_value = value
        self._deadband_until = now + DEADBAND_SECONDS
        return True

    @property
    def _deadband(self) -> float:
        """Return the deadband, 0 if the option to publish every reading is on."""
        options = self.coordinator.config_entry.options
        every_reading = options.get(CONF_PUBLISH_EVERY_READING)
        return 0 if every_reading else self.entity_description.deadband
