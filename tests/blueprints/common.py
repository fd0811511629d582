"""Functions that the tests of blueprints share: states, waiting, recorded actions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from homeassistant.core import HomeAssistant, ServiceCall, callback
from tests.files import ROOT

FOLDER = ROOT / "blueprints/automation/socomec_countis"

type Automate = Callable[..., Awaitable[None]]
type Wait = Callable[[float], Awaitable[None]]


async def settle() -> None:
    """Wait until the automations have reacted to an event.

    `async_block_till_done` would also wait for the end of each delay in an automation.
    """
    for _ in range(20):  # rounds of the event loop; enough for each automation
        await asyncio.sleep(0)


async def set_state(
    hass: HomeAssistant, entity_id: str, state: str, **attributes: Any
) -> None:
    """Set the state of an entity, and wait until the automations have reacted."""
    hass.states.async_set(entity_id, state, attributes)
    await settle()


def record_calls(hass: HomeAssistant, *actions: str) -> list[ServiceCall]:
    """Replace actions, and return the list to which their calls are added."""
    calls: list[ServiceCall] = []

    @callback
    def append(call: ServiceCall) -> None:
        calls.append(call)

    for action in actions:
        domain, name = action.split(".")
        hass.services.async_register(domain, name, append)
    return calls


def take_calls(calls: list[ServiceCall]) -> list[tuple[str, Any]]:
    """Return the action and the entity IDs of each call, and clear the list."""
    found = [
        (f"{call.domain}.{call.service}", call.data.get("entity_id")) for call in calls
    ]
    calls.clear()
    return found
