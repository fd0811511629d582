"""What the tests share besides fixtures."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from custom_components.socomec_countis.const import DOMAIN
from homeassistant.config_entries import ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er

SERIAL = "1438012000001"

type AddMeter = Callable[..., Awaitable[ConfigFlowResult]]


@dataclass
class Clock:
    """A clock that stands still unless it is told to go on."""

    seconds: float = 1_750_000_000

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.seconds


async def unload_all(hass: HomeAssistant) -> None:
    """Give the ports back."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        if entry.state in (ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY):
            await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()


def entity_id(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the id of a meter's entity."""
    platform = "button" if key.startswith("reset") else "sensor"
    found = er.async_get(hass).async_get_entity_id(platform, DOMAIN, f"{serial}_{key}")
    assert found is not None, key
    return found


def state(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the state of a meter's entity."""
    found = hass.states.get(entity_id(hass, key, serial))
    assert found is not None, key
    return found.state
