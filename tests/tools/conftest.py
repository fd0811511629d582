"""Fixtures of the tests of the demo."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tools.demo.bus import histories_before
from tools.demo.history import Past

# Times on a Friday, in s since 1970: the solar noon, and the present time of the tests.
# `NOW` is within an hour. The statistics end at the start of this hour.
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
NOW = int(datetime(2026, 11, 20, 16, 47, 13, tzinfo=UTC).timestamp())
# In s since 1970: an outage in which the tariff changes and the roof starts to produce.
OUTAGE = range(
    int(datetime(2026, 11, 19, 1, 40, tzinfo=UTC).timestamp()),
    int(datetime(2026, 11, 19, 8, 20, tzinfo=UTC).timestamp()),
)


class Client:
    """A client of Home Assistant's WebSocket API."""

    def __init__(self, websocket: Any) -> None:
        """Create a client with an open connection."""
        self.websocket = websocket

    async def command(self, **message: Any) -> Any:
        """Return the result of a WebSocket command."""
        await self.websocket.send_json_auto_id(message)
        response = await self.websocket.receive_json()
        assert response["success"], response
        return response["result"]


@pytest.fixture(scope="session")
def histories() -> list[Past]:
    """Return the pasts of the demo's meters in the two weeks before `NOW`."""
    return histories_before(NOW, NOON)


@pytest.fixture(scope="session")
def house(histories: list[Past]) -> Past:
    """Return the past of the meter at the grid, without an outage."""
    return replace(histories[0], outage=range(0))


@pytest.fixture(scope="session")
def house_with_outage(house: Past) -> Past:
    """Return the past of `house`, with the outage `OUTAGE`."""
    return replace(house, outage=OUTAGE)


@pytest.fixture(scope="session")
def roof(histories: list[Past]) -> Past:
    """Return the past of the meter at the inverter."""
    return histories[1]
