"""The sensor with the result of the latest wiring check of a meter.

`wiring.py` runs the check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
)
from homeassistant.const import EntityCategory
from homeassistant.core import callback
from homeassistant.helpers.restore_state import RestoreEntity

from .entity import CountisEntity, CountisEntityDescription

CHECKING = "checking"
CORRECT = "correct"
FAULTY = "faulty"
INCONCLUSIVE = "inconclusive"
RESULTS = (CORRECT, FAULTY, INCONCLUSIVE)

# The keys of `coordinator.wiring`, which the sensor shows as attributes.
ATTRIBUTES = ("checked_at", "codes", "findings", "unmet_conditions")


@dataclass(frozen=True, kw_only=True)
class WiringSensorDescription(CountisEntityDescription, SensorEntityDescription):
    """Describe the sensor `wiring`."""


WIRING = WiringSensorDescription(
    key="wiring",
    needs=("power_l1",),
    device_class=SensorDeviceClass.ENUM,
    options=[*RESULTS, CHECKING],
    entity_category=EntityCategory.DIAGNOSTIC,
)


class WiringSensor(CountisEntity, SensorEntity, RestoreEntity):
    """The result of the latest wiring check, kept over a restart.

    The state is unknown before the first check, and `CHECKING` during a check.
    """

    entity_description: WiringSensorDescription
    _is_available_offline = True
    _result: str | None = None
    """One of `RESULTS`, None before the first check."""

    @override
    async def async_added_to_hass(self) -> None:
        """Restore the result of the last check that ended before the bus was loaded.

        If another check was running when the bus was unloaded, the stored state is
        `CHECKING`. So the state is not restored. The result follows from the restored
        attributes.
        """
        last = await self.async_get_last_state()
        if last and "codes" in last.attributes:
            self._show_result(last.attributes)
        self._show_latest_result()
        await super().async_added_to_hass()

    @property
    @override
    def native_value(self) -> str | None:
        """Return the result, or `CHECKING` while a check is running."""
        return CHECKING if self.coordinator.is_checking_wiring else self._result

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        self._show_latest_result()
        super()._handle_coordinator_update()

    def _show_latest_result(self) -> None:
        """Show the result of the latest check since the bus was loaded, if any."""
        if (wiring := self.coordinator.wiring) is not None:
            self._show_result(wiring)

    def _show_result(self, values: Mapping[str, Any]) -> None:
        # Code 0 means no error. Without codes, a condition of the check is not met.
        codes = values["codes"]
        self._result = CORRECT if codes == [0] else FAULTY if codes else INCONCLUSIVE
        self._attr_extra_state_attributes = {
            key: values[key] for key in ATTRIBUTES if key in values
        }
