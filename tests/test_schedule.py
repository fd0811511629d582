"""Many meters on one line, simulated second by second of a virtual clock."""

from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count, pairwise

import pytest

from custom_components.socomec_countis.countis.line import Line
from custom_components.socomec_countis.countis.schedule import (
    AGE_LIMITS,
    PERIOD,
    POWER,
    Schedule,
)

GOLDEN_RATIO = 0.618
REGISTERS = {POWER: 14, "measurements": 54, "energies": 18, "tariffs": 9}
OTHERS = ("measurements", "energies", "tariffs")
SETTLED = 90.0
END = 240.0


@pytest.fixture
def _custom_integrations() -> None:
    """Do without Home Assistant."""


@dataclass
class SimulatedLine:
    """What many meters read of a line that serves who asks first."""

    meters: int
    baudrate: int
    delay: float = 0.022
    wanted: Collection[str] = tuple(REGISTERS)
    end: float = END
    polls: list[list[str]] = field(default_factory=list)
    """The blocks of every poll."""
    reads: list[dict[str, list[float]]] = field(default_factory=list)
    """For each meter, when each block was read."""

    def __post_init__(self) -> None:
        """Run until the end."""
        line = Line(self.baudrate, delay=self.delay)
        self.costs = {name: line.cost([words]) for name, words in REGISTERS.items()}
        addresses = range(1, self.meters + 1)
        self.reads = [{name: [] for name in REGISTERS} for _ in addresses]
        schedules = [Schedule(phase=at * GOLDEN_RATIO % 1) for at in addresses]
        order = count()
        waiting = [
            (at / self.meters, next(order), index) for index, at in enumerate(addresses)
        ]
        heapify(waiting)
        free = 0.0
        while free < self.end:
            due_at, _, index = heappop(waiting)
            free = self._poll(max(free, due_at), due_at, index, schedules[index])
            heappush(waiting, (max(due_at + PERIOD, free), next(order), index))

    def _poll(self, now: float, due_at: float, index: int, schedule: Schedule) -> float:
        """Poll a meter in one turn, as the library does; return when it ends."""
        blocks: list[str] = []
        start = now
        line_round = len(self.polls) // self.meters
        for due in schedule.due(
            start,
            1 / self.meters,
            self.costs,
            self.wanted,
            line_round=line_round,
            time_left=due_at + PERIOD - start,
        ):
            now += self.costs[due]
            schedule.done(due, start, self.costs[due])
            blocks.append(due)
            self.reads[index][due].append(now)
        self.polls.append(blocks)
        return now

    def gap(self, *blocks: str, since: float = SETTLED) -> float:
        """Return the longest that a meter was without any of the blocks."""
        worst = 0.0
        for reads in self.reads:
            times = sorted(time for block in blocks for time in reads[block])
            settled = [since, *(time for time in times if time > since), self.end]
            worst = max(worst, *(late - early for early, late in pairwise(settled)))
        return worst


MEASURED = (POWER, "measurements")
BAUDRATES = (4800, 9600, 19200, 38400)


@pytest.mark.parametrize("baudrate", BAUDRATES)
@pytest.mark.parametrize("meters", [1, 3, 16, 64])
def test_every_poll_begins_with_power(meters: int, baudrate: int) -> None:
    line = SimulatedLine(meters, baudrate)
    assert line.polls
    for blocks in line.polls:
        assert blocks[0] in MEASURED
        assert len(blocks) == len(set(blocks))
        assert len([block for block in blocks if block in MEASURED]) == 1


@pytest.mark.parametrize(
    ("meters", "baudrate"),
    [(1, 4800), (1, 9600), (3, 9600), (5, 19200), (7, 38400)],
)
def test_a_line_with_room_for_everything_has_all_blocks_every_second(
    meters: int, baudrate: int
) -> None:
    line = SimulatedLine(meters, baudrate)
    for block in OTHERS:
        assert line.gap(block, since=3) <= PERIOD + 0.1
    assert not any(POWER in blocks for blocks in line.polls)


@pytest.mark.parametrize("baudrate", BAUDRATES)
def test_nothing_starves_on_a_line_however_many_meters_share_it(
    baudrate: int,
) -> None:
    for meters in range(1, 65):
        line = SimulatedLine(meters, baudrate)
        everything = sum(line.costs.values()) * meters
        a_round = max(PERIOD, everything)
        assert line.gap(*MEASURED) <= PERIOD + everything, meters
        for block, (seconds, polls) in AGE_LIMITS.items():
            limit = max(seconds, polls * a_round)
            assert line.gap(block) <= limit + a_round, (meters, block)


@pytest.mark.parametrize("unwanted", OTHERS)
@pytest.mark.parametrize("meters", [1, 40])
def test_a_block_that_nobody_wants_is_never_read(meters: int, unwanted: str) -> None:
    wanted = {POWER, *OTHERS} - {unwanted}
    line = SimulatedLine(meters, 9600, wanted=wanted)
    for reads in line.reads:
        assert {block for block, times in reads.items() if times} >= wanted - {POWER}
        assert not reads[unwanted]


@pytest.mark.parametrize(("meters", "baudrate"), [(12, 9600), (6, 4800), (24, 38400)])
def test_counters_get_more_of_a_crowded_line_than_the_other_blocks(
    meters: int, baudrate: int
) -> None:
    line = SimulatedLine(meters, baudrate)
    times_read = {
        block: sum(len(reads[block]) for reads in line.reads) for block in OTHERS
    }
    assert times_read["energies"] >= 3 * times_read["tariffs"]
    assert times_read["energies"] >= 3 * times_read["measurements"]


def test_twelve_meters_at_9600_baud_show_their_power_every_second() -> None:
    line = SimulatedLine(12, 9600, delay=0.02)
    polls_of_a_meter = len(line.polls) / 12
    assert polls_of_a_meter >= 0.97 * END
    assert line.gap(*MEASURED) <= 1.6


def test_twelve_meters_at_9600_baud_show_their_power_punctually() -> None:
    assert SimulatedLine(12, 9600, delay=0.02).gap(*MEASURED) <= 1.5


def test_sixty_four_meters_at_38400_baud_show_their_power_every_three_seconds() -> None:
    line = SimulatedLine(64, 38_400, delay=0.021)
    assert line.gap(*MEASURED) <= 3
    assert line.gap("energies") <= 15


def test_what_is_read_seldom_and_failed_is_due_again_in_a_minute() -> None:
    schedule = Schedule()
    costs = {POWER: 0.1, "clock": 0.05}

    def due(now: float) -> list[str]:
        return schedule.due(now, 1, costs, costs, line_round=0, time_left=0.9)

    assert due(0) == [POWER, "clock"]
    schedule.done("clock", 0, 0.05)
    assert due(3599) == [POWER]
    assert due(3600) == [POWER, "clock"]
    schedule.done("clock", 3600, 0.05)
    schedule.read_again("clock")
    assert due(3659) == [POWER]
    assert due(3660) == [POWER, "clock"]
