"""The scan for meters, on a bus in memory and through a client on a simulated line."""

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

from custom_components.socomec_countis.countis.bus import (
    LONGEST_BACKGROUND_WAIT,
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
    planned_probes,
)
from custom_components.socomec_countis.countis.scan import (
    RESERVED_UNIT_ID,
    FoundMeter,
    OpenBus,
    Scan,
)
from simulator import FLIPPED, Line, Meter

from .common import SERIAL, memory_line
from .scanned_bus import (
    OPEN_SECONDS,
    ScannedBus,
    ScannedMeter,
    duration_of,
    worst_case_seconds,
)

USUAL = LineSettings(9600, "N", 2)
LOW_SPEED = LineSettings(4800, "N", 2)
HIGH_SPEED = LineSettings(38400, "N", 2)
LAST = SCAN_SETTINGS[-1]

# A meter in AUTO mode responds to probes with these settings. The manual lists 9600 to
# 38400 baud with 8N2, 8E1 and 8O1. In place of 8E1 and 8O1, a scan sends requests with
# 8E2 and 8O2. The meter also receives these requests, because a second stop bit looks
# like an idle line.
AUTO_MODE = [each for each in SCAN_SETTINGS if each.baudrate > 4800]

PROFILE_SECONDS = 2.0  # s to take a profile at 4800 baud, rounded up
# A scan of all unit IDs and settings begins with this number of probes of the first 16
# unit IDs. Each of these unit IDs has one probe with the usual settings, and later one
# probe with each of the 12 settings.
FIRST_PROBE_COUNT = (1 + 12) * 16


def meter_at(unit_id: int, *settings: LineSettings, **changes: Any) -> ScannedMeter:
    """Return a meter that understands some line settings, by default `USUAL`."""
    return ScannedMeter(Meter(unit_id=unit_id), settings or [USUAL], **changes)


def unit_ids_of(found: Sequence[FoundMeter]) -> list[int]:
    """Return the unit IDs of meters that were found."""
    return [each.unit_id for each in found]


# -- settings, and the order of the probes ---------------------------------------------


def test_line_settings_have_the_common_notation() -> None:
    assert str(LineSettings(9600, "N", 1)) == "9600 baud, 8N1"


def test_all_settings_contain_each_combination_once() -> None:
    assert len(ALL_SETTINGS) == len(set(ALL_SETTINGS)) == 4 * 3 * 2


def test_scan_tries_each_speed_and_parity_once_with_2_stop_bits() -> None:
    assert len(SCAN_SETTINGS) == 12
    assert {each.stopbits for each in SCAN_SETTINGS} == {2}
    assert {(each.baudrate, each.parity) for each in SCAN_SETTINGS} == {
        (each.baudrate, each.parity) for each in ALL_SETTINGS
    }
    assert SCAN_SETTINGS[:2] == (USUAL, LOW_SPEED)


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
def test_known_settings_restrict_the_settings_to_try(
    known: dict[str, Any], tried: list[str]
) -> None:
    assert [str(each) for each in settings_to_try(**known)] == tried


def test_port_in_use_with_1_stop_bit_is_scanned_with_1_stop_bit() -> None:
    in_use = LineSettings(9600, "N", 1)
    assert settings_to_try(usable=[in_use]) == (in_use,)
    assert settings_to_try(38400, usable=[in_use]) == ()


def test_scan_begins_with_the_first_unit_ids_and_all_settings() -> None:
    probes = list(planned_probes(SCAN_SETTINGS, UNIT_IDS))
    first = probes[:FIRST_PROBE_COUNT]
    assert {each.unit_id for each in first} == set(range(1, 17))
    assert {each.settings for each in first} == set(SCAN_SETTINGS)
    for settings in SCAN_SETTINGS:
        later = [
            each for each in probes[FIRST_PROBE_COUNT:] if each.settings == settings
        ]
        assert [each.unit_id for each in later] == list(UNIT_IDS)


def test_with_known_settings_the_first_unit_ids_are_probed_again() -> None:
    probes = list(planned_probes([USUAL], UNIT_IDS))
    assert [each.unit_id for each in probes] == [*range(1, 256), *range(1, 17)]


def test_single_unit_id_is_probed_with_a_long_timeout_at_the_end() -> None:
    probes = list(planned_probes(SCAN_SETTINGS, [7]))
    # Ten probes with the first settings, because a meter in AUTO mode needs several
    # requests before it responds.
    assert probes[:11] == [Probe(USUAL, 7)] * 10 + [Probe(LOW_SPEED, 7)]
    slow_probes = [each for each in probes if each.slow]
    # Three slow probes, which have a timeout of 1 s, with each of the 12 settings.
    assert probes[-3 * 12 :] == slow_probes
    assert {each.settings for each in slow_probes} == set(SCAN_SETTINGS)


# -- duration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "unit_ids", "limit_seconds"),
    [
        (SCAN_SETTINGS, UNIT_IDS, 300),
        ([LOW_SPEED], UNIT_IDS, 32),
        ([USUAL], UNIT_IDS, 26),
        ([HIGH_SPEED], UNIT_IDS, 22),
        (SCAN_SETTINGS, [1], 50),
        ([USUAL], [1], 6),
    ],
)
async def test_scan_without_a_meter_ends_within_the_worst_case(
    settings: Sequence[LineSettings], unit_ids: Sequence[int], limit_seconds: float
) -> None:
    bus = ScannedBus(opening_seconds=OPEN_SECONDS)
    scan = Scan(bus.open, settings, unit_ids)
    took = await duration_of(scan.async_run())
    # `bus.unit_ids()` also includes the two reads of the echo check.
    probes = len(bus.unit_ids()) - 2
    assert probes == len(list(planned_probes(settings, unit_ids)))
    # The worst case contains time for the host and for recoveries, although they take
    # no time on a `ScannedBus`. It also has about 0.5 s too much for the echo check.
    reserve = (HOST_SECONDS + OPEN_SECONDS / PROBES_UNTIL_RECOVERY) * probes
    assert took <= worst_case_seconds(settings, unit_ids) < limit_seconds
    assert took >= worst_case_seconds(settings, unit_ids) - reserve - 0.5
    assert (scan.found, scan.others, scan.progress) == ([], set(), 1)
    assert scan.remaining_seconds == 0


# The first unit ID after the 16 that are probed first, and the last unit ID.
@pytest.mark.parametrize("unit_id", [17, 255])
async def test_scan_that_finds_a_meter_with_the_last_settings_ends_within_300_s(
    unit_id: int,
) -> None:
    bus = ScannedBus([meter_at(unit_id, LAST)], opening_seconds=OPEN_SECONDS)
    scan = Scan(bus.open)
    took = await duration_of(scan.async_run())
    assert unit_ids_of(scan.found) == [unit_id]
    assert scan.found[0].settings == LAST
    assert took < worst_case_seconds() + PROFILE_SECONDS < 300


async def test_meters_at_first_unit_ids_are_found_within_4_s() -> None:
    loop = asyncio.get_running_loop()
    found_at: dict[int, float] = {}  # s since the start, by number of found meters
    scan = Scan(
        ScannedBus([meter_at(1), meter_at(2)], opening_seconds=OPEN_SECONDS).open
    )

    def on_change() -> None:
        found_at.setdefault(len(scan.found), loop.time())

    scan.on_change = on_change
    await scan.async_run()
    assert found_at[2] < 2 * PROFILE_SECONDS


async def test_remaining_seconds_follow_the_duration_of_the_probes() -> None:
    loop = asyncio.get_running_loop()
    predicted_ends: list[float] = []
    # Behind the Modbus TCP gateway, a probe takes 1.5 s, not the expected 85 ms. There
    # are 116 probes, because the first 16 unit IDs are probed again.
    bus = ScannedBus(framing="tcp", response_timeout=1.5)
    scan = Scan(bus.open, [USUAL], range(1, 101))
    scan.on_change = lambda: predicted_ends.append(loop.time() + scan.remaining_seconds)
    await scan.async_run()
    assert predicted_ends[0] == pytest.approx(116 * 0.085, rel=0.05)
    # After 50 probes, the predictions have adapted to the real duration.
    for each in predicted_ends[50:]:
        assert each == pytest.approx(loop.time(), rel=0.1)


async def test_longer_timeout_of_the_bus_extends_the_timeout_of_probes() -> None:
    # The timeout of the bus is 0.25 s longer than usual. So a probe waits for
    # 0.31 s, in place of the usual 0.06 s.
    bus = ScannedBus([meter_at(20, delay=0.2)], response_timeout=0.5)
    scan = Scan(bus.open, [USUAL], range(1, 31))
    await scan.async_run()
    assert unit_ids_of(scan.found) == [20]


# A probe waits for twice the measured delay, and at least for 60 ms.
@pytest.mark.parametrize(("delay", "found"), [(0.03, []), (0.05, [20])])
async def test_measured_delay_of_the_bus_extends_the_timeout_of_probes(
    delay: float, found: list[int]
) -> None:
    bus = ScannedBus([meter_at(20, delay=0.09)], bus=Bus(baudrate=9600))
    assert bus.bus is not None
    bus.bus.delay = delay
    scan = Scan(bus.open, [USUAL], range(1, 31))
    await scan.async_run()
    assert unit_ids_of(scan.found) == found


# -- found meters and other devices ----------------------------------------------------


async def test_settings_are_found_for_a_known_unit_id() -> None:
    bus = ScannedBus([meter_at(7, HIGH_SPEED)])
    scan = Scan(bus.open, unit_ids=[7])
    await scan.async_run()
    (found,) = scan.found
    assert (found.unit_id, found.settings) == (7, HIGH_SPEED)
    assert found.profile.serial_number == "1438012000007"
    assert found.profile.model == "COUNTIS E33"
    assert bus.opened == list(SCAN_SETTINGS[: SCAN_SETTINGS.index(HIGH_SPEED) + 1])


@pytest.mark.parametrize("settings", [[USUAL], SCAN_SETTINGS])
async def test_meter_with_delay_of_990_ms_is_found_at_a_known_unit_id(
    settings: Sequence[LineSettings],
) -> None:
    bus = ScannedBus([meter_at(7, USUAL, delay=0.99)])
    scan = Scan(bus.open, settings, [7])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [7]
    assert scan.others == set()


@pytest.mark.parametrize("settings", [[HIGH_SPEED], SCAN_SETTINGS])
async def test_meter_in_auto_mode_is_found_at_a_known_unit_id(
    settings: Sequence[LineSettings],
) -> None:
    bus = ScannedBus([meter_at(7, *AUTO_MODE, requests_needed=9)])
    scan = Scan(bus.open, settings, [7])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [7]
    assert scan.found[0].settings == settings[0]


@pytest.mark.parametrize("settings", [[USUAL], SCAN_SETTINGS])
async def test_meters_in_auto_mode_are_found_at_unknown_unit_ids(
    settings: Sequence[LineSettings],
) -> None:
    unit_ids = [1, 16, 20, 200]
    bus = ScannedBus(
        [meter_at(each, *AUTO_MODE, requests_needed=9) for each in unit_ids]
    )
    scan = Scan(bus.open, settings)
    took = await duration_of(scan.async_run())
    assert sorted(unit_ids_of(scan.found)) == unit_ids
    assert {each.settings for each in scan.found} == {USUAL}
    # The probes take less than 30 s at 9600 baud. Each profile takes additional time.
    assert took < 30 + 4 * PROFILE_SECONDS


async def test_after_the_first_response_only_its_settings_are_probed() -> None:
    bus = ScannedBus(
        [meter_at(3, HIGH_SPEED), meter_at(5, HIGH_SPEED), meter_at(30, HIGH_SPEED)]
    )
    scan = Scan(bus.open, unit_ids=range(1, 41))
    await scan.async_run()
    assert unit_ids_of(scan.found) == [3, 5, 30]
    assert bus.opened == [USUAL, LOW_SPEED, HIGH_SPEED]
    assert scan.probed_settings == HIGH_SPEED
    probed = [
        unit_id for settings, unit_id, _ in bus.requests if settings == HIGH_SPEED
    ]
    # The unit IDs in the order of their last probes. The meters at 3 and 5 are found
    # while unit IDs 1 to 16 are probed. The pass over all unit IDs omits both meters.
    assert list(dict.fromkeys(probed[::-1]))[::-1] == [3, 5, 1, 2, 4, *range(6, 41)]


async def test_response_of_another_device_determines_the_settings() -> None:
    other = meter_at(3, HIGH_SPEED)
    other.meter.override = {50000: ord("X")}  # not the signature of Socomec
    bus = ScannedBus([other, meter_at(5, HIGH_SPEED)])
    scan = Scan(bus.open, unit_ids=range(1, 21))
    await scan.async_run()
    assert unit_ids_of(scan.found) == [5]
    assert scan.others == {3}
    assert bus.opened[-1] == HIGH_SPEED


@pytest.mark.parametrize("exception", [1, 2, 4])
async def test_device_that_refuses_all_requests_is_another_device(
    exception: int,
) -> None:
    other = meter_at(1)
    other.meter.exception_code = exception
    bus = ScannedBus([other, meter_at(2)])
    scan = Scan(bus.open, [USUAL], [1, 2, 3])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == {1}


@pytest.mark.parametrize("exception", [10, 11])
async def test_gateway_exception_for_a_lost_response_is_no_device(
    exception: int,
) -> None:
    offline = meter_at(1)
    offline.meter.exception_code = exception
    bus = ScannedBus([offline, meter_at(2)], framing="tcp")
    scan = Scan(bus.open, [USUAL], [1, 2, 3])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == set()


async def test_meter_that_starts_up_is_found_by_its_next_probe() -> None:
    starting = meter_at(1)
    starting.meter.starting = True
    bus = ScannedBus([starting])
    scan = Scan(bus.open, [USUAL], range(1, 40))
    seen_others: list[set[int]] = []

    def on_change() -> None:
        # `seen_others` gets an item before each probe. The probes of unit ID 1 are the
        # first and the 40th probe. The meter is starting only at the first of the two.
        seen_others.append(set(scan.others))
        starting.meter.starting = scan.probed_unit_id == 1 and len(seen_others) < 30

    scan.on_change = on_change
    await scan.async_run()
    assert {1} in seen_others
    assert unit_ids_of(scan.found) == [1]
    assert scan.others == set()


async def test_damaged_response_to_a_probe_is_retried() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    bus = ScannedBus([meter_at(1), meter_at(20)], errors={20: [damaged]})
    scan = Scan(bus.open, [USUAL], range(1, 31))
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1, 20]
    assert bus.disconnects == 1


async def test_two_damaged_responses_are_no_device() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    bus = ScannedBus([meter_at(2)], errors={1: [damaged, damaged]})
    scan = Scan(bus.open, [USUAL, HIGH_SPEED], [1, 2])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [2]
    assert scan.others == set()


async def test_profile_is_taken_again_after_damaged_responses() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    # The probe has a response. The first read of the profile and its retry fail.
    bus = ScannedBus([meter_at(1)], errors={1: [None, damaged, damaged]})
    scan = Scan(bus.open, [USUAL], [1, 2])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1]


# -- progress, and the end of a scan ---------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "unit_ids", "connected_meter"),
    [
        (SCAN_SETTINGS, [1], meter_at(1, HIGH_SPEED)),
        ([USUAL], range(1, 40), meter_at(1)),
        ([USUAL], range(3, 40), meter_at(30)),
        ([USUAL, HIGH_SPEED], range(1, 40), meter_at(20, HIGH_SPEED)),
        ([USUAL, HIGH_SPEED], [1, 9], meter_at(9, HIGH_SPEED)),
        (SCAN_SETTINGS, range(1, 40), meter_at(99)),  # 99 is not scanned
    ],
)
async def test_progress_never_decreases_and_ends_at_1(
    settings: Sequence[LineSettings],
    unit_ids: Sequence[int],
    connected_meter: ScannedMeter,
) -> None:
    seen: list[float] = []
    bus = ScannedBus([connected_meter])
    scan = Scan(bus.open, settings, unit_ids)
    scan.on_change = lambda: seen.append(scan.progress)
    await scan.async_run()
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 1
    assert seen[-1] < scan.progress == 1


async def test_progress_without_a_meter_is_proportional_to_time() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[float, float]] = []
    scan = Scan(ScannedBus().open, unit_ids=range(1, 65))
    scan.on_change = lambda: seen.append((loop.time(), scan.progress))
    await scan.async_run()
    # The clock of the loop starts at 0 s, so it now shows the duration of the scan.
    for time, progress in seen:
        assert progress == pytest.approx(time / loop.time(), abs=0.02)


async def test_change_is_reported_before_each_probe_and_for_each_meter() -> None:
    changes: list[tuple[LineSettings, int, int]] = []
    bus = ScannedBus([meter_at(1)])
    scan = Scan(bus.open, [USUAL], [3, 1, 4])
    assert (scan.probed_settings, scan.probed_unit_id) == (USUAL, 3)
    scan.on_change = lambda: changes.append(
        (scan.probed_settings, scan.probed_unit_id, len(scan.found))
    )
    await scan.async_run()
    assert changes == [
        (USUAL, 3, 0),
        (USUAL, 1, 0),
        (USUAL, 1, 1),
        (USUAL, 4, 1),
        # The second probes, which omit the found meter.
        (USUAL, 3, 1),
        (USUAL, 4, 1),
    ]


async def test_lost_connection_ends_the_scan_and_keeps_found_meters() -> None:
    gone = ModbusConnectionError("unplugged")
    bus = ScannedBus([meter_at(1)], errors={5: [gone] * 99})
    scan = Scan(bus.open, [USUAL])
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        await scan.async_run()
    assert unit_ids_of(scan.found) == [1]
    assert scan.probed_unit_id == 5
    assert scan.progress < 1


async def test_connection_lost_during_a_profile_ends_the_scan() -> None:
    gone = ModbusConnectionError("unplugged")
    bus = ScannedBus([meter_at(1)], errors={1: [None, *[gone] * 99]})
    scan = Scan(bus.open, [USUAL])
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        await scan.async_run()
    assert scan.others == set()


async def test_port_that_was_just_closed_is_opened_again() -> None:
    busy = ModbusConnectionError("the port is busy")
    bus = ScannedBus([meter_at(1)], errors={1: [busy, busy, None]}, connected=False)
    scan = Scan(bus.open, [USUAL], [1, 2])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1]


async def test_error_when_the_bus_is_opened_ends_the_scan() -> None:
    bus = ScannedBus([meter_at(1, USUAL)])

    @asynccontextmanager
    async def open_usual(settings: LineSettings) -> AsyncIterator[OpenBus]:
        if settings != USUAL:
            msg = "in use with other settings"
            raise PermissionError(msg)
        async with bus.open(settings) as opened:
            yield opened

    scan = Scan(open_usual, [USUAL, HIGH_SPEED], range(2, 9))
    with pytest.raises(PermissionError):
        await scan.async_run()


async def test_adapter_that_echoes_ends_the_scan_with_an_echo_error() -> None:
    scan = Scan(ScannedBus(echoes=True).open)
    with pytest.raises(EchoError):
        await scan.async_run()


async def test_noise_during_the_echo_check_does_not_end_the_scan() -> None:
    damaged = ModbusProtocolError("wrong CRC")
    bus = ScannedBus([meter_at(5)], errors={RESERVED_UNIT_ID: [damaged, damaged]})
    scan = Scan(bus.open, [USUAL], range(1, 9))
    await scan.async_run()
    assert unit_ids_of(scan.found) == [5]
    assert bus.unit_ids().count(RESERVED_UNIT_ID) == 2  # the read and its retry


async def test_connection_lost_during_the_echo_check_ends_the_scan() -> None:
    gone = ModbusConnectionError("unplugged")
    bus = ScannedBus(errors={RESERVED_UNIT_ID: [gone] * 99})
    with pytest.raises(ModbusConnectionError, match="unplugged"):
        await Scan(bus.open).async_run()


# -- while meters of the bus are polled ------------------------------------------------


async def async_poll(bus: ScannedBus, meters: int, words: int) -> list[float]:
    """Read `words` registers of each meter once a second until the task is cancelled.

    Return the time in s at the end of each round.
    """
    loop = asyncio.get_running_loop()
    assert bus.bus is not None
    units = [
        bus.bus.unit(each, bus.client(USUAL, each)) for each in range(1, meters + 1)
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
    raise AssertionError  # the polls were not cancelled in 1000 s


async def async_scan_beside_polls(
    meters: int, words: int, scanned: range
) -> tuple[Scan, list[float], float]:
    """Scan a bus while its meters are polled.

    One more meter is at the last of the `scanned` unit IDs. Return the scan, the time
    in s at the end of each round of polls, and the duration of the scan in s.
    """
    bus = ScannedBus(
        [meter_at(each, delay=0.02) for each in range(1, meters + 1)]
        + [meter_at(scanned[-1], delay=0.02)],
        bus=Bus(baudrate=9600),
    )
    polling = asyncio.create_task(async_poll(bus, meters, words))
    await asyncio.sleep(1.5)
    scan = Scan(bus.open, [USUAL], scanned)
    took = await duration_of(scan.async_run())
    polling.cancel()
    return scan, await polling, took


async def test_scan_delays_a_poll_by_at_most_one_request() -> None:
    # The polls of 8 meters with 30 registers take 0.86 s of each second. So the scan
    # takes several times the 13 s that are enough on a bus without polls.
    loop = asyncio.get_running_loop()
    scan, ends, took = await async_scan_beside_polls(8, 30, range(9, 132))
    assert unit_ids_of(scan.found) == [131]
    assert 50 < took < 140
    # No round of polls is omitted, and each round is late by at most one request.
    assert len(ends) >= int(loop.time())
    assert all(end < second + 1.2 for second, end in enumerate(ends))


async def test_scan_uses_the_time_between_polls() -> None:
    # The polls of 4 meters take 0.43 s of each second.
    scan, ends, took = await async_scan_beside_polls(4, 30, range(9, 256))
    assert unit_ids_of(scan.found) == [255]
    assert took < 60
    assert all(end < second + 1 for second, end in enumerate(ends))


async def test_scan_uses_a_tenth_of_the_time_of_an_overloaded_bus() -> None:
    scan, _, took = await async_scan_beside_polls(20, 30, range(30, 60))
    assert unit_ids_of(scan.found) == [59]
    # Probes of 30 unit IDs, repeated probes of the first 16, and at most 20 requests
    # that take the profile of the found meter.
    requests = 30 + 16 + 20
    # The bus is never free, so each request is sent after `LONGEST_BACKGROUND_WAIT`,
    # and takes about 0.1 s.
    assert took == pytest.approx(requests * (LONGEST_BACKGROUND_WAIT + 0.1), rel=0.2)


async def test_bus_recovers_after_64_probes_that_time_out() -> None:
    bus = ScannedBus([meter_at(1)])
    await Scan(bus.open, [USUAL]).async_run()
    timeouts = len(bus.unit_ids()) - 1  # only the probe of the meter has a response
    assert bus.disconnects == timeouts // PROBES_UNTIL_RECOVERY


# -- through a client on a simulated line ----------------------------------------------


class ClientPort:
    """The port of a simulated line. The line simulates the speed, but no parity."""

    def __init__(self, line: Line) -> None:
        """Use the port of a line."""
        self.line = line
        self.opened: list[LineSettings] = []
        """The settings of each opening, in their order."""

    @asynccontextmanager
    async def open(self, settings: LineSettings) -> AsyncIterator[OpenBus]:
        """Open the port with a client, for a scan."""
        self.opened.append(settings)
        connection = ModbusConnection(
            ModbusSerialParams(device=self.line.port, baudrate=settings.baudrate)
        )

        @asynccontextmanager
        async def open_unit(unit_id: int) -> AsyncIterator[Any]:
            yield connection.for_unit(unit_id)

        try:
            yield OpenBus(Bus(baudrate=settings.baudrate), open_unit)
        finally:
            await connection.close()


@pytest.fixture
async def linked_line(meter: Meter, tmp_path: Path) -> AsyncIterator[Line]:
    """Run a line with one meter. `unplug` removes the link to its port."""
    line = memory_line([meter], link=tmp_path / "port")
    async with line:
        yield line


async def test_settings_are_found_through_a_client(line: Line) -> None:
    line.meter_baudrate = 38400
    port = ClientPort(line)
    scan = Scan(port.open, [USUAL, HIGH_SPEED], [1])
    await scan.async_run()
    (found,) = scan.found
    assert (found.unit_id, found.settings) == (1, HIGH_SPEED)
    assert (found.profile.model, found.profile.serial_number) == ("COUNTIS E33", SERIAL)
    assert port.opened == [USUAL, HIGH_SPEED]


async def test_meters_are_found_between_unit_ids_without_a_device(line: Line) -> None:
    scan = Scan(ClientPort(line).open, [USUAL], [9, 8, 1, 7, 2, 6])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1, 2]
    assert scan.others == set()


async def test_meter_with_a_damaged_response_is_found(line: Line) -> None:
    line.faults.append(FLIPPED)
    scan = Scan(ClientPort(line).open, [USUAL], [1, 2])
    await scan.async_run()
    assert unit_ids_of(scan.found) == [1, 2]


async def test_port_that_does_not_exist_ends_the_scan(linked_line: Line) -> None:
    linked_line.unplug()
    scan = Scan(ClientPort(linked_line).open, [USUAL], [1])
    with pytest.raises(ModbusConnectionError):
        await scan.async_run()
    assert scan.found == []


async def test_port_that_is_unplugged_ends_the_scan(linked_line: Line) -> None:
    scan = Scan(ClientPort(linked_line).open, [USUAL], [1, 9, 8, 7])

    def unplug() -> None:
        if scan.probed_unit_id == 9:
            linked_line.unplug()

    scan.on_change = unplug
    with pytest.raises(ModbusConnectionError):
        await scan.async_run()
    assert unit_ids_of(scan.found) == [1]


async def test_error_in_on_change_ends_the_scan_and_closes_the_port(
    line: Line,
) -> None:
    class EndScanError(Exception):
        """Ends the scan after the first meter."""

    def end() -> None:
        if scan.found:
            raise EndScanError

    port = ClientPort(line)
    scan = Scan(port.open, [USUAL], [1, 2], on_change=end)
    with pytest.raises(EndScanError):
        await scan.async_run()
    # Another scan can open the port.
    again = Scan(port.open, [USUAL], [2, 1])
    await again.async_run()
    assert unit_ids_of(again.found) == [2, 1]
