"""Writes, commits and tags a version. Needs only git, and Python 3.11 or newer."""

from datetime import UTC, datetime
import json
from pathlib import Path
import re
import subprocess
import sys

MANIFEST = Path("custom_components/socomec_countis/manifest.json")
CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "Unreleased"
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def git(*arguments: str) -> str:
    """Return the output of a git command.

    Raises `CalledProcessError` if the command fails.
    """
    done = subprocess.run(  # noqa: S603
        ["git", *arguments],  # noqa: S607
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version. End the program if it is not like 1.2.3."""
    match = VERSION.fullmatch(version)
    if match is None:
        sys.exit(f"{version} is not a version like 1.2.3.")
    return tuple(map(int, match.groups()))


def current_version() -> str:
    """Return the version in the manifest."""
    return str(json.loads(MANIFEST.read_text())["version"])


def notes(name: str) -> str:
    """Return the section of a version, or of UNRELEASED, in the changelog.

    Ends the program if the section is missing or empty.
    """
    section = re.search(
        rf"^## \[{re.escape(name)}\][^\n]*\n(.*?)(?=^## |\Z)",
        CHANGELOG.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    if section is None or not section[1].strip():
        sys.exit(f"{CHANGELOG} has no section [{name}], or the section is empty.")
    return section[1].strip()


def release(version: str) -> None:
    """Write, commit and tag a version.

    Ends the program without a change if the version cannot be released.
    """
    previous = current_version()
    if numbers(version) <= numbers(previous):
        sys.exit(f"{version} is not newer than {previous}.")
    if git("status", "--porcelain"):
        sys.exit("There are changes that are not committed.")
    if git("tag", "--list", version):
        sys.exit(f"There is a tag {version} already.")
    notes(UNRELEASED)  # ends the program if there is nothing to release

    # Replace the version as text, so that the format of the file remains.
    manifest = MANIFEST.read_text()
    MANIFEST.write_text(
        manifest.replace(f'"version": "{previous}"', f'"version": "{version}"')
    )
    heading = f"## [{UNRELEASED}]"
    dated = f"{heading}\n\n## [{version}] - {datetime.now(UTC):%Y-%m-%d}"
    CHANGELOG.write_text(CHANGELOG.read_text().replace(heading, dated, 1))
    git("add", str(MANIFEST), str(CHANGELOG))
    git("commit", "--message", f"Release {version}")
    git("tag", "--annotate", "--message", f"Release {version}", version)
    print(f"To publish {version}: git push origin HEAD {version}")


def check(version: str) -> None:
    """Print the section of a version in the changelog.

    Ends the program if the manifest has another version, or the version has no section.
    """
    numbers(version)  # ends the program if the version is not like 1.2.3
    if (found := current_version()) != version:
        sys.exit(f"The manifest has the version {found}, and the tag has {version}.")
    print(notes(version))
