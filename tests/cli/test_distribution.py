"""Tests of the distribution: the wheel in an empty environment, with each client.

The library uses one of two Modbus clients: tmodbus or pymodbus.
"""

from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
import json
from pathlib import Path
import re
import subprocess
import sys
import tarfile
import venv
import zipfile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest

from simulator import Line
from tests.common import SERIAL

from .common import ROOT

LIBRARY = ROOT / "custom_components" / "socomec_countis" / "countis"


@pytest.fixture(scope="session")
def dist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and the sdist, and return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation, no package is downloaded.
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def wheel(dist_folder: Path) -> Path:
    """Return the wheel."""
    (path,) = dist_folder.glob("*.whl")
    return path


def required_distributions(
    installed: Distribution, extras: set[str]
) -> Iterator[Distribution]:
    """Yield the direct and indirect requirements of a distribution with extras."""
    seen: set[tuple[str, str]] = set()
    pending = [(installed, extra) for extra in {"", *extras}]
    while pending:
        current, extra = pending.pop()
        for text in current.requires or ():
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            for needed_extra in {"", *requirement.extras}:
                if (name, needed_extra) not in seen:
                    seen.add((name, needed_extra))
                    found = distribution(name)
                    assert requirement.specifier.contains(found.version), text
                    pending.append((found, needed_extra))
                    yield found


def install(wheel: Path, folder: Path, *extras: str) -> Path:
    """Install the wheel with its requirements only, and return the interpreter.

    The requirements are links to the packages in the environment of the tests.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)  # noqa: S202 (the tests built the wheel)
    (metadata,) = packages.glob("socomec_countis-*.dist-info")
    for each in required_distributions(PathDistribution(metadata), set(extras)):
        for file in each.files or ():
            top = file.parts[0]
            target = packages / top
            # Scripts are outside the folder of the packages, at "../".
            if top != ".." and not target.exists():
                target.symlink_to(str(each.locate_file(top)))
    return folder / "bin" / "python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter. It imports only packages of its own environment."""
    return subprocess.run(  # noqa: S603
        [python, "-I", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=python.parent,
    )


def example() -> str:
    """Return the Python example of cli/README.md."""
    text = (ROOT / "cli" / "README.md").read_text()
    match = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert match is not None
    return match[1]


def test_wheel_contains_the_library_and_the_command_line(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in LIBRARY.glob("*.py"):
        assert f"socomec_countis/{path.name}" in names
    assert {"socomec_countis/py.typed", "countis_cli/app.py"} <= names
    top = {name.split("/")[0] for name in names}
    assert {each for each in top if not each.endswith("dist-info")} == {
        "socomec_countis",
        "countis_cli",
    }


def test_files_of_the_wheel_match_the_integration(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in LIBRARY.glob("*.py"):
            content = archive.read(f"socomec_countis/{path.name}")
            assert content == path.read_bytes(), path


def test_version_of_wheel_and_sdist_matches_the_integration(dist_folder: Path) -> None:
    manifest = json.loads((LIBRARY.parent / "manifest.json").read_text())
    names = sorted(path.name for path in dist_folder.iterdir())
    assert names == [
        f"socomec_countis-{manifest['version']}-py3-none-any.whl",
        f"socomec_countis-{manifest['version']}.tar.gz",
    ]


def test_wheel_can_be_built_from_the_sdist(dist_folder: Path, tmp_path: Path) -> None:
    (sdist,) = dist_folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert "custom_components/socomec_countis/__init__.py" not in names
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", source],
        check=True,
        capture_output=True,
    )
    assert list((source / "dist").glob("*.whl"))


def test_description_of_the_wheel_is_the_readme(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    assert "Name: socomec-countis\n" in metadata
    assert (ROOT / "cli" / "README.md").read_text() in metadata


@pytest.mark.parametrize("client", ["tmodbus", "pymodbus"])
def test_installed_library_reads_a_meter(
    client: str, wheel: Path, line: Line, tmp_path: Path
) -> None:
    python = install(wheel, tmp_path / "env", client)
    source = (
        example()
        .replace("modbus_connection.tmodbus", f"modbus_connection.{client}")
        .replace("5", "1")  # unit ID
        .replace("/dev/ttyUSB0", line.port)
    )
    # The example is short: it has 10 lines, without the blank ones.
    assert len([row for row in source.splitlines() if row]) == 10
    result = run(python, "-c", source)
    # The phases of the simulated load have 1000 W, 500 W and -200 W.
    assert (result.stdout, result.returncode) == ("1300 W\n", 0), result.stderr
    other = {"tmodbus": "pymodbus", "pymodbus": "tmodbus"}[client]
    missing = run(python, "-c", f"import {other}")
    assert "ModuleNotFoundError" in missing.stderr


@pytest.mark.parametrize("client", ["tmodbus", "pymodbus"])
def test_installed_command_line_reads_a_meter(
    client: str, wheel: Path, line: Line, tmp_path: Path
) -> None:
    python = install(wheel, tmp_path / "env", "cli", client)
    if client == "pymodbus":
        # The extra `cli` also installs tmodbus. After tmodbus is removed, the command
        # line uses pymodbus.
        (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
        (packages / "tmodbus").unlink()
    options = ("--port", line.port, "--unit-id", "1", "--json")
    result = run(python, "-m", "countis_cli", "read", *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["serial_number"] == SERIAL
    assert result.stderr == ""


def test_command_line_without_its_packages_prints_what_to_install(
    wheel: Path, tmp_path: Path
) -> None:
    python = install(wheel, tmp_path / "env", "tmodbus")
    result = run(python, "-m", "countis_cli")
    assert result.returncode == 2
    assert result.stderr == (
        'The command line needs typer: install "socomec-countis[cli]".\n'
    )


def test_release_publishes_the_wheel_and_the_sdist() -> None:
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "python -m build\n" in workflow
    assert "socomec_countis.zip dist/*" in workflow
    (version,) = re.findall(r"pip install (build==\S+)", workflow)
    requirements = (ROOT / "requirements_test.txt").read_text().splitlines()
    assert version in requirements
