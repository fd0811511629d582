"""Buttons: commands to a meter, and the wiring check."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory

from .coordinator import CountisCoordinator
from .countis import (
    PARTIAL_COUNTERS,
    TARIFF_COUNTERS,
    async_reset_partial_counters,
    async_reset_tariff_counters,
    async_set_clock,
)
from .entity import CountisEntity, CountisEntityDescription, platform_setup
from .wiring import async_notify_wiring

PARALLEL_UPDATES = 1  # one command at a time


@dataclass(frozen=True, kw_only=True)
class CountisButtonDescription(CountisEntityDescription, ButtonEntityDescription):
    """Describe a button and the function that it calls."""

    press_fn: Callable[[CountisCoordinator], Awaitable[None]]


BUTTONS = (
    CountisButtonDescription(
        key="reset_partial_counters",
        entity_category=EntityCategory.CONFIG,
        needs=PARTIAL_COUNTERS,
        press_fn=lambda coordinator: coordinator.async_command(
            async_reset_partial_counters
        ),
    ),
    CountisButtonDescription(
        key="reset_tariff_counters",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=TARIFF_COUNTERS,
        press_fn=lambda coordinator: coordinator.async_command(
            async_reset_tariff_counters
        ),
    ),
    CountisButtonDescription(
        key="set_clock",
        entity_category=EntityCategory.CONFIG,
        entity_registry_enabled_default=False,
        needs=("clock_offset",),
        press_fn=lambda coordinator: coordinator.async_command(async_set_clock),
    ),
    CountisButtonDescription(
        key="check_wiring",
        entity_category=EntityCategory.DIAGNOSTIC,
        needs=("power_l1",),
        press_fn=async_notify_wiring,
    ),
)


class CountisButton(CountisEntity, ButtonEntity):
    """A button that sends a command to a meter, or checks its wiring."""

    entity_description: CountisButtonDescription

    @override
    async def async_press(self) -> None:
        """Send the command, or check the wiring.

        The values that a command has changed are read and shown. Raises
        `HomeAssistantError` if the meter does not confirm the command, or if a reading
        of the wiring check fails.
        """
        await self.entity_description.press_fn(self.coordinator)


async_setup_entry = platform_setup(CountisButton, BUTTONS)
