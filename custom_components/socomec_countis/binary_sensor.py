"""Binary sensors: whether each phase of a meter is present."""

from typing import override

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory

from .entity import CountisEntity, CountisEntityDescription, platform_setup

# No entity sends requests: the poller reads the values of all entities.
PARALLEL_UPDATES = 0

# In V. If the voltage of a phase is above 150 V, the display of the meter shows the
# symbol of the phase (manual). The hysteresis of 5 V is our choice, so that a voltage
# close to the limit does not change the state often.
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
        """Return whether the voltage is above the limit.

        While the phase is present, the lower limit applies. If the voltage is not
        available, the last state remains.
        """
        if (volts := self.quantity_value) is not None:
            limit = ABSENT_VOLTS if self._attr_is_on else PRESENT_VOLTS
            self._attr_is_on = volts > limit
        return self._attr_is_on


async_setup_entry = platform_setup(CountisPhase, PHASES)
