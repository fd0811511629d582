"""Partial counters are reported once a month, and then reset."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from freezegun.api import FrozenDateTimeFactory
import pytest

from homeassistant.core import HomeAssistant, ServiceCall, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util

from .common import Automate, Wait, become, called, record

NOTIFY = "notify.persistent_notification"
PRESS = "button.press"
REPORTED = (NOTIFY, None)
RESET = (PRESS, ["button.reset"])

type WaitFor = Callable[[int, int], Awaitable[None]]


async def count(hass: HomeAssistant, key: str, state: str) -> None:
    """Let a counter report."""
    await become(
        hass,
        f"sensor.{key}",
        state,
        friendly_name=f"Flat 2 {key}",
        unit_of_measurement="kWh",
    )


@pytest.fixture
def calls(hass: HomeAssistant) -> list[ServiceCall]:
    """Return what is called."""
    return record(hass, NOTIFY, PRESS)


@pytest.fixture
async def wait_for(
    hass: HomeAssistant,
    freezer: FrozenDateTimeFactory,
    automate: Automate,
    wait: Wait,
) -> WaitFor:
    """Return a function that waits for a day and hour of April.

    It is noon on the last day of March, and there are two partial counters.
    """
    start = datetime(2026, 3, 31, 12, tzinfo=dt_util.get_default_time_zone())
    freezer.move_to(start)
    await count(hass, "consumed", "1234.56")
    await count(hass, "produced", "7.8")
    await automate(
        "monthly_bill",
        counters=["sensor.consumed", "sensor.produced"],
        reset="button.reset",
    )

    async def wait_for(day: int, hour: int) -> None:
        moment = datetime(2026, 4, day, hour, tzinfo=start.tzinfo)
        await wait((moment - dt_util.now()).total_seconds())

    return wait_for


async def test_counters_are_reported_and_then_reset(
    calls: list[ServiceCall], wait_for: WaitFor
) -> None:
    await wait_for(1, 0)
    message = "Flat 2 consumed: 1234.56 kWh\nFlat 2 produced: 7.8 kWh"
    assert calls[0].data["message"] == message
    assert called(calls) == [REPORTED, RESET]


async def test_nothing_happens_on_other_days(
    calls: list[ServiceCall], wait_for: WaitFor
) -> None:
    await wait_for(1, 0)
    assert called(calls) == [REPORTED, RESET]
    for day in range(2, 31):
        await wait_for(day, 0)
    assert called(calls) == []


async def test_offline_meter_is_waited_for(
    hass: HomeAssistant, calls: list[ServiceCall], wait_for: WaitFor
) -> None:
    await count(hass, "produced", "unavailable")
    await wait_for(1, 0)
    await wait_for(1, 23)
    assert called(calls) == []
    await count(hass, "produced", "8.0")
    assert called(calls) == [REPORTED, RESET]


async def test_meter_that_is_offline_for_a_day_keeps_its_counters(
    hass: HomeAssistant, calls: list[ServiceCall], wait_for: WaitFor
) -> None:
    await count(hass, "produced", "unavailable")
    await wait_for(1, 0)
    await wait_for(2, 1)
    await count(hass, "produced", "8.0")
    assert called(calls) == []


async def test_counters_that_were_not_reported_are_not_reset(
    hass: HomeAssistant, calls: list[ServiceCall], wait_for: WaitFor
) -> None:
    @callback
    def fail(call: ServiceCall) -> None:
        calls.append(call)
        msg = "Nobody listens"
        raise HomeAssistantError(msg)

    hass.services.async_register("notify", "persistent_notification", fail)
    await wait_for(1, 0)
    assert called(calls) == [REPORTED]
