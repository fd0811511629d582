"""Which phases are present, by the rule of the meter's own display."""

from typing import override

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory

from .entity import CountisEntity, CountisEntityDescription, platform_setup

# The poller reads for all entities.
PARALLEL_UPDATES = 0

# The display shows a phase above 150 V. The 5 V between both limits prevent
# changes while a voltage is close to one of them.
PRESENT_VOLTS = 150
ABSENT_VOLTS = 145


PHASES = tuple(
    CountisEntityDescription(key=f"phase_{phase}_present", quantity=f"voltage_{phase}")
    for phase in ("l1", "l2", "l3")
)


class CountisPhase(CountisEntity, BinarySensorEntity):
    """Whether a phase is present."""

    _attr_device_class = BinarySensorDeviceClass.POWER
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    @property
    @override
    def available(self) -> bool:
        """Return whether the voltage is known."""
        return super().available and self.quantity_value is not None

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the voltage exceeds the limit of the present state, in V."""
        if (volts := self.quantity_value) is not None:
            limit = ABSENT_VOLTS if self._attr_is_on else PRESENT_VOLTS
            self._attr_is_on = volts > limit
        return self._attr_is_on


async_setup_entry = platform_setup(CountisPhase, PHASES)
