"""The table of values that the demo prints, and the entities of its meters."""

from tools.demo.house import entities_by_meter
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


def test_table_has_names_units_and_a_column_for_each_meter() -> None:
    head, *rows = value_table(
        ENTITIES,
        titles={SUBENTRY: "House", OTHER_SUBENTRY: "Roof"},
        names={"power": "Power", "tariff_2_energy": "Tariff 2 energy"},
        units={ENTITIES[0].entity_id: "W", ENTITIES[1].entity_id: "kWh"},
        states={
            ENTITIES[0].entity_id: "1230",
            ENTITIES[1].entity_id: "0.5",
            ENTITIES[2].entity_id: "-450",
        },
    )
    assert head.split() == ["House", "Roof"]
    assert [row.split() for row in rows] == [
        ["Power", "1230", "-450", "W"],
        ["Tariff", "2", "energy", "0.5", "-", "kWh"],
    ]
    assert rows[0].index("W") == rows[1].index("kWh")


def test_quantity_that_is_unknown_for_all_meters_has_no_row() -> None:
    wiring = [
        sensor("wiring", SERIAL, SUBENTRY),
        sensor("wiring", OTHER_SERIAL, OTHER_SUBENTRY),
    ]
    texts = {"titles": {}, "names": {"wiring": "Wiring"}, "units": {}}
    unknown = {each.entity_id: "unknown" for each in wiring}
    (head,) = value_table(wiring, **texts, states=unknown)
    assert head.split() == [SUBENTRY, OTHER_SUBENTRY]
    checked = unknown | {wiring[1].entity_id: "correct"}
    _, row = value_table([ENTITIES[0], *wiring], **texts, states=checked)
    assert row.split() == ["Wiring", "-", "correct"]


def test_table_without_meters_has_no_row() -> None:
    assert value_table([], {}, {}, {}, {}) == [""]


def test_entities_are_found_by_the_serial_number_of_their_meter() -> None:
    missing = "1438012000003"
    found = entities_by_meter(ENTITIES, [OTHER_SERIAL, missing])
    assert found == [{"power": f"sensor.{OTHER_SERIAL}_power"}, {}]


def test_entities_of_all_meters_are_found_without_serial_numbers() -> None:
    first, second = entities_by_meter(ENTITIES, [])
    assert set(first) == {"power", "tariff_2_energy", "reset"}
    assert set(second) == {"power"}
