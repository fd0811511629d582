"""The table of values that the demo prints."""

from collections.abc import Mapping, Sequence

from tools.home_assistant import Entity

COLUMN_WIDTH = 18
NO_VALUE = "-"


def value_table(
    entities: Sequence[Entity],
    titles: Mapping[str, str],
    names: Mapping[str, str],
    units: Mapping[str, str],
    states: Mapping[str, str],
) -> list[str]:
    """Return the lines of a table: a row for each quantity, a column for each meter.

    `titles` contains the titles of the meters by subentry ID, and `names` contains the
    names of the quantities by key. `units` and `states` are by entity ID.
    """
    sensors = [each for each in entities if each.entity_id.startswith("sensor.")]
    meters = list(dict.fromkeys(each.subentry_id for each in sensors))
    cells: dict[str, dict[str, str]] = {}
    unit_of: dict[str, str] = {}
    for sensor in sensors:
        row = cells.setdefault(sensor.key, {})
        row[sensor.subentry_id] = states.get(sensor.entity_id, NO_VALUE)
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
