"""The user of a new Home Assistant, and the login."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
import json
from pathlib import Path

from aiohttp import ClientError

from tools.errors import ToolError

from .client import POLL_SECONDS, HomeAssistant

USERNAME = PASSWORD = "demo"  # noqa: S105
START_TIMEOUT = 120  # s; a first start on a slow machine compiles all modules
LOGIN_SECONDS = 20 * 60  # s between two logins; an access token is valid for 30 min

# The steps of the onboarding that are stored as done. Otherwise, the step core_config
# would set up integrations that the tools do not need: weather, radio stations,
# text-to-speech and a shopping list.
SKIPPED_STEPS = ["core_config", "analytics", "integration"]
ONBOARDING_VERSION = 4  # of the file format: the first version with these steps


def skip_onboarding(config: Path) -> None:
    """Mark all steps of the onboarding as done, except the creation of the user.

    If the state of the onboarding is already stored, it is not changed.
    """
    storage = config / ".storage"
    storage.mkdir(parents=True, exist_ok=True)
    onboarding = storage / "onboarding"
    if not onboarding.exists():
        stored = {
            "version": ONBOARDING_VERSION,
            "key": onboarding.name,
            "data": {"done": SKIPPED_STEPS},
        }
        onboarding.write_text(json.dumps(stored))


async def async_has_user(
    hass: HomeAssistant, process: asyncio.subprocess.Process
) -> bool:
    """Wait until Home Assistant responds, and return whether it has a user.

    Raises `ToolError` if Home Assistant ends, or does not respond within
    `START_TIMEOUT`.
    """
    url = hass.url + "/api/onboarding"
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while process.returncode is None:
                with suppress(ClientError):
                    async with hass.session.get(url) as response:
                        # If the onboarding was done before the start, this path does
                        # not exist.
                        if response.status == HTTPStatus.NOT_FOUND:
                            return True
                        # `skip_onboarding` has marked all other steps as done, so only
                        # the creation of the user may be missing.
                        steps = await response.json()
                        return all(step["done"] for step in steps)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        msg = f"Home Assistant does not respond after {START_TIMEOUT} s"
    else:
        msg = f"Home Assistant ended with exit code {process.returncode}"
    raise ToolError(msg)


async def async_create_user(hass: HomeAssistant) -> None:
    """Create the user of a new Home Assistant, and log in."""
    client_id = hass.url + "/"
    user = {"name": "Demo", "username": USERNAME, "password": PASSWORD}
    response = await hass.request(
        "POST",
        "/api/onboarding/users",
        json={"client_id": client_id, **user, "language": "en"},
    )
    await _async_use_code(hass, response["auth_code"])


async def async_log_in(hass: HomeAssistant) -> None:
    """Log in for half an hour.

    Raises `ToolError` if the user name or the password was changed.
    """
    client_id = hass.url + "/"
    hass.headers.clear()
    flow = await hass.request(
        "POST",
        "/auth/login_flow",
        json={
            "client_id": client_id,
            "handler": ["homeassistant", None],
            "redirect_uri": client_id,
        },
    )
    result = await hass.request(
        "POST",
        f"/auth/login_flow/{flow['flow_id']}",
        json={"client_id": client_id, "username": USERNAME, "password": PASSWORD},
    )
    if result["type"] != "create_entry":
        msg = (
            f"Home Assistant does not accept the user {USERNAME} with the password"
            f" {PASSWORD}"
        )
        raise ToolError(msg)
    await _async_use_code(hass, result["result"])


async def _async_use_code(hass: HomeAssistant, code: str) -> None:
    """Get an access token with an authorisation code, and use it from now on."""
    token = await hass.request(
        "POST",
        "/auth/token",
        data={
            "client_id": hass.url + "/",
            "grant_type": "authorization_code",
            "code": code,
        },
    )
    hass.headers["Authorization"] = f"Bearer {token['access_token']}"
