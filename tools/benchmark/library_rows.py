"""The measurements of the benchmark that need only the library."""

import asyncio
from collections.abc import Iterable
import itertools
from statistics import median
import sys
import time

from custom_components.socomec_countis.countis.registers import Energies

from .bus import (
    RESPONSE_DELAY,
    PolledBus,
    SimulatedBus,
    async_poll,
    run_bus,
    run_poller,
)
from .figures import (
    BITS_PER_CHARACTER,
    COUNTERS,
    POWER,
    ages,
    polls,
    silence,
)
from .text import NO_WORSE, aim, paragraphs, table, verdict

SPEEDS = (4800, 9600, 19200, 38400)  # baud
MANY_METERS_SPEEDS = (9600, 38400)  # baud
# Numbers of meters, in batches. A batch has one bus for each number and speed. All
# buses of a batch are measured at the same time. The processor would be too slow for
# more buses at once.
BATCHES = ((1, 2, 4), (8, 12), (16,), (32,), (64,))
# On a bus with this number of meters or more, counters may be read less often than
# every 15 s.
LARGE = 32
# Seconds for each meter of a large bus, added to the measured time, because the
# counters are read less often.
EXTRA_SECONDS = 0.7
# Meters and baud of the buses with an aim. FULL is a bus that is always busy.
AT_9600, AT_38400, FULL = (12, 9600), (64, 38400), (64, 9600)
OFFLINE = 3  # unit ID of the meter that stays offline
FLAPPING = (5, 8, 11)  # unit IDs of meters that alternate between offline and online
FLAPPING_SECONDS = 5  # s offline, and then the same time online

MEASURED: dict[tuple[int, int], PolledBus] = {}
"""Results for buses whose meters all measure power, by number of meters and baud."""


async def async_one_meter(seconds: float) -> str:
    """Measure a poll at each speed, and calculate the shortest possible time."""
    lines = []
    ratios_with_pauses = []
    rates = []
    for pair in (SPEEDS[:2], SPEEDS[2:]):
        runs = await asyncio.gather(*(async_poll(1, speed, seconds) for speed in pair))
        for speed, run in zip(pair, runs, strict=True):
            found = polls(run.reads)
            requests = median(poll.requests for poll in found)
            characters = median(poll.characters for poll in found)
            took = median(poll.seconds for poll in found)
            limit = characters * BITS_PER_CHARACTER / speed + requests * RESPONSE_DELAY
            ratios_with_pauses.append(took / (limit + (requests - 1) * silence(speed)))
            rates.append(run.power.per_minute)
            lines.append(
                (
                    f"{speed}",
                    f"{requests:.0f}",
                    f"{characters:.0f}",
                    f"{1000 * took:.0f} ms",
                    f"{1000 * limit:.0f} ms",
                    f"{took / limit:.2f}",
                    f"{ratios_with_pauses[-1]:.2f}",
                    f"{rates[-1]:.1f}",
                    verdict(met=took <= 1.15 * limit and abs(rates[-1] - 60) < 1),
                )
            )
    # If both texts are equal, the dict contains the text only once.
    lowest_and_highest = dict.fromkeys(
        f"{rate:.1f}" for rate in (min(rates), max(rates))
    )
    aim(
        "one meter at 4800 to 38400 baud: highest *ratio with pauses* (see *One"
        " meter*); polls per minute",
        "1.06; 60",
        "≤ 1.06; 60",
        f"{max(ratios_with_pauses):.2f}; {' to '.join(lowest_and_highest)}",
        met=round(max(ratios_with_pauses), 2) <= 1.06
        and all(abs(rate - 60) < 0.5 for rate in rates),
    )
    return paragraphs(
        "## One meter",
        "The default entities of a meter with four tariffs are enabled.",
        "- *Line time* is the time for which one poll occupies the bus.\n"
        "- *Limit* is the shortest possible line time: the time that the bytes take,"
        " and 20 ms for each response.\n"
        "- *Ratio* is line time / limit.\n"
        "- *Ratio with pauses* is the same, but the limit includes the pauses between"
        " requests.",
        "Aims: a ratio of at most 1.15, and 60 ± 1 polls per minute.",
        table(
            (
                *("baud", "requests", "bytes", "line time", "limit", "ratio"),
                *("ratio with pauses", "polls per minute", "result"),
            ),
            lines,
        ),
    )


async def async_reads(seconds: float) -> str:
    """Measure one read of a block, and four reads that skip its reserved registers."""
    lines = []
    for speed in SPEEDS:
        async with run_bus(1, speed) as bus:
            connection = bus.connection()
            unit = connection.for_unit(1)
            blocks = (Energies(unit), Energies(unit, split=True))
            took: tuple[list[float], list[float]] = ([], [])
            until = time.monotonic() + seconds / len(SPEEDS)
            while time.monotonic() < until:
                for block, durations in zip(blocks, took, strict=True):
                    began = time.monotonic()
                    await block.async_update()
                    durations.append(time.monotonic() - began)
            await connection.close()
        whole, split = map(median, took)
        lines.append(
            (
                f"{speed}",
                f"{1000 * whole:.0f} ms",
                f"{1000 * split:.0f} ms",
                f"{split / whole:.1f}",
            )
        )
    return paragraphs(
        "## One read or several",
        "The integration usually reads the total and partial counters with one request,"
        " which includes reserved registers. Four requests, without the reserved"
        " registers, take longer:",
        table(("baud", "one read", "four reads", "ratio"), lines),
    )


async def _async_batch(
    cases: Iterable[tuple[int, int]], seconds: float, *, resting: bool = False
) -> dict[tuple[int, int], PolledBus]:
    """Poll several buses at the same time. Return each `PolledBus` by its case.

    A case is the number of meters of a bus, and its speed in baud. If `resting`, half
    of the meters of each bus measure no power.
    """
    cases = list(cases)
    runs = await asyncio.gather(
        *(
            async_poll(
                meters,
                speed,
                seconds + (EXTRA_SECONDS * meters if meters >= LARGE else 0),
                resting=meters // 2 if resting else 0,
            )
            for meters, speed in cases
        )
    )
    return dict(zip(cases, runs, strict=True))


async def async_many_meters(seconds: float) -> str:
    """Measure the ages of the values on buses with 1 to 64 meters."""
    lines = []
    for batch in BATCHES:
        print(f"  {batch} meters ...", file=sys.stderr, flush=True)
        cases = itertools.product(batch, MANY_METERS_SPEEDS)
        MEASURED.update(await _async_batch(cases, seconds))
    poll_seconds = {
        speed: median(poll.seconds for poll in polls(MEASURED[1, speed].reads))
        for speed in MANY_METERS_SPEEDS
    }
    for (meters, speed), run in MEASURED.items():
        power, counters = run.power, run.ages(COUNTERS)
        result = ""
        if (meters, speed) == AT_9600:
            result = verdict(met=power.per_minute >= 59)
        if (meters, speed) == AT_38400:
            result = verdict(
                met=power.worst <= 3 and counters is not None and counters.worst <= 15
            )
        lines.append(
            (
                f"{meters}",
                f"{speed}",
                f"{60 / power.per_minute:.2f} s",
                f"{power.median:.2f} s",
                f"{power.worst:.2f} s",
                "-" if counters is None else f"{counters.median:.1f} s",
                "-" if counters is None else f"{counters.worst:.1f} s",
                f"{meters * poll_seconds[speed]:.1f} s",
                result,
            )
        )
    # The numbers are in s. They were measured with an earlier version of the
    # integration, which `text.aims_section` describes.
    for case, interval_before, worst_before in (
        (AT_9600, 1.0, 1.37),
        (AT_38400, 2.82, 3.01),
    ):
        power = MEASURED[case].power
        interval = 60 / power.per_minute
        aim(
            f"power of {case[0]} meters at {case[1]} baud: time between two reads;"
            " highest age",
            f"{interval_before:.1f} s; {worst_before:.1f} s",
            "no worse",
            f"{interval:.2f} s; {power.worst:.2f} s",
            met=interval <= NO_WORSE * interval_before
            and power.worst <= NO_WORSE * worst_before,
        )
    return paragraphs(
        "## Many meters on one bus",
        "*Highest* is the highest age among all meters. If the counters of any meter"
        " were read less than twice, they have no age (-). *One by one* is the time in"
        " which all meters can be polled once, one after the other.",
        "Aims:",
        "- 12 meters at 9600 baud: power is read every second.\n"
        "- 64 meters at 38400 baud: power is never older than 3 s, and counters are"
        " never older than 15 s.",
        "If a bus has no time to read all values each second, the integration reads"
        " the power in [two blocks](bus.md#order-of-the-blocks): the block *power*, and"
        " the block *measurements*, which also contains the power. The reads of both"
        " blocks count in the table. With 2 meters, the power is read only with the"
        " block *measurements*. So it can be read less often than with 4 meters.",
        table(
            (
                *("meters", "baud", "power is read every"),
                *("age of power: median", "age of power: highest"),
                *("age of counters: median", "age of counters: highest"),
                *("one by one", "result"),
            ),
            lines,
        ),
    )


async def async_rest(seconds: float) -> str:
    """Measure how often power is read while half of the meters measure no power."""
    # The time between two reads with the earlier version (`text.aims_section`).
    before = {AT_9600: "1.6 s", AT_38400: "not measured", FULL: "10.1 s"}
    for case in before:
        if case not in MEASURED:
            MEASURED.update(await _async_batch([case], seconds))
    runs = await _async_batch(before, seconds, resting=True)
    for case, interval_before in before.items():
        limit, now = (60 / run.power.per_minute for run in (MEASURED[case], runs[case]))
        aim(
            "power of {} meters at {} baud, half of which measure no power: time"
            " between two reads".format(*case),
            interval_before,
            f"as if all measure power: {limit:.2f} s",
            f"{now:.2f} s",
            met=now <= NO_WORSE * limit,
        )
    return ""


async def async_offline(seconds: float) -> str:
    """Measure how often the online meters are read while others are offline."""
    meters, baudrate = 8, 9600
    lines = []
    rate_before = 0.0
    async with run_bus(meters, baudrate) as bus, run_poller(bus, meters):
        for offline in ((), (3,), (3, 5, 8)):  # unit IDs
            await bus.async_set_offline(*offline)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            reads = bus.reads(began)
            online = set(range(1, meters + 1)) - set(offline)
            power = ages(reads, POWER, online)
            assert power is not None
            if not offline:
                rate_before = power.per_minute
            offline_requests = sum(read.unit_id in offline for read in reads)
            lines.append(
                (
                    f"{len(offline)}",
                    f"{power.per_minute:.1f}",
                    f"{power.worst:.2f} s",
                    f"{60 * offline_requests / (time.monotonic() - began):.1f}",
                    verdict(met=power.per_minute >= 0.95 * rate_before)
                    if offline
                    else "",
                )
            )
    return paragraphs(
        "## Offline meters",
        "Of eight meters at 9600 baud, some go offline. *Power reads* are those of the"
        " online meter that is read least often. Aim: with offline meters, at least"
        " 95 % as many power reads as without.",
        table(
            (
                *("offline meters", "power reads per minute"),
                "highest age of power, online meters",
                *("requests per minute to offline meters", "result"),
            ),
            lines,
        ),
    )


async def async_flapping(seconds: float) -> str:
    """Measure how often eight meters are read while others are offline or flapping."""
    always_online = set(range(1, 13)) - {OFFLINE, *FLAPPING}

    async def async_rate(
        bus: SimulatedBus, seconds: float, *, disturbed: bool
    ) -> float:
        """Return the fewest power reads per minute of any `always_online` meter."""
        began = time.monotonic()
        for step in itertools.count():
            flapping = FLAPPING if step % 2 == 0 else ()
            await bus.async_set_offline(*((OFFLINE, *flapping) if disturbed else ()))
            await asyncio.sleep(FLAPPING_SECONDS)
            if time.monotonic() - began >= seconds:
                break
        power = ages(bus.reads(began), POWER, always_online)
        assert power is not None
        return power.per_minute

    async with run_bus(12, 9600) as bus, run_poller(bus, 12):
        before = await async_rate(bus, seconds, disturbed=False)
        # The measurement with disturbances is twice as long, so one lost poll counts
        # half.
        share = await async_rate(bus, 2 * seconds, disturbed=True) / before
    aim(
        "twelve meters at 9600 baud, of which one is offline and three repeatedly go"
        " offline together: power reads of the other eight, in % of their power reads"
        " while all twelve are online",
        "95 %",
        "≥ 98 %",
        f"{share:.1%}",
        met=share >= 0.98,
    )
    return ""
