"""The figures on the pages are those of the code."""

import re

import pytest

from custom_components.socomec_countis import (
    connection,
    coordinator,
    deadband_sensor,
    gap_texts,
    gaps,
    sensor,
)
from custom_components.socomec_countis.countis import (
    gap_evidence,
    limits,
    plausibility,
    poller,
    relations,
)
from custom_components.socomec_countis.countis.block import Block
from custom_components.socomec_countis.countis.bus import (
    LOSSY_ABOVE,
    RESPONSE_TIMEOUT,
)
from custom_components.socomec_countis.countis.line_settings import settings_to_try
from custom_components.socomec_countis.countis.meter import Meter as LibraryMeter
from simulator import Meter

from .files import TEXTS
from .memory_bus import MemoryBus, async_profile_of
from .pages import DOCS, table_rows, unwrapped
from .scanned_bus import worst_case_seconds
from .virtual_time import run

# The name of each block in the code, by the name on the page `bus.md`.
BLOCKS = {
    "power": "power",
    "counters": "energies",
    "measurements": "measurements",
    "tariffs": "tariffs",
    "partial counters by tariff, E1x and E2x only": "partial_tariffs",
    "energies of days, weeks and months": "periods",
    "overflows": "overflows",
    "current transformer": "transformer",
    "clock": "clock",
    "identity": "identity",
}


@pytest.fixture(scope="session")
def meter() -> LibraryMeter:
    """Return a meter that supports all blocks, on a bus at 9600 baud.

    No test reads this meter, so the bus needs no simulated meter.
    """
    bus = MemoryBus()
    # The profile is that of a model without a number, because a model such as
    # "Countis E33" is not probed for all blocks.
    simulated = Meter(unit_id=1, model="Countis", has_partial_tariffs=True)
    profile = run(async_profile_of(simulated))
    return LibraryMeter(bus.bus, 1, bus.client(), profile)


def register_span(block: Block) -> tuple[int, int]:
    """Return the first and the last register address that a block requests."""
    fields = block.resolved_fields.values()
    first = min(field.address for field in fields)
    return first, max(field.address + field.count for field in fields) - 1


def test_documented_polling_rule_matches_the_poller(meter: LibraryMeter) -> None:
    rows = [
        row for row in table_rows((DOCS / "bus.md").read_text()) if "Target age" in row
    ]
    assert {BLOCKS[row["Block"]] for row in rows} == poller.INTERVALS.keys()
    for row in rows:
        name = BLOCKS[row["Block"]]
        interval = poller.INTERVALS[name]
        assert row["Target age"] == f"{interval.target:g} s"
        assert row["Period"] == f"{interval.period:g} s"
        # The poller verifies the identity by a read of the block `Revision`.
        block = meter.revision if name == "identity" else meter.block(name)
        assert block is not None
        first, last = register_span(block)
        assert row["Register addresses"] == f"{first} … {last}"
        assert row["Registers"] == str(last - first + 1)


POLLED_BLOCKS = ("measurements", "energies", "tariffs")
"""The blocks of a poll. The poller reads them each second from an E3x or E4x.

The block "power" is left out, because the measurements contain the power.
"""


def read_seconds(meter: LibraryMeter, name: str, *, baudrate: int = 9600) -> float:
    """Return the duration in s of a read of a block.

    The meter begins its response after 20 ms.
    """
    meter.bus.baudrate = baudrate
    meter.bus.delay = 0.02
    block = meter.block(name)
    assert block is not None
    return sum(meter.bus.read_seconds(words) for words in block.registers_per_request)


def poll_seconds(meter: LibraryMeter, *, details: bool, baudrate: int = 9600) -> float:
    """Return the duration in s of a poll of the blocks `POLLED_BLOCKS`.

    With `details`, all measurements are read, not only those of the default entities.
    """
    meter.reads_details = details
    return sum(read_seconds(meter, name, baudrate=baudrate) for name in POLLED_BLOCKS)


def power_period_per_meter(meter: LibraryMeter, baudrate: int) -> float:
    """Return the time in s that each meter of a full bus adds to the power's period.

    The period of a block is the time between two reads of this block of one meter. On a
    full bus, the period is in proportion to the target age, which is 1 s for the power.
    So a block with a target age of 10 s is read in every tenth period of the power.
    """
    meter.reads_details = False
    return sum(
        read_seconds(meter, name, baudrate=baudrate) / poller.INTERVALS[name].target
        for name in ("power", *POLLED_BLOCKS)
    )


def test_figures_for_many_meters_follow_from_the_polling_rule(
    meter: LibraryMeter,
) -> None:
    rows = [
        row for row in table_rows((DOCS / "bus.md").read_text()) if "Everything" in row
    ]
    assert len(rows) == 4
    for row in rows:
        baudrate = int(row["Speed"].removesuffix(" baud"))
        poll = poll_seconds(meter, details=False, baudrate=baudrate)
        # The polls of all meters together may take `FULL_BUS` s of each second.
        assert int(row["Everything"]) == int(poller.FULL_BUS / poll)
        per_meter = power_period_per_meter(meter, baudrate)
        # The page may show one meter fewer, because the blocks that are read hourly
        # need time, too.
        assert 0 <= int(1 / per_meter) - int(row["Power"]) <= 1
        # A block with a target age of 1 s is read as often as the power. The period of
        # other blocks is in proportion to `target_age`, and in the same unit.
        for column, target_age, unit_of_time in (
            ("64 meters: power", 1, "s"),
            ("64 meters: counters", 10, "s"),
            ("64 meters: other blocks", 1, "min"),
        ):
            shown = row[column].removeprefix("every ").removesuffix(f" {unit_of_time}")
            assert float(shown) == pytest.approx(64 * target_age * per_meter, rel=0.02)


def test_power_periods_in_installation_follow_from_polling_rule(
    meter: LibraryMeter,
) -> None:
    rows = [
        row
        for row in table_rows((DOCS / "installation.md").read_text())
        if row.get("Meters", "").isdigit()
    ]
    assert len(rows) == 2
    for row in rows:
        for column, baudrate in (
            ("Power is read at 9600 baud", 9600),
            ("at 38400 baud", 38400),
        ):
            period = int(row["Meters"]) * power_period_per_meter(meter, baudrate)
            shown = row[column].removeprefix("every ").removesuffix(" s")
            assert float(shown) == pytest.approx(period, rel=0.03)


def test_pages_have_the_calculated_duration_of_a_poll(meter: LibraryMeter) -> None:
    default, with_details = (
        f"{poll_seconds(meter, details=details):.2f} s" for details in (False, True)
    )
    for page, figures in {
        "bus.md": (
            f"take {default} at 9600 baud",
            f"take {with_details} in place of {default} at 9600 baud",
        ),
        "meter.md": (f"a poll takes {default}", f"the poll takes {with_details}"),
        "updating.md": (f"take {default} at 9600 baud",),
    }.items():
        for figure in figures:
            assert figure in unwrapped(DOCS / page), page


LIMITS = limits.Limits()
HIGHEST_AMPERES = LIMITS.amperes * limits.INRUSH * limits.PHASE_COUNT
HIGHEST_KILOWATTS = HIGHEST_AMPERES * limits.HIGHEST_VOLTS / 1000
LOWEST_HERTZ, HIGHEST_HERTZ = limits.HERTZ_RANGE
# Figures that the pages write as words. The keys of WEEKS and MINUTES are in s.
NUMBERS = {2: "two", 3: "three", 10: "ten"}
WEEKS = {7 * 86_400: "a week"}
FACTORS = {2: "twice"}
MINUTES = {300: "five minutes", 600: "ten minutes"}
HELD_SECONDS = coordinator.HOLD_SECONDS
PUBLISHED_AFTER = deadband_sensor.DEADBAND_SECONDS
LONGEST_PAUSE = f"{poller.LONGEST_PAUSE:g}"
FIGURES = {
    "counters.md": (
        f"{LIMITS.kilowatts:g} kW: three phases",
        f"with {limits.SPECIFIED_VOLTS} V and {LIMITS.amperes:g} A",
        f"{FACTORS[plausibility.POWER_MARGIN]} the highest power",
        f"{limits.OVERLOAD:g} times their primary current",
        f"read at least every {plausibility.LONGEST_POWER_PAUSE} s",
        f"after {plausibility.ACCEPTED_AFTER} s, with a repair issue",
        f"**{MINUTES[plausibility.ACCEPTED_AFTER_RESTART]}** instead of",
        f"differ by at most {relations.SAME_COUNTER_TOLERANCE} kWh",
        f"sum of the phases by more than {relations.POWER_TOLERANCE} W",
        f"more than {limits.HIGHEST_VOLTS} V, {HIGHEST_AMPERES:g} A",
        f"{HIGHEST_AMPERES:g} A, {HIGHEST_KILOWATTS:g} kW",
        f"outside {LOWEST_HERTZ} Hz to {HIGHEST_HERTZ} Hz",
        f"rejected for {MINUTES[coordinator.REJECTED_ISSUE_SECONDS]}",
        f"last accepted values every {MINUTES[coordinator.SAVE_SECONDS]}",
    ),
    "bus.md": (
        f"{RESPONSE_TIMEOUT:g} s on a serial port",
        f"{connection.RESPONSE_TIMEOUTS['rtu_over_tcp']:g} s for RTU over TCP",
        f"{connection.RESPONSE_TIMEOUTS['tcp']:g} s for a Modbus TCP gateway",
        f"more than {LOSSY_ABOVE:.0%}".replace("%", " %"),
        f"at most {poller.FULL_BUS} s",
        f"then every {LONGEST_PAUSE} seconds",
        f"keep their values for {HELD_SECONDS} s",
        f"published after {PUBLISHED_AFTER} s",
    ),
    "gaps.md": (
        f"by at most {gap_evidence.LOAD_CURVE_TOLERANCE:.0%}".replace("%", " %"),
        f"or {NUMBERS[gap_evidence.STEPS_OF_TOLERANCE]} steps of the counter",
        f"about {NUMBERS[round(gaps.COMPILED_AFTER / 60)]} minutes later",
        f"longer than {NUMBERS[gap_texts.MAX_HOURLY_ROWS // 24]} days",
        f"undo the change within {WEEKS[gaps.KEPT_SECONDS]}",
    ),
    "updating.md": (
        f"not read for {HELD_SECONDS} s",
        f"published after {PUBLISHED_AFTER} s",
        f"grow to {LONGEST_PAUSE} s",
    ),
    "troubleshooting.md": (
        f"about every {LONGEST_PAUSE} s",
        f"shown within {PUBLISHED_AFTER} s",
        f"After {MINUTES[coordinator.REJECTED_ISSUE_SECONDS]}, the issue",
    ),
    "benchmark.md": (f"keep measured values for {HELD_SECONDS} s",),
}


@pytest.mark.parametrize("page", FIGURES)
def test_page_has_the_figures_of_the_code(page: str) -> None:
    text = unwrapped(DOCS / page)
    assert [figure for figure in FIGURES[page] if figure not in text] == []


def test_deadbands_of_the_sensors_are_documented() -> None:
    rows = [
        row
        for row in table_rows((DOCS / "bus.md").read_text())
        if "Published at once if the change is at least" in row
    ]
    shown = sorted(
        (float(amount), unit)
        for row in rows
        for amount, _, units in [
            row["Published at once if the change is at least"].partition(" ")
        ]
        for unit in units.split(", ")
    )
    deadbands = {
        (each.deadband, each.native_unit_of_measurement or "")
        for each in sensor.SENSORS
        if each.deadband
    }
    # Counters have no deadband, so the page shows their smallest step.
    deadbands.add((plausibility.HIGH_RESOLUTION, "kWh"))
    assert shown == sorted(deadbands)


def documented_seconds(text: str) -> float:
    """Return a duration such as "4 min 50 s" or "81 ms" in s."""
    units = {"min": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"(\d+) (min|s|ms)\b", text)
    assert parts, text
    return sum(int(number) * units[unit] for number, unit in parts)


def test_durations_of_scans_follow_from_their_probes() -> None:
    rows = list(table_rows((DOCS / "commissioning.md").read_text()))
    # The text of the last column (the longest duration), by what the user enters.
    duration_texts = {
        row["You enter"]: list(row.values())[-1] for row in rows if "You enter" in row
    }
    durations = {
        duration_texts["only the port"]: worst_case_seconds(),
        duration_texts["the unit ID"]: worst_case_seconds(unit_ids=[1]),
    }
    # With known settings, the longest duration depends on the speed: "22 to 32 s".
    (range_text,) = (text for text in duration_texts.values() if " to " in text)
    shortest, longest = re.findall(r"\d+", range_text)
    seconds_at_each_speed = [
        worst_case_seconds([each]) for each in settings_to_try(parity="N")
    ]
    durations[f"{shortest} s"] = min(seconds_at_each_speed)
    durations[f"{longest} s"] = max(seconds_at_each_speed)
    for text, seconds in durations.items():
        # Documented as "at most", rounded up.
        assert seconds <= documented_seconds(text) <= 1.1 * seconds + 1, text
    # Two texts of the dialogs contain the duration of a scan that knows only the port.
    minutes = documented_seconds(duration_texts["only the port"]) / 60
    for text in (
        TEXTS["config"]["step"]["serial"]["description"],
        TEXTS["config"]["step"]["no_response"]["menu_option_descriptions"]["scan_bus"],
    ):
        assert f"up to {minutes:g} minutes" in text
