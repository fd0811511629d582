"""The table of values that the demo prints."""

from collections.abc import Mapping, Sequence

from tools.home_assistant import Entity

COLUMN_WIDTH = 18  # characters; a title such as "COUNTIS E33 #1" has 14
EMPTY_CELL = "-"
UNKNOWN = "unknown"  # the state of an entity without a value
UNAVAILABLE = "unavailable"  # the state of, for example, an offline meter's power


def value_table(
    entities: Sequence[Entity],
    titles: Mapping[str, str],
    places: Mapping[str, str],
    texts: Mapping[str, str],
    *,
    units: Mapping[str, str],
    decimals: Mapping[str, int],
    states: Mapping[str, str],
) -> list[str]:
    """Return the lines of a table: a row for each quantity, a column for each meter.

    A quantity that is unknown for all meters has no row. An example is the result of
    the wiring check, as long as no meter was checked. The quantities whose values are
    texts come last.

    The keys of `titles` and of `places` are the subentry IDs of the meters. A place is
    a text such as "grid". The keys of `units`, `decimals` and `states` are entity IDs.
    `texts` contains the names of the quantities and the texts of their states, by paths
    such as "power.name" and "wiring.state.correct".
    """
    sensors = [each for each in entities if each.entity_id.startswith("sensor.")]
    meters = list(dict.fromkeys(each.subentry_id for each in sensors))
    cells: dict[str, dict[str, str]] = {}
    unit_of: dict[str, str] = {}
    for sensor in sensors:
        entity_id, key = sensor.entity_id, sensor.key
        value = states.get(entity_id, UNKNOWN)
        if value == UNKNOWN:
            continue
        if value != UNAVAILABLE:
            unit_of.setdefault(key, units.get(entity_id, ""))
            if entity_id in decimals:
                value = f"{float(value):.{decimals[entity_id]}f}"
        value = texts.get(f"{key}.state.{value}", value)
        cells.setdefault(key, {})[sensor.subentry_id] = value
    names = {key: texts.get(f"{key}.name", key) for key in cells}
    label_width = max(map(len, names.values()), default=0) + 2
    unit_width = max(map(len, unit_of.values()), default=0)
    text_valued_keys = {path.partition(".")[0] for path in texts if ".state." in path}

    def line(label: str, values: Sequence[str], unit: str = "") -> str:
        columns = "".join(f"{value:>{COLUMN_WIDTH}}" for value in values)
        return f"{label:{label_width}}{columns} {unit:{unit_width}}".rstrip()

    return [
        line("", [titles.get(meter, meter) for meter in meters]),
        *([line("", [places.get(meter, "") for meter in meters])] if places else []),
        *(
            line(
                names[key],
                [cells[key].get(meter, EMPTY_CELL) for meter in meters],
                unit_of.get(key, ""),
            )
            for key in sorted(cells, key=text_valued_keys.__contains__)
        ),
    ]
