"""Adapts pytest-homeassistant-custom-component for newer versions of Home Assistant.

The installed test package is made for the oldest supported version of Home Assistant.
pytest loads this module first.
"""

# These modules patch Home Assistant, so they must be imported before all other modules
# that import Home Assistant. Home Assistant 2026.11 also needs to be imported before
# httpx.
from pytest_homeassistant_custom_component import (  # noqa: F401
    patch_json,
    patch_recorder,
    patch_time,
)

from homeassistant.components import logger
from homeassistant.components.logger import helpers

# The test package imports this function from `logger`. In Home Assistant 2026.11, only
# the module `helpers` has it.
logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]  # noqa: SLF001
