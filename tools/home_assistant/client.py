"""A client of Home Assistant's HTTP and WebSocket API."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import ClientSession

from tools.errors import ToolError
from tools.paths import DOMAIN

VALUES_TIMEOUT = 30  # s; a few meters show all their values in less time
POLL_SECONDS = 0.2  # s between two checks while a function waits
NO_VALUE = ("unknown", "unavailable")  # the states of an entity without a value
# Prefixes of the keys of entities that have no value before the first wiring check, or
# before the first reset of the partial counters.
UNKNOWN_AT_FIRST = ("wiring", "partial_tariff_")


@dataclass(frozen=True)
class Entity:
    """An enabled entity of a meter, as the entity registry has it."""

    entity_id: str
    unique_id: str
    """The serial number of the meter and `key`, with an underscore between them."""
    key: str
    """The translation key."""
    subentry_id: str
    """The ID of the subentry of the meter."""


class HomeAssistant:
    """A running Home Assistant.

    Every method raises `ToolError` if Home Assistant refuses a request.
    """

    def __init__(self, session: ClientSession, url: str) -> None:
        """Use the instance at `url`. The functions of `login` set `headers`."""
        self.session = session
        self.url = url
        self.headers: dict[str, str] = {}

    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON response to an HTTP request."""
        async with self.session.request(
            method, self.url + path, headers=self.headers, **options
        ) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                msg = f"{method} {path}: {response.status} {await response.text()}"
                raise ToolError(msg)
            return await response.json()

    async def command(self, **message: Any) -> Any:
        """Return the result of a WebSocket command."""
        async with self.session.ws_connect(self.url + "/api/websocket") as websocket:
            await websocket.receive_json()  # "auth_required"
            token = self.headers["Authorization"].removeprefix("Bearer ")
            await websocket.send_json({"type": "auth", "access_token": token})
            await websocket.receive_json()  # "auth_ok"
            await websocket.send_json({"id": 1, **message})
            response = await websocket.receive_json()
        if not response.get("success"):
            msg = f"{message['type']}: {response}"
            raise ToolError(msg)
        return response["result"]

    async def async_text(self, category: str, key: str) -> str:
        """Return an English text of the integration.

        `category` is the category of the text, such as "config". `key` is the path of
        the text without the name of the integration, such as "config.error.bus_in_use".
        """
        texts = await self.command(
            type="frontend/get_translations",
            language="en",
            category=category,
            integration=[DOMAIN],
        )
        return str(texts["resources"][f"component.{DOMAIN}.{key}"])

    async def async_sensor_texts(self) -> dict[str, str]:
        """Return the English texts of the sensors, by paths such as "power.name"."""
        texts = await self.command(
            type="frontend/get_translations",
            language="en",
            category="entity",
            integration=[DOMAIN],
        )
        prefix = f"component.{DOMAIN}.entity.sensor."
        return {
            path.removeprefix(prefix): text
            for path, text in texts["resources"].items()
            if path.startswith(prefix)
        }

    async def async_entities(self) -> list[Entity]:
        """Return the enabled entities of all meters."""
        registry = await self.command(type="config/entity_registry/list")
        return [
            Entity(
                entry["entity_id"],
                entry["unique_id"],
                entry["translation_key"],
                entry["config_subentry_id"],
            )
            for entry in registry
            if entry["platform"] == DOMAIN and entry["disabled_by"] is None
        ]

    async def async_meter_titles(self) -> dict[str, str]:
        """Return the titles of all meters, by their subentry IDs."""
        entries = await self.command(type="config_entries/get", domain=DOMAIN)
        return {
            subentry["subentry_id"]: subentry["title"]
            for entry in entries
            for subentry in await self.command(
                type="config_entries/subentries/list", entry_id=entry["entry_id"]
            )
        }

    async def async_states(self) -> dict[str, str]:
        """Return the state of every entity, by its entity ID."""
        states = await self.request("GET", "/api/states")
        return {state["entity_id"]: state["state"] for state in states}

    async def async_units(self) -> dict[str, str]:
        """Return the units of all entities that have one, by their entity IDs."""
        states = await self.request("GET", "/api/states")
        return {
            state["entity_id"]: unit
            for state in states
            if (unit := state["attributes"].get("unit_of_measurement"))
        }

    async def async_decimals(self) -> dict[str, int]:
        """Return the number of decimals of each sensor that has one, by entity ID."""
        registry = await self.command(type="config/entity_registry/list_for_display")
        return {
            entity["ei"]: entity["dp"]
            for entity in registry["entities"]
            if "dp" in entity
        }

    async def async_wait_for_values(
        self, meter_count: int = 1, serial_numbers: Sequence[str] = ()
    ) -> list[Entity]:
        """Wait for at least `meter_count` meters, and for the values of their entities.

        Return the enabled entities of these meters. If serial numbers are given, other
        meters are ignored. Raises `ToolError` with the entities that have no value
        after `VALUES_TIMEOUT`.
        """
        missing = [""]  # so that the loop begins
        try:
            async with asyncio.timeout(VALUES_TIMEOUT):
                while missing:
                    entities = [
                        entity
                        for entity in await self.async_entities()
                        if not serial_numbers
                        or entity.unique_id.partition("_")[0] in serial_numbers
                    ]
                    missing = without_value(entities, await self.async_states())
                    if len({entity.subentry_id for entity in entities}) < meter_count:
                        missing.append("another meter")
                    await asyncio.sleep(POLL_SECONDS if missing else 0)
        except TimeoutError:
            msg = f"There is no value of {', '.join(missing)}"
            raise ToolError(msg) from None
        return entities

    async def async_press(self, entity_id: str) -> None:
        """Press a button, and wait until the integration has handled the press."""
        await self.request(
            "POST", "/api/services/button/press", json={"entity_id": entity_id}
        )


def without_value(entities: list[Entity], states: dict[str, str]) -> list[str]:
    """Return the IDs of the entities that should have a value, but have none.

    Buttons and the entities of `UNKNOWN_AT_FIRST` are left out, because their state is
    "unknown" at first.
    """
    return [
        entity.entity_id
        for entity in entities
        if states.get(entity.entity_id, "unknown") in NO_VALUE
        and not entity.entity_id.startswith("button.")
        and not entity.key.startswith(UNKNOWN_AT_FIRST)
    ]
