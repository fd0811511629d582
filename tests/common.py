"""What the tests share besides fixtures."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from custom_components.socomec_countis.const import DOMAIN
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntryState,
    ConfigFlowContext,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er

SERIAL = "1438012000001"

# All others are sensors.
PLATFORMS = {
    "reset_partial_counters": "button",
    "reset_tariff_counters": "button",
    "set_clock": "button",
    "check_wiring": "button",
    "tariff": "select",
    "phase_l1_present": "binary_sensor",
    "phase_l2_present": "binary_sensor",
    "phase_l3_present": "binary_sensor",
}

type AddMeter = Callable[..., Awaitable[ConfigFlowResult]]


@dataclass
class Clock:
    """A clock that stands still unless it is told to go on."""

    seconds: float = 1_750_000_000

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.seconds


async def open_form(
    hass: HomeAssistant, *choices: str, context: ConfigFlowContext | None = None
) -> ConfigFlowResult:
    """Open a dialog, and choose from its menus until there is a form."""
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context=context or {"source": SOURCE_USER}
    )
    for choice in choices:
        assert result["type"] is FlowResultType.MENU
        result = await hass.config_entries.flow.async_configure(
            result["flow_id"], {"next_step_id": choice}
        )
    return result


async def unload_all(hass: HomeAssistant) -> None:
    """Give the ports back."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        if entry.state in (ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY):
            await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()


def entity_id(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the id of a meter's entity."""
    platform = PLATFORMS.get(key, "sensor")
    found = er.async_get(hass).async_get_entity_id(platform, DOMAIN, f"{serial}_{key}")
    assert found is not None, key
    return found


def state(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the state of a meter's entity."""
    found = hass.states.get(entity_id(hass, key, serial))
    assert found is not None, key
    return found.state
