"""A user who is logged in to Home Assistant, with a page of the frontend."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
import json
import time
from typing import Self

from playwright.async_api import Browser

from tools.home_assistant import HomeAssistant

from .camera import HEIGHT, WIDTH, Camera
from .frontend import Frontend
from .texts import Texts

# The time zone of the user is chosen so that this is the local hour when the tests
# start. In the afternoon, the Energy dashboard shows several hours of the day.
HOUR_OF_THE_DAY = 15
PAGE_TIMEOUT = 60_000  # ms; a page of the frontend loads slowly on a slow machine


@dataclass(frozen=True)
class Visitor:
    """A user in a time zone in which the local hour is `HOUR_OF_THE_DAY`."""

    url: str
    token: str
    time_zone: str

    @classmethod
    async def of(cls, hass: HomeAssistant, now: datetime) -> Self:
        """Return the logged-in user of a new Home Assistant, with a token for one day.

        Sets the time zone and the language of Home Assistant, and the token of `hass`.
        """
        # The access token of the login expires before the end of the tests. The token
        # below expires after one day.
        token = await hass.command(
            type="auth/long_lived_access_token", client_name="Tests", lifespan=1
        )
        hass.headers["Authorization"] = f"Bearer {token}"
        zone = _time_zone_at(HOUR_OF_THE_DAY, now)
        await hass.command(type="config/core/update", time_zone=zone, language="en")
        return cls(hass.url, token, zone)


def full_hour() -> datetime:
    """Return the start of the present hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _time_zone_at(hour: int, now: datetime) -> str:
    """Return the name of a time zone whose local hour is `hour` at `now` (UTC)."""
    east = (hour - now.hour + 12) % 24 - 12  # hours; from -12 to 11
    # As in POSIX, the number is positive west of Greenwich.
    return f"Etc/GMT{-east:+d}"


@asynccontextmanager
async def visit(
    browser: Browser, visitor: Visitor, language: str, camera: Camera | None
) -> AsyncIterator[Frontend]:
    """Yield a new page on which the user is logged in."""
    context = await browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        device_scale_factor=1,
        locale=language,
        timezone_id=visitor.time_zone,
        reduced_motion="reduce",
        # The service worker would load all files of the frontend in advance.
        service_workers="block",
    )
    context.set_default_timeout(PAGE_TIMEOUT)
    stored = {
        "hassTokens": stored_login(visitor),
        "selectedLanguage": language,
        # The narrow sidebar leaves more space for the page.
        "dockedSidebar": "auto",
    }
    await context.add_init_script(
        "".join(
            f"localStorage.setItem({key!r}, {json.dumps(json.dumps(value))});"
            for key, value in stored.items()
        )
    )
    yield Frontend(await context.new_page(), visitor.url, Texts(language), camera)
    await context.close()


def stored_login(visitor: Visitor) -> dict[str, object]:
    """Return the data that the frontend stores after a login."""
    seconds = 24 * 60 * 60
    return {
        "hassUrl": visitor.url,
        "clientId": f"{visitor.url}/",
        "token_type": "Bearer",
        "access_token": visitor.token,
        "refresh_token": "",
        "expires_in": seconds,
        "expires": int((time.time() + seconds) * 1000),
    }
