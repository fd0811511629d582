"""Measures how fast meters are read again after disturbances of a simulated bus.

Run `python -m tools.benchmark.recovery`. Each run polls three meters on a
pseudo-terminal, disturbs a part of the responses for a time, and waits until all meters
are read again. The result is a Markdown table.
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
import logging
from random import Random
import sys
from typing import override

from modbus_connection import ModbusError, ModbusSerialParams, ModbusUnit
import modbus_connection.pymodbus
import modbus_connection.tmodbus

from custom_components.socomec_countis.countis.bus import Bus
from custom_components.socomec_countis.countis.meter import Meter, Reading
from custom_components.socomec_countis.countis.poller import Polled, Poller
from custom_components.socomec_countis.countis.profile import async_take_profile
from simulator import (
    ANOTHER_FUNCTION,
    ANOTHER_UNIT_ID,
    BUSY,
    DUPLICATED,
    ECHO,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    NOISE_WITHIN,
    ONES,
    SPLIT,
    TRUNCATED,
    WRONG_BYTE_COUNT,
    ZEROS,
    Constant,
    Counters,
    Fault,
    Line,
    Phase,
    late,
    random_bytes,
)
from simulator import Meter as SimulatedMeter

BAUDRATE = 9600
UNIT_IDS = (1, 2, 3)
# Quantities that are not polled, because a change would count as a wrong value. The
# simulated meters keep all values constant, even the time of their clocks. So only the
# offset of a clock to the real time changes.
CHANGING = {"clock_offset"}
HELD_SECONDS = 10  # s; Home Assistant shows values at least this long after a read
SETTLING_SECONDS = 3  # s until all meters were read several times
LONGEST_RECOVERY = 90  # s after the end of the fault; the run then ends
AIM_SECONDS = 5  # s; longest acceptable recovery of an online meter
OFFLINE_AIM_SECONDS = 30  # s; offline meters get a request every 30 s or sooner
RATES = (0.05, 0.3, 1.0)  # the part of the responses that is disturbed

# The name in the table, and a function that returns the fault of one response.
FAULTS: dict[str, Callable[[Random], Fault]] = {
    "lost": lambda _: LOST,
    "wrong CRC": lambda _: FLIPPED,
    "truncated": lambda _: TRUNCATED,
    "noise before": lambda _: NOISE_BEFORE,
    "noise after": lambda _: NOISE_AFTER,
    "noise within": lambda _: NOISE_WITHIN,
    "byte count changed": lambda _: WRONG_BYTE_COUNT,
    "other unit ID": lambda _: ANOTHER_UNIT_ID,
    "other function": lambda _: ANOTHER_FUNCTION,
    "late 0.1 s to 3 s": lambda random: late(random.uniform(0.1, 3)),
    "split": lambda _: SPLIT,
    "duplicated": lambda _: DUPLICATED,
    "echo of the request": lambda _: ECHO,
    "all zeros": lambda _: ZEROS,
    "all ones": lambda _: ONES,
    "busy": lambda _: BUSY,
    "random bytes": lambda random: random_bytes(random.randrange(2**32)),
}
BACKENDS = {
    "tmodbus": modbus_connection.tmodbus,
    "pymodbus": modbus_connection.pymodbus,
}


@dataclass(frozen=True)
class Case:
    """A fault, its rate (as in `RATES`), its length in s, and the Modbus client."""

    fault: str
    rate: float
    seconds: float
    backend: str


@dataclass
class Outcome:
    """The result of one run. Each time is the longest time of any meter."""

    recovery: float = 0
    """For meters that were online at the end of the fault: s until the next read.

    If no meter was online then, this is 0.
    """
    offline_recovery: float = 0
    """The same for meters that were offline at the end of the fault."""
    unavailable: float = 0
    """s during the fault for which Home Assistant would show no value."""
    wrong: int = 0
    """The number of accepted values that the meter never had."""
    log_lines: int = 0
    """The number of log records at the level WARNING or above, during the fault.

    All runs of a case share one process, so the records of all of them are counted.
    """


@dataclass(eq=False)
class ReadingLog:
    """The accepted readings of a polled meter."""

    truth: dict[str, float | None] = field(default_factory=dict)
    """The first value of each quantity, which the meter never changes."""
    read_at: list[float] = field(default_factory=list)
    """When the power was read, in s of the event loop's clock."""
    wrong: int = 0
    """The number of values that differ from `truth`."""
    is_read: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the power was read."""

    def compare(self, reading: Reading) -> None:
        """Count wrong values, and store the time of each read of the power."""
        for name, value in reading.values.items():
            if value is not None and self.truth.setdefault(name, value) != value:
                self.wrong += 1
        if "power" in reading.values:
            self.read_at.append(asyncio.get_running_loop().time())
            self.is_read.set()

    def recovery_after(self, end: float) -> float:
        """Return the time in s from `end` to the next read of the power.

        If there was no such read, return `LONGEST_RECOVERY`.
        """
        return next((at - end for at in self.read_at if at > end), LONGEST_RECOVERY)

    def unavailable_seconds(self, start: float, end: float) -> float:
        """Return how long, in s, no value was shown between `start` and `end`.

        The calculation assumes that the power was read at `start`.
        """
        times = [start, *(at for at in self.read_at if start < at < end), end]
        intervals = (after - before for before, after in pairwise(times))
        return sum(max(interval - HELD_SECONDS, 0) for interval in intervals)


class _RecordCounter(logging.Handler):
    """Counts the log records that reach the level of this handler."""

    lines = 0

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1


def simulated_meter(unit_id: int) -> SimulatedMeter:
    """Return a meter with constant values.

    Its power and its consumed energies differ from those of other meters.
    """
    return SimulatedMeter(
        unit_id=unit_id,
        true_time=lambda: 1_750_000_000,
        load=Constant(*(Phase(unit_id * 1000 + each) for each in (0, 10, 20))),
        counters=Counters(
            consumed=unit_id * 1e6,
            partial_consumed=unit_id * 1e5,
            tariffs=[unit_id * 1e4 + each for each in (0, 10, 20, 30)],
        ),
    )


async def async_run(case: Case, seed: int) -> Outcome:
    """Run a case once with the random numbers of `seed`, and return the outcome."""
    random = Random(f"{case.fault} {case.rate} {seed}")  # noqa: S311
    loop = asyncio.get_running_loop()
    record_counter = _RecordCounter(logging.WARNING)
    logging.getLogger().addHandler(record_counter)

    def fault() -> Fault:
        # `Fault()` leaves the response unchanged.
        return FAULTS[case.fault](random) if random.random() < case.rate else Fault()

    async with Line(list(map(simulated_meter, UNIT_IDS)), baudrate=BAUDRATE) as line:
        connection = BACKENDS[case.backend].ModbusConnection(
            ModbusSerialParams(device=line.port, baudrate=BAUDRATE)
        )
        bus = Bus(baudrate=BAUDRATE)
        poller = Poller(bus)
        watched: list[tuple[Polled, ReadingLog]] = []
        for unit_id in UNIT_IDS:
            meter = await _async_meter(bus, unit_id, connection.for_unit(unit_id))
            log = ReadingLog()
            polled = Polled(meter, on_reading=log.compare, on_error=lambda *_: None)
            polled.select_quantities(meter.profile.quantities - CHANGING)
            poller.add(polled)
            watched.append((polled, log))
        polling = loop.create_task(poller.run())
        # In each run, the fault begins at another moment of the polling.
        await asyncio.sleep(SETTLING_SECONDS + random.random())
        record_counter.lines = 0
        start = loop.time()
        line.default_fault = fault
        await asyncio.sleep(case.seconds)
        line.default_fault = Fault
        end = loop.time()
        outcome = Outcome(log_lines=record_counter.lines)
        was_online = {id(log): polled.online for polled, log in watched}
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_RECOVERY):
                # Wait until each meter was read again. The times are in `read_at`.
                for _, log in watched:
                    log.is_read.clear()
                    await log.is_read.wait()
        for _, log in watched:
            recovery = log.recovery_after(end)
            if was_online[id(log)]:
                outcome.recovery = max(outcome.recovery, recovery)
            else:
                outcome.offline_recovery = max(outcome.offline_recovery, recovery)
            outcome.unavailable = max(
                outcome.unavailable, log.unavailable_seconds(start, end)
            )
            outcome.wrong += log.wrong
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling
        await connection.close()
    logging.getLogger().removeHandler(record_counter)
    return outcome


async def _async_meter(bus: Bus, unit_id: int, client: ModbusUnit) -> Meter:
    """Take the profile of a meter, and return the meter."""
    unit = bus.unit(unit_id, client, slow=True)
    while True:
        # Retry after an error. There are no faults yet, so only a busy machine can
        # cause an error.
        with suppress(ModbusError):
            return Meter(bus, unit_id, client, await async_take_profile(unit))


def measure(case: Case, seeds: Sequence[int]) -> list[Outcome]:
    """Run a case with all seeds at the same time, and return the outcomes."""
    # Without this, log records appear on the terminal while no handler is added.
    logging.lastResort = None

    async def run() -> list[Outcome]:
        return await asyncio.gather(*(async_run(case, seed) for seed in seeds))

    return asyncio.run(run())


def row(case: Case, outcomes: Sequence[Outcome]) -> str:
    """Return the row of a case in the table."""
    in_time = sum(
        each.recovery <= AIM_SECONDS and each.offline_recovery <= OFFLINE_AIM_SECONDS
        for each in outcomes
    )
    unavailable = [each.unavailable for each in outcomes]
    cells = (
        case.fault,
        f"{case.rate:.0%}",
        f"{in_time / len(outcomes):.0%}",
        f"{max(each.recovery for each in outcomes):.1f} s",
        f"{max(each.offline_recovery for each in outcomes):.1f} s",
        f"{sum(unavailable) / len(unavailable):.1f} s",
        f"{max(unavailable):.1f} s",
        str(sum(each.wrong for each in outcomes)),
        str(max(each.log_lines for each in outcomes)),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each fault at each rate, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmark.recovery",
        description="Measures how fast meters are read again after disturbances.",
    )
    parser.add_argument("--seeds", type=int, default=10, help="runs of each case")
    parser.add_argument(
        "--seconds", type=float, default=60, help="length of a fault in s"
    )
    parser.add_argument("--fault", nargs="*", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--rate", nargs="*", type=float, default=RATES)
    parser.add_argument("--backend", choices=BACKENDS, default="tmodbus")
    parser.add_argument("--processes", type=int, default=4)
    args = parser.parse_args()
    cases = [
        Case(fault, rate, args.seconds, args.backend)
        for fault in args.fault
        for rate in args.rate
    ]
    print(f"{args.backend} {version(args.backend)}, {args.seeds} runs of each case,")
    print(f"{len(UNIT_IDS)} meters at {BAUDRATE} baud, faults for {args.seconds:g} s\n")
    print(
        "| fault | disturbed responses | runs in time | slowest recovery, online"
        " | slowest recovery, offline | unavailable on average | unavailable at most"
        " | wrong values | most log lines |"
    )
    print("|---" * 9 + "|")
    with ProcessPoolExecutor(args.processes) as pool:
        results = pool.map(measure, cases, [range(args.seeds)] * len(cases))
        for case, outcomes in zip(cases, results, strict=True):
            print(row(case, outcomes))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
