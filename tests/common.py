"""Functions that many tests share: lines, dialogs, entities and waiting."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.socomec_countis.const import DOMAIN, SUBENTRY_METER
from custom_components.socomec_countis.coordinator import CountisCoordinator
from custom_components.socomec_countis.countis import (
    BLOCK_OF,
    COUNTER_BLOCKS,
    PollError,
    Reading,
)
from custom_components.socomec_countis.countis.registers import (
    Energies,
    Measurements,
    Tariffs,
)
from custom_components.socomec_countis.runtime import (
    BusRuntime,
    CountisConfigEntry,
    CreateEntities,
)
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntryState,
    ConfigFlowContext,
    ConfigFlowResult,
    ConfigSubentry,
    SubentryFlowResult,
)
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.data_entry_flow import FlowManager, FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util import dt as dt_util
from simulator import LOST, Line, Meter
from simulator.ports import MemoryPort

SERIAL = "1438012000001"
SECOND_SERIAL = "1438012000002"

# The platforms of some entity keys. All other keys belong to the platform sensor.
PLATFORMS = {
    "reset_partial_counters": "button",
    "reset_tariff_counters": "button",
    "set_clock": "button",
    "check_wiring": "button",
    "tariff": "select",
    "demand_period": "select",
    "online": "binary_sensor",
    "phase_l1_present": "binary_sensor",
    "phase_l2_present": "binary_sensor",
    "phase_l3_present": "binary_sensor",
}

# Keys of entities that are enabled by default, some of each platform. For these, the
# poller reads all blocks that it reads for the entities of a new meter.
MAIN_ENTITIES = {
    "power",
    "energy_consumed",
    "tariff_1_energy",
    "online",
    "phase_l1_present",
    "tariff",
    "reset_partial_counters",
}

type FlowResult = ConfigFlowResult | SubentryFlowResult
type AddMeter = Callable[..., Awaitable[FlowResult]]


@dataclass
class Clock:
    """A clock whose time changes only when a test sets it."""

    seconds: float = 1_750_000_000
    """In s since 1970."""

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.seconds


@contextmanager
def stopped_clock(now: datetime) -> Iterator[None]:
    """Stop the local time of Home Assistant at `now`.

    Do not use the fixture `monkeypatch` for this. At the end of a test, the fixture of
    the virtual clock restores the clock of the machine. After this, `monkeypatch` would
    restore the virtual clock, so the next tests would have a wrong clock.
    """
    with patch.object(dt_util, "now", lambda: dt_util.as_local(now)):
        yield


def memory_line(meters: Sequence[Meter], **options: Any) -> Line:
    """Return a line in memory, with short transactions. `async with` runs the line."""
    defaults: dict[str, Any] = {
        "baudrate": 921_600,
        "response_delay": 0.001,
        "port_type": MemoryPort,
    }
    return Line(meters, **(defaults | options))


async def open_form(
    hass: HomeAssistant, *choices: str, context: ConfigFlowContext | None = None
) -> ConfigFlowResult:
    """Open the dialog that adds a bus, and return the step after some menu choices."""
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context=context or {"source": SOURCE_USER}
    )
    for choice in choices:
        assert result["type"] is FlowResultType.MENU
        result = await hass.config_entries.flow.async_configure(
            result["flow_id"], {"next_step_id": choice}
        )
    return result


def bus_form(line: Line, **changes: Any) -> dict[str, Any]:
    """Return the input of a bus form for the meter at unit ID 1 of a line.

    `changes` replaces some fields. A field that is changed to None stays empty.
    """
    form = {
        "device": line.port,
        "unit_id": 1,
        "baudrate": "9600",
        "parity": "none",
        "stopbits": "1",
        **changes,
    }
    return {key: value for key, value in form.items() if value is not None}


async def open_add_meters(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> SubentryFlowResult:
    """Open the dialog *Add meters* of a bus."""
    return await hass.config_entries.subentries.async_init(
        (entry.entry_id, SUBENTRY_METER), context={"source": SOURCE_USER}
    )


def suggested_values(result: FlowResult) -> dict[str, Any]:
    """Return the suggested values of the fields of a form."""
    schema = result["data_schema"]
    assert schema is not None
    return {
        key.schema: key.description["suggested_value"]
        for key in schema.schema
        if key.description
    }


async def shown_error(hass: HomeAssistant, result: FlowResult) -> str:
    """Return the English text of the only error of a form, or the text of a menu.

    If a meter does not respond, the dialog shows a menu in place of a form.
    """
    if result["type"] is FlowResultType.MENU:
        text_key = f"step.{result['step_id']}.description"
    else:
        assert result["type"] is FlowResultType.FORM, result
        (key,) = (result["errors"] or {}).values()
        text_key = f"error.{key}"
    # The handler of a subentry flow is a tuple: entry ID and subentry type.
    is_subentry = isinstance(result["handler"], tuple)
    category = "config_subentries" if is_subentry else "config"
    section = f"{category}.{SUBENTRY_METER}" if is_subentry else category
    texts = await async_get_translations(hass, "en", category, [DOMAIN])
    text = texts[f"component.{DOMAIN}.{section}.{text_key}"]
    return text.format(**(result["description_placeholders"] or {}))


async def end_of_scan(hass: HomeAssistant, result: FlowResult) -> FlowResult:
    """Wait until the scan of a dialog ends, and return the next step of the dialog."""
    assert result["type"] is FlowResultType.SHOW_PROGRESS, result
    flow_id = result["flow_id"]
    manager = flow_manager(hass, result)
    await until(lambda: manager.async_get(flow_id).get("step_id") != "scan")
    shown: FlowResult = await manager.async_configure(flow_id)
    return shown


def flow_manager(hass: HomeAssistant, result: FlowResult) -> FlowManager[Any, Any, Any]:
    """Return the flow manager for a dialog of an entry or of a subentry."""
    # The handler of a subentry flow is a tuple: entry ID and subentry type.
    is_subentry = isinstance(result["handler"], tuple)
    entries = hass.config_entries
    return entries.subentries if is_subentry else entries.flow


def registers_of(quantity: str, raw: int) -> dict[int, int]:
    """Return the two registers that contain a raw value of a quantity, by address.

    For a counter, these are the high-resolution registers (10 Wh).
    """
    (field,) = (
        block.declared_fields[quantity]
        for block in (Measurements, Energies, Tariffs)
        if quantity in block.declared_fields
    )
    return {field.address: raw >> 16, field.address + 1: raw & 0xFFFF}


def subentry_of(entry: CountisConfigEntry, unit_id: int = 1) -> ConfigSubentry:
    """Return the subentry of the meter at a unit ID of a bus."""
    (found,) = (
        each for each in entry.subentries.values() if each.data["unit_id"] == unit_id
    )
    return found


def coordinator_of(entry: CountisConfigEntry, unit_id: int = 1) -> CountisCoordinator:
    """Return the coordinator of the meter at a unit ID of a bus."""
    subentry = subentry_of(entry, unit_id)
    return entry.runtime_data.coordinators[subentry.subentry_id]


def reads(requests: Iterable[bytes], unit_id: int = 1) -> list[tuple[int, int]]:
    """Return the address and number of registers of each read request to a unit ID."""
    return [
        (int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6]))
        for frame in list(requests)
        if frame[:2] == bytes([unit_id, 3])
    ]


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, for at most 60 s."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def until_read(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Wait until all supported quantities of the entities of a bus are read."""
    await hass.async_block_till_done()

    def is_read() -> bool:
        return all(
            quantity in coordinator.data
            for coordinator in entry.runtime_data.coordinators.values()
            for quantity in coordinator.async_contexts()
            if quantity in coordinator.meter.profile.quantities
        )

    await until(is_read)
    await hass.async_block_till_done()


async def until_polled(entry: CountisConfigEntry, unit_id: int = 1) -> None:
    """Wait until each polled block has a new reading or a failure.

    A block of counters needs two new readings: the second confirms the first. The
    function also returns if the meter is offline.
    """
    coordinator = coordinator_of(entry, unit_id)
    names = {BLOCK_OF[each] for each in coordinator.async_contexts() if each}
    blocks = {each for each in names if coordinator.meter.block(each)}
    now = coordinator.meter.monotonic()
    read: Counter[str] = Counter()
    failed: set[str | None] = set()
    take, fail = coordinator.on_reading, coordinator.on_error

    def on_reading(reading: Reading) -> None:
        if reading.requested_at >= now:
            read[reading.block] += 1
        take(reading)

    def on_error(error: PollError, block: str | None) -> None:
        failed.add(block)
        fail(error, block)

    def is_polled() -> bool:
        # The block of a failure is None if the meter is offline.
        return None in failed or all(
            read[block] >= (2 if block in COUNTER_BLOCKS else 1)
            for block in blocks - failed
        )

    with (
        patch.object(coordinator, "on_reading", on_reading),
        patch.object(coordinator, "on_error", on_error),
        patch.object(coordinator.polled, "on_reading", on_reading),
        patch.object(coordinator.polled, "on_error", on_error),
    ):
        await until(is_polled)


def add_only(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Add only the entities with these keys, and those in `MAIN_ENTITIES`.

    Without the other entities, a meter is added in half the time. The poller still
    reads all blocks that it reads for the entities of a new meter.
    """
    add_platform = BusRuntime.async_add_platform
    added = MAIN_ENTITIES | set(keys)

    def add_some(
        runtime: BusRuntime,
        create: CreateEntities,
        add: AddConfigEntryEntitiesCallback,
    ) -> None:
        def create_some(coordinator: CountisCoordinator) -> list[Entity]:
            entities = create(coordinator)
            return [each for each in entities if each.entity_description.key in added]

        add_platform(runtime, create_some, add)

    monkeypatch.setattr(BusRuntime, "async_add_platform", add_some)


def lose_responses_to_writes(line: Line) -> None:
    """Lose the response to each write, after the meter has executed the write."""

    def lose(request: bytes) -> None:
        if request[1] in (6, 16):  # functions that write registers
            line.faults.append(LOST)

    line.on_request = lose


def writes_on(line: Line) -> list[bytes]:
    """Return the requests that write registers, without their checksums."""
    return [frame[:-2] for frame in line.requests if frame[1] in (6, 16)]


async def unload_all(hass: HomeAssistant) -> None:
    """Unload all buses, which closes their ports."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        if entry.state in (ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY):
            await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()


def entity_id(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the entity ID for an entity key and the serial number of its meter."""
    platform = PLATFORMS.get(key, "sensor")
    found = er.async_get(hass).async_get_entity_id(platform, DOMAIN, f"{serial}_{key}")
    assert found is not None, key
    return found


def meter_device(hass: HomeAssistant, unit_id: int = 1) -> dr.DeviceEntry:
    """Return the device of the meter at a unit ID of the only bus."""
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    subentry_id = subentry_of(entry, unit_id).subentry_id
    devices = dr.async_get(hass)
    (found,) = (
        each
        for each in dr.async_entries_for_config_entry(devices, entry.entry_id)
        if each.config_subentry_id == subentry_id
    )
    return found


def state(hass: HomeAssistant, key: str, serial: str = SERIAL) -> str:
    """Return the state for an entity key and the serial number of its meter."""
    found = hass.states.get(entity_id(hass, key, serial))
    assert found is not None, key
    return found.state


def shown_states(hass: HomeAssistant, key: str, serial: str = SERIAL) -> list[str]:
    """Return a list to which each new state of an entity is added."""
    states: list[str] = []
    watched = entity_id(hass, key, serial)

    @callback
    def add(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == watched and (new := event.data["new_state"]):
            states.append(new.state)

    hass.bus.async_listen(EVENT_STATE_CHANGED, add)
    return states
