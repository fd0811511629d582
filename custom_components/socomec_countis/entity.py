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
    """Describe an entity of a meter. The key is also the translation key."""

    quantity: str | None = None
    """The quantity that the entity shows. If this is None, the key is the quantity."""

    needs: Collection[str] = ()
    """The entity is created if the meter supports one of these quantities.

    If `needs` is empty, the meter has to support the quantity that the entity shows.
    """


def device_info(coordinator: CountisCoordinator) -> DeviceInfo:
    """Return the device information of a meter, from its subentry and profile."""
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
    """Return the `async_setup_entry` of a platform with one class of entities.

    The platform adds entities for each meter: one for each description that the meter
    supports (see `needs`). `create` returns the entity for a description.
    """

    def create_entities(coordinator: CountisCoordinator) -> list[CountisEntity]:
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
        entry.runtime_data.async_add_platform(create_entities, async_add_entities)

    return async_setup_entry


def combined_setup(*setups: PlatformSetup) -> PlatformSetup:
    """Return the `async_setup_entry` of a platform with several classes of entities.

    `setups` contains the result of `platform_setup` for each class.
    """

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
    _is_available_offline = False
    """Whether the entity is available while the meter is offline."""
    _last_written: Any = None
    """The state that was written last, with its attributes and availability."""

    def __init__(
        self, coordinator: CountisCoordinator, description: CountisEntityDescription
    ) -> None:
        """Initialize the entity.

        The context of the entity in the coordinator is the quantity that the poller
        reads for the entity. For an entity without such a quantity, like a button, the
        context is None.
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
        """Let the poller read the quantity until the entity is removed."""
        await super().async_added_to_hass()
        self.coordinator.on_wanted_quantities_changed()
        self.async_on_remove(self.coordinator.on_wanted_quantities_changed)

    @property
    @override
    def available(self) -> bool:
        """Return False while the meter is shown as offline, otherwise True.

        An entity with `_is_available_offline` is an exception: it is always available.
        """
        return self._is_available_offline or super().available

    @property
    def quantity_value(self) -> float | None:
        """Return the value of the quantity, None if it is not available."""
        return self.coordinator.data.get(self._quantity)

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if it has changed. Most readings do not change it."""
        new = (
            self.available,
            self.state,
            self.capability_attributes,
            self.extra_state_attributes,
        )
        if new != self._last_written:
            self._last_written = new
            self.async_write_ha_state()
