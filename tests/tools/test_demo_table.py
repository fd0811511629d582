"""The table of values that the demo prints, and the entities of its meters."""

from collections.abc import Sequence

from tools.demo.entities import entities_by_meter, places_of_meters
from tools.demo.table import value_table
from tools.home_assistant import Entity

SERIAL, OTHER_SERIAL = "1438012000001", "1438012000002"
SUBENTRY, OTHER_SUBENTRY = "a", "b"


def sensor(key: str, serial: str, subentry_id: str) -> Entity:
    """Return a sensor of a meter."""
    return Entity(f"sensor.{serial}_{key}", f"{serial}_{key}", key, subentry_id)


ENTITIES = [
    sensor("power", SERIAL, SUBENTRY),
    sensor("tariff_2_energy", SERIAL, SUBENTRY),
    sensor("power", OTHER_SERIAL, OTHER_SUBENTRY),
    Entity("button.reset", f"{SERIAL}_reset", "reset", SUBENTRY),
]


POWER, COUNTER, ROOF_POWER = (each.entity_id for each in ENTITIES[:3])
TEXTS = {
    "power.name": "Power",
    "tariff_2_energy.name": "Tariff 2 energy",
    "wiring.name": "Wiring",
    "wiring.state.correct": "No error",
}
WIRING = [
    sensor("wiring", SERIAL, SUBENTRY),
    sensor("wiring", OTHER_SERIAL, OTHER_SUBENTRY),
]


def table(
    states: dict[str, str],
    entities: Sequence[Entity] = ENTITIES,
    *,
    places: dict[str, str] | None = None,
    decimals: dict[str, int] | None = None,
) -> list[str]:
    """Return the table of some meters."""
    return value_table(
        entities,
        {SUBENTRY: "House", OTHER_SUBENTRY: "Roof"},
        places or {},
        TEXTS,
        units={POWER: "W", COUNTER: "kWh"},
        decimals=decimals or {},
        states=states,
    )


def test_table_has_names_units_and_a_column_for_each_meter() -> None:
    head, *rows = table({POWER: "1230", COUNTER: "0.5", ROOF_POWER: "-450"})
    assert head.split() == ["House", "Roof"]
    assert [row.split() for row in rows] == [
        ["Power", "1230", "-450", "W"],
        ["Tariff", "2", "energy", "0.5", "-", "kWh"],
    ]
    # The units are in one column.
    assert rows[0].index("W") == rows[1].index("kWh")


def test_heading_names_the_place_of_each_meter() -> None:
    titles, places = table({}, places={OTHER_SUBENTRY: "solar inverter"})
    assert titles.split() == ["House", "Roof"]
    assert places.split() == ["solar", "inverter"]
    assert len(places) == len(titles)  # both end with the last column


def test_number_has_the_decimals_of_its_sensor() -> None:
    for state in ("12345.8", "12345.80"):
        _, row = table({COUNTER: state}, decimals={COUNTER: 2})
        assert row.split() == ["Tariff", "2", "energy", "12345.80", "-", "kWh"]


def test_unavailable_value_has_no_unit() -> None:
    _, row = table({POWER: "unavailable"}, decimals={POWER: 0})
    assert row.split() == ["Power", "unavailable", "-"]


def test_quantity_that_is_unknown_for_all_meters_has_no_row() -> None:
    (head,) = table({each.entity_id: "unknown" for each in WIRING}, WIRING)
    assert head.split() == ["House", "Roof"]


def test_rows_with_texts_follow_those_with_numbers_and_are_translated() -> None:
    states = {WIRING[1].entity_id: "correct", POWER: "1230"}
    _, *rows = table(states, [*WIRING, *ENTITIES])
    assert [row.split() for row in rows] == [
        ["Power", "1230", "-", "W"],
        ["Wiring", "-", "No", "error"],
    ]


def test_table_without_meters_has_no_row() -> None:
    assert table({}, []) == [""]


def test_entities_are_found_by_the_serial_number_of_their_meter() -> None:
    missing = "1438012000003"
    found = entities_by_meter(ENTITIES, [OTHER_SERIAL, missing])
    assert found == [{"power": f"sensor.{OTHER_SERIAL}_power"}, {}]


def test_entities_of_all_meters_are_found_without_serial_numbers() -> None:
    first, second = entities_by_meter(ENTITIES, [])
    assert set(first) == {"power", "tariff_2_energy", "reset"}
    assert set(second) == {"power"}


def test_places_are_those_of_the_simulated_meters() -> None:
    places = places_of_meters(ENTITIES, [SERIAL, OTHER_SERIAL])
    assert places == {SUBENTRY: "grid", OTHER_SUBENTRY: "solar inverter"}
    assert places_of_meters(ENTITIES, []) == {}
