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

type SetForecast = Callable[[float | str], Awaitable[None]]
type WaitMinutes = Callable[[float], Awaitable[None]]


@pytest.fixture
async def switched(
    hass: HomeAssistant, automate: Automate, freezer: FrozenDateTimeFactory
) -> list[str]:
    """Create the automation, and return the list of the loads that it switches.

    "+switch.car" is a load that was turned on, "-switch.car" one that was turned off.
    At `START`, all loads have been on for an hour, so the pause of 90 s between two
    switched loads has ended. A period begins at `START`, so the automation switches
    nothing in the first 3 minutes.
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
        limit=5000,  # W
        reserve=2000,  # W
        loads=list(LOADS),
        first_minutes=3,
        pause=90,  # s
    )
    return switched


@pytest.fixture
def set_forecast(hass: HomeAssistant) -> SetForecast:
    """Return a function that sets the forecast of the running quarter-hour.

    The forecast is a power in W, or a state such as "unknown".
    """

    async def set_forecast(watts: float | str) -> None:
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

    return set_forecast


@pytest.fixture
def wait_minutes(wait: Wait) -> WaitMinutes:
    """Return a function that lets minutes pass in steps of 30 s."""

    async def wait_minutes(number: float) -> None:
        for _ in range(int(2 * number)):
            await wait(30)

    return wait_minutes


async def test_loads_are_turned_off_in_the_order_of_the_list(
    switched: list[str], set_forecast: SetForecast, wait_minutes: WaitMinutes
) -> None:
    await wait_minutes(4)
    assert switched == []
    await set_forecast(5100)
    assert switched == [f"-{BOILER}"]
    # The next load is turned off after the pause of 90 s.
    await wait_minutes(1)
    assert switched == [f"-{BOILER}"]
    await wait_minutes(1)
    assert switched == [f"-{BOILER}", f"-{HEATER}"]
    await wait_minutes(4)
    assert switched == [f"-{BOILER}", f"-{HEATER}", f"-{CHARGER}"]


async def test_loads_are_turned_on_in_reverse_order_below_limit_minus_reserve(
    switched: list[str], set_forecast: SetForecast, wait_minutes: WaitMinutes
) -> None:
    await wait_minutes(4)
    await set_forecast(6000)
    await wait_minutes(2)
    assert switched == [f"-{BOILER}", f"-{HEATER}"]
    switched.clear()
    # Another load of 2000 W would raise the forecast to the limit of 5000 W.
    await set_forecast(3000)
    await wait_minutes(6)
    assert switched == []
    await set_forecast(2900)
    assert switched == [f"+{HEATER}"]
    # The boiler follows after the pause of 90 s. Then all loads are on, so the low
    # forecast switches nothing, not even in the next period (12:15).
    await wait_minutes(2)
    await set_forecast(2900)
    await wait_minutes(2)
    await set_forecast(2950)
    await wait_minutes(2)
    assert switched == [f"+{HEATER}", f"+{BOILER}"]


async def test_forecast_between_the_thresholds_switches_nothing(
    hass: HomeAssistant,
    switched: list[str],
    set_forecast: SetForecast,
    wait_minutes: WaitMinutes,
) -> None:
    # One load is off and two are on, so a load could be turned on, or turned off.
    await set_state(hass, HEATER, "off")
    await wait_minutes(4)
    # In W; the thresholds are 3000 W (limit minus reserve) and 5000 W (limit).
    for watts in (3000, 5000, 4000):
        await set_forecast(watts)
        await wait_minutes(2)
    assert switched == []


@pytest.mark.parametrize("first_state", ["unknown", "unavailable", 1000])
async def test_nothing_is_switched_in_the_first_minutes_of_a_period(
    switched: list[str], set_forecast: SetForecast, wait: Wait, first_state: float | str
) -> None:
    await set_forecast(first_state)
    await wait(1)
    await set_forecast(9000)
    await wait(170)
    # 171 s of the first 3 minutes have passed.
    assert switched == []
    await wait(60)
    assert switched == [f"-{BOILER}"]


@pytest.mark.parametrize("state", ["unknown", "unavailable"])
async def test_nothing_is_switched_while_the_forecast_is_not_known(
    switched: list[str],
    set_forecast: SetForecast,
    wait_minutes: WaitMinutes,
    state: str,
) -> None:
    await wait_minutes(4)
    await set_forecast(9000)
    await set_forecast(state)
    switched.clear()
    await wait_minutes(20)
    assert switched == []


async def test_load_that_is_unavailable_is_left_out(
    hass: HomeAssistant,
    switched: list[str],
    set_forecast: SetForecast,
    wait_minutes: WaitMinutes,
) -> None:
    await set_state(hass, BOILER, "unavailable")
    await wait_minutes(4)
    await set_forecast(9000)
    await wait_minutes(1)
    assert switched == [f"-{HEATER}"]


async def test_load_that_a_user_turned_off_stays_off(
    hass: HomeAssistant,
    switched: list[str],
    set_forecast: SetForecast,
    wait_minutes: WaitMinutes,
) -> None:
    hass.states.async_set(CHARGER, "off", context=Context(user_id="someone"))
    await settle()
    await wait_minutes(4)
    await set_forecast(9000)
    await wait_minutes(1)
    await set_forecast(500)
    await wait_minutes(9)
    assert switched == [f"-{BOILER}", f"+{BOILER}"]


async def test_load_that_is_off_but_was_not_turned_off_by_a_user_is_turned_on(
    hass: HomeAssistant,
    switched: list[str],
    set_forecast: SetForecast,
    wait_minutes: WaitMinutes,
) -> None:
    await set_state(hass, HEATER, "off")
    await wait_minutes(4)
    await set_forecast(500)
    await wait_minutes(1)
    assert switched == [f"+{HEATER}"]


async def test_demand_of_a_house_stays_below_the_limit(
    hass: HomeAssistant,
    switched: list[str],
    set_forecast: SetForecast,
    wait: Wait,
) -> None:
    """Simulate two hours of a house: 2000 W, plus 2000 W for each load that is on."""
    demands: list[float] = []  # W
    energy = 0.0  # Ws in the present period
    recent_watts = [2000.0]  # in each of the last two steps
    for step in range(2 * 120):  # steps of 30 s
        loads_on = sum(hass.states.is_state(load, "on") for load in LOADS)
        watts = 2000 + 2000 * loads_on
        energy += watts * 30
        recent_watts = [*recent_watts, watts][-2:]
        await wait(30)
        passed = (step + 1) % 30 * 30  # s of the present period of 900 s
        if not passed:
            demands.append(energy / 900)
            energy = 0
        mean = sum(recent_watts) / len(recent_watts)
        await set_forecast(round((energy + mean * (900 - passed)) / 900))
    assert len(demands) == 8  # quarter-hours
    assert max(demands) < 5000
    # With all loads, the house uses 8000 W, so two loads are turned off at first. Then
    # at most one load per period is switched.
    assert len(switched) <= 2 + len(demands)
