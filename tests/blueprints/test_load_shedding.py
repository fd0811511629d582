"""The blueprint *Load shedding* keeps the demand of each period below a limit."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from freezegun.api import FrozenDateTimeFactory
import pytest

from homeassistant.core import Context, HomeAssistant, ServiceCall, callback
from homeassistant.util import dt as dt_util

from .common import Automate, Wait, set_state, settle

FORECAST = "sensor.demand_forecast"
BOILER, HEATER, CHARGER = LOADS = (
    "switch.boiler",
    "input_boolean.heater",
    "switch.car",
)
START = datetime(2026, 6, 10, 12, tzinfo=dt_util.UTC)

type Forecast = Callable[[float | str], Awaitable[None]]
type Minutes = Callable[[float], Awaitable[None]]


@pytest.fixture
async def switched(
    hass: HomeAssistant, automate: Automate, freezer: FrozenDateTimeFactory
) -> list[str]:
    """Return the list of switched loads, such as "+switch.car". All loads are on.

    A load changes its state when it is switched. The loads have been on for an hour.
    """
    freezer.move_to(START - timedelta(hours=1))
    switched: list[str] = []

    @callback
    def switch(call: ServiceCall) -> None:
        (load,) = call.data["entity_id"]
        is_on = call.service == "turn_on"
        switched.append(f"{'+' if is_on else '-'}{load}")
        hass.states.async_set(load, "on" if is_on else "off", context=call.context)

    for action in ("turn_on", "turn_off"):
        hass.services.async_register("homeassistant", action, switch)
    for load in LOADS:
        await set_state(hass, load, "on")
    freezer.move_to(START)
    await set_state(hass, FORECAST, "unknown")
    await automate(
        "load_shedding",
        forecast=FORECAST,
        limit=5000,
        reserve=2000,
        loads=list(LOADS),
        first_minutes=3,
        pause=90,
    )
    return switched


@pytest.fixture
def forecast(hass: HomeAssistant) -> Forecast:
    """Return a function that sets the forecast of the running quarter-hour."""

    async def forecast(watts: float | str) -> None:
        now = dt_util.utcnow()
        begin = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        await set_state(
            hass,
            FORECAST,
            str(watts),
            unit_of_measurement="W",
            period_begin=begin,
            period_end=begin + timedelta(minutes=15),
        )

    return forecast


@pytest.fixture
def minutes(wait: Wait) -> Minutes:
    """Return a function that lets minutes pass in steps of 30 s."""

    async def minutes(number: float) -> None:
        for _ in range(int(2 * number)):
            await wait(30)

    return minutes


async def test_loads_are_turned_off_in_the_order_of_the_list(
    switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    await minutes(4)
    assert switched == []
    await forecast(5100)
    assert switched == [f"-{BOILER}"]
    await minutes(1)
    assert switched == [f"-{BOILER}"]
    await minutes(1)
    assert switched == [f"-{BOILER}", f"-{HEATER}"]
    await minutes(4)
    assert switched == [f"-{BOILER}", f"-{HEATER}", f"-{CHARGER}"]


async def test_loads_are_turned_on_in_reverse_order_below_limit_minus_reserve(
    switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    await minutes(4)
    await forecast(6000)
    await minutes(2)
    assert switched == [f"-{BOILER}", f"-{HEATER}"]
    switched.clear()
    # With a further load of 2000 W, the forecast could exceed the limit again.
    await forecast(3000)
    await minutes(6)
    assert switched == []
    await forecast(2900)
    assert switched == [f"+{HEATER}"]
    # The next period begins.
    await minutes(2)
    await forecast(2900)
    await minutes(2)
    await forecast(2950)
    await minutes(2)
    assert switched == [f"+{HEATER}", f"+{BOILER}"]


async def test_forecast_between_the_thresholds_switches_nothing(
    switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    await minutes(4)
    for watts in (3000, 5000, 4000):
        await forecast(watts)
        await minutes(2)
    assert switched == []


@pytest.mark.parametrize("first_state", ["unknown", "unavailable", 1000])
async def test_nothing_is_switched_in_the_first_minutes_of_a_period(
    switched: list[str], forecast: Forecast, wait: Wait, first_state: float | str
) -> None:
    await forecast(first_state)
    await wait(1)
    await forecast(9000)
    await wait(170)
    assert switched == []
    await wait(60)
    assert switched == [f"-{BOILER}"]


@pytest.mark.parametrize("state", ["unknown", "unavailable"])
async def test_nothing_is_switched_while_the_forecast_is_not_known(
    switched: list[str], forecast: Forecast, minutes: Minutes, state: str
) -> None:
    await minutes(4)
    await forecast(9000)
    await forecast(state)
    switched.clear()
    await minutes(20)
    assert switched == []


async def test_load_that_is_unavailable_is_left_out(
    hass: HomeAssistant, switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    await set_state(hass, BOILER, "unavailable")
    await minutes(4)
    await forecast(9000)
    await minutes(1)
    assert switched == [f"-{HEATER}"]


async def test_load_that_a_user_turned_off_stays_off(
    hass: HomeAssistant, switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    hass.states.async_set(CHARGER, "off", context=Context(user_id="someone"))
    await settle()
    await minutes(4)
    await forecast(9000)
    await minutes(1)
    await forecast(500)
    await minutes(9)
    assert switched == [f"-{BOILER}", f"+{BOILER}"]


async def test_load_that_is_off_at_the_start_is_turned_on(
    hass: HomeAssistant, switched: list[str], forecast: Forecast, minutes: Minutes
) -> None:
    await set_state(hass, HEATER, "off")
    await minutes(4)
    await forecast(500)
    await minutes(1)
    assert switched == [f"+{HEATER}"]


async def test_demand_of_a_house_stays_below_the_limit(
    hass: HomeAssistant,
    switched: list[str],
    forecast: Forecast,
    wait: Wait,
    freezer: FrozenDateTimeFactory,
) -> None:
    """A house of 2000 W with three loads of 2000 W each, for two hours."""
    demands: list[float] = []
    energy, recent = 0.0, [2000.0]
    for step in range(2 * 120):
        is_on = [hass.states.is_state(load, "on") for load in LOADS]
        watts = 2000 + 2000 * sum(is_on)
        energy += watts * 30
        recent = [*recent, watts][-2:]
        await wait(30)
        passed = (step + 1) % 30 * 30
        if not passed:
            demands.append(energy / 900)
            energy = 0
        mean = sum(recent) / len(recent)
        await forecast(round((energy + mean * (900 - passed)) / 900))
    assert len(demands) == 8
    assert max(demands) < 5000
    # At most one load changes from period to period.
    assert len(switched) <= 2 + len(demands)
