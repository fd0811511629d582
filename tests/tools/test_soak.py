"""The clock of the soak, its mishaps, and the comparison of statistics."""

import asyncio
from pathlib import Path
import time

import pytest

from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import HomeAssistant, ServiceCall, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from simulator import Constant, Counters, Phase
from tests.common import Clock
from tools.home_assistant.entries import simulated_serial_number
from tools.paths import DOMAIN
from tools.soak import mishaps
from tools.soak.arguments import CHECK_HOURS
from tools.soak.clock import SimulatedClock, SimulatedLoop
from tools.soak.machine import Machine
from tools.soak.mishaps import (
    MISHAPS,
    mishap_at,
    reset_at_the_meter,
    reset_by_button,
)
from tools.soak.run import (
    CHECK_LONGEST_MISHAP,
    CHECK_MISHAPS,
    CHECK_PAUSE,
    report_result,
)
from tools.soak.world import KEYS, METERS, SoakMeter, World, new_counters

START = 1_774_699_200.0  # s since 1970: 2026-03-28, 12:00 UTC
HOUR = 3600  # s
WATTS = 6000  # 6 kWh in the hour that `run_meter` simulates


def new_world() -> World:
    """Return the world at the start of a soak."""
    return World(
        seed=1,
        speed=1,
        true_time=START,
        end=START + HOUR,
        pause=300,
        longest_mishap=HOUR,
        most_mishaps=10,
    )


def run_meter(world: World, resets: tuple[str, ...] = ()) -> None:
    """Let meter 1 count 6 kWh, then reset counters.

    The last 0.01 kWh before each reset are lost, because no state of Home Assistant
    contains them.
    """
    clock = Clock(START)

    def on_reset(unit_id: int, key: str, kwh: float) -> None:
        shown = kwh - 0.01
        world.lost[f"{unit_id} {key}"] = kwh - shown

    meter = SoakMeter(
        unit_id=1,
        load=Constant(Phase(WATTS), Phase(0), Phase(0)),
        true_time=clock,
        counters=Counters.from_dict(world.counters["1"]),
        on_reset=on_reset,
    )
    clock.seconds += HOUR
    meter.reset(resets)
    world.counters["1"] = meter.count().as_dict()


def test_time_passes_while_the_loop_waits() -> None:
    clock = SimulatedClock(START)
    clock.speed = 100_000
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(clock)) as runner:
        runner.run(asyncio.sleep(HOUR))
    assert clock.true_time == pytest.approx(START + HOUR, abs=0.01)
    clock.error = 60
    assert clock.time() == pytest.approx(START + HOUR + 60, abs=0.01)


def test_no_time_passes_while_the_loop_is_busy() -> None:
    clock = SimulatedClock(START)
    clock.speed = 100_000

    async def work() -> None:
        # If the loop waited for 0.05 s, 5000 s would pass on the clock.
        time.sleep(0.05)  # noqa: ASYNC251

    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(clock)) as runner:
        runner.run(work())
        assert clock.elapsed < 1


def test_thread_wakes_the_loop() -> None:
    clock = SimulatedClock(START)
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(clock)) as runner:
        assert runner.run(asyncio.to_thread(lambda: 1)) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_each_mishap_happens_once_before_any_happens_again(seed: int) -> None:
    first = [mishap_at(number, seed) for number in range(len(MISHAPS))]
    assert set(first) == set(MISHAPS)
    again = [mishap_at(len(MISHAPS) + number, seed) for number in range(len(MISHAPS))]
    assert again != first


def test_check_has_time_for_each_mishap() -> None:
    assert len(MISHAPS) == CHECK_MISHAPS
    # In s, for each mishap: twice the mean pause, at least 120 s for the mishap itself,
    # and 60 s until the values settle.
    needed = CHECK_MISHAPS * (2 * CHECK_PAUSE + max(CHECK_LONGEST_MISHAP, 120) + 60)
    assert needed < CHECK_HOURS * HOUR


def test_world_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    world = new_world()
    run_meter(world)
    world.save(tmp_path)
    assert World.load(tmp_path) == world


def test_no_energy_is_expected_if_the_meters_count_none() -> None:
    expected = new_world().expected()
    assert len(expected) == METERS * len(KEYS)
    assert set(expected.values()) == {0.0}
    assert new_world().differences() == {}


def test_consumed_energy_is_expected_in_its_counters() -> None:
    world = new_world()
    run_meter(world)
    expected = {name: kwh for name, kwh in world.expected().items() if kwh}
    names = ("energy_consumed", "partial_energy_consumed", "tariff_1_energy")
    assert expected == {f"1 {name}": pytest.approx(6) for name in names}
    # The statistics of this world are empty.
    assert world.differences() == {name: pytest.approx(-6) for name in expected}


def test_energy_between_the_last_state_and_a_reset_is_not_expected() -> None:
    world = new_world()
    run_meter(world, ("partial_energy_consumed",))
    assert world.counters["1"]["partial_consumed"] == 0
    expected = world.expected()
    # 6 kWh, without the 0.01 kWh between the last state and the reset.
    assert expected["1 partial_energy_consumed"] == pytest.approx(5.99)
    assert expected["1 energy_consumed"] == pytest.approx(6)


def test_reset_command_reports_the_counters_that_were_reset() -> None:
    resets: dict[str, float] = {}
    meter = SoakMeter(
        load=Constant(Phase(0), Phase(0), Phase(0)),
        counters=Counters.from_dict(new_counters(1)),
        on_reset=lambda _unit_id, key, kwh: resets.update({key: kwh}),
    )
    # This command resets all partial counters. The energies in kWh are those of
    # `new_counters(1)`. The soak ignores the reactive energy, because its sensors are
    # disabled by default.
    assert meter.write(57890, [0x000B]) is None
    assert resets == pytest.approx(
        {"partial_energy_consumed": 45.678, "partial_energy_produced": 34.567}
    )


@pytest.fixture
async def machine(
    hass: HomeAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    """Return a machine whose sensors show the counters of the meters."""
    monkeypatch.setattr(mishaps, "AFTER_RESET", 0)
    machine = Machine(new_world(), tmp_path, SimulatedClock(START))
    machine.hass = hass
    for unit_id in machine.meters:
        for key in KEYS:
            name = f"{unit_id} {key}"
            machine.ids[name] = f"sensor.meter_{unit_id}_{key}"
            hass.states.async_set(machine.ids[name], str(machine.truth(name)))
        er.async_get(hass).async_get_or_create(
            "button",
            DOMAIN,
            f"{simulated_serial_number(unit_id)}_reset_partial_counters",
            suggested_object_id=f"meter_{unit_id}",
        )
    return machine


def register_button(
    hass: HomeAssistant, machine: Machine, error: str | None, *, works: bool
) -> None:
    """Register the action that presses a button.

    If `works` is true, a press resets the counters. An `error` is raised after this.
    """

    @callback
    def press(call: ServiceCall) -> None:
        if works:
            unit_id = int(call.data["entity_id"].removeprefix("button.meter_"))
            machine.meters[unit_id].write(57890, [0x000B])
        if error is not None:
            raise HomeAssistantError(error)

    hass.services.async_register("button", "press", press)


@pytest.mark.parametrize(
    ("error", "works", "errors"),
    [
        (None, True, 0),
        (None, False, 1),
        ("no response", False, 1),
        ("no response", True, 1),
    ],
)
async def test_button_that_fails_is_an_error(
    hass: HomeAssistant,
    machine: Machine,
    error: str | None,
    works: bool,  # noqa: FBT001
    errors: int,
) -> None:
    register_button(hass, machine, error, works=works)
    await reset_by_button(machine)
    assert len(machine.world.errors) == errors


async def test_only_a_meter_with_high_counters_is_reset(
    hass: HomeAssistant, machine: Machine
) -> None:
    register_button(hass, machine, None, works=True)
    for reset in (reset_by_button, reset_at_the_meter):
        machine.world.lost.clear()
        for unit_id, meter in machine.meters.items():
            # Only counters above 3 kWh are reset.
            wh = 4000.0 if unit_id == 5 else 3000.0
            meter.counters.partial_consumed = meter.counters.partial_produced = wh
        await reset(machine)
        assert machine.world.lost.keys() == {
            "5 partial_energy_consumed",
            "5 partial_energy_produced",
        }
    # After these resets, no partial counter is above 3 kWh.
    machine.world.lost.clear()
    for reset in (reset_by_button, reset_at_the_meter):
        await reset(machine)
    assert not machine.world.lost
    assert not machine.world.errors


async def test_fall_of_a_total_while_it_is_unavailable_is_an_error(
    hass: HomeAssistant, machine: Machine
) -> None:
    name = "1 energy_consumed"
    entity_id = machine.ids[name]
    machine.names = {entity_id: name}
    hass.bus.async_listen(EVENT_STATE_CHANGED, machine.on_state)
    for state in ("1234.5", "unavailable", "1234.5", "unavailable", "1234.4"):
        hass.states.async_set(entity_id, state)
    await hass.async_block_till_done()
    assert machine.world.errors == [f"{name} fell from 1234.5 to 1234.4 kWh"]


def test_result_with_a_difference_has_the_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = new_world()
    world.recorded["1 energy_consumed"] = 0.02
    assert report_result(world, tmp_path, keep=False) == 1
    assert "1 energy_consumed: 0.02 kWh in the statistics" in capsys.readouterr().out
    assert tmp_path.exists()


def test_result_without_a_difference_removes_the_data_unless_kept(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "soak"
    folder.mkdir()
    assert report_result(new_world(), folder, keep=True) == 0
    assert folder.exists()
    assert report_result(new_world(), folder, keep=False) == 0
    assert not folder.exists()
