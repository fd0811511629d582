"""The blueprint *Solar surplus* uses exported power for a load.

The power sensor shows exported power as negative values.
"""

import pytest

from homeassistant.components.automation import EVENT_AUTOMATION_RELOADED
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant, ServiceCall

from .common import Automate, Wait, record_calls, set_state, settle, take_calls

ON = ("switch.turn_on", ["switch.heater"])
OFF = ("switch.turn_off", ["switch.heater"])


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Return the recorded calls. The meter imports 50 W, and the switch is off.

    The blueprint has its defaults: surplus 2000 W, shortage 100 W, duration 5 minutes.
    """
    calls = record_calls(hass, "switch.turn_on", "switch.turn_off")
    await set_state(hass, "sensor.power", "50")
    await set_state(hass, "switch.heater", "off")
    await automate("solar_surplus", power="sensor.power", load="switch.heater")
    return calls


async def test_exported_power_turns_the_load_on_after_5_minutes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_state(hass, "sensor.power", "-2010")
    await wait(290)
    assert take_calls(calls) == []
    # A change to an even higher exported power does not restart the 5 minutes.
    await set_state(hass, "sensor.power", "-4000")
    await wait(10)
    assert take_calls(calls) == [ON]


async def test_imported_power_turns_the_load_off_after_5_minutes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_state(hass, "switch.heater", "on")
    await set_state(hass, "sensor.power", "110")
    await wait(290)
    assert take_calls(calls) == []
    await wait(10)
    assert take_calls(calls) == [OFF]


@pytest.mark.parametrize(("switch", "power"), [("off", "-2500"), ("on", "2500")])
async def test_short_change_of_the_power_does_not_switch_the_load(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    switch: str,
    power: str,
) -> None:
    await set_state(hass, "switch.heater", switch)
    await set_state(hass, "sensor.power", power)
    await wait(200)
    # With 0 W, there is neither a surplus nor a shortage.
    await set_state(hass, "sensor.power", "0")
    await wait(200)
    assert take_calls(calls) == []


@pytest.mark.parametrize(("switch", "power"), [("on", "-2500"), ("off", "2500")])
async def test_load_in_the_right_state_is_not_switched_again(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    switch: str,
    power: str,
) -> None:
    await set_state(hass, "switch.heater", switch)
    await set_state(hass, "sensor.power", power)
    await wait(600)
    assert take_calls(calls) == []


async def test_offline_meter_turns_the_load_off_after_5_minutes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_state(hass, "sensor.power", "-3000")
    await set_state(hass, "switch.heater", "on")
    await set_state(hass, "sensor.power", "unavailable")
    await wait(298)
    assert take_calls(calls) == []
    await wait(2)
    assert take_calls(calls) == [OFF]


@pytest.mark.parametrize(
    ("power", "switch", "expected"),
    [
        ("unavailable", "on", [OFF]),
        ("unknown", "on", [OFF]),
        ("3000", "on", [OFF]),
        ("-3000", "off", [ON]),
        ("50", "on", []),  # less than the shortage of 100 W
        ("-3000", "on", []),
        ("unavailable", "off", []),
    ],
)
@pytest.mark.parametrize("start", ["home_assistant", "reload"])
async def test_power_is_checked_5_minutes_after_a_start(
    hass: HomeAssistant,
    automate: Automate,
    wait: Wait,
    start: str,
    power: str,
    switch: str,
    expected: list[tuple[str, list[str]]],
) -> None:
    calls = record_calls(hass, "switch.turn_on", "switch.turn_off")
    await set_state(hass, "sensor.power", power)
    await set_state(hass, "switch.heater", switch)
    if start == "home_assistant":
        hass.set_state(CoreState.starting)
    await automate("solar_surplus", power="sensor.power", load="switch.heater")
    if start == "home_assistant":
        hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    else:
        hass.bus.async_fire(EVENT_AUTOMATION_RELOADED)
    await settle()
    await wait(298)
    assert take_calls(calls) == []
    await wait(2)
    assert take_calls(calls) == expected
