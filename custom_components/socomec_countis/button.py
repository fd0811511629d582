"""The buttons of a meter: what it is told to do without a choice."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import CountisConfigEntry, CountisCoordinator
from .countis import (
    PARTIAL_COUNTERS,
    TARIFF_COUNTERS,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
)
from .entity import CountisEntity
from .wiring import async_notify_wiring

PARALLEL_UPDATES = 1


@dataclass(frozen=True, kw_only=True)
class CountisButtonDescription(ButtonEntityDescription):
    """A command; the key is its translation."""

    needs: Collection[str]
    """Quantities of which a meter has at least one, or it has no such button."""

    press: Callable[[CountisCoordinator], Awaitable[None]]


BUTTONS = (
    CountisButtonDescription(
        key="reset_partial_counters",
        translation_key="reset_partial_counters",
        entity_category=EntityCategory.CONFIG,
        needs=PARTIAL_COUNTERS,
        press=lambda coordinator: coordinator.async_reset(async_reset_partial_counters),
    ),
    CountisButtonDescription(
        key="reset_tariff_counters",
        translation_key="reset_tariff_counters",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=TARIFF_COUNTERS,
        press=lambda coordinator: coordinator.async_reset(async_reset_tariff_counters),
    ),
    CountisButtonDescription(
        key="set_clock",
        translation_key="set_clock",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=("clock_offset",),
        press=lambda coordinator: coordinator.async_command(async_set_clock),
    ),
    CountisButtonDescription(
        key="check_wiring",
        translation_key="check_wiring",
        entity_category=EntityCategory.DIAGNOSTIC,
        needs=("power_l1",),
        press=async_notify_wiring,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the buttons for what the meter has."""
    coordinator = entry.runtime_data
    async_add_entities(
        CountisButton(coordinator, description)
        for description in BUTTONS
        if not coordinator.meter.quantities.isdisjoint(description.needs)
    )


class CountisButton(CountisEntity, ButtonEntity):
    """Gives a meter a command."""

    entity_description: CountisButtonDescription

    @override
    async def async_press(self) -> None:
        """Give the command, and show what is read back."""
        await self.entity_description.press(self.coordinator)
