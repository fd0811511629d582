"""An outage of Home Assistant or of a meter, and the statistics around it.

The meter, Home Assistant and the recorder run for hours of virtual time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
import time
from unittest.mock import patch

from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.socomec_countis.const import DOMAIN
from custom_components.socomec_countis.runtime import CountisConfigEntry
from homeassistant.components.recorder.models import StatisticData
from homeassistant.components.recorder.statistics import (
    async_import_statistics,
    get_metadata,
    get_start_time,
    statistics_during_period,
)
from homeassistant.components.repairs import (
    RepairsFlowManager,
    RepairsFlowResult,
    repairs_flow_manager,
)
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from simulator import Meter

from .common import coordinator_of, entity_id, until

HOUR = 3600  # s
# At this minute of an hour, the recorder has compiled the row of the previous hour, and
# the integration has proposed to fill the gaps that ended in that hour.
COMPILED_MINUTE = 3
# At this minute, the last of the periods of 5 min in an hour begins.
LAST_PERIOD_MINUTE = 55
SECONDS_OF_POLLING = 300  # s after an outage; the meter is polled several times

type Hours = dict[float, float]
"""The energy in kWh of each hour, by its start in s since 1970."""


def energies(meter: Meter) -> tuple[float, float]:
    """Return the consumed and the produced counter of a meter in kWh."""
    counted = meter.count()
    return counted.consumed / 1000, counted.produced / 1000


@dataclass
class OutageTest:
    """Home Assistant with one meter, to simulate outages and compare statistics."""

    hass: HomeAssistant
    entry: CountisConfigEntry
    meter: Meter
    counters_by_hour: dict[float, tuple[float, float]] = field(default_factory=dict)
    """The consumed and the produced counter in kWh, by the time in s since 1970.

    Each time is a full hour. The first entry belongs to the full hour before the test
    began, but contains the counters at the beginning of the test.
    """
    # A lambda, because virtual time replaces `time.time` after this class is defined.
    started: float = field(default_factory=lambda: time.time())  # noqa: PLW0108
    """When the test began, in s since 1970."""

    @asynccontextmanager
    async def recording_counters(self) -> AsyncIterator[None]:
        """At each full hour, add the counters of the meter to `counters_by_hour`."""

        async def note() -> None:
            while True:
                now = time.time()
                hour = (now // HOUR + 1) * HOUR
                await asyncio.sleep(hour - now)
                self.counters_by_hour[hour] = energies(self.meter)

        task = asyncio.create_task(note())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def compiling_few_statistics(self) -> Iterator[None]:
        """Do not compile the periods of 5 min in which no sensor had a value.

        Such a period has no row. To compile all periods takes most of the real time of
        a long outage. The last period of an hour is always compiled, because the
        recorder then also compiles the row of this hour.
        """
        recorder = get_instance(self.hass)
        compile_statistics = recorder.async_periodic_statistics

        def compile_if_needed() -> None:
            start = get_start_time()
            if start.minute == LAST_PERIOD_MINUTE or any(
                state.state != STATE_UNAVAILABLE or state.last_changed >= start
                for state in self.hass.states.async_all("sensor")
            ):
                compile_statistics()

        with patch.object(recorder, "async_periodic_statistics", compile_if_needed):
            yield

    async def import_earlier_rows(self) -> None:
        """Give each statistic a row for the last complete hour before the test began.

        The integration fills a gap only if the statistic has an earlier row. The new
        row has the sum 0, and the state at which the recorder's sum was 0.
        """
        await async_wait_recording_done(self.hass)
        recorder = get_instance(self.hass)
        metadata = await recorder.async_add_executor_job(get_metadata, self.hass)
        started = dt_util.utc_from_timestamp(self.started)
        rows = await recorder.async_add_executor_job(
            statistics_during_period,
            *(self.hass, started - timedelta(minutes=5), None, set(metadata)),
            *("5minute", None, {"state", "sum"}),
        )
        hour_before = dt_util.utc_from_timestamp(self.started // HOUR * HOUR - HOUR)
        for statistic_id, (first, *_) in rows.items():
            _, statistic = metadata[statistic_id]
            assert first["state"] is not None
            assert first["sum"] is not None
            state = first["state"] - first["sum"]
            row = StatisticData(start=hour_before, state=state, sum=0)
            async_import_statistics(self.hass, statistic, [row])

    async def run_until(self, minute: float, hours: float = 0) -> None:
        """Run until `minute` minutes after a full hour, then for `hours` more hours."""
        await asyncio.sleep((minute * 60 - time.time()) % HOUR + hours * HOUR)

    async def until_proposed(self) -> None:
        """Run until the integration proposes to fill the gaps that ended in this hour.

        The proposal is made in the next hour, after the recorder has compiled the row
        of this hour.
        """
        await self.run_until(COMPILED_MINUTE)
        gaps = coordinator_of(self.entry).meter_gaps
        # A gap has no sources until the integration has read its evidence.
        await until(lambda: all(gap.sources for gap in gaps.gaps))
        await self.hass.async_block_till_done()

    def outage(self, kind: str) -> AbstractAsyncContextManager[None]:
        """Return an outage of "Home Assistant" or of the "meter"."""
        return self._meter_offline() if kind == "meter" else self._home_assistant_off()

    @asynccontextmanager
    async def _home_assistant_off(self) -> AsyncIterator[None]:
        """Unload the entry, to simulate that Home Assistant is off."""
        await self.hass.config_entries.async_unload(self.entry.entry_id)
        yield
        await self.hass.config_entries.async_setup(self.entry.entry_id)
        await asyncio.sleep(SECONDS_OF_POLLING)

    @asynccontextmanager
    async def _meter_offline(self) -> AsyncIterator[None]:
        """Let the meter receive no requests."""
        self.meter.offline = True
        yield
        self.meter.offline = False
        await asyncio.sleep(SECONDS_OF_POLLING)

    @property
    def issues(self) -> list[ir.IssueEntry]:
        """Return the issues of gaps."""
        issues = ir.async_get(self.hass).issues.values()
        return [issue for issue in issues if issue.translation_key == "gap"]

    @property
    def fix_flows(self) -> RepairsFlowManager:
        """Return the manager of the fix flows."""
        manager = repairs_flow_manager(self.hass)
        assert manager is not None
        return manager

    async def open_fix(self, issue: ir.IssueEntry | None = None) -> RepairsFlowResult:
        """Open the fix flow of an issue of a gap, by default of the only issue."""
        if issue is None:
            (issue,) = self.issues
        return await self.fix_flows.async_init(
            DOMAIN, context={"issue_id": issue.issue_id}
        )

    async def choose(self, choice: str) -> RepairsFlowResult:
        """Choose to "fill" or to "leave" the only gap, and return the result."""
        menu = await self.open_fix()
        assert menu["type"] is FlowResultType.MENU, menu
        return await self.fix_flows.async_configure(
            menu["flow_id"], {"next_step_id": choice}
        )

    async def hours(self, key: str = "energy_consumed") -> Hours:
        """Return the energy of each hour in the statistics."""
        return await self.changes(entity_id(self.hass, key))

    async def changes(self, statistic_id: str) -> Hours:
        """Return the change of a statistic in each hour.

        An energy is in kWh, another statistic in its own unit.
        """
        await async_wait_recording_done(self.hass)
        rows = await get_instance(self.hass).async_add_executor_job(
            statistics_during_period,
            self.hass,
            dt_util.utc_from_timestamp(self.started - HOUR),
            None,
            {statistic_id},
            "hour",
            {"energy": "kWh"},
            {"change"},
        )
        return {row["start"]: row["change"] or 0 for row in rows.get(statistic_id, ())}

    def metered_energy(self, *, produced: bool = False) -> Hours:
        """Return the consumed or produced energy of the meter in each hour."""
        # `produced` is the index of a counter: 0 (False) for consumed, 1 for produced.
        return {
            begin: self.counters_by_hour[end][produced]
            - self.counters_by_hour[begin][produced]
            for begin, end in pairwise(sorted(self.counters_by_hour))
        }
