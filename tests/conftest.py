"""A simulated meter on a real serial line, and Home Assistant beside it."""

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

# First, or Home Assistant's test package takes its own folder for ours.
import custom_components.socomec_countis
from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.config_entries import ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from simulator import Counters, Line, Meter, line_in_thread

from .common import AddMeter, Clock, open_form, unload_all


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the meters count by, and their guards."""
    clock = Clock()
    monkeypatch.setattr(custom_components.socomec_countis, "time", clock)
    return clock


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Return a meter at address 1 that has counted something."""
    return Meter(
        address=1,
        clock=clock,
        counters=Counters(
            consumed=1_234_560,
            reactive=300_010,
            produced=7_890,
            partial_consumed=45_670,
            partial_reactive=1_230,
            partial_produced=890,
            tariffs=[1_000_000.0, 234_560.0, 0.0, 0.0],
        ),
    )


@pytest.fixture
def second_meter(clock: Clock) -> Meter:
    """Return a meter at address 2."""
    return Meter(address=2, clock=clock)


@pytest.fixture
def line(meter: Meter, second_meter: Meter) -> Generator[Line]:
    """Run a fast line with both meters on it."""
    with line_in_thread(
        Line([meter, second_meter], baudrate=921_600, answer_delay=0.001)
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _custom_integrations(enable_custom_integrations: None) -> None:
    """Let Home Assistant find the integration."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hold values of a meter that is away, nor ask it less often."""
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 0)
    monkeypatch.setattr(coordinator, "LONGEST_PAUSE", 0)


@pytest.fixture
def place(line: Line) -> dict[str, Any]:
    """Return what a user enters for the meter at address 1."""
    return {
        "device": line.port,
        "address": 1,
        "baudrate": "9600",
        "parity": "none",
        "stopbits": "1",
    }


@pytest.fixture
async def add_meter(
    hass: HomeAssistant, place: dict[str, Any]
) -> AsyncGenerator[AddMeter]:
    """Return a function that goes through the config flow and returns its result."""

    async def add(**changes: Any) -> ConfigFlowResult:
        form = await open_form(hass, "serial")
        result = await hass.config_entries.flow.async_configure(
            form["flow_id"], place | changes
        )
        await hass.async_block_till_done()
        return result

    yield add
    await unload_all(hass)


@pytest.fixture
async def entry(add_meter: AddMeter) -> CountisConfigEntry:
    """Return the entry of the meter at address 1, set up."""
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    added: CountisConfigEntry = result["result"]
    assert added.state is ConfigEntryState.LOADED
    return added
