"""Lets the test package, which is for the oldest Home Assistant, run with newer ones.

pytest loads this before that package.
"""

# What that package patches before anything of Home Assistant is imported. This also
# imports Home Assistant before anything imports httpx, as Home Assistant 2026.11 wants.
from pytest_homeassistant_custom_component import (  # noqa: F401
    patch_json,
    patch_recorder,
    patch_time,
)

from homeassistant.components import logger
from homeassistant.components.logger import helpers

# Home Assistant 2026.11 has it only where it is defined.
logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]  # noqa: SLF001
