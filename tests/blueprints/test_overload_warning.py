"""The blueprint *Overload warning* reports each phase with too much current."""

import pytest

from homeassistant.core import HomeAssistant, ServiceCall

from .common import Automate, Wait, record_calls, set_state


async def set_current(hass: HomeAssistant, phase: int, amperes: str) -> None:
    """Set the state of the current sensor of a phase, in A."""
    await set_state(
        hass,
        f"sensor.current_l{phase}",
        amperes,
        friendly_name=f"Current L{phase}",
        unit_of_measurement="A",
    )


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Run the blueprint with a limit of 20 A, and return its notifications.

    At first, the current of each phase is 12 A.
    """
    calls = record_calls(hass, "notify.persistent_notification")
    for phase in (1, 2, 3):
        await set_current(hass, phase, "12.0")
    await automate(
        "overload_warning",
        currents=[f"sensor.current_l{phase}" for phase in (1, 2, 3)],
        limit=20,
        seconds=30,
    )
    return calls


def take_reported_phases(calls: list[ServiceCall]) -> list[str]:
    """Return the phase of each notification, such as Current L1, and clear the list."""
    phases = [call.data["message"].partition(":")[0] for call in calls]
    calls.clear()
    return phases


async def test_phase_above_the_limit_is_reported_after_30_seconds(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_current(hass, 2, "20.1")
    await wait(28)
    assert calls == []
    # Another value above the limit does not restart the 30 s.
    await set_current(hass, 2, "24.5")
    await wait(2)
    (call,) = calls
    assert call.data["message"] == "Current L2: 24.5 A, more than 20 A."


async def test_short_peak_is_not_reported(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_current(hass, 1, "60.0")
    await wait(20)
    await set_current(hass, 1, "19.0")
    await wait(60)
    assert calls == []


async def test_each_phase_is_reported_separately(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_current(hass, 1, "21.0")
    await wait(15)
    await set_current(hass, 3, "22.0")
    await wait(15)
    assert take_reported_phases(calls) == ["Current L1"]
    await wait(15)
    assert take_reported_phases(calls) == ["Current L3"]


async def test_phase_is_reported_again_only_after_it_was_below_the_limit(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await set_current(hass, 1, "21.0")
    await wait(30)
    assert take_reported_phases(calls) == ["Current L1"]
    await set_current(hass, 1, "23.0")
    await wait(120)
    assert take_reported_phases(calls) == []
    await set_current(hass, 1, "19.0")
    await set_current(hass, 1, "21.0")
    await wait(30)
    assert take_reported_phases(calls) == ["Current L1"]
