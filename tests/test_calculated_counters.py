"""The sensors of the partial counters by tariff.

The display of a meter shows these counters. If the meter has no registers for them, the
integration calculates them.
"""

from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import (
    BLOCK_OF,
    PARTIAL_TARIFF_COUNTERS,
)
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.const import STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from simulator import Constant, Line, Meter, Phase

from .common import (
    SERIAL,
    AddMeter,
    Clock,
    add_only,
    coordinator_of,
    reads,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)
from .test_button import press
from .test_init import warnings

pytestmark = pytest.mark.usefixtures("fast_polling", "short_pauses")

# The keys of the partial counters of tariffs 1 and 2, which the manual calls T1P, T2P.
T1P, T2P = list(PARTIAL_TARIFF_COUNTERS)[:2]
NO_LOAD = Constant(Phase(0), Phase(0), Phase(0))


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities and those of the partial counters."""
    add_only(monkeypatch, "partial_energy_consumed", *PARTIAL_TARIFF_COUNTERS)


@pytest.fixture(autouse=True)
def _no_load(meter: Meter) -> None:
    """Let the meter count nothing, unless a test sets another load."""
    meter.load = NO_LOAD


def shown(hass: HomeAssistant) -> tuple[str, str]:
    """Return the states of T1P and T2P."""
    return state(hass, T1P), state(hass, T2P)


async def poll(entry: CountisConfigEntry) -> None:
    """Wait for three polls, which are enough to evaluate a reset.

    The evaluation needs the partial total after the reset, then newer tariff counters,
    and then a newer partial total.
    """
    for _ in range(3):
        await until_polled(entry)


async def count(
    entry: CountisConfigEntry, meter: Meter, clock: Clock, kwh: float, tariff: int
) -> None:
    """Let the meter count `kwh` in a tariff in one hour, and wait for three polls."""
    meter.counters.tariff = tariff
    meter.load = Constant(Phase(1000 * kwh), Phase(0), Phase(0))
    clock.seconds += 3600
    meter.count()
    meter.load = NO_LOAD
    await poll(entry)


def stored(hass_storage: dict[str, Any], entry: CountisConfigEntry) -> dict[str, Any]:
    """Return the storage file with the last reset of the meter at unit ID 1."""
    key = f"{DOMAIN}.{subentry_of(entry).subentry_id}.partial_tariffs"
    store: dict[str, Any] = hass_storage[key]
    return store


async def test_counters_are_unknown_until_a_reset_at_the_meter(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    await count(entry, meter, clock, 5, tariff=1)
    assert shown(hass) == (STATE_UNKNOWN, STATE_UNKNOWN)
    meter.press_reset()
    await poll(entry)
    assert shown(hass) == ("0", "0")
    await count(entry, meter, clock, 5, tariff=1)
    await count(entry, meter, clock, 7.5, tariff=2)
    assert shown(hass) == ("5.0", "7.5")
    assert state(hass, "partial_energy_consumed") == "12.5"


async def test_reset_button_resets_the_counters(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, clock: Clock
) -> None:
    for _ in range(2):
        await press(hass)
        await poll(entry)
        assert shown(hass) == ("0", "0")
        await count(entry, meter, clock, 5, tariff=2)
        assert shown(hass) == ("0", "5.0")


async def test_reset_is_stored_at_once_and_survives_a_restart(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
) -> None:
    meter.press_reset()
    await poll(entry)
    await hass.async_block_till_done()
    # The tariff counters at the reset, in kWh.
    assert stored(hass_storage, entry)["data"]["reset"]["tariffs"] == {
        "tariff_1_energy": 1000,
        "tariff_2_energy": 234.56,
        "tariff_3_energy": 0,
        "tariff_4_energy": 0,
    }
    await count(entry, meter, clock, 5, tariff=1)
    meter.offline = True
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert shown(hass) == ("5.0", "0")
    await until(lambda: not coordinator_of(entry).online)
    assert shown(hass) == ("5.0", "0")
    meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    await count(entry, meter, clock, 5, tariff=1)
    assert shown(hass) == ("10.0", "0")


async def test_missed_reset_makes_the_counters_unknown_and_is_logged_once(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter.press_reset()
    await poll(entry)
    await count(entry, meter, clock, 5, tariff=1)
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    # While the meter is offline, it is reset at 5 kWh, and then counts 10 kWh. So the
    # integration reads no lower partial total, which would show the reset.
    meter.press_reset()
    meter.load = Constant(Phase(10_000), Phase(0), Phase(0))
    clock.seconds += 3600
    meter.count()
    meter.load = NO_LOAD
    meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    await poll(entry)
    await until(lambda: shown(hass) == (STATE_UNKNOWN, STATE_UNKNOWN))
    await poll(entry)
    await hass.async_block_till_done()
    (message,) = (each for each in warnings(caplog) if "by tariff" in each)
    assert message == (
        "COUNTIS E33 #1: the partial counters by tariff are unknown until their next"
        " reset, because their sum is 15.00 kWh, but the partial total is 10.00 kWh,"
        " so a reset was missed"
    )
    assert stored(hass_storage, entry)["data"]["reset"] is None
    await hass.config_entries.async_reload(entry.entry_id)
    await until_read(hass, entry)
    assert shown(hass) == (STATE_UNKNOWN, STATE_UNKNOWN)
    meter.press_reset()
    await poll(entry)
    assert shown(hass) == ("0", "0")


async def test_invalid_stored_reset_is_not_used(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    meter.press_reset()
    await poll(entry)
    # The partial total must not be 0, because a partial total of 0 shows a reset, even
    # if no reset is stored.
    await count(entry, meter, clock, 5, tariff=1)
    await hass.config_entries.async_unload(entry.entry_id)
    valid = stored(hass_storage, entry)["data"]
    unknown = (STATE_UNKNOWN, STATE_UNKNOWN)
    content: Any
    for content, expected, is_warned in (
        (valid, ("5.0", "0"), False),
        ({**valid, "reset": {"tariffs": 1, "tolerance": 0}}, unknown, True),
        ({**valid, "reset": {"tariffs": {}}}, unknown, True),
        ({"serial_number": SERIAL}, unknown, True),
        ([1], unknown, True),
        ({**valid, "serial_number": "1"}, unknown, False),  # of another meter
    ):
        with subtests.test(content=content):
            caplog.clear()
            stored(hass_storage, entry)["data"] = content
            await hass.config_entries.async_setup(entry.entry_id)
            await until_read(hass, entry)
            assert shown(hass) == expected
            messages = warnings(caplog)
            assert any("reset of the partial" in each for each in messages) is is_warned
        await hass.config_entries.async_unload(entry.entry_id)


async def test_counters_are_read_if_the_meter_has_their_registers(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter, clock: Clock
) -> None:
    meter.model = "Countis E23"
    meter.has_partial_tariffs = True
    meter.counters.partial_tariffs = [40_000, 5_670, 0, 0]
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    assert shown(hass) == ("40.0", "5.67")
    await count(entry, meter, clock, 5, tariff=2)
    assert shown(hass) == ("40.0", "10.67")
    await press(hass)
    await poll(entry)
    assert shown(hass) == ("0", "0")


async def test_counters_are_disabled_if_only_one_tariff_is_used(
    hass: HomeAssistant,
    add_meter: AddMeter,
    meter: Meter,
    entity_registry: er.EntityRegistry,
) -> None:
    meter.counters.tariffs = [1_234_560.0, 0, 0, 0]
    await add_meter()
    for key in PARTIAL_TARIFF_COUNTERS:
        entity_id = entity_registry.async_get_entity_id(
            "sensor", DOMAIN, f"{SERIAL}_{key}"
        )
        assert entity_id is not None
        found = entity_registry.async_get(entity_id)
        assert found is not None
        assert found.disabled_by is er.RegistryEntryDisabler.INTEGRATION


async def test_counter_that_is_enabled_alone_is_calculated(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    entity_registry: er.EntityRegistry,
) -> None:
    # Disable the entities of all other quantities, read or calculated.
    for each in er.async_entries_for_config_entry(entity_registry, entry.entry_id):
        key = each.unique_id.removeprefix(f"{SERIAL}_")
        if key in BLOCK_OF and key != T1P:
            entity_registry.async_update_entity(
                each.entity_id, disabled_by=er.RegistryEntryDisabler.USER
            )
    await hass.config_entries.async_reload(entry.entry_id)
    meter.press_reset()
    await until(lambda: state(hass, T1P) == "0")
    line.requests.clear()
    # The calculation needs the energies (50946) and the tariffs (51200).
    await until(lambda: {50946, 51200} <= {first for first, _ in reads(line.requests)})
