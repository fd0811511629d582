"""The binary sensor of the connection to a meter, and the device of its bus."""

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from custom_components.socomec_countis.system_errors import KEYS
from homeassistant.const import (
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
    EntityCategory,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from simulator import Line, Meter

from .common import (
    coordinator_of,
    entity_id,
    meter_device,
    shown_states,
    state,
    until,
)
from .files import TEXTS

REASONS = TEXTS["entity"]["binary_sensor"]["online"]["state_attributes"]["reason"]


def reason(hass: HomeAssistant) -> str | None:
    """Return the text of the reason that the binary sensor shows."""
    shown = hass.states.get(entity_id(hass, "online"))
    assert shown is not None
    key = shown.attributes.get("reason")
    return None if key is None else REASONS["state"][key]


async def test_meter_that_responds_is_connected(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    assert state(hass, "online") == STATE_ON
    assert reason(hass) is None
    registered = er.async_get(hass).async_get(entity_id(hass, "online"))
    assert registered is not None
    assert registered.entity_category is EntityCategory.DIAGNOSTIC


async def test_offline_meter_is_disconnected_as_soon_as_values_are_unavailable(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    shown = shown_states(hass, "online")
    meter.offline = True
    coordinator = coordinator_of(entry)
    await until(lambda: not coordinator.online)
    # The states of `online` and `power` remain for `HOLD_SECONDS` after the meter goes
    # offline.
    assert (state(hass, "online"), state(hass, "power")) == (STATE_ON, "1300")
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert state(hass, "online") == STATE_OFF
    assert reason(hass) == "The meter does not respond"
    meter.offline = False
    await until(lambda: state(hass, "online") == STATE_ON)
    assert reason(hass) is None
    assert shown == [STATE_OFF, STATE_ON]


async def test_reason_changes_with_the_error(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    line: Line,
    short_pauses: None,
) -> None:
    meter.offline = True
    await until(lambda: reason(hass) == "The meter does not respond")
    line.unplug()
    await until(lambda: "adapter is not plugged in" in str(reason(hass)))


async def test_another_meter_is_shown_as_the_reason(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, short_pauses: None
) -> None:
    meter.offline = True
    await until(lambda: state(hass, "online") == STATE_OFF)
    meter.serial = (0x2025, 0x0001, 7)  # another serial number
    meter.offline = False
    await until(lambda: reason(hass) == "Another meter responds")


async def test_connection_of_an_offline_meter_is_unknown_at_first_after_a_restart(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    meter.offline = True
    await hass.config_entries.async_setup(entry.entry_id)
    assert state(hass, "online") == STATE_UNKNOWN
    await until(lambda: state(hass, "online") == STATE_OFF)


async def test_device_of_a_meter_is_connected_via_the_device_of_its_bus(
    hass: HomeAssistant,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    bus_id = meter_device(hass).via_device_id
    assert bus_id is not None
    bus = device_registry.async_get(bus_id)
    assert isinstance(bus, dr.DeviceEntry)
    assert bus.identifiers == {(DOMAIN, entry.entry_id)}
    assert bus.model == "Modbus RTU"
    assert bus.name == f"RS485 bus {line.port}"


async def test_device_of_a_bus_gets_the_new_title_of_its_entry(
    hass: HomeAssistant,
    device_registry: dr.DeviceRegistry,
    entry: CountisConfigEntry,
) -> None:
    hass.config_entries.async_update_entry(entry, title="Cellar")
    await hass.async_block_till_done()
    bus_id = meter_device(hass).via_device_id
    assert bus_id is not None
    bus = device_registry.async_get(bus_id)
    assert bus is not None
    assert bus.name == "RS485 bus Cellar"


def test_each_error_of_the_operating_system_has_a_text_as_reason() -> None:
    assert REASONS["state"].keys() >= KEYS
