"""The dashboard of the demo."""

from collections.abc import Iterator
from typing import Any

from .entities import MeterEntities
from .history import WebSocketClient

URL_PATH = "countis-demo"
PANEL = {"title": "COUNTIS", "icon": "mdi:meter-electric"}

type Card = dict[str, Any]
"""The configuration of a card, of a section, or of the dashboard."""

PHASES = ("l1", "l2", "l3")
TARIFFS = tuple(f"tariff_{number}_energy" for number in (1, 2, 3, 4))
# Each colour applies from its power in W upwards. An exported power is negative. Our
# choice: green if power is exported, red if much is imported.
POWER_COLOURS = [
    {"from": -9000, "color": "var(--success-color)"},
    {"from": 0, "color": "var(--info-color)"},
    {"from": 6000, "color": "var(--error-color)"},
]


def _heading(text: str, icon: str) -> Card:
    return {"type": "heading", "heading": text, "icon": icon}


def _wide(card: Card) -> Card:
    return card | {"grid_options": {"columns": "full"}}


def _section(title: str, icon: str, cards: list[Card], span: int = 1) -> Card:
    cards = [_heading(title, icon), *cards]
    return {"type": "grid", "cards": cards, "column_span": span}


def _tile(entity: str, name: str, **more: Any) -> Card:
    return {"type": "tile", "entity": entity, "name": name, **more}


def _statistic_of_today(entity: str, name: str, icon: str) -> Card:
    return {
        "type": "statistic",
        "entity": entity,
        "name": name,
        "icon": icon,
        "stat_type": "change",
        "period": {"calendar": {"period": "day"}},
        "grid_options": {"columns": 6},
    }


def _power_now(house: MeterEntities, roofs: list[MeterEntities]) -> Card:
    powers = [
        (house["power"], "Grid"),
        *((roof["power_produced"], "Solar") for roof in roofs),
    ]
    return _section(
        "Power now",
        "mdi:flash",
        [
            _wide(
                {
                    "type": "gauge",
                    "entity": house["power"],
                    "name": "Grid power",
                    "min": -9000,
                    "max": 12_000,
                    "needle": True,
                    "segments": POWER_COLOURS,
                }
            ),
            *(
                _tile(power, name, grid_options={"columns": 6})
                for power, name in powers
            ),
            _wide(
                {
                    "type": "history-graph",
                    "hours_to_show": 1,
                    "entities": [
                        {"entity": power, "name": name} for power, name in powers
                    ],
                }
            ),
        ],
    )


def _phases(house: MeterEntities) -> Card:
    return _section(
        "Phases of the house",
        "mdi:sine-wave",
        [
            *(
                _tile(
                    house[f"{quantity}_{phase}"],
                    phase.upper(),
                    grid_options={"columns": 4},
                    vertical=True,
                )
                for quantity in ("power", "current", "voltage")
                for phase in PHASES
            ),
            _wide(
                {
                    "type": "history-graph",
                    "hours_to_show": 1,
                    "entities": [
                        {"entity": house[f"power_{phase}"], "name": phase.upper()}
                        for phase in PHASES
                    ],
                }
            ),
        ],
    )


def _energy_today(house: MeterEntities, roofs: list[MeterEntities]) -> Card:
    return _section(
        "Energy today",
        "mdi:calendar-today",
        [
            *(
                _wide(
                    _statistic_of_today(
                        roof["energy_produced"], "Solar", "mdi:solar-power-variant"
                    )
                )
                for roof in roofs
            ),
            _statistic_of_today(
                house["energy_consumed"], "From the grid", "mdi:transmission-tower"
            ),
            _statistic_of_today(
                house["energy_produced"], "To the grid", "mdi:home-export-outline"
            ),
            _wide({"type": "energy-distribution", "link_dashboard": True}),
        ],
    )


def _tariffs(house: MeterEntities) -> Card:
    entities = [
        {"entity": house[tariff], "name": f"Tariff {number}"}
        for number, tariff in enumerate(TARIFFS, 1)
        if tariff in house
    ]
    return _section(
        "Tariffs",
        "mdi:clock-time-four-outline",
        [
            *(
                _tile(each["entity"], each["name"], grid_options={"columns": 6})
                for each in entities
            ),
            _wide(
                {
                    "type": "statistics-graph",
                    "title": "Two weeks, day by day",
                    "entities": entities,
                    "stat_types": ["change"],
                    "chart_type": "bar",
                    "period": "day",
                    "days_to_show": 14,
                }
            ),
        ],
    )


def _power_of_two_weeks(house: MeterEntities, roofs: list[MeterEntities]) -> Card:
    return _section(
        "Two weeks",
        "mdi:chart-bar",
        [
            _wide(
                {
                    "type": "statistics-graph",
                    "title": "Power, hour by hour",
                    "entities": [
                        {"entity": house["power"], "name": "Grid"},
                        *(
                            {"entity": roof["power_produced"], "name": "Solar"}
                            for roof in roofs
                        ),
                    ],
                    "stat_types": ["mean"],
                    "chart_type": "line",
                    "period": "hour",
                    "days_to_show": 14,
                }
            )
        ],
        span=2,
    )


def dashboard(meters: list[MeterEntities]) -> Card:
    """Return the dashboard of a house and its solar roofs.

    Counters of tariffs may be missing. Raises `KeyError` if a meter lacks another
    entity that the dashboard shows.
    """
    house, *roofs = meters
    return {
        "views": [
            {
                "title": "COUNTIS",
                "type": "sections",
                "max_columns": 3,
                "sections": [
                    _power_now(house, roofs),
                    _phases(house),
                    _energy_today(house, roofs),
                    _tariffs(house),
                    _power_of_two_weeks(house, roofs),
                ],
            }
        ]
    }


def entities_of(config: Any) -> Iterator[str]:
    """Yield the ID of every entity that a dashboard shows."""
    if isinstance(config, dict):
        if isinstance(entity := config.get("entity"), str):
            yield entity
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from entities_of(part)


async def async_create(hass: WebSocketClient, meters: list[MeterEntities]) -> None:
    """Create the dashboard if it is missing. Do not change an existing dashboard."""
    for panel in await hass.command(type="lovelace/dashboards/list"):
        if panel["url_path"] == URL_PATH:
            return
    # An entity may be missing. Then no empty dashboard must remain.
    config = dashboard(meters)
    await hass.command(type="lovelace/dashboards/create", url_path=URL_PATH, **PANEL)
    await hass.command(type="lovelace/config/save", url_path=URL_PATH, config=config)


async def async_problems(hass: WebSocketClient, states: dict[str, str]) -> list[str]:
    """Return a sentence for each entity of the dashboard that has no state.

    A dashboard without entities is also a problem.
    """
    config = await hass.command(type="lovelace/config", url_path=URL_PATH)
    shown = set(entities_of(config))
    if not shown:
        return ["The dashboard shows no entity"]
    return [
        f"{entity} on the dashboard has no state"
        for entity in sorted(shown - set(states))
    ]
