"""Fixtures: two simulated meters on a line, Home Assistant, and virtual time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import UTC, datetime, tzinfo
import gc
import logging
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any, override
from unittest.mock import AsyncMock, patch

import pymodbus.transport.transport
import pytest
import serialx

# Keep this import before the others from the project. If it comes later, the name
# `tests` refers to the package of Home Assistant.
from custom_components.socomec_countis import coordinator, runtime
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.countis import bus, poller
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant import runner
from homeassistant.components.http.server import HomeAssistantHTTP
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.tasks import RecorderTask
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import MATCH_ALL
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity, event, script
from homeassistant.util import dt as dt_util
from homeassistant.util import executor
from homeassistant.util import logging as util_logging
from simulator import Counters, Line, Meter
from simulator.ports import MemoryPort, TerminalPort, memory_opener

from .common import (
    AddMeter,
    Clock,
    FlowResult,
    bus_form,
    memory_line,
    open_add_meters,
    open_form,
    unload_all,
    until_read,
)
from .virtual_time import VirtualLoop, is_in_real_time

# The test package, `pytest_homeassistant_custom_component`, logs SQL statements, and
# Home Assistant logs each new entity. Most of these messages take more time than the
# action that they report.
for name in ("sqlalchemy.engine", "homeassistant.helpers.entity_registry"):
    logging.getLogger(name).setLevel(logging.WARNING)
# By default, the garbage collector runs after 2000 new objects. This takes 5 % of the
# time of the tests.
gc.set_threshold(100_000)
# In s; the time that the threads of Home Assistant's executor have to end after a test.
# To each thread, Home Assistant gives a tenth of this time, divided by the number of
# threads. With the default of 10 s, this is less than 1 s, which is too short on a busy
# machine. Home Assistant then interrupts the thread. A thread that ends wakes the next
# thread, which then also ends. But an interrupted thread wakes no other thread.
executor.EXECUTOR_SHUTDOWN_TIMEOUT = 300


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the system clock of the simulated meters and of the integration.

    A test that advances this clock also advances the integration's monotonic clock.
    """
    clock = Clock()
    seconds_at_start = clock.seconds

    def monotonic() -> float:
        return time.monotonic() + clock.seconds - seconds_at_start

    clocks = SimpleNamespace(time=clock, monotonic=monotonic)
    monkeypatch.setattr(runtime, "time", clocks)
    return clock


@pytest.fixture
def meter(clock: Clock) -> Meter:
    """Return a meter at unit ID 1 with some energy in its counters (Wh, varh).

    The phases have the default load of the simulator: 1000 W, 500 W and -200 W.
    """
    return Meter(
        unit_id=1,
        true_time=clock,
        counters=Counters(
            consumed=1_234_560,
            reactive=300_010,
            produced=7_890,
            partial_consumed=45_670,
            partial_reactive=1_230,
            partial_produced=890,
            tariffs=[1_000_000.0, 234_560.0, 0.0, 0.0],
        ),
    )


@pytest.fixture
def second_meter(clock: Clock) -> Meter:
    """Return a meter at unit ID 2."""
    return Meter(unit_id=2, true_time=clock)


@pytest.fixture
async def line(
    request: pytest.FixtureRequest, meter: Meter, second_meter: Meter
) -> AsyncGenerator[Line]:
    """Run a line with both meters: in memory, or in real time on a pseudo-terminal."""
    port_type = TerminalPort if is_in_real_time(request.node) else MemoryPort
    async with memory_line([meter, second_meter], port_type=port_type) as running:
        yield running


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load the integration, if the test runs Home Assistant."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")


@pytest.fixture(autouse=True, scope="session")
def mock_zeroconf_resolver() -> Generator[None]:
    """Resolve no host names.

    The resolver of the test package keeps three files open after each test. After many
    tests, a process would have more open files than `select` supports.
    """
    module = "homeassistant.helpers.aiohttp_client"
    with patch(f"{module}._async_make_resolver") as make_resolver:
        make_resolver.return_value.real_close = AsyncMock()
        yield


# The next three fixtures replace fixtures of the test package that patch the same
# functions again for each test. The patching takes a tenth of the time of a short test.
@pytest.fixture(autouse=True, scope="session")
def disable_http_server() -> Generator[None]:
    """Start no HTTP server."""
    with (
        patch.object(HomeAssistantHTTP, "async_bind"),
        patch.object(HomeAssistantHTTP, "start"),
    ):
        yield


@pytest.fixture(autouse=True, scope="session")
def skip_stop_scripts() -> Generator[None]:
    """Stop no scripts when Home Assistant stops."""
    with patch.object(script, "_schedule_stop_scripts_after_shutdown"):
        yield


@pytest.fixture(autouse=True, scope="session")
def fail_on_log_exception() -> Generator[None]:
    """Let a test fail if Home Assistant logs an exception that a callback raised."""

    def log_exception(_format: object, *_args: object) -> None:
        raise  # noqa: PLE0704 (the exception that is being handled)

    with patch.object(util_logging, "log_exception", log_exception):
        yield


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the values of an offline meter at once, and retry it every 0.05 s."""
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 0)
    monkeypatch.setattr(poller, "SHORTEST_PAUSE", 0.05)
    monkeypatch.setattr(poller, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(poller, "REOPEN_PAUSE", 0.05)


@pytest.fixture
def fast_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll each block 20 times as often: the power every 50 ms.

    The poller plans its reads for the 9600 baud of the bus. At this speed, each read
    would take longer than 50 ms, so the poller would plan fewer reads. But the
    simulated line has 921 600 baud. So also plan with the time per character of this
    line.
    """
    monkeypatch.setattr(
        poller,
        "INTERVALS",
        {
            name: poller.Interval(target=each.target / 20, period=each.period / 20)
            for name, each in poller.INTERVALS.items()
        },
    )
    monkeypatch.setattr(poller, "POWER_TARGET", poller.POWER_TARGET / 20)
    monkeypatch.setattr(bus, "BITS_PER_CHARACTER", 11 * 9600 / 921_600)


@pytest.fixture
def form_input(line: Line) -> dict[str, Any]:
    """Return the input of a bus form for the meter at unit ID 1."""
    return bus_form(line)


@pytest.fixture
async def add_meter(
    hass: HomeAssistant, form_input: dict[str, Any]
) -> AsyncGenerator[AddMeter]:
    """Return a function that adds a meter, and returns the result of the dialog.

    If no entry has the port of the meter, the function adds the bus, too.
    """

    async def add(**changes: Any) -> FlowResult:
        data = {**form_input, **changes}
        result: FlowResult
        for entry in hass.config_entries.async_loaded_entries(DOMAIN):
            if entry.data.get("device") == data["device"]:
                form = await open_add_meters(hass, entry)
                result = await hass.config_entries.subentries.async_configure(
                    form["flow_id"], {"unit_id": data["unit_id"]}
                )
                break
        else:
            first = await open_form(hass, "serial")
            result = await hass.config_entries.flow.async_configure(
                first["flow_id"], data
            )
        for entry in hass.config_entries.async_loaded_entries(DOMAIN):
            await until_read(hass, entry)
        return result

    yield add
    await unload_all(hass)


@pytest.fixture
async def entry(hass: HomeAssistant, add_meter: AddMeter) -> CountisConfigEntry:
    """Return the entry of a bus whose meter at unit ID 1 has been read."""
    result = await add_meter()
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    (added,) = hass.config_entries.async_entries(DOMAIN)
    assert added.state is ConfigEntryState.LOADED
    return added


# Fixtures that take long to set up. Each worker of pytest-xdist would set up such a
# fixture again, so one worker runs all tests that use this fixture.
SHARED_FIXTURES = {"bus_after", "dist_folder", "histories"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the mark `xdist_group`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the slow tests and the tests in real time evenly with the other tests.

    The workers of pytest-xdist get the tests in the order of `items`. In the original
    order, all workers would wait at once in the tests in real time, and one worker
    would end late with the tests of a slow file.
    """
    # The tests of each of these files, and all other tests, are at equal distances.
    spread: defaultdict[Path | None, list[pytest.Item]] = defaultdict(list)
    for item in items:
        is_slow = item.get_closest_marker("slow") is not None
        spread[item.path if is_slow or is_in_real_time(item) else None].append(item)
        for fixture in SHARED_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(fixture))
    position = {
        item: (number + 0.5) / len(tests)
        for tests in spread.values()
        for number, item in enumerate(tests)
    }
    items.sort(key=position.__getitem__)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test in virtual time, except the tests that need real time."""
    if is_in_real_time(item):
        return {"real_time": asyncio.SelectorEventLoop}
    return {"virtual_time": VirtualLoop}


@pytest.fixture(autouse=True)
async def _virtual_clocks(request: pytest.FixtureRequest) -> AsyncGenerator[None]:
    """Replace the clocks of the machine by the time of the loop.

    The mark `starts_at` sets the time at which a test begins, in s since 1970. The
    default is the present time.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    marker = request.node.get_closest_marker("starts_at")
    offset = (marker.args[0] if marker else time.time()) - loop.time()

    def timestamp() -> float:
        return loop.time() + offset

    def utcnow() -> datetime:
        return datetime.fromtimestamp(timestamp(), UTC)

    def now(time_zone: tzinfo | None = None) -> datetime:
        return utcnow().astimezone(time_zone or dt_util.get_default_time_zone())

    # Do not use the fixture `monkeypatch`. A test that calls its `undo` would restore
    # the clocks of the machine.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(time, "time", timestamp)
        monkeypatch.setattr(time, "monotonic", loop.time)
        monkeypatch.setattr(dt_util, "utcnow", utcnow)
        monkeypatch.setattr(dt_util, "now", now)
        monkeypatch.setattr(entity, "timer", timestamp)
        monkeypatch.setattr(event, "time_tracker_utcnow", utcnow)
        monkeypatch.setattr(event, "time_tracker_timestamp", timestamp)
        yield


@pytest.fixture(autouse=True)
def _memory_ports() -> Generator[None]:
    """Let serialx and pymodbus open the ports of lines in memory."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (serialx, pymodbus.transport.transport):
            open_port = memory_opener(module.create_serial_connection)
            monkeypatch.setattr(module, "create_serial_connection", open_port)
        yield


class RecorderBarrier(RecorderTask):
    """A barrier that is reached when the recorder has written all earlier events."""

    commit_before = False

    def __init__(self, recorder: Recorder) -> None:
        """Note each event and each task that the recorder gets."""
        self._is_last = False
        """Whether the recorder got no event or task after the barrier."""
        self._is_queued = False
        self._queue_task = recorder.queue_task

        def queue_task(task: RecorderTask | Event) -> None:
            self._is_last = False
            self._queue_task(task)

        @callback
        def note_event(_event: Event) -> None:
            self._is_last = False

        recorder.queue_task = queue_task  # type: ignore[method-assign]
        recorder.hass.bus.async_listen(MATCH_ALL, note_event)

    def is_reached(self) -> bool:
        """Return whether the recorder is idle.

        If the recorder got an event or a task since the barrier was last queued, queue
        the barrier again. The recorder wakes the loop when it reaches the barrier.
        """
        if not self._is_last and not self._is_queued:
            self._is_queued = self._is_last = True
            self._queue_task(self)
        return not self._is_queued

    @override
    def run(self, instance: Recorder) -> None:
        self._is_queued = False
        instance.hass.loop.call_soon_threadsafe(lambda: None)  # wakes the loop


@pytest.fixture
async def recorder_mock(
    recorder_config: dict[str, Any] | None,
    async_test_recorder: Any,
    hass: HomeAssistant,
    _virtual_clocks: None,
) -> AsyncGenerator[Recorder]:
    """Run a recorder in memory. Virtual time stops while the recorder works."""
    loop = asyncio.get_running_loop()
    recorder = async_test_recorder(hass, recorder_config)
    if not isinstance(loop, VirtualLoop):
        async with recorder as instance:
            yield instance
        return
    with loop.time_stopped():
        instance = await recorder.__aenter__()
    with loop.waiting_for(RecorderBarrier(instance)):
        yield instance
    with loop.time_stopped():
        await recorder.__aexit__(None, None, None)


@pytest.fixture(autouse=True, scope="session")
def configure_session_event_loop() -> None:
    """Replace a fixture of the test package that needs a loop of the session.

    That fixture would create the loop again for each test. Only the browser tests need
    a loop of the session, and pytest-asyncio creates it for their fixtures.
    """


@pytest.fixture(autouse=True)
def enable_event_loop_debug() -> None:
    """Replace a fixture of the test package, to leave the debug mode off.

    The debug mode takes a third of the time of a test.
    """


@pytest.fixture(autouse=True)
async def configure_event_loop(request: pytest.FixtureRequest) -> None:
    """Configure the loop as Home Assistant does, but keep its virtual clock.

    In a test without Home Assistant, leave the loop as it is, which saves a thread.
    """
    if "hass" not in request.fixturenames:
        return
    loop = asyncio.get_running_loop()
    runner.configure_event_loop(loop)
    if isinstance(loop, VirtualLoop):
        del loop.time  # the clock of the machine, which `runner` set on the loop
