"""The blueprint *Monthly bill* reports and resets partial counters once a month.

While the meter is offline, its reset button is unavailable, but its counters stay
available.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from freezegun.api import FrozenDateTimeFactory
import pytest

from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import (
    CoreState,
    HomeAssistant,
    ServiceCall,
    State,
    callback,
)
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import restore_state
from homeassistant.util import dt as dt_util

from .common import Automate, Wait, record_calls, set_state, settle, take_calls

NOTIFY = "notify.persistent_notification"
PRESS = "button.press"
# The calls that `take_calls` returns for a message and for a reset.
REPORTED = (NOTIFY, None)  # a notification has no entity ID
RESET = (PRESS, ["button.reset"])

INPUTS = {
    "counters": ["sensor.consumed", "sensor.produced"],
    "reset": "button.reset",
}
ONLINE_SECONDS = 20  # s; a bill is sent after the meter was online for this time

type WaitUntilApril = Callable[[int, int], Awaitable[None]]


async def set_counter(hass: HomeAssistant, key: str, state: str) -> None:
    """Set the state of a counter in kWh."""
    await set_state(
        hass,
        f"sensor.{key.replace(' ', '_')}",
        state,
        friendly_name=f"Flat 2 {key}",
        unit_of_measurement="kWh",
    )


@pytest.fixture
def calls(hass: HomeAssistant) -> list[ServiceCall]:
    """Return the list of recorded calls. A press of the button resets the counters."""
    calls = record_calls(hass, NOTIFY)

    async def press(call: ServiceCall) -> None:
        calls.append(call)
        await set_counter(hass, "consumed", "0")
        await set_counter(hass, "produced", "0")

    hass.services.async_register("button", "press", press)
    return calls


@pytest.fixture
async def wait_until_april(
    hass: HomeAssistant,
    freezer: FrozenDateTimeFactory,
    automate: Automate,
    wait: Wait,
) -> WaitUntilApril:
    """Create the automation, and return a function that waits until an hour of April.

    The function takes a day and an hour. The clock starts at noon on 31 March.
    """
    start = datetime(2026, 3, 31, 12, tzinfo=dt_util.get_default_time_zone())
    freezer.move_to(start)
    await set_counter(hass, "consumed", "1234.56")
    await set_counter(hass, "produced", "7.8")
    await set_state(hass, "button.reset", "unknown")
    await automate("monthly_bill", **INPUTS)

    async def wait_until_april(day: int, hour: int) -> None:
        moment = datetime(2026, 4, day, hour, tzinfo=start.tzinfo)
        await wait((moment - dt_util.now()).total_seconds())

    return wait_until_april


async def test_counters_are_reported_and_then_reset(
    calls: list[ServiceCall], wait: Wait, wait_until_april: WaitUntilApril
) -> None:
    await wait_until_april(1, 0)
    await wait(ONLINE_SECONDS)
    message = "Flat 2 consumed: 1234.56 kWh\nFlat 2 produced: 7.8 kWh"
    assert calls[0].data["message"] == message
    assert take_calls(calls) == [REPORTED, RESET]


async def test_bill_contains_the_partial_counters_by_tariff(
    hass: HomeAssistant,
    freezer: FrozenDateTimeFactory,
    automate: Automate,
    calls: list[ServiceCall],
    wait: Wait,
) -> None:
    zone = dt_util.get_default_time_zone()
    freezer.move_to(datetime(2026, 3, 31, 23, 59, tzinfo=zone))
    await set_counter(hass, "consumed", "1234.56")
    await set_counter(hass, "tariff 1", "1000.5")
    await set_counter(hass, "tariff 2", "unknown")
    await set_state(hass, "button.reset", "unknown")
    inputs = {
        "counters": ["sensor.consumed"],
        "by_tariff": ["sensor.tariff_1", "sensor.tariff_2"],
        "reset": "button.reset",
    }
    await automate("monthly_bill", **inputs)
    await wait(60)
    await wait(ONLINE_SECONDS)
    assert calls[0].data["message"].splitlines() == [
        "Flat 2 consumed: 1234.56 kWh",
        "Flat 2 tariff 1: 1000.5 kWh",
        "Flat 2 tariff 2: unknown",
    ]
    assert take_calls(calls) == [REPORTED, RESET]


async def test_bill_is_sent_only_on_the_first_day_of_the_month(
    calls: list[ServiceCall], wait: Wait, wait_until_april: WaitUntilApril
) -> None:
    await wait_until_april(1, 0)
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == [REPORTED, RESET]
    for day in range(2, 31):
        await wait_until_april(day, 0)
        await wait(ONLINE_SECONDS)
    assert take_calls(calls) == []


async def test_bill_of_an_offline_meter_is_sent_once_when_the_meter_is_online(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    wait_until_april: WaitUntilApril,
) -> None:
    await set_state(hass, "button.reset", "unavailable")
    await wait_until_april(1, 0)
    await wait_until_april(3, 12)
    assert take_calls(calls) == []
    await set_state(hass, "button.reset", "unknown")
    await set_counter(hass, "consumed", "1240.0")
    await wait(ONLINE_SECONDS)
    assert "consumed: 1240.0 kWh" in calls[0].data["message"]
    assert take_calls(calls) == [REPORTED, RESET]
    await set_state(hass, "button.reset", "unavailable")
    await set_state(hass, "button.reset", "unknown")
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == []


async def test_bill_is_not_sent_before_it_is_due_if_the_meter_is_online_again(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    wait_until_april: WaitUntilApril,
) -> None:
    # It is 31 March. The bill is due on 1 April.
    await set_state(hass, "button.reset", "unavailable")
    await set_state(hass, "button.reset", "unknown")
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == []


async def test_bill_waits_for_a_meter_that_goes_offline_shortly_before_midnight(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    wait_until_april: WaitUntilApril,
) -> None:
    # The last response was 1 s before midnight. The button becomes unavailable 10 s
    # later, so 9 s after midnight.
    await wait_until_april(1, 0)
    await wait(9)
    await set_state(hass, "button.reset", "unavailable")
    await wait(3600)
    assert take_calls(calls) == []
    await set_state(hass, "button.reset", "unknown")
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == [REPORTED, RESET]


@pytest.mark.parametrize("day", [1, 20])
async def test_bill_is_sent_at_start_only_if_due_while_home_assistant_was_off(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    freezer: FrozenDateTimeFactory,
    automate: Automate,
    calls: list[ServiceCall],
    wait: Wait,
    day: int,
) -> None:
    zone = dt_util.get_default_time_zone()
    # The last bill was sent on the selected day of March.
    last_run = datetime(2026, 3, day, tzinfo=zone).isoformat()
    automation = State("automation.automation_0", "on", {"last_triggered": last_run})
    stored = {"state": automation.as_dict(), "last_seen": last_run}
    hass_storage[restore_state.STORAGE_KEY] = {
        "version": restore_state.STORAGE_VERSION,
        "data": [stored],
    }
    # The test package has already loaded an empty store.
    hass.data.pop(restore_state.DATA_RESTORE_STATE)
    await restore_state.async_load(hass)
    freezer.move_to(datetime(2026, 4, 10, 12, tzinfo=zone))
    await set_counter(hass, "consumed", "5.0")
    await set_counter(hass, "produced", "0")
    await set_state(hass, "button.reset", "unknown")
    hass.set_state(CoreState.starting)
    await automate("monthly_bill", **INPUTS, day=day)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await settle()
    await wait(ONLINE_SECONDS)
    # The bill of 1 April was due while Home Assistant was off. That of 20 April is not
    # due yet.
    assert take_calls(calls) == ([REPORTED, RESET] if day == 1 else [])


async def test_failed_reset_is_retried_without_another_message(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    wait_until_april: WaitUntilApril,
) -> None:
    is_offline = True

    async def press(call: ServiceCall) -> None:
        calls.append(call)
        if is_offline:
            msg = "No meter responds"
            raise HomeAssistantError(msg)
        await set_counter(hass, "consumed", "0.01")
        await set_counter(hass, "produced", "0")

    hass.services.async_register("button", "press", press)
    await wait_until_april(1, 0)
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == [REPORTED, RESET]
    # The counters have not fallen within 1 minute, so the reset is repeated.
    await wait(60)
    assert take_calls(calls) == [RESET]
    await set_state(hass, "button.reset", "unavailable")
    await wait(3600)
    assert take_calls(calls) == []
    is_offline = False
    await set_state(hass, "button.reset", "unknown")
    assert take_calls(calls) == [RESET]
    await wait(3600)
    assert take_calls(calls) == []


async def test_counters_are_not_reset_if_the_notification_fails(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    wait_until_april: WaitUntilApril,
) -> None:
    @callback
    def fail(call: ServiceCall) -> None:
        calls.append(call)
        msg = "The notification failed"
        raise HomeAssistantError(msg)

    hass.services.async_register("notify", "persistent_notification", fail)
    await wait_until_april(1, 0)
    await wait(ONLINE_SECONDS)
    assert take_calls(calls) == [REPORTED]
