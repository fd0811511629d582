"""What the log of a line tells."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import itertools
from pathlib import Path
from statistics import median

BITS_PER_CHARACTER = 11
SILENT_CHARACTERS = 3.5  # between two frames, by the Modbus specification
SHORTEST_SILENCE = 0.00175  # s; by the same, above 19200 baud
READ = 3
REQUEST_BYTES = 8
POWER = range(50536, 50550)
COUNTERS = range(50946, 50954)
# Between two polls of a lone meter there is more silence than within one.
WITHIN_A_POLL_SECONDS = 0.1
AGE_SAMPLE_SECONDS = 0.05


def silence(baudrate: int) -> float:
    """Return the silence between two frames in s."""
    return max(SILENT_CHARACTERS * BITS_PER_CHARACTER / baudrate, SHORTEST_SILENCE)


@dataclass(frozen=True)
class Exchange:
    """A read and its answer; times in seconds, as the line saw them."""

    unit: int
    address: int
    count: int
    begun: float
    """When the first bit of the request was sent."""
    asked: float
    """When the request was at the meter."""
    answered: float | None
    """When the answer was at the client; None without one."""
    characters: int

    def covers(self, registers: range) -> bool:
        """Whether the read brings all of these registers."""
        return (
            self.address <= registers[0] and registers[-1] < self.address + self.count
        )


def exchanges(
    log: Path, baudrate: int, since: float, until: float = float("inf")
) -> list[Exchange]:
    """Return what was read in this time, by the monotonic clock."""
    found: list[Exchange] = []
    pending: tuple[float, bytes] | None = None

    def close(answered: float | None, length: int) -> None:
        if pending is None or pending[1][1] != READ:
            return
        at, frame = pending
        character = BITS_PER_CHARACTER / baudrate
        found.append(
            Exchange(
                unit=frame[0],
                address=int.from_bytes(frame[2:4]),
                count=int.from_bytes(frame[4:6]),
                begun=at - REQUEST_BYTES * character,
                asked=at,
                answered=answered,
                characters=REQUEST_BYTES + length,
            )
        )

    for row in log.read_text().splitlines():
        moment, kind, head, length = row.split()
        at = float(moment)
        if not since <= at <= until:
            continue
        if kind == "q":
            close(None, 0)
            pending = at, bytes.fromhex(head)
        else:
            close(at, int(length))
            pending = None
    return found


@dataclass(frozen=True)
class Poll:
    """A poll of a lone meter, as it stood on the line."""

    requests: int
    characters: int
    seconds: float


def polls(reads: Sequence[Exchange]) -> list[Poll]:
    """Return the whole polls among these reads of one meter."""
    groups: list[list[Exchange]] = []
    end = float("-inf")
    for read in reads:
        if read.begun - end > WITHIN_A_POLL_SECONDS:
            groups.append([])
        groups[-1].append(read)
        end = read.answered or read.asked
    return [
        Poll(
            len(group),
            sum(read.characters for read in group),
            (group[-1].answered or group[-1].asked) - group[0].begun,
        )
        for group in groups[1:-1]
    ]


@dataclass(frozen=True)
class Ages:
    """How old the newest value is, over all meters and moments, in seconds."""

    median: float
    worst: float
    per_minute: float
    """How often the slowest meter is read."""


def ages(
    reads: Iterable[Exchange], registers: range, units: Iterable[int]
) -> Ages | None:
    """Return the ages of these registers; None where a meter was read once at most."""
    answers: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for read in reads:
        if read.answered is not None and read.covers(registers):
            answers[read.unit].append((read.asked, read.answered))
    samples: list[float] = []
    worst = 0.0
    rates: list[float] = []
    for unit in units:
        known = answers[unit]
        if len(known) < 2:
            return None
        for (asked, answered), (_, following) in itertools.pairwise(known):
            worst = max(worst, following - asked)
            moment = answered
            while moment < following:
                samples.append(moment - asked)
                moment += AGE_SAMPLE_SECONDS
        rates.append(60 * (len(known) - 1) / (known[-1][0] - known[0][0]))
    return Ages(median(samples), worst, min(rates))
