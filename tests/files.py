"""Paths and texts of the integration, for tests that read its files."""

import json
from pathlib import Path
from typing import Any

from custom_components.socomec_countis.binary_sensor import ONLINE, PHASES
from custom_components.socomec_countis.button import BUTTONS
from custom_components.socomec_countis.const import DOMAIN, SUBENTRY_METER
from custom_components.socomec_countis.demand_sensor import (
    PEAK_DEMANDS,
    RUNNING_DEMAND,
)
from custom_components.socomec_countis.select import DEMAND_PERIOD, TARIFF
from custom_components.socomec_countis.sensor import SENSORS
from custom_components.socomec_countis.wiring_sensor import WIRING
import homeassistant.components
from homeassistant.helpers.entity import EntityDescription

ROOT = Path(__file__).parent.parent
INTEGRATION = ROOT / "custom_components" / DOMAIN
SOURCES = "\n".join(path.read_text() for path in INTEGRATION.rglob("*.py"))
CORE = Path(next(iter(homeassistant.components.__path__)))
"""Folder with the integrations of Home Assistant."""

DESCRIPTIONS: dict[str, tuple[EntityDescription, ...]] = {
    "binary_sensor": (ONLINE, *PHASES),
    "button": BUTTONS,
    "select": (TARIFF, DEMAND_PERIOD),
    "sensor": (*SENSORS, *RUNNING_DEMAND, *PEAK_DEMANDS, WIRING),
}
"""By platform: the descriptions of the entities."""


def load(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text())


TEXTS = load(INTEGRATION / "translations" / "en.json")
METER_TEXTS = TEXTS["config_subentries"][SUBENTRY_METER]
"""The texts of the dialogs of a meter."""
