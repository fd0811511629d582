"""The page of the device of a meter."""

import re

from playwright.async_api import expect
import pytest

from simulator import Constant, Phase

from .camera import DEVICE_PAGE
from .frontend import Frontend
from .home import Home
from .texts import LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_device_page_shows_present_values(
    home: Home, frontend: Frontend, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entities,) = await home.set_up_meters(1, language=language)
    await frontend.open_device(await home.device_id())
    for key, entity_id in entities.items():
        platform = entity_id.split(".")[0]
        name = frontend.texts(f"entity.{platform}.{key}.name")
        await expect(frontend.row(name)).to_be_visible()
        # The sensor `wiring` is unknown until the wiring is checked.
        if platform == "sensor" and key != "wiring":
            await expect(frontend.row(name)).to_contain_text(re.compile(r"\d"))
    await frontend.picture("device", width=DEVICE_PAGE, height=1340)
    power = frontend.row(frontend.texts("entity.sensor.power.name"))
    await expect(power).to_contain_text(re.compile(r"\d\s?W\b"))
    # The simulated house itself never has a power of 12 340 W.
    load = Constant(Phase(12_340), Phase(0), Phase(0))
    monkeypatch.setattr(home.meter(1), "load", load)
    await expect(power).to_contain_text(re.compile(r"12\D?340\s?W\b"))


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_button_resets_partial_counters_but_no_total(
    home: Home, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.delete_buses()
    # Without a load, the counters do not change between the reads of the test.
    load = Constant(Phase(0), Phase(0), Phase(0))
    monkeypatch.setattr(home.meter(1), "load", load)
    home.meter(1).counters.partial_consumed = 345_678  # Wh
    (entities,) = await home.set_up_meters(1, language=frontend.texts.language)
    partial = entities["partial_energy_consumed"]
    before = await home.state(partial)
    total = await home.state(entities["energy_consumed"])
    await frontend.open_device(await home.device_id())
    name = frontend.texts("entity.sensor.partial_energy_consumed.name")
    await expect(frontend.row(name)).to_contain_text(frontend.texts.number(before))
    await frontend.press(frontend.texts("entity.button.reset_partial_counters.name"))
    await expect(frontend.row(name)).to_contain_text(re.compile(r"\b0([.,]\d+)?\s?kWh"))
    assert await home.state(partial) < 1 < before
    assert await home.state(entities["energy_consumed"]) >= total
