"""The scan of a bus, the wiring check, the tariff, and a meter that was replaced."""

import asyncio

from playwright.async_api import expect
import pytest

from .camera import DIALOG
from .frontend import Frontend
from .home import WORKSHOP, Home, title

SCAN_SIZE = {"width": DIALOG, "height": 470}  # of the pictures of a scan, in pixels


async def start_scan(home: Home, frontend: Frontend) -> None:
    """Start a scan with the suggested settings, and wait until it has found two meters.

    The scan of the other unit IDs continues.
    """
    await home.delete_buses()
    texts = frontend.texts
    await frontend.add_integration()
    await frontend.choose(texts("config.step.user.menu_options.serial"))
    await frontend.fill_port(texts("config.step.serial.data.device"), home.port)
    await frontend.submit()
    await expect(frontend.step("progress")).to_contain_text(title(2))


async def test_scan_continues_after_closing_its_dialog_and_leaving_the_page(
    home: Home, frontend: Frontend
) -> None:
    await start_scan(home, frontend)
    await frontend.picture("find-meters", **SCAN_SIZE)
    resume = frontend.texts("config.step.user.menu_options.resume")
    await frontend.close()
    await frontend.add_integration()
    await frontend.choose(resume)
    await expect(frontend.step("progress")).to_contain_text(title(2))
    # Leave the page instead of reloading it: after a reload of a page with an open
    # dialog, the next dialog does not always appear.
    await frontend.page.goto("about:blank")
    await frontend.add_integration()
    await frontend.choose(resume)
    await expect(frontend.step("form")).to_contain_text(home.serial_number(2))
    assert await home.entries() == []
    await frontend.close()


async def test_result_of_an_ended_scan_is_shown_by_a_new_dialog(
    home: Home, frontend: Frontend
) -> None:
    await start_scan(home, frontend)
    await frontend.close()
    await home.until_port_is_free()  # until the scan has ended
    await frontend.add_integration()
    await frontend.choose(frontend.texts("config.step.user.menu_options.resume"))
    await expect(frontend.step("form")).to_contain_text(home.serial_number(2))
    await frontend.close()


async def test_found_meters_are_selected_and_added(
    home: Home, frontend: Frontend
) -> None:
    await start_scan(home, frontend)
    listed = frontend.step("form")
    for unit_id in (1, 2, WORKSHOP):
        await expect(listed).to_contain_text(home.serial_number(unit_id))
    await frontend.picture("found-meters", **SCAN_SIZE)
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    assert await home.entry_states() == ["loaded"]
    assert list(await home.meters()) == [title(each) for each in (1, 2, WORKSHOP)]


async def test_tariff_is_selected_on_the_page_of_the_meter(
    home: Home, frontend: Frontend
) -> None:
    await home.set_up_meters(WORKSHOP)
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
    # The selection enabled the counter of the tariff. Home Assistant reloads the bus
    # half a minute after an entity is enabled, which would disturb the next test.
    await home.delete_buses()


async def test_wiring_check_reports_a_reversed_current(
    home: Home, frontend: Frontend
) -> None:
    await home.set_up_meters(WORKSHOP)
    await frontend.open_device(await home.device_id())
    await frontend.press(frontend.texts("entity.button.check_wiring.name"))
    sensor = "entity.sensor.wiring"
    wiring = frontend.row(frontend.texts(f"{sensor}.name"))
    for state in ("checking", "faulty"):
        await expect(wiring).to_contain_text(frontend.texts(f"{sensor}.state.{state}"))
    notifications = await frontend.show_notifications()
    finding = frontend.texts("exceptions.wiring_current_reversed.message")
    await expect(notifications).to_contain_text(finding.format(code=1, phase="L1"))
    await frontend.picture("check-wiring", width=500, height=480)


async def test_replaced_meter_is_reported_and_can_be_accepted(
    home: Home, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.set_up_meters(WORKSHOP)
    # Let another meter respond at the unit ID. The reload verifies the identity.
    monkeypatch.setattr(home.meter(WORKSHOP), "serial", (0x1526, 0x0120, 42))
    new_serial = home.serial_number(WORKSHOP)
    (entry,) = await home.entries()
    await home.hass.request(
        "POST", f"/api/config/config_entries/entry/{entry['entry_id']}/reload"
    )
    issue = "issues.another_meter"
    placeholders = {"name": title(WORKSHOP), "found": new_serial}
    await frontend.start_repair(frontend.texts(f"{issue}.title").format(**placeholders))
    await expect(frontend.step("form")).to_contain_text(new_serial)
    await frontend.picture("another-meter", width=DIALOG, height=560)
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    # The new meter has its own entities.
    while not await home.is_available(f"{new_serial}_power"):
        await asyncio.sleep(0.2)
    await home.delete_buses()
