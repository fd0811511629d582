"""The tariff that a meter counts in, to select."""

from functools import partial
from typing import override

from homeassistant.components.select import SelectEntity

from .countis import async_set_tariff, tariffs
from .entity import CountisEntity, CountisEntityDescription, platform_setup

PARALLEL_UPDATES = 1

TARIFF = CountisEntityDescription(key="tariff")


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
        tariff = self.quantity_value
        option = None if tariff is None else str(int(tariff))
        return option if option in self.options else None

    @override
    async def async_select_option(self, option: str) -> None:
        """Set the tariff that the meter counts in."""
        await self.coordinator.async_command(
            partial(async_set_tariff, tariff=int(option))
        )


async_setup_entry = platform_setup(CountisTariff, [TARIFF])
