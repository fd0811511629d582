"""The buttons of a meter: commands without a choice."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisCoordinator
from .countis import (
    PARTIAL_COUNTERS,
    TARIFF_COUNTERS,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
)
from .entity import CountisEntity
from .runtime import CountisConfigEntry
from .wiring import async_notify_wiring

PARALLEL_UPDATES = 1


@dataclass(frozen=True, kw_only=True)
class CountisButtonDescription(ButtonEntityDescription):
    """Describe a button; the key is its translation key."""

    needs: Collection[str]
    """The button exists for a meter with at least one of these quantities."""

    press_fn: Callable[[CountisCoordinator], Awaitable[None]]


BUTTONS = (
    CountisButtonDescription(
        key="reset_partial_counters",
        translation_key="reset_partial_counters",
        entity_category=EntityCategory.CONFIG,
        needs=PARTIAL_COUNTERS,
        press_fn=lambda coordinator: coordinator.async_command(
            async_reset_partial_counters
        ),
    ),
    CountisButtonDescription(
        key="reset_tariff_counters",
        translation_key="reset_tariff_counters",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=TARIFF_COUNTERS,
        press_fn=lambda coordinator: coordinator.async_command(
            async_reset_tariff_counters
        ),
    ),
    CountisButtonDescription(
        key="set_clock",
        translation_key="set_clock",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=("clock_offset",),
        press_fn=lambda coordinator: coordinator.async_command(async_set_clock),
    ),
    CountisButtonDescription(
        key="check_wiring",
        translation_key="check_wiring",
        entity_category=EntityCategory.DIAGNOSTIC,
        needs=("power_l1",),
        press_fn=async_notify_wiring,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a button for each command that a meter supports."""

    def create(coordinator: CountisCoordinator) -> list[CountisButton]:
        quantities = coordinator.meter.profile.quantities
        return [
            CountisButton(coordinator, description)
            for description in BUTTONS
            if not quantities.isdisjoint(description.needs)
        ]

    entry.runtime_data.async_add_platform(create, async_add_entities)


class CountisButton(CountisEntity, ButtonEntity):
    """A button that gives a meter a command."""

    entity_description: CountisButtonDescription

    @override
    async def async_press(self) -> None:
        """Give the meter the command, and show what is read back."""
        await self.entity_description.press_fn(self.coordinator)
