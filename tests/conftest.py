"""A simulated meter on a real serial line, and Home Assistant beside it."""

from collections.abc import AsyncGenerator, Generator
import time
from types import SimpleNamespace
from typing import Any

import pytest

# First, or Home Assistant's test package is imported in place of this one.
from custom_components.socomec_countis import coordinator, runtime
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import bus, poller, unit
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from simulator import Counters, Line, Meter, line_in_thread

from .common import (
    AddMeter,
    Clock,
    FlowResult,
    bus_form,
    open_add_meters,
    open_form,
    unload_all,
    until_read,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the simulated meters and of the integration."""
    clock = Clock()
    began = clock.seconds

    def monotonic() -> float:
        return time.monotonic() + clock.seconds - began

    clocks = SimpleNamespace(time=clock, monotonic=monotonic)
    monkeypatch.setattr(runtime, "time", clocks)
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
    """Neither hold values of an offline meter, nor poll it less often."""
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 0)
    monkeypatch.setattr(poller, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(poller, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(poller, "REOPEN_PAUSE", 0.05)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll each meter 20 times a second.

    The bus plans with the speed of the simulated line, or it would expect each read
    to take longer than that.
    """
    monkeypatch.setattr(
        poller,
        "INTERVALS",
        {
            name: poller.Interval(target=each.target / 20, period=each.period / 20)
            for name, each in poller.INTERVALS.items()
        },
    )
    monkeypatch.setattr(poller, "POWER_TARGET", poller.POWER_TARGET / 20)
    monkeypatch.setattr(bus, "BITS_PER_CHARACTER", 11 * 9600 / 921_600)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for a meter that does not respond in a dialog."""
    monkeypatch.setattr(unit, "PATIENT_RESPONSE_TIMEOUT", 0)


@pytest.fixture
def place(line: Line) -> dict[str, Any]:
    """Return what a user enters for the meter at unit ID 1."""
    return bus_form(line)


@pytest.fixture
async def add_meter(
    hass: HomeAssistant, place: dict[str, Any]
) -> AsyncGenerator[AddMeter]:
    """Return a function that adds a meter, and returns the result of the dialog.

    It adds the bus as well, unless there is an entry for its port.
    """

    async def add(**changes: Any) -> FlowResult:
        data = {**place, **changes}
        result: FlowResult
        for entry in hass.config_entries.async_loaded_entries(DOMAIN):
            if entry.data.get("device") == data["device"]:
                form = await open_add_meters(hass, entry)
                result = await hass.config_entries.subentries.async_configure(
                    form["flow_id"], {"unit_id": data["unit_id"]}
                )
                break
        else:
            first = await open_form(hass, "serial")
            result = await hass.config_entries.flow.async_configure(
                first["flow_id"], data
            )
        for entry in hass.config_entries.async_loaded_entries(DOMAIN):
            await until_read(hass, entry)
        return result

    yield add
    await unload_all(hass)


@pytest.fixture
async def entry(hass: HomeAssistant, add_meter: AddMeter) -> CountisConfigEntry:
    """Return the entry of the bus with the meter at unit ID 1, set up and read."""
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    (added,) = hass.config_entries.async_entries(DOMAIN)
    assert added.state is ConfigEntryState.LOADED
    return added
