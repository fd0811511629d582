"""The dialogs that add a meter to a bus by its unit ID, and reconfigure a meter."""

from collections.abc import Iterable
from types import MappingProxyType

import pytest

from custom_components.socomec_countis.const import DOMAIN, SUBENTRY_METER
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.modbus.connection import async_get_connection_info
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigSubentry
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from simulator import LOST, Line, Meter, table
from simulator.table import PERIODS, PERIODS_UNIT_100

from .common import (
    SECOND_SERIAL,
    SERIAL,
    AddMeter,
    FlowResult,
    add_only,
    coordinator_of,
    entity_id,
    open_add_meters,
    shown_error,
    shown_states,
    state,
    subentry_of,
    until,
    until_polled,
    until_read,
)


@pytest.fixture(autouse=True)
def _few_entities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add only the main entities: the dialogs do not depend on the others."""
    add_only(monkeypatch)


async def reconfigure(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    unit_id: int,
    *,
    serial: str | None = None,
    take_profile: bool = False,
) -> FlowResult:
    """Reconfigure the meter with serial number `serial`: enter `unit_id` in the form.

    If `serial` is None, reconfigure the first meter of the bus. `take_profile` is the
    switch *Detect the supported values again*.
    """
    subentry = next(
        each for each in entry.subentries.values() if serial in {None, each.unique_id}
    )
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, SUBENTRY_METER),
        context={"source": SOURCE_RECONFIGURE, "subentry_id": subentry.subentry_id},
    )
    if form["type"] is not FlowResultType.FORM:
        return form
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {"unit_id": unit_id, "take_profile": take_profile}
    )
    await hass.async_block_till_done()
    return result


@pytest.fixture
def moved_meter(meter: Meter, second_meter: Meter) -> Meter:
    """Return the meter after its unit ID is changed from 1 to 2."""
    meter.offline = True
    second_meter.serial = (0x1438, 0x0120, 1)  # the serial number of the first meter
    return second_meter


# -- adding -------------------------------------------------------------------


async def test_second_meter_is_added_without_a_reload_of_the_bus(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry
) -> None:
    runtime = entry.runtime_data
    first = coordinator_of(entry, 1)
    result = await add_meter(unit_id=2)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "COUNTIS E33 #2"
    subentry = subentry_of(entry, 2)
    assert subentry.unique_id == SECOND_SERIAL
    assert subentry.data == {
        "unit_id": 2,
        "serial_number": SECOND_SERIAL,
        "profile": coordinator_of(entry, 2).meter.profile.as_dict(),
    }
    assert state(hass, "energy_consumed", SECOND_SERIAL) == "0"
    # The bus was not reloaded.
    assert entry.runtime_data is runtime
    assert coordinator_of(entry, 1) is first
    assert first.online
    (connection,) = async_get_connection_info(hass)
    assert connection.units == {entry.entry_id: [1, 2]}


async def test_meter_in_auto_mode_is_added_after_two_lost_responses(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry, line: Line
) -> None:
    """A meter in AUTO mode responds only after it has found the line settings."""
    lost = 0

    def lose_first_two(request: bytes) -> None:
        nonlocal lost
        if request[0] == 2 and lost < 2:
            lost += 1
            line.faults.append(LOST)

    line.on_request = lose_first_two
    result = await add_meter(unit_id=2)
    assert (result["type"], lost) == (FlowResultType.CREATE_ENTRY, 2)


async def test_unit_id_in_use_is_rejected(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry
) -> None:
    result = await add_meter(unit_id=1)
    assert result["errors"] == {"unit_id": "unit_id_in_use"}
    assert "COUNTIS E33 #1 already has this unit ID" in await shown_error(hass, result)


async def test_unit_id_without_response_is_rejected(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry, line: Line
) -> None:
    result = await add_meter(unit_id=77)
    assert f"at unit ID 77 on {line.port}" in await shown_error(hass, result)
    assert coordinator_of(entry).online


async def test_next_free_unit_id_is_suggested(
    hass: HomeAssistant,
    entry: CountisConfigEntry,
    subtests: pytest.Subtests,
) -> None:
    """The unit ID after the highest used one is suggested.

    If 255 is used, the lowest free unit ID is suggested.
    """
    subentry = subentry_of(entry)
    before = entry.subentries
    cases: tuple[tuple[Iterable[int], int | None], ...] = (
        ((1,), 2),
        ((1, 2), 3),
        ((1, 5), 6),
        ((1, 255), 2),
        (range(1, 256), None),
    )
    for used, suggested in cases:
        with subtests.test(suggested=suggested):
            others = (
                ConfigSubentry(
                    data=MappingProxyType({**subentry.data, "unit_id": unit_id}),
                    subentry_type="meter",
                    title="",
                    unique_id=str(unit_id),
                )
                for unit_id in set(used) - {1}
            )
            entry.subentries = MappingProxyType(
                {**before, **{each.subentry_id: each for each in others}}
            )
            form = await open_add_meters(hass, entry)
            schema = form["data_schema"]
            assert schema is not None
            (unit_id_field,) = schema.schema
            assert unit_id_field.description == {"suggested_value": suggested}


async def test_reconfigure_rejects_the_unit_id_of_a_configured_meter(
    hass: HomeAssistant, add_meter: AddMeter, entry: CountisConfigEntry, line: Line
) -> None:
    await add_meter(unit_id=2)
    result = await reconfigure(hass, entry, 2)
    assert result["errors"] == {"unit_id": "unit_id_in_use"}
    assert "COUNTIS E33 #2 already has this unit ID" in await shown_error(hass, result)
    line.meters[2].offline = True  # but still configured
    result = await reconfigure(hass, entry, 2)
    assert result["errors"] == {"unit_id": "unit_id_in_use"}
    line.unplug()
    result = await reconfigure(hass, entry, 2)
    assert result["errors"] == {"base": "port_not_found"}


async def test_meter_that_is_already_set_up_is_rejected(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    second_meter: Meter,
    line: Line,
) -> None:
    second_meter.serial = (0x1438, 0x0120, 1)  # the serial number of the first meter
    text = await shown_error(hass, await add_meter(unit_id=2))
    assert f"COUNTIS E33 #1 is already set up on the bus {line.port}" in text


async def test_dialogs_abort_if_the_bus_is_not_loaded(
    hass: HomeAssistant, entry: CountisConfigEntry, line: Line
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    for result in (
        await open_add_meters(hass, entry),
        await reconfigure(hass, entry, 2),
    ):
        assert result["reason"] == "bus_not_loaded"
        assert result["description_placeholders"] == {"name": line.port}


# -- reconfiguring ------------------------------------------------------------


async def test_meter_with_a_changed_unit_id_keeps_its_entities(
    hass: HomeAssistant, entry: CountisConfigEntry, moved_meter: Meter
) -> None:
    runtime = entry.runtime_data
    power = entity_id(hass, "power")
    result = await reconfigure(hass, entry, 2)
    assert result["reason"] == "reconfigure_successful"
    assert subentry_of(entry, 2).title == "COUNTIS E33 #2"
    assert subentry_of(entry, 2).unique_id == SERIAL
    assert entity_id(hass, "power") == power
    assert entry.runtime_data is runtime
    await until_polled(entry, 2)
    assert coordinator_of(entry, 2).online


async def test_title_that_the_user_set_is_kept_when_the_unit_id_changes(
    hass: HomeAssistant, entry: CountisConfigEntry, moved_meter: Meter
) -> None:
    hass.config_entries.async_update_subentry(
        entry, subentry_of(entry), title="Heat pump"
    )
    await reconfigure(hass, entry, 2)
    assert subentry_of(entry, 2).title == "Heat pump"


async def test_unit_id_of_another_meter_is_rejected_and_its_serial_is_shown(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    text = await shown_error(hass, await reconfigure(hass, entry, 2))
    assert f"its serial number is {SECOND_SERIAL}, not {SERIAL}" in text
    assert subentry_of(entry).data["unit_id"] == 1


async def test_unit_id_of_a_configured_meter_without_serial_is_rejected(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    second_meter: Meter,
) -> None:
    second_meter.refused_blocks = {table.IDENTIFICATION}
    await add_meter(unit_id=2)
    result = await reconfigure(hass, entry, 2)
    assert "COUNTIS #2 already has this unit ID" in await shown_error(hass, result)
    # The same form accepts the present unit ID of the reconfigured meter.
    result = await hass.config_entries.subentries.async_configure(
        result["flow_id"], {"unit_id": 1, "take_profile": False}
    )
    assert result["reason"] == "reconfigure_successful"


@pytest.mark.usefixtures("fast_polling", "short_pauses")
async def test_meters_with_swapped_unit_ids_are_reconfigured_one_by_one(
    hass: HomeAssistant,
    add_meter: AddMeter,
    entry: CountisConfigEntry,
    line: Line,
) -> None:
    await add_meter(unit_id=2)
    first, second = coordinator_of(entry, 1), coordinator_of(entry, 2)
    shown = shown_states(hass, "energy_consumed", SECOND_SERIAL)
    line.cut = True
    await until(lambda: not first.online and not second.online)
    line.meters[1], line.meters[2] = line.meters[2], line.meters[1]
    for unit_id, each in line.meters.items():
        # The default serial number contains the unit ID, so set the present serial
        # number before the unit ID changes.
        each.serial = (0x1438, 0x0120, each.unit_id)
        each.unit_id = unit_id
    line.cut = False

    # The wrong meter responds at each unit ID, so no meter is read.
    issues = ir.async_get(hass)
    issue_ids = [
        f"another_meter_{each.subentry.subentry_id}" for each in (first, second)
    ]
    await until(lambda: all(issues.async_get_issue(DOMAIN, each) for each in issue_ids))
    result = await reconfigure(hass, entry, 2)
    assert result["reason"] == "reconfigure_successful"
    assert first.subentry.data["unit_id"] == second.subentry.data["unit_id"] == 2
    await until(lambda: first.online)
    requests = len(line.requests)
    await until(lambda: len(line.requests) > requests + 20)
    assert first.online
    assert not second.online
    assert issues.async_get_issue(DOMAIN, issue_ids[1])

    result = await reconfigure(hass, entry, 1, serial=SECOND_SERIAL)
    assert result["reason"] == "reconfigure_successful"
    await until(lambda: first.online and second.online)
    assert not any(issues.async_get_issue(DOMAIN, each) for each in issue_ids)
    assert state(hass, "energy_consumed") == "1234.56"
    assert state(hass, "energy_consumed", SECOND_SERIAL) == "0"
    # The second meter never showed the energy of the first meter.
    assert set(shown) <= {"0", STATE_UNAVAILABLE}


async def test_new_unit_id_without_response_is_rejected(
    hass: HomeAssistant, entry: CountisConfigEntry
) -> None:
    text = await shown_error(hass, await reconfigure(hass, entry, 77))
    assert "No meter responds at unit ID 77" in text
    assert subentry_of(entry).data["unit_id"] == 1


async def test_meter_without_serial_number_can_get_another_unit_id(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter, second_meter: Meter
) -> None:
    meter.refused_blocks = {table.IDENTIFICATION}
    second_meter.refused_blocks = {table.IDENTIFICATION}
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    result = await reconfigure(hass, entry, 2)
    assert result["reason"] == "reconfigure_successful"
    assert subentry_of(entry, 2).title == "COUNTIS #2"


async def test_profile_is_taken_again_only_on_request(
    hass: HomeAssistant, add_meter: AddMeter, meter: Meter
) -> None:
    meter.refused_blocks = {PERIODS, PERIODS_UNIT_100}
    await add_meter()
    (entry,) = hass.config_entries.async_entries(DOMAIN)
    before = subentry_of(entry).data["profile"]
    meter.refused_blocks = set()
    await reconfigure(hass, entry, 1)
    assert subentry_of(entry).data["profile"] == before
    result = await reconfigure(hass, entry, 1, take_profile=True)
    assert result["reason"] == "reconfigure_successful"
    after = subentry_of(entry).data["profile"]
    assert set(after["quantities"]) > set(before["quantities"])
    await until_read(hass, entry)
