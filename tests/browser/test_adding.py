"""The dialogs that add and change a bus and its meters, and that delete a meter."""

from playwright.async_api import expect
import pytest

from .camera import DEVICE_PAGE, DIALOG
from .frontend import Frontend
from .home import Home, title
from .texts import LANGUAGES, Texts

METER_TEXTS = "config_subentries.meter"  # path of the texts about a meter


def label(texts: Texts, field: str) -> str:
    """Return the label of a field of the form for a serial port."""
    return texts(f"config.step.serial.data.{field}")


async def start_adding(frontend: Frontend) -> None:
    """Start the dialog for a bus with a serial port."""
    await frontend.add_integration()
    menu = frontend.step("menu")
    await expect(menu).to_contain_text(frontend.texts("config.step.user.description"))
    await frontend.picture("add-meter", width=DIALOG, height=400)
    await frontend.choose(frontend.texts("config.step.user.menu_options.serial"))


async def fill_in(frontend: Frontend, port: str, unit_id: int) -> None:
    """Enter the port and the unit ID of a meter. Keep the suggested line settings."""
    await frontend.fill_port(label(frontend.texts, "device"), port)
    await frontend.fill(label(frontend.texts, "unit_id"), str(unit_id))


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_complete_form_adds_a_bus_with_its_meter(
    home: Home, frontend: Frontend
) -> None:
    await home.delete_buses()
    await start_adding(frontend)
    await frontend.fill_port(label(frontend.texts, "device"), home.port)
    await frontend.picture("serial-port", width=DIALOG, height=1000)
    await frontend.fill(label(frontend.texts, "unit_id"), "1")
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_contain_text("COUNTIS E33")
    await frontend.submit()
    await expect(frontend.flow).to_be_hidden()
    assert await home.entry_states() == ["loaded"]
    assert list(await home.meters()) == [title(1)]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_unused_unit_id_is_reported_with_a_menu_to_change_the_unit_id(
    home: Home, frontend: Frontend
) -> None:
    await home.delete_buses()
    await start_adding(frontend)
    await fill_in(frontend, home.port, 99)
    await frontend.submit()
    menu = frontend.step("menu")
    step = "config.step.no_response"
    await expect(menu).to_contain_text(
        frontend.texts(f"{step}.menu_option_descriptions.scan_bus")
    )
    await expect(menu).to_contain_text(home.port)
    await expect(menu).to_contain_text("99")
    await frontend.picture("no-answer", width=DIALOG, height=520)
    assert await home.entries() == []
    await frontend.choose(frontend.texts(f"{step}.menu_options.change"))
    await frontend.fill(label(frontend.texts, "unit_id"), "1")
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    assert list(await home.meters()) == [title(1)]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_meter_is_added_to_a_bus_and_deleted(
    home: Home, frontend: Frontend
) -> None:
    texts = frontend.texts
    await home.set_up_meters(1, language=texts.language)
    await frontend.add_meters()
    unit_id = texts(f"{METER_TEXTS}.step.user.data.unit_id")
    await frontend.fill(unit_id, "1")
    await frontend.submit()
    await expect(frontend.flow).to_contain_text(
        texts.pattern(f"{METER_TEXTS}.error.unit_id_in_use")
    )
    await frontend.fill(unit_id, "2")
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    await frontend.submit()
    await expect(frontend.flow).to_be_hidden()
    assert list(await home.meters()) == [title(1), title(2)]
    await home.hass.async_wait_for_values(2)  # meters
    await frontend.open_integration()
    for each in (1, 2):
        await expect(frontend.meter(title(each))).to_be_visible()
    await frontend.picture("bus", width=DEVICE_PAGE, height=860)
    await frontend.delete_meter(title(2))
    await expect(frontend.meter(title(2))).to_have_count(0)
    await expect(frontend.meter(title(1))).to_be_visible()
    assert list(await home.meters()) == [title(1)]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_bus_is_reconfigured_only_if_a_meter_responds(
    home: Home, frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = frontend.texts
    await home.set_up_meters(1, language=texts.language)
    step = "config.step.reconfigure"
    await frontend.reconfigure_bus(home.port)
    await frontend.choose(texts(f"{step}.menu_options.reconfigure_serial"))
    await expect(frontend.step("form")).to_be_visible()
    no_response = "config.step.no_response"
    with monkeypatch.context() as patched:
        patched.setattr(home.line, "cut", True)  # the meters do not respond
        await frontend.submit()
        await expect(frontend.step("menu")).to_contain_text(
            texts(f"{no_response}.menu_options.scan_bus")
        )
    await frontend.choose(texts(f"{no_response}.menu_options.change"))
    await frontend.submit()
    await expect(frontend.step("abort")).to_have_text(
        texts("config.abort.reconfigure_successful")
    )
    await home.hass.async_wait_for_values()
    assert await home.entry_states() == ["loaded"]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_meter_is_reconfigured_only_if_the_same_meter_responds(
    home: Home, frontend: Frontend
) -> None:
    texts = frontend.texts
    await home.set_up_meters(1, language=texts.language)
    unit_id = texts(f"{METER_TEXTS}.step.reconfigure.data.unit_id")
    await frontend.reconfigure_meter(title(1))
    await frontend.fill(unit_id, "2")
    await frontend.submit()
    await expect(frontend.error).to_have_text(
        texts.pattern(f"{METER_TEXTS}.error.another_meter")
    )
    await frontend.fill(unit_id, "1")
    await frontend.submit()
    # The text is not compared, because Home Assistant provides it.
    await expect(frontend.step("abort")).to_be_visible()
    await home.hass.async_wait_for_values()
    assert list(await home.meters()) == [title(1)]
