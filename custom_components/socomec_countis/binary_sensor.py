"""Which phases are there, by the rule of the meter's own display."""

from dataclasses import dataclass
from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisCoordinator
from .entity import CountisEntity
from .runtime import CountisConfigEntry

# The coordinator reads for all entities at once.
PARALLEL_UPDATES = 0

# The phase symbol is lit above 150 V. A voltage that lingers there does not blink.
PRESENT_VOLTS = 150
ABSENT_VOLTS = 145


@dataclass(frozen=True, kw_only=True)
class CountisPhaseDescription(BinarySensorEntityDescription):
    """A phase; the key is its translation."""

    quantity: str
    """The voltage that tells."""


PHASES = tuple(
    CountisPhaseDescription(
        key=f"phase_{phase}_present",
        translation_key=f"phase_{phase}_present",
        device_class=BinarySensorDeviceClass.POWER,
        entity_category=EntityCategory.DIAGNOSTIC,
        quantity=f"voltage_{phase}",
    )
    for phase in ("l1", "l2", "l3")
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a sensor for each phase that a meter measures."""

    def create(coordinator: CountisCoordinator) -> list[CountisPhase]:
        quantities = coordinator.meter.profile.quantities
        return [
            CountisPhase(coordinator, description)
            for description in PHASES
            if description.quantity in quantities
        ]

    entry.runtime_data.async_add_platform(create, async_add_entities)


class CountisPhase(CountisEntity, BinarySensorEntity):
    """Whether a phase is there."""

    entity_description: CountisPhaseDescription

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisPhaseDescription
    ) -> None:
        """Initialize the sensor."""
        super().__init__(coordinator, description, quantity=description.quantity)
        self._take_up()

    @property
    @override
    def available(self) -> bool:
        """Whether the voltage is known."""
        return super().available and self._volts is not None

    @property
    def _volts(self) -> float | None:
        return self.coordinator.data.get(self.entity_description.quantity)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Publish a change."""
        self._take_up()
        super()._handle_coordinator_update()

    def _take_up(self) -> None:
        if (volts := self._volts) is not None:
            limit = ABSENT_VOLTS if self.is_on else PRESENT_VOLTS
            self._attr_is_on = volts > limit
