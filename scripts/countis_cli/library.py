"""The meter library, loaded without the integration around it.

The library is the package `countis` inside the integration's package, and Python
imports the outer one first: `import custom_components.socomec_countis.countis` runs
the integration's `__init__`, which needs Home Assistant. The library itself needs
none. So it is loaded here from its folder, as a package `countis` of its own; its
modules know one another by relative imports and do not notice.
"""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import sys
from types import ModuleType
from typing import TYPE_CHECKING

NAME = "countis"
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "custom_components" / "socomec_countis" / NAME


def _load() -> ModuleType:
    spec = spec_from_file_location(
        NAME, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Before it runs: its modules import one another through this name.
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from custom_components.socomec_countis import countis
else:
    countis = _load()

__all__ = ["countis"]
