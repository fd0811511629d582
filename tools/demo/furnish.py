"""Sets the demo up by HTTP: its meters, their past, and the dashboards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.errors import ToolError
from tools.home_assistant import HomeAssistant, MeterInput, async_add_meter

from .dashboard import async_create
from .energy import (
    async_has_energy_dashboard,
    async_import_history,
    async_set_up_energy_dashboard,
)
from .history import COUNTERS, Past
from .house import MeterEntities, entities_by_meter


@dataclass(frozen=True)
class DemoPlan:
    """The meters and the past that the demo adds to a Home Assistant."""

    meters: Sequence[MeterInput]
    """The meter at the grid, and those of solar inverters."""
    serial_numbers: Sequence[str] = ()
    """The serial numbers of the meters, if they are known in advance."""
    pasts: Sequence[Past] = ()
    """The past of each simulated meter."""


@dataclass(frozen=True)
class House:
    """The parts of a plan that are set up."""

    meters: list[MeterEntities]
    counters: list[str]
    """The entity IDs of the counters whose statistics have a past."""
    has_dashboard: bool


async def async_set_up_demo(
    hass: HomeAssistant,
    plan: DemoPlan,
    report: Callable[[str], None],
    *,
    is_strict: bool = True,
) -> House:
    """Add everything that is missing, and wait until the meters have values.

    A user may have changed or deleted anything in the demo. If `is_strict`, a part that
    cannot be added raises `ToolError`. Otherwise, this part is reported and left out.
    """

    def left_out(what: str, reason: object) -> None:
        text = f"{what}: {reason}"
        if is_strict:
            raise ToolError(text)
        report(f"Left out: {text}")

    for meter in plan.meters:
        report(f"Adding the meter with unit ID {meter.unit_id}, if it is missing")
        try:
            await async_add_meter(hass, meter)
        except ToolError as err:
            left_out(f"the meter with unit ID {meter.unit_id}", err)
    report("Waiting for the first values")
    try:
        await hass.async_settled(len(plan.meters), plan.serial_numbers)
    except ToolError as err:
        left_out("some values", err)
    entities = await hass.async_entities()
    meters = entities_by_meter(entities, plan.serial_numbers)[: len(plan.meters)]
    report("Setting up the dashboards")
    has_dashboard = False
    try:
        if not await async_has_energy_dashboard(hass):
            await async_import_history(hass, meters, plan.pasts)
            await async_set_up_energy_dashboard(hass, meters)
        await async_create(hass, meters)
        has_dashboard = True
    except (LookupError, ToolError, ValueError) as err:
        left_out("a dashboard, because an entity is missing or disabled", err)
    counters = [
        meter[key]
        for meter, _ in zip(meters, plan.pasts, strict=False)
        for key in COUNTERS
        if key in meter
    ]
    return House(meters, counters, has_dashboard)
