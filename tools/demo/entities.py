"""Finds the entities of the demo's meters in a running Home Assistant."""

from collections.abc import Iterable, Sequence

from tools.home_assistant import Entity

# The places of the simulated meters, in the order of their unit IDs.
PLACES = ("grid", "solar inverter")

type MeterEntities = dict[str, str]
"""The entity IDs of a meter, by their keys."""


def entities_by_meter(
    entities: Iterable[Entity], serial_numbers: Sequence[str]
) -> list[MeterEntities]:
    """Return the entities of each meter, in the order of the serial numbers.

    If a meter has no entities, for example because a user has deleted it, its mapping
    is empty. If there are no serial numbers, return the entities of all meters.
    """
    if not serial_numbers:
        found: dict[str, MeterEntities] = {}
        for entity in entities:
            found.setdefault(entity.subentry_id, {})[entity.key] = entity.entity_id
        return list(found.values())
    return [
        {
            entity.key: entity.entity_id
            for entity in entities
            if entity.unique_id == f"{serial_number}_{entity.key}"
        }
        for serial_number in serial_numbers
    ]


def places_of_meters(
    entities: Iterable[Entity], serial_numbers: Sequence[str]
) -> dict[str, str]:
    """Return the places of the meters with these serial numbers, by subentry ID."""
    place_of = dict(zip(serial_numbers, PLACES, strict=False))
    return {
        entity.subentry_id: place_of[serial_number]
        for entity in entities
        if (serial_number := entity.unique_id.partition("_")[0]) in place_of
    }
