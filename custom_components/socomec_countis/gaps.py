"""The gaps of a meter: found in its readings, proposed to the user, filled, restored.

If Home Assistant was off or a meter was offline for a full hour, the statistics contain
the energy of the whole gap in the hour in which the meter came back.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
import logging
import math
from typing import TYPE_CHECKING, Any

from homeassistant.const import Platform
from homeassistant.core import CALLBACK_TYPE, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import async_call_later
from homeassistant.util import dt as dt_util

from .const import CONF_FILL_GAPS, DOMAIN
from .countis import BLOCK_OF
from .countis.gap_evidence import (
    CONSUMED,
    CounterGap,
    async_read_evidence,
    total_of,
)
from .gap import Gap, gap_store
from .gap_statistics import (
    COST_SUFFIXES,
    HOUR,
    Plan,
    Statistic,
    async_statistic,
    async_write,
    plan_costs,
    plan_counter,
)
from .gap_texts import gap_period, local_text
from .identifiers import entity_unique_id
from .issues import create_gap_issue, delete_gap_issue
from .texts import translated_error

if TYPE_CHECKING:
    from .coordinator import CountisCoordinator

_LOGGER = logging.getLogger(__name__)

# s after an hour until the recorder has compiled it. The recorder begins 10 s after the
# hour. Our choice: enough for a large database on a small machine.
COMPILED_AFTER = 90
# s between two attempts to propose a gap, if the hour is not compiled or the meter is
# offline again. Our choice: the period of the short-term statistics.
RETRY_SECONDS = 300

# s; after this time, a gap whose hour has not been compiled is not filled. Our choice:
# the recorder does not compile a disabled entity.
GIVEN_UP_AFTER = 6 * HOUR

# s; for this time, the rows that were overwritten are kept.
KEPT_SECONDS = 7 * 86_400


class MeterGaps:
    """Finds and fills the gaps of one meter."""

    def __init__(self, coordinator: CountisCoordinator) -> None:
        """Initialize without gaps; `async_load` loads the stored ones."""
        self.coordinator = coordinator
        self.hass = coordinator.hass
        self.gaps: list[Gap] = []
        """Gaps to propose to the user, and gaps that were filled in the last week."""
        self.load_curve: dict[str, Any] | None = None
        """The findings about the load curve, for diagnostics."""
        self._store = gap_store(self.hass, coordinator.subentry.subentry_id)
        self._values: dict[str, dict[str, float]] = defaultdict(dict)
        """The last accepted values by block and counter, in kWh or kvarh."""
        self._read_at: dict[str, float] = {}
        """When each block of counters was read last, in s since 1970."""
        for name, each in coordinator.meter.counter_check.accepted.items():
            block = BLOCK_OF[name]
            self._values[block][name] = each.value
            # A counter whose reading is slightly lower keeps its value and its time.
            self._read_at[block] = max(self._read_at.get(block, 0), each.at.wall)
        self._unconfirmed: dict[str, Gap] = {}
        """The gap before the last reading of a block, with the counters before it."""
        self._proposing: Gap | None = None
        """The gap about which the meter is asked, and which does not change then."""
        self._one_proposal = asyncio.Lock()
        """Held while gaps are proposed: a gap found then may start the timer again."""
        self._cancel_timer: CALLBACK_TYPE | None = None

    async def async_load(self) -> None:
        """Load the stored gaps, and continue with those that are not filled."""
        with suppress(HomeAssistantError, LookupError, TypeError, ValueError):
            self.gaps = [
                Gap.from_dict(each) for each in await self._store.async_load() or ()
            ]
        self._schedule(RETRY_SECONDS)

    async def async_remove(self) -> None:
        """Delete the stored gaps."""
        await self._store.async_remove()

    @callback
    def shutdown(self) -> None:
        """Cancel the timer."""
        if self._cancel_timer:
            self._cancel_timer()
            self._cancel_timer = None

    # -- find ----------------------------------------------------------------

    @callback
    def note(self, block: str, corrected: Collection[str]) -> None:
        """Compare the counters of an accepted reading with those before a gap.

        The first reading after a gap raises no counter, because the next one has to
        confirm it. So the counters are compared at the next reading. `corrected` are
        the counters whose change is not the energy of the gap.
        """
        if "recorder" not in self.hass.config.components:
            return
        begin, now = self._read_at.get(block), self.coordinator.meter.now().wall
        before = self._values.get(block, {})
        values = {
            name: value
            for name, value in self.coordinator.meter.counter_check.values.items()
            if BLOCK_OF[name] == block
        }
        self._read_at[block], self._values[block] = now, values
        if (gap := self._unconfirmed.pop(block, None)) is not None:
            gap.readings = {
                name: [*points, (gap.end, values[name])]
                for name, points in gap.readings.items()
                if name not in corrected and values[name] != points[0][1]
            }
            if gap.readings:
                self._add(gap)
        elif begin is not None and now // HOUR - math.ceil(begin / HOUR) >= 1:
            readings = {name: [(begin, value)] for name, value in before.items()}
            self._unconfirmed[block] = Gap(begin, now, readings)

    def _add(self, new: Gap) -> None:
        """Add a gap, or add it to one that ends in the hour in which it begins."""
        for gap in self.gaps:
            is_open = not gap.sources and gap is not self._proposing
            if is_open and gap.end // HOUR >= new.begin // HOUR:
                gap.add(new)
                break
        else:
            self.gaps.append(new)
            _LOGGER.info(
                "%s was not read from %s until %s; the statistics contain the energy"
                " of this time in its last hour",
                self.coordinator.name,
                local_text(new.begin),
                local_text(new.end),
            )
        self._save()
        self._schedule()

    # -- propose -------------------------------------------------------------

    def _schedule(self, seconds: float = 0) -> None:
        """Propose the new gaps as soon as the recorder has compiled their hours."""
        self.shutdown()
        open_gaps = [gap for gap in self.gaps if gap.filled_at is None]
        for gap in open_gaps:
            if gap.sources:
                create_gap_issue(self.coordinator, gap, gap_period(gap))
        compiled = [
            gap.hours[-1] + 2 * HOUR + COMPILED_AFTER
            for gap in open_gaps
            if not gap.sources
        ]
        if compiled:
            wait = max(min(compiled) - dt_util.utcnow().timestamp(), seconds)
            self._cancel_timer = async_call_later(self.hass, wait, self._propose)

    @callback
    def _propose(self, now: datetime) -> None:
        self._cancel_timer = None
        self.coordinator.config_entry.async_create_background_task(
            self.hass, self._async_propose(now.timestamp()), "propose gaps"
        )

    async def _async_propose(self, now: float) -> None:
        """Ask the meter about the compiled gaps; fill them, or create their issues."""
        async with self._one_proposal:
            for gap in [each for each in self.gaps if not each.sources]:
                if not self.coordinator.online:
                    continue
                self._proposing = gap
                try:
                    await self._async_propose_gap(gap, now)
                finally:
                    self._proposing = None
        self._save()
        self._schedule(RETRY_SECONDS)

    async def _async_propose_gap(self, gap: Gap, now: float) -> None:
        statistics = await self._async_statistics(gap)
        if not any(each.after(gap.hours) for each in statistics.values()):
            # The hour in which the meter came back is not compiled.
            if now > gap.hours[-1] + 2 * HOUR + GIVEN_UP_AFTER:
                self.gaps.remove(gap)
            return
        # One meter at a time is asked, so that all meters of the bus are still polled.
        async with self.coordinator.config_entry.runtime_data.asking_meter:
            await self._async_ask_meter(gap, statistics)
        if not gap.sources:
            self.gaps.remove(gap)
            return
        if not self.coordinator.config_entry.options.get(CONF_FILL_GAPS):
            return
        try:
            await self.async_fill(gap)
        except HomeAssistantError as err:
            _LOGGER.warning(
                "%s: the gap from %s is not filled: %s",
                self.coordinator.name,
                local_text(gap.begin),
                err,
            )

    async def _async_ask_meter(
        self, gap: Gap, statistics: Mapping[str, Statistic]
    ) -> None:
        """Read from the meter how the energy of a gap is distributed.

        A block that cannot be read is left out.
        """
        totals = {total_of(name) for name in statistics}
        evidence = await async_read_evidence(
            self.coordinator.meter,
            gap.begin,
            self.coordinator.take,
            with_load_curve=CONSUMED in totals,
        )
        zone = dt_util.get_default_time_zone()
        for total in totals:
            counted = self._counted(gap, statistics, total)
            if counted is None:
                continue
            curve = evidence.curve(total, counted, zone)
            gap.sources[total] = curve.source
            gap.parts[total] = [curve.fraction(hour + HOUR) for hour in gap.hours]
            gap.energies[total] = counted.energy
            if total == CONSUMED:
                self.load_curve = evidence.findings(counted, zone)

    def _counted(
        self, gap: Gap, statistics: Mapping[str, Statistic], total: str
    ) -> CounterGap | None:
        """Return what the statistics contain about a total counter around a gap.

        Without statistics of the total, those of a counter of the same energy are used.
        Returns None if none of them rose.
        """
        names = [name for name in statistics if total_of(name) == total]
        for name in sorted(names, key=total.__ne__):  # the total first
            statistic = statistics[name]
            base, after = statistic.base(gap.hours), statistic.after(gap.hours)
            if base is None or base.state is None or after is None:
                continue
            if after.state is not None and after.state > base.state:
                return CounterGap(
                    base.start + HOUR,
                    after.start + HOUR,
                    base.state,
                    after.state,
                    self.coordinator.meter.counter_check.accepted[name].step,
                    gap.readings[name],
                )
        return None

    # -- fill ----------------------------------------------------------------

    async def _async_statistics(self, gap: Gap) -> dict[str, Statistic]:
        """Return the statistic of each counter of a gap that has one."""
        found: dict[str, Statistic] = {}
        counters = gap.readings or self.coordinator.meter.counter_check.values
        for name in list(counters):
            unique_id = entity_unique_id(self.coordinator.subentry, name)
            entities = er.async_get(self.hass)
            entity_id = entities.async_get_entity_id(Platform.SENSOR, DOMAIN, unique_id)
            if entity_id and (statistic := await self._async_statistic(gap, entity_id)):
                found[name] = statistic
        return found

    async def _async_statistic(self, gap: Gap, statistic_id: str) -> Statistic | None:
        first, last = gap.hours[0], gap.hours[-1] + HOUR
        return await async_statistic(self.hass, statistic_id, first, last)

    async def async_plan(self, gap: Gap) -> dict[str, Plan]:
        """Return the proposed rows of each counter.

        A counter without statistics is left out. Raises `HomeAssistantError` if the
        sums are not those of the counters.
        """
        plans: dict[str, Plan] = {}
        for name, statistic in (await self._async_statistics(gap)).items():
            total = total_of(name)
            if total not in gap.parts:
                continue
            parts, energy = gap.parts[total], gap.energies[total]
            before = gap.readings[name][0][1]
            if plan := plan_counter(statistic, gap.hours, before, parts, energy):
                plans[name] = plan
        return plans

    async def _async_plan_costs(self, gap: Gap, plan: Plan) -> list[Plan]:
        """Return the proposed rows of the costs of a counter.

        Costs with unexpected sums stay as they are.
        """
        plans: list[Plan] = []
        for suffix in COST_SUFFIXES:
            costs = await self._async_statistic(gap, f"{plan.statistic_id}_{suffix}")
            with suppress(HomeAssistantError):
                if costs and (cost_plan := plan_costs(costs, plan)):
                    plans.append(cost_plan)
        return plans

    async def async_fill(self, gap: Gap) -> dict[str, Plan]:
        """Write the proposed rows, and keep those that are overwritten for a week.

        Returns the plan of each counter. Raises `HomeAssistantError` if no counter has
        statistics to fill, or if the sums are not those of the counters.
        """
        plans = await self.async_plan(gap)
        if not plans:
            raise translated_error(
                HomeAssistantError, "nothing_to_fill", name=self.coordinator.name
            )
        written = list(plans.values())
        for plan in plans.values():
            written += await self._async_plan_costs(gap, plan)
        gap.overwritten = {plan.statistic_id: list(plan.replaced) for plan in written}
        gap.filled_at = dt_util.utcnow().timestamp()
        if gap not in self.gaps:
            self.gaps.append(gap)
        await self._store.async_save(self._stored())
        await async_write(self.hass, {plan.statistic_id: plan.rows for plan in written})
        delete_gap_issue(self.coordinator, gap)
        _LOGGER.info(
            "%s: the gap from %s until %s was filled: %s",
            self.coordinator.name,
            local_text(gap.begin),
            local_text(gap.end),
            ", ".join(
                f"{name} {gap.energy(name):.2f} ({gap.sources[total_of(name)]})"
                for name in plans
            ),
        )
        return plans

    async def async_leave(self, gap: Gap) -> None:
        """Leave the energy of a gap where it is."""
        self.gaps.remove(gap)
        delete_gap_issue(self.coordinator, gap)
        await self._store.async_save(self._stored())

    async def async_fill_between(
        self, begin: float, end: float
    ) -> tuple[Gap, dict[str, Plan]]:
        """Fill a past gap between two times in s since 1970.

        The hour of `end` is the one in which the meter came back. If a gap in this time
        was filled in the last week, it is restored first. Returns the gap and the plan
        of each counter. Raises `HomeAssistantError` if the statistics do not
        allow it.
        """
        if self._filled(begin, end):
            await self.async_restore(begin, end)
        gap = Gap(begin, (end // HOUR + 1) * HOUR, {})
        if not gap.hours or dt_util.utcnow().timestamp() < gap.end + COMPILED_AFTER:
            raise translated_error(HomeAssistantError, "no_full_hour")
        statistics = await self._async_statistics(gap)
        for name, statistic in statistics.items():
            base, after = statistic.base(gap.hours), statistic.after(gap.hours)
            before = statistic.rows.get(gap.hours[0], base)
            if before and before.state is not None and after and after.state:
                gap.readings[name] = [(begin, before.state), (gap.end, after.state)]
        gap.readings = {
            name: points
            for name, points in gap.readings.items()
            if points[0][1] != points[1][1]
        }
        statistics = {name: statistics[name] for name in gap.readings}
        await self._async_ask_meter(gap, statistics)
        return gap, await self.async_fill(gap)

    async def async_restore(self, begin: float, end: float) -> None:
        """Write back what was overwritten between two times in s since 1970.

        Raises `HomeAssistantError` if no gap was filled in this time.
        """
        if not (filled := self._filled(begin, end)):
            raise translated_error(
                HomeAssistantError, "nothing_to_restore", name=self.coordinator.name
            )
        for gap in reversed(filled):
            await async_write(self.hass, gap.overwritten)
            self.gaps.remove(gap)
        await self._store.async_save(self._stored())

    def _filled(self, begin: float, end: float) -> list[Gap]:
        """Return the gaps between two times in s since 1970 that were filled."""
        return [
            gap
            for gap in self.gaps
            if gap.filled_at is not None and gap.begin < end and begin < gap.end
        ]

    # -- store ---------------------------------------------------------------

    def _save(self) -> None:
        self.coordinator.config_entry.async_create_task(
            self.hass, self._store.async_save(self._stored())
        )

    def _stored(self) -> list[dict[str, Any]]:
        """Return the content of the store, without gaps that were filled long ago."""
        now = dt_util.utcnow().timestamp()
        self.gaps = [
            gap
            for gap in self.gaps
            if gap.filled_at is None or now - gap.filled_at < KEPT_SECONDS
        ]
        return [gap.as_dict() for gap in self.gaps]
