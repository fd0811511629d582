"""A switch is on while power would be exported."""

import pytest

from homeassistant.components.automation import EVENT_AUTOMATION_RELOADED
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant, ServiceCall

from .common import Automate, Wait, become, called, record, settle

ON = ("switch.turn_on", ["switch.heater"])
OFF = ("switch.turn_off", ["switch.heater"])


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Return what is called, little being imported at first."""
    calls = record(hass, "switch.turn_on", "switch.turn_off")
    await become(hass, "sensor.power", "50")
    await become(hass, "switch.heater", "off")
    await automate("solar_surplus", power="sensor.power", load="switch.heater")
    return calls


async def test_exported_power_turns_the_load_on_after_some_minutes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await become(hass, "sensor.power", "-2010")
    await wait(290)
    assert called(calls) == []
    await become(hass, "sensor.power", "-4000")
    await wait(10)
    assert called(calls) == [ON]


async def test_imported_power_turns_the_load_off_after_some_minutes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await become(hass, "switch.heater", "on")
    await become(hass, "sensor.power", "110")
    await wait(290)
    assert called(calls) == []
    await wait(10)
    assert called(calls) == [OFF]


@pytest.mark.parametrize(("switch", "power"), [("off", "-2500"), ("on", "2500")])
async def test_short_cloud_changes_nothing(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    switch: str,
    power: str,
) -> None:
    await become(hass, "switch.heater", switch)
    await become(hass, "sensor.power", power)
    await wait(200)
    await become(hass, "sensor.power", "0")
    await wait(200)
    assert called(calls) == []


@pytest.mark.parametrize(("switch", "power"), [("on", "-2500"), ("off", "2500")])
async def test_switch_in_the_right_state_is_left_alone(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    switch: str,
    power: str,
) -> None:
    await become(hass, "switch.heater", switch)
    await become(hass, "sensor.power", power)
    await wait(600)
    assert called(calls) == []


async def test_offline_meter_turns_the_load_off(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await become(hass, "sensor.power", "-3000")
    await become(hass, "switch.heater", "on")
    await become(hass, "sensor.power", "unavailable")
    await wait(298)
    assert called(calls) == []
    await wait(2)
    assert called(calls) == [OFF]


@pytest.mark.parametrize(
    ("power", "switch", "expected"),
    [
        ("unavailable", "on", [OFF]),
        ("unknown", "on", [OFF]),
        ("3000", "on", [OFF]),
        ("-3000", "off", [ON]),
        ("50", "on", []),
        ("-3000", "on", []),
        ("unavailable", "off", []),
    ],
)
@pytest.mark.parametrize("start", ["home_assistant", "reload"])
async def test_power_from_before_the_start_is_acted_on_after_some_minutes(
    hass: HomeAssistant,
    automate: Automate,
    wait: Wait,
    start: str,
    power: str,
    switch: str,
    expected: list[tuple[str, list[str]]],
) -> None:
    calls = record(hass, "switch.turn_on", "switch.turn_off")
    await become(hass, "sensor.power", power)
    await become(hass, "switch.heater", switch)
    if start == "home_assistant":
        hass.set_state(CoreState.starting)
    await automate("solar_surplus", power="sensor.power", load="switch.heater")
    if start == "home_assistant":
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    else:
        hass.bus.async_fire(EVENT_AUTOMATION_RELOADED)
    await settle()
    await wait(298)
    assert called(calls) == []
    await wait(2)
    assert called(calls) == expected
