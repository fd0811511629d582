"""Evaluates the log of a simulated bus.

All times are in s of the monotonic clock.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools
from pathlib import Path
from statistics import median

BITS_PER_CHARACTER = 11  # start, 8 data bits, parity or second stop bit, stop
# Characters of silence between two frames, as the Modbus specification requires.
SILENT_CHARACTERS = 3.5
SHORTEST_SILENCE = 0.00175  # s; the fixed silence above 19200 baud
READ = 3  # function code of a request that reads holding registers
REQUEST_CHARACTERS = 8  # bytes of a request with function code 3, including the CRC
POWER = range(50536, 50550)  # registers of the powers and of the power factor
COUNTERS = range(50946, 50954)  # registers of the totals in high resolution
# In s; a longer pause separates two polls. A single meter is polled each second, and
# the pauses between the requests of a poll last some ms (`silence`).
LONGEST_PAUSE_IN_POLL = 0.1
# Seconds between two samples of an age. This is short, because the median ages in
# docs/benchmark.md are about 0.4 s or more.
AGE_SAMPLE_SECONDS = 0.05


def silence(baudrate: int) -> float:
    """Return the shortest silence in s between two frames."""
    return max(SILENT_CHARACTERS * BITS_PER_CHARACTER / baudrate, SHORTEST_SILENCE)


@dataclass(frozen=True)
class Transaction:
    """A request that reads registers, and its response."""

    unit_id: int
    address: int
    count: int
    begun_at: float
    """When the first bit of the request was sent."""
    requested_at: float
    """When the meter had received the request."""
    responded_at: float | None
    """When the client had received the response, None without a response."""
    characters: int
    """Number of characters of the request and the response."""

    def covers(self, registers: range) -> bool:
        """Return whether the transaction reads all of these registers."""
        return (
            self.address <= registers[0] and registers[-1] < self.address + self.count
        )


def transactions(
    log: Path, baudrate: int, since: float, until: float = float("inf")
) -> list[Transaction]:
    """Return the transactions in a log from the time `since` to the time `until`.

    Each line of the log has a time, q (request) or a (response), the first eight bytes
    of the frame as hexadecimal digits, and the length of the frame in bytes.
    """
    found: list[Transaction] = []
    pending: tuple[float, bytes] | None = None

    def add_transaction(responded_at: float | None, length: int) -> None:
        if pending is None or pending[1][1] != READ:
            return
        at, frame = pending
        character_seconds = BITS_PER_CHARACTER / baudrate
        found.append(
            Transaction(
                unit_id=frame[0],
                address=int.from_bytes(frame[2:4]),
                count=int.from_bytes(frame[4:6]),
                begun_at=at - REQUEST_CHARACTERS * character_seconds,
                requested_at=at,
                responded_at=responded_at,
                characters=REQUEST_CHARACTERS + length,
            )
        )

    for row in log.read_text().splitlines():
        moment, kind, head, length = row.split()
        at = float(moment)
        if not since <= at <= until:
            continue
        if kind == "q":
            add_transaction(None, 0)
            pending = at, bytes.fromhex(head)
        else:
            add_transaction(at, int(length))
            pending = None
    return found


@dataclass(frozen=True)
class Poll:
    """The size and duration of one poll of a bus with a single meter.

    A poll is a series of transactions without a pause over `LONGEST_PAUSE_IN_POLL`.
    """

    requests: int
    characters: int
    seconds: float
    """From the first bit of the first request to the last bit of the last response."""


def polls(reads: Sequence[Transaction]) -> list[Poll]:
    """Return the polls of one meter, without the first and the last.

    `reads` may contain only a part of these two.
    """
    groups: list[list[Transaction]] = []
    end = float("-inf")
    for read in reads:
        if read.begun_at - end > LONGEST_PAUSE_IN_POLL:
            groups.append([])
        groups[-1].append(read)
        end = read.responded_at or read.requested_at
    return [
        Poll(
            len(group),
            sum(read.characters for read in group),
            (group[-1].responded_at or group[-1].requested_at) - group[0].begun_at,
        )
        for group in groups[1:-1]
    ]


@dataclass(frozen=True)
class Ages:
    """The ages of the newest values of all meters during a measurement."""

    median: float
    """The median of the ages in s, over all meters and times."""
    worst: float
    """The highest age in s."""
    per_minute: float
    """Reads per minute of the meter that is read least often."""


def ages(
    reads: Iterable[Transaction], registers: range, unit_ids: Iterable[int]
) -> Ages | None:
    """Return the ages of these registers, or None if a meter was read less than twice.

    The age of a value is the time since the meter received the request for this value.
    """
    # By unit ID: when each request was received, and when its response was received.
    read_at: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for read in reads:
        if read.responded_at is not None and read.covers(registers):
            read_at[read.unit_id].append((read.requested_at, read.responded_at))
    samples: list[float] = []
    worst = 0.0
    rates: list[float] = []
    for unit_id in unit_ids:
        times = read_at[unit_id]
        if len(times) < 2:
            return None
        for (requested_at, responded_at), (_, next_response) in itertools.pairwise(
            times
        ):
            worst = max(worst, next_response - requested_at)
            moment = responded_at
            while moment < next_response:
                samples.append(moment - requested_at)
                moment += AGE_SAMPLE_SECONDS
        rates.append(60 * (len(times) - 1) / (times[-1][0] - times[0][0]))
    return Ages(median(samples), worst, min(rates))
