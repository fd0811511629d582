"""Gaps found in readings that each test chooses, without a bus or a recorder."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.socomec_countis import gaps
from custom_components.socomec_countis.const import CONF_SERIAL_NUMBER, DOMAIN
from custom_components.socomec_countis.coordinator import CountisCoordinator
from custom_components.socomec_countis.countis.plausibility import (
    CounterCheck,
    CounterReading,
    Moment,
)
from custom_components.socomec_countis.gap import Gap, gap_store
from custom_components.socomec_countis.gaps import RETRY_SECONDS, MeterGaps
from custom_components.socomec_countis.identifiers import entity_unique_id
from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er

from .outage import HOUR

pytestmark = pytest.mark.starts_at(
    datetime(2026, 6, 15, 12, 50, tzinfo=UTC).timestamp()
)


class ScriptedMeter:
    """A meter whose readings are the arguments of `read`, and its gaps."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Start without accepted counters."""
        hass.config.components.add("recorder")
        entry = MockConfigEntry(domain=DOMAIN)
        entry.add_to_hass(hass)
        self.hass = hass
        self.meter = SimpleNamespace(
            counter_check=CounterCheck(),
            now=lambda: Moment(time.time(), time.monotonic()),
        )
        self.coordinator = SimpleNamespace(
            hass=hass,
            name="COUNTIS",
            meter=self.meter,
            config_entry=entry,
            subentry=SimpleNamespace(
                subentry_id="meter", data={CONF_SERIAL_NUMBER: None}
            ),
            online=False,  # so no gap is proposed
        )
        self.meter_gaps = self.new_meter_gaps()

    def new_meter_gaps(self) -> MeterGaps:
        """Return a new `MeterGaps`, which has not loaded the stored gaps yet."""
        return MeterGaps(cast("CountisCoordinator", self.coordinator))

    async def restart(self, hours: float, *, is_replaced: bool = False) -> None:
        """Stop Home Assistant, and start it again after `hours` h.

        If `is_replaced`, there are no stored counters, because this is another meter.
        """
        await self.hass.async_block_till_done()  # until the gaps are saved
        self.meter_gaps.stop_timer()
        await asyncio.sleep(hours * HOUR)
        saved = {} if is_replaced else self.meter.counter_check.as_dict()
        self.meter.counter_check = CounterCheck().restore(saved)
        self.meter_gaps = self.new_meter_gaps()
        await self.meter_gaps.async_load()

    def add_entity(self, key: str) -> None:
        """Register the sensor of a counter."""
        unique_id = entity_unique_id(
            cast("ConfigSubentry", self.coordinator.subentry), key
        )
        er.async_get(self.hass).async_get_or_create("sensor", DOMAIN, unique_id)

    def read(self, block: str, **counters: float | None) -> None:
        """Check a reading of a block, in kWh. If it is accepted, look for a gap."""
        reading = CounterReading(block, counters, 0.01, self.meter.now())
        if self.meter.counter_check.check(reading):
            self.meter_gaps.check_reading(block, ())

    def read_twice(self, block: str, **counters: float | None) -> None:
        """Check two readings of a block, so that the second one confirms the first."""
        for _ in range(2):
            self.read(block, **counters)


@pytest.fixture
def meter(hass: HomeAssistant, hass_storage: dict[str, Any]) -> Iterator[ScriptedMeter]:
    """Return a meter whose energies and tariffs have been read."""
    meter = ScriptedMeter(hass)
    meter.read_twice("energies", energy_consumed=500)
    meter.read_twice("tariffs", tariff_1_energy=500)
    yield meter
    meter.meter_gaps.stop_timer()


async def test_gaps_of_two_blocks_in_one_outage_are_merged(
    meter: ScriptedMeter,
) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read_twice("energies", energy_consumed=503)
    meter.read_twice("tariffs", tariff_1_energy=503)
    (gap,) = meter.meter_gaps.gaps
    assert gap.readings.keys() == {"energy_consumed", "tariff_1_energy"}


# A block is not read while all of its entities are disabled.
@pytest.mark.parametrize("tariffs_first", [True, False])
async def test_gap_of_a_block_that_was_not_read_before_an_outage_is_not_merged(
    meter: ScriptedMeter, *, tariffs_first: bool
) -> None:
    for hour in range(10):
        await asyncio.sleep(HOUR)
        meter.read_twice("energies", energy_consumed=500 + hour)
    await asyncio.sleep(3 * HOUR)
    if tariffs_first:
        meter.read_twice("tariffs", tariff_1_energy=512)
    meter.read_twice("energies", energy_consumed=512)
    meter.read_twice("tariffs", tariff_1_energy=512)
    hours = {tuple(gap.readings): len(gap.hours) for gap in meter.meter_gaps.gaps}
    assert hours == {("energy_consumed",): 3, ("tariff_1_energy",): 13}


async def test_counter_corrected_before_a_restart_is_left_out(
    meter: ScriptedMeter,
) -> None:
    meter.meter_gaps.check_reading("energies", {"energy_consumed"})
    await meter.restart(hours=3)
    meter.read_twice("energies", energy_consumed=503)
    meter.read_twice("tariffs", tariff_1_energy=503)
    (gap,) = meter.meter_gaps.gaps
    assert gap.left_out == ["energy_consumed"]
    assert gap.readings.keys() == {"tariff_1_energy"}


async def test_invalid_stored_data_are_ignored(meter: ScriptedMeter) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read_twice("energies", energy_consumed=503)
    await meter.restart(hours=0)
    (gap,) = meter.meter_gaps.gaps
    store = gap_store(meter.hass, "meter")
    invalid: list[Any] = [
        {"gaps": [{**gap.as_dict(), key: []}], "corrected_at": {}, "unconfirmed": {}}
        for key in ("readings", "sources", "overwritten")
    ]
    for content in (
        *invalid,
        [gap.as_dict()],
        {"gaps": [], "corrected_at": []},
        {"gaps": []},
    ):
        await store.async_save(content)
        meter.meter_gaps.stop_timer()
        meter.meter_gaps = meter.new_meter_gaps()
        await meter.meter_gaps.async_load()
        assert meter.meter_gaps.gaps == []


async def async_two_gaps(meter: ScriptedMeter) -> list[Gap]:
    """Read the meter around two outages, and return their gaps."""
    meter.add_entity("energy_consumed")
    for hours, energy in ((3, 503), (1, 504), (3, 507)):
        await asyncio.sleep(hours * HOUR)
        meter.read_twice("energies", energy_consumed=energy)
    return meter.meter_gaps.gaps


async def test_gap_whose_end_hour_is_not_over_is_not_proposed(
    meter: ScriptedMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: set[float] = set()

    async def no_statistic(
        _hass: HomeAssistant, _id: str, first: float, _last: float
    ) -> None:
        starts.add(first)

    monkeypatch.setattr(gaps, "async_read_statistic", no_statistic)
    first, second = await async_two_gaps(meter)
    meter.coordinator.online = True
    await asyncio.sleep(RETRY_SECONDS)
    # To propose a gap, the integration reads the statistics from the first hour of the
    # gap on.
    assert first.hours[0] in starts
    assert second.hours[0] not in starts


async def test_gap_discarded_while_another_one_is_proposed_is_not_proposed(
    meter: ScriptedMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: set[float] = set()

    async def discard_second(
        _hass: HomeAssistant, _id: str, first_hour: float, _last_hour: float
    ) -> None:
        starts.add(first_hour)
        if second in meter.meter_gaps.gaps:
            await meter.meter_gaps.async_discard(second)

    monkeypatch.setattr(gaps, "async_read_statistic", discard_second)
    first, second = await async_two_gaps(meter)
    await asyncio.sleep(HOUR)  # now the end hours of both gaps are over
    meter.coordinator.online = True
    await asyncio.sleep(RETRY_SECONDS)
    assert first.hours[0] in starts
    assert second.hours[0] not in starts


async def test_correction_after_the_end_hour_of_a_gap_leaves_no_counter_out(
    meter: ScriptedMeter,
) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read_twice("energies", energy_consumed=503)
    (gap,) = meter.meter_gaps.gaps
    await asyncio.sleep(gap.end_hour + HOUR - time.time() - 1)
    meter.meter_gaps.check_reading("tariffs", {"tariff_1_energy"})
    assert gap.left_out == ["tariff_1_energy"]
    await asyncio.sleep(1)
    meter.meter_gaps.check_reading("energies", {"energy_consumed"})
    assert gap.left_out == ["tariff_1_energy"]


async def test_gap_is_found_if_the_second_reading_is_rejected(
    meter: ScriptedMeter,
) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read("energies", energy_consumed=503)
    meter.read("energies", energy_consumed=9000)
    # The rejected reading does not confirm 503 kWh. So the accepted value rises to
    # 503 kWh only after the next two readings.
    meter.read("energies", energy_consumed=503)
    assert meter.meter_gaps.gaps == []
    await asyncio.sleep(30)
    meter.read("energies", energy_consumed=503.2)
    (gap,) = meter.meter_gaps.gaps
    assert gap.end == time.time()
    ((_, before), (_, after)) = gap.readings["energy_consumed"]
    assert (before, after) == (500, 503)


@pytest.mark.parametrize("hours", [0.2, 3])
async def test_gap_is_found_if_a_restart_follows_the_first_reading_after_it(
    meter: ScriptedMeter, hours: float
) -> None:
    begin = time.time()
    await asyncio.sleep(3 * HOUR)
    meter.read("energies", energy_consumed=503)
    await meter.restart(hours)
    meter.read_twice("energies", energy_consumed=504)
    (gap,) = meter.meter_gaps.gaps
    assert (gap.begin, gap.end) == (begin, time.time())
    assert gap.readings["energy_consumed"] == [(begin, 500), (gap.end, 504)]


async def test_outage_without_energy_is_no_gap_after_a_restart(
    meter: ScriptedMeter,
) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read_twice("energies", energy_consumed=500)
    await meter.restart(hours=0.2)
    meter.read_twice("energies", energy_consumed=500.1)
    assert meter.meter_gaps.gaps == []


async def test_gap_of_a_replaced_meter_is_not_found(meter: ScriptedMeter) -> None:
    await asyncio.sleep(3 * HOUR)
    meter.read("energies", energy_consumed=503)
    await meter.restart(hours=0.2, is_replaced=True)
    meter.read_twice("energies", energy_consumed=7)
    await meter.restart(hours=0.2)
    meter.read_twice("energies", energy_consumed=7.1)
    assert meter.meter_gaps.gaps == []
