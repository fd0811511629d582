"""What an electrician does: find the meters of a line, check one, exchange one."""

import asyncio

from playwright.async_api import expect
import pytest

from .camera import DIALOG
from .frontend import Frontend
from .home import WORKSHOP, Home, title

SEARCH = {"width": DIALOG, "height": 470}


async def start_search(home: Home, frontend: Frontend) -> None:
    """Search all addresses with known settings, until the meters are found."""
    await home.forget_meters()
    texts = frontend.texts
    await frontend.add_integration()
    await frontend.choose(texts("config.step.user.menu_options.find"))
    await frontend.choose(texts("config.step.find.menu_options.find_serial"))
    label = "config.step.find_serial.data"
    await frontend.fill_port(texts(f"{label}.device"), home.line)
    await frontend.select(texts(f"{label}.baudrate"), "9600")
    await frontend.select(
        texts(f"{label}.parity"), texts("selector.parity.options.none")
    )
    await frontend.select(texts(f"{label}.stopbits"), "1")
    await frontend.submit()
    (found,) = [
        line.removesuffix("{found}")
        for line in texts("config.progress.search").splitlines()
        if line.endswith("{found}")
    ]
    await expect(frontend.step("progress")).to_contain_text(f"{found}3")


async def test_a_search_that_is_stopped_keeps_what_it_has_found(
    home: Home, frontend: Frontend
) -> None:
    await start_search(home, frontend)
    await frontend.picture("find-meters", **SEARCH)
    await frontend.close()
    await frontend.add_discovered(title(WORKSHOP))
    await expect(frontend.step("form")).to_be_visible()
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    assert [entry["title"] for entry in await home.entries()] == [title(WORKSHOP)]


async def test_the_meters_of_a_line_are_found_and_added(
    home: Home, frontend: Frontend
) -> None:
    if frontend.camera is None:
        pytest.skip("a whole search takes a minute, so only pictures are worth it")
    await start_search(home, frontend)
    listed = frontend.step("form")
    for address in (1, 2, WORKSHOP):
        await expect(listed).to_contain_text(home.serial_number(address))
    await frontend.picture("found-meters", **SEARCH)
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    while len(await home.entries()) < 3:
        await asyncio.sleep(0.2)
    assert {entry["title"] for entry in await home.entries()} == {
        title(address) for address in (1, 2, WORKSHOP)
    }


async def test_the_tariff_is_chosen_on_the_page_of_the_meter(
    home: Home, frontend: Frontend
) -> None:
    await home.have_meters(WORKSHOP)
    await frontend.open_device(await home.device_id())
    tariff = frontend.row(frontend.texts("entity.select.tariff.name"))
    await tariff.locator("ha-select").click()
    option = tariff.locator("ha-dropdown-item").get_by_text(
        frontend.texts("entity.select.tariff.state.2"), exact=True
    )
    await expect(option).to_be_visible()
    await frontend.picture("tariff", width=844, height=560)
    await option.click()
    while home.meter(WORKSHOP).counters.tariff != 2:
        await asyncio.sleep(0.2)


async def test_a_reversed_current_is_found_by_the_wiring_check(
    home: Home, frontend: Frontend
) -> None:
    await home.have_meters(WORKSHOP)
    await frontend.open_device(await home.device_id())
    await frontend.press(frontend.texts("entity.button.check_wiring.name"))
    notifications = await frontend.show_notifications()
    finding = frontend.texts("exceptions.wiring_current_reversed.message")
    await expect(notifications).to_contain_text(finding.format(code=1, phase="L1"))
    await frontend.picture("check-wiring", width=500, height=480)


async def test_an_exchanged_meter_is_told_and_can_be_accepted(
    home: Home, frontend: Frontend
) -> None:
    await home.have_meters(WORKSHOP)
    before = home.meter(WORKSHOP).serial
    home.meter(WORKSHOP).serial = (0x1526, 0x0120, 42)
    (entry,) = await home.entries()
    await home.hass.request(
        "POST", f"/api/config/config_entries/entry/{entry['entry_id']}/reload"
    )
    issue = "issues.another_meter"
    menu = f"{issue}.fix_flow.step.init.menu_options.confirm"
    names = {"name": title(WORKSHOP), "found": home.serial_number(WORKSHOP)}
    await frontend.start_repair(frontend.texts(f"{issue}.title").format(**names))
    await expect(frontend.step("menu")).to_contain_text(names["found"])
    await frontend.picture("another-meter", width=DIALOG, height=420)
    await frontend.choose(frontend.texts(menu).format(**names))
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    while await home.states() != ["loaded"]:
        await asyncio.sleep(0.2)
    home.meter(WORKSHOP).serial = before
    await home.forget_meters()
