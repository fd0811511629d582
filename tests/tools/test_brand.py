"""The pictures of the integration follow the rules of Home Assistant."""

from PIL import Image
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from homeassistant.components.brands.const import ALLOWED_IMAGES
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from tools.brand.pictures import pictures
from tools.paths import DOMAIN, ROOT

BRAND = ROOT / "custom_components" / DOMAIN / "brand"
PICTURES = sorted(ALLOWED_IMAGES)


def test_every_picture_that_home_assistant_allows_exists() -> None:
    assert sorted(path.name for path in BRAND.iterdir()) == PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_picture_has_the_required_size(name: str) -> None:
    scale = 2 if "@2x" in name else 1
    with Image.open(BRAND / name) as picture:
        if "icon" in name:
            assert picture.size == (256 * scale, 256 * scale)
        else:
            assert 128 * scale <= min(picture.size) <= 256 * scale
            assert picture.width > picture.height


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_transparent_and_has_no_empty_margin(name: str) -> None:
    with Image.open(BRAND / name) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGBA"
        alpha = picture.getchannel("A")
    assert alpha.getpixel((0, 0)) == 0
    # The box around all visible pixels is the whole picture.
    assert alpha.getbbox() == (0, 0, *alpha.size)


@pytest.mark.parametrize("name", [name for name in PICTURES if "@2x" not in name])
def test_2x_picture_has_twice_the_size(name: str) -> None:
    path = BRAND / name.replace(".png", "@2x.png")
    with Image.open(BRAND / name) as small, Image.open(path) as large:
        # The width of each picture is rounded up to whole pixels.
        assert abs(large.width - 2 * small.width) <= 1
        assert large.height == 2 * small.height


@pytest.mark.parametrize("name", [name for name in PICTURES if "dark" in name])
def test_pictures_for_dark_and_light_backgrounds_differ(name: str) -> None:
    light = BRAND / name.removeprefix("dark_")
    assert light.read_bytes() != (BRAND / name).read_bytes()


def test_stored_pictures_are_up_to_date() -> None:
    drawn = pictures()
    assert sorted(drawn) == PICTURES
    for name, picture in drawn.items():
        with Image.open(BRAND / name) as stored:
            assert stored.size == picture.size
            assert stored.tobytes() == picture.tobytes(), name


@pytest.mark.parametrize("name", PICTURES)
async def test_home_assistant_responds_with_the_picture(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, name: str
) -> None:
    assert await async_setup_component(hass, "brands", {})
    client = await hass_client()
    response = await client.get(f"/api/brands/integration/{DOMAIN}/{name}")
    assert await response.read() == (BRAND / name).read_bytes()
