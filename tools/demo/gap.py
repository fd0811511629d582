"""The gap in the history of the demo, which a repair issue offers to fill.

The meter at the grid was not read for some hours of yesterday. After a real outage, the
integration stores the gap. Here, the outage is only a part of the imported history, so
the demo stores the gap.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta

from custom_components.socomec_countis.gap import Gap

from .entities import MeterEntities
from .history import COUNTERS, Past

# The local times of the last reading before the outage, and of the first one after it.
# Our choice: five full hours of a night. The load curve contains no produced power, so
# the outage ends before the house exports power. A check has another solar noon, so the
# house may export during its outage.
BEGIN, END = time(0, 40), time(6, 20)


def outage_yesterday(moment: float) -> range:
    """Return the outage on the day before `moment`, as a range of s since 1970.

    The day is in the local time of this machine.
    """
    today = datetime.fromtimestamp(moment, UTC).astimezone().date()
    begin, end = (
        int(datetime.combine(today - timedelta(days=1), at).astimezone().timestamp())
        for at in (BEGIN, END)
    )
    return range(begin, end)


def gap_of(
    past: Past, entity_ids: MeterEntities, states: Mapping[str, str], now: float
) -> Gap:
    """Return the outage of a meter, as the integration stores it.

    `entity_ids` are those of the meter, by their keys. `states` are its present states,
    at the time `now` in s since 1970. A counter that did not rise in the outage is left
    out.
    """
    begin, end = past.outage.start, past.outage.stop
    readings = {}
    for key in COUNTERS:
        if key not in entity_ids:
            continue
        before, after = (
            round(float(states[entity_ids[key]]) - past.energy(key, at, int(now)), 2)
            for at in (begin, end)
        )
        if after > before:
            readings[key] = [(float(begin), before), (float(end), after)]
    return Gap(begin, end, readings)


def gap_text(gap: Gap) -> str:
    """Return the local times of a gap as a text."""
    begin, end = (
        datetime.fromtimestamp(at, UTC).astimezone() for at in (gap.begin, gap.end)
    )
    return f"{begin:%Y-%m-%d %H:%M} to {end:%H:%M}"
