"""The search for meters, over a real serial line."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from modbus_connection import ModbusConnectionError, ModbusSerialParams, ModbusUnit
from modbus_connection.tmodbus import ModbusConnection
import pytest

from custom_components.socomec_countis.countis import (
    ALL_SETTINGS,
    Countis,
    FoundMeter,
    LineSettings,
    OpenLine,
    Search,
)
from custom_components.socomec_countis.countis import Line as SharedLine
from simulator import FLIPPED, Fault, Line, Meter, line_in_thread

from .common import SERIAL

USUAL = LineSettings(9600, "N", 1)
FAST = LineSettings(38400, "N", 1)

# A meter on the simulated line begins its answer after a millisecond.
WAIT = 0.06
EXPECTED_DELAY = WAIT / 4

# A port is let go of a moment after it was closed.
OPEN_ATTEMPTS = 20
OPEN_RETRY_DELAY = 0.05


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


class Port:
    """Opens the line as a search wants it; a pseudo-terminal has no parity."""

    def __init__(self, line: Line) -> None:
        """Take the line; note each opening."""
        self.line = line
        self.opened: list[LineSettings] = []

    @asynccontextmanager
    async def open(self, settings: LineSettings) -> AsyncIterator[OpenLine]:
        """Open the line with these settings."""
        self.opened.append(settings)
        async with connected(self.line, settings) as connection:
            yield OpenLine(
                SharedLine(settings.baudrate, delay=EXPECTED_DELAY), lender(connection)
            )


@asynccontextmanager
async def connected(line: Line, settings: LineSettings) -> AsyncIterator[Any]:
    """Open a client's end of the line."""
    connection = ModbusConnection(
        ModbusSerialParams(device=line.port, baudrate=settings.baudrate), timeout=2
    )
    try:
        # Before the first request, whose time it would be taken from.
        await async_connect(connection)
        yield connection
    finally:
        await connection.close()


async def async_connect(connection: ModbusConnection) -> None:
    """Open a port that may have been closed just before."""
    for _ in range(OPEN_ATTEMPTS):
        with suppress(ModbusConnectionError):
            return await connection.connect()
        await asyncio.sleep(OPEN_RETRY_DELAY)
    return await connection.connect()


def lender(
    connection: ModbusConnection,
) -> Callable[[int], AbstractAsyncContextManager[ModbusUnit]]:
    """Return what lends the units of a connection."""

    @asynccontextmanager
    async def lend(address: int) -> AsyncIterator[ModbusUnit]:
        yield connection.for_unit(address)

    return lend


def addresses_of(found: Sequence[FoundMeter]) -> list[int]:
    """Return where meters were found."""
    return [each.address for each in found]


def asked(line: Line) -> list[int]:
    """Return which addresses were asked, each once, in their order."""
    return list(dict.fromkeys(request[0] for request in line.requests))


@pytest.fixture
def port(line: Line) -> Port:
    """Return the port of the line with the meters 1 and 2."""
    return Port(line)


async def test_settings_are_found_for_a_known_address(line: Line, port: Port) -> None:
    line.understood_baudrate = 38400
    search = Search(port.open, addresses=[1], wait=WAIT)
    await search.async_run()
    assert search.found == [FoundMeter(1, FAST, "COUNTIS E33", SERIAL)]
    assert search.others == set()
    assert asked(line) == [1]
    assert port.opened == list(ALL_SETTINGS[: ALL_SETTINGS.index(FAST) + 1])


async def test_a_single_address_is_tried_twice_with_all_settings(
    line: Line, port: Port, meter: Meter
) -> None:
    meter.silent = True
    search = Search(port.open, addresses=[1], wait=WAIT)
    await search.async_run()
    assert search.found == []
    assert port.opened == [*ALL_SETTINGS, *ALL_SETTINGS]
    assert len(line.requests) == len(port.opened)


async def test_a_meter_that_needs_a_request_to_find_its_speed_by_is_found(
    line: Line, port: Port, meter: Meter
) -> None:
    def wake(request: bytes) -> None:
        meter.silent = len(line.requests) <= len(ALL_SETTINGS)

    line.on_request = wake
    meter.silent = True
    search = Search(port.open, addresses=[1], wait=WAIT)
    await search.async_run()
    assert addresses_of(search.found) == [1]


async def test_all_addresses_are_tried_with_known_settings(
    line: Line, port: Port
) -> None:
    line.understood_baudrate = 38400
    search = Search(port.open, settings=[FAST], wait=WAIT)
    await search.async_run()
    assert addresses_of(search.found) == [1, 2]
    assert asked(line) == list(range(1, 256))
    # Once each, but for what meters tell of themselves.
    silent = [request for request in line.requests if request[0] > 2]
    assert len(silent) == 253
    assert port.opened == [FAST]


async def test_with_nothing_known_the_first_addresses_come_first(
    line: Line, port: Port
) -> None:
    line.understood_baudrate = 38400
    search = Search(port.open, addresses=range(1, 25), wait=WAIT)
    await search.async_run()
    assert addresses_of(search.found) == [1, 2]
    assert {each.settings for each in search.found} == {FAST}
    assert asked(line) == list(range(1, 25))


async def test_a_meter_beyond_the_first_addresses_is_found_in_the_end() -> None:
    with line_in_thread(
        Line([Meter(address=20)], baudrate=115_200, answer_delay=0.001)
    ) as line:
        port = Port(line)
        search = Search(
            port.open, settings=[USUAL, FAST], addresses=range(1, 22), wait=WAIT
        )
        await search.async_run()
    assert search.found == [FoundMeter(20, USUAL, "COUNTIS E33", "1438012000020")]
    tried = [request[0] for request in line.requests]
    assert tried[: 2 * 16] == [*range(1, 17), *range(1, 17)]
    assert tried[2 * 16 : 2 * 16 + 20] == list(range(1, 21))


async def test_settings_stay_as_they_are_once_a_meter_has_answered(
    line: Line, port: Port
) -> None:
    line.understood_baudrate = 38400
    search = Search(port.open, addresses=range(1, 6), wait=WAIT)
    await search.async_run()
    first = port.opened.index(FAST)
    assert port.opened[first:] == [FAST, FAST]
    assert search.settings == [FAST]
    assert search.trying == FAST


@pytest.mark.parametrize(
    ("settings", "addresses", "baudrate"),
    [
        (ALL_SETTINGS, [1], 38400),
        (ALL_SETTINGS, [9], 9600),
        ([USUAL], range(1, 9), 9600),
        ([USUAL], range(3, 9), 9600),
        ([USUAL, FAST], range(1, 19), 38400),
        ([USUAL, FAST], range(3, 21), 9600),
        ([USUAL, FAST], [1, 9], 38400),
    ],
)
async def test_progress_never_falls_and_ends_at_1(
    line: Line,
    port: Port,
    settings: Sequence[LineSettings],
    addresses: Sequence[int],
    baudrate: int,
) -> None:
    line.understood_baudrate = baudrate
    seen: list[float] = []
    search = Search(port.open, settings=settings, addresses=addresses, wait=WAIT)
    search.on_change = lambda: seen.append(search.progress)
    await search.async_run()
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert max(seen) <= 1
    assert search.progress == 1


async def test_every_attempt_is_told_before_it_is_made(line: Line, port: Port) -> None:
    told: list[tuple[LineSettings | None, int, int]] = []
    search = Search(port.open, settings=[USUAL], addresses=[3, 1, 4], wait=WAIT)
    search.on_change = lambda: told.append(
        (search.trying, search.address, len(search.found))
    )
    await search.async_run()
    # Once more for what was found.
    assert told == [(USUAL, 3, 0), (USUAL, 1, 0), (USUAL, 1, 1), (USUAL, 4, 1)]


async def test_who_is_told_may_end_the_search(line: Line, port: Port) -> None:
    class EnoughError(Exception):
        """Two are enough."""

    def end() -> None:
        if len(search.found) == 2:
            raise EnoughError

    search = Search(port.open, settings=[USUAL], wait=WAIT, on_change=end)
    with pytest.raises(EnoughError):
        await search.async_run()
    assert addresses_of(search.found) == [1, 2]
    assert search.progress < 0.1
    # The port was given back.
    async with connected(line, USUAL) as connection:
        assert await connection.for_unit(1).read_holding_registers(50004, 1) == [100]


async def test_other_devices_are_listed_apart(
    line: Line, port: Port, meter: Meter
) -> None:
    meter.override = {50000: ord("X")}
    search = Search(port.open, settings=[USUAL], addresses=[1, 2, 3], wait=WAIT)
    await search.async_run()
    assert search.others == {1}
    assert addresses_of(search.found) == [2]


async def test_a_meter_of_which_all_is_known_is_found_once(
    line: Line, port: Port
) -> None:
    search = Search(port.open, settings=[USUAL], addresses=[1], wait=WAIT)
    await search.async_run()
    assert addresses_of(search.found) == [1]


async def test_another_device_is_listed_once(
    line: Line, port: Port, meter: Meter
) -> None:
    meter.override = {50000: ord("X")}
    search = Search(port.open, settings=[USUAL, FAST], addresses=[1, 5], wait=WAIT)
    await search.async_run()
    assert search.others == {1}


@pytest.mark.parametrize("exception", [1, 2, 4])
async def test_who_refuses_everything_is_there(
    line: Line, port: Port, meter: Meter, exception: int
) -> None:
    meter.exception = exception
    search = Search(port.open, settings=[USUAL], addresses=[1, 2], wait=WAIT)
    await search.async_run()
    assert search.others == {1}
    assert addresses_of(search.found) == [2]


@pytest.mark.parametrize("exception", [10, 11])
async def test_a_gateway_that_misses_a_meter_is_nobody(
    line: Line, port: Port, meter: Meter, exception: int
) -> None:
    meter.exception = exception
    search = Search(port.open, settings=[USUAL], addresses=[1, 2], wait=WAIT)
    await search.async_run()
    assert search.others == set()
    assert addresses_of(search.found) == [2]


async def test_a_meter_that_does_not_say_who_it_is_is_found_by_what_it_measures(
    line: Line, port: Port, meter: Meter
) -> None:
    meter.refuses = {50000}
    search = Search(port.open, settings=[USUAL], addresses=[1, 5], wait=WAIT)
    await search.async_run()
    assert search.found == [FoundMeter(1, USUAL, "COUNTIS", None)]


async def test_a_line_without_meters_has_none() -> None:
    with line_in_thread(Line([], baudrate=115_200)) as line:
        search = Search(
            Port(line).open, settings=[USUAL], addresses=range(1, 9), wait=WAIT
        )
        await search.async_run()
    assert (search.found, search.others, search.progress) == ([], set(), 1)


async def test_a_line_that_cannot_be_opened_ends_the_search(line: Line) -> None:
    @asynccontextmanager
    async def open_nothing(settings: LineSettings) -> AsyncIterator[OpenLine]:
        params = ModbusSerialParams(device="/dev/no-such-port")
        connection = ModbusConnection(params)
        yield OpenLine(SharedLine(settings.baudrate), lender(connection))
        await connection.close()

    search = Search(open_nothing, addresses=[1], wait=WAIT)
    with pytest.raises(ModbusConnectionError):
        await search.async_run()
    assert search.progress < 1


async def test_a_line_in_use_is_searched_without_a_poll_that_fails(
    line: Line,
) -> None:
    async with connected(line, USUAL) as connection:
        shared = SharedLine(USUAL.baudrate)
        polled = Countis(connection.for_unit(1), shared, address=1)
        await polled.async_ensure_identity()

        @asynccontextmanager
        async def open_shared(settings: LineSettings) -> AsyncIterator[OpenLine]:
            yield OpenLine(shared, lender(connection))

        search = Search(open_shared, settings=[USUAL], addresses=range(2, 8), wait=WAIT)
        searching = asyncio.create_task(search.async_run())
        polls = 0
        while not searching.done():
            report = await polled.async_update(["voltage_l1_l2", "energy_consumed"])
            assert report.complete, report.failed
            polls += 1
            await asyncio.sleep(0.05)
        await searching
    assert addresses_of(search.found) == [2]
    assert search.others == set()
    # Not one after the search, but between its attempts.
    assert polls > 4
    assert shared.traffic[1].errors == 0
    # Who was found keeps no share of the line.
    assert shared.meters == {polled}


async def test_the_meter_that_is_being_polled_is_found_as_well(line: Line) -> None:
    async with connected(line, USUAL) as connection:
        shared = SharedLine(USUAL.baudrate)
        polled = Countis(connection.for_unit(1), shared, address=1)
        await polled.async_ensure_identity()

        @asynccontextmanager
        async def open_shared(settings: LineSettings) -> AsyncIterator[OpenLine]:
            yield OpenLine(shared, lender(connection))

        search = Search(open_shared, settings=[USUAL], addresses=[1, 2], wait=WAIT)
        await search.async_run()
    assert addresses_of(search.found) == [1, 2]
    assert shared.meters == {polled}


async def test_more_polled_meters_leave_a_search_longer_pauses(line: Line) -> None:
    async def took(meters: int) -> float:
        async with connected(line, USUAL) as connection:
            shared = SharedLine(USUAL.baudrate, delay=EXPECTED_DELAY)
            shared.meters |= {object() for _ in range(meters)}

            @asynccontextmanager
            async def open_shared(settings: LineSettings) -> AsyncIterator[OpenLine]:
                yield OpenLine(shared, lender(connection))

            search = Search(open_shared, settings=[USUAL], addresses=[5, 6], wait=0.1)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await search.async_run()
            return loop.time() - began

    alone, crowded = await took(0), await took(3)
    assert crowded > 3 * alone


async def test_noise_is_nobody(line: Line, port: Port) -> None:
    line.faults.append(FLIPPED)
    search = Search(port.open, settings=[USUAL], addresses=[1, 2], wait=WAIT)
    search._plan = search._plan[:1]  # noqa: SLF001
    await search.async_run()
    assert addresses_of(search.found) == [2]


async def test_a_meter_that_has_answered_is_identified_in_spite_of_noise(
    line: Line, port: Port
) -> None:
    line.faults.extend([Fault(), FLIPPED, Fault(), Fault(), FLIPPED])
    search = Search(port.open, settings=[USUAL], addresses=[1], wait=WAIT)
    await search.async_run()
    assert addresses_of(search.found) == [1]
    assert search.others == set()
