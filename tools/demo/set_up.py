"""Sets up the demo: the meters, the past of the meters, and the dashboards.

This module uses the API of a running Home Assistant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import time

from custom_components.socomec_countis.gap import Gap
from tools.errors import ToolError
from tools.home_assistant import HomeAssistant, MeterInput, async_add_meter

from .dashboard import async_create
from .energy import (
    async_has_energy_dashboard,
    async_import_history,
    async_set_up_energy_dashboard,
)
from .entities import MeterEntities, entities_by_meter, places_of_meters
from .gap import gap_of
from .history import COUNTERS, Past


@dataclass(frozen=True)
class DemoPlan:
    """The meters and the past that the demo adds to a Home Assistant."""

    meters: Sequence[MeterInput]
    """The meter at the grid, then those of solar inverters. One meter if it is real."""
    serial_numbers: Sequence[str] = ()
    """The serial numbers of the simulated meters. Empty if the meter is real."""
    pasts: Sequence[Past] = ()
    """The past of each simulated meter."""


@dataclass(frozen=True)
class DemoSetup:
    """The result of `async_set_up_demo`: the meters, dashboard and gaps that exist."""

    meters: list[MeterEntities]
    """The entities of each meter. If meters are simulated, in the order of `pasts`."""
    pasts: Sequence[Past]
    """The past of each simulated meter."""
    places: dict[str, str]
    """The place of each simulated meter, such as "grid", by subentry ID."""
    has_dashboard: bool
    """Whether the dashboard of the demo (not the Energy dashboard) exists."""
    new_gaps: dict[str, Gap]
    """The hours without readings in the history that this call has imported.

    By the subentry ID of the meter. Empty if nothing was imported. The caller has to
    store these gaps.
    """

    @property
    def pasts_by_counter(self) -> dict[str, Past]:
        """Return the past of the meter of each counter, by the counter's entity ID.

        Meters without a past are left out.
        """
        return {
            meter[key]: past
            for meter, past in zip(self.meters, self.pasts, strict=False)
            for key in COUNTERS
            if key in meter
        }


async def async_set_up_demo(
    hass: HomeAssistant,
    plan: DemoPlan,
    report: Callable[[str], None],
    *,
    is_strict: bool = True,
) -> DemoSetup:
    """Add everything that is missing, and wait until the meters have values.

    If `is_strict`, raise `ToolError` if a part cannot be added, for example because a
    user has changed or deleted something in the demo. Otherwise, report this part and
    leave it out. If no meter exists at all, the demo has nothing to show. Then always
    raise `ToolError`.
    """

    def raise_or_report(what: str, reason: object) -> None:
        text = f"{what}: {reason}"
        if is_strict:
            raise ToolError(text)
        report(f"Left out: {text}")

    for meter in plan.meters:
        name = f"meter with unit ID {meter.unit_id}"
        try:
            is_new = await async_add_meter(hass, meter)
        except ToolError as err:
            if not await hass.async_meter_titles():
                raise
            raise_or_report(f"the {name}", err)
        else:
            report(f"The {name} {'was added' if is_new else 'is already set up'}")
    report("Waiting for the first values")
    try:
        await hass.async_wait_for_values(len(plan.meters), plan.serial_numbers)
    except ToolError as err:
        raise_or_report("the wait for some values", err)
    entities = await hass.async_entities()
    meters = entities_by_meter(entities, plan.serial_numbers)[: len(plan.meters)]
    has_dashboard = False
    new_gaps: dict[str, Gap] = {}
    try:
        if not await async_has_energy_dashboard(hass):
            states, now = await hass.async_states(), time.time()
            report("Importing the history")
            await async_import_history(hass, meters, plan.pasts, states, now)
            subentry_ids = {each.entity_id: each.subentry_id for each in entities}
            gaps = {
                subentry_ids[meter["energy_consumed"]]: gap_of(past, meter, states, now)
                for meter, past in zip(meters, plan.pasts, strict=False)
                if past.outage
            }
            report("Setting up the dashboards")
            await async_set_up_energy_dashboard(hass, meters)
            # As long as the Energy dashboard is missing, each start of the demo imports
            # the history again. So return the gaps only once this dashboard is set up.
            new_gaps = gaps
        await async_create(hass, meters)
        has_dashboard = True
    except (LookupError, ToolError, ValueError) as err:
        what = "a dashboard, perhaps because an entity is missing or disabled"
        raise_or_report(what, err)
    places = places_of_meters(entities, plan.serial_numbers)
    return DemoSetup(meters, plan.pasts, places, has_dashboard, new_gaps)
