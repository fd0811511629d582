"""The tariff that a meter counts in, to choose."""

from functools import partial
from typing import override

from homeassistant.components.select import SelectEntity, SelectEntityDescription
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisCoordinator
from .countis import async_set_tariff, tariffs
from .entity import CountisEntity
from .runtime import CountisConfigEntry

PARALLEL_UPDATES = 1

TARIFF = SelectEntityDescription(key="tariff", translation_key="tariff")


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the select for a meter that has tariffs."""

    def create(coordinator: CountisCoordinator) -> list[CountisTariff]:
        if TARIFF.key not in coordinator.meter.profile.quantities:
            return []
        return [CountisTariff(coordinator, TARIFF)]

    entry.runtime_data.async_add_platform(create, async_add_entities)


class CountisTariff(CountisEntity, SelectEntity):
    """The tariff that a meter counts in."""

    @property
    @override
    def options(self) -> list[str]:
        """Return the tariffs that the meter has."""
        count = self.coordinator.meter.profile.tariff_count
        return [str(tariff) for tariff in tariffs(count)]

    @property
    @override
    def current_option(self) -> str | None:
        """Return the tariff as last read, None for one that the meter does not have."""
        tariff = self.coordinator.data.get(self.entity_description.key)
        option = None if tariff is None else str(int(tariff))
        return option if option in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        """Let the meter count in another tariff."""
        await self.coordinator.async_command(
            partial(async_set_tariff, tariff=int(option))
        )
