"""Adapts the test package for newer versions of Home Assistant.

The test package is for the oldest supported version. pytest loads this module first.
"""

# The test package imports these modules before Home Assistant, because they patch Home
# Assistant. Home Assistant 2026.11 must also be imported before httpx.
from pytest_homeassistant_custom_component import (  # noqa: F401
    patch_json,
    patch_recorder,
    patch_time,
)

from homeassistant.components import logger
from homeassistant.components.logger import helpers

# In Home Assistant 2026.11, only the module `helpers` has this function.
logger._clear_logger_overwrites = helpers._clear_logger_overwrites  # type: ignore[attr-defined]  # noqa: SLF001
