"""The base of all entities of a meter."""

from typing import Any, override

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN, MANUFACTURER
from .coordinator import CountisCoordinator
from .countis import BLOCK_OF
from .identifiers import entity_unique_id, meter_identifier


def device_info(coordinator: CountisCoordinator) -> DeviceInfo:
    """Describe the device of a meter, from its profile."""
    subentry = coordinator.subentry
    profile = coordinator.meter.profile
    return DeviceInfo(
        identifiers={(DOMAIN, meter_identifier(subentry))},
        name=subentry.title,
        manufacturer=MANUFACTURER,
        model=profile.model,
        serial_number=profile.serial_number,
        sw_version=profile.software_version,
    )


class CountisEntity(CoordinatorEntity[CountisCoordinator]):
    """An entity of a meter."""

    _attr_has_entity_name = True
    _written: Any = None

    def __init__(
        self,
        coordinator: CountisCoordinator,
        description: EntityDescription,
        *,
        quantity: str | None = None,
    ) -> None:
        """Initialize the entity for a quantity, by default the one of its key."""
        # The context is the quantity that has to be read for the entity.
        context = quantity or description.key
        super().__init__(coordinator, context if context in BLOCK_OF else None)
        self.entity_description = description
        self._attr_unique_id = entity_unique_id(coordinator.subentry, description.key)
        self._attr_device_info = device_info(coordinator)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if it has changed; most polls change nothing."""
        if (shown := (self.available, self.state)) != self._written:
            self._written = shown
            self.async_write_ha_state()
