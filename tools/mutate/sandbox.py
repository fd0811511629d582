"""Runs tests on a changed copy of the repository, in a process forked for each mutant.

The parent process imports all modules that the tests import, except those of the
repository. A child process then begins its first test after about 0.2 s. In a child,
the import of the library does not import the integration around it, and Home Assistant
is not started.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
import gc
import importlib
import math
import os
from pathlib import Path
import pickle
import shutil
import signal
import sys
import time
import traceback
from types import CodeType, ModuleType

import hypothesis
import pytest

from .mutants import Mutant
from .targets import ROOT

# The parts of the repository that the tests use.
COPIED = ("custom_components", "simulator", "tests", "pyproject.toml")
PACKAGES = ("custom_components", "custom_components.socomec_countis")
"""Packages that a child process replaces by empty ones, so that they import nothing."""

IMPORT_SECONDS = 1.0  # s; normal time until the first test begins, with a margin
LONGEST_TEST = 1.0  # s; slower tests are left out, to save time
# The time limit of a test: its normal duration times the first number, plus the second
# number in s. A test that takes longer is assumed to be in an endless loop. Other
# processes delay a test, so the limit of real time is higher.
PROCESSOR_LIMIT = (4, 2.0)
REAL_LIMIT = (50, 30.0)

# The exit code of a process in which the mutation test itself fails. Pytest uses the
# exit codes from 0 to 5.
TOOL_FAILED = 70
# Pytest's exit codes if a test fails, if the import of a test file fails, and if the
# import of conftest.py fails.
KILLED_CODES = (
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.USAGE_ERROR,
)
# Pytest's exit codes if all tests pass, and if the tests do not exist any more, because
# the mutant changes their parameters.
SURVIVED_CODES = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class Outcome(StrEnum):
    """The result of the tests of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"


@dataclass
class Baseline:
    """The results of the tests of the unchanged file."""

    seconds: dict[str, float] = field(default_factory=dict)
    """The processor time in s of each test that passes, by its node ID.

    Tests that take longer than `LONGEST_TEST` are left out.
    """
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The lines of the file that each test executes. The key "" is for the import."""
    skipped: set[str] = field(default_factory=set)
    """The tests that do not pass, such as tests with fixtures of Home Assistant."""
    modules: list[str] = field(default_factory=list)
    """The modules from outside the copy of the repository, in order of import."""
    killed: dict[str, int] = field(default_factory=dict)
    """The line number of the last mutant that each test killed, by its node ID."""

    def tests_of(self, lines: range) -> list[str]:
        """Return the tests that may depend on these lines.

        The tests that have killed a mutant are first, sorted by the distance between
        its line and these lines. The other tests follow, sorted by their duration.
        """
        tests = set(self.seconds)
        # If the import executes one of these lines, each test may depend on it.
        if self.lines[""].isdisjoint(lines):
            tests = {test for test in tests if not self.lines[test].isdisjoint(lines)}

        def order(test: str) -> tuple[float, float]:
            line = self.killed.get(test, math.inf)
            return abs(line - lines[0]), self.seconds[test]

        return sorted(tests, key=order)


class Sandbox:
    """A copy of the repository in which one file is changed."""

    def __init__(self, root: Path, directory: Path) -> None:
        """Copy the repository at `root` into a directory that does not exist yet."""
        self.directory = directory
        for name in COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    directory / name,
                    ignore=shutil.ignore_patterns("__pycache__"),
                )
            else:
                shutil.copy2(source, directory / name)
        self._changed: tuple[Path, str, os.stat_result] | None = None

    def baseline(self, file: str, tests: Collection[str]) -> Baseline:
        """Run the test files `tests` while `file` is unchanged. Return the result.

        Raises `RuntimeError` if pytest cannot collect the tests.
        """
        report = self.directory / "baseline.pickle"
        recorder = _Recorder(self.directory / file)

        def work() -> int:
            recorder.start()
            code = self._run_pytest(tests, recorder)
            # Modules of this copy, or without a file (such as `sys`), are left out.
            recorder.baseline.modules = [
                name
                for name, module in sys.modules.items()
                if not str(
                    getattr(module, "__file__", None) or self.directory
                ).startswith(str(self.directory))
            ]
            report.write_bytes(pickle.dumps(recorder.baseline))
            # Pytest returns this code if it cannot collect the tests of a file.
            return int(code == pytest.ExitCode.INTERRUPTED)

        if os.waitpid(self._fork(work), 0)[1]:
            msg = f"{tests} cannot be collected:\n{self.log}"
            raise RuntimeError(msg)
        baseline: Baseline = pickle.loads(report.read_bytes())  # noqa: S301
        return baseline

    def start(self, mutant: Mutant, baseline: Baseline) -> int | None:
        """Run the tests of a mutant in a new process, and return its process ID.

        Return None if no test executes the changed lines.
        """
        tests = baseline.tests_of(mutant.lines)
        if not tests:
            return None
        path = self.directory / mutant.file
        self._changed = (path, path.read_text(encoding="utf-8"), path.stat())
        path.write_text(mutant.source, encoding="utf-8")
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        self._killer_file.unlink(missing_ok=True)
        selection = _Selection(tests, baseline, self._killer_file)

        def work() -> int:
            _limit(IMPORT_SECONDS)
            return self._run_pytest(files, selection)

        return self._fork(work)

    def finish(self, mutant: Mutant, baseline: Baseline) -> None:
        """Undo the change, and note in the baseline which test killed the mutant.

        The file gets its old modification time, so that its compiled file stays valid.
        """
        if self._killer_file.exists():
            test = self._killer_file.read_text(encoding="utf-8")
            baseline.killed[test] = mutant.lines[0]
        if self._changed is not None:
            path, text, stat = self._changed
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            self._changed = None

    @property
    def log(self) -> str:
        """Return the output of the last run."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def _killer_file(self) -> Path:
        """Return the path of the file that names the test which killed the mutant."""
        return self.directory / "killer"

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _fork(self, work: Callable[[], int]) -> int:
        """Return the ID of a new process. Its exit code is the result of `work`."""
        if pid := os.fork():
            return pid
        code = TOOL_FAILED
        try:
            os.chdir(self.directory)
            with self._log.open("w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            code = work()
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _run_pytest(self, files: Collection[str], plugin: object) -> int:
        """Run test files in this process, and return pytest's exit code."""
        root = os.fspath(self.directory)
        sys.path[:] = [
            root,
            *(each for each in sys.path if each not in {"", os.fspath(ROOT)}),
        ]
        # A mutant must not replace the compiled file of the unchanged source.
        sys.dont_write_bytecode = isinstance(plugin, _Selection)
        for name in PACKAGES:
            package = ModuleType(name)
            package.__path__ = [os.fspath(self.directory / name.replace(".", "/"))]
            sys.modules[name] = package
        # Use the same examples in each run, and do not simplify a failing example.
        hypothesis.settings.register_profile(
            "mutate",
            database=None,
            derandomize=True,
            deadline=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutate")
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        options = ["-x"] if isinstance(plugin, _Selection) else []
        return pytest.main(
            [
                "--quiet",
                "--override-ini=addopts=",
                "--disable-warnings",
                "-pno:cacheprovider",
                "-ppytest_asyncio.plugin",
                *options,
                *files,
            ],
            plugins=[plugin],
        )


def preload(modules: Sequence[str]) -> None:
    """Import modules for all processes that are forked from now on."""
    # Home Assistant replaces some modules, so import Home Assistant first.
    for name in sorted(modules, key=lambda name: not name.startswith("homeassistant")):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001, S112
            # A module whose import fails is created at run time, or is for another
            # platform.
            continue
    # Child processes then share the memory of these modules with this process.
    gc.collect()
    gc.freeze()


class _Recorder:
    """A plugin of pytest that records the baseline of a file."""

    def __init__(self, path: Path) -> None:
        """Record which tests execute which lines of the file at this path."""
        self.baseline = Baseline()
        self._path = os.fspath(path)
        self._test = ""
        self._failed = False
        self._tool = sys.monitoring.COVERAGE_ID

    def start(self) -> None:
        """Begin to record. Call this before the file is first imported."""
        monitoring = sys.monitoring
        monitoring.use_tool_id(self._tool, "mutate")
        events = monitoring.events
        monitoring.register_callback(self._tool, events.PY_START, self._started)
        monitoring.register_callback(self._tool, events.LINE, self._executed)
        monitoring.set_events(self._tool, events.PY_START)

    def _started(self, code: CodeType, _offset: int) -> object:
        if code.co_filename == self._path:
            events = sys.monitoring.events
            sys.monitoring.set_local_events(self._tool, code, events.LINE)
        # One event of a function in each test is enough. `restart_events` enables the
        # event again.
        return sys.monitoring.DISABLE

    def _executed(self, _code: CodeType, line: int) -> object:
        self.baseline.lines[self._test].add(line)
        return sys.monitoring.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test."""
        self._test, self._failed = item.nodeid, False
        sys.monitoring.restart_events()
        began = time.process_time()
        result = yield
        seconds = time.process_time() - began
        if self._failed:
            self.baseline.skipped.add(item.nodeid)
        elif seconds <= LONGEST_TEST:
            self.baseline.seconds[item.nodeid] = seconds
        self._test = ""
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record that a test does not pass."""
        self._failed |= not report.passed


class _Selection:
    """A plugin of pytest that runs given tests in a given order."""

    def __init__(
        self, tests: Sequence[str], baseline: Baseline, killer_file: Path
    ) -> None:
        """Run these tests. The time limit of each follows from its baseline duration.

        The name of the test that fails is written to `killer_file`.
        """
        self._tests = tests
        self._baseline = baseline
        self._killer_file = killer_file

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Select the tests, and order them."""
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[test] for test in self._tests if test in by_id]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Set the time limit of a test."""
        _limit(self._baseline.seconds[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write which test fails."""
        if report.failed:
            self._killer_file.write_text(report.nodeid, encoding="utf-8")


def _limit(seconds: float) -> None:
    """Set the timers that end this process with a signal if a test takes too long.

    `seconds` is the normal processor time of the test.
    """
    for timer, (factor, more) in (
        (signal.ITIMER_PROF, PROCESSOR_LIMIT),
        (signal.ITIMER_REAL, REAL_LIMIT),
    ):
        signal.setitimer(timer, factor * seconds + more)


def outcome_of(status: int) -> Outcome | None:
    """Return the outcome from the status of a process that has ended.

    Return None if the mutation test or pytest failed, so that there is no result.
    """
    if os.WIFSIGNALED(status):
        return Outcome.TIMEOUT
    code = os.WEXITSTATUS(status)
    if code in SURVIVED_CODES:
        return Outcome.SURVIVED
    return Outcome.KILLED if code in KILLED_CODES else None
