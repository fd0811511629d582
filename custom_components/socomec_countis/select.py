"""The tariff that a meter counts in, to choose."""

from functools import partial
from typing import override

from homeassistant.components.select import SelectEntity, SelectEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisConfigEntry, CountisCoordinator
from .countis import async_set_tariff, tariffs
from .entity import CountisEntity

PARALLEL_UPDATES = 1

TARIFF = SelectEntityDescription(key="tariff", translation_key="tariff")


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the select, where the meter has tariffs."""
    coordinator = entry.runtime_data
    if TARIFF.key in coordinator.meter.quantities:
        async_add_entities([CountisTariff(coordinator, TARIFF)])


class CountisTariff(CountisEntity, SelectEntity):
    """The tariff that a meter counts in."""

    def __init__(
        self, coordinator: CountisCoordinator, description: SelectEntityDescription
    ) -> None:
        """Initialize the select with the tariffs that the meter says it has."""
        super().__init__(coordinator, description)
        self._attr_options = [
            str(tariff) for tariff in tariffs(coordinator.data.get("tariff_count"))
        ]

    @property
    @override
    def current_option(self) -> str | None:
        """The tariff as last read, None for one that the meter should not have."""
        tariff = self.coordinator.data.get(self.entity_description.key)
        option = None if tariff is None else str(int(tariff))
        return option if option in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        """Have the meter count in another tariff."""
        await self.coordinator.async_command(
            partial(async_set_tariff, tariff=int(option))
        )
