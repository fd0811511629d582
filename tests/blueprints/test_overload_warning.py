"""Each phase that carries too much current is reported."""

import pytest

from homeassistant.core import HomeAssistant, ServiceCall

from .common import Automate, Wait, become, record


async def carry(hass: HomeAssistant, phase: int, amperes: str) -> None:
    """Let a phase carry a current."""
    await become(
        hass,
        f"sensor.current_l{phase}",
        amperes,
        friendly_name=f"Current L{phase}",
        unit_of_measurement="A",
    )


@pytest.fixture
async def calls(hass: HomeAssistant, automate: Automate) -> list[ServiceCall]:
    """Return what is called, all phases being below the limit."""
    calls = record(hass, "notify.persistent_notification")
    for phase in (1, 2, 3):
        await carry(hass, phase, "12.0")
    await automate(
        "overload_warning",
        currents=[f"sensor.current_l{phase}" for phase in (1, 2, 3)],
        limit=20,
        seconds=30,
    )
    return calls


def warned(calls: list[ServiceCall]) -> list[str]:
    """Return the phases that were reported since the last call."""
    phases = [call.data["message"].partition(":")[0] for call in calls]
    calls.clear()
    return phases


async def test_phase_above_the_limit_is_reported_after_a_while(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await carry(hass, 2, "20.1")
    await wait(28)
    assert calls == []
    await carry(hass, 2, "24.5")
    await wait(2)
    (call,) = calls
    assert call.data["message"] == "Current L2: 24.5 A, more than 20 A."


async def test_short_peak_is_no_overload(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await carry(hass, 1, "60.0")
    await wait(20)
    await carry(hass, 1, "19.0")
    await wait(60)
    assert calls == []


async def test_each_phase_is_reported_by_itself(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await carry(hass, 1, "21.0")
    await wait(15)
    await carry(hass, 3, "22.0")
    await wait(15)
    assert warned(calls) == ["Current L1"]
    await wait(15)
    assert warned(calls) == ["Current L3"]


async def test_phase_is_reported_once_until_it_was_below_the_limit(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    await carry(hass, 1, "21.0")
    await wait(30)
    assert warned(calls) == ["Current L1"]
    await carry(hass, 1, "23.0")
    await wait(120)
    assert warned(calls) == []
    await carry(hass, 1, "19.0")
    await carry(hass, 1, "21.0")
    await wait(30)
    assert warned(calls) == ["Current L1"]
