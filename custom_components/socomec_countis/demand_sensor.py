"""The sensors of the demand of a meter: demand, forecast, and highest demands.

`countis/demand.py` defines and calculates the demand.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
import math
from typing import override

from homeassistant.components.sensor import SensorDeviceClass, SensorStateClass
from homeassistant.const import UnitOfPower
from homeassistant.core import callback
from homeassistant.helpers.event import async_track_time_change

from .coordinator import CountisCoordinator
from .countis.demand import Demand, Peak
from .deadband_sensor import DeadbandSensor, DeadbandSensorDescription
from .demand import COUNTER, POWER, demand_quantity, local_time_of


@dataclass(frozen=True, kw_only=True)
class DemandDescription(DeadbandSensorDescription):
    """Describe a sensor of the demand."""

    needs: Collection[str] = (COUNTER, POWER)  # one of them is enough
    device_class: SensorDeviceClass | None = SensorDeviceClass.POWER
    native_unit_of_measurement: str | None = UnitOfPower.WATT
    suggested_display_precision: int = 0
    entity_registry_enabled_default: bool = False
    deadband: float = 20  # W, as for the sensor `power` (sensor.py)
    demand_fn: Callable[[Demand, float], float | Peak | None]
    """Returns the demand or its forecast in W, or a `Peak`; None if unknown.

    The second argument is the present time, in s since 1970.
    """


RUNNING_DEMAND = (
    DemandDescription(
        key="demand",
        state_class=SensorStateClass.MEASUREMENT,
        demand_fn=Demand.watts,
    ),
    # No state class, because the mean of a forecast has no meaning.
    DemandDescription(key="demand_forecast", demand_fn=Demand.forecast),
)
PEAK_DEMANDS = (
    DemandDescription(
        key="peak_demand_this_month",
        state_class=SensorStateClass.MEASUREMENT,
        demand_fn=Demand.highest,
    ),
    # No state class, and so no statistics, because the statistics of
    # `peak_demand_this_month` already contain this value.
    DemandDescription(
        key="peak_demand_last_month",
        demand_fn=lambda demand, at: demand.highest(at, months_ago=1),
    ),
)


class DemandSensor(DeadbandSensor):
    """The demand of the running period, or the forecast of this demand.

    Some properties also handle a `Peak`, for the subclass `PeakDemandSensor`.
    """

    entity_description: DemandDescription
    _published_attributes: dict[str, datetime] | None = None

    def __init__(
        self, coordinator: CountisCoordinator, description: DemandDescription
    ) -> None:
        """Initialize the sensor with the quantity that the poller has to read.

        The demand of the meter is calculated from this quantity.
        """
        quantity = demand_quantity(coordinator.meter.profile)
        super().__init__(coordinator, replace(description, quantity=quantity))

    @override
    async def async_added_to_hass(self) -> None:
        """Let the integration calculate the demand until the entity is removed."""
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.meter_demand.use())

    @property
    @override
    def is_latest_state_available(self) -> bool:
        """Return False only while the meter is shown as offline."""
        return self.coordinator.last_update_success

    @property
    def demand_now(self) -> float | Peak | None:
        """Return the demand or its forecast in W, or the peak; None if unknown."""
        now = self.coordinator.meter.now().wall
        demand = self.coordinator.meter_demand.demand
        return self.entity_description.demand_fn(demand, now)

    @property
    @override
    def quantity_value(self) -> float | None:
        """Return the power in W that the sensor shows, None if it is unknown.

        The base class returns the value of the quantity instead.
        """
        shown = self.demand_now
        return shown.watts if isinstance(shown, Peak) else shown

    @override
    def update_state(self) -> bool:
        """Update the published state, at once if the period of the demand has changed.

        Returns whether the published state or its period has changed.
        """
        attributes = self.extra_state_attributes
        has_period_changed = attributes != self._published_attributes
        if has_period_changed:
            self._published_attributes = attributes
            self._deadband_until = -math.inf
        return super().update_state() or has_period_changed

    @property
    @override
    def extra_state_attributes(self) -> dict[str, datetime] | None:
        """Return begin and end of the period of the shown demand, None if unknown."""
        demand = self.coordinator.meter_demand.demand
        shown = self.demand_now
        begin = shown.begin if isinstance(shown, Peak) else demand.begin
        if shown is None or begin is None:
            return None
        return {
            "period_begin": local_time_of(begin),
            # A `Peak` has this length, too: `Demand.highest` returns no others.
            "period_end": local_time_of(begin + 60 * demand.minutes),
        }


class PeakDemandSensor(DemandSensor):
    """The highest demand of this month or of last month."""

    @override
    async def async_added_to_hass(self) -> None:
        """Update the state at each midnight, because a new month may begin then.

        The update also happens if the meter is offline.
        """
        await super().async_added_to_hass()

        @callback
        def on_midnight(now: datetime) -> None:
            self._handle_coordinator_update()

        self.async_on_remove(
            async_track_time_change(self.hass, on_midnight, hour=0, minute=0, second=0)
        )

    @property
    @override
    def is_latest_state_available(self) -> bool:
        """Return True, because the peaks stay valid while the meter is offline."""
        return True
