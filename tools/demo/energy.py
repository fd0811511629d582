"""The Energy dashboard of the demo."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tools.errors import ToolError
from tools.home_assistant import HomeAssistant

from .entities import MeterEntities
from .history import Past, async_import, async_import_past

ENERGY_KEYS = ("energy_consumed", "energy_produced")
POWER_KEYS = ("power", "power_produced")


async def async_has_energy_dashboard(hass: HomeAssistant) -> bool:
    """Return whether the Energy dashboard is set up."""
    with suppress(ToolError):  # raised if the dashboard was never set up
        await hass.command(type="energy/get_prefs")
        return True
    return False


async def async_import_history(
    hass: HomeAssistant,
    meters: Sequence[MeterEntities],
    pasts: Sequence[Past],
    states: Mapping[str, str],
    now: float,
) -> None:
    """Import statistics of each meter: its past, or one hour if it has no past.

    `states` are the present states, at the time `now` in s since 1970. The one hour
    has the present state.

    The Energy dashboard offers a sensor only if the sensor has statistics. Without an
    import, the first statistics can take up to five minutes to appear.
    """
    for meter, past in zip(meters, pasts, strict=False):
        await async_import_past(hass, past, meter, states, now)
    start_field = {"start": _start_of_last_full_hour().isoformat()}
    for meter in meters[len(pasts) :]:
        for key in meter.keys() & {*ENERGY_KEYS, *POWER_KEYS}:
            value = float(states[meter[key]])
            row = (
                {"mean": value, "min": value, "max": value}
                if key in POWER_KEYS
                else {"state": value, "sum": 0}
            )
            await async_import(hass, meter[key], [start_field | row])


def _start_of_last_full_hour() -> datetime:
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return this_hour - timedelta(hours=1)


async def async_set_up_energy_dashboard(
    hass: HomeAssistant, meters: Sequence[MeterEntities]
) -> None:
    """Use the first meter as the grid, and the others as solar inverters."""
    grid, *inverters = meters
    await hass.command(
        type="energy/save_prefs",
        energy_sources=[
            {
                "type": "grid",
                "stat_energy_from": grid["energy_consumed"],
                "stat_energy_to": grid["energy_produced"],
                "stat_rate": grid["power"],
                "name": "Grid",
                "cost_adjustment_day": 0,
            },
            *(
                {
                    "type": "solar",
                    "stat_energy_from": inverter["energy_produced"],
                    "stat_rate": inverter["power_produced"],
                    "name": "Solar",
                }
                for inverter in inverters
            ),
        ],
        device_consumption=[],
    )


async def async_energy_problems(hass: HomeAssistant) -> list[str]:
    """Return the problems that the validation of the Energy dashboard finds."""
    result = await hass.command(type="energy/validate")
    return [
        f"{issue['type']}: {issue['affected_entities']}"
        for checks in result.values()
        for issues in checks
        for issue in issues
    ]
