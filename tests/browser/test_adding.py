"""Adding a meter through the dialogs, and moving one."""

from playwright.async_api import expect
import pytest

from .camera import DIALOG
from .frontend import Frontend
from .home import Home, title
from .texts import LANGUAGES, Texts


def label(texts: Texts, field: str) -> str:
    """Return the label of a field of the form for a serial port."""
    return texts(f"config.step.serial.data.{field}")


async def start(frontend: Frontend) -> None:
    """Start to add a meter on a serial port."""
    await frontend.add_integration()
    menu = frontend.step("menu")
    await expect(menu).to_contain_text(frontend.texts("config.step.user.description"))
    await frontend.picture("add-meter", width=DIALOG, height=400)
    await frontend.choose(frontend.texts("config.step.user.menu_options.serial"))


async def fill_in(frontend: Frontend, port: str, address: int) -> None:
    """Fill in where the meter is."""
    await frontend.fill_port(label(frontend.texts, "device"), port)
    await frontend.fill(label(frontend.texts, "address"), str(address))


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_a_meter_is_added_through_the_dialogs(
    home: Home, frontend: Frontend
) -> None:
    await home.forget_meters()
    await start(frontend)
    await frontend.select(label(frontend.texts, "baudrate"), "9600")
    await fill_in(frontend, home.line, 1)
    await frontend.picture("serial-port", width=DIALOG, height=960)
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_contain_text("COUNTIS E33")
    await frontend.submit()
    await expect(frontend.flow).to_be_hidden()
    (entry,) = await home.entries()
    assert (entry["title"], entry["state"]) == (title(1), "loaded")


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_a_set_up_that_fails_says_why_and_can_be_corrected(
    home: Home, frontend: Frontend
) -> None:
    await home.forget_meters()
    await start(frontend)
    await fill_in(frontend, home.line, 99)
    await frontend.submit()
    await expect(frontend.error).to_have_text(
        frontend.texts.pattern("config.error.no_answer")
    )
    await expect(frontend.error).to_contain_text(home.line)
    await expect(frontend.error).to_contain_text("99")
    await frontend.picture("no-answer", width=DIALOG, height=1060)
    assert await home.entries() == []
    await frontend.fill(label(frontend.texts, "address"), "1")
    await frontend.submit()
    await expect(frontend.step("create-entry")).to_be_visible()
    assert [entry["title"] for entry in await home.entries()] == [title(1)]


@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
async def test_reconfiguring_takes_the_same_meter_and_no_other(
    home: Home, frontend: Frontend
) -> None:
    texts = frontend.texts
    await home.have_meters(1, language=texts.language)
    step = "config.step.reconfigure"
    await frontend.start_from_menu(title(1), "reconfigure")
    await frontend.choose(texts(f"{step}.menu_options.reconfigure_serial"))
    await frontend.fill(texts(f"{step}_serial.data.address"), "2")
    await frontend.submit()
    await expect(frontend.error).to_have_text(
        frontend.texts.pattern("config.error.another_meter")
    )
    await frontend.fill(texts(f"{step}_serial.data.address"), "1")
    await frontend.submit()
    await expect(frontend.step("abort")).to_have_text(
        frontend.texts("config.abort.reconfigure_successful")
    )
    await home.hass.async_settled()
    assert await home.states() == ["loaded"]
