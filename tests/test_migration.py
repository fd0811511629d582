"""The migration from YAML sensors of the modbus integration, with statistics."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)

from custom_components.socomec_countis.countis import poller
from homeassistant.components.energy.const import DOMAIN as ENERGY_DOMAIN
from homeassistant.components.energy.data import (
    EnergyPreferencesUpdate,
    GridSourceType,
    SourceType,
    async_get_manager,
)
from homeassistant.components.modbus.const import DOMAIN as MODBUS_DOMAIN
from homeassistant.components.recorder.statistics import (
    get_metadata,
    statistics_during_period,
)
from homeassistant.const import SERVICE_RELOAD, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from simulator import Constant, Line, Meter, Phase

from .common import (
    AddMeter,
    Clock,
    bus_form,
    entity_id,
    open_form,
    shown_error,
    until,
)

OLD = "sensor.house_energy"  # the entity ID of the YAML sensor

# Sensors that users have in YAML. Register 50770 has steps of 1 kWh, and register 50946
# has steps of 10 Wh.
SENSORS: dict[str, dict[str, Any]] = {
    "kWh": {"address": 50770, "unit_of_measurement": "kWh"},
    "10 Wh": {
        "address": 50946,
        "scale": 0.01,
        "precision": 2,
        "unit_of_measurement": "kWh",
    },
    "Wh": {"address": 50770, "scale": 1000, "unit_of_measurement": "Wh"},
    "MWh": {
        "address": 50946,
        "scale": 0.00001,
        "precision": 5,
        "unit_of_measurement": "MWh",
    },
}


@pytest.fixture(autouse=True)
def _custom_integrations(
    recorder_mock: object, enable_custom_integrations: None
) -> None:
    """Prepare the database of the recorder before `hass` is set up.

    This fixture replaces the one of the same name in tests/conftest.py, which would set
    up `hass` first.
    """


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Record only the entities of the tests: the energy, and the costs of the energy.

    To record all entities of the meter takes more time than the rest of a test.
    """
    energy = ["sensor.house_energy*", "sensor.old", "sensor.*_energy_consumed"]
    return {"include": {"entity_globs": energy}}


@pytest.fixture(autouse=True)
def _slow_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll each block every 5 min, because a test lasts for hours of virtual time."""
    interval = poller.Interval(target=300, period=300)
    monkeypatch.setattr(poller, "INTERVALS", dict.fromkeys(poller.INTERVALS, interval))


def modbus_yaml(line: Line, **sensor: Any) -> dict[str, Any]:
    """Return the YAML of a hub with one sensor of the meter at unit ID 1."""
    return {
        MODBUS_DOMAIN: [
            {
                "name": "rs485",
                "type": "serial",
                "port": line.port,
                "baudrate": 9600,
                "bytesize": 8,
                "method": "rtu",
                "parity": "N",
                "stopbits": 1,
                "sensors": [
                    {
                        "name": "House energy",
                        "slave": 1,
                        "input_type": "holding",
                        "data_type": "uint32",
                        "device_class": "energy",
                        "state_class": "total_increasing",
                        "scan_interval": 300,
                        **sensor,
                    }
                ],
            }
        ]
    }


async def remove_modbus_yaml(hass: HomeAssistant) -> None:
    """Remove the hub from the configuration, and reload the modbus integration."""
    with patch("homeassistant.config.load_yaml_config_file", return_value={}):
        await hass.services.async_call(MODBUS_DOMAIN, SERVICE_RELOAD, blocking=True)
    await hass.async_block_till_done()


async def end_hour(hass: HomeAssistant) -> None:
    """Wait until the hour has ended, and compile its statistics."""
    now = dt_util.utcnow()
    hour = now.replace(minute=0, second=0, microsecond=0)
    await asyncio.sleep(3601 - (now - hour).total_seconds())
    await async_wait_recording_done(hass)
    for minute in range(0, 60, 5):
        do_adhoc_statistics(hass, start=hour + timedelta(minutes=minute))
    await async_wait_recording_done(hass)


async def sums(
    hass: HomeAssistant, start: datetime, statistic_id: str = OLD
) -> list[float]:
    """Return the sum of a statistic at the end of each hour, in kWh or as costs."""
    rows = await get_instance(hass).async_add_executor_job(
        *(statistics_during_period, hass, start, None, {statistic_id}),
        *("hour", {"energy": "kWh"}, {"sum"}),
    )
    return [row["sum"] or 0 for row in rows[statistic_id]]


def count(meter: Meter, clock: Clock, kwh: float) -> None:
    """Let the meter count `kwh` during one hour of its clock."""
    meter.load = Constant(Phase(1000 * kwh), Phase(0), Phase(0))
    clock.seconds += 3600
    meter.count()
    meter.load = Constant(Phase(0), Phase(0), Phase(0))


@pytest.mark.parametrize(
    ("sensor", "unique_id"),
    [*((sensor, None) for sensor in SENSORS), ("kWh", "house_energy")],
)
async def test_statistics_of_a_yaml_sensor_continue_under_the_new_entity(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    line: Line,
    meter: Meter,
    clock: Clock,
    add_meter: AddMeter,
    sensor: str,
    unique_id: str | None,
) -> None:
    meter.load = Constant(Phase(0), Phase(0), Phase(0))
    config = SENSORS[sensor]
    if unique_id is not None:
        config = {**config, "unique_id": unique_id}
    start = dt_util.utcnow() - timedelta(hours=1)
    assert await async_setup_component(hass, MODBUS_DOMAIN, modbus_yaml(line, **config))
    await hass.async_block_till_done()
    await end_hour(hass)
    count(meter, clock, 5)
    await end_hour(hass)

    # 1. Remove the YAML. 2. Add the meter.
    await remove_modbus_yaml(hass)
    state = hass.states.get(OLD)
    assert (state and state.state) == (STATE_UNAVAILABLE if unique_id else None)
    count(meter, clock, 2)
    await add_meter()
    await end_hour(hass)
    new = entity_id(hass, "energy_consumed")
    # 3. Delete the old entity. 4. Give the ID of the old entity to the new entity.
    if unique_id:
        entity_registry.async_remove(OLD)
    entity_registry.async_update_entity(new, new_entity_id=OLD)
    await hass.async_block_till_done()
    count(meter, clock, 3)
    await end_hour(hass)
    count(meter, clock, 4)
    await end_hour(hass)

    unit = config["unit_of_measurement"]
    hours = await sums(hass, start)
    # In the third hour, the old entity had no value. With a unique ID, it was
    # unavailable, so the sum stayed at 5 kWh. Without one, it did not exist, so the
    # hour has no row. The fourth hour also contains the energy of the third hour. The
    # counter began at 1234.56 kWh. A YAML sensor in steps of 1 kWh showed only 1234
    # kWh. The new entity adds the other 0.56 kWh.
    third_hour = [5] if unique_id else []
    not_shown = 0.56 if config["address"] == 50770 else 0
    assert hours == pytest.approx(
        [0, 5, *third_hour, 10 + not_shown, 14 + not_shown], abs=0.001
    )
    metadata = await get_instance(hass).async_add_executor_job(
        lambda: get_metadata(hass, statistic_ids={OLD})
    )
    assert metadata[OLD][1]["unit_of_measurement"] == unit
    state = hass.states.get(OLD)
    assert state is not None
    # 1234.56 kWh at the start, and 14 kWh since then.
    assert (state.state, state.attributes["unit_of_measurement"]) == ("1248.56", "kWh")


async def set_grid(hass: HomeAssistant, *statistic_ids: str) -> None:
    """Let the Energy dashboard use only these grid connections, at 0.50 per kWh."""
    manager = await async_get_manager(hass)
    grids: list[SourceType] = [
        GridSourceType(
            type="grid",
            stat_energy_from=each,
            stat_energy_to=None,
            stat_cost=None,
            entity_energy_price=None,
            number_energy_price=0.5,
            stat_compensation=None,
            entity_energy_price_export=None,
            number_energy_price_export=None,
            cost_adjustment_day=0,
        )
        for each in statistic_ids
    ]
    await manager.async_update(
        EnergyPreferencesUpdate(energy_sources=grids, device_consumption=[])
    )
    await hass.async_block_till_done()
    await asyncio.sleep(1)  # because two states at the same moment have no order


async def test_costs_continue_if_the_new_cost_entity_takes_the_old_id(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    line: Line,
    meter: Meter,
    clock: Clock,
    add_meter: AddMeter,
) -> None:
    meter.load = Constant(Phase(0), Phase(0), Phase(0))
    start = dt_util.utcnow() - timedelta(hours=1)
    yaml = modbus_yaml(line, **SENSORS["kWh"])
    assert await async_setup_component(hass, MODBUS_DOMAIN, yaml)
    assert await async_setup_component(hass, ENERGY_DOMAIN, {})
    await hass.async_block_till_done()
    await set_grid(hass, OLD)
    await end_hour(hass)
    count(meter, clock, 6)
    await end_hour(hass)
    await remove_modbus_yaml(hass)
    await add_meter()
    new = entity_id(hass, "energy_consumed")
    entity_registry.async_update_entity(new, new_entity_id=OLD)
    await asyncio.sleep(1)  # because two states at the same moment have no order
    # At a restart, Home Assistant would create a second cost entity. It also creates
    # this entity if the grid connection is removed and added again.
    await set_grid(hass)
    await set_grid(hass, OLD)
    assert hass.states.get(f"{OLD}_cost_2") is not None
    entity_registry.async_remove(f"{OLD}_cost")
    entity_registry.async_update_entity(f"{OLD}_cost_2", new_entity_id=f"{OLD}_cost")
    await hass.async_block_till_done()
    await end_hour(hass)
    count(meter, clock, 4)
    await end_hour(hass)
    costs = await sums(hass, start, f"{OLD}_cost")
    # 6 kWh cost 3, and 4 kWh cost 2. The counter began at 1234.56 kWh. The YAML sensor
    # in steps of 1 kWh showed only 1234 kWh. The new entity adds the other 0.56 kWh,
    # which cost 0.28.
    assert costs == pytest.approx([0, 3, 3.28, 5.28])
    assert hass.data[ENERGY_DOMAIN]["cost_sensors"] == {OLD: f"{OLD}_cost"}


async def test_statistics_move_with_an_old_entity_that_is_renamed(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    line: Line,
    add_meter: AddMeter,
) -> None:
    start = dt_util.utcnow() - timedelta(hours=1)
    config = {**SENSORS["kWh"], "unique_id": "house_energy"}
    assert await async_setup_component(hass, MODBUS_DOMAIN, modbus_yaml(line, **config))
    await hass.async_block_till_done()
    await end_hour(hass)
    assert await sums(hass, start) == [0]
    await remove_modbus_yaml(hass)
    await add_meter()
    entity_registry.async_update_entity(OLD, new_entity_id="sensor.old")
    await async_wait_recording_done(hass)
    metadata = await get_instance(hass).async_add_executor_job(
        lambda: get_metadata(hass, statistic_ids={OLD, "sensor.old"})
    )
    assert metadata.keys() == {"sensor.old"}


@pytest.mark.real_time
async def test_yaml_hub_and_bus_cannot_use_the_same_port(
    hass: HomeAssistant, line: Line
) -> None:
    config = modbus_yaml(line, **SENSORS["kWh"])
    assert await async_setup_component(hass, MODBUS_DOMAIN, config)
    await until(lambda: (state := hass.states.get(OLD)) and state.state == "1234")
    form = await open_form(hass, "serial")
    result = await hass.config_entries.flow.async_configure(
        form["flow_id"], bus_form(line)
    )
    assert "Another program uses the port" in await shown_error(hass, result)
    await remove_modbus_yaml(hass)
    result = await hass.config_entries.flow.async_configure(
        form["flow_id"], bus_form(line)
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
