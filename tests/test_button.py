"""The button that resets the partial counters."""

from unittest.mock import patch

import pytest

from custom_components.socomec_countis.countis import poller
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.button.const import DOMAIN as BUTTON_DOMAIN
from homeassistant.components.button.const import SERVICE_PRESS
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from simulator import Constant, Fault, Line, Meter, Phase, table
from simulator.modbus import with_crc

from .common import (
    SERIAL,
    AddMeter,
    Clock,
    coordinator_of,
    entity_id,
    lose_responses_to_writes,
    registers_of,
    shown_states,
    state,
    until,
    until_polled,
    writes_on,
)

KEY = "reset_partial_counters"
# The register address and the words of the write: the bits of Ea+, Er+ and Ea-.
RESET_ALL = (57890, [0x000B])
RESET_FRAME = b"\x01\x06\xe2\x22\x00\x0b"  # this write to unit ID 1, without its CRC
# The response is Modbus exception 4.
DEVICE_FAILURE = Fault(lambda frame: with_crc(bytes([frame[0], frame[1] | 0x80, 4])))


async def press(hass: HomeAssistant, key: str = KEY) -> None:
    """Press a button of the meter at unit ID 1."""
    await hass.services.async_call(
        BUTTON_DOMAIN,
        SERVICE_PRESS,
        {ATTR_ENTITY_ID: entity_id(hass, key)},
        blocking=True,
    )


@pytest.fixture
def no_counter_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll the counters once, so that only commands read them afterwards."""
    interval = poller.Interval(target=3600, period=3600)  # s
    for block in ("energies", "tariffs"):
        monkeypatch.setitem(poller.INTERVALS, block, interval)


async def test_reset_shows_zero_at_once_and_keeps_the_totals(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    assert state(hass, "partial_energy_consumed") == "45.67"
    await press(hass)
    assert state(hass, "partial_energy_consumed") == "0"
    assert state(hass, "partial_energy_produced") == "0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "energy_produced") == "7.89"
    assert state(hass, "tariff_1_energy") == "1000.0"
    assert meter.writes == [RESET_ALL]
    await until_polled(entry)
    assert state(hass, "partial_energy_consumed") == "0"


async def test_last_value_before_a_reset_is_shown_before_zero(
    hass: HomeAssistant,
    no_counter_polls: None,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
) -> None:
    meter.load = Constant(Phase(1000), Phase(0), Phase(0))
    clock.seconds += 72  # 1000 W for 72 s are 20 Wh
    partial = shown_states(hass, "partial_energy_consumed")
    total = shown_states(hass, "energy_consumed")
    await press(hass)
    assert partial == ["45.69", "0"]
    assert total == ["1234.58"]


async def test_ignored_reset_is_reported_and_keeps_the_values(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.ignored_writes = {57890}
    with pytest.raises(HomeAssistantError, match="hold the reset button"):
        await press(hass)
    assert state(hass, "partial_energy_consumed") == "45.67"


async def test_reset_on_a_cut_bus_is_reported_and_keeps_the_values(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter, line: Line
) -> None:
    line.cut = True
    with pytest.raises(HomeAssistantError, match="No meter responds at unit ID 1"):
        await press(hass)
    line.cut = False
    await until(lambda: coordinator_of(entry).online)
    assert state(hass, "partial_energy_consumed") == "45.67"
    assert meter.writes == []


async def test_command_to_an_offline_meter_publishes_no_reading(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    line.cut = True
    coordinator = coordinator_of(entry)
    await until(lambda: not coordinator.online)
    with (
        patch.object(coordinator, "on_reading") as on_reading,
        pytest.raises(HomeAssistantError, match="No meter responds at unit ID 1"),
    ):
        await press(hass)
    on_reading.assert_not_called()
    assert not coordinator.online


async def test_reset_with_a_lost_response_is_confirmed_by_the_read_back(
    hass: HomeAssistant,
    no_counter_polls: None,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    lose_responses_to_writes(line)
    await press(hass)
    assert state(hass, "partial_energy_consumed") == "0"
    assert writes_on(line) == [RESET_FRAME]


async def test_exception_in_the_read_back_after_a_reset_is_reported(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    def fail_read_back(request: bytes) -> None:
        if request[1] == 6:
            # The response to the write is correct, but the read-back is refused.
            line.faults.extend([Fault(), DEVICE_FAILURE])

    line.on_request = fail_read_back
    with pytest.raises(HomeAssistantError, match=r"(?i)modbus exception"):
        await press(hass)
    assert writes_on(line) == [RESET_FRAME]
    await until(lambda: state(hass, "partial_energy_consumed") == "0")


async def test_reset_holds_the_bus_from_the_write_to_the_read_back(
    hass: HomeAssistant, entry: CountisConfigEntry, add_meter: AddMeter, line: Line
) -> None:
    await add_meter(unit_id=2)
    line.requests.clear()
    await press(hass)
    write_index = next(i for i, frame in enumerate(line.requests) if frame[1] == 6)
    # The identity, the write and the read-back.
    assert [
        frame[:4] for frame in line.requests[write_index - 1 : write_index + 2]
    ] == [
        b"\x01\x03" + (50006).to_bytes(2),
        b"\x01\x06" + (57890).to_bytes(2),
        b"\x01\x03" + (50946).to_bytes(2),
    ]


async def test_polls_after_a_reset_publish_no_old_counters(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    states = shown_states(hass, "partial_energy_consumed")
    for _ in range(3):
        await press(hass)
        await until_polled(entry)
    assert states == ["0"]


async def test_meter_without_counters_has_no_reset_buttons(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    meter: Meter,
    add_meter: AddMeter,
) -> None:
    meter.refused_blocks = {
        table.ENERGIES,
        table.TARIFFS,
        table.ENERGIES_UNIT_100,
        table.TARIFFS_UNIT_100,
    }
    await add_meter()
    buttons = hass.states.async_entity_ids(BUTTON_DOMAIN)
    assert buttons == ["button.countis_e33_1_wiring_check"]
    assert hass.states.get("sensor.countis_e33_1_power")
    ids = {each.unique_id for each in entity_registry.entities.values()}
    assert f"{SERIAL}_reset_tariff_counters" not in ids


async def test_another_meter_at_the_unit_id_is_not_reset(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.offline = True
    await until(lambda: not coordinator_of(entry).online)
    meter.serial = (0x2025, 0x0001, 7)  # shown as 2025000100007
    meter.offline = False
    with pytest.raises(HomeAssistantError, match="2025000100007"):
        await press(hass)
    assert meter.writes == []
    assert state(hass, "partial_energy_consumed") == "45.67"


async def test_meter_that_was_offline_at_a_restart_can_be_reset(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.offline = True
    await hass.config_entries.async_reload(entry.entry_id)
    assert state(hass, "partial_energy_consumed") == "45.67"
    with pytest.raises(HomeAssistantError, match="No meter responds"):
        await press(hass)
    assert meter.writes == []
    meter.offline = False
    await press(hass)
    assert meter.writes == [RESET_ALL]
    assert state(hass, "partial_energy_consumed") == "0"


async def test_counter_that_is_not_available_after_a_reset_keeps_its_value(
    hass: HomeAssistant, entry: CountisConfigEntry, meter: Meter
) -> None:
    meter.override = registers_of("partial_energy_produced", table.NOT_AVAILABLE)
    await until_polled(entry)
    with pytest.raises(HomeAssistantError, match="set all of its partial counters"):
        await press(hass)
    assert state(hass, "partial_energy_produced") == "0.89"
    # The other counters were reset, and the next polls accept their new values.
    await until(lambda: state(hass, "partial_energy_consumed") == "0")
    assert state(hass, "partial_energy_produced") == "0.89"
