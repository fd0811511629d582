"""The tariff follows a schedule."""

import pytest

from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant, ServiceCall, callback
from homeassistant.exceptions import HomeAssistantError

from .common import Automate, Wait, become, called, record, settle

SELECT = "select.select_option"
INPUTS = {"tariff": "select.tariff", "schedule": "schedule.day"}


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Return what is called, the schedule being off and tariff 2 selected."""
    calls = record(hass, SELECT)
    await become(hass, "schedule.day", "off")
    await become(hass, "select.tariff", "2")
    await automate("tariff_by_schedule", **INPUTS)
    return calls


def selected(calls: list[ServiceCall]) -> list[str]:
    """Return which tariffs were selected, and forget it."""
    tariffs = [str(call.data["option"]) for call in calls]
    assert called(calls) == [(SELECT, ["select.tariff"])] * len(tariffs)
    return tariffs


async def test_tariff_follows_the_schedule(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    assert selected(calls) == []
    await become(hass, "schedule.day", "on")
    assert selected(calls) == ["1"]
    await become(hass, "select.tariff", "1")
    await become(hass, "schedule.day", "off")
    assert selected(calls) == ["2"]


async def test_block_of_the_schedule_can_name_its_tariff(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await become(hass, "schedule.day", "on", tariff=3)
    assert selected(calls) == ["3"]
    await become(hass, "select.tariff", "3")
    await become(hass, "schedule.day", "on", tariff="4")
    assert selected(calls) == ["4"]


async def test_selected_tariff_is_not_written_again(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await become(hass, "select.tariff", "1")
    await become(hass, "schedule.day", "on")
    assert selected(calls) == []


@pytest.mark.parametrize("missing", ["unavailable", "unknown"])
async def test_tariff_stays_while_the_schedule_is_unavailable(
    hass: HomeAssistant, calls: list[ServiceCall], missing: str
) -> None:
    await become(hass, "select.tariff", "1")
    await become(hass, "schedule.day", missing)
    assert selected(calls) == []


async def test_change_while_the_meter_was_offline_is_made_up_for(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await become(hass, "select.tariff", "unavailable")
    await become(hass, "schedule.day", "on")
    assert selected(calls) == []
    await become(hass, "select.tariff", "2")
    assert selected(calls) == ["1"]


async def test_selection_that_fails_during_a_short_silence_is_repeated(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    @callback
    def fail(call: ServiceCall) -> None:
        calls.append(call)
        msg = "No meter responds"
        raise HomeAssistantError(msg)

    hass.services.async_register("select", "select_option", fail)
    await become(hass, "schedule.day", "on")
    assert selected(calls) == ["1"]
    await wait(9)
    assert selected(calls) == []
    await wait(1)
    assert selected(calls) == ["1"]
    await become(hass, "select.tariff", "1")
    await wait(60)
    assert selected(calls) == []


async def test_selection_is_not_repeated_for_ever(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await become(hass, "schedule.day", "on")
    for _ in range(20):
        await wait(10)
    assert selected(calls) == ["1"] * 10


async def test_change_of_the_schedule_ends_the_repeated_selection(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await become(hass, "schedule.day", "on")
    assert selected(calls) == ["1"]
    await become(hass, "schedule.day", "off")
    await wait(10)
    assert selected(calls) == []


async def test_tariff_selected_by_hand_stays_until_the_schedule_changes(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await become(hass, "select.tariff", "4")
    assert selected(calls) == []
    await become(hass, "schedule.day", "on")
    assert selected(calls) == ["1"]


async def test_change_while_home_assistant_was_off_is_made_up_for(
    hass: HomeAssistant, automate: Automate
) -> None:
    calls = record(hass, SELECT)
    await become(hass, "schedule.day", "on")
    await become(hass, "select.tariff", "2")
    hass.set_state(CoreState.starting)
    await automate("tariff_by_schedule", **INPUTS)
    assert selected(calls) == []
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await settle()
    assert selected(calls) == ["1"]
