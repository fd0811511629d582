"""Releases of versions in a new repository."""

from datetime import UTC, datetime
import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

from tools.paths import ROOT

MANIFEST = """{
  "domain": "socomec_countis",
  "codeowners": ["@socomec-countis"],
  "requirements": ["another-package==0.9.1"],
  "version": "0.9.1"
}
"""
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Something new.

## [0.9.1] - 2026-01-02

- Something old.
"""


class Repository:
    """A repository with a manifest and a changelog."""

    def __init__(self, path: Path) -> None:
        """Commit a first version."""
        self.path = path
        self.manifest = path / "custom_components/socomec_countis/manifest.json"
        self.manifest.parent.mkdir(parents=True)
        self.manifest.write_text(MANIFEST)
        self.changelog = path / "CHANGELOG.md"
        self.changelog.write_text(CHANGELOG)
        self.git("init", "--quiet")
        for name, value in (
            ("user.name", "Someone"),
            ("user.email", "someone@example.com"),
            ("commit.gpgsign", "false"),
            ("tag.gpgsign", "false"),
        ):
            self.git("config", name, value)
        self.commit()

    def git(self, *arguments: str) -> str:
        """Run git and return what it prints."""
        return subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=self.path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Everything")

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the release tool in the repository."""
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tools.release", *arguments],
            cwd=self.path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
        )

    def refusal(self, *arguments: str) -> str:
        """Run the tool, and return why it fails. Assert that it changes nothing."""
        before = self.git("log", "--format=%H"), self.git("status", "--porcelain")
        tags = self.git("tag")
        done = self.release(*arguments)
        assert done.returncode == 1
        after = self.git("log", "--format=%H"), self.git("status", "--porcelain")
        assert after == before
        assert self.git("tag") == tags
        return done.stderr.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a repository at version 0.9.1 with something to release."""
    return Repository(tmp_path)


@pytest.mark.parametrize("version", ["0.9.2", "0.10.0", "1.0.0"])
def test_release_is_written_committed_and_tagged(
    repository: Repository, version: str
) -> None:
    done = repository.release(version)
    assert done.returncode == 0, done.stderr
    assert json.loads(repository.manifest.read_text())["version"] == version
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert repository.changelog.read_text() == CHANGELOG.replace(
        "## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {today}\n"
    )
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("log", "-1", "--format=%s") == f"Release {version}"
    tagged = repository.git("rev-parse", f"{version}^{{commit}}")
    assert tagged == repository.git("rev-parse", "HEAD")


def test_release_changes_only_the_version_in_the_manifest(
    repository: Repository,
) -> None:
    repository.release("1.0.0")
    assert repository.manifest.read_text() == MANIFEST.replace(
        '"version": "0.9.1"', '"version": "1.0.0"'
    )


@pytest.mark.parametrize("name", ["CHANGELOG.md", "a new file"])
def test_release_with_an_uncommitted_change_is_refused(
    repository: Repository, name: str
) -> None:
    with (repository.path / name).open("a") as file:
        file.write("More.\n")
    assert repository.refusal("1.0.0") == "There are changes that are not committed."


@pytest.mark.parametrize("version", ["0.9.1", "0.9.0", "0.8.10"])
def test_version_that_is_not_newer_is_refused(
    repository: Repository, version: str
) -> None:
    assert repository.refusal(version) == f"{version} is not newer than 0.9.1."


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-beta", "1.00.0", "new"])
def test_text_that_is_not_a_version_is_refused(
    repository: Repository, version: str
) -> None:
    assert repository.refusal(version) == f"{version} is not a version like 1.2.3."


def test_version_that_is_tagged_is_refused(
    repository: Repository,
) -> None:
    repository.git("tag", "1.0.0")
    assert repository.refusal("1.0.0") == "There is a tag 1.0.0 already."


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## [Unreleased]", "## [Future]"),
        ("### Added\n\n- Something new.\n\n", ""),
    ],
)
def test_changelog_without_unreleased_changes_is_refused(
    repository: Repository, old: str, new: str
) -> None:
    repository.changelog.write_text(CHANGELOG.replace(old, new))
    repository.commit()
    assert "no section [Unreleased]" in repository.refusal("1.0.0")


def test_check_of_a_tag_prints_its_section_of_the_changelog(
    repository: Repository,
) -> None:
    repository.release("1.0.0")
    done = repository.release("--check", "1.0.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "### Added\n\n- Something new.\n"


def test_check_can_print_the_last_section_of_the_changelog(
    repository: Repository,
) -> None:
    assert repository.release("--check", "0.9.1").stdout == "- Something old.\n"


def test_check_of_a_tag_fails_if_the_manifest_has_another_version(
    repository: Repository,
) -> None:
    reason = repository.refusal("--check", "1.0.0")
    assert reason == "The manifest has the version 0.9.1, and the tag has 1.0.0."


def test_check_of_a_tag_without_a_section_fails(repository: Repository) -> None:
    repository.changelog.write_text(CHANGELOG.replace("0.9.1", "0.9.0"))
    assert "no section [0.9.1]" in repository.refusal("--check", "0.9.1")
