"""The entities, devices and diagnostics of each family, and the texts, as snapshots."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pprint import pformat
from typing import Any

import pytest
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
    get_diagnostics_for_device,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator
from syrupy.assertion import SnapshotAssertion

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.const import ATTR_FRIENDLY_NAME
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from homeassistant.setup import async_setup_component
from simulator import Constant, Line, Meter, Phase
from simulator.table import (
    CLOCK,
    CT_PRIMARY,
    CT_SECONDARY,
    PERIODS,
    PERIODS_UNIT_100,
    RESERVED,
)

from .common import SERIAL, Clock, stopped_clock, until_polled, until_read

# All tests of this file run in one worker. So with --snapshot-update, only this worker
# writes the file of the snapshots.
pytestmark = [pytest.mark.usefixtures("fast_polling"), pytest.mark.xdist_group("ambr")]

E1X_AND_E2X: dict[str, Any] = {
    "refused_blocks": {PERIODS, PERIODS_UNIT_100, CLOCK},
    "load_curve": None,
    "tariff_count": 2,
    "has_partial_energies_reset": True,
}
# The frequency of an E1x or E2x: 50.01 Hz in steps of 0.001 Hz.
MILLIHERTZ = {50526: 0, 50527: 50_010}
# The registers that the table of the E14 reserves, because the E14 has one phase.
WITHOUT_L2_AND_L3 = dict.fromkeys(
    (
        *range(50514, 50520),
        *range(50522, 50526),
        *range(50530, 50536),
        *range(50546, 50550),
        *range(50552, 50556),
        *range(50558, 50562),
        *range(50564, 50568),
    ),
    RESERVED,
)
# By family: the attributes in which its simulated meter differs from an E33. The
# integration distinguishes only families, so one model of each is enough.
FAMILIES: dict[str, dict[str, Any]] = {
    "E1x": E1X_AND_E2X
    | {
        "model": "Countis E14",
        "load": Constant(Phase(1000), Phase(0), Phase(0)),
        "override": MILLIHERTZ | WITHOUT_L2_AND_L3,
    },
    "E2x": E1X_AND_E2X | {"model": "Countis E23", "override": MILLIHERTZ},
    "E3x": {},
    # In A: the secondary and the primary current of the transformers.
    "E4x": {"model": "Countis E44", "override": {CT_SECONDARY: 5, CT_PRIMARY: 400}},
}

# An example for each placeholder of an error or issue.
EXAMPLES = {
    "bus": "/dev/ttyUSB0",
    "accepted": "1234.56 kWh",
    "begin": "2026-11-20 14:49",
    "code": "2",
    "counter": "Energy consumed",
    "counters": "- `sensor.countis_e33_1_energy_consumed`: 1234.56 kWh → 0.00 kWh",
    "count": "4",
    "day": "2026-11-20",
    "device": "/dev/ttyUSB0",
    "difference": "765.44 kWh",
    "end": "2026-11-20 16:20",
    "entity": "sensor.countis_e33_1_energy_consumed",
    "errors": "- first error\n- second error",
    "expected": "1438012000001",
    "found": "2025000100007",
    "hours": "| | Energy consumed (kWh) |\n| --- | --- |\n| 15:00 | 0.00 → 1.23 |",
    "name": "COUNTIS E33 #1",
    "phase": "L2",
    "reason": "permission denied",
    "seconds": "5",
    "settings": "9600 baud, 8N1",
    "tariff": "5",
    "unit_id": "1",
    "value": "0.123",
}
# In the texts about counters, `found` is an energy, not a serial number.
COUNTER_EXAMPLES = EXAMPLES | {"found": "2000.00 kWh"}
WIDTH = 100  # in characters, of a line of the diagnostics


def lines_of(content: Mapping[str, object]) -> str:
    """Return a line for each key and its value, in the order of the keys."""
    return "\n".join(f"{key}: {value}" for key, value in sorted(content.items()))


@pytest.fixture(params=FAMILIES)
def family(
    request: pytest.FixtureRequest,
    meter: Meter,
    clock: Clock,
) -> Iterator[None]:
    """Let the meter be one of a family, and stop the clock of Home Assistant."""
    for attribute, value in FAMILIES[request.param].items():
        setattr(meter, attribute, value)
    with stopped_clock(datetime.fromtimestamp(clock(), UTC)):
        yield


def line_of_entity(
    hass: HomeAssistant, registered: er.RegistryEntry, disabled_by: str | None
) -> str:
    """Return the state and the properties of an entity in one line."""
    shown = hass.states.get(registered.entity_id)
    assert shown is not None, registered.entity_id
    attributes = dict(sorted(shown.attributes.items()))
    # The friendly name only joins the names of the device and of the entity.
    del attributes[ATTR_FRIENDLY_NAME]
    options: Mapping[str, Any] = registered.options.get(registered.domain, {})
    properties = {
        "state": shown.state,
        "name": registered.original_name,
        **attributes,
        "precision": options.get("suggested_display_precision"),
        "category": registered.entity_category,
        "disabled_by": disabled_by,
        "translation_key": registered.translation_key,
        "unique_id": registered.unique_id,
    }
    return ", ".join(
        f"{name}: {value}" for name, value in properties.items() if value is not None
    )


@pytest.mark.usefixtures("family")
async def test_entities_are_those_of_the_snapshot(
    hass: HomeAssistant,
    snapshot: SnapshotAssertion,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
) -> None:
    disabled_by = {
        each.entity_id: each.disabled_by
        for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id)
    }
    # Enable all entities, so that each has a state.
    for each in disabled_by:
        entity_registry.async_update_entity(each, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    assert (
        lines_of(
            {
                each: line_of_entity(hass, entity_registry.entities[each], disabled)
                for each, disabled in disabled_by.items()
            }
        )
        == snapshot
    )


@pytest.mark.usefixtures("family")
async def test_devices_are_those_of_the_snapshot(
    snapshot: SnapshotAssertion,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    properties = (
        *("configuration_url", "connections", "entry_type", "hw_version"),
        *("identifiers", "manufacturer", "model", "model_id"),
        *("serial_number", "sw_version"),
    )
    found = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    lines = lines_of(
        {
            f"{device.name}, {name}": getattr(device, name)
            for device in found
            for name in properties
        }
    )
    # Each run has another port and another entry ID.
    fixed = lines.replace(str(line.port), "/dev/ttyUSB0")
    assert fixed.replace(entry.entry_id, "entry") == snapshot


# -- diagnostics -------------------------------------------------------------------


def types_in(value: object) -> object:
    """Return the name of the type of a value, or a dict of such names for a dict."""
    if isinstance(value, dict):
        return {key: types_in(each) for key, each in value.items()}
    return type(value).__name__


def in_tens(registers: Mapping[str, object]) -> dict[str, list[object]]:
    """Return groups of words at consecutive addresses, by the first address.

    A group begins at each multiple of ten, and after each missing address.
    """
    groups: dict[str, list[object]] = {}
    for address, word in sorted(registers.items()):
        if address.endswith("0") or str(int(address) - 1) not in registers:
            first = address
        groups.setdefault(first, []).append(word)
    return groups


def parts_of(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each part of the diagnostics.

    A dict that does not fit into one line is divided into its values.
    """
    text = pformat(value, width=WIDTH, compact=True)
    if isinstance(value, dict) and "\n" in text:
        for key, each in value.items():
            yield from parts_of(each, f"{path}.{key}".removeprefix("."))
    else:
        yield path, text


def diagnostics_lines(found: Any) -> str:
    """Return the lines of diagnostics.

    The values of the bus depend on the number of polls, so only their types are shown.
    """
    found["entry"]["device"] = EXAMPLES["device"]
    found["bus"] = types_in(found["bus"])
    if "meter" in found:
        found["meter"]["registers"] = in_tens(found["meter"]["registers"])
    else:
        found["meters"] = dict(enumerate(found["meters"]))
    return lines_of(dict(parts_of(found)))


@pytest.fixture
async def create_client(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, entry: CountisConfigEntry
) -> ClientSessionGenerator:
    """Wait until each block is read, and return a function that creates a client."""
    assert await async_setup_component(hass, "diagnostics", {})
    await until_polled(entry)
    return hass_client


@pytest.mark.usefixtures("family")
async def test_diagnostics_of_a_meter_are_those_of_the_snapshot(
    hass: HomeAssistant,
    snapshot: SnapshotAssertion,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
    create_client: ClientSessionGenerator,
) -> None:
    devices = dr.async_entries_for_config_entry(device_registry, entry.entry_id)
    (device,) = (each for each in devices if each.serial_number == SERIAL)
    found = await get_diagnostics_for_device(hass, create_client, entry, device)
    assert diagnostics_lines(found) == snapshot


async def test_diagnostics_of_a_bus_are_those_of_the_snapshot(
    hass: HomeAssistant,
    snapshot: SnapshotAssertion,
    entry: CountisConfigEntry,
    create_client: ClientSessionGenerator,
) -> None:
    found = await get_diagnostics_for_config_entry(hass, create_client, entry)
    assert diagnostics_lines(found) == snapshot


# -- texts -------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["exceptions", "issues"])
async def test_texts_with_examples_are_those_of_the_snapshot(
    hass: HomeAssistant, snapshot: SnapshotAssertion, category: str
) -> None:
    texts = await async_get_translations(hass, "en", category, [DOMAIN])
    prefix = f"component.{DOMAIN}.{category}."
    assert texts
    assert {
        key: text.format(**COUNTER_EXAMPLES if key.startswith("counter_") else EXAMPLES)
        for path, text in texts.items()
        if (key := path.removeprefix(prefix))
    } == snapshot
