"""One Home Assistant and one browser for all tests here, and a page for each."""

from collections.abc import AsyncGenerator
from pathlib import Path
import subprocess

from playwright.async_api import Browser, async_playwright, expect
import pytest
import pytest_asyncio
import pytest_socket

from tools.paths import ROOT

from .camera import Camera
from .frontend import Frontend
from .home import Home, running_home
from .visitor import PATIENCE, visit

HERE = Path(__file__).parent
NO_BROWSER = (
    "there is no Chromium on this machine (./scripts/browser --install installs one)"
)
TIMEOUT = 300


def _find_browser() -> str | None:
    found = subprocess.run(  # noqa: S603
        [ROOT / "scripts" / "browser"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else None


BROWSER = _find_browser()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for pictures."""
    parser.addoption(
        "--screenshots",
        action="store_true",
        help="let the tests in the browser renew the pictures in docs/images",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: on one worker, with patience, and only with a browser."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.timeout(TIMEOUT))
            # Home Assistant, the browser and the tests share one loop.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if BROWSER is None:
                item.add_marker(pytest.mark.skip(reason=NO_BROWSER))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if BROWSER is None:
        terminalreporter.section("Left out")
        terminalreporter.line(f"The tests in a browser, as {NO_BROWSER}:")
        terminalreporter.line("./scripts/test tests/browser runs them.")


@pytest.fixture
def _custom_integrations() -> None:
    """Do without a Home Assistant in the test's own process."""


@pytest.fixture(autouse=True)
def verify_cleanup() -> None:
    """Let Home Assistant and the browser run on when a test ends."""


def open_network() -> None:
    """Undo what Home Assistant's test tools close before each test."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"])


@pytest.fixture(autouse=True)
def _network() -> None:
    """Let a test reach Home Assistant."""
    open_network()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Home]:
    """Return a Home Assistant beside a line with two meters."""
    open_network()
    async with running_home(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncGenerator[Browser]:
    """Return a headless Chromium."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=BROWSER,
            # It does not work for root, nor in most containers.
            args=["--no-sandbox"],
        )
        yield chromium
        await chromium.close()


@pytest.fixture
def language(request: pytest.FixtureRequest) -> str:
    """Return the user's language; a test names others as its parameter."""
    wanted: str = getattr(request, "param", "en")
    return wanted


@pytest_asyncio.fixture(loop_scope="session")
async def frontend(
    home: Home, browser: Browser, language: str, pytestconfig: pytest.Config
) -> AsyncGenerator[Frontend]:
    """Return a new page of a user who is logged in."""
    # Other languages are for the tests, the pictures for the documentation.
    pictures = wants_pictures(pytestconfig) and language == "en"
    camera = Camera(home.line) if pictures else None
    async with visit(browser, home.visitor, language, camera) as page:
        yield page


def wants_pictures(config: pytest.Config) -> bool:
    """Return whether the tests take the pictures of the documentation."""
    return bool(config.getoption("--screenshots", default=False))
