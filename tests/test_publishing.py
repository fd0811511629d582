"""What hassfest and the HACS store check before they accept the integration."""

from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
import re
from typing import Any, get_args, get_type_hints
from urllib.parse import urlparse

from awesomeversion import AwesomeVersion, AwesomeVersionStrategy
import pytest
import yaml

from custom_components.socomec_countis.const import DOMAIN
import homeassistant.components
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers.selector import TargetSelector
from homeassistant.loader import Manifest, async_get_integration

from .test_files import INTEGRATION, ROOT, SOURCES, load

CORE = Path(next(iter(homeassistant.components.__path__)))
MANIFEST = load(INTEGRATION / "manifest.json")
# What is set up with every Home Assistant that has an integration with such a module.
EVERYWHERE = {*Platform, "diagnostics", "repairs", "system_health"}
GITHUB = ROOT / ".github"
TEMPLATES = sorted(
    path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml"
)


def iot_classes(described: dict[str, Any]) -> Iterator[str]:
    """Yield every class that an integration of Home Assistant has."""
    for key, value in described.items():
        if key == "iot_class" and value:
            yield value
        elif isinstance(value, dict):
            yield from iot_classes(value)


def test_the_manifest_begins_with_what_it_is_of() -> None:
    assert list(MANIFEST)[:2] == ["domain", "name"]


def test_the_manifest_has_what_is_asked_of_a_custom_integration() -> None:
    wanted = {"codeowners", "documentation", "domain", "issue_tracker", "name"}
    assert wanted | {"version"} <= MANIFEST.keys()
    for owner in MANIFEST["codeowners"]:
        assert re.fullmatch(r"@[\w-]+(/[\w-]+)?", owner)
    for key in ("documentation", "issue_tracker"):
        url = urlparse(MANIFEST[key])
        assert url.scheme == "https"
        assert url.netloc == "github.com"


def test_home_assistant_knows_every_key_of_the_manifest() -> None:
    assert MANIFEST.keys() <= Manifest.__annotations__.keys()


def test_no_action_filters_the_devices_of_its_target() -> None:
    # hassfest: "Services do not support device filters on target, use a device
    # selector instead".
    actions = yaml.safe_load((INTEGRATION / "services.yaml").read_text())
    for action, described in actions.items():
        assert described["target"].keys() == {"entity"}, action
        TargetSelector(described["target"])


def test_home_assistant_knows_the_kind_of_integration() -> None:
    kinds = get_args(get_type_hints(Manifest)["integration_type"])
    assert MANIFEST["integration_type"] in kinds
    described = load(CORE.parent / "generated" / "integrations.json")
    assert MANIFEST["iot_class"] in set(iot_classes(described))


def test_the_domain_is_not_one_of_home_assistant() -> None:
    assert not (CORE / DOMAIN).exists()


def test_the_version_is_one_that_home_assistant_can_compare() -> None:
    found = AwesomeVersion(MANIFEST["version"])
    assert found.strategy in (
        AwesomeVersionStrategy.SEMVER,
        AwesomeVersionStrategy.CALVER,
    )


def test_what_is_imported_from_other_integrations_is_a_dependency() -> None:
    used = set(re.findall(r"homeassistant\.components\.(\w+)", SOURCES))
    declared = {
        *MANIFEST.get("dependencies", []),
        *MANIFEST.get("after_dependencies", []),
    }
    assert used - EVERYWHERE <= declared
    assert declared <= {path.name for path in CORE.iterdir()}


async def test_home_assistant_loads_it_with_all_that_it_depends_on(
    hass: HomeAssistant,
) -> None:
    integration = await async_get_integration(hass, DOMAIN)
    assert not integration.is_built_in
    assert integration.version == MANIFEST["version"]
    assert integration.has_branding
    assert integration.has_translations
    assert await integration.resolve_dependencies()


def test_the_tests_run_with_what_this_home_assistant_names() -> None:
    named = [
        re.fullmatch(r"([\w-]+)(\[\w+\])?==([\d.]+)", requirement)
        for requirement in load(CORE / "modbus" / "manifest.json")["requirements"]
    ]
    assert {match[1]: version(match[1]) for match in named if match} == {
        match[1]: match[3] for match in named if match
    }
    assert {"modbus-connection", "tmodbus"} <= {match[1] for match in named if match}


def test_the_oldest_home_assistant_that_is_promised_is_tested() -> None:
    package = "pytest-homeassistant-custom-component"
    requirements = (ROOT / "requirements_test.txt").read_text()
    assert f"{package}=={version(package)}\n" in requirements
    (pinned,) = (
        requirement.removeprefix("homeassistant==")
        for requirement in requires(package) or ()
        if requirement.startswith("homeassistant==")
    )
    wanted = load(ROOT / "hacs.json")["homeassistant"]
    assert pinned.rpartition(".")[0] == wanted.rpartition(".")[0]


def workflow(name: str) -> Any:
    """Read a workflow."""
    return yaml.safe_load((GITHUB / "workflows" / name).read_text())


def test_every_command_of_a_workflow_exists() -> None:
    commands = [
        step["run"]
        for path in (GITHUB / "workflows").iterdir()
        for job in workflow(path.name)["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    ours = re.findall(r"(?:\./|python )((?:\.ci|scripts)/[\w.-]+)", "\n".join(commands))
    assert "scripts/test" in ours
    assert "scripts/release.py" in ours
    for script in ours:
        assert (ROOT / script).is_file(), script


def test_hassfest_and_the_store_check_every_change() -> None:
    jobs = workflow("validate.yml")["jobs"].values()
    used = {step["uses"].partition("@")[0] for job in jobs for step in job["steps"]}
    assert {"home-assistant/actions/hassfest", "hacs/action"} <= used


def test_every_home_assistant_that_is_tested_here_is_tested_by_the_workflow() -> None:
    (job,) = workflow("test.yml")["jobs"].values()
    prefix = "requirements_test"
    tested = {
        path.stem.removeprefix(prefix).removeprefix("_")
        for path in ROOT.glob(f"{prefix}*.txt")
    }
    assert set(job["strategy"]["matrix"]["home-assistant"]) == tested


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_an_issue_cannot_be_told_without_diagnostics(path: Path) -> None:
    template = yaml.safe_load(path.read_text())
    assert template["name"]
    assert template["description"]
    for field in template["body"]:
        assert field["type"] in ("markdown", "textarea", "input")
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"]
    required = {
        field["id"]
        for field in template["body"]
        if field.get("validations", {}).get("required")
    }
    assert {"diagnostics", "meter"} <= required


def test_the_changelog_has_room_for_what_is_new_and_no_version_twice() -> None:
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    released = [AwesomeVersion(heading) for heading in headings[1:]]
    assert released == sorted(set(released), reverse=True)
    assert all(each <= AwesomeVersion(MANIFEST["version"]) for each in released)
