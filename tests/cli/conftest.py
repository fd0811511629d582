"""Fixtures of the tests of the command line."""

import pytest


@pytest.fixture
def _custom_integrations() -> None:
    """Replace the fixture that starts Home Assistant."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the options that the environment of the tests may contain."""
    for name in ("COUNTIS_PORT", "COUNTIS_TCP", "COUNTIS_RTU_OVER_TCP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
