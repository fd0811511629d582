"""Stored gaps in the readings of meters.

The integration loads them when Home Assistant starts.
"""

import json
from pathlib import Path

from custom_components.socomec_countis.gap import STORAGE_VERSION, Gap
from tools.paths import DOMAIN


def store_gap(config: Path, subentry_id: str, gap: Gap) -> None:
    """Store the only gap of a meter in a configuration folder.

    A running Home Assistant does not find the file, because it lists the stored files
    only at its start.
    """
    key = f"{DOMAIN}.gaps.{subentry_id}"
    content = {
        "version": STORAGE_VERSION,
        "minor_version": 1,
        "key": key,
        "data": {"gaps": [gap.as_dict()], "corrected_at": {}, "unconfirmed": {}},
    }
    (config / ".storage" / key).write_text(json.dumps(content))
