"""Somebody who is logged in to a Home Assistant."""

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

# The day that the Energy dashboard shows has some hours at any time of the day.
HOUR_OF_THE_DAY = 15
# For a slow machine, in milliseconds: a page that is there is seen at once.
PATIENCE = 60_000


@dataclass(frozen=True)
class Visitor:
    """A user who comes in the afternoon, wherever that is."""

    url: str
    token: str
    time_zone: str

    @classmethod
    async def of(cls, hass: HomeAssistant, hour: datetime) -> Self:
        """Return one of a Home Assistant that was just started, in its time zone."""
        # It outlasts the tests, unlike the login.
        token = await hass.command(
            type="auth/long_lived_access_token", client_name="Tests", lifespan=1
        )
        hass.headers["Authorization"] = f"Bearer {token}"
        zone = _zone_where_it_is(HOUR_OF_THE_DAY, hour)
        await hass.command(type="config/core/update", time_zone=zone, language="en")
        return cls(hass.url, token, zone)


def full_hour() -> datetime:
    """Return when this hour began."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _zone_where_it_is(hour: int, now: datetime) -> str:
    """Return the name of a time zone in which it is this hour of the day."""
    east = (hour - now.hour + 12) % 24 - 12
    # What POSIX counts is how far west a zone is.
    return f"Etc/GMT{-east:+d}"


@asynccontextmanager
async def visit(
    browser: Browser, visitor: Visitor, language: str, camera: Camera | None
) -> AsyncIterator[Frontend]:
    """Log in to a Home Assistant with a new page."""
    context = await browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        device_scale_factor=1,
        locale=language,
        timezone_id=visitor.time_zone,
        reduced_motion="reduce",
        # It loads all of the frontend for later, and there is no later.
        service_workers="block",
    )
    context.set_default_timeout(PATIENCE)
    stored = {
        "hassTokens": login(visitor),
        "selectedLanguage": language,
        # A narrow one: the page is what matters.
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


def login(visitor: Visitor) -> dict[str, object]:
    """Return what the frontend keeps about a user who is logged in."""
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
