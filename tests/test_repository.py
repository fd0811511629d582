"""Workflows, issue templates, requirements and changelog of the repository."""

from importlib.metadata import requires, version
from pathlib import Path
import re
from typing import Any

from awesomeversion import AwesomeVersion
import pytest
import yaml

from .files import CORE, INTEGRATION, ROOT, load

GITHUB = ROOT / ".github"
TEMPLATES = sorted(
    path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml"
)


def workflow(name: str) -> Any:
    """Return the content of a workflow file."""
    return yaml.safe_load((GITHUB / "workflows" / name).read_text())


# -- supported versions of Home Assistant ------------------------------------------


def test_oldest_supported_home_assistant_is_tested() -> None:
    package = "pytest-homeassistant-custom-component"
    requirements = (ROOT / "requirements_test.txt").read_text()
    assert f"{package}=={version(package)}\n" in requirements
    (tested,) = (
        requirement.removeprefix("homeassistant==")
        for requirement in requires(package) or ()
        if requirement.startswith("homeassistant==")
    )
    oldest = load(ROOT / "hacs.json")["homeassistant"]
    # Compare year and month. The number of the patch release may differ.
    assert tested.rpartition(".")[0] == oldest.rpartition(".")[0]


def test_modbus_packages_have_the_versions_that_home_assistant_requires() -> None:
    required = {
        match[1]: match[3]
        for requirement in load(CORE / "modbus" / "manifest.json")["requirements"]
        if (match := re.fullmatch(r"([\w-]+)(\[\w+\])?==([\d.]+)", requirement))
    }
    assert {"modbus-connection", "tmodbus"} <= required.keys()
    assert {package: version(package) for package in required} == required


def test_workflow_tests_each_version_that_has_a_requirements_file() -> None:
    prefix = "requirements_test"
    # `requirements_test.txt` is for the oldest version, which is "" in the workflow.
    versions = {
        path.stem.removeprefix(prefix).removeprefix("_")
        for path in ROOT.glob(f"{prefix}*.txt")
    }
    test = workflow("test.yml")["jobs"]["test"]
    assert set(test["strategy"]["matrix"]["home-assistant"]) == versions


# -- workflows ---------------------------------------------------------------------


def test_commands_of_the_workflows_exist() -> None:
    commands = "\n".join(
        step["run"]
        for path in (GITHUB / "workflows").iterdir()
        for job in workflow(path.name)["jobs"].values()
        for step in job["steps"]
        if "run" in step
    )
    scripts = set(re.findall(r"(?:\./|python )(scripts/[\w.-]+)", commands))
    assert {"scripts/test", "scripts/release"} <= scripts
    modules = re.findall(r"python -m (tools[\w.]*)", commands)
    for path in (*scripts, *(name.replace(".", "/") for name in modules)):
        assert (ROOT / path).exists(), path


def test_workflow_runs_hassfest_and_hacs() -> None:
    jobs = workflow("validate.yml")["jobs"].values()
    used = {step["uses"].partition("@")[0] for job in jobs for step in job["steps"]}
    assert {"home-assistant/actions/hassfest", "hacs/action"} <= used


# -- issue templates and changelog -------------------------------------------------


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_issue_template_is_valid_and_requires_diagnostics(path: Path) -> None:
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


def test_versions_of_the_changelog_are_in_order_below_unreleased() -> None:
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    released = [AwesomeVersion(heading) for heading in headings[1:]]
    assert released == sorted(set(released), reverse=True)
    newest = AwesomeVersion(load(INTEGRATION / "manifest.json")["version"])
    assert all(each <= newest for each in released)
