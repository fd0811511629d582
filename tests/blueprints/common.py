"""What the tests of blueprints share besides fixtures."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from homeassistant.core import HomeAssistant, ServiceCall, callback
from tests.files import ROOT

FOLDER = ROOT / "blueprints/automation/socomec_countis"

type Automate = Callable[..., Awaitable[None]]
type Wait = Callable[[float], Awaitable[None]]


async def settle() -> None:
    """Let automations act.

    Home Assistant itself would wait for those that wait for something.
    """
    for _ in range(20):
        await asyncio.sleep(0)


async def become(
    hass: HomeAssistant, entity_id: str, state: str, **attributes: Any
) -> None:
    """Give an entity a state, and let automations act on it."""
    hass.states.async_set(entity_id, state, attributes)
    await settle()


def record(hass: HomeAssistant, *actions: str) -> list[ServiceCall]:
    """Fake actions, and return the list that their calls will be in."""
    calls: list[ServiceCall] = []

    @callback
    def append(call: ServiceCall) -> None:
        calls.append(call)

    for action in actions:
        domain, name = action.split(".")
        hass.services.async_register(domain, name, append)
    return calls


def called(calls: list[ServiceCall]) -> list[tuple[str, Any]]:
    """Return which action was called for which entities, and forget it."""
    found = [
        (f"{call.domain}.{call.service}", call.data.get("entity_id")) for call in calls
    ]
    calls.clear()
    return found
