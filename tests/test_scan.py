"""The scan for meters: in virtual time, and over a real serial line."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modbus_connection import (
    ModbusConnectionError,
    ModbusProtocolError,
    ModbusSerialParams,
)
from modbus_connection.tmodbus import ModbusConnection
import pytest

from custom_components.socomec_countis.countis import probe as probe_module
from custom_components.socomec_countis.countis.bus import (
    LONGEST_WAIT,
    PROBES_UNTIL_RECOVERY,
    Bus,
)
from custom_components.socomec_countis.countis.errors import EchoError
from custom_components.socomec_countis.countis.line_settings import (
    ALL_SETTINGS,
    SCAN_SETTINGS,
    LineSettings,
    settings_to_try,
)
from custom_components.socomec_countis.countis.probe import (
    HOST_SECONDS,
    UNIT_IDS,
    Probe,
    plan,
)
from custom_components.socomec_countis.countis.scan import (
    RESERVED_UNIT_ID,
    FoundMeter,
    OpenBus,
    Scan,
)
from simulator import FLIPPED, Line, Meter

from .common import SERIAL, memory_line
from .virtual_bus import (
    OPEN_SECONDS,
    VirtualBus,
    VirtualMeter,
    seconds_of,
    worst_case_seconds,
)
from .virtual_time import run

USUAL = LineSettings(9600, "N", 2)
SLOW = LineSettings(4800, "N", 2)
FAST = LineSettings(38400, "N", 2)
LAST = SCAN_SETTINGS[-1]

# By the manual: 9600 to 38400 baud, 8N2, 8E1 and 8O1, for which 8E2 and 8O2 do.
AUTO_MODE = [each for each in SCAN_SETTINGS if each.baudrate > 4800]

PROFILE_SECONDS = 2.0  # more than what a profile takes at 4800 baud


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


def at(unit_id: int, *settings: LineSettings, **changes: Any) -> VirtualMeter:
    """Return a meter in memory at a unit ID, with settings that it understands."""
    return VirtualMeter(Meter(unit_id=unit_id), settings or [USUAL], **changes)


def unit_ids_of(found: Sequence[FoundMeter]) -> list[int]:
    """Return where meters were found."""
    return [each.unit_id for each in found]


# -- which settings, and in which order ------------------------------------------------


def test_line_settings_are_written_as_usual() -> None:
    assert str(LineSettings(9600, "N", 1)) == "9600 baud, 8N1"


def test_settings_of_a_meter_are_all_combinations() -> None:
    assert len(ALL_SETTINGS) == len(set(ALL_SETTINGS)) == 4 * 3 * 2


def test_scan_tries_each_speed_and_parity_once_with_2_stop_bits() -> None:
    assert len(SCAN_SETTINGS) == 12
    assert {each.stopbits for each in SCAN_SETTINGS} == {2}
    assert {(each.baudrate, each.parity) for each in SCAN_SETTINGS} == {
        (each.baudrate, each.parity) for each in ALL_SETTINGS
    }
    assert SCAN_SETTINGS[:2] == (USUAL, SLOW)
    assert USUAL in AUTO_MODE


@pytest.mark.parametrize(
    ("known", "tried"),
    [
        ({"baudrate": 9600, "parity": "E", "stopbits": 1}, ["9600 baud, 8E1"]),
        ({"baudrate": 9600, "parity": "E"}, ["9600 baud, 8E2"]),
        (
            {"baudrate": 38400, "stopbits": 1},
            ["38400 baud, 8N1", "38400 baud, 8E1", "38400 baud, 8O1"],
        ),
        (
            {"parity": "N", "stopbits": 1},
            [f"{baudrate} baud, 8N1" for baudrate in (9600, 4800, 38400, 19200)],
        ),
        ({"baudrate": 57600}, []),
    ],
)
def test_known_settings_restrict_those_to_try(
    known: dict[str, Any], tried: list[str]
) -> None:
    assert [str(each) for each in settings_to_try(**known)] == tried


def test_port_in_use_with_1_stop_bit_is_scanned_with_it() -> None:
    in_use = LineSettings(9600, "N", 1)
    assert settings_to_try(usable=[in_use]) == (in_use,)
    assert settings_to_try(38400, usable=[in_use]) == ()


def test_first_unit_ids_are_probed_with_all_settings_first() -> None:
    probes = list(plan(SCAN_SETTINGS, UNIT_IDS))
    first = probes[: 13 * 16]
    assert {each.unit_id for each in first} == set(range(1, 17))
    assert {each.settings for each in first} == set(SCAN_SETTINGS)
    for settings in SCAN_SETTINGS:
        of_them = [each for each in probes[13 * 16 :] if each.settings == settings]
        assert [each.unit_id for each in of_them] == list(UNIT_IDS)


def test_first_unit_ids_are_probed_again_with_known_settings() -> None:
    probes = list(plan([USUAL], UNIT_IDS))
    assert [each.unit_id for each in probes] == [*range(1, 256), *range(1, 17)]


def test_single_unit_id_is_probed_patiently_at_last() -> None:
    probes = list(plan(SCAN_SETTINGS, [7]))
    assert probes[:11] == [Probe(USUAL, 7)] * 10 + [Probe(SLOW, 7)]
    patient = [each for each in probes if each.patient]
    assert probes[-36:] == patient
    assert {each.settings for each in patient} == set(SCAN_SETTINGS)


# -- duration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "unit_ids", "seconds"),
    [
        (SCAN_SETTINGS, UNIT_IDS, 300),
        ([SLOW], UNIT_IDS, 32),
        ([USUAL], UNIT_IDS, 26),
        ([FAST], UNIT_IDS, 22),
        (SCAN_SETTINGS, [1], 50),
        ([USUAL], [1], 6),
    ],
)
def test_scan_without_a_meter_ends_in_time(
    settings: Sequence[LineSettings], unit_ids: Sequence[int], seconds: float
) -> None:
    line = VirtualBus(opening_seconds=OPEN_SECONDS)
    scan = Scan(line.open, settings, unit_ids)
    took = run(seconds_of(scan.async_run()))
    # Two more check once whether the adapter echoes.
    probes = len(line.unit_ids()) - 2
    assert probes == len(list(plan(settings, unit_ids)))
    # Virtual time knows neither a host nor how long a port takes to open again.
    reserve = (HOST_SECONDS + OPEN_SECONDS / PROBES_UNTIL_RECOVERY) * probes
    assert took <= worst_case_seconds(settings, unit_ids) < seconds
    assert took >= worst_case_seconds(settings, unit_ids) - reserve - 0.5
    assert (scan.found, scan.others, scan.progress) == ([], set(), 1)
    assert scan.remaining_seconds == 0


def test_scan_of_unknown_bus_ends_in_time_wherever_the_meter_is() -> None:
    for unit_id in (17, 255):
        line = VirtualBus([at(unit_id, LAST)], opening_seconds=OPEN_SECONDS)
        scan = Scan(line.open)
        took = run(seconds_of(scan.async_run()))
        assert unit_ids_of(scan.found) == [unit_id]
        assert scan.found[0].settings == LAST
        assert took < worst_case_seconds() + PROFILE_SECONDS < 300


def test_likely_meter_is_found_at_once() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        found_at: dict[int, float] = {}
        scan = Scan(VirtualBus([at(1), at(2)], opening_seconds=OPEN_SECONDS).open)

        def look() -> None:
            found_at.setdefault(len(scan.found), loop.time())

        scan.on_change = look
        await scan.async_run()
        assert found_at[2] < 2 * PROFILE_SECONDS

    run(check())


def test_remaining_seconds_follow_what_probes_take() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        remaining: list[float] = []
        # A gateway waits for a second and a half, not for 60 ms.
        line = VirtualBus(framing="tcp", response_timeout=1.5)
        scan = Scan(line.open, [USUAL], range(1, 101))
        scan.on_change = lambda: remaining.append(loop.time() + scan.remaining_seconds)
        await scan.async_run()
        assert remaining[0] == pytest.approx(116 * 0.085, rel=0.05)
        assert all(
            each == pytest.approx(loop.time(), rel=0.1) for each in remaining[50:]
        )

    run(check())


def test_network_extends_the_response_timeout_of_probes() -> None:
    line = VirtualBus([at(20, delay=0.2)], response_timeout=0.5)
    scan = Scan(line.open, [USUAL], range(1, 31))
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [20]


def test_measured_delay_of_the_bus_extends_the_response_timeout() -> None:
    async def found(delay: float) -> list[int]:
        line = VirtualBus([at(20, delay=0.09)], bus=Bus(baudrate=9600))
        assert line.bus is not None
        line.bus.delay = delay
        scan = Scan(line.open, [USUAL], range(1, 31))
        await scan.async_run()
        return unit_ids_of(scan.found)

    assert run(found(0.03)) == []
    assert run(found(0.05)) == [20]


# -- what is found ---------------------------------------------------------------------


def test_settings_are_found_for_a_known_unit_id() -> None:
    line = VirtualBus([at(7, FAST)])
    scan = Scan(line.open, unit_ids=[7])
    run(scan.async_run())
    (found,) = scan.found
    assert (found.unit_id, found.settings) == (7, FAST)
    assert found.profile.serial_number == "1438012000007"
    assert found.profile.model == "COUNTIS E33"
    assert line.opened == list(SCAN_SETTINGS[: SCAN_SETTINGS.index(FAST) + 1])


@pytest.mark.parametrize("settings", [[USUAL], SCAN_SETTINGS])
def test_meter_that_takes_a_second_is_found_at_a_known_unit_id(
    settings: Sequence[LineSettings],
) -> None:
    line = VirtualBus([at(7, USUAL, delay=0.99)])
    scan = Scan(line.open, settings, [7])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [7]
    assert scan.others == set()


@pytest.mark.parametrize("settings", [[FAST], SCAN_SETTINGS])
def test_meter_in_auto_mode_is_found_at_a_known_unit_id(
    settings: Sequence[LineSettings],
) -> None:
    line = VirtualBus([at(7, *AUTO_MODE, requests_needed=9)])
    scan = Scan(line.open, settings, [7])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [7]
    assert scan.found[0].settings == settings[0]


@pytest.mark.parametrize("settings", [[USUAL], SCAN_SETTINGS])
def test_meters_in_auto_mode_are_found_at_unknown_unit_ids(
    settings: Sequence[LineSettings],
) -> None:
    needed = 9
    line = VirtualBus(
        [at(each, *AUTO_MODE, requests_needed=needed) for each in (1, 16, 20, 200)]
    )
    scan = Scan(line.open, settings)
    took = run(seconds_of(scan.async_run()))
    assert sorted(unit_ids_of(scan.found)) == [1, 16, 20, 200]
    assert {each.settings for each in scan.found} == {USUAL}
    assert took < 30 + 4 * PROFILE_SECONDS


def test_after_a_response_others_are_looked_for_with_its_settings_only() -> None:
    line = VirtualBus([at(3, FAST), at(5, FAST), at(30, FAST)])
    scan = Scan(line.open, unit_ids=range(1, 41))
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [3, 5, 30]
    assert line.opened == [USUAL, SLOW, FAST]
    assert scan.trying == FAST
    probed = [unit_id for settings, unit_id, _ in line.requests if settings == FAST]
    assert list(dict.fromkeys(probed[::-1]))[::-1] == [3, 5, 1, 2, 4, *range(6, 41)]


def test_settings_of_another_device_are_those_of_the_bus() -> None:
    other = at(3, FAST)
    other.meter.override = {50000: ord("X")}
    line = VirtualBus([other, at(5, FAST)])
    scan = Scan(line.open, unit_ids=range(1, 21))
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [5]
    assert scan.others == {3}
    assert line.opened[-1] == FAST


@pytest.mark.parametrize("exception", [1, 2, 4])
def test_device_that_refuses_everything_is_another_one(exception: int) -> None:
    other = at(1)
    other.meter.exception_code = exception
    line = VirtualBus([other, at(2)])
    scan = Scan(line.open, [USUAL], [1, 2, 3])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == {1}


@pytest.mark.parametrize("exception", [10, 11])
def test_lost_response_behind_a_gateway_is_no_device(exception: int) -> None:
    silent = at(1)
    silent.meter.exception_code = exception
    line = VirtualBus([silent, at(2)], framing="tcp")
    scan = Scan(line.open, [USUAL], [1, 2, 3])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == set()


def test_meter_that_starts_up_is_found_when_it_is_probed_again() -> None:
    starting = at(1)
    starting.meter.starting = True
    line = VirtualBus([starting])
    scan = Scan(line.open, [USUAL], range(1, 40))
    others: list[set[int]] = []

    def look() -> None:
        others.append(set(scan.others))
        starting.meter.starting = scan.unit_id == 1 and len(others) < 30

    scan.on_change = look
    run(scan.async_run())
    assert {1} in others
    assert unit_ids_of(scan.found) == [1]
    assert scan.others == set()


def test_damaged_response_to_a_probe_is_requested_again() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    line = VirtualBus([at(1), at(20)], errors={20: [damaged]})
    scan = Scan(line.open, [USUAL], range(1, 31))
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [1, 20]
    assert line.disconnects == 1


def test_noise_is_no_device() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    line = VirtualBus([at(2)], errors={1: [damaged, damaged]})
    scan = Scan(line.open, [USUAL, FAST], [1, 2])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == set()


def test_profile_is_taken_again_after_disturbances() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    line = VirtualBus([at(1)], errors={1: [None, damaged, damaged]})
    scan = Scan(line.open, [USUAL], [1, 2])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [1]


# -- what can be seen, and how it ends -------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "unit_ids", "present"),
    [
        (SCAN_SETTINGS, [1], at(1, FAST)),
        ([USUAL], range(1, 40), at(1)),
        ([USUAL], range(3, 40), at(30)),
        ([USUAL, FAST], range(1, 40), at(20, FAST)),
        ([USUAL, FAST], [1, 9], at(9, FAST)),
        (SCAN_SETTINGS, range(1, 40), at(99)),
    ],
)
def test_progress_never_falls_and_ends_at_1(
    settings: Sequence[LineSettings], unit_ids: Sequence[int], present: VirtualMeter
) -> None:
    seen: list[float] = []
    line = VirtualBus([present])
    scan = Scan(line.open, settings, unit_ids)
    scan.on_change = lambda: seen.append(scan.progress)
    run(scan.async_run())
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert seen[-1] < scan.progress == 1


def test_progress_of_a_scan_without_a_meter_is_steady() -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, float]] = []
        scan = Scan(VirtualBus().open)
        scan.on_change = lambda: seen.append((loop.time(), scan.progress))
        await scan.async_run()
        for time, progress in seen:
            assert progress == pytest.approx(time / loop.time(), abs=0.02)

    run(check())


def test_change_is_reported_before_each_probe_and_for_each_meter() -> None:
    told: list[tuple[LineSettings, int, int]] = []
    line = VirtualBus([at(1)])
    scan = Scan(line.open, [USUAL], [3, 1, 4])
    assert (scan.trying, scan.unit_id) == (USUAL, 3)
    scan.on_change = lambda: told.append((scan.trying, scan.unit_id, len(scan.found)))
    run(scan.async_run())
    assert told == [
        (USUAL, 3, 0),
        (USUAL, 1, 0),
        (USUAL, 1, 1),
        (USUAL, 4, 1),
        (USUAL, 3, 1),
        (USUAL, 4, 1),
    ]


def test_lost_connection_ends_the_scan_and_leaves_what_was_found() -> None:
    gone = ModbusConnectionError("unplugged")
    line = VirtualBus([at(1)], errors={5: [gone] * 99})
    scan = Scan(line.open, [USUAL])
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        run(scan.async_run())
    assert unit_ids_of(scan.found) == [1]
    assert scan.unit_id == 5
    assert scan.progress < 1


def test_connection_that_is_lost_during_a_profile_ends_the_scan() -> None:
    gone = ModbusConnectionError("unplugged")
    line = VirtualBus([at(1)], errors={1: [None, *[gone] * 99]})
    scan = Scan(line.open, [USUAL])
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        run(scan.async_run())
    assert scan.others == set()


def test_port_that_was_just_closed_is_opened_again() -> None:
    busy = ModbusConnectionError("the port is busy")
    line = VirtualBus([at(1)], errors={1: [busy, busy, None]}, connected=False)
    scan = Scan(line.open, [USUAL], [1, 2])
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [1]


def test_error_of_the_opening_ends_the_scan() -> None:
    line = VirtualBus([at(1, USUAL)])

    @asynccontextmanager
    async def open_usual(settings: LineSettings) -> AsyncIterator[OpenBus]:
        if settings != USUAL:
            msg = "in use with other settings"
            raise PermissionError(msg)
        async with line.open(settings) as opened:
            yield opened

    scan = Scan(open_usual, [USUAL, FAST], range(2, 9))
    with pytest.raises(PermissionError):
        run(scan.async_run())


def test_adapter_that_echoes_ends_the_scan_with_its_cause() -> None:
    scan = Scan(VirtualBus(echoes=True).open)
    with pytest.raises(EchoError):
        run(scan.async_run())


def test_noise_during_the_echo_check_does_not_end_the_scan() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    line = VirtualBus([at(5)], errors={RESERVED_UNIT_ID: [damaged, damaged]})
    scan = Scan(line.open, [USUAL], range(1, 9))
    run(scan.async_run())
    assert unit_ids_of(scan.found) == [5]
    assert line.unit_ids().count(RESERVED_UNIT_ID) == 2


def test_connection_that_is_lost_during_the_echo_check_ends_the_scan() -> None:
    gone = ModbusConnectionError("unplugged")
    line = VirtualBus(errors={RESERVED_UNIT_ID: [gone] * 99})
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        run(Scan(line.open).async_run())


# -- beside other requests -------------------------------------------------------------


async def async_poll(line: VirtualBus, meters: int, words: int) -> list[float]:
    """Read each meter once a second, and return when each round ended, in s."""
    loop = asyncio.get_running_loop()
    assert line.bus is not None
    units = [
        line.bus.unit(each, line.client(USUAL, each)) for each in range(1, meters + 1)
    ]
    ends: list[float] = []
    try:
        for second in range(1000):
            await asyncio.sleep(second - loop.time())
            for unit in units:
                await unit.read_holding_registers(50520, words)
            ends.append(loop.time())
    except asyncio.CancelledError:
        return ends
    raise AssertionError


async def async_scan_beside_polls(
    meters: int, words: int, scanned: range
) -> tuple[Scan, list[float], float]:
    """Return a scan, the ends of all rounds of polls and how long it took in s."""
    line = VirtualBus(
        [at(each, delay=0.02) for each in range(1, meters + 1)]
        + [at(scanned[-1], delay=0.02)],
        bus=Bus(baudrate=9600),
    )
    polling = asyncio.create_task(async_poll(line, meters, words))
    await asyncio.sleep(1.5)
    scan = Scan(line.open, [USUAL], scanned)
    took = await seconds_of(scan.async_run())
    polling.cancel()
    return scan, await polling, took


def test_scan_costs_the_meters_of_a_bus_no_poll() -> None:
    # 8 meters and 30 registers: 0.88 s of each second.
    async def check() -> None:
        loop = asyncio.get_running_loop()
        scan, ends, took = await async_scan_beside_polls(8, 30, range(9, 256))
        assert unit_ids_of(scan.found) == [255]
        assert 100 < took < 280
        # No round is left out, and each is late by one request at most.
        assert len(ends) >= int(loop.time())
        assert all(end < second + 1.2 for second, end in enumerate(ends))

    run(check())


def test_scan_uses_the_time_that_polls_leave() -> None:
    # 4 meters: 0.44 s of each second.
    async def check() -> None:
        scan, ends, took = await async_scan_beside_polls(4, 30, range(9, 256))
        assert unit_ids_of(scan.found) == [255]
        assert took < 60
        assert all(end < second + 1 for second, end in enumerate(ends))

    run(check())


def test_scan_on_an_overloaded_bus_takes_a_tenth_of_it() -> None:
    async def check() -> None:
        scan, _, took = await async_scan_beside_polls(20, 30, range(30, 60))
        assert unit_ids_of(scan.found) == [59]
        requests = 30 + 16 + 20
        assert took == pytest.approx(requests * (LONGEST_WAIT + 0.1), rel=0.2)

    run(check())


def test_recovery_follows_few_of_the_probes_that_time_out() -> None:
    line = VirtualBus([at(1)])
    run(Scan(line.open, [USUAL]).async_run())
    timeouts = len(line.unit_ids()) - 1
    assert line.disconnects == timeouts // PROBES_UNTIL_RECOVERY


# -- over a real serial line -----------------------------------------------------------


class Port:
    """Opens the line as a scan wants it; a pseudo-terminal has no parity."""

    # s. What the machine is busy with may delay a response; silent units cost this.
    RESPONSE_TIMEOUT = 0.5

    def __init__(self, line: Line) -> None:
        """Take the line; note each opening."""
        self.line = line
        self.opened: list[LineSettings] = []

    @asynccontextmanager
    async def open(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        """Open the line with these settings."""
        self.opened.append(settings)
        connection = ModbusConnection(
            ModbusSerialParams(device=self.line.port, baudrate=settings.baudrate)
        )

        @asynccontextmanager
        async def lend(unit_id: int) -> AsyncIterator[Any]:
            yield connection.for_unit(unit_id)

        bus = Bus(baudrate=settings.baudrate, response_timeout=self.RESPONSE_TIMEOUT)
        try:
            yield OpenBus(bus, lend)
        finally:
            await connection.close()


@pytest.fixture
async def linked_line(meter: Meter, tmp_path: Path) -> AsyncIterator[Line]:
    """Run a line whose port is gone for good when it is unplugged."""
    line = memory_line([meter], link=tmp_path / "port")
    async with line:
        yield line


async def test_settings_of_a_known_unit_id_are_found_on_a_line(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "AUTO_MODE_PROBES", 2)
    line.meter_baudrate = 38400
    port = Port(line)
    scan = Scan(port.open, [USUAL, FAST], [1])
    await scan.async_run()
    (found,) = scan.found
    assert (found.unit_id, found.settings) == (1, FAST)
    assert (found.profile.model, found.profile.serial_number) == ("COUNTIS E33", SERIAL)
    assert port.opened == [USUAL, FAST]


async def test_meters_are_found_on_a_line_with_silent_unit_ids_between(
    line: Line, second_meter: Meter
) -> None:
    # Silent unit IDs are probed before, between and after the meters.
    scan = Scan(Port(line).open, [USUAL], [9, 8, 1, 7, 2, 6])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1, 2]
    assert scan.others == set()


async def test_damaged_responses_on_a_line_cost_no_meter(line: Line) -> None:
    line.faults.append(FLIPPED)
    scan = Scan(Port(line).open, [USUAL], [1, 2])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1, 2]


async def test_port_that_does_not_exist_ends_the_scan(linked_line: Line) -> None:
    linked_line.unplug()
    scan = Scan(Port(linked_line).open, [USUAL], [1])
    with pytest.raises(ModbusConnectionError):
        await scan.async_run()
    assert scan.found == []


async def test_port_that_is_unplugged_ends_the_scan(linked_line: Line) -> None:
    scan = Scan(Port(linked_line).open, [USUAL], [1, 9, 8, 7])

    def unplug() -> None:
        if scan.unit_id == 9:
            linked_line.unplug()

    scan.on_change = unplug
    with pytest.raises(ModbusConnectionError):
        await scan.async_run()
    assert unit_ids_of(scan.found) == [1]


async def test_scan_that_is_ended_by_its_observer_gives_the_port_back(
    line: Line,
) -> None:
    class EnoughError(Exception):
        """One is enough."""

    def end() -> None:
        if scan.found:
            raise EnoughError

    port = Port(line)
    scan = Scan(port.open, [USUAL], [1, 2], on_change=end)
    with pytest.raises(EnoughError):
        await scan.async_run()
    again = Scan(port.open, [USUAL], [2, 1])
    await again.async_run()
    assert unit_ids_of(again.found) == [2, 1]
