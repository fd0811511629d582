"""Bad bytes and lost lines: what entities show, and what they never show."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
import logging

import pytest

from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.coordinator import CountisConfigEntry
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    EVENT_STATE_CHANGED,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import Event, EventStateChangedData, HomeAssistant
from simulator import (
    ANOTHER_ADDRESS,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    TRUNCATED,
    ZEROS,
    Constant,
    Fault,
    Line,
    Meter,
    Phase,
    late,
)

from .common import Clock, entity_id, state

COUNTERS = ("energy_consumed", "partial_energy_consumed", "tariff_1_energy")
MEASURED = ("power", "voltage_l1", "current_l2", "frequency")

ON_ITS_WAY = {
    "flipped": FLIPPED,
    "truncated": TRUNCATED,
    "lost": LOST,
    "noise before": NOISE_BEFORE,
    "noise after": NOISE_AFTER,
    "another address": ANOTHER_ADDRESS,
    "late": late(0.35),
    "zeros": ZEROS,
}


@dataclass
class Witness:
    """Sees every state that is shown, and knows the ones that are true."""

    hass: HomeAssistant
    true: dict[str, set[str]] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    gaps: set[str] = field(default_factory=set)
    """Entities that showed nothing for a while."""

    def now_true(self, key: str, value: str) -> None:
        """Allow a value that the meter has from now on."""
        self.true.setdefault(entity_id(self.hass, key), set()).add(value)

    def look(self, event: Event[EventStateChangedData]) -> None:
        """Look at one change."""
        new = event.data["new_state"]
        if new is None or new.entity_id not in self.true:
            return
        if new.state in (STATE_UNAVAILABLE, STATE_UNKNOWN):
            self.gaps.add(new.entity_id)
        elif new.state not in self.true[new.entity_id]:
            self.wrong.append((new.entity_id, new.state))


@pytest.fixture
async def witness(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> AsyncGenerator[Witness]:
    """Watch the entities; at the end, none may have shown anything wrong."""
    witness = Witness(hass)
    for key in (*COUNTERS, *MEASURED):
        witness.now_true(key, state(hass, key))
    # The simulated grid is never quite still.
    for hertz in ("50.0", "50.01", "50.02"):
        witness.now_true("frequency", hertz)
    stop = hass.bus.async_listen(EVENT_STATE_CHANGED, witness.look)
    yield witness
    stop()
    assert witness.wrong == []


async def poll(entry: CountisConfigEntry) -> None:
    """Have the next poll now."""
    await entry.runtime_data.async_refresh()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the polls bring about sooner or later."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.05)


async def assert_recovered(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Make sure that everything is shown as it is, without a reload."""
    for _ in range(2):
        await poll(entry)
    assert state(hass, "power") == "1300"
    assert state(hass, "voltage_l1") == "230.0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "tariff_1_energy") == "1000.0"


@pytest.mark.parametrize("good_answers", [0, 1, 2])
@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_one_bad_answer_shows_nowhere(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    fault: Fault,
    good_answers: int,
) -> None:
    line.faults.extend([Fault()] * good_answers + [fault])
    await poll(entry)
    assert entry.runtime_data.meter.line.meters
    assert witness.gaps == set()
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_a_line_on_which_every_other_answer_is_bad_shows_nothing_wrong(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "LONGEST_PAUSE", 0)
    line.faults.extend([Fault(), fault] * 8)
    for _ in range(6):
        await poll(entry)
    assert witness.gaps == set()
    line.faults.clear()
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_a_line_on_which_every_answer_is_bad_shows_old_values_or_none(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    impatient: None,
    fault: Fault,
) -> None:
    line.faults.extend([fault] * 200)
    for _ in range(4):
        await poll(entry)
    for key in COUNTERS:
        assert entity_id(hass, key) not in witness.gaps
    line.faults.clear()
    await asyncio.sleep(0.4)
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 11])
async def test_exceptions_take_measurements_away_and_leave_counters(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    witness: Witness,
    impatient: None,
    code: int,
) -> None:
    meter.exception = code
    for _ in range(2):
        await poll(entry)
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "energy_consumed") == "1234.56"
    meter.exception = None
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("block", [50512, 50944, 51200])
@pytest.mark.parametrize("answer", ["blank", "refuses"])
async def test_a_block_of_ones_or_none_at_all_changes_no_other(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    witness: Witness,
    impatient: None,
    block: int,
    answer: str,
) -> None:
    setattr(meter, answer, {block})
    for _ in range(2):
        await poll(entry)
    gone = set(MEASURED) if block == 50512 else set()
    assert witness.gaps == {entity_id(hass, key) for key in gone}
    setattr(meter, answer, set())
    await assert_recovered(hass, entry)


async def test_a_meter_that_is_starting_up_shows_none_of_its_zeros(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    witness: Witness,
    impatient: None,
) -> None:
    meter.starting = True
    for _ in range(3):
        await poll(entry)
    assert state(hass, "power") == STATE_UNAVAILABLE
    assert state(hass, "energy_consumed") == "1234.56"
    # It may still be at it when Home Assistant starts.
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    meter.starting = False
    await assert_recovered(hass, entry)


async def test_a_house_at_rest_is_no_meter_that_is_starting_up(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
) -> None:
    meter.load = Constant(Phase(0), Phase(0), Phase(0))
    # Nothing but zeros, the power factor included.
    meter.override = dict.fromkeys(range(50536, 50550), 0)
    for _ in range(2):
        await poll(entry)
    assert state(hass, "power") == "0"
    assert state(hass, "voltage_l1") == "230.0"


async def test_what_is_counted_while_an_answer_is_under_way_is_believed_next(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    clock: Clock,
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))

    def go_on(answer: bytes) -> bytes:
        clock.seconds += 1200
        return answer

    # As many as a poll reads; the first may go to one that is under way.
    line.faults.extend([Fault(go_on)] * 3)
    while line.faults:
        await poll(entry)
    await poll(entry)
    counted = meter.count()
    for key, watt_hours in (
        ("energy_consumed", counted.consumed),
        ("tariff_1_energy", counted.tariffs[0]),
    ):
        assert float(state(hass, key)) == pytest.approx(watt_hours / 1000, abs=0.01)


async def test_a_short_cut_of_the_line_leaves_everything_as_it_was(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line.cut = True
    await asyncio.sleep(2)
    line.cut = False
    await asyncio.sleep(2.5)
    assert witness.gaps == set()
    assert "No meter answers" not in caplog.text
    await assert_recovered(hass, entry)


async def test_a_long_cut_is_told_once_and_counters_hold(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 1)
    line.cut = True
    await until(lambda: state(hass, MEASURED[-1]) == STATE_UNAVAILABLE)
    await asyncio.sleep(2)
    assert witness.gaps == {entity_id(hass, key) for key in MEASURED}
    told = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("custom")
    ]
    assert len(told) == 1
    assert "No meter answers at address 1" in told[0]
    line.cut = False
    await until(lambda: state(hass, MEASURED[-1]) != STATE_UNAVAILABLE)
    await assert_recovered(hass, entry)


async def test_a_reload_during_a_read_leaves_nothing_behind(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
) -> None:
    for moment in (0.002, 0.01, 0.02):
        polling = hass.async_create_task(entry.runtime_data.async_refresh())
        await asyncio.sleep(moment)
        await hass.config_entries.async_reload(entry.entry_id)
        await polling
        assert entry.state is ConfigEntryState.LOADED
        witness.gaps.clear()
    await assert_recovered(hass, entry)


async def test_an_entry_unloaded_during_a_read_asks_nothing_more(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
) -> None:
    polling = hass.async_create_task(entry.runtime_data.async_refresh())
    await asyncio.sleep(0.005)
    await hass.config_entries.async_unload(entry.entry_id)
    await polling
    line.requests.clear()
    await asyncio.sleep(2)
    assert line.requests == []


async def test_counters_hold_over_a_restart_while_the_meter_is_away(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    witness: Witness,
    impatient: None,
) -> None:
    meter.silent = True
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == STATE_UNAVAILABLE
    # The first answer is measured against what was believed before.
    meter.silent = False
    meter.override = {50946: 0, 50947: 0}
    for _ in range(2):
        await poll(entry)
    assert state(hass, "power") == "1300"
    assert state(hass, "energy_consumed") == "1234.56"
    meter.override = {}
    await assert_recovered(hass, entry)


async def test_a_port_that_is_not_there_at_a_restart_leaves_the_counters(
    hass: HomeAssistant, entry: CountisConfigEntry, witness: Witness, impatient: None
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    place = dict(entry.data)
    hass.config_entries.async_update_entry(
        entry, data={**place, "device": "/dev/no-such-port"}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    hass.config_entries.async_update_entry(entry, data=place)
    await hass.config_entries.async_reload(entry.entry_id)
    await assert_recovered(hass, entry)
