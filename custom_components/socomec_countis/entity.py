"""The base class of the entities of a meter."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, override

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.device_registry import DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN, MANUFACTURER
from .coordinator import CountisCoordinator
from .countis import BLOCK_OF
from .identifiers import entity_unique_id, meter_identifier

if TYPE_CHECKING:
    from .runtime import CountisConfigEntry


@dataclass(frozen=True, kw_only=True)
class CountisEntityDescription(EntityDescription):
    """Describe an entity of a meter; the key is its translation key."""

    quantity: str | None = None
    """The quantity that the entity shows; by default the key."""

    needs: Collection[str] = ()
    """The entity is created if the meter supports one of these quantities.

    By default, this is the quantity that the entity shows.
    """


def device_info(coordinator: CountisCoordinator) -> DeviceInfo:
    """Return the device of a meter, as its profile describes it."""
    subentry = coordinator.subentry
    profile = coordinator.meter.profile
    return DeviceInfo(
        identifiers={(DOMAIN, meter_identifier(subentry))},
        name=subentry.title,
        manufacturer=MANUFACTURER,
        model=profile.model,
        serial_number=profile.serial_number,
        sw_version=profile.software_version,
        via_device_id=coordinator.config_entry.runtime_data.device_id,
    )


type PlatformSetup = Callable[
    [HomeAssistant, CountisConfigEntry, AddConfigEntryEntitiesCallback], Awaitable[None]
]
"""The `async_setup_entry` of a platform."""


def platform_setup[D: CountisEntityDescription](
    create: Callable[[CountisCoordinator, D], CountisEntity], descriptions: Sequence[D]
) -> PlatformSetup:
    """Return the `async_setup_entry` of a platform.

    That function checks each description for each meter. If the meter supports at least
    one of the quantities that the description needs, the function adds the entity.
    """

    def create_all(coordinator: CountisCoordinator) -> list[CountisEntity]:
        profile = coordinator.meter.profile
        quantities = profile.quantities | profile.calculated_counters.keys()
        return [
            create(coordinator, description)
            for description in descriptions
            if not quantities.isdisjoint(
                description.needs or {description.quantity or description.key}
            )
        ]

    async def async_setup_entry(
        hass: HomeAssistant,
        entry: CountisConfigEntry,
        async_add_entities: AddConfigEntryEntitiesCallback,
    ) -> None:
        entry.runtime_data.async_add_platform(create_all, async_add_entities)

    return async_setup_entry


def platform_setups(*setups: PlatformSetup) -> PlatformSetup:
    """Return the `async_setup_entry` of a platform with several classes of entities."""

    async def async_setup_entry(
        hass: HomeAssistant,
        entry: CountisConfigEntry,
        async_add_entities: AddConfigEntryEntitiesCallback,
    ) -> None:
        for setup in setups:
            await setup(hass, entry, async_add_entities)

    return async_setup_entry


class CountisEntity(CoordinatorEntity[CountisCoordinator]):
    """An entity of a meter."""

    _attr_has_entity_name = True
    _last_written: Any = None

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisEntityDescription
    ) -> None:
        """Initialize the entity.

        If a block contains the quantity of the entity, this quantity is the context of
        the entity in the coordinator, so that the poller reads it. Otherwise, as for a
        button, the context is None.
        """
        self._quantity = description.quantity or description.key
        in_block = self._quantity in BLOCK_OF
        super().__init__(coordinator, self._quantity if in_block else None)
        self.entity_description = description
        self._attr_translation_key = description.key
        self._attr_unique_id = entity_unique_id(coordinator.subentry, description.key)
        self._attr_device_info = device_info(coordinator)

    @override
    async def async_added_to_hass(self) -> None:
        """Let the poller read the quantity from now on, until the entity is removed."""
        await super().async_added_to_hass()
        self.coordinator.on_wanted_changed()
        self.async_on_remove(self.coordinator.on_wanted_changed)

    @property
    def quantity_value(self) -> float | None:
        """Return the value of the quantity, None if it is not available."""
        return self.coordinator.data.get(self._quantity)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state only if it has changed, to save time at each reading."""
        shown = (
            self.available,
            self.state,
            self.capability_attributes,
            self.extra_state_attributes,
        )
        if shown != self._last_written:
            self._last_written = shown
            self.async_write_ha_state()
