"""Binary sensors: whether a meter is online, and whether each phase is present."""

from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory

from .countis import BLOCK_OF
from .entity import (
    CountisEntity,
    CountisEntityDescription,
    platform_setup,
    platform_setups,
)

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


@dataclass(frozen=True, kw_only=True)
class OnlineDescription(CountisEntityDescription, BinarySensorEntityDescription):
    """Describe the binary sensor of the connection to a meter."""


ONLINE = OnlineDescription(
    key="online",
    # Each meter supports at least one quantity, so each meter has this entity.
    needs=BLOCK_OF,
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
)


class CountisOnline(CountisEntity, BinarySensorEntity):
    """Whether a meter is online, with the reason if it is offline.

    The state changes when the measured values become unavailable.
    """

    entity_description: OnlineDescription

    @property
    @override
    def available(self) -> bool:
        """Return True, because an offline meter is a state of this entity."""
        return True

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the meter is online, None before its first response."""
        return self.coordinator.connected

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the reason, of which the frontend shows the translation."""
        reason = self.coordinator.offline_reason
        return {"reason": reason} if reason else {}


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


async_setup_entry = platform_setups(
    platform_setup(CountisOnline, [ONLINE]), platform_setup(CountisPhase, PHASES)
)
