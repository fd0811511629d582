"""The `--help` of the tools and scripts."""

from pathlib import Path
import subprocess
import sys

import pytest

from tools.paths import ROOT

TOOLS = ("benchmark", "brand", "demo", "mutate", "release", "soak")


@pytest.mark.parametrize("tool", TOOLS)
def test_help_of_a_tool_needs_no_package(tool: str) -> None:
    done = subprocess.run(  # noqa: S603
        # With -S, Python does not import `site`, and finds no installed package.
        [sys.executable, "-S", "-m", f"tools.{tool}", "--help"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ./scripts/{tool} ")


@pytest.mark.parametrize(
    "script", sorted((ROOT / "scripts").iterdir()), ids=lambda script: script.name
)
def test_script_prints_its_usage(script: Path) -> None:
    done = subprocess.run(  # noqa: S603
        [script, "--help"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ./scripts/{script.name}")


def test_run_tool_needs_the_name_of_a_tool() -> None:
    done = subprocess.run(  # noqa: S603
        [ROOT / "scripts" / "run-tool"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.startswith("usage: ./scripts/run-tool NAME")


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_has_an_executable_script(tool: str) -> None:
    assert (ROOT / "scripts" / tool).stat().st_mode & 0o111
