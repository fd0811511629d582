"""Starts Home Assistant with the integration, and logs in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import os
from pathlib import Path
import sys

from aiohttp import ClientSession

from tools import paths
from tools.errors import ToolError
from tools.paths import DOMAIN

from .client import POLL_SECONDS, HomeAssistant
from .login import (
    START_TIMEOUT,
    async_create_user,
    async_has_user,
    async_log_in,
    skip_onboarding,
)
from .process import run_program

LOG_NAME = "home-assistant.log"
# The folder of the modules that replace two packages, because the installation of
# these packages needs a compiler. Home Assistant imports the packages at each start,
# but the tools never use them.
STUBS = Path(__file__).parent / "stubs"

# If Home Assistant has stored no TCP port, it takes the port from this environment
# variable. A port in configuration.yaml is deprecated, and would create an issue.
PORT_VARIABLE = "SETUP_PORT"
# ISO 3166; without a country, Home Assistant creates an issue. Our choice: the country
# of the manufacturer.
COUNTRY = "FR"

# The levels `critical` and `error` suppress reports of missing programs and libraries
# for videos, pictures of cameras, and faster compression. The tools need none of them.
CONFIGURATION = """\
# Written at each start. Make your own changes in the user interface.
config:
energy:
frontend:
history:
logbook:
my:
automation: !include automations.yaml
script: !include scripts.yaml
scene: !include scenes.yaml
logger:
  default: warning
  logs:
    custom_components.socomec_countis: info
    haffmpeg: critical
    homeassistant.components.camera.img_util: critical
    aiohttp_fast_zlib: error
"""
# The user interface stores automations, scripts and scenes in these files.
INCLUDED = ("automations.yaml", "scripts.yaml", "scenes.yaml")


def link_integration(config: Path) -> None:
    """Link the integration of this checkout into a configuration folder."""
    components = config / "custom_components"
    components.mkdir(parents=True, exist_ok=True)
    link = components / DOMAIN
    if not link.is_symlink():
        link.symlink_to(paths.ROOT / "custom_components" / DOMAIN)


def home_assistant_command(config: Path) -> list[str | Path]:
    """Return the command that runs Home Assistant."""
    return [sys.executable, "-m", "homeassistant", "--skip-pip", "--config", config]


def home_assistant_environment() -> dict[str, str]:
    """Return the environment variables for `home_assistant_command`."""
    return {**os.environ, "PYTHONPATH": str(STUBS)}


def write_configuration(config: Path) -> None:
    """Create or update a configuration folder."""
    link_integration(config)
    (config / "configuration.yaml").write_text(CONFIGURATION)
    for name in INCLUDED:
        path = config / name
        if not path.exists():
            path.write_text("")
    skip_onboarding(config)
    # Home Assistant stores its port in this file. Without the file, it uses the port
    # in `PORT_VARIABLE`.
    (config / ".storage" / "http").unlink(missing_ok=True)


@asynccontextmanager
async def run_home_assistant(folder: Path, port: int) -> AsyncIterator[HomeAssistant]:
    """Start Home Assistant on a TCP port, log in, and stop it when the context ends.

    The configuration and the log (`LOG_NAME`) are stored in `folder`. Raises
    `ToolError` if Home Assistant does not start, or refuses the login.
    """
    config = folder / "config"
    write_configuration(config)
    async with (
        run_program(
            home_assistant_command(config),
            folder / LOG_NAME,
            env={**home_assistant_environment(), PORT_VARIABLE: str(port)},
        ) as process,
        ClientSession() as session,
    ):
        hass = HomeAssistant(session, f"http://localhost:{port}")
        is_new = not await async_has_user(hass, process)
        await (async_create_user if is_new else async_log_in)(hass)
        if is_new:
            zone = {"time_zone": name} if (name := time_zone()) else {}
            await hass.command(type="config/core/update", country=COUNTRY, **zone)
        yield hass


async def async_wait_until_running(hass: HomeAssistant) -> None:
    """Wait until Home Assistant has started. Then hide issues of other integrations.

    So the page of repairs shows only the issues of this integration. Raises `ToolError`
    if Home Assistant has not started after `START_TIMEOUT`.
    """
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                config = await hass.command(type="get_config")
                if config["state"] == "RUNNING":
                    break
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        msg = f"Home Assistant did not finish its start within {START_TIMEOUT} s"
        raise ToolError(msg) from None
    issues = await hass.command(type="repairs/list_issues")
    for issue in issues["issues"]:
        if issue["domain"] != DOMAIN:
            await hass.command(
                type="repairs/ignore_issue",
                domain=issue["domain"],
                issue_id=issue["issue_id"],
                ignore=True,
            )


def time_zone() -> str | None:
    """Return the name of this machine's time zone, or None if it is unknown."""
    folder, found = Path("/usr/share/zoneinfo"), Path("/etc/localtime").resolve()
    return str(found.relative_to(folder)) if found.is_relative_to(folder) else None
