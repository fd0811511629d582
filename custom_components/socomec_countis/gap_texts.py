"""The texts about a gap: times, counters, and the energy of each hour."""

from collections.abc import Mapping, Sequence

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonValueType

from .countis.gap_evidence import total_of
from .gap import Gap
from .gap_statistics import Plan
from .texts import async_messages, energy_text, entity_name, localized, unit_of

# If a gap touches at most this number of hours, its table has a row for each hour.
# Otherwise, the table has a row for each day. Our choice: three days, because a longer
# table needs much scrolling. A gap of three days touches up to 73 hours.
MAX_HOURLY_ROWS = 73


def time_text(seconds: float) -> str:
    """Return a time in s since 1970 as text, with local date and time."""
    local = dt_util.as_local(dt_util.utc_from_timestamp(seconds))
    return f"{local:%Y-%m-%d %H:%M}"


def day_text(seconds: float) -> str:
    """Return the local date of a time in s since 1970, as text."""
    return f"{dt_util.as_local(dt_util.utc_from_timestamp(seconds)):%Y-%m-%d}"


def gap_period(gap: Gap) -> dict[str, str]:
    """Return the beginning and the end of a gap, as placeholders of a text.

    `day` is the date of the beginning. The title of an issue contains only this date,
    not the times, because the title should be short enough for a phone.
    """
    return {
        "begin": time_text(gap.begin),
        "day": day_text(gap.begin),
        "end": time_text(gap.end),
    }


async def async_gap_placeholders(
    hass: HomeAssistant, gap: Gap, plans: Mapping[str, Plan]
) -> dict[str, str]:
    """Return the placeholders of the dialog that fills a gap.

    The placeholders are the beginning and the end of the gap, a list and a table. The
    list contains the energy of each counter, and the source of its distribution. The
    table contains the present and the proposed energy of each hour or day. Its columns
    are the total counters, or all counters if none is a total counter.
    """
    messages = await async_messages(hass)
    lines = [
        f"- `{plan.statistic_id}`:"
        f" {energy_text(gap.energy(name), name, hass.config.language)},"
        f" {messages[f'gap_source_{gap.sources[total_of(name)]}']}"
        for name, plan in plans.items()
    ]
    totals = {name: plan for name, plan in plans.items() if total_of(name) == name}
    return {
        **gap_period(gap),
        "counters": "\n".join(lines),
        "hours": _table(hass, totals or plans),
    }


def gap_response(
    title: str, gap: Gap, plans: Mapping[str, Plan]
) -> dict[str, JsonValueType]:
    """Return the filled hours of a gap as the response of an action."""
    return {
        "meter": title,
        "counters": {
            plan.statistic_id: {
                "source": gap.sources[total_of(name)],
                "energy": round(gap.energy(name), 2),
                "hours": [
                    {
                        "start": dt_util.utc_from_timestamp(start).isoformat(),
                        # Adding 0.0 turns -0.0 into 0.0.
                        "before": round(present, 3) + 0.0,
                        "after": round(proposed, 3) + 0.0,
                    }
                    for start, present, proposed in plan.energies
                ],
            }
            for name, plan in plans.items()
        },
    }


def restored_response(title: str, gaps: Sequence[Gap]) -> dict[str, JsonValueType]:
    """Return the restored gaps of a meter as the response of an action."""
    return {
        "meter": title,
        "restored": [
            {
                "start": dt_util.utc_from_timestamp(gap.begin).isoformat(),
                "end": dt_util.utc_from_timestamp(gap.end).isoformat(),
            }
            for gap in gaps
        ],
    }


def _table(hass: HomeAssistant, plans: Mapping[str, Plan]) -> str:
    """Return a table with a row for each hour or day, and a column for each counter."""
    headings = [""]
    rows: dict[tuple[str, float], list[tuple[float, float]]] = {}
    """The present and proposed energy of each counter in an hour or a day.

    The key of an hour is its text and its start. The key of a day is its text and 0.
    """
    for column, (name, plan) in enumerate(plans.items()):
        headings.append(f"{entity_name(hass, plan.statistic_id)} ({unit_of(name)})")
        energies = plan.energies
        is_hourly = len(energies) <= MAX_HOURLY_ROWS
        for start, present, proposed in energies:
            # At the end of daylight saving, two hours have the same text. So the key
            # of an hour also contains its start.
            key = (time_text(start), start) if is_hourly else (day_text(start), 0)
            row = rows.setdefault(key, [(0, 0)] * len(plans))
            row[column] = (row[column][0] + present, row[column][1] + proposed)
    lines = [headings, ["---"] * len(headings)]
    lines += [
        [
            time,
            *(
                localized(f"{present:z.2f} → {proposed:z.2f}", hass.config.language)
                for present, proposed in row
            ),
        ]
        for (time, _), row in rows.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
