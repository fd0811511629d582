"""What the entities of a meter have in common."""

from typing import Any, override

from homeassistant.core import callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN, MANUFACTURER
from .coordinator import CountisCoordinator
from .countis import BLOCK_OF
from .identifiers import entity_unique_id, meter_identifier


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
        """Initialize the entity for a quantity, the one that is its key if none."""
        # The context is what the coordinator has to read for it.
        context = quantity or description.key
        super().__init__(coordinator, context if context in BLOCK_OF else None)
        self.entity_description = description
        entry = coordinator.config_entry
        meter = coordinator.meter
        self._attr_unique_id = entity_unique_id(entry, description.key)
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, meter_identifier(entry))},
            name=entry.title,
            manufacturer=MANUFACTURER,
            model=meter.model,
            serial_number=meter.serial_number,
            sw_version=meter.software_version,
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish what has changed; most polls change nothing."""
        if (shown := (self.available, self.state)) != self._written:
            self._written = shown
            self.async_write_ha_state()
