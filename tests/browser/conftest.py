"""Fixtures: a Home Assistant and a browser for all tests, and a page for each test."""

from collections.abc import AsyncGenerator
from pathlib import Path
import signal
import subprocess

from playwright.async_api import Browser, async_playwright, expect
import pytest
import pytest_asyncio
import pytest_socket

from tools.paths import ROOT

from .camera import Camera
from .frontend import Frontend
from .home import Home, running_home
from .visitor import PAGE_TIMEOUT, visit

HERE = Path(__file__).parent
NO_BROWSER = (
    "there is no Chromium on this machine (./scripts/browser --install installs one)"
)
TEST_TIMEOUT = 300  # s; longer than for other tests, because pages load slowly


def _find_browser() -> str | None:
    """Return the path of a usable Chromium, None if there is none."""
    found = subprocess.run(  # noqa: S603
        [ROOT / "scripts" / "browser"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else None


BROWSER = _find_browser()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that takes the pictures of the documentation."""
    parser.addoption(
        "--screenshots",
        action="store_true",
        help="take the pictures in docs/images during the browser tests",
    )


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Run the tests of this folder in one event loop, for the session fixtures.

    If each test had its own loop, each would start its own Home Assistant and browser.
    pytest-asyncio reads the `asyncio` mark when it collects a test, so the mark is
    added before that.
    """
    if isinstance(collector, pytest.Module) and collector.path.is_relative_to(HERE):
        collector.add_marker(pytest.mark.asyncio(loop_scope="session"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in one worker, and with a longer timeout.

    Without a browser, the tests are skipped.
    """
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))
            if BROWSER is None:
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the tests that are skipped without a browser."""
    if BROWSER is None:
        terminalreporter.section("Skipped tests")
        terminalreporter.line(f"The tests in a browser, because {NO_BROWSER}.")
        terminalreporter.line("To run them: ./scripts/test tests/browser")


@pytest.fixture(autouse=True)
def verify_cleanup() -> None:
    """Disable the check that each test ends all tasks, because the browser stays open.

    This fixture replaces the check of `pytest_homeassistant_custom_component`.
    """


def open_network() -> None:
    """Allow local connections.

    `pytest_homeassistant_custom_component` forbids them before each test.
    """
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"])


@pytest.fixture(autouse=True)
def _network() -> None:
    """Allow a test to connect to Home Assistant."""
    open_network()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Home]:
    """Return a running Home Assistant with a simulated line."""
    # SIGTERM interrupts the tests as Ctrl-C does, so that Home Assistant is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    open_network()
    async with running_home(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncGenerator[Browser]:
    """Return a headless Chromium."""
    expect.set_options(timeout=PAGE_TIMEOUT)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=BROWSER,
            # The sandbox works neither for root nor in most containers.
            args=["--no-sandbox"],
        )
        yield chromium
        await chromium.close()


@pytest.fixture
def language(request: pytest.FixtureRequest) -> str:
    """Return the language of the user: English, or the parameter of the test."""
    code: str = getattr(request, "param", "en")
    return code


@pytest_asyncio.fixture(loop_scope="session")
async def frontend(
    home: Home, browser: Browser, language: str, pytestconfig: pytest.Config
) -> AsyncGenerator[Frontend]:
    """Return a new page with a user who is logged in."""
    # The pictures are for the documentation, which is in English.
    pictures = wants_pictures(pytestconfig) and language == "en"
    camera = Camera(home.port) if pictures else None
    async with visit(browser, home.visitor, language, camera) as page:
        yield page


def wants_pictures(config: pytest.Config) -> bool:
    """Return whether the tests take the pictures of the documentation."""
    return bool(config.getoption("--screenshots", default=False))
