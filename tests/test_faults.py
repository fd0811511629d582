"""Faults of the line: what entities show, and what they never show."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
import logging
from pathlib import Path

import pytest

from custom_components.socomec_countis import coordinator
from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    EVENT_STATE_CHANGED,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import Event, EventStateChangedData, HomeAssistant
from simulator import (
    ANOTHER_UNIT_ID,
    DUPLICATED,
    ECHO,
    FLIPPED,
    LOST,
    NOISE_AFTER,
    NOISE_BEFORE,
    ONES,
    SPLIT,
    TRUNCATED,
    ZEROS,
    Constant,
    Fault,
    Line,
    Meter,
    Phase,
    late,
    random_bytes,
)

from .common import (
    SECOND_SERIAL,
    AddMeter,
    Clock,
    coordinator_of,
    entity_id,
    memory_line,
    reads,
    shown_error,
    state,
    until,
    until_polled,
    until_read,
)

pytestmark = pytest.mark.usefixtures("quick")

COUNTERS = ("energy_consumed", "partial_energy_consumed", "tariff_1_energy")
MEASURED = ("power", "voltage_l1", "current_l2", "frequency")

ON_ITS_WAY = {
    "flipped": FLIPPED,
    "truncated": TRUNCATED,
    "lost": LOST,
    "noise before": NOISE_BEFORE,
    "noise after": NOISE_AFTER,
    "another address": ANOTHER_UNIT_ID,
    "late": late(0.35),
    "zeros": ZEROS,
    "ones": ONES,
    "echo": ECHO,
    "split": SPLIT,
    "duplicated": DUPLICATED,
    "babble": random_bytes(1),
}


@dataclass
class Witness:
    """Records every state that is shown and is not true."""

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


async def assert_recovered(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Make sure that everything is shown as the meter has it, without a reload."""
    await until_read(hass, entry)
    await until_polled(entry)
    assert coordinator_of(entry).online
    assert state(hass, "power") == "1300"
    assert state(hass, "voltage_l1") == "230.0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "tariff_1_energy") == "1000.0"


@pytest.mark.parametrize("good_responses", [0, 1, 2])
@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_one_bad_response_is_not_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    fault: Fault,
    good_responses: int,
) -> None:
    line.faults.extend([Fault()] * good_responses + [fault])
    await until(lambda: not line.faults)
    await until_polled(entry)
    assert coordinator_of(entry).online
    assert witness.gaps == set()
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_every_other_response_bad_shows_nothing_wrong(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 60)
    line.faults.extend([Fault(), fault] * 8)
    await until(lambda: not line.faults)
    assert witness.gaps == set()
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("fault", ON_ITS_WAY.values(), ids=ON_ITS_WAY)
async def test_every_response_bad_shows_old_values_or_none(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    impatient: None,
    fault: Fault,
) -> None:
    line.faults.extend([fault] * 1000)
    for _ in range(3):
        await until_polled(entry)
    for key in COUNTERS:
        assert entity_id(hass, key) not in witness.gaps
    line.faults.clear()
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11])
async def test_exceptions_remove_measurements_and_keep_counters(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    witness: Witness,
    impatient: None,
    code: int,
) -> None:
    meter.exception_code = code
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert state(hass, "energy_consumed") == "1234.56"
    meter.exception_code = None
    await assert_recovered(hass, entry)


@pytest.mark.parametrize("block", [50512, 50944, 51200])
@pytest.mark.parametrize("answer", ["blank_blocks", "refused_blocks"])
async def test_block_that_is_not_available_changes_no_other(
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
        await until_polled(entry)
    gone = set(MEASURED) if block == 50512 else set()
    await until(lambda: len(witness.gaps) >= len(gone))
    assert witness.gaps == {entity_id(hass, key) for key in gone}
    setattr(meter, answer, set())
    await assert_recovered(hass, entry)


async def test_zeros_of_a_starting_meter_are_not_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    witness: Witness,
    impatient: None,
) -> None:
    meter.starting = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    assert state(hass, "energy_consumed") == "1234.56"
    # The meter may still be starting when Home Assistant starts.
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await until_polled(entry)
    assert state(hass, "energy_consumed") == "1234.56"
    meter.starting = False
    await assert_recovered(hass, entry)


async def test_zero_power_at_rest_is_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    impatient: None,
) -> None:
    meter.load = Constant(Phase(0), Phase(0), Phase(0))
    # Nothing but zeros, the power factor included.
    meter.override = dict.fromkeys(range(50536, 50550), 0)
    await until(lambda: state(hass, "power") == "0")
    await until_polled(entry)
    assert state(hass, "power") == "0"
    assert state(hass, "voltage_l1") == "230.0"


async def test_energy_counted_while_a_response_is_under_way_is_accepted_next(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    clock: Clock,
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))

    def go_on(response: bytes) -> bytes:
        clock.seconds += 1200
        return response

    # As many as a poll reads; the first may be a response that is under way.
    line.faults.extend([Fault(go_on)] * 3)
    await until(lambda: not line.faults)
    counted = meter.count()

    def shown() -> list[float]:
        keys = ("energy_consumed", "tariff_1_energy")
        return [float(state(hass, key)) for key in keys]

    watt_hours = [counted.consumed, counted.tariffs[0]]
    expected = pytest.approx([each / 1000 for each in watt_hours], abs=0.01)
    await until(lambda: shown() == expected)


async def test_short_cut_of_the_line_shows_nowhere(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line.cut = True
    await until(lambda: not coordinator_of(entry).online)
    line.cut = False
    await until(lambda: coordinator_of(entry).online)
    assert witness.gaps == set()
    assert "No meter responds" not in caplog.text
    await assert_recovered(hass, entry)


async def test_long_cut_is_logged_once_and_counters_are_kept(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 0.5)
    line.cut = True
    await until(lambda: state(hass, MEASURED[-1]) == STATE_UNAVAILABLE)
    for _ in range(5):
        await until_polled(entry)
    assert witness.gaps == {entity_id(hass, key) for key in MEASURED}
    logged = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("custom")
    ]
    assert len(logged) == 1
    assert "No meter responds at unit ID 1" in logged[0]
    line.cut = False
    await until(lambda: state(hass, MEASURED[-1]) != STATE_UNAVAILABLE)
    await assert_recovered(hass, entry)


@pytest.mark.parametrize(
    "fault",
    [ECHO, late(0.5), late(1.5), TRUNCATED],
    ids=["echo", "late", "very late", "truncated"],
)
async def test_offline_meter_comes_back_after_a_bad_response(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    meter: Meter,
    witness: Witness,
    impatient: None,
    fault: Fault,
) -> None:
    await add_meter(unit_id=2)
    meter.offline = True
    await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
    after: list[bytes] = []

    def disturb_first(request: bytes) -> None:
        if request[0] == meter.unit_id:
            if not after:
                line.faults.append(fault)
            after.append(request)

    meter.offline = False
    line.on_request = disturb_first
    await until(lambda: state(hass, "power") == "1300")
    # What is left of the response costs some requests, not minutes.
    assert 1 < len(after) < 12
    await assert_recovered(hass, entry)
    assert state(hass, "power", SECOND_SERIAL) == "1300"


async def test_offline_meter_costs_the_other_one_no_value(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
    witness: Witness,
) -> None:
    await add_meter(unit_id=2)
    second_meter.offline = True
    await until(lambda: not coordinator_of(entry, 2).online)
    for _ in range(3):
        await until_polled(entry)
    second_meter.offline = False
    await until(lambda: coordinator_of(entry, 2).online)
    assert witness.gaps == set()


async def test_adapter_that_is_plugged_in_again_brings_all_meters_back(
    hass: HomeAssistant,
    add_meter: AddMeter,
    meter: Meter,
    second_meter: Meter,
    impatient: None,
    tmp_path: Path,
) -> None:
    adapter = tmp_path / "adapter"
    meters = [meter, second_meter]
    async with memory_line(meters, link=adapter) as line:
        for each in meters:
            await add_meter(device=str(adapter), unit_id=each.unit_id)
        (entry,) = hass.config_entries.async_entries(DOMAIN)
        for _ in range(2):
            line.unplug()
            await until(lambda: shown_powers(hass) == {STATE_UNAVAILABLE})
            assert state(hass, "energy_consumed") == "1234.56"
            line.replug()
            await until(lambda: shown_powers(hass) == {"1300"})
        await assert_recovered(hass, entry)
        await hass.config_entries.async_unload(entry.entry_id)


def shown_powers(hass: HomeAssistant) -> set[str]:
    """Return the states of the power of both meters."""
    return {state(hass, "power"), state(hass, "power", SECOND_SERIAL)}


@pytest.mark.parametrize("prefix", [b"\x00", b"\xff"])
async def test_byte_before_each_response_does_no_harm(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
    prefix: bytes,
) -> None:
    line.response_prefix = prefix
    for _ in range(3):
        await until_polled(entry)
    assert witness.gaps == set()
    await assert_recovered(hass, entry)


async def test_adapter_that_echoes_every_request_is_named_in_the_dialog(
    hass: HomeAssistant, add_meter: AddMeter, line: Line
) -> None:
    line.echoes = True
    text = await shown_error(hass, await add_meter())
    assert f"{line.port} sends back every request (echo)" in text
    assert "switch off the echo" in text


async def until_requested(line: Line) -> None:
    """Wait until another request is on its way."""
    sent = len(line.requests)
    await until(lambda: len(line.requests) > sent)


async def test_reload_during_a_read_leaves_nothing_behind(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
) -> None:
    for _ in range(3):
        await until_requested(line)
        await hass.config_entries.async_reload(entry.entry_id)
        assert entry.state is ConfigEntryState.LOADED
        await until_read(hass, entry)
        witness.gaps.clear()
    await assert_recovered(hass, entry)


async def test_unloaded_entry_sends_nothing_more(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    witness: Witness,
) -> None:
    await until_requested(line)
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    line.requests.clear()
    # Longer than the period of a poll.
    await asyncio.sleep(0.5)
    assert reads(line.requests) == []


async def test_counters_are_kept_over_a_restart_without_the_meter(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    clock: Clock,
    witness: Witness,
    impatient: None,
) -> None:
    meter.offline = True
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == STATE_UNAVAILABLE
    # The first reading is checked against the stored one.
    meter.override = {50946: 0, 50947: 0}
    meter.offline = False
    await until(lambda: state(hass, "power") == "1300")
    await until_polled(entry)
    assert state(hass, "energy_consumed") == "1234.56"
    meter.override = {}
    await assert_recovered(hass, entry)


async def test_counters_are_kept_over_a_restart_without_the_port(
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
    await until(lambda: not coordinator_of(entry).online)
    hass.config_entries.async_update_entry(entry, data=place)
    await until(lambda: entry.runtime_data.data == place)
    await assert_recovered(hass, entry)
