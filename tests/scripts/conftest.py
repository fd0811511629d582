"""What the tests of the demo share."""

from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.demo_history import Past
from simulator.__main__ import load_at

# A Friday, in the middle of an hour.
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
NOW = int(datetime(2026, 11, 20, 16, 47, 13, tzinfo=UTC).timestamp())


class Client:
    """Home Assistant's WebSocket API, as the demo uses it."""

    def __init__(self, websocket: Any) -> None:
        """Use an open connection."""
        self.websocket = websocket

    async def command(self, **message: Any) -> Any:
        """Send a command and return its result."""
        await self.websocket.send_json_auto_id(message)
        answer = await self.websocket.receive_json()
        assert answer["success"], answer
        return answer["result"]


@pytest.fixture(scope="session")
def house() -> Past:
    """Return what the meter at the grid has seen."""
    return Past.before(NOW, load_at([1, 2], 0, NOON, lifelike=True), NOON)


@pytest.fixture(scope="session")
def roof() -> Past:
    """Return what the meter at the inverter has seen."""
    return Past.before(NOW, load_at([1, 2], 1, NOON, lifelike=True), NOON)
