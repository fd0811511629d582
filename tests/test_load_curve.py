"""The load curve of a meter: pages, records and lost commands."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from modbus_connection import (
    AcknowledgeError,
    IllegalDataAddressError,
    ModbusConnectionError,
    ModbusProtocolError,
    ModbusTimeoutError,
)
import pytest

from custom_components.socomec_countis.countis.load_curve import (
    LoadCurve,
    LoadRecord,
    NoLoadCurveError,
    async_read_load_curve,
)
from custom_components.socomec_countis.countis.meter import Meter

COMMAND, PAGE = 61440, 61456  # register addresses
FIRST, NEXT = 0x0001, 0xFFFE  # commands that select a page
PAGE_WORDS = 122  # registers
PAGE_RECORDS = 29  # in a full page
START = datetime(2026, 11, 20, 12)  # noqa: DTZ001 (by the clock of the meter)
QUARTER = timedelta(minutes=15)

type Words = list[int]


def record(
    index: int, watts: int, *, incomplete: int = 0, period: timedelta = QUARTER
) -> Words:
    """Return the registers of a record whose time is `index` periods after `START`."""
    since = START + index * period - datetime(2000, 1, 1)  # noqa: DTZ001
    seconds = round(since.total_seconds())
    return [seconds >> 16, seconds & 0xFFFF, incomplete, watts]


def page(
    *records: Words,
    size: int = 4,
    period: int = 900,
    unit: int = 0,
    fraction: tuple[int, int] = (1, 1),
) -> Words:
    """Return the registers of a page: its header, its records, and then 0xFFFF.

    The header has the `size` of a record in registers, the `period` in s, the code of
    the `unit`, and the numerator and denominator of the `fraction`.
    """
    words = [len(records), size, period, unit, *fraction]
    words += [word for each in records for word in each]
    return words + [0xFFFF] * (PAGE_WORDS - len(words))


@dataclass
class FakeTransformer:
    """The block of a current transformer."""

    ratio: float | None
    reads: int = 0

    @property
    def values(self) -> dict[str, float | None]:
        """Return the ratio."""
        return {"ct_ratio": self.ratio}

    async def async_update(self) -> None:
        """Count the reads."""
        self.reads += 1


@dataclass
class FakeMeter:
    """A meter with pages of a load curve. The object is also its own unit and bus."""

    pages: Sequence[Words]
    write_errors: deque[Exception | None] = field(default_factory=deque)
    """For each of the next writes: the error after its execution, or None."""
    lost_writes: int = 0
    """Number of the next writes that do not reach the meter."""
    read_error: Exception | None = None
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    """The kind, the address, and the value or number of registers of each request."""
    selected: int | None = None
    """Index of the page that a read returns."""
    verifications: int = 0
    is_held: bool = False
    transformer: FakeTransformer | None = None

    def block(self, name: str) -> FakeTransformer | None:
        """Return the block of the current transformer."""
        assert name == "transformer"
        return self.transformer

    @property
    def bus(self) -> FakeMeter:
        """Return the same object, which is also the bus."""
        return self

    @property
    def modbus_unit(self) -> FakeMeter:
        """Return the same object, which is also the unit."""
        return self

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold the bus."""
        assert not self.is_held
        self.is_held = True
        yield
        self.is_held = False

    async def async_verify_identity(self) -> None:
        """Count the verifications."""
        self.verifications += 1

    async def write_register(self, address: int, value: int) -> None:
        """Select a page."""
        assert self.is_held
        self.requests.append(("write", address, value))
        assert address == COMMAND
        if self.lost_writes:
            self.lost_writes -= 1
            raise ModbusTimeoutError
        if value == FIRST:
            self.selected = 0
        else:
            assert (value, self.selected is not None) == (NEXT, True)
            self.selected = min((self.selected or 0) + 1, len(self.pages) - 1)
        if self.write_errors and (error := self.write_errors.popleft()):
            raise error

    async def read_holding_registers(self, address: int, count: int) -> Words:
        """Return the page that is selected."""
        assert self.is_held
        self.requests.append(("read", address, count))
        assert (address, count) == (PAGE, PAGE_WORDS)
        if self.read_error is not None:
            raise self.read_error
        return list(self.pages[self.selected or 0])


async def read(meter: FakeMeter, counts: list[int] | None = None) -> LoadCurve:
    """Return the load curve.

    After each page, append to `counts` the number of records read until then.
    """
    on_page = (lambda _: None) if counts is None else counts.append
    return await async_read_load_curve(cast(Meter, meter), on_page)


def watts(curve: LoadCurve) -> list[float | None]:
    """Return the power of each record in W."""
    return [each.watts for each in curve.records]


def full_page(first: int) -> Words:
    """Return a page of 29 records from index `first`. The power in W is the index."""
    return page(*(record(n, n) for n in range(first, first + PAGE_RECORDS)))


async def test_record_has_its_time_power_and_completeness() -> None:
    meter = FakeMeter([page(record(0, 1200), record(1, 800, incomplete=1))])
    curve = await read(meter)
    assert curve == LoadCurve(
        QUARTER,
        [LoadRecord(START, 1200, True), LoadRecord(START + QUARTER, 800, False)],  # noqa: FBT003
        header_period=900,
        is_newest_first=False,
    )
    assert meter.verifications == 1


async def test_time_counts_from_the_year_2000() -> None:
    words = page([0x0001, 0x5180, 0, 5])  # 86 400 s
    curve = await read(FakeMeter([words]))
    assert curve.records[0].time == datetime(2000, 1, 2)  # noqa: DTZ001


async def test_pages_are_read_until_a_page_is_not_full() -> None:
    counts: list[int] = []
    meter = FakeMeter([full_page(0), full_page(29), page(record(58, 58))])
    curve = await read(meter, counts)
    assert watts(curve) == list(range(59))
    assert counts == [29, 58, 59]
    commands = [value for kind, _, value in meter.requests if kind == "write"]
    assert commands == [FIRST, NEXT, NEXT]


@pytest.mark.parametrize("page_after_last", [page(), full_page(29)])
async def test_full_last_page_ends_the_curve(page_after_last: Words) -> None:
    """After the last page, a meter returns an empty page or the last page again."""
    meter = FakeMeter([full_page(0), full_page(29), page_after_last])
    assert len((await read(meter)).records) == 58


async def test_single_page_that_is_full_ends_the_curve() -> None:
    meter = FakeMeter([full_page(0)])
    assert len((await read(meter)).records) == PAGE_RECORDS
    assert [value for kind, _, value in meter.requests if kind == "write"] == [
        FIRST,
        NEXT,
    ]


async def test_first_page_after_the_last_page_ends_the_curve() -> None:
    meter = FakeMeter([full_page(0), full_page(29), full_page(0)])
    assert len((await read(meter)).records) == 58


async def test_records_are_in_the_order_of_time() -> None:
    meter = FakeMeter([page(*(record(n, n) for n in (3, 2, 1, 0)))])
    assert watts(await read(meter)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "error", [ModbusTimeoutError(), ModbusProtocolError(), AcknowledgeError()]
)
async def test_command_without_confirmation_skips_no_page(error: Exception) -> None:
    meter = FakeMeter(
        [full_page(0), full_page(29), page(record(58, 58))],
        write_errors=deque([None, error]),
    )
    assert watts(await read(meter)) == list(range(59))


async def test_lost_command_is_retried() -> None:
    meter = FakeMeter([full_page(0), page(record(29, 29))])

    def lose_after_first_page(count: int) -> None:
        meter.lost_writes = 2 if count == PAGE_RECORDS else 0

    curve = await async_read_load_curve(cast(Meter, meter), lose_after_first_page)
    assert watts(curve) == list(range(30))


async def test_command_that_is_lost_three_times_is_an_error() -> None:
    meter = FakeMeter([full_page(0), page(record(29, 29))])
    with pytest.raises(ModbusTimeoutError, match="next page"):
        await async_read_load_curve(
            cast(Meter, meter), lambda _: setattr(meter, "lost_writes", 3)
        )


async def test_period_is_the_time_between_two_records() -> None:
    """The period in the header may be in minutes, and the curve may have a gap."""
    meter = FakeMeter([page(*(record(n, n) for n in (0, 1, 2, 9)), period=15)])
    assert (await read(meter)).period == QUARTER


@pytest.mark.parametrize("records", [(), (record(0, 5),)])
async def test_period_of_a_curve_with_fewer_than_two_records_is_in_the_header(
    records: Sequence[Words],
) -> None:
    assert (await read(FakeMeter([page(*records)]))).period == QUARTER


async def test_records_with_the_same_time_do_not_change_the_period() -> None:
    """A clock that was set back repeats its times."""
    meter = FakeMeter([page(record(0, 1), record(0, 2), record(0, 3), record(1, 4))])
    curve = await read(meter)
    assert (len(curve.records), curve.period) == (4, QUARTER)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    # A fraction that contains a 0 is ignored.
    [((40, 1), 4000), ((1, 2), 50), ((0, 5), 100), ((5, 0), 100), ((0, 0), 100)],
)
async def test_power_is_multiplied_by_the_fraction_of_the_header(
    fraction: tuple[int, int], expected: float
) -> None:
    meter = FakeMeter([page(record(0, 100), fraction=fraction)])
    assert watts(await read(meter)) == [expected]


@pytest.mark.parametrize(
    ("ct_ratio", "fraction", "expected"),
    [
        (40, (1, 1), 4000),  # the fraction does not contain the ratio
        (40, (200, 5), 4000),  # the fraction is the ratio
        (40, (10, 1), 40_000),  # the fraction is a step of 10 W
        (1, (1, 1), 100),
        (None, (10, 1), 1000),  # the ratio is not available
    ],
)
async def test_power_contains_the_ratio_of_the_transformers_once(
    ct_ratio: float | None, fraction: tuple[int, int], expected: float
) -> None:
    transformer = FakeTransformer(ct_ratio)
    meter = FakeMeter(
        [page(record(0, 100), fraction=fraction)], transformer=transformer
    )
    assert watts(await read(meter)) == [expected]
    assert transformer.reads == 1


# The codes 0 and 1 mean W, and the code 20 means kW.
@pytest.mark.parametrize(("unit", "expected"), [(0, 3), (1, 3), (20, 3000)])
async def test_power_is_in_watts(unit: int, expected: float) -> None:
    assert watts(await read(FakeMeter([page(record(0, 3), unit=unit)]))) == [expected]


async def test_value_that_is_not_available_has_no_power() -> None:
    meter = FakeMeter([page(record(0, 0xFFFF), record(1, 0xFFFE))])
    assert watts(await read(meter)) == [None, 0xFFFE]


async def test_record_without_a_date_is_omitted() -> None:
    meter = FakeMeter([page([0xFFFF, 0xFFFF, 0, 5], record(1, 6))])
    assert watts(await read(meter)) == [6]


# Only the codes 0, 1 and 20 are units of active power.
@pytest.mark.parametrize("unit", [2, 5, 22, 0xFFFF])
async def test_curve_of_another_quantity_is_rejected(unit: int) -> None:
    with pytest.raises(NoLoadCurveError, match=f"unit {unit}"):
        await read(FakeMeter([page(record(0, 5), unit=unit)]))


async def test_page_without_available_values_is_no_load_curve() -> None:
    with pytest.raises(NoLoadCurveError):
        await read(FakeMeter([[0xFFFF] * PAGE_WORDS]))


@pytest.mark.parametrize("refused", ["write", "read"])
async def test_meter_that_refuses_the_registers_has_no_load_curve(refused: str) -> None:
    meter = FakeMeter([page()])
    if refused == "write":
        meter.write_errors.append(IllegalDataAddressError())
    else:
        meter.read_error = IllegalDataAddressError()
    with pytest.raises(NoLoadCurveError, match="refuses"):
        await read(meter)


@pytest.mark.parametrize(
    "words",
    # A record of 5 registers, and a page of 30 records.
    [page(record(0, 5), size=5), [30, 4, *page(record(0, 5))[2:]]],
)
async def test_page_with_wrong_record_size_or_count_is_an_error(words: Words) -> None:
    with pytest.raises(ModbusProtocolError, match="a page of the load curve has"):
        await read(FakeMeter([words]))


async def test_empty_page_with_other_record_size_and_unit_is_accepted() -> None:
    curve = await read(FakeMeter([page(size=0, unit=7)]))
    assert not curve.records


async def test_lost_connection_is_an_error() -> None:
    meter = FakeMeter([page()], read_error=ModbusConnectionError())
    with pytest.raises(ModbusConnectionError):
        await read(meter)


async def test_header_period_comes_from_the_first_page() -> None:
    first = [*full_page(0)[:2], 15, *full_page(0)[3:]]
    curve = await read(FakeMeter([first, page(record(29, 29), period=16)]))
    assert curve.header_period == 15


@pytest.mark.parametrize(
    ("indices", "is_newest_first"),
    [((), False), ((1,), False), ((1, 2), False), ((2, 1), True), ((2, 3, 2), False)],
)
async def test_curve_is_newest_first_if_its_first_record_is_newer_than_its_last(
    indices: Sequence[int],
    is_newest_first: bool,  # noqa: FBT001
) -> None:
    records = (record(index, number) for number, index in enumerate(indices))
    curve = await read(FakeMeter([page(*records)]))
    assert curve.is_newest_first is is_newest_first


async def test_records_with_the_same_time_are_in_the_order_of_recording() -> None:
    """A clock that was set back repeats its times."""
    records = [record(index, number) for number, index in enumerate((0, 1, 1, 2))]
    oldest_first = await read(FakeMeter([page(*records)]))
    newest_first = await read(FakeMeter([page(*reversed(records))]))
    assert watts(oldest_first) == watts(newest_first) == [0, 1, 2, 3]


def newest_first_page(newest: int) -> Words:
    """Return a page of 29 records from index `newest` down. The power is the index."""
    return page(*(record(n, n) for n in range(newest, newest - PAGE_RECORDS, -1)))


@pytest.mark.parametrize(
    ("since", "pages"), [(72, 1), (71.5, 1), (71, 2), (43, 2), (42, 3), (0, 4)]
)
async def test_newest_records_are_read_until_a_record_is_before_a_time(
    since: float, pages: int
) -> None:
    """Like the index of a record, `since` is a number of periods after `START`.

    The first three pages end with the records 71, 42 and 13.
    """
    full = [newest_first_page(newest) for newest in (99, 70, 41)]
    meter = FakeMeter([*full, page(*(record(n, n) for n in range(12, -1, -1)))])
    curve = await async_read_load_curve(
        cast(Meter, meter), since=START + since * QUARTER
    )
    assert len(curve.records) == min(pages * PAGE_RECORDS, 100)
    assert curve.is_newest_first


async def test_curve_with_the_oldest_record_first_is_read_completely() -> None:
    meter = FakeMeter([full_page(0), full_page(29), page(record(58, 58))])
    since = START + 1000 * QUARTER  # after all records
    curve = await async_read_load_curve(cast(Meter, meter), since=since)
    assert watts(curve) == list(range(59))
