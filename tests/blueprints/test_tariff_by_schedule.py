"""The blueprint *Tariff by schedule* selects the tariff of a meter by a schedule.

By default, tariff 1 is selected while the schedule is on, otherwise tariff 2.
"""

import pytest

from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant, ServiceCall, callback
from homeassistant.exceptions import HomeAssistantError

from .common import Automate, Wait, record_calls, set_state, settle, take_calls

SELECT = "select.select_option"
INPUTS = {"tariff": "select.tariff", "schedule": "schedule.day"}


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Return the recorded calls. The schedule is off, and tariff 2 is selected.

    A recorded call does not change the state of the tariff entity.
    """
    calls = record_calls(hass, SELECT)
    await set_state(hass, "schedule.day", "off")
    await set_state(hass, "select.tariff", "2")
    await automate("tariff_by_schedule", **INPUTS)
    return calls


def take_selected_tariffs(calls: list[ServiceCall]) -> list[str]:
    """Return the tariff of each call, and clear `calls`."""
    tariffs = [str(call.data["option"]) for call in calls]
    assert take_calls(calls) == [(SELECT, ["select.tariff"])] * len(tariffs)
    return tariffs


async def test_tariff_follows_the_schedule(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    assert take_selected_tariffs(calls) == []
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == ["1"]
    await set_state(hass, "select.tariff", "1")
    await set_state(hass, "schedule.day", "off")
    assert take_selected_tariffs(calls) == ["2"]


async def test_schedule_block_with_a_tariff_selects_this_tariff(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await set_state(hass, "schedule.day", "on", tariff=3)
    assert take_selected_tariffs(calls) == ["3"]
    await set_state(hass, "select.tariff", "3")
    await set_state(hass, "schedule.day", "on", tariff="4")
    assert take_selected_tariffs(calls) == ["4"]


async def test_tariff_that_is_already_selected_is_not_selected_again(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await set_state(hass, "select.tariff", "1")
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == []


@pytest.mark.parametrize("state", ["unavailable", "unknown"])
async def test_tariff_does_not_change_while_the_schedule_is_unavailable(
    hass: HomeAssistant, calls: list[ServiceCall], state: str
) -> None:
    await set_state(hass, "select.tariff", "1")
    await set_state(hass, "schedule.day", state)
    assert take_selected_tariffs(calls) == []


async def test_tariff_is_selected_after_the_meter_was_offline_at_a_schedule_change(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await set_state(hass, "select.tariff", "unavailable")
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == []
    await set_state(hass, "select.tariff", "2")
    assert take_selected_tariffs(calls) == ["1"]


async def test_failed_selection_is_retried_after_10_seconds(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    @callback
    def fail(call: ServiceCall) -> None:
        calls.append(call)
        msg = "No meter responds"
        raise HomeAssistantError(msg)

    hass.services.async_register("select", "select_option", fail)
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == ["1"]
    await wait(9)
    assert take_selected_tariffs(calls) == []
    await wait(1)
    assert take_selected_tariffs(calls) == ["1"]
    await set_state(hass, "select.tariff", "1")
    await wait(60)
    assert take_selected_tariffs(calls) == []


async def test_selection_is_tried_10_times_at_most(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_state(hass, "schedule.day", "on")
    for _ in range(20):
        await wait(10)
    assert take_selected_tariffs(calls) == ["1"] * 10


async def test_change_of_the_schedule_ends_the_retries(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == ["1"]
    # Tariff 2 is still selected, so the automation has nothing to select.
    await set_state(hass, "schedule.day", "off")
    await wait(10)
    assert take_selected_tariffs(calls) == []


async def test_manually_selected_tariff_stays_until_the_schedule_changes(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    await set_state(hass, "select.tariff", "4")
    assert take_selected_tariffs(calls) == []
    await set_state(hass, "schedule.day", "on")
    assert take_selected_tariffs(calls) == ["1"]


async def test_tariff_is_selected_at_the_start_of_home_assistant(
    hass: HomeAssistant, automate: Automate
) -> None:
    calls = record_calls(hass, SELECT)
    await set_state(hass, "schedule.day", "on")
    await set_state(hass, "select.tariff", "2")
    hass.set_state(CoreState.starting)
    await automate("tariff_by_schedule", **INPUTS)
    assert take_selected_tariffs(calls) == []
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await settle()
    assert take_selected_tariffs(calls) == ["1"]
