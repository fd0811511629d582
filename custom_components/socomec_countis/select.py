"""Selects: the current tariff of a meter, and the length of its demand periods."""

from typing import override

from homeassistant.components.select import SelectEntity
from homeassistant.const import EntityCategory

from .countis import tariffs
from .countis.demand import PERIODS
from .demand import COUNTER, POWER
from .entity import (
    CountisEntity,
    CountisEntityDescription,
    combined_setup,
    platform_setup,
)

PARALLEL_UPDATES = 1  # one command at a time

TARIFF = CountisEntityDescription(key="tariff")
DEMAND_PERIOD = CountisEntityDescription(
    key="demand_period",
    entity_category=EntityCategory.CONFIG,
    entity_registry_enabled_default=False,
    needs={COUNTER, POWER},
)


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
        await self.coordinator.async_change_tariff(int(option))


class CountisDemandPeriod(CountisEntity, SelectEntity):
    """The length of the demand periods of a meter, in min.

    The integration calculates the demand, so the meter does not store this length.
    """

    _is_available_offline = True

    @property
    @override
    def options(self) -> list[str]:
        """Return the possible lengths."""
        return [str(minutes) for minutes in PERIODS]

    @property
    @override
    def current_option(self) -> str:
        """Return the length that is set."""
        return str(self.coordinator.meter_demand.demand.minutes)

    @override
    async def async_select_option(self, option: str) -> None:
        """Set the length.

        If the length changes, the demand of the running period becomes unknown.
        """
        self.coordinator.meter_demand.set_minutes(int(option))
        self.coordinator.async_update_listeners()


async_setup_entry = combined_setup(
    platform_setup(CountisTariff, [TARIFF]),
    platform_setup(CountisDemandPeriod, [DEMAND_PERIOD]),
)
