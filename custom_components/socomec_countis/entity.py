"""What the entities of a meter have in common."""

from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import CONF_SERIAL_NUMBER, DOMAIN, MANUFACTURER
from .coordinator import CountisCoordinator


class CountisEntity(CoordinatorEntity[CountisCoordinator]):
    """An entity of a meter."""

    _attr_has_entity_name = True

    def __init__(
        self, coordinator: CountisCoordinator, description: EntityDescription
    ) -> None:
        """Initialize the entity."""
        super().__init__(coordinator)
        self.entity_description = description
        entry = coordinator.config_entry
        meter = coordinator.meter
        # A meter without a serial number is known by where it is. That may
        # change, which must not cost its entities their history.
        identifier = entry.data[CONF_SERIAL_NUMBER] or entry.entry_id
        self._attr_unique_id = f"{identifier}_{description.key}"
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, identifier)},
            name=entry.title,
            manufacturer=MANUFACTURER,
            model=meter.model,
            serial_number=meter.serial_number,
            sw_version=meter.software_version,
        )
