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
    combined_setup,
    platform_setup,
)

PARALLEL_UPDATES = 0  # no limit, because binary sensors send no requests

# In V; above this voltage, the meter's display shows the symbol of the phase (manual).
PRESENT_VOLTS = 150
# In V; at or below this voltage, a present phase becomes absent. Our choice: lower than
# `PRESENT_VOLTS`, so that a voltage near 150 V does not change the state often.
ABSENT_VOLTS = 145

PHASES = tuple(
    CountisEntityDescription(key=f"phase_{phase}_present", quantity=f"voltage_{phase}")
    for phase in ("l1", "l2", "l3")
)


@dataclass(frozen=True, kw_only=True)
class OnlineDescription(CountisEntityDescription, BinarySensorEntityDescription):
    """Describe the binary sensor `online`."""


ONLINE = OnlineDescription(
    key="online",
    # `BLOCK_OF` contains all quantities. Each meter supports some of these quantities,
    # so each meter has this entity.
    needs=BLOCK_OF,
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
)


class CountisOnline(CountisEntity, BinarySensorEntity):
    """Whether a meter is online, with the reason if the meter is offline.

    If the meter goes offline, the state changes after `HOLD_SECONDS` (coordinator.py),
    at the same time as the measured values become unavailable.
    """

    entity_description: OnlineDescription
    _is_available_offline = True

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the meter is shown as online.

        None before the first accepted reading, unless the meter is shown as offline.
        """
        return self.coordinator.shown_online

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return the reason as a key, which the frontend translates."""
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

        If the last state was on, the limit is `ABSENT_VOLTS`, otherwise it is
        `PRESENT_VOLTS`. If the voltage is not available, the last state remains.
        """
        if (volts := self.quantity_value) is not None:
            limit = ABSENT_VOLTS if self._attr_is_on else PRESENT_VOLTS
            self._attr_is_on = volts > limit
        return self._attr_is_on


async_setup_entry = combined_setup(
    platform_setup(CountisOnline, [ONLINE]), platform_setup(CountisPhase, PHASES)
)
