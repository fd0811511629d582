"""The select that sets the tariff of one meter, and the actions for several meters."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import (
    PARTIAL_TARIFF_COUNTERS,
    TARIFF_COUNTERS,
)
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.select.const import ATTR_OPTIONS
from homeassistant.components.select.const import (
    DOMAIN as SELECT_DOMAIN,
)
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.const import (
    ATTR_AREA_ID,
    ATTR_DEVICE_ID,
    ATTR_ENTITY_ID,
    ATTR_OPTION,
    SERVICE_SELECT_OPTION,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import LOST, Line, Meter, table

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    Clock,
    add_only,
    coordinator_of,
    entity_id,
    lose_responses_to_writes,
    memory_line,
    shown_states,
    state,
    until,
    until_polled,
    writes_on,
)

THIRD_SERIAL = "1438012000003"

BROADCAST = 0  # unit ID
SET_TARIFF, TARIFF_COUNT, PRESENT_TARIFF = 40481, 51200, 51201  # register addresses


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities, and the counters of the tariffs."""
    add_only(monkeypatch, *TARIFF_COUNTERS, *PARTIAL_TARIFF_COUNTERS)


def tariff_write(unit_id: int, tariff: int) -> bytes:
    """Return the request that sets a tariff, without checksum."""
    return bytes([unit_id, 6, *SET_TARIFF.to_bytes(2), 0, tariff])


async def select(hass: HomeAssistant, option: str) -> None:
    """Select a tariff for the meter at unit ID 1."""
    await hass.services.async_call(
        SELECT_DOMAIN,
        SERVICE_SELECT_OPTION,
        {ATTR_ENTITY_ID: entity_id(hass, "tariff"), ATTR_OPTION: option},
        blocking=True,
    )


def options(hass: HomeAssistant) -> list[str]:
    """Return the options that the select of the meter at unit ID 1 offers."""
    shown = hass.states.get(entity_id(hass, "tariff"))
    assert shown is not None
    found: list[str] = shown.attributes[ATTR_OPTIONS]
    return found


def device_id(hass: HomeAssistant, serial: str = SERIAL) -> str:
    """Return the ID of a meter's device."""
    entity = er.async_get(hass).async_get(entity_id(hass, "power", serial))
    assert entity is not None
    assert entity.device_id is not None
    return entity.device_id


async def set_tariff(hass: HomeAssistant, tariff: int, **target: Any) -> None:
    """Call the action `set_tariff` for a target, by default all devices."""
    if not target:
        devices = [
            device.id
            for entry in hass.config_entries.async_entries(DOMAIN)
            for device in dr.async_entries_for_config_entry(
                dr.async_get(hass), entry.entry_id
            )
        ]
        target = {ATTR_DEVICE_ID: devices}
    await hass.services.async_call(
        DOMAIN, "set_tariff", {**target, "tariff": tariff}, blocking=True
    )


# -- the select ------------------------------------------------------------------


async def test_tariff_is_shown_and_can_be_selected(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    assert state(hass, "tariff") == "1"
    assert options(hass) == ["1", "2", "3", "4"]
    await select(hass, "3")
    assert state(hass, "tariff") == "3"
    assert meter.counters.tariff == 3
    assert meter.writes == [(SET_TARIFF, [3])]


async def test_first_selection_of_a_tariff_enables_its_counter(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    counter = entity_id(hass, "tariff_3_energy")
    assert hass.states.get(counter) is None
    await select(hass, "3")
    # Home Assistant reloads the bus 30 s after an entity was enabled.
    await until(lambda: hass.states.get(counter))
    await until(lambda: state(hass, "tariff_3_energy") == "0")


async def test_action_enables_the_counter_of_the_tariff(
    hass: HomeAssistant, entity_registry: er.EntityRegistry, entry: CountisConfigEntry
) -> None:
    await set_tariff(hass, 4)
    counter = entity_registry.async_get(entity_id(hass, "tariff_4_energy"))
    assert counter is not None
    assert counter.disabled_by is None


# The counter of tariff 2 is enabled by default, that of tariff 3 is not.
@pytest.mark.parametrize("option", ["2", "3"])
async def test_counter_that_the_user_has_disabled_stays_disabled(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: CountisConfigEntry,
    option: str,
) -> None:
    counter = entity_id(hass, f"tariff_{option}_energy")
    by_user = er.RegistryEntryDisabler.USER
    entity_registry.async_update_entity(counter, disabled_by=by_user)
    await select(hass, option)
    registered = entity_registry.async_get(counter)
    assert registered is not None
    assert registered.disabled_by is by_user


async def test_tariff_without_a_counter_can_be_selected(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    # The counters of tariffs 3 and 4, in both resolutions, are not available.
    meter.override = dict.fromkeys((*range(51206, 51210), *range(50854, 50858)), 0xFFFF)
    await add_meter()
    await select(hass, "4")
    assert meter.counters.tariff == 4


async def test_selected_tariff_is_not_overwritten_by_an_older_reading(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    states = shown_states(hass, "tariff")
    for option in ("2", "3", "4"):
        await select(hass, option)
        await until_polled(entry)
    assert states == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("count", "tariffs"),
    [
        (2, ["1", "2"]),
        (8, ["1", "2", "3", "4", "5", "6", "7", "8"]),
        # A meter has at most 8 tariffs. For a higher number, the select offers four.
        (9, ["1", "2", "3", "4"]),
        (0xFFFF, ["1", "2", "3", "4"]),
    ],
)
async def test_options_are_the_tariffs_of_a_meter_even_if_offline_at_a_restart(
    hass: HomeAssistant,
    meter: Meter,
    add_meter: AddMeter,
    short_pauses: None,
    count: int,
    tariffs: list[str],
) -> None:
    meter.override = {TARIFF_COUNT: count}
    await add_meter()
    assert options(hass) == tariffs
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    # A restart while the meter is offline.
    await hass.config_entries.async_unload(entry.entry_id)
    meter.offline = True
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: state(hass, "tariff") == STATE_UNAVAILABLE)
    select_entity = er.async_get(hass).async_get(entity_id(hass, "tariff"))
    assert select_entity is not None
    assert select_entity.capabilities == {ATTR_OPTIONS: tariffs}
    meter.offline = False
    await until(lambda: state(hass, "tariff") == "1")
    assert options(hass) == tariffs


async def test_tariff_that_the_meter_does_not_have_is_unknown(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = {PRESENT_TARIFF: 7}
    await until(lambda: state(hass, "tariff") == STATE_UNKNOWN)
    meter.override = {PRESENT_TARIFF: 0xFFFF}
    await until_polled(entry)
    assert state(hass, "tariff") == STATE_UNKNOWN
    meter.override = {}
    await until(lambda: state(hass, "tariff") == "1")


async def test_meter_that_does_not_change_its_tariff_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.ignored_writes = {SET_TARIFF}
    with pytest.raises(HomeAssistantError, match="did not change its tariff"):
        await select(hass, "2")
    meter.refused_writes = {SET_TARIFF}
    with pytest.raises(HomeAssistantError, match="did not change its tariff"):
        await select(hass, "2")
    assert state(hass, "tariff") == "1"


async def test_read_back_confirms_the_tariff_if_the_response_is_lost(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    lose_responses_to_writes(line)
    await select(hass, "2")
    assert state(hass, "tariff") == "2"
    assert len(writes_on(line)) == 1


async def test_meter_without_tariffs_has_no_select(
    hass: HomeAssistant, meter: Meter, add_meter: AddMeter
) -> None:
    meter.refused_blocks = {table.TARIFFS, table.TARIFFS_UNIT_100}
    await add_meter()
    assert state(hass, "power") == "1300"
    assert not hass.states.async_entity_ids(SELECT_DOMAIN)


# -- the action ------------------------------------------------------------------


@pytest.fixture
async def two_meters(
    entry: CountisConfigEntry, add_meter: AddMeter, line: Line
) -> CountisConfigEntry:
    """Return the entry of a bus with two meters."""
    await add_meter(unit_id=2)
    line.requests.clear()
    return entry


async def test_tariff_of_all_meters_of_a_bus_is_set_by_one_broadcast(
    hass: HomeAssistant,
    two_meters: CountisConfigEntry,
    line: Line,
    meter: Meter,
    second_meter: Meter,
) -> None:
    await set_tariff(hass, 2)
    assert writes_on(line) == [tariff_write(BROADCAST, 2)]
    assert (meter.counters.tariff, second_meter.counters.tariff) == (2, 2)
    assert state(hass, "tariff") == "2"
    assert state(hass, "tariff", SECOND_SERIAL) == "2"


async def test_lost_broadcast_is_reported_for_each_meter(
    hass: HomeAssistant, two_meters: CountisConfigEntry, line: Line
) -> None:
    def lose_broadcast(request: bytes) -> None:
        if request[0] == BROADCAST:
            line.request_faults.append(LOST)

    line.on_request = lose_broadcast
    with pytest.raises(HomeAssistantError, match=r"#1 did(.|\n)*#2 did"):
        await set_tariff(hass, 2)
    assert state(hass, "tariff") == "1"


async def test_single_meter_of_a_bus_is_written_without_a_broadcast(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.requests.clear()
    await set_tariff(hass, 2)
    assert writes_on(line) == [tariff_write(1, 2)]


async def test_action_for_an_entity_sets_the_tariff_of_only_its_meter(
    hass: HomeAssistant,
    two_meters: CountisConfigEntry,
    line: Line,
    second_meter: Meter,
) -> None:
    await set_tariff(hass, 4, entity_id=entity_id(hass, "power"))
    assert writes_on(line) == [tariff_write(1, 4)]
    assert second_meter.counters.tariff == 1


async def test_action_for_a_device_sets_the_tariff_of_only_its_meter(
    hass: HomeAssistant, two_meters: CountisConfigEntry, line: Line, meter: Meter
) -> None:
    await set_tariff(hass, 4, device_id=device_id(hass, SECOND_SERIAL))
    assert writes_on(line) == [tariff_write(2, 4)]
    assert meter.counters.tariff == 1


async def test_action_for_an_area_sets_the_tariff_of_its_meters(
    hass: HomeAssistant,
    area_registry: ar.AreaRegistry,
    device_registry: dr.DeviceRegistry,
    two_meters: CountisConfigEntry,
    line: Line,
    meter: Meter,
) -> None:
    cellar = area_registry.async_create("Cellar")
    device = device_id(hass, SECOND_SERIAL)
    device_registry.async_update_device(device, area_id=cellar.id)
    await set_tariff(hass, 3, **{ATTR_AREA_ID: cellar.id})
    assert writes_on(line) == [tariff_write(2, 3)]
    device_registry.async_update_device(device_id(hass), area_id=cellar.id)
    await set_tariff(hass, 2, **{ATTR_AREA_ID: cellar.id})
    assert writes_on(line)[1:] == [tariff_write(BROADCAST, 2)]
    assert meter.counters.tariff == 2


@pytest.mark.parametrize("disabled", ["device", "entry"])
async def test_disabled_meter_in_a_targeted_area_is_left_out(
    hass: HomeAssistant,
    area_registry: ar.AreaRegistry,
    device_registry: dr.DeviceRegistry,
    two_meters: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    second_line: Line,
    disabled: str,
) -> None:
    await add_meter(device=second_line.port, unit_id=3)
    cellar = area_registry.async_create("Cellar")
    for serial in (SERIAL, THIRD_SERIAL):
        device_registry.async_update_device(device_id(hass, serial), area_id=cellar.id)
    third_device = device_id(hass, THIRD_SERIAL)
    if disabled == "device":
        device_registry.async_update_device(
            third_device, disabled_by=dr.DeviceEntryDisabler.USER
        )
    else:
        _, second_bus = hass.config_entries.async_entries(DOMAIN)
        await hass.config_entries.async_set_disabled_by(
            second_bus.entry_id, ConfigEntryDisabler.USER
        )
    await hass.async_block_till_done()
    second_line.requests.clear()
    await set_tariff(hass, 3, **{ATTR_AREA_ID: cellar.id})
    assert writes_on(line) == [tariff_write(1, 3)]
    assert writes_on(second_line) == []
    with pytest.raises(ServiceValidationError, match="no COUNTIS meter"):
        await set_tariff(hass, 3, device_id=third_device)


@pytest.fixture
async def second_line(clock: Clock) -> AsyncGenerator[Line]:
    """Run the line of a second bus, with meters at unit IDs 3 and 4."""
    meters = [Meter(unit_id=unit_id, true_time=clock) for unit_id in (3, 4)]
    async with memory_line(meters) as line:
        yield line


async def test_tariff_of_all_meters_is_set_by_one_broadcast_on_each_bus(
    hass: HomeAssistant,
    two_meters: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    second_line: Line,
) -> None:
    for unit_id in (3, 4):
        await add_meter(device=second_line.port, unit_id=unit_id)
    second_line.requests.clear()
    await set_tariff(hass, 2)
    assert writes_on(line) == [tariff_write(BROADCAST, 2)]
    assert writes_on(second_line) == [tariff_write(BROADCAST, 2)]
    # The target is all meters of one bus, and one of two meters of the other bus.
    serials = (SERIAL, SECOND_SERIAL, THIRD_SERIAL)
    await set_tariff(hass, 3, device_id=[device_id(hass, each) for each in serials])
    assert writes_on(line)[1:] == [tariff_write(BROADCAST, 3)]
    assert writes_on(second_line)[1:] == [tariff_write(3, 3)]
    assert second_line.meters[4].counters.tariff == 2


async def test_meter_that_ignores_a_broadcast_is_reported(
    hass: HomeAssistant,
    two_meters: CountisConfigEntry,
    second_meter: Meter,
    meter: Meter,
) -> None:
    second_meter.ignored_writes = {SET_TARIFF}
    with pytest.raises(HomeAssistantError, match=r"COUNTIS E33 #2 did not change"):
        await set_tariff(hass, 2)
    assert state(hass, "tariff") == "2"
    assert state(hass, "tariff", SECOND_SERIAL) == "1"
    meter.ignored_writes = {SET_TARIFF}
    with pytest.raises(HomeAssistantError, match=r"#1 did(.|\n)*#2 did"):
        await set_tariff(hass, 3)
    # One error contains the errors of both meters in the language of Home Assistant.
    hass.config.language = "de"
    with pytest.raises(HomeAssistantError) as raised:
        await set_tariff(hass, 3)
    assert "COUNTIS E33 #2 hat den Tarif nicht" in str(
        raised.value.translation_placeholders
    )


async def test_offline_meter_is_reported_and_the_other_meter_is_set(
    hass: HomeAssistant, two_meters: CountisConfigEntry, second_meter: Meter
) -> None:
    second_meter.offline = True
    await until(lambda: not coordinator_of(two_meters, 2).online)
    with pytest.raises(HomeAssistantError, match="No meter responds at unit ID 2"):
        await set_tariff(hass, 2)
    assert state(hass, "tariff") == "2"
    assert state(hass, "tariff", SECOND_SERIAL) == "1"


async def test_unplugged_port_is_reported(
    hass: HomeAssistant, two_meters: CountisConfigEntry, line: Line
) -> None:
    line.unplug()
    with pytest.raises(HomeAssistantError, match="does not exist"):
        await set_tariff(hass, 2)


async def test_tariff_that_a_targeted_meter_does_not_have_is_refused(
    hass: HomeAssistant,
    meter: Meter,
    second_meter: Meter,
    add_meter: AddMeter,
    line: Line,
) -> None:
    meter.override = {TARIFF_COUNT: 8}
    await add_meter()
    await add_meter(unit_id=2)
    with pytest.raises(ServiceValidationError, match="#2 has no tariff 5"):
        await set_tariff(hass, 5)
    assert writes_on(line) == []


async def test_action_without_a_meter_is_refused(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    with pytest.raises(ServiceValidationError, match="no COUNTIS meter"):
        await set_tariff(hass, 1, device_id=[])
    with pytest.raises(ServiceValidationError, match="no COUNTIS meter"):
        await set_tariff(hass, 1, device_id=["gone"], entity_id=["sensor.other"])


async def test_action_for_a_bus_that_is_not_set_up_is_refused(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(ServiceValidationError, match=f"{line.port} is not set up"):
        await set_tariff(hass, 1)


# -- the action that checks the wiring -------------------------------------------


async def check_wiring(hass: HomeAssistant) -> list[dict[str, Any]]:
    """Check the wiring of both meters, and return the results."""
    response = await hass.services.async_call(
        DOMAIN,
        "check_wiring",
        {ATTR_DEVICE_ID: [device_id(hass), device_id(hass, SECOND_SERIAL)]},
        blocking=True,
        return_response=True,
    )
    assert response is not None
    meters: Any = response["meters"]
    results: list[dict[str, Any]] = meters
    return results


async def test_failed_wiring_check_keeps_the_results_of_other_meters(
    hass: HomeAssistant,
    two_meters: CountisConfigEntry,
    meter: Meter,
    second_meter: Meter,
) -> None:
    meter.offline = True
    await until(lambda: not coordinator_of(two_meters).online)
    failed, checked = await check_wiring(hass)
    assert failed["meter"] == "COUNTIS E33 #1"
    assert "No meter responds at unit ID 1" in failed["error"]
    assert checked["meter"] == "COUNTIS E33 #2"
    assert "codes" in checked
    second_meter.offline = True
    await until(lambda: not coordinator_of(two_meters, 2).online)
    with pytest.raises(HomeAssistantError, match=r"unit ID 1(.|\n)*unit ID 2"):
        await check_wiring(hass)
