"""Find the gaps of a meter, propose them to the user, fill them, or undo the filling.

A gap is a time without readings, because Home Assistant was off or the meter was
offline. A gap contains at least one full hour. The end hour of a gap is the hour in
which the accepted counters rise after the gap. The first reading after the gap does not
raise the accepted counters, because a second reading has to confirm it. Until the gap
is filled, the statistics contain the energy of the whole gap in the end hour.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
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
    async_read_statistic,
    async_write,
    plan_costs,
    plan_counter,
)
from .gap_texts import gap_period, time_text
from .identifiers import entity_unique_id
from .issues import create_gap_issue, delete_gap_issue
from .texts import translated_error

if TYPE_CHECKING:
    from .coordinator import CountisCoordinator

_LOGGER = logging.getLogger(__name__)

# Seconds from the end of an hour until the recorder has compiled the row of the hour.
# The recorder begins 10 s after the end of the hour. Our choice: enough for a large
# database on a small machine.
COMPILED_AFTER = 90
# Seconds between two attempts to propose a gap. An attempt fails if the end hour is not
# compiled yet, or if the meter is offline. Our choice: the period of the short-term
# statistics.
RETRY_SECONDS = 300

# Seconds from the end of a gap's end hour. If the recorder has not compiled the end
# hour by then, the gap is discarded. This happens if the entities of the counters are
# disabled. Our choice: after a restart, the recorder needs much less time to compile
# the hours that it missed.
DISCARDED_AFTER = 6 * HOUR

# Seconds for which the overwritten rows of a filled gap are kept, so that the user can
# undo the filling. Our choice: enough time to see a wrong result in the Energy
# dashboard.
KEPT_SECONDS = 7 * 86_400


class MeterGaps:
    """Finds, proposes and fills the gaps of one meter, or undoes the filling."""

    def __init__(self, coordinator: CountisCoordinator) -> None:
        """Initialize without gaps; `async_load` loads the stored gaps."""
        self.coordinator = coordinator
        self.hass = coordinator.hass
        self.gaps: list[Gap] = []
        """Gaps that are not filled yet, and gaps that were filled in the last week."""
        self.load_curve_findings: dict[str, Any] | None = None
        """The result of `Evidence.findings` for the latest gap, for diagnostics."""
        self._store = gap_store(self.hass, coordinator.subentry.subentry_id)
        self._values: dict[str, dict[str, float]] = defaultdict(dict)
        """By block and counter: the last accepted values, in kWh or kvarh."""
        self._read_at: dict[str, float] = {}
        """By block of counters: the time of the last reading, in s since 1970."""
        for name, each in coordinator.meter.counter_check.accepted.items():
            block = BLOCK_OF[name]
            self._values[block][name] = each.value
            # An accepted value keeps its time if a later reading is slightly lower. So
            # only the newest time of all values in a block shows when the block was
            # last read.
            self._read_at[block] = max(self._read_at.get(block, 0), each.at.wall)
        self._unconfirmed: dict[str, Gap] = {}
        """By block: a gap after which no reading could confirm a rise yet."""
        self._corrected_at: dict[str, float] = {}
        """By counter: when its value was last corrected, in s since 1970."""
        self._proposed_now: Gap | None = None
        """The gap that is being proposed now. No other gap is merged into it."""
        self._proposal_lock = asyncio.Lock()
        """Held while gaps are proposed.

        If the timer ends meanwhile, it starts a task, which waits for the lock.
        """
        self._cancel_timer: CALLBACK_TYPE | None = None

    async def async_load(self) -> None:
        """Load the stored data unless they are invalid, and propose unfilled gaps."""
        with suppress(
            AttributeError, HomeAssistantError, LookupError, TypeError, ValueError
        ):
            if stored := await self._store.async_load():
                self.gaps = [Gap.from_dict(each) for each in stored["gaps"]]
                self._corrected_at = {
                    name: float(at) for name, at in stored["corrected_at"].items()
                }
                self._unconfirmed = {
                    block: Gap.from_dict(each)
                    for block, each in stored["unconfirmed"].items()
                }
                if not self._read_at:
                    # The meter was replaced, or its stored counters were lost. So the
                    # next readings cannot be compared with those before a gap.
                    self._unconfirmed = {}
                    self._save()
        self._schedule_proposals(RETRY_SECONDS)

    async def async_remove(self) -> None:
        """Delete the stored gaps."""
        await self._store.async_remove()

    @callback
    def stop_timer(self) -> None:
        """Cancel the timer."""
        if self._cancel_timer:
            self._cancel_timer()
            self._cancel_timer = None

    # -- find ----------------------------------------------------------------

    @callback
    def check_reading(self, block: str, corrected: Collection[str]) -> None:
        """Find a gap before the latest accepted reading of `block`.

        After a gap, the second reading has to confirm the first reading before the
        accepted counters rise. So the gap ends at the second reading. If a reading is
        rejected meanwhile, the accepted counters rise later, and the gap ends later.
        Counters that have the same value as before the gap are not filled.

        `corrected` contains the counters of the reading's `corrections`. If a
        counter is corrected in an hour of a gap or in the end hour, the gap leaves out
        this counter, because the sums of these hours then contain the correction. The
        correction is not energy of the gap.
        """
        if "recorder" not in self.hass.config.components:
            return
        previous_at = self._read_at.get(block)
        previous_values = self._values.get(block, {})
        now = self.coordinator.meter.now().wall
        values = {
            name: value
            for name, value in self.coordinator.meter.counter_check.values.items()
            if BLOCK_OF[name] == block
        }
        self._read_at[block], self._values[block] = now, values
        if corrected:
            self._leave_out(corrected, now)
        gap = self._unconfirmed.pop(block, None)
        if previous_at is not None and now // HOUR - math.ceil(previous_at / HOUR) >= 1:
            # There is at least one full hour between the two readings.
            if gap is None:
                readings = {
                    name: [(previous_at, value)]
                    for name, value in previous_values.items()
                }
                gap = Gap(previous_at, now, readings)
            # If `gap` existed before this reading, no reading has confirmed a rise
            # since the beginning of `gap`. So extend `gap` to `now`.
            gap.end = now
            self._unconfirmed[block] = gap
        elif gap and not self.coordinator.meter.counter_check.may_rise(block):
            gap.end = max(gap.end, now)  # the system clock may have been set back
            self._unconfirmed[block] = gap
        elif gap:
            # The latest reading has confirmed the previous reading. So `values` are
            # from the time of the previous reading, which is still `gap.end`.
            gap.readings = {
                name: [*points, (gap.end, values[name])]
                for name, points in gap.readings.items()
                if values[name] != points[0][1]
            }
            gap.end = max(gap.end, now)
            gap.leave_out(
                name for name, at in self._corrected_at.items() if at >= gap.hours[0]
            )
            if gap.readings or gap.left_out:
                self._add(gap)
        else:
            return
        self._save()

    def _leave_out(self, corrected: Collection[str], now: float) -> None:
        """Note the corrected counters, and leave them out of recent gaps.

        A gap is recent until its end hour is over.
        """
        self._corrected_at |= dict.fromkeys(corrected, now)
        for gap in self.gaps:
            if self._can_change(gap) and now < gap.end_hour + HOUR:
                gap.leave_out(corrected)
        self._save()

    def _can_change(self, gap: Gap) -> bool:
        """Return whether a gap has no `sources` yet, and is not being proposed now."""
        return not gap.sources and gap is not self._proposed_now

    def _add(self, new: Gap) -> None:
        """Add `new`, or merge it into another gap.

        The other gap has to end in the hour of `new.begin`, or later. It also has to
        contain a counter of `new`, or to begin at about the same time as `new`. Without
        these two conditions, the merged gap could contain hours in which some of its
        counters were read. The other gap must not be proposed yet (`_can_change`).
        """
        for gap in self.gaps:
            begins_together = abs(gap.begin - new.begin) < HOUR
            shares_counter = not gap.readings.keys().isdisjoint(new.readings)
            if (
                self._can_change(gap)
                and gap.end // HOUR >= new.begin // HOUR
                and (begins_together or shares_counter)
            ):
                gap.merge(new)
                break
        else:
            self.gaps.append(new)
            _LOGGER.info(
                "%s was not read from %s until %s; the statistics contain the energy"
                " of this time in its last hour",
                self.coordinator.name,
                time_text(new.begin),
                time_text(new.end),
            )
        self._schedule_proposals()

    # -- propose -------------------------------------------------------------

    def _schedule_proposals(self, seconds: float = 0) -> None:
        """Create the issues of proposed gaps, and start the timer for new gaps.

        A gap without `sources` is new. A gap with `sources` is proposed until it is
        filled. The timer ends when the recorder should have compiled the end hour of a
        new gap, but not before `seconds` have passed.
        """
        self.stop_timer()
        open_gaps = [gap for gap in self.gaps if gap.filled_at is None]
        for gap in open_gaps:
            if gap.sources:
                create_gap_issue(self.coordinator, gap, gap_period(gap))
        compiled_at = [
            gap.end_hour + HOUR + COMPILED_AFTER for gap in open_gaps if not gap.sources
        ]
        if compiled_at:
            wait = max(min(compiled_at) - dt_util.utcnow().timestamp(), seconds)
            self._cancel_timer = async_call_later(
                self.hass, wait, self._start_proposals
            )

    @callback
    def _start_proposals(self, now: datetime) -> None:
        self._cancel_timer = None
        self.coordinator.config_entry.async_create_background_task(
            self.hass, self._async_propose_new_gaps(now.timestamp()), "propose gaps"
        )

    async def _async_propose_new_gaps(self, now: float) -> None:
        """Propose the new gaps whose end hour is over, if the meter is online.

        The other new gaps have to wait, because gaps may still be merged into them.
        """
        async with self._proposal_lock:
            for gap in [
                each
                for each in self.gaps
                if not each.sources and now >= each.end_hour + HOUR
            ]:
                # While another gap was proposed, this gap may have been discarded.
                if not self.coordinator.online or gap not in self.gaps:
                    continue
                self._proposed_now = gap
                try:
                    await self._async_propose_gap(gap, now)
                finally:
                    self._proposed_now = None
        self._save()
        self._schedule_proposals(RETRY_SECONDS)

    async def _async_propose_gap(self, gap: Gap, now: float) -> None:
        """Read the evidence of a gap, so that `_schedule_proposals` creates its issue.

        Fills the gap at once if `CONF_FILL_GAPS` is on. Discards the gap if its end
        hour is not compiled in time (`DISCARDED_AFTER`), or if its statistics do not
        show that a counter has risen. Also discards the gap if all of its counters are
        left out.
        """
        if not gap.readings:
            self.gaps.remove(gap)
            return
        statistics = await self._async_counter_statistics(gap)
        if not any(each.end_row(gap.hours) for each in statistics.values()):
            # The end hour is not compiled yet.
            if now > gap.end_hour + HOUR + DISCARDED_AFTER:
                self.gaps.remove(gap)
            return
        await self._async_read_distribution(gap, statistics)
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
                time_text(gap.begin),
                err,
            )

    async def _async_read_distribution(
        self, gap: Gap, statistics: Mapping[str, Statistic]
    ) -> None:
        """Read the evidence of a gap, and store the distribution of energy in the gap.

        Without usable evidence, the energy is distributed evenly.
        """
        totals = {total_of(name) for name in statistics}
        async with self.coordinator.config_entry.runtime_data.evidence_lock:
            evidence = await async_read_evidence(
                self.coordinator.meter,
                gap.begin,
                self.coordinator.on_reading,
                with_load_curve=CONSUMED in totals,
            )
        zone = dt_util.get_default_time_zone()
        for total in totals:
            counter_gap = self._counter_gap(gap, statistics, total)
            if counter_gap is None:
                continue
            curve = evidence.curve(total, counter_gap, zone)
            gap.sources[total] = curve.source
            gap.parts[total] = [curve.fraction(hour + HOUR) for hour in gap.hours]
            gap.energies[total] = counter_gap.energy
            if total == CONSUMED:
                self.load_curve_findings = evidence.findings(counter_gap, zone)

    def _counter_gap(
        self, gap: Gap, statistics: Mapping[str, Statistic], total: str
    ) -> CounterGap | None:
        """Return the values of a total counter around a gap, from the statistics.

        If the statistics of the total counter cannot be used, those of another counter
        with the same `total_of` are used. Returns None if the statistics show no rise
        of these counters.
        """
        names = [name for name in statistics if total_of(name) == total]
        for name in sorted(names, key=total.__ne__):  # the total first
            statistic = statistics[name]
            base, end_row = statistic.base(gap.hours), statistic.end_row(gap.hours)
            if base is None or base.state is None or end_row is None:
                continue
            if end_row.state is not None and end_row.state > base.state:
                return CounterGap(
                    base.start + HOUR,
                    end_row.start + HOUR,
                    base.state,
                    end_row.state,
                    self.coordinator.meter.counter_check.accepted[name].step,
                    gap.readings[name],
                )
        return None

    # -- fill ----------------------------------------------------------------

    async def _async_counter_statistics(
        self, gap: Gap, to_restore: Sequence[Gap] = ()
    ) -> dict[str, Statistic]:
        """Return the statistics for a gap, by counter.

        `to_restore` contains filled gaps, in the order of filling. The returned rows
        are as if these gaps were already restored. A counter without a statistic is
        left out.
        """
        found: dict[str, Statistic] = {}
        # A gap that the user defines (`async_fill_between`) has no readings at first.
        counters = gap.readings or self.coordinator.meter.counter_check.values
        for name in list(counters):
            unique_id = entity_unique_id(self.coordinator.subentry, name)
            entities = er.async_get(self.hass)
            entity_id = entities.async_get_entity_id(Platform.SENSOR, DOMAIN, unique_id)
            if entity_id and (
                statistic := await self._async_read_statistic(gap, entity_id)
            ):
                for filled in reversed(to_restore):
                    rows = filled.overwritten.get(entity_id, ())
                    statistic = statistic.with_rows(rows)
                found[name] = statistic
        return found

    async def _async_read_statistic(
        self, gap: Gap, statistic_id: str
    ) -> Statistic | None:
        return await async_read_statistic(
            self.hass, statistic_id, gap.hours[0], gap.end_hour
        )

    async def async_plan(
        self, gap: Gap, to_restore: Sequence[Gap] = ()
    ) -> dict[str, Plan]:
        """Return the plan of each counter of a gap.

        The plans assume that the filled gaps `to_restore` are already restored (see
        `_async_counter_statistics`). A counter that has no statistics, or that cannot
        be filled (see `plan_counter`), is left out. Raises `HomeAssistantError` if the
        sums of the statistics do not agree with the counters.
        """
        plans: dict[str, Plan] = {}
        statistics = await self._async_counter_statistics(gap, to_restore)
        for name, statistic in statistics.items():
            total = total_of(name)
            if total not in gap.parts:
                continue
            parts, energy = gap.parts[total], gap.energies[total]
            before = gap.readings[name][0][1]
            if plan := plan_counter(statistic, gap.hours, before, parts, energy):
                plans[name] = plan
        return plans

    async def _async_plan_costs(self, gap: Gap, plan: Plan) -> list[Plan]:
        """Return the plans of the costs of a counter.

        Costs are left out if a sum in the gap is not between the sums before and after
        the gap.
        """
        plans: list[Plan] = []
        for suffix in COST_SUFFIXES:
            costs = await self._async_read_statistic(
                gap, f"{plan.statistic_id}_{suffix}"
            )
            with suppress(HomeAssistantError):
                if costs and (cost_plan := plan_costs(costs, plan)):
                    plans.append(cost_plan)
        return plans

    async def async_fill(self, gap: Gap) -> dict[str, Plan]:
        """Write the proposed rows, and keep the overwritten rows for a week.

        Returns the plan by counter. Raises `HomeAssistantError` if no counter has
        statistics to fill, and in the same cases as `async_plan`.
        """
        plans = await self.async_plan(gap)
        if not plans:
            raise self._nothing_to_fill()
        all_plans = list(plans.values())
        for plan in plans.values():
            all_plans += await self._async_plan_costs(gap, plan)
        gap.overwritten = {plan.statistic_id: list(plan.present) for plan in all_plans}
        gap.filled_at = dt_util.utcnow().timestamp()
        if gap in self.gaps:
            self.gaps.remove(gap)
        self.gaps.append(gap)  # so that filled gaps are in the order of filling
        await self._store.async_save(self._data_to_save())
        await async_write(
            self.hass, {plan.statistic_id: plan.rows for plan in all_plans}
        )
        delete_gap_issue(self.coordinator, gap)
        _LOGGER.info(
            "%s: the gap from %s until %s was filled (in kWh or kvarh): %s",
            self.coordinator.name,
            time_text(gap.begin),
            time_text(gap.end),
            ", ".join(
                f"{name} {gap.energy(name):.2f} ({gap.sources[total_of(name)]})"
                for name in plans
            ),
        )
        return plans

    def _nothing_to_fill(self) -> HomeAssistantError:
        return translated_error(
            HomeAssistantError, "nothing_to_fill", name=self.coordinator.name
        )

    async def async_discard(self, gap: Gap) -> None:
        """Discard a gap, so that the energy stays in the end hour."""
        self.gaps.remove(gap)
        delete_gap_issue(self.coordinator, gap)
        await self._store.async_save(self._data_to_save())

    async def async_fill_between(
        self, begin: float, end: float
    ) -> tuple[Gap, dict[str, Plan]]:
        """Fill a gap that the user defines by two times in s since 1970.

        `begin` has to be in an earlier hour than `end`. The hour that contains `end` is
        the end hour, and has to be compiled. The filled gaps between the two times (see
        `_filled_gaps`) are restored first. Unfilled gaps are discarded at the end, if
        the new gap contains all of their hours. Returns the new gap, and the plan by
        counter. Raises `HomeAssistantError` if a condition is not met, and in the same
        cases as `async_fill`. In all of these cases, no gap is restored.
        """
        gap = Gap(begin, (end // HOUR + 1) * HOUR, {})
        if not gap.hours or dt_util.utcnow().timestamp() < gap.end + COMPILED_AFTER:
            raise translated_error(HomeAssistantError, "no_full_hour")
        statistics = await self._async_counter_statistics(
            gap, self._filled_gaps(begin, end)
        )
        for name, statistic in statistics.items():
            base, end_row = statistic.base(gap.hours), statistic.end_row(gap.hours)
            # The row of the hour of `begin`, if any, has the last state before the gap.
            before = statistic.rows.get(gap.hours[0], base)
            if before and before.state is not None and end_row and end_row.state:
                gap.readings[name] = [(begin, before.state), (gap.end, end_row.state)]
        gap.readings = {
            name: points
            for name, points in gap.readings.items()
            if points[0][1] != points[1][1]
        }
        statistics = {name: statistics[name] for name in gap.readings}
        await self._async_read_distribution(gap, statistics)
        if not await self.async_plan(gap, self._filled_gaps(begin, end)):
            raise self._nothing_to_fill()
        if self._filled_gaps(begin, end):
            await self.async_restore(begin, end)
        plans = await self.async_fill(gap)
        # Search again after each gap, because the user may have discarded another gap.
        while other := self._open_gap_within(gap):
            await self.async_discard(other)
        return gap, plans

    def _open_gap_within(self, filled: Gap) -> Gap | None:
        """Return a gap that is not filled and whose hours are all in `filled`, or None.

        The gap that is being proposed now is left out.
        """
        for gap in self.gaps:
            is_open = gap.filled_at is None and gap is not self._proposed_now
            if is_open and set(gap.hours) <= set(filled.hours):
                return gap
        return None

    async def async_restore(self, begin: float, end: float) -> list[Gap]:
        """Restore the overwritten rows of the filled gaps from `begin` to `end`.

        The times are in s since 1970. Gaps that are only partly between them are also
        restored. The gap that was filled last is restored first. Returns the restored
        gaps. Raises `HomeAssistantError` if there is no such gap.
        """
        if not (filled := self._filled_gaps(begin, end)):
            raise translated_error(
                HomeAssistantError, "nothing_to_restore", name=self.coordinator.name
            )
        for gap in reversed(filled):
            await async_write(self.hass, gap.overwritten)
            self.gaps.remove(gap)
        await self._store.async_save(self._data_to_save())
        return filled

    def _filled_gaps(self, begin: float, end: float) -> list[Gap]:
        """Return the filled gaps between two times, in the order of filling.

        `begin` and `end` are in s since 1970. Gaps that are only partly between them
        are included. A gap is also included if it overlaps an included gap and was
        filled later, because its filling replaced rows of the included gap.
        """
        filled: list[Gap] = []
        periods = [(begin, end)]
        for gap in self.gaps:
            overlaps = any(
                gap.begin < last and first < gap.end for first, last in periods
            )
            if gap.filled_at is not None and overlaps:
                filled.append(gap)
                periods.append((gap.begin, gap.end))
        return filled

    # -- store ---------------------------------------------------------------

    def _save(self) -> None:
        self.coordinator.config_entry.async_create_task(
            self.hass, self._store.async_save(self._data_to_save())
        )

    def _data_to_save(self) -> dict[str, Any]:
        """Remove gaps filled at least `KEPT_SECONDS` ago; return the data to save."""
        now = dt_util.utcnow().timestamp()
        self.gaps = [
            gap
            for gap in self.gaps
            if gap.filled_at is None or now - gap.filled_at < KEPT_SECONDS
        ]
        return {
            "gaps": [gap.as_dict() for gap in self.gaps],
            "corrected_at": dict(self._corrected_at),
            "unconfirmed": {
                block: gap.as_dict() for block, gap in self._unconfirmed.items()
            },
        }
