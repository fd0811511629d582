"""Selects: the current tariff of a meter."""

from functools import partial
from typing import override

from homeassistant.components.select import SelectEntity

from .countis import async_set_tariff, tariffs
from .entity import CountisEntity, CountisEntityDescription, platform_setup

PARALLEL_UPDATES = 1  # command at a time

TARIFF = CountisEntityDescription(key="tariff")


class CountisTariff(CountisEntity, SelectEntity):
    """The current tariff of a meter."""

    @property
    @override
    def options(self) -> list[str]:
        """Return the tariffs that the meter has."""
        count = self.coordinator.meter.profile.tariff_count
        return [str(tariff) for tariff in tariffs(count)]

    @property
    @override
    def current_option(self) -> str | None:
        """Return the tariff that was read, None if it is not one of the options."""
        tariff = self.quantity_value
        option = None if tariff is None else str(int(tariff))
        return option if option in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        """Set the current tariff.

        Raises `HomeAssistantError` if the meter does not confirm the tariff.
        """
        await self.coordinator.async_command(
            partial(async_set_tariff, tariff=int(option))
        )


async_setup_entry = platform_setup(CountisTariff, [TARIFF])
