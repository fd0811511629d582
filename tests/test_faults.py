"""Faults of the line and of meters: entities never show a wrong state."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import product
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
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
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
    table,
)

from .common import (
    SECOND_SERIAL,
    AddMeter,
    Clock,
    add_only,
    coordinator_of,
    entity_id,
    memory_line,
    registers_of,
    state,
    until,
    until_polled,
    until_read,
)
from .test_init import warnings

pytestmark = pytest.mark.usefixtures("fast_polling")

COUNTERS = ("energy_consumed", "partial_energy_consumed", "tariff_1_energy")
MEASUREMENTS = ("power", "voltage_l1", "current_l2", "frequency")

RESPONSE_FAULTS = {
    "flipped": FLIPPED,
    "truncated": TRUNCATED,
    "lost": LOST,
    "noise before": NOISE_BEFORE,
    "noise after": NOISE_AFTER,
    "another unit ID": ANOTHER_UNIT_ID,
    "late": late(0.35),  # s; the response timeout is 0.25 s
    "zeros": ZEROS,
    "ones": ONES,
    "echo": ECHO,
    "split": SPLIT,
    "duplicated": DUPLICATED,
    "random bytes": random_bytes(1),  # the seed
}


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities, and those whose states are recorded."""
    add_only(monkeypatch, *COUNTERS, *MEASUREMENTS)


@dataclass
class ShownStates:
    """The states that entities show, compared with the values of the meter."""

    hass: HomeAssistant
    allowed: dict[str, set[str]] = field(default_factory=dict)
    """The correct states by entity ID."""
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """The entity ID and the state of each change to a state that is not allowed."""
    unavailable: set[str] = field(default_factory=set)
    """The IDs of the entities that were unavailable or unknown."""

    def allow(self, key: str, value: str) -> None:
        """Allow a state of an entity."""
        self.allowed.setdefault(entity_id(self.hass, key), set()).add(value)

    def clear(self) -> None:
        """Forget the states that were recorded."""
        self.wrong.clear()
        self.unavailable.clear()

    async def until_unavailable(self, count: int) -> None:
        """Wait until `count` entities were unavailable."""
        await until(lambda: len(self.unavailable) >= count)

    @callback
    def on_change(self, event: Event[EventStateChangedData]) -> None:
        """Compare a new state with the allowed states."""
        new = event.data["new_state"]
        if new is None or new.entity_id not in self.allowed:
            return
        if new.state in (STATE_UNAVAILABLE, STATE_UNKNOWN):
            self.unavailable.add(new.entity_id)
        elif new.state not in self.allowed[new.entity_id]:
            self.wrong.append((new.entity_id, new.state))


@pytest.fixture
async def shown_states(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> AsyncGenerator[ShownStates]:
    """Record the states during the test. At the end, no state may be wrong."""
    shown_states = ShownStates(hass)
    for key in (*COUNTERS, *MEASUREMENTS):
        shown_states.allow(key, state(hass, key))
    # The frequency of the simulated grid varies.
    for hertz in ("50.0", "50.01", "50.02"):
        shown_states.allow("frequency", hertz)
    stop = hass.bus.async_listen(EVENT_STATE_CHANGED, shown_states.on_change)
    yield shown_states
    stop()
    assert shown_states.wrong == []


async def assert_recovered(hass: HomeAssistant, entry: CountisConfigEntry) -> None:
    """Check that the entities show the values of the meter again.

    The power of 1300 W is the sum of the default phases of `Constant`: 1000, 500 and
    -200 W.
    """
    await until_read(hass, entry)
    await until_polled(entry)
    assert coordinator_of(entry).online
    assert state(hass, "power") == "1300"
    assert state(hass, "voltage_l1") == "230.0"
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "tariff_1_energy") == "1000.0"


# Each of the next tests uses one bus for many faults, because to set up Home Assistant
# takes more time than to test a fault. A failure names the fault.


async def test_one_faulty_response_changes_no_state(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
    subtests: pytest.Subtests,
) -> None:
    for good_responses, (name, fault) in product(range(3), RESPONSE_FAULTS.items()):
        with subtests.test(name, good_responses=good_responses):
            shown_states.clear()
            line.faults.extend([Fault()] * good_responses + [fault])
            await until(lambda: not line.faults)
            await until_polled(entry)
            assert coordinator_of(entry).online
            assert shown_states.unavailable == set()
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


async def test_faults_of_every_other_response_change_no_state(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
    short_pauses: None,
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Hold the values until all faults are over. `short_pauses` has set `HOLD_SECONDS`
    # to 0.
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 60)
    for name, fault in RESPONSE_FAULTS.items():
        with subtests.test(name):
            shown_states.clear()
            line.faults.extend([Fault(), fault] * 8)
            await until(lambda: not line.faults)
            assert shown_states.unavailable == set()
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


async def test_counters_are_kept_if_every_response_is_faulty(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
    short_pauses: None,
    subtests: pytest.Subtests,
) -> None:
    for name, fault in RESPONSE_FAULTS.items():
        with subtests.test(name):
            shown_states.clear()
            line.faults.extend([fault] * 1000)
            for _ in range(3):
                await until_polled(entry)
            for key in COUNTERS:
                assert entity_id(hass, key) not in shown_states.unavailable
            line.faults.clear()
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


async def test_exceptions_make_only_measurements_unavailable(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
    subtests: pytest.Subtests,
) -> None:
    for code in (1, 2, 3, 4, 5, 6, 10, 11):
        with subtests.test(code=code):
            shown_states.clear()
            meter.exception_code = code
            for _ in range(2):
                await until_polled(entry)
            assert shown_states.unavailable == {
                entity_id(hass, key) for key in MEASUREMENTS
            }
            meter.exception_code = None
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


@pytest.mark.parametrize("attribute", ["blank_blocks", "refused_blocks"])
async def test_missing_block_does_not_change_the_states_of_other_blocks(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
    subtests: pytest.Subtests,
    attribute: str,
) -> None:
    for block in (table.METROLOGY, table.ENERGIES_UNIT_100, table.TARIFFS_UNIT_100):
        with subtests.test(block=block):
            shown_states.clear()
            setattr(meter, attribute, {block})
            for _ in range(2):
                await until_polled(entry)
            # Counters keep their last accepted values.
            expected = set(MEASUREMENTS) if block == table.METROLOGY else set()
            await shown_states.until_unavailable(len(expected))
            assert shown_states.unavailable == {
                entity_id(hass, key) for key in expected
            }
            setattr(meter, attribute, set())
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


async def test_zeros_of_a_starting_meter_are_not_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
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


async def test_zero_power_without_load_is_shown(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    short_pauses: None,
) -> None:
    meter.load = Constant(Phase(0), Phase(0), Phase(0))
    # By default, the power factor without load is 1. Here, the power factor is also 0,
    # so that only the frequency shows that the meter is not starting.
    meter.override = dict.fromkeys(range(50536, 50550), 0)
    await until(lambda: state(hass, "power") == "0")
    await until_polled(entry)
    assert state(hass, "power") == "0"
    assert state(hass, "voltage_l1") == "230.0"


async def test_energy_counted_during_a_response_is_shown_by_the_next_polls(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    clock: Clock,
) -> None:
    meter.load = Constant(Phase(2000), Phase(1000), Phase(0))

    def count_energy(response: bytes) -> bytes:
        clock.seconds += 1200
        return response

    # A poll reads three blocks, so each block has one response with this fault.
    line.faults.extend([Fault(count_energy)] * 3)
    await until(lambda: not line.faults)
    counted = meter.count()

    def shown_energies() -> list[float]:
        keys = ("energy_consumed", "tariff_1_energy")
        return [float(state(hass, key)) for key in keys]

    watt_hours = [counted.consumed, counted.tariffs[0]]
    expected = pytest.approx([each / 1000 for each in watt_hours], abs=0.01)
    await until(lambda: shown_energies() == expected)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_short_interruption_changes_no_state(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    meter: Meter,
    shown_states: ShownStates,
    caplog: pytest.LogCaptureFixture,
    *,
    is_cut: bool,
) -> None:
    line.cut, meter.offline = is_cut, not is_cut
    await until(lambda: not coordinator_of(entry).online)
    line.cut = meter.offline = False
    await until(lambda: coordinator_of(entry).online)
    assert shown_states.unavailable == set()
    assert "No meter responds" not in caplog.text
    await assert_recovered(hass, entry)


async def test_long_cut_of_the_line_is_logged_once_and_keeps_counters(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
    short_pauses: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(coordinator, "HOLD_SECONDS", 0.5)
    line.cut = True
    await until(lambda: state(hass, "frequency") == STATE_UNAVAILABLE)
    for _ in range(5):
        await until_polled(entry)
    assert shown_states.unavailable == {entity_id(hass, key) for key in MEASUREMENTS}
    (warning,) = warnings(caplog)
    assert "No meter responds at unit ID 1" in warning
    line.cut = False
    await until(lambda: state(hass, "frequency") != STATE_UNAVAILABLE)
    await assert_recovered(hass, entry)


async def test_meter_is_online_again_after_a_faulty_first_response(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    line: Line,
    meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
    subtests: pytest.Subtests,
) -> None:
    await add_meter(unit_id=2)
    faults = {
        "echo": ECHO,
        "late": late(0.5),
        "very late": late(1.5),
        "truncated": TRUNCATED,
    }
    requests: list[bytes] = []
    pending_faults: list[Fault] = []

    def disturb_first_response(request: bytes) -> None:
        if request[0] == meter.unit_id:
            if pending_faults:
                line.faults.append(pending_faults.pop())
            requests.append(request)

    for name, fault in faults.items():
        with subtests.test(name):
            meter.offline = True
            await until(lambda: state(hass, "power") == STATE_UNAVAILABLE)
            requests.clear()
            pending_faults.append(fault)
            meter.offline = False
            line.on_request = disturb_first_response
            await until(lambda: state(hass, "power") == "1300")
            # After the faulty response, the meter is online within a few requests.
            assert 1 < len(requests) < 12
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []
    assert state(hass, "power", SECOND_SERIAL) == "1300"


async def test_offline_meter_does_not_affect_another_meter(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    add_meter: AddMeter,
    second_meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
) -> None:
    await add_meter(unit_id=2)
    second_meter.offline = True
    await until(lambda: state(hass, "power", SECOND_SERIAL) == STATE_UNAVAILABLE)
    for _ in range(3):
        await until_polled(entry)
    assert coordinator_of(entry).online
    second_meter.offline = False
    await until(lambda: coordinator_of(entry, 2).online)
    assert state(hass, "power") == "1300"
    assert shown_states.unavailable == set()


async def test_meters_are_online_after_the_adapter_is_plugged_in_again(
    hass: HomeAssistant,
    add_meter: AddMeter,
    meter: Meter,
    second_meter: Meter,
    short_pauses: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
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
            logged = warnings(caplog)
            assert len(logged) == len(meters)
            assert all(
                "Check that the adapter is plugged in" in each for each in logged
            )
            caplog.clear()
            assert state(hass, "energy_consumed") == "1234.56"
            line.replug()
            await until(lambda: shown_powers(hass) == {"1300"})
        await assert_recovered(hass, entry)
        await hass.config_entries.async_unload(entry.entry_id)


def shown_powers(hass: HomeAssistant) -> set[str]:
    """Return the states of the power of both meters."""
    return {state(hass, "power"), state(hass, "power", SECOND_SERIAL)}


async def test_byte_before_each_response_is_discarded(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
    subtests: pytest.Subtests,
) -> None:
    for prefix in (b"\x00", b"\xff"):
        with subtests.test(prefix=prefix):
            line.response_prefix = prefix
            for _ in range(3):
                await until_polled(entry)
            assert shown_states.unavailable == set()
            await assert_recovered(hass, entry)
            assert shown_states.wrong == []


async def until_requested(line: Line) -> None:
    """Wait until the next request is on the line."""
    sent = len(line.requests)
    await until(lambda: len(line.requests) > sent)


async def test_reload_during_a_read_shows_no_wrong_state(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
) -> None:
    for _ in range(3):
        await until_requested(line)
        await hass.config_entries.async_reload(entry.entry_id)
        assert entry.state is ConfigEntryState.LOADED
        await until_read(hass, entry)
    await assert_recovered(hass, entry)


async def test_unloaded_entry_sends_no_request(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    line: Line,
    shown_states: ShownStates,
) -> None:
    await until_requested(line)
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    line.requests.clear()
    await asyncio.sleep(60)  # many polling periods, in virtual time
    assert line.requests == []


async def test_counters_are_kept_after_a_restart_without_the_meter(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    meter: Meter,
    shown_states: ShownStates,
    short_pauses: None,
) -> None:
    meter.offline = True
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "power") == STATE_UNAVAILABLE
    # Because of the stored counters, a first reading of 0 is rejected.
    meter.override = registers_of("energy_consumed", 0)
    meter.offline = False
    await until(lambda: state(hass, "power") == "1300")
    await until_polled(entry)
    assert state(hass, "energy_consumed") == "1234.56"
    meter.override = {}
    await assert_recovered(hass, entry)


async def test_counters_are_kept_after_a_restart_without_the_port(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    shown_states: ShownStates,
    short_pauses: None,
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    data = dict(entry.data)
    hass.config_entries.async_update_entry(
        entry, data={**data, "device": "/dev/no-such-port"}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert state(hass, "energy_consumed") == "1234.56"
    await until(lambda: not coordinator_of(entry).online)
    hass.config_entries.async_update_entry(entry, data=data)
    await until(lambda: entry.runtime_data.data_in_use == data)
    await assert_recovered(hass, entry)
