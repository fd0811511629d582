"""The table of values that the demo prints."""

from collections.abc import Mapping, Sequence

from tools.home_assistant import Entity

COLUMN_WIDTH = 18
NO_VALUE = "-"
UNKNOWN = "unknown"  # the state of an entity without a value


def value_table(
    entities: Sequence[Entity],
    titles: Mapping[str, str],
    names: Mapping[str, str],
    units: Mapping[str, str],
    states: Mapping[str, str],
) -> list[str]:
    """Return the lines of a table: a row for each quantity, a column for each meter.

    A quantity that is unknown for all meters, such as the result of a wiring check that
    nobody has started, has no row.

    `titles` contains the titles of the meters by subentry ID, and `names` contains the
    names of the quantities by key. `units` and `states` are by entity ID.
    """
    sensors = [each for each in entities if each.entity_id.startswith("sensor.")]
    meters = list(dict.fromkeys(each.subentry_id for each in sensors))
    cells: dict[str, dict[str, str]] = {}
    unit_of: dict[str, str] = {}
    for sensor in sensors:
        state = states.get(sensor.entity_id, UNKNOWN)
        if state == UNKNOWN:
            continue
        cells.setdefault(sensor.key, {})[sensor.subentry_id] = state
        unit_of.setdefault(sensor.key, units.get(sensor.entity_id, ""))
    label_width = max((len(names.get(key, key)) for key in cells), default=0) + 2
    unit_width = max(map(len, unit_of.values()), default=0)

    def line(label: str, values: Sequence[str], unit: str) -> str:
        columns = "".join(f"{value:>{COLUMN_WIDTH}}" for value in values)
        return f"{label:{label_width}}{columns} {unit:{unit_width}}".rstrip()

    return [
        line("", [titles.get(meter, meter) for meter in meters], ""),
        *(
            line(
                names.get(key, key),
                [row.get(meter, NO_VALUE) for meter in meters],
                unit_of[key],
            )
            for key, row in cells.items()
        ),
    ]
