"""The button that sets the partial counters to zero."""

from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .connection import LINE_ERRORS, error_key, error_placeholders
from .const import DOMAIN
from .coordinator import CountisConfigEntry
from .countis import PARTIAL_COUNTERS, CountisError
from .entity import CountisEntity

PARALLEL_UPDATES = 1

RESET_PARTIAL_COUNTERS = ButtonEntityDescription(
    key="reset_partial_counters",
    translation_key="reset_partial_counters",
    entity_category=EntityCategory.CONFIG,
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the button, where the meter has partial counters."""
    coordinator = entry.runtime_data
    if not coordinator.meter.quantities.isdisjoint(PARTIAL_COUNTERS):
        async_add_entities([CountisResetButton(coordinator, RESET_PARTIAL_COUNTERS)])


class CountisResetButton(CountisEntity, ButtonEntity):
    """Sets the partial counters of a meter to zero."""

    @override
    async def async_press(self) -> None:
        """Reset the counters and show them as read back."""
        coordinator = self.coordinator
        try:
            energies = await coordinator.meter.async_reset_partial_counters()
        except (CountisError, *LINE_ERRORS) as err:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key=error_key(err),
                translation_placeholders=error_placeholders(
                    coordinator.config_entry.data, err
                ),
            ) from err
        coordinator.async_set_updated_data(coordinator.data | energies)
