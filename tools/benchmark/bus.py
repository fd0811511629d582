"""Runs a simulated bus and a poller, each in a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
import sys
import tempfile
import time

from modbus_connection import ModbusSerialParams
from modbus_connection.tmodbus import ModbusConnection

from tools.paths import ROOT

from .figures import COUNTERS, POWER, Ages, Transaction, ages, transactions

RESPONSE_DELAY = 0.02  # s; of the simulated meters
START_TIMEOUT = 180  # s; the first reads of 64 meters at 9600 baud take 60 s
# Ranges of registers: power, counters, tariff and voltage. A measurement begins when
# these ranges were read from all meters. Earlier reads are not typical: at first, the
# poller also reads blocks that it later reads only once an hour.
AWAITED_RANGES = (POWER, COUNTERS, range(51200, 51202), range(50520, 50522))


@dataclass(frozen=True)
class SimulatedBus:
    """A simulated bus in another process, and the log of its frames."""

    process: asyncio.subprocess.Process
    port: str
    baudrate: int
    log: Path

    def connection(self) -> ModbusConnection:
        """Return a client of the bus."""
        return ModbusConnection(
            ModbusSerialParams(device=self.port, baudrate=self.baudrate)
        )

    async def async_set_offline(self, *unit_ids: int) -> None:
        """Set these meters offline, and all others online."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join(map(str, unit_ids))}\n".encode())
        await self.process.stdin.drain()

    def reads(self, since: float, until: float = float("inf")) -> list[Transaction]:
        """Return the transactions between two times in s of the monotonic clock."""
        return transactions(self.log, self.baudrate, since, until)

    async def async_settle(self, meters: int, since: float) -> float:
        """Wait until each range of `AWAITED_RANGES` was read from `meters` meters.

        Reads before the time `since` do not count. Raises `TimeoutError`.

        Return the time in s from the first request until the power of all meters was
        read. If `meters` is 0, there is no request, so return 0.
        """

        def is_settled() -> bool:
            reads = self.reads(since)
            return all(
                len(first_reads(reads, registers)) == meters
                for registers in AWAITED_RANGES
            )

        await async_until(is_settled)
        reads = self.reads(since)
        if not reads:
            return 0
        return max(first_reads(reads, POWER).values()) - reads[0].begun_at


@asynccontextmanager
async def run_bus(
    meters: int, baudrate: int, *options: str
) -> AsyncIterator[SimulatedBus]:
    """Run a bus with the unit IDs 1 to `meters`.

    `options` are additional arguments of `bus_process`.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "bus"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tools.benchmark.bus_process", "--log", log),
            *("--meters", str(meters), "--baudrate", str(baudrate)),
            *("--delay", str(RESPONSE_DELAY), *options),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = (await process.stdout.readline()).decode().strip()
            yield SimulatedBus(process, port, baudrate, log)
        finally:
            process.stdin.close()
            await process.wait()


async def async_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. Raises `TimeoutError` after `START_TIMEOUT`."""
    async with asyncio.timeout(START_TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(1)


def first_reads(reads: list[Transaction], registers: range) -> dict[int, float]:
    """Return the time in s of the first response with these registers, by unit ID."""
    found: dict[int, float] = {}
    for read in reads:
        if read.responded_at is not None and read.covers(registers):
            found.setdefault(read.unit_id, read.responded_at)
    return found


@dataclass(frozen=True)
class PolledBus:
    """The transactions of a bus that was polled."""

    meters: int
    """The number of meters; their unit IDs begin at 1."""
    reads: list[Transaction]
    """The transactions in the measured time."""
    all_reads: list[Transaction]
    """`reads`, and the transactions before them since the start of the client."""

    def ages(self, registers: range) -> Ages | None:
        """Return the ages of `registers`, or None if a meter was read less than twice.

        On a busy bus, counters may be read only once in the measured time. Their ages
        are therefore those of `all_reads`.
        """
        reads = self.all_reads if registers == COUNTERS else self.reads
        return ages(reads, registers, range(1, self.meters + 1))

    @property
    def power(self) -> Ages:
        """Return the ages of the power."""
        power = self.ages(POWER)
        assert power is not None
        return power


@asynccontextmanager
async def run_poller(bus: SimulatedBus, meters: int) -> AsyncIterator[None]:
    """Poll the unit IDs 1 to `meters` with the library. Wait for the first reads."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.benchmark.poller_process"),
        *("--port", bus.port, "--baudrate", str(bus.baudrate)),
        *("--meters", str(meters)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        await bus.async_settle(meters, time.monotonic())
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def async_poll(
    meters: int, baudrate: int, seconds: float, *, resting: int = 0
) -> PolledBus:
    """Poll a bus with the library alone for `seconds`.

    `resting` is the number of meters that measure no power.
    """
    async with run_bus(meters, baudrate, "--resting", str(resting)) as bus:
        started = time.monotonic()
        async with run_poller(bus, meters):
            settled = time.monotonic()
            await asyncio.sleep(seconds)
            ended = time.monotonic()
        return PolledBus(meters, bus.reads(settled, ended), bus.reads(started, ended))
