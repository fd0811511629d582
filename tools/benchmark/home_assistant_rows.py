"""The measurements of the benchmark that need Home Assistant."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
import itertools
import json
from pathlib import Path
from statistics import median
import sys
import tempfile
import time

from custom_components.socomec_countis.countis.registers import (
    Energies,
    Measurements,
    Tariffs,
)
from tools.demo.check import RESET_KWH
from tools.errors import ToolError
from tools.home_assistant import HomeAssistant, MeterInput, async_add_meter

from .bus import SimulatedBus, async_until, run_bus
from .figures import POWER, Transaction, polls, silence
from .instance import (
    KINDS,
    Run,
    async_run,
    run_home_assistant_with_api,
    run_small_home_assistant,
)
from .text import aim, paragraphs, table, verdict

VALUES = 38  # number of sensors in the configuration from `modbus_yaml`
COMMANDED = (1, 22, 43, 64)  # unit IDs of the meters that receive a command
ALWAYS_BUSY = (64, 9600)  # meters and baud of a bus that is always busy
# By number of meters and baud: the restart time of an earlier version, and the aim in
# s. The earlier version had one config entry for each meter.
RESTARTS = {(32, 9600): ("40 s", 5), (64, 38400): ("35 s (estimated)", 4)}
# Meters and baud of the buses in the table of `async_load`. The bus with 32 meters is
# measured only for its restart.
LOADS = ((1, 9600), (64, 38400))
# In s; lost polls are counted while a meter is added, and this long before and after.
AROUND_SECONDS = 5


def modbus_yaml(port: str, baudrate: int) -> str:
    """Return YAML that configures the modbus platform, with a sensor for each value.

    The values are those that the integration reads each second if all its entities are
    enabled, except the present tariff. The platform sends one request for each sensor.
    """
    sensors = [
        {
            "name": f"{name}",
            "slave": 1,
            "address": field.address,
            "input_type": "holding",
            "data_type": "uint32" if field.count == 2 else "uint16",
            "scan_interval": 1,
        }
        for block in (Measurements, Energies, Tariffs)
        for name, field in block.declared_fields.items()
        if name != "tariff"
    ]
    hub = {
        "name": "bus",
        "type": "serial",
        "port": port,
        "baudrate": baudrate,
        "bytesize": 8,
        "method": "rtu",
        "parity": "N",
        "stopbits": 1,
        "sensors": sensors,
    }
    return f"modbus: {json.dumps([hub])}\n"


async def async_modbus_platform(seconds: float) -> str:
    """Measure the modbus platform and the integration at the same time."""

    async def async_platform() -> list[Transaction]:
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(run_bus(1, 9600))
            config = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yaml = modbus_yaml(bus.port, 9600)
            await stack.enter_async_context(run_small_home_assistant(config, yaml))
            # After this number of reads, each value was usually read twice.
            await async_until(lambda: len(bus.reads(0)) > 2 * VALUES)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            return bus.reads(began)

    own_run, platform_reads = await asyncio.gather(
        async_run(1, 9600, seconds, all_entities=True), async_platform()
    )
    # The line time is the time for which the bus is occupied. It includes the pause
    # after each response, because no request can begin before the end of this pause.
    pause = silence(9600)
    poll_seconds = median(poll.seconds for poll in polls(own_run.reads)) + pause
    requests = median(poll.requests for poll in polls(own_run.reads))
    addresses = {read.address for read in platform_reads}
    read_seconds = median(
        read.responded_at - read.begun_at
        for read in platform_reads
        if read.responded_at
    )
    platform_seconds = len(addresses) * (read_seconds + pause)
    intervals = [
        later - earlier
        for address in addresses
        for earlier, later in itertools.pairwise(
            [read.requested_at for read in platform_reads if read.address == address]
        )
    ]
    return "\n\n".join(
        (
            "## Beside the `modbus` platform of Home Assistant",
            (
                "YAML sensors of the `modbus` platform with `scan_interval: 1` read one"
                " meter at 9600 baud. This integration, with all its entities enabled,"
                " reads a meter on a second bus at the same speed. Aim: the line time"
                " of the integration is at most a fifth of that of the platform."
            ),
            table(
                (
                    "reader",
                    "requests",
                    "line time",
                    "each value is read every",
                    "result",
                ),
                (
                    (
                        "`modbus` platform",
                        f"{len(addresses)}",
                        f"{platform_seconds:.2f} s",
                        f"{median(intervals):.1f} s",
                        "",
                    ),
                    (
                        "this integration",
                        f"{requests:.0f}",
                        f"{poll_seconds:.2f} s ({poll_seconds / platform_seconds:.0%})",
                        # Only the reads of the power are evaluated here.
                        f"{60 / own_run.power.per_minute:.1f} s",
                        verdict(met=poll_seconds <= platform_seconds / 5),
                    ),
                ),
            ),
        )
    )


async def async_load(seconds: float) -> str:
    """Measure the load of Home Assistant, and the time of its restart.

    The time begins with the first request on the bus.
    """
    runs: dict[tuple[int, int], Run] = {}
    # The buses of a batch are measured at the same time. The largest bus is a batch of
    # its own.
    for batch in ([(1, 9600), (32, 9600)], [(64, 38400)]):
        runs |= zip(
            batch,
            await asyncio.gather(
                *(async_run(*case, seconds, restarted=True) for case in batch)
            ),
            strict=True,
        )
    for case, (before, aimed) in RESTARTS.items():
        restart = runs[case].restart
        aim(
            "restart with {} meters at {} baud".format(*case),
            before,
            f"≤ {aimed} s",
            f"{restart:.1f} s",
            met=restart <= aimed,
        )
    return paragraphs(
        "## The load of Home Assistant",
        "The table shows the processor time and the memory of Home Assistant with its"
        " recorder. The processor time is in % of one core of this machine. Aim: 64"
        " meters need less than a third of a core.",
        table(
            ("meters", "baud", "of one core", "memory", "result"),
            [
                (
                    f"{meters}",
                    f"{speed}",
                    f"{runs[meters, speed].core_fraction:.1%}",
                    f"{runs[meters, speed].megabytes:.0f} MB",
                    verdict(met=runs[meters, speed].core_fraction < 1 / 3)
                    if meters == 64
                    else "",
                )
                for meters, speed in LOADS
            ],
        ),
    )


async def async_database(seconds: float) -> str:
    """Measure the database rows that are written with and without the deadbands."""
    # A counter changes about once in 30 s, so measure six times as long as in the other
    # measurements of the benchmark.
    by_default, every_change = await asyncio.gather(
        async_run(1, 9600, 6 * seconds),
        async_run(1, 9600, 6 * seconds, {"publish_every_reading": True}),
    )
    default_rate, every_change_rate = (
        sum(run.rows_per_hour.values()) for run in (by_default, every_change)
    )
    share = default_rate / every_change_rate
    return "\n\n".join(
        (
            "## Rows in the database",
            (
                "The table shows the rows that Home Assistant writes for the default"
                " entities of one meter. The load of the simulated household changes"
                " every second. By default, a change of a measured value is published"
                " at once if it reaches the [deadband](bus.md#published-changes), and"
                " up to 30 s later otherwise. Aim: by default, less than a tenth of the"
                " rows that are written if every change is published at once."
            ),
            table(
                (
                    *("setting", "rows per hour"),
                    *(f"of {kind}" for kind in KINDS),
                    "result",
                ),
                (
                    (
                        "every change is published",
                        f"{every_change_rate:.0f}",
                        *(f"{every_change.rows_per_hour[kind]:.0f}" for kind in KINDS),
                        "",
                    ),
                    (
                        "by default",
                        f"{default_rate:.0f} ({share:.0%})",
                        *(f"{by_default.rows_per_hour[kind]:.0f}" for kind in KINDS),
                        verdict(met=share < 0.1),
                    ),
                ),
            ),
        )
    )


async def async_commands(_: float) -> str:
    """Measure the time until a command on an always busy bus is confirmed.

    The result is only a row in the table of aims, so the returned text is empty.
    """
    meters, baudrate = ALWAYS_BUSY
    durations: list[float] = []
    failed = 0
    async with (
        # The partial counter of the consumed energy begins at 1e6 Wh, so that its reset
        # can be seen.
        run_bus(meters, baudrate, "--partial", "1e6") as bus,
        run_home_assistant_with_api(bus, meters) as hass,
    ):
        # The subentry IDs of this Home Assistant are unit IDs with leading zeros.
        entities = {
            (int(entity.subentry_id), entity.key): entity.entity_id
            for entity in await hass.async_entities()
        }
        for unit_id in COMMANDED:
            began = time.monotonic()
            is_confirmed = True
            try:
                button = entities[unit_id, "reset_partial_counters"]
                await hass.async_press(button)
            except ToolError as err:
                print(err, file=sys.stderr)
                is_confirmed = False
            durations.append(time.monotonic() - began)
            states = await hass.async_states()
            # After a successful reset, the counter shows at most RESET_KWH. It may be
            # more than 0, because the meter continues to count.
            counter = entities[unit_id, "partial_energy_consumed"]
            failed += not is_confirmed or float(states[counter]) > RESET_KWH
    aim(
        f"slowest of {len(COMMANDED)} resets of the partial counters, on a busy bus"
        f" with {meters} meters at {baudrate} baud",
        "fails, or 25 s",
        "≤ 5 s, all reset",
        f"{max(durations):.1f} s" + (f", {failed} failed" if failed else ", all reset"),
        met=max(durations) <= 5 and not failed,
    )
    return ""


async def async_dialogs(_: float) -> str:
    """Measure the time to add a meter, and how many polls the other meters lose."""
    async with run_bus(1, 9600) as bus, run_home_assistant_with_api(bus, 0) as hass:
        began = time.monotonic()
        await _async_add(hass, bus, 1)
        while not any(  # noqa: ASYNC110
            entity_id.endswith("_power") and state.lstrip("-").isdecimal()
            for entity_id, state in (await hass.async_states()).items()
        ):
            await asyncio.sleep(0.02)
        took = time.monotonic() - began
    aim(
        "adding a first meter at 9600 baud: time from the opening of the dialog to the"
        " first value",
        "not measured",
        "≤ 2 s",
        f"{took:.1f} s",
        met=took <= 2,
    )

    async with run_bus(9, 9600) as bus, run_home_assistant_with_api(bus, 8) as hass:
        began = time.monotonic()
        await asyncio.sleep(AROUND_SECONDS)
        await _async_add(hass, bus, 9)
        await asyncio.sleep(AROUND_SECONDS)
        lost = _lost_polls(bus.reads(began), range(1, 9))
    aim(
        "adding a meter to a bus with eight meters at 9600 baud: missing polls of these"
        " eight",
        "not measured",
        "0",
        f"{lost}",
        met=lost == 0,
    )

    async with run_bus(32, 19200) as bus, run_home_assistant_with_api(bus, 0) as hass:
        durations = [await _async_add(hass, bus, unit_id) for unit_id in range(1, 33)]
    aim(
        "adding 32 meters at 19200 baud: time for all; time for the slowest",
        "653 s; 40 s",
        "≤ 2 s for the slowest",
        f"{sum(durations):.0f} s; {max(durations):.1f} s",
        met=max(durations) <= 2,
    )
    return ""


async def _async_add(hass: HomeAssistant, bus: SimulatedBus, unit_id: int) -> float:
    """Add a meter with the dialog of the integration. Return the duration in s."""
    began = time.monotonic()
    await async_add_meter(hass, MeterInput(bus.port, unit_id, bus.baudrate))
    return time.monotonic() - began


def _lost_polls(reads: Iterable[Transaction], unit_ids: Iterable[int]) -> int:
    """Return how many polls of these meters were lost.

    Each meter should be polled each second, from its first poll to its last.
    """
    # By unit ID: the times of the requests that the meter has answered.
    poll_times: dict[int, list[float]] = {unit_id: [] for unit_id in unit_ids}
    for read in reads:
        if (
            read.responded_at is not None
            and read.covers(POWER)
            and read.unit_id in poll_times
        ):
            poll_times[read.unit_id].append(read.requested_at)
    return sum(
        max(round(times[-1] - times[0]) - (len(times) - 1), 0)
        for times in poll_times.values()
    )
