"""The start and the end of the demo."""

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
import fcntl
from pathlib import Path
import signal
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tools.demo import run
from tools.demo.__main__ import main
from tools.demo.arguments import parse_arguments
from tools.demo.progress import INTERRUPTED, Progress
from tools.errors import ToolError


@pytest.fixture
def _restored_signal_handlers() -> Generator[None]:
    """Restore the signal handlers that `run_demo` replaces."""
    handlers = {
        each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)
    }
    yield
    for each, handler in handlers.items():
        signal.signal(each, handler)


class InterruptedImport(ModuleType):
    """A module whose import a user interrupts with Ctrl-C."""

    def __getattr__(self, name: str) -> object:
        """Raise the exception of Ctrl-C when `run_demo` is imported."""
        raise KeyboardInterrupt if name == "run_demo" else AttributeError(name)


def test_interrupt_during_the_imports_ends_the_demo_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.setitem(sys.modules, run.__name__, InterruptedImport(run.__name__))
    assert main() == INTERRUPTED
    captured = capsys.readouterr()
    assert captured.err == ""
    first, *_, last = captured.out.splitlines()
    assert first.endswith("Loading the packages of Home Assistant")
    assert last == "Stopped before Home Assistant has started."


@pytest.mark.usefixtures("_restored_signal_handlers")
def test_error_of_a_second_demo_does_not_advise_deleting_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "DEMO_FOLDER", tmp_path)
    (tmp_path / "simulated").mkdir()
    with (tmp_path / "simulated" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run.run_demo(parse_arguments([]), Progress()) == 1
    assert capsys.readouterr().err == "The demo is already running with the same data\n"


async def test_home_assistant_stops_before_the_simulated_meters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = []

    def fake_program(name: str) -> Callable[..., AbstractAsyncContextManager[object]]:
        """Return a function whose context adds `name` to `stopped` when it ends."""

        @asynccontextmanager
        async def running(folder: Path, number: int) -> AsyncIterator[object]:
            try:
                yield SimpleNamespace(url="")
            finally:
                stopped.append(name)

        return running

    async def fail(hass: object) -> None:
        """End the demo after both programs have started."""
        raise ToolError

    monkeypatch.setattr(run, "free_port", int)  # returns the wanted port
    monkeypatch.setattr(run, "run_home_assistant", fake_program("Home Assistant"))
    monkeypatch.setattr(run, "run_simulated_bus", fake_program("simulator"))
    # No code of this test uses the two histories, so their values do not matter.
    monkeypatch.setattr(run, "histories_before", lambda moment, noon: [moment, noon])
    monkeypatch.setattr(run, "async_wait_until_running", fail)
    with pytest.raises(ToolError):
        await run.async_demo(parse_arguments([]), tmp_path, Progress())
    assert stopped == ["Home Assistant", "simulator"]
